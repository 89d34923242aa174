/* collectives.c: how quickly a comm moves and sums the backend's memory, by size. Bus bandwidth is what a rank must send and
 * receive at least over the time it took: (N-1)/N of the buffer, twice that for all_reduce. */
#include "bench.h"
#include "core/base/error.h"
#include <stdio.h>

#define ROUNDS 3 /* measured this often; the median counts */
enum { REDUCE_SCATTER = 0, ALL_GATHER, ALL_REDUCE, N_KINDS };
static const char *const names[N_KINDS] = {"reduce_scatter", "all_gather", "all_reduce"};

typedef struct field { /* a buffer of `bytes` on every rank, and a second one for what arrives */
    const parts *p;
    char *a, *b;
    co_dtype t;
} field;

/* `bytes`: the whole buffer's, as all ranks together have it. */
static int call(const field *f, int kind, size_t bytes)
{
    const parts *p = f->p;
    const int64_t n = (int64_t)(bytes / co_dtype_bytes(f->t)), part = n / p->world;
    if (kind == REDUCE_SCATTER) return p->comm->reduce_scatter(p->comm_self, f->a, f->b, part, f->t, NULL);
    if (kind == ALL_GATHER) return p->comm->all_gather(p->comm_self, f->a, f->b, part, f->t, NULL);
    return p->comm->all_reduce(p->comm_self, f->a, n, f->t, NULL);
}

static int several(const field *f, int kind, size_t bytes, int calls, double *seconds)
{
    const parts *p = f->p;
    int r = p->comm->barrier(p->comm_self);
    const double begin = bench_now();
    for (int i = 0; i < calls && r == CO_OK; i++) r = call(f, kind, bytes);
    if (r == CO_OK) r = p->be->stream_sync(p->be_self, NULL);
    *seconds = (bench_now() - begin) / calls;
    return r;
}

static int measure(const field *f, int kind, size_t bytes, double *seconds)
{
    double v[ROUNDS], once = 0;
    int r = several(f, kind, bytes, 1, &once);
    /* As many calls on every rank: by size alone. */
    const int calls = bytes >= (size_t)64 << 20 ? 4 : 16;
    for (int i = 0; i < ROUNDS && r == CO_OK; i++) r = several(f, kind, bytes, calls, &v[i]);
    if (r == CO_OK) *seconds = bench_median(v, ROUNDS);
    return r;
}

static int all_sizes(const field *f, size_t most, const bench_opts *o)
{
    const parts *p = f->p;
    const double share = p->world > 1 ? (double)(p->world - 1) / p->world : 1;
    int r = CO_OK;
    for (size_t bytes = (size_t)1 << 20; bytes <= most && r == CO_OK; bytes *= 4)
        for (int kind = 0; kind < N_KINDS && r == CO_OK; kind++) {
            double s = 0;
            r = measure(f, kind, bytes, &s);
            if (r || p->rank > 0) continue;
            const double bus = share * (kind == ALL_REDUCE ? 2 : 1) * (double)bytes / s * 1e-9;
            printf("{\"case\":\"%s\",\"ranks\":%d,\"comm\":\"%s\",\"dtype\":\"%s\",\"bytes\":%zu,\"us\":%.1f,\"bus_gb_s\":%.2f}\n", names[kind], p->world,
                   p->comm_name, o->dtype, bytes, 1e6 * s, bus);
            fprintf(stderr, "%-14s %5zu MiB over %d ranks, comm %s: %10.1f us, %8.2f GB/s a rank\n", names[kind], bytes >> 20, p->world, p->comm_name, 1e6 * s, bus);
        }
    return r;
}

int bench_collectives(int most_mib, const bench_opts *o)
{
    parts p;
    void *a = NULL, *b = NULL;
    const size_t most = (size_t)most_mib << 20;
    int r = parts_open(&p, NULL, o);
    if (r == CO_OK) r = p.be->alloc(p.be_self, CO_MEM_DEVICE, most + 256, &a);
    if (r == CO_OK) r = p.be->alloc(p.be_self, CO_MEM_DEVICE, most + 256, &b);
    const field f = {&p, a, b, parts_dtype(o)};
    if (r == CO_OK) r = all_sizes(&f, most, o);
    parts_abort(&p, r);
    if (a) p.be->free(p.be_self, CO_MEM_DEVICE, a);
    if (b) p.be->free(p.be_self, CO_MEM_DEVICE, b);
    parts_close(&p);
    return r;
}
