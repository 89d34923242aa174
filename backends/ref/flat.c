/* flat.c: helpers over flat buffers of every type, through double. */
#include "ref.h"
#include <math.h>
#include <string.h>

/* A 16-bit float of `mbits` mantissa bits and exponent bias `bias`: value = (-1)^s 2^(e-bias) 1.m, or
 * (-1)^s 2^(1-bias) 0.m for e = 0; the largest e is infinity or NaN. bfloat16: 7, 127. binary16: 10, 15. */
static double small_to_double(uint16_t b, int mbits, int bias)
{
    const int e = (b & 0x7fff) >> mbits, m = b & ((1 << mbits) - 1), top = 2 * bias + 1;
    double v = e == top ? (m ? NAN : INFINITY) : e ? ldexp((1 << mbits) + m, e - bias - mbits) : ldexp(m, 1 - bias - mbits);
    return b & 0x8000 ? -v : v;
}
/* To nearest, ties to even (the default rounding of rint). Overflow gives infinity. */
static uint16_t small_from_double(double x, int mbits, int bias)
{
    const uint16_t sign = signbit(x) ? 0x8000 : 0;
    const uint16_t inf = (uint16_t)((2 * bias + 1) << mbits);
    if (isnan(x)) return sign | inf | (uint16_t)(1 << (mbits - 1));
    x = fabs(x);
    if (isinf(x)) return sign | inf;
    int e = x > 0 ? ilogb(x) : -10000;
    if (e < 1 - bias) e = 1 - bias; /* subnormal */
    const double units = rint(ldexp(x, mbits - e)); /* of the last place; 2^(mbits+1) carries into the exponent */
    const double code = units + ldexp(e + bias - 1, mbits);
    return sign | (code >= inf ? inf : (uint16_t)code);
}

static double load(const void *p, co_dtype t, int64_t i)
{
    switch (t) {
    case CO_F32: return ((const float *)p)[i];
    case CO_BF16: return small_to_double(((const uint16_t *)p)[i], 7, 127);
    case CO_F16: return small_to_double(((const uint16_t *)p)[i], 10, 15);
    case CO_I32: return ((const int32_t *)p)[i];
    case CO_U8: return ((const uint8_t *)p)[i];
    case CO_I64: return (double)((const int64_t *)p)[i];
    default: return ((const double *)p)[i];
    }
}
/* Towards zero into integers, at their ends held, NaN as 0. */
static double held(double v, double least, double most) { return isnan(v) ? 0 : v < least ? least : v > most ? most : trunc(v); }
static void store(void *p, co_dtype t, int64_t i, double v)
{
    switch (t) {
    case CO_F32: ((float *)p)[i] = (float)v; break;
    case CO_BF16: ((uint16_t *)p)[i] = small_from_double(v, 7, 127); break;
    case CO_F16: ((uint16_t *)p)[i] = small_from_double(v, 10, 15); break;
    case CO_I32: ((int32_t *)p)[i] = (int32_t)held(v, INT32_MIN, INT32_MAX); break;
    case CO_U8: ((uint8_t *)p)[i] = (uint8_t)held(v, 0, 255); break;
    case CO_I64: ((int64_t *)p)[i] = (int64_t)held(v, -0x1p63, 0x1p63 - 1024); break;
    default: ((double *)p)[i] = v; break;
    }
}

int ref_flat_cast(void *self, void *dst, co_dtype dt, const void *src, co_dtype st, int64_t n, co_stream on)
{
    (void)self, (void)on;
    for (int64_t i = 0; i < n; i++) store(dst, dt, i, load(src, st, i));
    return CO_OK;
}
int ref_flat_axpy(void *self, void *y, const void *x, co_dtype t, float a, int64_t n, co_stream on)
{
    (void)self, (void)on;
    for (int64_t i = 0; i < n; i++) store(y, t, i, load(y, t, i) + (double)a * load(x, t, i));
    return CO_OK;
}
int ref_flat_sqnorm(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on)
{
    double sum = 0;
    (void)self, (void)on;
    for (int64_t i = 0; i < n; i++) sum += load(x, t, i) * load(x, t, i);
    *out = sum;
    return CO_OK;
}
int ref_flat_absmax(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on)
{
    double most = 0;
    (void)self, (void)on;
    for (int64_t i = 0; i < n; i++) {
        const double a = fabs(load(x, t, i));
        most = most != most || most > a ? most : a;
    }
    *out = most;
    return CO_OK;
}
int ref_flat_step_factor(void *self, const co_step_rule *rule, const double *sums, int64_t n, co_step_state *state, co_stream on)
{
    double sum = 0;
    (void)self, (void)on;
    for (int64_t i = 0; i < n; i++) sum = co_norm_join(rule, sum, sums[i]);
    co_step_judge(rule, sum, state);
    return CO_OK;
}
/* The formula is in <coati/backend.h>; master and states are fp32, the arithmetic is double. */
int ref_flat_adamw(void *self, const co_optim_slice *s, float b1, float b2, float eps, float wd, co_stream on)
{
    float *m = s->state[0], *v = s->state[1];
    const double scale = (double)s->grad_scale * (s->dev_scale ? *s->dev_scale : 1);
    const double decay = s->flags & CO_SLICE_NO_DECAY ? 0 : wd, t = (double)(s->dev_step ? *s->dev_step : s->step);
    (void)self, (void)on;
    if (s->dev_skip && *s->dev_skip) return CO_OK;
    for (int64_t i = 0; i < s->n; i++) {
        const double g = load(s->grad, (co_dtype)s->grad_dtype, i) * scale;
        const double mi = (double)b1 * m[i] + (1 - (double)b1) * g, vi = (double)b2 * v[i] + (1 - (double)b2) * g * g;
        const double step = mi / (1 - pow(b1, t)) / (sqrt(vi / (1 - pow(b2, t))) + eps) + decay * s->master[i];
        m[i] = (float)mi;
        v[i] = (float)vi;
        s->master[i] = (float)(s->master[i] - s->lr * step);
        if (s->out) store(s->out, (co_dtype)s->out_dtype, i, s->master[i]);
    }
    return CO_OK;
}
