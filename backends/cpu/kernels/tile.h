/* tile.h: small products of matrices that lie in the cache, C[m, n] (+)= A B. Nothing is packed: A(i, p) = a[i ai + p ap], so
 * A may be read along either side, and rows of B and C are contiguous. A tile of C stays in registers for the whole sum: TILE_M
 * rows by TILE_V vectors, as many as there are registers for. */
#ifndef CPU_TILE_H
#define CPU_TILE_H
#include <stdint.h>

#if defined(__AVX512F__)
#define TILE_VEC 16
#define TILE_M 8
#elif defined(__AVX2__)
#define TILE_VEC 8
#define TILE_M 6
#else
#define TILE_VEC 4
#define TILE_M 4
#endif
#define TILE_V 2
#define TILE_N (TILE_V * TILE_VEC) /* columns of a tile; a divisor of 64 */

typedef float tile_vec __attribute__((vector_size(TILE_VEC * sizeof(float)), aligned(4), may_alias));

static inline __attribute__((always_inline)) void tile_fixed(const int m, const int v, int64_t k, const float *a, int64_t ai, int64_t ap,
                                                             const float *b, int64_t ldb, float *c, int64_t ldc, int add)
{
    tile_vec sum[TILE_M][TILE_V];
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 2
        for (int j = 0; j < v; j++) sum[i][j] = add ? *(const tile_vec *)(c + i * ldc + j * TILE_VEC) : (tile_vec){0};
    for (int64_t p = 0; p < k; p++) {
        tile_vec row[TILE_V];
#pragma GCC unroll 2
        for (int j = 0; j < v; j++) row[j] = *(const tile_vec *)(b + p * ldb + j * TILE_VEC);
#pragma GCC unroll 8
        for (int i = 0; i < m; i++)
#pragma GCC unroll 2
            for (int j = 0; j < v; j++) sum[i][j] += a[i * ai + p * ap] * row[j];
    }
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 2
        for (int j = 0; j < v; j++) *(tile_vec *)(c + i * ldc + j * TILE_VEC) = sum[i][j];
}

static inline __attribute__((always_inline)) void tile_strip(const int m, int64_t n, int64_t k, const float *a, int64_t ai, int64_t ap,
                                                             const float *b, int64_t ldb, float *c, int64_t ldc, int add)
{
    int64_t j = 0;
    for (; j + TILE_N <= n; j += TILE_N) tile_fixed(m, TILE_V, k, a, ai, ap, b + j, ldb, c + j, ldc, add);
    for (; j + TILE_VEC <= n; j += TILE_VEC) tile_fixed(m, 1, k, a, ai, ap, b + j, ldb, c + j, ldc, add);
    for (; j < n; j++)
        for (int i = 0; i < m; i++) {
            float sum = add ? c[i * ldc + j] : 0;
            for (int64_t p = 0; p < k; p++) sum += a[i * ai + p * ap] * b[p * ldb + j];
            c[i * ldc + j] = sum;
        }
}

/* At most TILE_M rows. */
static void tile_rows(int64_t m, int64_t n, int64_t k, const float *a, int64_t ai, int64_t ap, const float *b, int64_t ldb, float *c,
                      int64_t ldc, int add)
{
    switch (m) {
#if TILE_M > 6
    case 8: tile_strip(8, n, k, a, ai, ap, b, ldb, c, ldc, add); break;
    case 7: tile_strip(7, n, k, a, ai, ap, b, ldb, c, ldc, add); break;
#endif
#if TILE_M > 4
    case 6: tile_strip(6, n, k, a, ai, ap, b, ldb, c, ldc, add); break;
    case 5: tile_strip(5, n, k, a, ai, ap, b, ldb, c, ldc, add); break;
#endif
    case 4: tile_strip(4, n, k, a, ai, ap, b, ldb, c, ldc, add); break;
    case 3: tile_strip(3, n, k, a, ai, ap, b, ldb, c, ldc, add); break;
    case 2: tile_strip(2, n, k, a, ai, ap, b, ldb, c, ldc, add); break;
    case 1: tile_strip(1, n, k, a, ai, ap, b, ldb, c, ldc, add); break;
    default: break;
    }
}
#endif
