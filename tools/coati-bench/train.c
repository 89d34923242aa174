/* train.c: whole training steps of a synthetic model: forward, backward, clipping, AdamW. */
#include "bench.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/base/trace.h"
#include "core/graph/device_trace.h"
#include <stdio.h>
#include <string.h>

typedef struct batch { /* every token carries a label */
    int32_t *ids, *pos, *labels, *start;
    uint64_t *key;
    float *mask;
    const void *columns[2];
    engine_batch b;
    co_live live;
} batch;

static int make_batch(const shape *s, uint32_t vocab, batch *b)
{
    const int n = s->seqs * s->seq_len;
    *b = (batch){.ids = mem_calloc((size_t)n, 4), .pos = mem_calloc((size_t)n, 4), .labels = mem_calloc((size_t)n, 4),
                 .start = mem_calloc((size_t)s->seqs + 1, 4), .key = mem_calloc((size_t)s->seqs, 8), .mask = mem_calloc((size_t)n, 4)};
    if (!b->ids || !b->pos || !b->labels || !b->start || !b->key || !b->mask) return CO_E_NOMEM;
    for (int i = 0; i < n; i++) {
        b->ids[i] = (int32_t)((uint32_t)(i + 1) * 2654435761u % vocab);
        b->pos[i] = i % s->seq_len;
        b->labels[i] = (int32_t)((uint32_t)(i + 2) * 2654435761u % vocab);
        b->mask[i] = 1;
    }
    for (int i = 0; i <= s->seqs; i++) b->start[i] = i * s->seq_len;
    b->columns[0] = b->labels, b->columns[1] = b->mask;
    b->b = (engine_batch){.n_tokens = n, .n_seqs = s->seqs, .ids = b->ids, .positions = b->pos, .seq_start = b->start,
                          .seq_key = b->key, .columns = b->columns};
    b->live = (co_live){.struct_size = sizeof b->live, .n_tokens = n, .n_seqs = s->seqs, .seq_start = b->start};
    return CO_OK;
}
static void take_fewer(batch *b, const shape *s)
{
    b->b.n_seqs = b->live.n_seqs = s->seqs;
    b->b.n_tokens = b->live.n_tokens = s->seqs * s->seq_len;
}
static void free_batch(batch *b)
{
    mem_free(b->ids), mem_free(b->pos), mem_free(b->labels), mem_free(b->start), mem_free(b->key), mem_free(b->mask);
}

typedef struct timing { /* of the counted steps; a product is timed before each and after the last */
    double step[BENCH_MAX_STEPS], product[BENCH_MAX_STEPS + 1], loss, product_flops;
    int64_t base; /* steps before these */
    size_t peak_kib, device; /* device: bytes that are gone there since before the engine */
} timing;

/* Ranks have the same batch: the mean over all is one rank's. */
static int queue_step(engine *e, const batch *b, const parts *p, const bench_opts *o, int64_t step)
{
    int r = CO_OK;
    for (int i = 0; i < o->accumulation && r == CO_OK; i++)
        r = engine_micro_step(e, &b->b, 1.0 / b->b.n_tokens / o->accumulation / p->world, 1, step, i + 1 == o->accumulation, NULL);
    return r == CO_OK ? engine_step(e, step, 1e-4, 1.0, NULL) : r;
}

static int begin_trace(const parts *p, const bench_opts *o)
{
    char *path = p->rank ? mem_printf("%s.%d", o->trace, p->rank) : mem_printf("%s", o->trace);
    const int r = path ? trace_open(path, p->rank) : CO_E_NOMEM;
    if (r == CO_OK) device_trace_open(p->real, p->be_self);
    mem_free(path);
    return r;
}

/* Each step's end is taken when the next has been queued, as a run does: updates may go on beside the next step's forward. One more than
 * are counted is queued: strategies may wait while they queue. */
static int run_queued(engine *e, const batch *b, const parts *p, const bench_opts *o, timing *t)
{
    engine_result res = {0};
    co_step_stats stats;
    double last = 0;
    const int ahead = engine_is_async(e); /* elsewhere a step is done when it has been queued */
    int r = ahead ? queue_step(e, b, p, o, t->base + 1) : CO_OK;
    for (int i = -1; i < o->steps && r == CO_OK; i++) {
        if (i == -1 && o->trace) r = begin_trace(p, o);
        if (r == CO_OK) r = queue_step(e, b, p, o, t->base + i + ahead + 2);
        if (r == CO_OK) r = engine_collect(e, t->base + i + 2, &res, &stats);
        const double now = bench_now();
        if (i >= 0) t->step[i] = now - last;
        last = now;
        if (o->profile) profile_step(i >= 0);
    }
    device_trace_close();
    trace_close();
    t->peak_kib = bench_status_kib("VmHWM:");
    t->loss = res.loss * p->world;
    t->base += o->steps + 1 + ahead;
    return r;
}

static int run_apart(engine *e, const batch *b, const parts *p, const bench_opts *o, timing *t)
{
    engine_result res = {0};
    co_step_stats stats;
    product *gemm = NULL;
    int r = CO_OK;
    for (int i = -1; i < o->steps && r == CO_OK; i++) { /* the first warms up and shows the peak without the product's memory */
        if (i == 0) {
            t->peak_kib = bench_status_kib("VmHWM:");
            r = product_open(p->real, p->be_self, (co_dtype)p->params->dtype, &gemm);
            if (r == CO_OK) r = product_time(gemm, &t->product[0]);
        }
        if (r == CO_OK && i >= 0) r = product_time(gemm, &t->product[i]);
        const double begin = bench_now();
        if (r == CO_OK) r = engine_micro_step(e, &b->b, 1.0 / b->b.n_tokens, 1, i + 2, 1, &res);
        if (r == CO_OK) r = engine_step(e, i + 2, 1e-4, 1.0, &stats);
        if (i >= 0) t->step[i] = bench_now() - begin;
        if (o->profile) profile_step(i >= 0);
    }
    if (r == CO_OK) r = product_time(gemm, &t->product[o->steps]);
    t->loss = res.loss;
    if (gemm) t->product_flops = product_flops(gemm);
    product_close(gemm);
    return r;
}

/* Before an engine that may take all memory; the first warms up. */
static int time_products(const parts *p, const bench_opts *o, timing *t)
{
    enum { N = 3 };
    double v[N + 1];
    product *gemm = NULL;
    int r = product_open(p->real, p->be_self, (co_dtype)p->params->dtype, &gemm);
    for (int i = 0; i <= N && r == CO_OK; i++) r = product_time(gemm, &v[i]);
    if (gemm) t->product_flops = product_flops(gemm);
    product_close(gemm);
    for (int i = 0; i <= o->steps && r == CO_OK; i++) t->product[i] = i ? t->product[0] : bench_median(v + 1, N);
    return r;
}

static size_t device_free(const parts *p)
{
    size_t left = 0, all = 0;
    return p->be->flags & CO_BACKEND_ASYNC && p->real->memory(p->be_self, &left, &all) == CO_OK ? left : 0;
}
static void print(const shape *s, const parts *p, const bench_opts *o, timing *t, double flops, const engine_memory *mem, size_t idle_kib, const double *device)
{
    const int n = s->seqs * s->seq_len * o->accumulation; /* a rank's */
    double part[BENCH_MAX_STEPS]; /* of each step's floor, at the speed of the products around it */
    for (int i = 0; i < o->steps; i++)
        part[i] = flops / t->product_flops * (t->product[i] + t->product[i + 1]) / 2 / t->step[i];
    const double floor_part = bench_median(part, o->steps), median = bench_median(t->step, o->steps);
    const double gflops = t->product_flops / bench_median(t->product, o->steps + 1) * 1e-9, floor_s = flops / gflops * 1e-9;
    const double best = t->product_flops / t->product[0] * 1e-9;
    const double above = (double)(t->peak_kib - idle_kib) / 1024;
    printf("{\"case\":\"train_%s\",\"tokens\":%d,\"steps\":%d,\"step_s\":{\"min\":%.4f,\"median\":%.4f,\"max\":%.4f},"
           "\"tokens_per_s\":%.0f,\"gflop\":%.1f,\"sgemm_gflops\":{\"median\":%.1f,\"best\":%.1f},\"floor_s\":%.4f,"
           "\"floor_fraction\":%.3f,\"planned_bytes\":%zu,\"rss_above_idle_mib\":%.0f,\"loss\":%.6f,\"strategy\":\"%s\",\"accumulation\":%d,"
           "\"planned_host_bytes\":%zu,\"device_bytes\":%zu,\"ranks\":%d,\"tokens_per_s_all\":%.0f,\"device_bytes_all\":[",
           s->name, n, o->steps, t->step[0], median, t->step[o->steps - 1], n / median, flops * 1e-9, gflops, best, floor_s,
           floor_part, mem->total, above, t->loss, o->no_update ? "none" : o->strategy, o->accumulation, mem->pinned, t->device, p->world, p->world * n / median);
    for (int32_t i = 0; i < p->world; i++) printf("%s%.0f", i ? "," : "", device[i]);
    printf("]}\n");
    (void)fflush(stdout); /* the next takes its time */
    if (p->world > 1) fprintf(stderr, "%-8s %d ranks, comm %s; figures are a rank's\n", s->name, p->world, p->comm_name);
    if (t->device)
        fprintf(stderr, "%-8s %.2f GiB on the device, planned %.2f; %.2f GiB of host memory planned\n", s->name, (double)t->device / (1 << 30),
                (double)mem->total / (1 << 30), (double)mem->pinned / (1 << 30));
    fprintf(stderr, "%-8s %8.0f tokens/s, %.3f s a step (%.3f to %.3f), %.0f %% of the floor (%.1f GFLOP at %.0f GFLOP/s, best %.0f), "
            "%.0f MiB above idle\n", s->name, n / median, median, t->step[0], t->step[o->steps - 1], 100 * floor_part,
            flops * 1e-9, gflops, best, above);
    if (o->profile) profile_print(gflops);
}

static int train(parts *p, const shape *s, const bench_opts *o, size_t idle_kib)
{
    static const engine_column names[] = {{"labels", CO_I32, CO_ROWS_TOKENS}, {"mask", CO_F32, CO_ROWS_TOKENS}};
    engine *e = NULL;
    engine_memory mem;
    batch b;
    timing *times = mem_alloc(sizeof *times, 16);
    int r = make_batch(s, (uint32_t)p->params->info.n_vocab, &b);
    if (!times) r = CO_E_NOMEM;
    const engine_args a = {.host = host_services(p->h), .backend = p->be, .backend_self = p->be_self, .cpu = p->cpu, .cpu_self = p->cpu_self, .model = p->model,
                           .model_self = p->model_self, .params = p->params, .strategy = p->strategy, .strategy_opts = p->strategy_opts,
                           .comm = p->comm, .comm_self = p->comm_self, .optim = p->optim, .optim_self = p->optim_self,
                           .loss = p->loss, .loss_self = p->loss_self, .columns = names, .n_columns = 2,
                           .max_tokens = b.b.n_tokens, .max_seqs = s->seqs, .checkpoint_blocks = o->checkpoint, .offload_activations = o->offload,
                           .no_graphs = o->profile}; /* lines are timed one by one */
    if (r == CO_OK && o->queued) r = time_products(p, o, times);
    const size_t before = device_free(p);
    if (r == CO_OK) r = engine_open(&a, &e);
    if (r == CO_OK) r = engine_allocate(e);
    if (r == CO_OK) r = parts_fill(p, e);
    if (r == CO_OK && p->world > 1) r = p->comm->barrier(p->comm_self); /* all begin together */
    for (int k = -1; k < o->n_fewer && r == CO_OK; k++) {
        shape now = *s;
        if (k >= 0) now.seqs = o->fewer[k], take_fewer(&b, &now);
        r = o->queued ? run_queued(e, &b, p, o, times) : run_apart(e, &b, p, o, times);
        if (r) break;
        times->device = before - device_free(p);
        engine_bytes(e, &mem);
        double *const device = mem_calloc((size_t)p->world, sizeof *device);
        r = device ? parts_gather(p, (double)times->device, device) : CO_E_NOMEM;
        if (r == CO_OK && p->rank == 0) print(&now, p, o, times, o->accumulation * engine_flops(e, &b.live), &mem, idle_kib, device);
        mem_free(device);
    }
    parts_abort(p, r);
    engine_close(e);
    free_batch(&b);
    mem_free(times);
    return r;
}

int bench_train(const shape *s, const bench_opts *o)
{
    parts p;
    const size_t idle = bench_status_kib("VmRSS:");
    int r = parts_open(&p, s, o);
    if (r == CO_OK && p.world > 1 && !o->queued) r = FAIL(CO_E_CONFIG, "several ranks need --strategy, one that serves them");
    parts_abort(&p, r);
    if (r == CO_OK) r = train(&p, s, o, idle);
    parts_close(&p);
    return r;
}
