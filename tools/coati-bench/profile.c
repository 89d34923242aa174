/* profile.c: where a step's time goes. Each line of a plan becomes a plan of its own; lines of the same op and shape are
 * added up, and of the steps the median is shown. The clock is read twice a line: nothing beside what a line takes. */
#include "bench.h"
#include "core/base/memory.h"
#include "core/graph/graph.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROWS 192
typedef struct row { /* of the step at hand; `step` holds the seconds of the ones before */
    char what[96];
    double seconds, flops, bytes; /* flops of products only, bytes of operands */
    int64_t calls;
    double step[BENCH_MAX_STEPS];
} row;

typedef struct lines { /* a prepared plan */
    const co_plan *plan;
    co_plan *parts;
    void **compiled;
    row **rows;
} lines;

static const co_backend_vt *real;
static co_backend_vt wrapped;
static row rows[MAX_ROWS];
static int n_rows, n_steps;

static row *row_of(const char *what)
{
    for (int i = 0; i < n_rows; i++)
        if (strcmp(rows[i].what, what) == 0) return &rows[i];
    if (n_rows == MAX_ROWS) return &rows[MAX_ROWS - 1];
    memcpy(rows[n_rows].what, what, strlen(what) + 1);
    return &rows[n_rows++];
}

static void describe(const co_plan *p, const co_step_op *s, char *out, size_t cap)
{
    size_t at = (size_t)snprintf(out, cap, "%s %s", p->label, op_name(s->op));
    for (int side = 0; side < 2; side++)
        for (uint32_t k = 0; k < (side ? s->n_out : s->n_in) && k < 2 && at < cap; k++) {
            const uint32_t v = side ? s->out[k] : s->in[k];
            if (v == CO_NONE || p->values[v].shape.ndim < 2) continue;
            at += (size_t)snprintf(out + at, cap - at, "%s%lldx%lld", side && !k ? " > " : " ", (long long)p->values[v].shape.ne[0],
                                   (long long)p->values[v].shape.ne[1]);
        }
}

static int profile_prepare(void *self, const co_plan *p, void **out)
{
    lines *l = mem_alloc(sizeof *l, 16);
    if (!l) return CO_E_NOMEM;
    l->plan = p;
    l->parts = mem_calloc(p->n_steps + 1, sizeof *l->parts);
    l->compiled = mem_calloc(p->n_steps + 1, sizeof *l->compiled);
    l->rows = mem_calloc(p->n_steps + 1, sizeof *l->rows);
    int r = l->parts && l->compiled && l->rows ? CO_OK : CO_E_NOMEM;
    for (uint32_t i = 0; i < p->n_steps && r == CO_OK; i++) {
        char what[96];
        l->parts[i] = *p;
        l->parts[i].n_steps = 1;
        l->parts[i].steps = &p->steps[i];
        describe(p, &p->steps[i], what, sizeof what);
        l->rows[i] = row_of(what);
        r = real->prepare(self, &l->parts[i], &l->compiled[i]);
    }
    *out = l; /* also after a failure: discard() frees what there is */
    return r;
}

static void profile_discard(void *self, void *k)
{
    lines *l = k;
    for (uint32_t i = 0; l->compiled && i < l->plan->n_steps; i++)
        if (l->compiled[i]) real->discard(self, l->compiled[i]);
    mem_free(l->parts), mem_free(l->compiled), mem_free(l->rows);
    mem_free(l);
}

/* An async backend is waited for after each line. */
static int done(void *self) { return real->flags & CO_BACKEND_ASYNC ? real->stream_sync(self, NULL) : CO_OK; }

static int profile_run(void *self, void *k, const co_binding *b, co_stream on)
{
    const lines *l = k;
    int r = CO_OK;
    for (uint32_t i = 0; i < l->plan->n_steps && r == CO_OK; i++) {
        const double begin = bench_now();
        r = real->run(self, l->compiled[i], b, on);
        if (r == CO_OK) r = done(self);
        l->rows[i]->seconds += bench_now() - begin;
        l->rows[i]->flops += graph_step_flops(l->plan, &l->plan->steps[i], b->host_live);
        l->rows[i]->calls++;
    }
    return r;
}

static int profile_sqnorm(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on)
{
    row *w = row_of("flat_sqnorm");
    const double begin = bench_now();
    int r = real->flat_sqnorm(self, x, t, n, out, on);
    if (r == CO_OK) r = done(self);
    w->seconds += bench_now() - begin;
    w->bytes += 4.0 * (double)n;
    w->calls++;
    return r;
}

static int profile_adamw(void *self, const co_optim_slice *s, float b1, float b2, float eps, float wd, co_stream on)
{
    row *w = row_of("flat_adamw");
    const double begin = bench_now();
    int r = real->flat_adamw(self, s, b1, b2, eps, wd, on);
    if (r == CO_OK) r = done(self);
    w->seconds += bench_now() - begin;
    w->bytes += 28.0 * (double)s->n;
    w->calls++;
    return r;
}

const co_backend_vt *profile_over(const co_backend_vt *be)
{
    real = be;
    n_rows = n_steps = 0;
    memset(rows, 0, sizeof rows);
    wrapped = *be;
    wrapped.prepare = profile_prepare;
    wrapped.discard = profile_discard;
    wrapped.run = profile_run;
    wrapped.flat_sqnorm = profile_sqnorm;
    wrapped.flat_adamw = profile_adamw;
    return &wrapped;
}

void profile_step(int counts)
{
    for (int i = 0; i < n_rows; i++) {
        if (counts && n_steps < BENCH_MAX_STEPS) rows[i].step[n_steps] = rows[i].seconds;
        if (!counts) rows[i].flops = rows[i].bytes = 0, rows[i].calls = 0;
        rows[i].seconds = 0;
    }
    n_steps += counts;
}

static int slower(const void *a, const void *b)
{
    const double x = ((const row *)a)->seconds, y = ((const row *)b)->seconds;
    return (x < y) - (x > y);
}

void profile_print(double gflops)
{
    double total = 0;
    for (int i = 0; i < n_rows; i++) rows[i].seconds = bench_median(rows[i].step, n_steps);
    for (int i = 0; i < n_rows; i++) total += rows[i].seconds;
    qsort(rows, (size_t)n_rows, sizeof *rows, slower);
    fprintf(stderr, "%9s %6s %6s %9s %6s  %s\n", "ms/step", "%", "calls", "GFLOP/s", "of 1", "line: inputs > outputs");
    for (int i = 0; i < n_rows; i++) {
        const row *w = &rows[i];
        if (w->calls == 0) continue;
        const double flops = w->flops / n_steps, bytes = w->bytes / n_steps;
        fprintf(stderr, "%9.2f %6.1f %6lld", 1e3 * w->seconds, 100 * w->seconds / total, (long long)(w->calls / n_steps));
        if (flops > 0) fprintf(stderr, " %9.1f %6.2f", 1e-9 * flops / w->seconds, 1e-9 * flops / w->seconds / gflops);
        else if (bytes > 0) fprintf(stderr, " %7.1fGB/s %4s", 1e-9 * bytes / w->seconds, "");
        else fprintf(stderr, " %9s %6s", "", "");
        fprintf(stderr, "  %s\n", w->what);
    }
    fprintf(stderr, "%9.2f  together\n", 1e3 * total);
}
