/* mix.h: several weighted sources as one order of samples. A pass has as many samples as the sources have records together; each
 * source gives its share of them, weight over the sum of weights, and goes on in the next pass where it stopped: its records are all
 * used before one is used again, in an order of their own each time. Which record sample `pos` of a pass is depends on the seed, the
 * pass and `pos` alone. */
#ifndef CORE_DATA_MIX_H
#define CORE_DATA_MIX_H
#include <stddef.h>
#include <stdint.h>

typedef struct mix_source {
    int64_t first, n; /* its places: [first, first + n) */
    double weight;    /* > 0 */
    int64_t share;    /* set by mix_open: samples of a pass */
    int64_t before;   /* likewise: those of the sources before it */
} mix_source;

typedef struct mix { mix_source *s; size_t n; int64_t total; } mix;

/* s is kept, not copied. total: samples of a pass; every source gets at least one. */
void mix_open(mix_source *s, size_t n, int64_t total, mix *out);
int64_t mix_place(const mix *m, uint64_t seed, int shuffle, int64_t pass, int64_t pos);
#endif
