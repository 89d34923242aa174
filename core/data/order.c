/* order.c: a Feistel network over the smallest power of two that holds n, walked until it lands below n (Black
 * and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). Eight rounds, round function Philox. */
#include "core/data/order.h"
#include "core/base/rng.h"

enum {
    ROUNDS = 8,  /* even, so that the unequal halves end where they began */
    MIN_BITS = 8 /* halves of one or two bits mix badly, even over eight rounds */
};

static uint64_t round_value(uint64_t seed, int64_t epoch, int round, uint64_t half)
{
    return rng_u64(seed, RNG_SHUFFLE, ((uint64_t)epoch << 40) + ((uint64_t)round << 36) + half);
}

int64_t order_at(uint64_t seed, int64_t epoch, int64_t n, int64_t pos)
{
    uint64_t x = (uint64_t)pos;
    int bits = MIN_BITS;
    if (n < 2) return 0;
    while (bits < 62 && ((uint64_t)1 << bits) < (uint64_t)n) bits++;
    do {
        int wl = bits / 2, wr = bits - wl;
        uint64_t left = x >> wr, right = x & (((uint64_t)1 << wr) - 1);
        for (int r = 0; r < ROUNDS; r++) {
            uint64_t mask = ((uint64_t)1 << wl) - 1;
            uint64_t next = (left ^ round_value(seed, epoch, r, right)) & mask;
            int w = wl;
            left = right;
            right = next;
            wl = wr;
            wr = w;
        }
        x = left << wr | right;
    } while (x >= (uint64_t)n);
    return (int64_t)x;
}
