/* activation.c: SwiGLU and the one-input functions, row by row; results may stand where an input stood. */
#include "kernels.h"
#include <math.h>

static void swiglu_row(const float *g, const float *u, float *y, int64_t n)
{
    for (int64_t j = 0; j < n; j++) y[j] = g[j] / (1.0f + cpu_expf(-g[j])) * u[j];
}
void k_swiglu(const cpu_step *s)
{
    const view *g = &s->in[0], *u = &s->in[1], *y = &s->out[0];
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < g->rows; t++)
        swiglu_row(g->p + t * g->stride, u->p + t * u->stride, y->p + t * y->stride, g->cols);
}

/* h = g sig(g) u: dg = dh u sig(g) (1 + g (1 - sig(g))), du = dh g sig(g). */
static void swiglu_row_bwd(const float *g, const float *u, const float *dh, float *dg, float *du, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        const float x = g[j], v = u[j], d = dh[j], sig = 1.0f / (1.0f + cpu_expf(-x));
        if (dg) dg[j] = d * v * sig * (1.0f + x * (1.0f - sig));
        if (du) du[j] = d * x * sig;
    }
}
void k_swiglu_bwd(const cpu_step *s)
{
    const view *g = &s->in[0], *u = &s->in[1], *dh = &s->in[2], *dg = &s->out[0], *du = &s->out[1];
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < g->rows; t++)
        swiglu_row_bwd(g->p + t * g->stride, u->p + t * u->stride, dh->p + t * dh->stride, dg->p ? dg->p + t * dg->stride : NULL,
                       du->p ? du->p + t * du->stride : NULL, g->cols);
}

static void swiglu_row_grad(const float *g, const float *u, const float *dh, float *h, float *dg, float *du, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        const float x = g[j], v = u[j], d = dh[j], sig = 1.0f / (1.0f + cpu_expf(-x));
        if (h) h[j] = x * sig * v;
        if (dg) dg[j] = d * v * sig * (1.0f + x * (1.0f - sig));
        if (du) du[j] = d * x * sig;
    }
}
static float *row(const view *v, int64_t t) { return v->p ? v->p + t * v->stride : NULL; }
void k_swiglu_grad(const cpu_step *s)
{
    const view *in = s->in, *out = s->out;
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < in[0].rows; t++)
        swiglu_row_grad(row(&in[0], t), row(&in[1], t), row(&in[2], t), row(&out[0], t), row(&out[1], t), row(&out[2], t), in[0].cols);
}

#define GELU_C 0.7978845608028653559 /* sqrt(2/pi) */
static float gelu(float x, int tanh_approx)
{
    if (!tanh_approx) return (float)(0.5 * x * (1 + erf(x * 0.70710678118654752440)));
    return (float)(0.5 * x * (1 + tanh(GELU_C * (x + 0.044715 * (double)x * x * x))));
}
static float gelu_slope(float x, int tanh_approx)
{
    if (!tanh_approx)
        return (float)(0.5 * (1 + erf(x * 0.70710678118654752440)) + x * 0.39894228040143267794 * exp(-0.5 * (double)x * x));
    const double t = tanh(GELU_C * (x + 0.044715 * (double)x * x * x));
    return (float)(0.5 * (1 + t) + 0.5 * x * (1 - t * t) * GELU_C * (1 + 3 * 0.044715 * (double)x * x));
}

static void scale_row(const float *x, float *y, int64_t n, float k)
{
    for (int64_t j = 0; j < n; j++) y[j] = x[j] * k;
}

static void unary_row(const cpu_step *s, const float *x, float *y, int64_t n)
{
    const co_attr_range *range = cpu_attrs(s);
    const int flag = s->op->attrs_size == sizeof(co_attr_i32) ? ((const co_attr_i32 *)cpu_attrs(s))->v : 0;
    switch (s->op->op) {
    case CO_OP_SCALE: scale_row(x, y, n, ((const co_attr_f32 *)cpu_attrs(s))->v); break;
    case CO_OP_STOP_GRADIENT: scale_row(x, y, n, 1); break;
    case CO_OP_GELU: for (int64_t j = 0; j < n; j++) y[j] = gelu(x[j], flag); break;
    case CO_OP_SILU: for (int64_t j = 0; j < n; j++) y[j] = x[j] / (1.0f + expf(-x[j])); break;
    case CO_OP_RELU: for (int64_t j = 0; j < n; j++) y[j] = x[j] > 0 ? x[j] : 0; break;
    case CO_OP_EXP: for (int64_t j = 0; j < n; j++) y[j] = expf(x[j]); break;
    case CO_OP_LOG_SIGMOID: /* min(x, 0) - log1p(exp(-|x|)): exact at both ends */
        for (int64_t j = 0; j < n; j++) y[j] = (x[j] < 0 ? x[j] : 0) - log1pf(expf(-fabsf(x[j])));
        break;
    case CO_OP_CLAMP: for (int64_t j = 0; j < n; j++) y[j] = x[j] < range->lo ? range->lo : x[j] > range->hi ? range->hi : x[j]; break;
    default: break;
    }
}
void k_unary(const cpu_step *s)
{
    const view *x = &s->in[0], *y = &s->out[0];
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < x->rows; t++) unary_row(s, x->p + t * x->stride, y->p + t * y->stride, x->cols);
}

static void unary_row_bwd(const cpu_step *s, const float *x, const float *dy, float *dx, int64_t n)
{
    const co_attr_range *range = cpu_attrs(s);
    const int flag = s->op->attrs_size == sizeof(co_attr_i32) ? ((const co_attr_i32 *)cpu_attrs(s))->v : 0;
    for (int64_t j = 0; j < n; j++) {
        const float v = x[j];
        float slope = 0;
        switch (s->op->op) {
        case CO_OP_GELU_BWD: slope = gelu_slope(v, flag); break;
        case CO_OP_SILU_BWD: {
            const float sig = 1.0f / (1.0f + expf(-v));
            slope = sig * (1.0f + v * (1.0f - sig));
            break;
        }
        case CO_OP_RELU_BWD: slope = v > 0; break;
        case CO_OP_LOG_SIGMOID_BWD: slope = 1.0f / (1.0f + expf(v)); break;
        case CO_OP_CLAMP_BWD: slope = v >= range->lo && v <= range->hi; break;
        default: break;
        }
        dx[j] = dy[j] * slope;
    }
}
void k_unary_bwd(const cpu_step *s)
{
    const view *x = &s->in[0], *dy = &s->in[1], *dx = &s->out[0];
    if (!dx->p) return;
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < x->rows; t++)
        unary_row_bwd(s, x->p + t * x->stride, dy->p + t * dy->stride, dx->p + t * dx->stride, x->cols);
}
