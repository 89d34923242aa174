/* half.h: 16-bit floats to and from fp32, by bits, round to nearest even. */
#ifndef CORE_PARAMS_HALF_H
#define CORE_PARAMS_HALF_H
#include <stdint.h>
#include <string.h>

static inline float half_from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline uint32_t half_to_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static inline float bf16_to_f32(uint16_t h) { return half_from_bits((uint32_t)h << 16); }
static inline uint16_t bf16_from_f32(float f)
{
    uint32_t u = half_to_bits(f);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(u >> 16 | 0x40u); /* NaN stays NaN */
    return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1u)) >> 16);
}

static inline float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exp = h >> 10 & 31u, man = h & 0x3FFu;
    if (exp == 31) return half_from_bits(sign | 0x7F800000u | man << 13);
    if (exp) return half_from_bits(sign | (exp + 112u) << 23 | man << 13);
    float tiny = (float)man * 0x1p-24f; /* subnormal: exact */
    return sign ? -tiny : tiny;
}
static inline uint16_t f16_from_f32(float f)
{
    uint32_t u = half_to_bits(f), sign = u >> 16 & 0x8000u, a = u & 0x7FFFFFFFu;
    if (a > 0x7F800000u) return (uint16_t)(sign | 0x7E00u);
    if (a >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u); /* 65520 and above rounds to infinity */
    if (a < 0x38800000u) {                                   /* below 2^-14: subnormal, the addition rounds */
        float r = half_from_bits(a) + 0.5f;
        return (uint16_t)(sign | (half_to_bits(r) - 0x3F000000u));
    }
    uint32_t r = a - 0x38000000u;
    return (uint16_t)(sign | (r + 0xFFFu + (r >> 13 & 1u)) >> 13);
}
#endif
