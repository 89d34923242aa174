/* pieces.h: how a buffer is cut among ranks, and what of it goes in a round. Piece j is elements bounds[j] to bounds[j+1]. */
#ifndef COMM_MPI_PIECES_H
#define COMM_MPI_PIECES_H
#include <stdint.h>

/* n elements in `world` pieces whose lengths differ by one at most; no product overflows. */
static inline void piece_cut(int64_t *bounds, int world, int64_t n)
{
    for (int j = 0; j <= world; j++) bounds[j] = n / world * j + n % world * j / world;
}

/* Elements of piece j in the round that begins `at` elements into every piece and takes at most `most` of each. */
static inline int64_t piece_share(const int64_t *bounds, int j, int64_t at, int64_t most)
{
    const int64_t left = bounds[j + 1] - bounds[j] - at;
    return left < 0 ? 0 : left < most ? left : most;
}

static inline int64_t piece_longest(const int64_t *bounds, int world)
{
    int64_t n = 0;
    for (int j = 0; j < world; j++)
        if (bounds[j + 1] - bounds[j] > n) n = bounds[j + 1] - bounds[j];
    return n;
}
#endif
