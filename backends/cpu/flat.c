/* flat.c: helpers over flat buffers. Sums go in blocks of fixed size, so that they do not depend on the threads. */
#include "flat.h"
#include <math.h>
#include <string.h>

static float half_to_float(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = h >> 10 & 31u, m = h & 1023u;
    uint32_t bits;
    float f;
    if (e == 0) {
        f = (float)m * 0x1p-24f;
        return sign ? -f : f;
    }
    bits = sign | (e == 31 ? 0x7f800000u : (e + 112u) << 23) | m << 13;
    memcpy(&f, &bits, sizeof f);
    return f;
}
static uint16_t float_to_half(float f)
{
    uint32_t b;
    memcpy(&b, &f, sizeof b);
    const uint16_t sign = (uint16_t)(b >> 16 & 0x8000u);
    const uint32_t a = b & 0x7fffffffu;
    if (a > 0x7f800000u) return sign | 0x7e00u;
    if (a >= 0x477ff000u) return sign | 0x7c00u; /* rounds to infinity */
    if (a < 0x38800000u) {                       /* subnormal: the float unit rounds for us */
        float v;
        memcpy(&v, &a, sizeof v);
        return sign | (uint16_t)(int)rintf(v * 0x1p24f);
    }
    return sign | (uint16_t)((a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13);
}
static float bf16_to_float(uint16_t h)
{
    const uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}
static uint16_t float_to_bf16(float f)
{
    uint32_t b;
    memcpy(&b, &f, sizeof b);
    if ((b & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(b >> 16 | 64u);
    return (uint16_t)((b + 0x7fffu + (b >> 16 & 1u)) >> 16);
}

static double load(const void *p, co_dtype t, int64_t i)
{
    switch (t) {
    case CO_F64: return ((const double *)p)[i];
    case CO_F16: return half_to_float(((const uint16_t *)p)[i]);
    case CO_BF16: return bf16_to_float(((const uint16_t *)p)[i]);
    default: return ((const float *)p)[i];
    }
}
static void store(void *p, co_dtype t, int64_t i, double v)
{
    switch (t) {
    case CO_F64: ((double *)p)[i] = v; break;
    case CO_F16: ((uint16_t *)p)[i] = float_to_half((float)v); break;
    case CO_BF16: ((uint16_t *)p)[i] = float_to_bf16((float)v); break;
    default: ((float *)p)[i] = (float)v; break;
    }
}

static int floating(co_dtype t) { return t == CO_F32 || t == CO_BF16 || t == CO_F16 || t == CO_F64; }

int flat_cast(void *self, void *dst, co_dtype dt, const void *src, co_dtype st, int64_t n, co_stream on)
{
    const cpu *c = self;
    (void)on;
    if (!floating(dt) || !floating(st)) return CO_FAIL(c->host, CO_E_UNSUPPORTED, "backend cpu: casts are between floating types");
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t i = 0; i < n; i++) store(dst, dt, i, load(src, st, i));
    return CO_OK;
}

int flat_axpy(void *self, void *y, const void *x, co_dtype t, float a, int64_t n, co_stream on)
{
    const cpu *c = self;
    (void)on;
    if (!floating(t)) return CO_FAIL(c->host, CO_E_UNSUPPORTED, "backend cpu: axpy is for floating types");
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t i = 0; i < n; i++) store(y, t, i, load(y, t, i) + (double)a * load(x, t, i));
    return CO_OK;
}

#define BLOCK 16384
CPU_SIMD static double block_sqnorm(const float *x, int64_t n)
{
    double sum[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++) sum[k] += (double)x[i + k] * x[i + k];
    for (; i < n; i++) sum[0] += (double)x[i] * x[i];
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

int flat_sqnorm(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on)
{
    const cpu *c = self;
    double total = 0;
    (void)on;
    if (t != CO_F32) return CO_FAIL(c->host, CO_E_UNSUPPORTED, "backend cpu: sqnorm is for fp32");
    for (int64_t base = 0; base < n; base += 256 * BLOCK) { /* partial sums are added in order */
        double part[256] = {0};
        const int64_t left = n - base, blocks = left < 256 * BLOCK ? (left + BLOCK - 1) / BLOCK : 256;
#pragma omp parallel for num_threads(c->threads) schedule(static)
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t at = base + b * BLOCK;
            part[b] = block_sqnorm((const float *)x + at, n - at < BLOCK ? n - at : BLOCK);
        }
        for (int64_t b = 0; b < blocks; b++) total += part[b];
    }
    *out = total;
    return CO_OK;
}

CPU_SIMD static void adamw_range(float *restrict p, const float *restrict g, float *restrict m, float *restrict v, int64_t n,
                                 float gs, float b1, float b2, float lr_t, float root, float eps, float decay)
{
    for (int64_t i = 0; i < n; i++) {
        const float x = g[i] * gs;
        const float mi = b1 * m[i] + (1 - b1) * x, vi = b2 * v[i] + (1 - b2) * x * x;
        m[i] = mi;
        v[i] = vi;
        p[i] = p[i] * decay - lr_t * mi / (__builtin_sqrtf(vi) * root + eps);
    }
}

int flat_adamw(void *self, const co_optim_slice *s, float b1, float b2, float eps, float wd, co_stream on)
{
    const cpu *c = self;
    (void)on;
    if (s->grad_dtype != CO_F32 || (s->out && s->out_dtype != CO_F32))
        return CO_FAIL(c->host, CO_E_UNSUPPORTED, "backend cpu: AdamW takes fp32 gradients");
    if (s->dev_skip && *s->dev_skip) return CO_OK;
    const double t = (double)s->step;
    const float lr_t = (float)(s->lr / (1 - pow(b1, t))), root = (float)(1 / sqrt(1 - pow(b2, t)));
    const float decay = s->flags & CO_SLICE_NO_DECAY ? 1.0f : (float)(1 - (double)s->lr * wd);
    const float gs = s->dev_scale ? s->grad_scale * *s->dev_scale : s->grad_scale;
#pragma omp parallel num_threads(c->threads)
    {
        int64_t from, to;
        cpu_share(s->n, omp_get_thread_num(), omp_get_num_threads(), &from, &to);
        adamw_range(s->master + from, (const float *)s->grad + from, (float *)s->state[0] + from, (float *)s->state[1] + from,
                    to - from, gs, b1, b2, lr_t, root, eps, decay);
        if (s->out && s->out != s->master) memcpy((float *)s->out + from, s->master + from, (size_t)(to - from) * sizeof(float));
    }
    return CO_OK;
}
