/* update.c: AdamW over flat buffers, as a strategy calls it: fp32 master weights and states, gradients and compute copies of
 * --dtype. Its floor is memory: the bytes it must move at the speed of a plain copy, measured between the updates. */
#include "bench.h"
#include "core/base/error.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_COPIERS 256

typedef struct share { char *to; const char *from; size_t bytes; } share;

static void *copy_share(void *arg)
{
    const share *s = arg;
    memcpy(s->to, s->from, s->bytes); /* as large as this, libc writes past the caches */
    return NULL;
}

/* Bytes read and written a second, `threads` copying at once. */
static double copy_speed(void *to, const void *from, size_t bytes, int threads)
{
    pthread_t id[MAX_COPIERS];
    share s[MAX_COPIERS];
    int started = 0;
    const size_t part = bytes / (size_t)threads & ~(size_t)63;
    const double begin = bench_now();
    for (int i = 0; i < threads; i++) s[i] = (share){(char *)to + (size_t)i * part, (const char *)from + (size_t)i * part, part};
    for (int i = 1; i < threads && pthread_create(&id[i], NULL, copy_share, &s[i]) == 0; i++) started = i;
    (void)copy_share(&s[0]);
    for (int i = started + 1; i < threads; i++) (void)copy_share(&s[i]);
    for (int i = 1; i <= started; i++) pthread_join(id[i], NULL);
    return 2.0 * (double)part * threads / (bench_now() - begin);
}

typedef struct buffers {
    float *master, *m, *v;
    void *grad, *out; /* out NULL: the master is it */
} buffers;

static int take(const co_backend_vt *be, void *self, size_t bytes, void **to) { return be->alloc(self, CO_MEM_DEVICE, bytes, to); }

static void give(const co_backend_vt *be, void *self, buffers *b)
{
    void *const list[] = {b->master, b->m, b->v, b->grad, b->out};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i]) be->free(self, CO_MEM_DEVICE, list[i]);
}

/* Values that a real update would meet: neither zeros nor denormals. */
static int fill(const co_backend_vt *be, void *self, int64_t n, co_dtype t, const buffers *b)
{
    for (int64_t i = 0; i < n; i++) b->master[i] = 0.02f * (float)(i % 201 - 100) / 100, b->m[i] = 1e-4f * (float)(i % 7 - 3);
    int r = be->flat_cast(self, b->grad, t, b->m, CO_F32, n, NULL);
    for (int64_t i = 0; i < n; i++) b->v[i] = 1e-8f * (float)(1 + i % 5);
    return r;
}

static int measure(const co_backend_vt *be, void *self, int64_t n, int threads, const bench_opts *o)
{
    const co_dtype t = strcmp(o->dtype, "bf16") == 0 ? CO_BF16 : strcmp(o->dtype, "fp16") == 0 ? CO_F16 : CO_F32;
    const size_t wide = (size_t)n * sizeof(float), narrow = (size_t)n * co_dtype_bytes(t);
    const double bytes = 6.0 * (double)wide + (t == CO_F32 ? 1.0 : 2.0) * (double)narrow; /* three read and written, the gradient read, the copy written */
    double update[BENCH_MAX_STEPS], copy[BENCH_MAX_STEPS], best = 0;
    buffers b = {0};
    int r = take(be, self, wide, (void **)&b.master);
    if (r == CO_OK) r = take(be, self, wide, (void **)&b.m);
    if (r == CO_OK) r = take(be, self, wide, (void **)&b.v);
    if (r == CO_OK) r = take(be, self, narrow, &b.grad);
    if (r == CO_OK && t != CO_F32) r = take(be, self, narrow, &b.out);
    if (r == CO_OK) r = fill(be, self, n, t, &b);
    for (int i = -1; i < o->steps && r == CO_OK; i++) {
        const co_optim_slice s = {.struct_size = sizeof s, .n = n, .step = i + 2, .master = b.master, .grad = b.grad, .grad_dtype = t, .out_dtype = t,
                                  .out = b.out, .state = {b.m, b.v}, .lr = 1e-5f, .grad_scale = 1};
        const double begin = bench_now();
        r = be->flat_adamw(self, &s, 0.9f, 0.999f, 1e-8f, 0.01f, NULL);
        const double took = bench_now() - begin, speed = copy_speed(b.m, b.v, wide, threads);
        if (i < 0) continue; /* the first touches everything once */
        update[i] = took;
        copy[i] = speed;
        if (speed > best) best = speed;
    }
    give(be, self, &b);
    if (r) return r;
    const double took = bench_median(update, o->steps), speed = bench_median(copy, o->steps), reached = bytes / took;
    fprintf(stderr, "adamw %s   %.3f billion parameters/s, %.1f GB/s, %.0f %% of a copy (%.1f GB/s, best %.1f), %.1f ms (%.1f to %.1f) for %lld\n",
            o->dtype, (double)n / took / 1e9, reached / 1e9, 100 * reached / speed, speed / 1e9, best / 1e9, 1e3 * took, 1e3 * update[0],
            1e3 * update[o->steps - 1], (long long)n);
    printf("{\"case\":\"adamw_%s\",\"parameters\":%lld,\"steps\":%d,\"update_s\":{\"min\":%.6f,\"median\":%.6f,\"max\":%.6f},\"parameters_per_s\":%.0f,"
           "\"bytes_per_s\":%.0f,\"copy_bytes_per_s\":{\"median\":%.0f,\"best\":%.0f},\"copy_fraction\":%.3f}\n",
           o->dtype, (long long)n, o->steps, update[0], took, update[o->steps - 1], (double)n / took, reached, speed, best, reached / best);
    return CO_OK;
}

int bench_update(int64_t n, const bench_opts *o)
{
    const long asked = strtol(o->threads, NULL, 10), cores = asked > 0 ? asked : sysconf(_SC_NPROCESSORS_ONLN);
    parts p;
    int r = parts_open(&p, NULL, o);
    if (r == CO_OK && p.be->flags & CO_BACKEND_ASYNC) r = FAIL(CO_E_CONFIG, "--update measures an update in the host's memory: --backend cpu");
    if (r == CO_OK) r = measure(p.be, p.be_self, n, cores < 1 ? 1 : cores > MAX_COPIERS ? MAX_COPIERS : (int)cores, o);
    parts_close(&p);
    return r;
}
