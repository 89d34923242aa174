/* generate.c: new tokens for random prompts through the key/value cache: the prompts' passes and one pass a token, greedy. */
#include "bench.h"
#include "core/base/memory.h"
#include "core/train/decode.h"
#include <stdio.h>

static int run(const parts *p, const shape *s, const bench_opts *o, decoder *d, size_t planned)
{
    const int64_t n = s->seqs;
    decode_job *jobs = mem_calloc((size_t)n, sizeof *jobs);
    int32_t *prompts = mem_calloc((size_t)(n * s->seq_len), 4), *ids = mem_calloc((size_t)(n * o->new_tokens), 4);
    const sample_opts greedy = {.top_p = 1};
    double times[BENCH_MAX_STEPS];
    int r = jobs && prompts && ids ? CO_OK : CO_E_NOMEM;
    for (int64_t i = 0; i < n * s->seq_len && r == CO_OK; i++)
        prompts[i] = (int32_t)((uint32_t)(i + 1) * 2654435761u % (uint32_t)p->params->info.n_vocab);
    for (int k = -1; k < o->steps && r == CO_OK; k++) { /* the first warms up */
        for (int64_t i = 0; i < n; i++)
            jobs[i] = (decode_job){.prompt = prompts + i * s->seq_len, .n_prompt = s->seq_len, .max_new = o->new_tokens, .stop_id = -1, .key = (uint64_t)i,
                                   .ids = ids + i * o->new_tokens};
        const double begin = bench_now();
        r = decode(d, jobs, (size_t)n, &greedy);
        if (k >= 0) times[k] = bench_now() - begin;
    }
    if (r == CO_OK) {
        const double median = bench_median(times, o->steps), tokens = (double)n * o->new_tokens;
        printf("{\"case\":\"generate_%s\",\"sequences\":%d,\"prompt\":%d,\"new\":%d,\"runs\":%d,\"run_s\":{\"min\":%.4f,\"median\":%.4f,\"max\":%.4f},"
               "\"tokens_per_s\":%.1f,\"planned_bytes\":%zu}\n", s->name, s->seqs, s->seq_len, o->new_tokens, o->steps, times[0], median,
               times[o->steps - 1], tokens / median, planned);
        fprintf(stderr, "%-8s %8.1f new tokens/s, %d sequences of %d + %d tokens in %.3f s (%.3f to %.3f)\n", s->name, tokens / median, s->seqs,
                s->seq_len, o->new_tokens, median, times[0], times[o->steps - 1]);
    }
    mem_free(jobs), mem_free(prompts), mem_free(ids);
    return r;
}

#define PASS_TOKENS 2048 /* of prompts, a pass */
int bench_generate(const shape *s, const bench_opts *o)
{
    parts p;
    engine *e = NULL;
    engine_memory mem;
    decoder *d = NULL;
    int r = parts_open(&p, s, o);
    const engine_args a = {.host = host_services(p.h), .backend = p.be, .backend_self = p.be_self, .model = p.model, .model_self = p.model_self,
                           .params = p.params, .strategy = p.strategy, .strategy_opts = p.strategy_opts, .comm = p.comm, .comm_self = p.comm_self,
                           .slots = s->seqs, .slot_len = s->seq_len + o->new_tokens, .pass_tokens = PASS_TOKENS + s->seqs, .pass_rows = s->seqs,
                           .no_graphs = o->profile};
    if (r == CO_OK) r = engine_open(&a, &e);
    if (r == CO_OK) r = engine_allocate(e);
    if (r == CO_OK) r = parts_fill(&p, e);
    const decoder_args how = {.engine = e, .slots = s->seqs, .max_len = s->seq_len + o->new_tokens, .pass_tokens = PASS_TOKENS + s->seqs,
                              .eos = -1};
    if (r == CO_OK) r = decoder_open(&how, &d);
    if (r == CO_OK) engine_bytes(e, &mem);
    if (r == CO_OK) r = run(&p, s, o, d, mem.total);
    decoder_close(d);
    engine_close(e);
    parts_close(&p);
    return r;
}
