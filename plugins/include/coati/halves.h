/* halves.h: an fp32 value as a bf16 one, rounded to nearest even, and the 16 bits by which it is off: bits = bf16 << 16 + low.
 * Where a compute copy in bf16 stands beside its master anyway, the master then takes two bytes instead of four.
 *
 * Exact but for values halfway between two bf16 ones whose lower one is even: low would be 32768, it is 32767 and the value one
 * unit in its last place (2^-24 of it) less. One value in 131072, if their bits are random. NaN stays NaN. */
#ifndef COATI_HALVES_H
#define COATI_HALVES_H
#include <stdint.h>
#include <string.h>

static inline float co_halves_join(uint16_t bf16, int16_t low)
{
    const uint32_t u = ((uint32_t)bf16 << 16) + (uint32_t)(int32_t)low;
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline void co_halves_split(float x, uint16_t *bf16, int16_t *low)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    const uint32_t nan = (u & 0x7fffffffu) > 0x7f800000u, near = nan ? u | 0x400000u : u + 0x7fffu + (u >> 16 & 1u);
    const int32_t off = (int32_t)(u - (near & 0xffff0000u));
    *bf16 = (uint16_t)(near >> 16);
    *low = (int16_t)(off > 32767 ? 32767 : off < -32768 ? -32768 : off);
}
#endif
