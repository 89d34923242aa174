/* attention_mma.cuh: the pieces of the mma.sync kernels (compute capability 8.0 and later): asynchronous copies of rows into shared
 * memory, operand fragments by ldmatrix, m16n8k16 products with fp32 sums.
 *
 * A tile stands in shared memory row by row, a row padded by 16 bytes, so that the eight rows an ldmatrix reads lie in different
 * banks (a row is 9, 11, 13 or 17 units of 16 bytes long). Fragments, for lane l: an accumulator of 16x8 holds row l/4 (and +8),
 * columns 2(l%4) and the next. Two accumulators side by side, rounded, are one 16x16 left operand, so probabilities never leave
 * the registers. */
#ifndef CUDA_ATTENTION_MMA_CUH
#define CUDA_ATTENTION_MMA_CUH
#include "attention.cuh"

namespace attn {
template <int HD> constexpr int PITCH = HD + 8; /* elements */

__device__ __forceinline__ uint32_t shared_at(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }
/* 16 (8) bytes; zeros where !on. */
__device__ __forceinline__ void copy16(uint32_t to, const void *from, bool on)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(on ? 16 : 0));
}
__device__ __forceinline__ void copy8(uint32_t to, const void *from, bool on)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to), "l"(from), "r"(on ? 8 : 0));
}
__device__ __forceinline__ void copies_commit() { asm volatile("cp.async.commit_group;"); }
__device__ __forceinline__ void copies_wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }

__device__ __forceinline__ void ldsm(uint32_t (&r)[4], uint32_t at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at));
}
__device__ __forceinline__ void ldsm_t(uint32_t (&r)[4], uint32_t at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at));
}
template <typename T> __device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
template <> __device__ __forceinline__ void mma<__nv_bfloat16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <> __device__ __forceinline__ void mma<__half>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/* Two values rounded, the first in the low half. */
template <typename T> __device__ __forceinline__ uint32_t pair(float x, float y);
template <> __device__ __forceinline__ uint32_t pair<__nv_bfloat16>(float x, float y)
{
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(y), "f"(x));
    return r;
}
template <> __device__ __forceinline__ uint32_t pair<__half>(float x, float y)
{
    uint32_t r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(y), "f"(x));
    return r;
}
__device__ __forceinline__ float exp2_fast(float x)
{
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}
__device__ __forceinline__ float quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
__device__ __forceinline__ float quad_sum(float x)
{
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}

/* Rows row0.. of a head's columns; zeros from row `end` on. */
template <int HD, int ROWS, int THREADS, typename T>
__device__ __forceinline__ void load_rows(uint32_t to, const T *from, int64_t ld, int row0, int end)
{
    constexpr int CH = HD / 8;
#pragma unroll
    for (int i0 = 0; i0 < ROWS * CH; i0 += THREADS) {
        const int i = i0 + (int)threadIdx.x, r = i / CH, c = i - r * CH;
        if (ROWS * CH % THREADS && i >= ROWS * CH) break;
        const bool on = row0 + r < end;
        copy16(to + (uint32_t)(r * PITCH<HD> + c * 8) * 2, from + (on ? (int64_t)(row0 + r) * ld + c * 8 : 0), on);
    }
}

/* Fragments of the tile at `s`: left operand rows m0..m0+15, depth k0..k0+15; right operand of x y^T, y's rows n0..n0+15 (b[0..1] the
 * first eight); right operand of x y, y's rows k0..k0+15 and columns n0..n0+15. */
template <int HD> __device__ __forceinline__ void left(uint32_t (&a)[4], uint32_t s, int m0, int k0)
{
    const int l = threadIdx.x & 31;
    ldsm(a, s + (uint32_t)((m0 + (l & 15)) * PITCH<HD> + k0 + (l >> 4) * 8) * 2);
}
template <int HD> __device__ __forceinline__ void right_t(uint32_t (&b)[4], uint32_t s, int n0, int k0)
{
    const int l = threadIdx.x & 31;
    ldsm(b, s + (uint32_t)((n0 + (l >> 4) * 8 + (l & 7)) * PITCH<HD> + k0 + ((l >> 3) & 1) * 8) * 2);
}
template <int HD> __device__ __forceinline__ void right(uint32_t (&b)[4], uint32_t s, int k0, int n0)
{
    const int l = threadIdx.x & 31;
    ldsm_t(b, s + (uint32_t)((k0 + (l & 15)) * PITCH<HD> + n0 + (l >> 4) * 8) * 2);
}

/* c[mt] (+)= x rows m0+16mt.. times y^T: [16 MT, N] over HD. */
template <typename T, int HD, int N, int MT>
__device__ __forceinline__ void product_t(float (&c)[MT][N / 8][4], uint32_t x, int m0, uint32_t y)
{
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int i = 0; i < N / 8; i++) c[m][i][0] = c[m][i][1] = c[m][i][2] = c[m][i][3] = 0;
#pragma unroll
    for (int k = 0; k < HD; k += 16) {
        uint32_t a[MT][4], b[4];
#pragma unroll
        for (int m = 0; m < MT; m++) left<HD>(a[m], x, m0 + 16 * m, k);
#pragma unroll
        for (int i = 0; i < N / 16; i++) {
            right_t<HD>(b, y, 16 * i, k);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mma<T>(c[m][2 * i], a[m], b[0], b[1]);
                mma<T>(c[m][2 * i + 1], a[m], b[2], b[3]);
            }
        }
    }
}
/* acc[mt] += p[mt] y, p [16 MT, N] rounded accumulators, y [N, HD]. */
template <typename T, int HD, int N, int MT>
__device__ __forceinline__ void product(float (&acc)[MT][HD / 8][4], const uint32_t (&p)[MT][N / 16][4], uint32_t y)
{
#pragma unroll
    for (int k = 0; k < N / 16; k++)
#pragma unroll
        for (int i = 0; i < HD / 16; i++) {
            uint32_t b[4];
            right<HD>(b, y, 16 * k, 16 * i);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mma<T>(acc[m][2 * i], p[m][k], b[0], b[1]);
                mma<T>(acc[m][2 * i + 1], p[m][k], b[2], b[3]);
            }
        }
}
/* Accumulators [16, N] as a left operand. */
template <typename T, int N> __device__ __forceinline__ void as_left(uint32_t (&p)[N / 16][4], const float (&x)[N / 8][4])
{
#pragma unroll
    for (int k = 0; k < N / 16; k++) {
        p[k][0] = pair<T>(x[2 * k][0], x[2 * k][1]);
        p[k][1] = pair<T>(x[2 * k][2], x[2 * k][3]);
        p[k][2] = pair<T>(x[2 * k + 1][0], x[2 * k + 1][1]);
        p[k][3] = pair<T>(x[2 * k + 1][2], x[2 * k + 1][3]);
    }
}

/* Writes a warp's 16 rows from row0 (tile row m0), by way of the shared tile `s` that only this warp uses there. */
template <typename T, int HD>
__device__ __forceinline__ void store_rows(T *to, int64_t ld, int row0, int end, T *s, int m0, const float (&x)[HD / 8][4])
{
    const int l = threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < HD / 8; i++) {
        *(uint32_t *)(s + (m0 + l / 4) * PITCH<HD> + 8 * i + 2 * (l & 3)) = pair<T>(x[i][0], x[i][1]);
        *(uint32_t *)(s + (m0 + l / 4 + 8) * PITCH<HD> + 8 * i + 2 * (l & 3)) = pair<T>(x[i][2], x[i][3]);
    }
    __syncwarp();
    for (int i = l; i < 16 * (HD / 8); i += 32) {
        const int r = i / (HD / 8), c = i - r * (HD / 8);
        if (row0 + r < end) *(uint4 *)(to + (int64_t)(row0 + r) * ld + 8 * c) = *(const uint4 *)(s + (m0 + r) * PITCH<HD> + 8 * c);
    }
}
} // namespace attn
#endif
