/* half.h: bf16 and fp16 to and from fp32, to nearest even, without branches so that loops over rows become vector code
 * (kernels/half.c). */
#ifndef CPU_HALF_H
#define CPU_HALF_H
#include <stdint.h>
#include <string.h>

static inline uint32_t half_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}
static inline float half_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline float bf16_to_f32(uint16_t h) { return half_float((uint32_t)h << 16); }
static inline uint16_t bf16_from_f32(float f)
{
    const uint32_t u = half_bits(f), rounded = u + 0x7fffu + (u >> 16 & 1u);
    return (uint16_t)(((u & 0x7fffffffu) > 0x7f800000u ? u | 0x400000u : rounded) >> 16); /* NaN stays NaN */
}
/* The exponent moves from bias 15 to 127 by a product, which is exact and also normalises subnormals. */
static inline float f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, a = (uint32_t)(h & 0x7fffu) << 13;
    const uint32_t u = half_bits(half_float(a) * 0x1p112f);
    return half_float(sign | (a >= 0x0f800000u ? u | 0x7f800000u : u));
}
static inline uint16_t f16_from_f32(float f)
{
    const uint32_t u = half_bits(f), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    const uint32_t normal = (a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13;
    const uint32_t tiny = half_bits(half_float(a < 0x38800000u ? a : 0u) + 0.5f) - 0x3f000000u; /* the addition rounds */
    const uint32_t big = a > 0x7f800000u ? 0x7e00u : 0x7c00u;
    return (uint16_t)(sign | (a >= 0x477ff000u ? big : a < 0x38800000u ? tiny : normal)); /* 65520 and above: infinity */
}
#endif
