/* rng.c: Philox 4x32-10 of Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
 * Key: the seed. Counter: (counter, stream). */
#include "core/base/rng.h"
#include <math.h>

static void philox(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t x[4])
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    x[0] = (uint32_t)counter;
    x[1] = (uint32_t)(counter >> 32);
    x[2] = (uint32_t)stream;
    x[3] = (uint32_t)(stream >> 32);
    for (int i = 0; i < 10; i++) {
        const uint64_t a = (uint64_t)0xD2511F53u * x[0], b = (uint64_t)0xCD9E8D57u * x[2];
        const uint32_t y1 = x[1], y3 = x[3];
        x[0] = (uint32_t)(b >> 32) ^ y1 ^ k0;
        x[1] = (uint32_t)b;
        x[2] = (uint32_t)(a >> 32) ^ y3 ^ k1;
        x[3] = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

uint64_t rng_u64(uint64_t seed, uint64_t stream, uint64_t counter)
{
    uint32_t x[4];
    philox(seed, stream, counter, x);
    return (uint64_t)x[1] << 32 | x[0];
}

double rng_uniform(uint64_t seed, uint64_t stream, uint64_t counter)
{
    return (double)(rng_u64(seed, stream, counter) >> 11) * 0x1p-53;
}

double rng_normal(uint64_t seed, uint64_t stream, uint64_t counter)
{
    uint32_t x[4];
    philox(seed, stream, counter, x);
    const uint64_t a = (uint64_t)x[1] << 32 | x[0], b = (uint64_t)x[3] << 32 | x[2];
    const double u = ((double)(a >> 11) + 0.5) * 0x1p-53, v = (double)(b >> 11) * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(6.283185307179586476925 * v);
}

uint64_t rng_below(uint64_t seed, uint64_t stream, uint64_t counter, uint64_t n)
{
    if (n == 0) return 0;
    /* Lemire 2019 without the rejection: the 128-bit product of 64 random bits is off by less than n/2^64. */
    return (uint64_t)(((unsigned __int128)rng_u64(seed, stream, counter) * n) >> 64);
}
