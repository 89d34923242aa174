/* flat.c: helpers over flat buffers. Sums go in blocks of fixed size, so that they do not depend on the threads. */
#include "flat.h"
#include "half.h"
#include <math.h>

static double load(const void *p, co_dtype t, int64_t i)
{
    switch (t) {
    case CO_F64: return ((const double *)p)[i];
    case CO_F16: return f16_to_f32(((const uint16_t *)p)[i]);
    case CO_BF16: return bf16_to_f32(((const uint16_t *)p)[i]);
    default: return ((const float *)p)[i];
    }
}
static void store(void *p, co_dtype t, int64_t i, double v)
{
    switch (t) {
    case CO_F64: ((double *)p)[i] = v; break;
    case CO_F16: ((uint16_t *)p)[i] = f16_from_f32((float)v); break;
    case CO_BF16: ((uint16_t *)p)[i] = bf16_from_f32((float)v); break;
    default: ((float *)p)[i] = (float)v; break;
    }
}

static int floating(co_dtype t) { return t == CO_F32 || t == CO_BF16 || t == CO_F16 || t == CO_F64; }
static int up_to_fp32(co_dtype t) { return t == CO_F32 || t == CO_BF16 || t == CO_F16; }

#define PIECE 1024 /* elements that pass through fp32 on a thread's stack */
static void cast_piece(const cpu *c, void *dst, co_dtype dt, const void *src, co_dtype st, int64_t at, int64_t n)
{
    float x[PIECE];
    char *const to = (char *)dst + (size_t)at * co_dtype_bytes(dt);
    const char *const from = (const char *)src + (size_t)at * co_dtype_bytes(st);
    if (dt == CO_F32) c->simd->widen((float *)(void *)to, from, st, n);
    else if (st == CO_F32) c->simd->narrow(to, dt, (const float *)(const void *)from, n);
    else c->simd->widen(x, from, st, n), c->simd->narrow(to, dt, x, n);
}

int flat_cast(void *self, void *dst, co_dtype dt, const void *src, co_dtype st, int64_t n, co_stream on)
{
    const cpu *c = self;
    (void)on;
    if (!floating(dt) || !floating(st)) return CO_FAIL(c->host, CO_E_UNSUPPORTED, "backend cpu: casts are between floating types");
    if (up_to_fp32(dt) && up_to_fp32(st)) {
#pragma omp parallel for num_threads(c->threads) schedule(static)
        for (int64_t i = 0; i < n; i += PIECE) cast_piece(c, dst, dt, src, st, i, n - i < PIECE ? n - i : PIECE);
        return CO_OK;
    }
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t i = 0; i < n; i++) store(dst, dt, i, load(src, st, i));
    return CO_OK;
}

int flat_axpy(void *self, void *y, const void *x, co_dtype t, float a, int64_t n, co_stream on)
{
    const cpu *c = self;
    (void)on;
    if (!floating(t)) return CO_FAIL(c->host, CO_E_UNSUPPORTED, "backend cpu: axpy is for floating types");
    if (t == CO_F32 && a == 1) { /* sums of gradients; in double it would round to the same */
        float *const to = y;
        const float *const from = x;
#pragma omp parallel for simd num_threads(c->threads) schedule(static)
        for (int64_t i = 0; i < n; i++) to[i] += from[i];
        return CO_OK;
    }
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t i = 0; i < n; i++) store(y, t, i, load(y, t, i) + (double)a * load(x, t, i));
    return CO_OK;
}

#define BLOCK 16384
static double typed_sqnorm(const cpu *c, const void *x, co_dtype t, int64_t at, int64_t n)
{
    float wide[PIECE];
    double sum = 0;
    if (t == CO_F32) return c->simd->sqnorm((const float *)x + at, n);
    for (int64_t i = 0; i < n; i += PIECE) {
        const int64_t m = n - i < PIECE ? n - i : PIECE;
        c->simd->widen(wide, (const uint16_t *)x + at + i, t, m);
        sum += c->simd->sqnorm(wide, m);
    }
    return sum;
}

int flat_sqnorm(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on)
{
    const cpu *c = self;
    double total = 0;
    (void)on;
    if (!up_to_fp32(t)) return CO_FAIL(c->host, CO_E_UNSUPPORTED, "backend cpu: sqnorm is for fp32, bf16 and fp16");
    for (int64_t base = 0; base < n; base += 256 * BLOCK) { /* partial sums are added in order */
        double part[256] = {0};
        const int64_t left = n - base, blocks = left < 256 * BLOCK ? (left + BLOCK - 1) / BLOCK : 256;
#pragma omp parallel for num_threads(c->threads) schedule(static)
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t at = base + b * BLOCK;
            part[b] = typed_sqnorm(c, x, t, at, n - at < BLOCK ? n - at : BLOCK);
        }
        for (int64_t b = 0; b < blocks; b++) total += part[b];
    }
    *out = total;
    return CO_OK;
}

int flat_absmax(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on)
{
    const cpu *c = self;
    double most = 0;
    int nan = 0;
    (void)on;
    if (!up_to_fp32(t)) return CO_FAIL(c->host, CO_E_UNSUPPORTED, "backend cpu: absmax is for fp32, bf16 and fp16");
#pragma omp parallel for num_threads(c->threads) schedule(static) reduction(max : most) reduction(| : nan)
    for (int64_t i = 0; i < n; i += PIECE) {
        float wide[PIECE];
        const int64_t m = n - i < PIECE ? n - i : PIECE;
        c->simd->widen(wide, (const char *)x + (size_t)i * co_dtype_bytes(t), t, m);
        float here = 0;
        for (int64_t k = 0; k < m; k++) {
            const float a = fabsf(wide[k]);
            here = a > here ? a : here;
            nan |= a != a;
        }
        if (here > most) most = here;
    }
    *out = nan ? NAN : most;
    return CO_OK;
}

int flat_adamw(void *self, const co_optim_slice *s, float b1, float b2, float eps, float wd, co_stream on)
{
    const cpu *c = self;
    (void)on;
    if (!up_to_fp32((co_dtype)s->grad_dtype) || (s->out && !up_to_fp32((co_dtype)s->out_dtype)) || (!s->master && (!s->low || s->out_dtype != CO_BF16)))
        return CO_FAIL(c->host, CO_E_UNSUPPORTED, "backend cpu: AdamW takes and gives fp32, bf16 and fp16");
    if (s->dev_skip && *s->dev_skip) return CO_OK;
    const double t = (double)(s->dev_step ? *s->dev_step : s->step);
    const cpu_adamw now = {.grad_scale = s->dev_scale ? s->grad_scale * *s->dev_scale : s->grad_scale, .b1 = b1, .b2 = b2,
                           .lr_t = (float)(s->lr / (1 - pow(b1, t))), .root = (float)(1 / sqrt(1 - pow(b2, t))), .eps = eps,
                           .decay = s->flags & CO_SLICE_NO_DECAY ? 1.0f : (float)(1 - (double)s->lr * wd)};
    const size_t grad = co_dtype_bytes(s->grad_dtype), copy = co_dtype_bytes(s->out_dtype);
#pragma omp parallel num_threads(c->threads)
    {
        float wide[PIECE], joined[PIECE];
        int64_t from, to;
        cpu_share(s->n, omp_get_thread_num(), omp_get_num_threads(), &from, &to);
        const int64_t step = s->grad_dtype == CO_F32 && !s->out ? to - from : PIECE; /* what is converted stays in the cache */
        for (int64_t i = from, n; i < to; i += n) {
            const float *g = (const float *)s->grad + i;
            uint16_t *const half = s->master ? NULL : (uint16_t *)s->out + i; /* of the master, if it is in halves */
            n = to - i < step ? to - i : step;
            if (s->grad_dtype != CO_F32) c->simd->widen(wide, (const char *)s->grad + (size_t)i * grad, s->grad_dtype, n), g = wide;
            if (!s->master) c->simd->join(joined, half, s->low + i, n);
            c->simd->adamw(s->master ? s->master + i : joined, g, (float *)s->state[0] + i, (float *)s->state[1] + i, n, &now);
            if (!s->master) c->simd->part(half, s->low + i, joined, n);
            else if (s->out && s->out != s->master) c->simd->narrow((char *)s->out + (size_t)i * copy, s->out_dtype, s->master + i, n);
        }
    }
    return CO_OK;
}

int flat_step_factor(void *self, const co_step_rule *rule, const double *sums, int64_t n, co_step_state *state, co_stream on)
{
    double sum = 0;
    (void)self, (void)on;
    for (int64_t i = 0; i < n; i++) sum = co_norm_join(rule, sum, sums[i]);
    co_step_judge(rule, sum, state);
    return CO_OK;
}
