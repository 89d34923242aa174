/* init.c: random starts. A piece is drawn by all cores this process may use: each number is a function of its place alone, so the
 * bits do not depend on how many there are. 7 billion numbers take minutes on one. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include <pthread.h>
#include <sched.h>
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/base/rng.h"
#include "core/params/load.h"

enum { MOST_THREADS = 64, LEAST = 4096 /* numbers that are worth a thread: some 200 us */ };

typedef struct share { /* of a piece */
    pthread_t thread;
    float *out;
    int64_t n;
    uint64_t seed, counter;
    double std;
} share;

static void *draw(void *arg)
{
    const share *s = arg;
    for (int64_t i = 0; i < s->n; i++) s->out[i] = (float)(s->std * rng_normal(s->seed, RNG_INIT, s->counter + (uint64_t)i));
    return NULL;
}

static int64_t usable_cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/* The calling thread takes the first share, and those for which no thread is to be had. */
static void draw_all(share whole, int64_t cores)
{
    share s[MOST_THREADS];
    int64_t k = whole.n / LEAST < cores ? whole.n / LEAST : cores;
    int started[MOST_THREADS] = {0};
    k = k < 1 ? 1 : k > MOST_THREADS ? MOST_THREADS : k;
    for (int64_t i = 0; i < k; i++) {
        const int64_t from = whole.n * i / k, to = whole.n * (i + 1) / k;
        s[i] = whole;
        s[i].out += from;
        s[i].n = to - from;
        s[i].counter += (uint64_t)from;
        started[i] = i > 0 && pthread_create(&s[i].thread, NULL, draw, &s[i]) == 0;
    }
    for (int64_t i = 0; i < k; i++)
        if (!started[i]) draw(&s[i]);
    for (int64_t i = 0; i < k; i++)
        if (started[i]) pthread_join(s[i].thread, NULL);
}

int params_init_one(const param_table *t, uint32_t slot, uint64_t seed, float *buf, params_write_fn write, void *ctx)
{
    const co_param *d = param_decl(t, slot);
    const int64_t total = param_elements(&t->slots[slot]), cores = usable_cores();
    const uint64_t key = (uint64_t)slot << 40; /* as RNG_INIT says */
    for (int64_t first = 0; first < total; first += PARAMS_PIECE) {
        const int64_t n = total - first < PARAMS_PIECE ? total - first : PARAMS_PIECE;
        if (d->init == CO_INIT_NORMAL) draw_all((share){.out = buf, .n = n, .seed = seed, .counter = key + (uint64_t)first, .std = d->init_std}, cores);
        for (int64_t i = 0; i < n && d->init != CO_INIT_NORMAL; i++) buf[i] = d->init == CO_INIT_ONE ? 1.0f : 0.0f;
        int rc = write(ctx, slot, first, n, buf);
        if (rc) return rc;
    }
    return CO_OK;
}

int params_init(const param_table *t, uint64_t seed, params_write_fn write, void *ctx)
{
    float *buf = mem_alloc(PARAMS_PIECE * sizeof *buf, 64);
    if (!buf) return CO_E_NOMEM;
    int rc = CO_OK;
    for (uint32_t i = 0; i < t->n_params && rc == CO_OK; i++)
        if (t->slots[i].owner == i) rc = params_init_one(t, i, seed, buf, write, ctx);
    mem_free(buf);
    return rc;
}
