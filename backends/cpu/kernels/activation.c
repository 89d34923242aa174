/* activation.c: SwiGLU and the one-input functions, row by row; results may stand where an input stood, exactly: so each loop
 * is `simd`, or the compiler would keep to single numbers wherever two pointers meet. */
#include "kernels.h"
#include <math.h>

static inline float sigmoid(float x) { return 1.0f / (1.0f + cpu_expf(-x)); }

static void swiglu_row(const float *g, const float *u, float *y, int64_t n)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++) y[j] = g[j] * sigmoid(g[j]) * u[j];
}
void k_swiglu(const cpu_step *s)
{
    const view *g = &s->in[0], *u = &s->in[1], *y = &s->out[0];
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < g->rows; t++)
        swiglu_row(g->p + t * g->stride, u->p + t * u->stride, y->p + t * y->stride, g->cols);
}

/* h = g sig(g) u: dg = dh u sig(g) (1 + g (1 - sig(g))), du = dh g sig(g). */
static void swiglu_row_grad(const float *g, const float *u, const float *dh, float *h, float *dg, float *du, int64_t n)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        const float x = g[j], v = u[j], d = dh[j], sig = sigmoid(x), y = x * sig;
        h[j] = y * v;
        dg[j] = d * v * sig * (1.0f + x - y);
        du[j] = d * y;
    }
}
#define PIECE 1024 /* columns; what nobody wants goes to the stack */
static void swiglu_grad(const cpu_step *s, const view *h, const view *dg, const view *du)
{
    const view *g = &s->in[0], *u = &s->in[1], *dh = &s->in[2];
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < g->rows; t++)
        for (int64_t j = 0; j < g->cols; j += PIECE) {
            float spare[3][PIECE];
            swiglu_row_grad(g->p + t * g->stride + j, u->p + t * u->stride + j, dh->p + t * dh->stride + j,
                            h->p ? h->p + t * h->stride + j : spare[0], dg->p ? dg->p + t * dg->stride + j : spare[1],
                            du->p ? du->p + t * du->stride + j : spare[2], g->cols - j < PIECE ? g->cols - j : PIECE);
        }
}
void k_swiglu_bwd(const cpu_step *s) { swiglu_grad(s, &(view){0}, &s->out[0], &s->out[1]); }
void k_swiglu_grad(const cpu_step *s) { swiglu_grad(s, &s->out[0], &s->out[1], &s->out[2]); }

/* 0.5 x (1 + tanh u) = x sig(2 u), u = sqrt(2/pi) (x + 0.044715 x^3) (Hendrycks & Gimpel 2016). */
#define GELU_2C 1.5957691216057307117f /* 2 sqrt(2/pi) */
static inline float gelu_tanh(float x) { return x * sigmoid(GELU_2C * (x + 0.044715f * x * x * x)); }
static inline float gelu_tanh_slope(float x)
{
    const float sig = sigmoid(GELU_2C * (x + 0.044715f * x * x * x));
    return sig + x * sig * (1 - sig) * GELU_2C * (1 + 3 * 0.044715f * x * x);
}
/* The normal distribution, 0.5 erfc(-x / sqrt 2): a Chebyshev fit of relative error 1.2e-7 (Press et al., Numerical Recipes,
 * 6.2). Below -14 it is 0 in fp32. */
static inline float normal_cdf(float x)
{
    const float z = __builtin_fabsf(x) * 0.70710678118654752440f, t = 1.0f / (1.0f + 0.5f * z);
    float p = 0.17087277f;
    p = p * t - 0.82215223f;
    p = p * t + 1.48851587f;
    p = p * t - 1.13520398f;
    p = p * t + 0.27886807f;
    p = p * t - 0.18628806f;
    p = p * t + 0.09678418f;
    p = p * t + 0.37409196f;
    p = p * t + 1.00002368f;
    p = p * t - 1.26551223f;
    const float tail = 0.5f * t * cpu_expf(p - z * z);
    return x < 0 ? tail : 1 - tail;
}
static inline float gelu_erf_slope(float x) { return normal_cdf(x) + x * 0.39894228040143267794f * cpu_expf(-0.5f * x * x); }

#define EACH(to, value)                                                     \
    do {                                                                    \
        _Pragma("omp simd") for (int64_t j = 0; j < n; j++) to[j] = (value); \
    } while (0)

static void unary_row(const cpu_step *s, const float *x, float *y, int64_t n)
{
    const co_attr_range *range = cpu_attrs(s);
    const int flag = s->op->attrs_size == sizeof(co_attr_i32) ? ((const co_attr_i32 *)cpu_attrs(s))->v : 0;
    const float k = s->op->op == CO_OP_SCALE ? ((const co_attr_f32 *)cpu_attrs(s))->v : 1;
    switch (s->op->op) {
    case CO_OP_SCALE: EACH(y, x[j] * k); break;
    case CO_OP_STOP_GRADIENT: EACH(y, x[j]); break;
    case CO_OP_GELU:
        if (flag) EACH(y, gelu_tanh(x[j]));
        else EACH(y, x[j] * normal_cdf(x[j]));
        break;
    case CO_OP_SILU: EACH(y, x[j] * sigmoid(x[j])); break;
    case CO_OP_RELU: EACH(y, x[j] > 0 ? x[j] : 0); break;
    case CO_OP_EXP: for (int64_t j = 0; j < n; j++) y[j] = expf(x[j]); break;
    case CO_OP_LOG_SIGMOID: /* min(x, 0) - log1p(exp(-|x|)): exact at both ends */
        for (int64_t j = 0; j < n; j++) y[j] = (x[j] < 0 ? x[j] : 0) - log1pf(expf(-fabsf(x[j])));
        break;
    case CO_OP_CLAMP: EACH(y, x[j] < range->lo ? range->lo : x[j] > range->hi ? range->hi : x[j]); break;
    default: break;
    }
}
void k_unary(const cpu_step *s)
{
    const view *x = &s->in[0], *y = &s->out[0];
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < x->rows; t++) unary_row(s, x->p + t * x->stride, y->p + t * y->stride, x->cols);
}

static inline float silu_slope(float x)
{
    const float sig = sigmoid(x);
    return sig * (1.0f + x * (1.0f - sig));
}
static void unary_row_bwd(const cpu_step *s, const float *x, const float *dy, float *dx, int64_t n)
{
    const co_attr_range *range = cpu_attrs(s);
    const int flag = s->op->attrs_size == sizeof(co_attr_i32) ? ((const co_attr_i32 *)cpu_attrs(s))->v : 0;
    switch (s->op->op) {
    case CO_OP_GELU_BWD:
        if (flag) EACH(dx, dy[j] * gelu_tanh_slope(x[j]));
        else EACH(dx, dy[j] * gelu_erf_slope(x[j]));
        break;
    case CO_OP_SILU_BWD: EACH(dx, dy[j] * silu_slope(x[j])); break;
    case CO_OP_RELU_BWD: EACH(dx, x[j] > 0 ? dy[j] : 0); break;
    case CO_OP_LOG_SIGMOID_BWD: EACH(dx, dy[j] * sigmoid(-x[j])); break;
    case CO_OP_CLAMP_BWD: EACH(dx, x[j] >= range->lo && x[j] <= range->hi ? dy[j] : 0); break;
    default: break;
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
