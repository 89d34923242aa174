#include "sum.h"
#include <string.h>

#define BLOCK 2048 /* elements summed at a time: the sums stay in the first-level cache, and `out` may be a source */

#define SUM(name, T)                                                                                          \
    static void name(T *out, const void *const *from, int32_t n_from, int64_t n)                             \
    {                                                                                                         \
        T acc[BLOCK];                                                                                         \
        for (int64_t at = 0; at < n; at += BLOCK) {                                                           \
            const int64_t m = n - at < BLOCK ? n - at : BLOCK;                                                \
            memcpy(acc, (const T *)from[0] + at, (size_t)m * sizeof(T));                                      \
            for (int32_t j = 1; j < n_from; j++) {                                                            \
                const T *x = (const T *)from[j] + at;                                                         \
                for (int64_t i = 0; i < m; i++) acc[i] = (T)(acc[i] + x[i]);                                  \
            }                                                                                                 \
            memcpy(out + at, acc, (size_t)m * sizeof(T));                                                     \
        }                                                                                                     \
    }
SUM(sum_f32, float)
SUM(sum_f64, double)
SUM(sum_u8, uint8_t)
SUM(sum_u32, uint32_t) /* two's complement: also for signed ones, without undefined overflow */
SUM(sum_u64, uint64_t)

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}
static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static float from_bf16(uint16_t h) { return float_of((uint32_t)h << 16); }
static uint16_t to_bf16(float f)
{
    const uint32_t u = bits_of(f), rounded = u + 0x7fffu + (u >> 16 & 1u);
    return (uint16_t)(((u & 0x7fffffffu) > 0x7f800000u ? u | 0x400000u : rounded) >> 16); /* NaN stays NaN */
}
/* The exponent moves from bias 15 to 127 by a product, which is exact and also normalises subnormals. */
static float from_f16(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, a = (uint32_t)(h & 0x7fffu) << 13;
    const uint32_t u = bits_of(float_of(a) * 0x1p112f);
    return float_of(sign | (a >= 0x0f800000u ? u | 0x7f800000u : u));
}
static uint16_t to_f16(float f)
{
    const uint32_t u = bits_of(f), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    const uint32_t normal = (a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13;
    const uint32_t tiny = bits_of(float_of(a < 0x38800000u ? a : 0u) + 0.5f) - 0x3f000000u; /* the addition rounds */
    const uint32_t big = a > 0x7f800000u ? 0x7e00u : 0x7c00u;
    return (uint16_t)(sign | (a >= 0x477ff000u ? big : a < 0x38800000u ? tiny : normal)); /* 65520 and above: infinity */
}

#define SUM_HALF(name, widen, narrow)                                                                         \
    static void name(uint16_t *out, const void *const *from, int32_t n_from, int64_t n)                       \
    {                                                                                                         \
        float acc[BLOCK];                                                                                     \
        for (int64_t at = 0; at < n; at += BLOCK) {                                                           \
            const int64_t m = n - at < BLOCK ? n - at : BLOCK;                                                \
            const uint16_t *x = (const uint16_t *)from[0] + at;                                               \
            for (int64_t i = 0; i < m; i++) acc[i] = widen(x[i]);                                             \
            for (int32_t j = 1; j < n_from; j++) {                                                            \
                x = (const uint16_t *)from[j] + at;                                                           \
                for (int64_t i = 0; i < m; i++) acc[i] += widen(x[i]);                                        \
            }                                                                                                 \
            for (int64_t i = 0; i < m; i++) out[at + i] = narrow(acc[i]);                                     \
        }                                                                                                     \
    }
SUM_HALF(sum_bf16, from_bf16, to_bf16)
SUM_HALF(sum_f16, from_f16, to_f16)

int sum_in_order(void *out, const void *const *from, int32_t n_from, int64_t n, co_dtype t)
{
    switch (t) {
    case CO_F32: sum_f32(out, from, n_from, n); return 1;
    case CO_BF16: sum_bf16(out, from, n_from, n); return 1;
    case CO_F16: sum_f16(out, from, n_from, n); return 1;
    case CO_F64: sum_f64(out, from, n_from, n); return 1;
    case CO_U8: sum_u8(out, from, n_from, n); return 1;
    case CO_I32: sum_u32(out, from, n_from, n); return 1;
    case CO_I64: sum_u64(out, from, n_from, n); return 1;
    }
    return 0;
}
