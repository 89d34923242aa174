/* rng.h: counter-based random numbers, Philox 4x32-10 (Salmon et al. 2011). No state: the same (seed, stream,
 * counter) gives the same number on every rank, thread and layout. */
#ifndef CORE_BASE_RNG_H
#define CORE_BASE_RNG_H
#include <stdint.h>

enum { /* streams in use; a new purpose takes a new one */
    RNG_INIT = 1,    /* counter: parameter id * 2^40 + element */
    RNG_SHUFFLE = 2, /* counter: epoch * 2^40 + position       */
    RNG_SAMPLE = 3,  /* counter: sequence key * 2^24 + position */
    RNG_DROPOUT = 16 /* and above */
};
uint64_t rng_u64(uint64_t seed, uint64_t stream, uint64_t counter);
double rng_uniform(uint64_t seed, uint64_t stream, uint64_t counter); /* [0, 1), 53 bits */
double rng_normal(uint64_t seed, uint64_t stream, uint64_t counter);  /* Box-Muller on one draw of 128 bits */
uint64_t rng_below(uint64_t seed, uint64_t stream, uint64_t counter, uint64_t n); /* [0, n), unbiased */
#endif
