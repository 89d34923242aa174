/* norm.c: RMSNorm (Zhang & Sennrich 2019) and LayerNorm (Ba et al. 2016), statistics in fp32 over blocks. The backward
 * reads x again instead of kept statistics, adds the residual's gradient in the same pass, and sums weight gradients in
 * one row per thread, added up in order. dx may be dy or res, exactly: those loops are `simd`. */
#include "kernels.h"
#include <math.h>
#include <string.h>

size_t k_norm_scratch(const cpu *c, const co_plan *p, const co_step_op *op)
{
    return (size_t)c->threads * 2 * (size_t)((p->values[op->in[0]].shape.ne[1] + 63) & ~(int64_t)63) * sizeof(float);
}

static void rms_row(const float *x, const float *w, float *y, int64_t d, float eps)
{
    float sum = 0;
    for (int64_t j = 0; j < d; j++) sum += x[j] * x[j];
    const float r = 1.0f / __builtin_sqrtf(sum / (float)d + eps);
    for (int64_t j = 0; j < d; j++) y[j] = x[j] * r * w[j];
}

void k_rmsnorm(const cpu_step *s)
{
    const view *x = &s->in[0], *y = &s->out[0];
    const float eps = ((const co_attr_f32 *)cpu_attrs(s))->v;
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < x->rows; t++) rms_row(x->p + t * x->stride, s->in[1].p, y->p + t * y->stride, x->cols, eps);
}

/* y = x r w, r = rsqrt(mean(x^2) + eps): dx = r (dy w) - x r^3 mean(dy w x). dx may be dy or res. */
static void rms_row_bwd(const float *x, const float *w, const float *dy, const float *res, float *dx, float *dw, int64_t d,
                                 float eps)
{
    float sum = 0, dot = 0;
    for (int64_t j = 0; j < d; j++) sum += x[j] * x[j];
    for (int64_t j = 0; j < d; j++) dot += dy[j] * w[j] * x[j];
    const float r = 1.0f / __builtin_sqrtf(sum / (float)d + eps), k = r * r * r * dot / (float)d;
    if (dw)
        for (int64_t j = 0; j < d; j++) dw[j] += dy[j] * x[j] * r;
    if (dx && res) {
#pragma omp simd
        for (int64_t j = 0; j < d; j++) dx[j] = res[j] + (r * dy[j] * w[j] - x[j] * k);
    } else if (dx) {
#pragma omp simd
        for (int64_t j = 0; j < d; j++) dx[j] = r * dy[j] * w[j] - x[j] * k;
    }
}

static void add_up(const cpu_step *s, const float *part, int64_t pitch, int threads, const view *out)
{
    if (!out->p) return;
    for (int64_t j = 0; j < out->rows; j++) {
        double sum = out->add ? out->p[j] : 0;
        for (int i = 0; i < threads; i++) sum += part[i * pitch + j];
        out->p[j] = (float)sum;
    }
    (void)s;
}

void k_rmsnorm_bwd(const cpu_step *s)
{
    const view *x = &s->in[0], *dy = &s->in[2], *res = &s->in[3], *dx = &s->out[0];
    const float eps = ((const co_attr_f32 *)cpu_attrs(s))->v;
    const int64_t d = x->cols, pitch = (d + 63) & ~(int64_t)63;
    float *part = (float *)(void *)s->scratch;
    const int threads = s->c->threads;
    memset(part, 0, (size_t)(threads * pitch) * sizeof(float));
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int i = 0; i < threads; i++) {
        int64_t from, to;
        cpu_share(x->rows, i, threads, &from, &to);
        for (int64_t t = from; t < to; t++)
            rms_row_bwd(x->p + t * x->stride, s->in[1].p, dy->p + t * dy->stride, res->p ? res->p + t * res->stride : NULL,
                        dx->p ? dx->p + t * dx->stride : NULL, s->out[1].p ? part + i * pitch : NULL, d, eps);
    }
    add_up(s, part, pitch, threads, &s->out[1]);
}

static void layer_stats(const float *x, int64_t d, float eps, float *mean, float *rstd)
{
    float sum = 0, sq = 0;
    for (int64_t j = 0; j < d; j++) sum += x[j];
    const float m = sum / (float)d;
    for (int64_t j = 0; j < d; j++) sq += (x[j] - m) * (x[j] - m);
    *mean = m;
    *rstd = 1.0f / __builtin_sqrtf(sq / (float)d + eps);
}

void k_layernorm(const cpu_step *s)
{
    const view *x = &s->in[0], *y = &s->out[0];
    const float eps = ((const co_attr_f32 *)cpu_attrs(s))->v, *w = s->in[1].p, *b = s->in[2].p;
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < x->rows; t++) {
        const float *row = x->p + t * x->stride;
        float *o = y->p + t * y->stride, mean, rstd;
        layer_stats(row, x->cols, eps, &mean, &rstd);
        if (b)
            for (int64_t j = 0; j < x->cols; j++) o[j] = (row[j] - mean) * rstd * w[j] + b[j];
        else
            for (int64_t j = 0; j < x->cols; j++) o[j] = (row[j] - mean) * rstd * w[j];
    }
}

static void layer_row_bwd(const float *x, const float *w, const float *dy, const float *res, float *dx, float *dw, float *db,
                                   int64_t d, float mean, float rstd)
{
    float a = 0, c = 0;
    for (int64_t j = 0; j < d; j++) a += dy[j] * w[j];
    for (int64_t j = 0; j < d; j++) c += dy[j] * w[j] * (x[j] - mean) * rstd;
    a /= (float)d;
    c /= (float)d;
    if (dw)
        for (int64_t j = 0; j < d; j++) dw[j] += dy[j] * (x[j] - mean) * rstd;
    if (db)
        for (int64_t j = 0; j < d; j++) db[j] += dy[j];
    if (dx && res) {
#pragma omp simd
        for (int64_t j = 0; j < d; j++) dx[j] = res[j] + rstd * (dy[j] * w[j] - a - (x[j] - mean) * rstd * c);
    } else if (dx) {
#pragma omp simd
        for (int64_t j = 0; j < d; j++) dx[j] = rstd * (dy[j] * w[j] - a - (x[j] - mean) * rstd * c);
    }
}

void k_layernorm_bwd(const cpu_step *s)
{
    const view *x = &s->in[0], *dy = &s->in[2], *res = &s->in[3], *dx = &s->out[0];
    const float eps = ((const co_attr_f32 *)cpu_attrs(s))->v;
    const int64_t d = x->cols, pitch = (d + 63) & ~(int64_t)63;
    const int threads = s->c->threads;
    float *part = (float *)(void *)s->scratch, *part_b = part + threads * pitch;
    memset(part, 0, (size_t)(2 * threads * pitch) * sizeof(float));
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int i = 0; i < threads; i++) {
        int64_t from, to;
        cpu_share(x->rows, i, threads, &from, &to);
        for (int64_t t = from; t < to; t++) {
            float mean, rstd;
            layer_stats(x->p + t * x->stride, d, eps, &mean, &rstd);
            layer_row_bwd(x->p + t * x->stride, s->in[1].p, dy->p + t * dy->stride, res->p ? res->p + t * res->stride : NULL,
                          dx->p ? dx->p + t * dx->stride : NULL, part + i * pitch, part_b + i * pitch, d, mean, rstd);
        }
    }
    add_up(s, part, pitch, threads, &s->out[1]);
    add_up(s, part_b, pitch, threads, &s->out[2]);
}
