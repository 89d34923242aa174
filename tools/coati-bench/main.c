/* coati-bench: measures this machine: whole training steps of synthetic LLaMA shapes and the product speed they could
 * reach at best. One JSON line a case on stdout, a table on stderr. */
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/config/config.h"
#include "core/graph/engine.h"
#include "core/host/host.h"
#include "core/params/hf_config.h"
#include "core/params/load.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct shape { const char *name; int dim, layers, heads, ff, vocab, seqs, seq_len; } shape;
static const shape presets[] = {{"15m", 288, 6, 6, 768, 32000, 8, 256}, {"110m", 768, 12, 12, 2048, 32000, 4, 512}};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static size_t status_kib(const char *key)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    size_t kib = 0;
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0) kib = strtoul(line + strlen(key) + 1, NULL, 10);
    if (f) fclose(f);
    return kib;
}

static int write_param(void *ctx, uint32_t param, int64_t first, int64_t n, const float *values)
{
    return engine_write(ctx, param, 0, first, n, values);
}

typedef struct parts {
    host *h;
    config *c;
    const co_backend_vt *be;
    const co_comm_vt *comm;
    const co_optimizer_vt *optim;
    const co_loss_vt *loss;
    const co_model_vt *model;
    const co_strategy_vt *strategy;
    void *be_self, *comm_self, *optim_self, *loss_self, *model_self, *strategy_opts;
} parts;

static int options_of(parts *p, co_kind kind, const char *name, const co_feature **f, void **opts)
{
    int r = host_feature(p->h, kind, name, f);
    if (r) return r;
    *opts = mem_alloc((*f)->opts_size + 1, 16);
    if (!*opts) return CO_E_NOMEM;
    if (!(*f)->opts) return CO_OK;
    return config_bind(p->c, kind_name(kind), (*f)->opts, host_plugin_of(p->h, *f)->magic.opt_stride, name, *opts);
}

static int open_parts(parts *p, const char *threads, const co_meta *meta)
{
    const co_feature *f;
    const co_host *h = host_services(p->h);
    void *o;
    int r = config_set(p->c, "backend", "threads", threads);
    if (r == CO_OK) r = options_of(p, CO_KIND_BACKEND, "cpu", &f, &o);
    if (r == CO_OK) p->be = host_backend(p->h, f), r = p->be->open(h, o, &p->be_self), mem_free(o);
    if (r == CO_OK) r = options_of(p, CO_KIND_COMM, "self", &f, &o);
    if (r == CO_OK) p->comm = host_comm(p->h, f), r = p->comm->open(h, o, p->be, p->be_self, &p->comm_self), mem_free(o);
    if (r == CO_OK) r = options_of(p, CO_KIND_OPTIMIZER, "adamw", &f, &o);
    if (r == CO_OK) p->optim = host_optimizer(p->h, f), r = p->optim->open(h, o, &p->optim_self), mem_free(o);
    if (r == CO_OK) r = options_of(p, CO_KIND_LOSS, "causal_lm", &f, &o);
    if (r == CO_OK) p->loss = host_loss(p->h, f), r = p->loss->open(h, o, &p->loss_self), mem_free(o);
    if (r == CO_OK) r = options_of(p, CO_KIND_MODEL, "llama", &f, &o);
    if (r == CO_OK) p->model = host_model(p->h, f), r = p->model->open(h, o, meta, &p->model_self), mem_free(o);
    if (r == CO_OK) r = options_of(p, CO_KIND_STRATEGY, "naive", &f, &p->strategy_opts);
    if (r == CO_OK) p->strategy = host_strategy(p->h, f);
    return r;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The best product speed the backend reaches at a shape like the model's: one LINEAR plan, GFLOP/s. */
static int measure_product(parts *p, double *gflops)
{
    enum { N = 2048 };
    co_plan_value v[3] = {{.shape = {.ne = {N, N}, .ndim = 2, .row_stride = N}}};
    for (int i = 0; i < 3; i++) {
        v[i] = v[0];
        v[i].region = CO_REGION_WORK;
        v[i].slot = CO_NONE;
        v[i].offset = (size_t)i * N * N * 4;
    }
    const uint32_t in[2] = {0, 1}, out[1] = {2};
    const co_step_op op = {.op = CO_OP_LINEAR, .n_in = 2, .n_out = 1, .in = in, .out = out};
    const co_plan plan = {.struct_size = sizeof plan, .n_steps = 1, .n_values = 3, .label = "product", .steps = &op, .values = v};
    const co_live live = {.struct_size = sizeof live};
    co_binding b = {.struct_size = sizeof b, .host_live = &live};
    void *k = NULL, *mem = NULL;
    double best = 1e30;
    int r = p->be->alloc(p->be_self, CO_MEM_DEVICE, (size_t)3 * N * N * 4, &mem);
    if (r == CO_OK) r = p->be->prepare(p->be_self, &plan, &k);
    b.base[CO_REGION_WORK] = mem;
    for (int i = 0; i < 6 && r == CO_OK; i++) {
        const double t = now();
        r = p->be->run(p->be_self, k, &b, NULL);
        if (now() - t < best) best = now() - t;
    }
    if (k) p->be->discard(p->be_self, k);
    if (mem) p->be->free(p->be_self, CO_MEM_DEVICE, mem);
    *gflops = 2.0 * N * N * N / best * 1e-9;
    return r;
}

static int train_steps(parts *p, const shape *s, int steps, int checkpoint, size_t idle_kib)
{
    param_table *t = NULL;
    engine *e = NULL;
    engine_memory mem;
    engine_result res;
    co_step_stats stats;
    double gflops = 0, times[256];
    const int n = s->seqs * s->seq_len;
    int32_t *ids = mem_calloc((size_t)n, 4), *pos = mem_calloc((size_t)n, 4), *labels = mem_calloc((size_t)n, 4);
    int32_t *start = mem_calloc((size_t)s->seqs + 1, 4);
    uint64_t *key = mem_calloc((size_t)s->seqs, 8);
    float *mask = mem_calloc((size_t)n, 4);
    const void *columns[2] = {labels, mask};
    static const engine_column names[] = {{"labels", CO_I32, CO_ROWS_TOKENS}, {"mask", CO_F32, CO_ROWS_TOKENS}};
    int r = ids && pos && labels && start && key && mask ? CO_OK : CO_E_NOMEM;
    for (int i = 0; i < n && r == CO_OK; i++) {
        ids[i] = (int32_t)((uint32_t)(i + 1) * 2654435761u % (uint32_t)s->vocab);
        pos[i] = i % s->seq_len;
        labels[i] = (int32_t)((uint32_t)(i + 2) * 2654435761u % (uint32_t)s->vocab);
        mask[i] = 1;
    }
    for (int i = 0; i <= s->seqs && r == CO_OK; i++) start[i] = i * s->seq_len;
    if (r == CO_OK) r = param_table_build(p->model, p->model_self, CO_F32, &t);
    const engine_args a = {.host = host_services(p->h), .backend = p->be, .backend_self = p->be_self, .model = p->model,
                           .model_self = p->model_self, .params = t, .strategy = p->strategy, .strategy_opts = p->strategy_opts,
                           .comm = p->comm, .comm_self = p->comm_self, .optim = p->optim, .optim_self = p->optim_self,
                           .loss = p->loss, .loss_self = p->loss_self, .columns = names, .n_columns = 2, .max_tokens = n,
                           .max_seqs = s->seqs, .checkpoint_blocks = checkpoint};
    if (r == CO_OK) r = engine_open(&a, &e);
    if (r == CO_OK) r = engine_allocate(e);
    if (r == CO_OK) r = params_init(t, 1, write_param, e);
    const engine_batch b = {.n_tokens = n, .n_seqs = s->seqs, .ids = ids, .positions = pos, .seq_start = start, .seq_key = key, .columns = columns};
    for (int i = -1; i < steps && r == CO_OK; i++) {
        const double begin = now();
        r = engine_micro_step(e, &b, 1.0 / n, 1, i + 2, 1, &res);
        if (r == CO_OK) r = engine_step(e, i + 2, 1e-4, 1.0, &stats);
        if (i >= 0) times[i] = now() - begin;
    }
    const size_t peak_kib = status_kib("VmHWM:");
    if (r == CO_OK) r = measure_product(p, &gflops);
    if (r == CO_OK) {
        engine_bytes(e, &mem);
        qsort(times, (size_t)steps, sizeof *times, ascending);
        const double median = times[steps / 2], floor_s = engine_flops(e, n) / (gflops * 1e9);
        printf("{\"case\":\"train_%s\",\"tokens\":%d,\"steps\":%d,\"step_s\":{\"min\":%.4f,\"median\":%.4f,\"max\":%.4f},"
               "\"tokens_per_s\":%.0f,\"sgemm_gflops\":%.0f,\"floor_s\":%.4f,\"floor_fraction\":%.3f,\"planned_bytes\":%zu,"
               "\"rss_above_idle_mib\":%.0f,\"loss\":%.6f}\n",
               s->name, n, steps, times[0], median, times[steps - 1], n / median, gflops, floor_s, floor_s / median, mem.total,
               (double)(peak_kib - idle_kib) / 1024, res.loss);
        fprintf(stderr, "%-8s %8.0f tokens/s, %.3f s a step (%.3f to %.3f), %.0f %% of the products' floor at %.0f GFLOP/s, %.0f MiB above idle\n",
                s->name, n / median, median, times[0], times[steps - 1], 100 * floor_s / median, gflops, (double)(peak_kib - idle_kib) / 1024);
    }
    engine_close(e);
    param_table_free(t);
    mem_free(ids), mem_free(pos), mem_free(labels), mem_free(start), mem_free(key), mem_free(mask);
    return r;
}

static const char help[] =
    "usage: coati-bench [--preset 15m|110m|all] [--steps N] [--threads N] [--checkpointing]\n"
    "Measures whole training steps (forward, backward, clipping, AdamW) of synthetic LLaMA shapes in fp32 on the CPU.\n"
    "  --preset NAME     15m: dim 288, 6 layers, 8x256 tokens; 110m: dim 768, 12 layers, 4x512; both V 32000, tied (all)\n"
    "  --steps N         counted steps after one warm-up (5)\n"
    "  --threads N       0: every core (0)\n"
    "  --checkpointing   keep block inputs only\n"
    "  -v, -q            say more, say less\n"
    "  --help, --version\n"
    "Prints one JSON line a case on stdout and a table on stderr.\n";

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"preset", 1, 0, 'p'}, {"steps", 1, 0, 's'}, {"threads", 1, 0, 't'},
                                          {"checkpointing", 0, 0, 'c'}, {"help", 0, 0, 'h'}, {"version", 0, 0, 'V'}, {0, 0, 0, 0}};
    const char *preset = "all", *threads = "0";
    int steps = 5, checkpoint = 0, opt, r = CO_OK, any = 0;
    while ((opt = getopt_long(argc, argv, "vqh", longs, NULL)) != -1) {
        switch (opt) {
        case 'p': preset = optarg; break;
        case 's': steps = (int)strtol(optarg, NULL, 10); break;
        case 't': threads = optarg; break;
        case 'c': checkpoint = 1; break;
        case 'v': log_level_set(CO_LOG_DEBUG); break;
        case 'q': log_level_set(CO_LOG_ERROR); break;
        case 'h': fputs(help, stdout); return 0;
        case 'V': puts("coati-bench " COATI_VERSION); return 0;
        default: fputs("try coati-bench --help\n", stderr); return 2;
        }
    }
    if (steps < 1 || steps > 256) {
        fprintf(stderr, "coati-bench: --steps: 1 to 256\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof presets / sizeof *presets && r == CO_OK; i++) {
        const shape *s = &presets[i];
        if (strcmp(preset, "all") != 0 && strcmp(preset, s->name) != 0) continue;
        any = 1;
        parts p = {.h = host_new(NULL), .c = config_new()};
        hf_config *config_json = NULL;
        char *json = mem_printf("{\"model_type\":\"llama\",\"hidden_size\":%d,\"intermediate_size\":%d,\"num_hidden_layers\":%d,"
                                "\"num_attention_heads\":%d,\"vocab_size\":%d,\"max_position_embeddings\":4096,"
                                "\"tie_word_embeddings\":true}", s->dim, s->ff, s->layers, s->heads, s->vocab);
        const size_t idle = status_kib("VmRSS:");
        if (!p.h || !p.c || !json) r = CO_E_NOMEM;
        if (r == CO_OK) r = hf_config_parse(json, strlen(json), s->name, &config_json);
        if (r == CO_OK) r = open_parts(&p, threads, hf_config_meta(config_json));
        if (r == CO_OK) r = train_steps(&p, s, steps, checkpoint, idle);
        mem_free(p.strategy_opts);
        if (p.model_self) p.model->close(p.model_self);
        if (p.optim_self) p.optim->close(p.optim_self);
        if (p.comm_self) p.comm->close(p.comm_self);
        if (p.be_self) p.be->close(p.be_self);
        hf_config_close(config_json);
        mem_free(json);
        config_free(p.c);
        host_free(p.h);
    }
    if (!any) {
        fprintf(stderr, "coati-bench: --preset %s: 15m, 110m or all\n", preset);
        return 2;
    }
    if (r) fprintf(stderr, "coati-bench: %s\n", error_message());
    return error_exit_code(r);
}
