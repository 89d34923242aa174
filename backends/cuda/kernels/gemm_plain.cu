/* gemm_plain.cu: products of 16-bit operands whose rows do not start at multiples of 16 bytes: odd widths of tests and toy models.
 * Tiles of 16 x 16, fp32 sums; no claim to speed. */
#include "../gemv.h"
#include "device.cuh"

#define TILE 16

template <class T, class D> __global__ void plain(gemm g)
{
    __shared__ float as[TILE][TILE + 1], bs[TILE][TILE + 1];
    const T *a = (const T *)g.a, *b = (const T *)g.b;
    const int64_t row = (int64_t)blockIdx.y * TILE + threadIdx.y, col = (int64_t)blockIdx.x * TILE + threadIdx.x;
    float sum = 0;
    for (int64_t k = 0; k < g.k; k += TILE) {
        const int64_t ka = k + threadIdx.x, kb = k + threadIdx.y;
        as[threadIdx.y][threadIdx.x] = row < g.m && ka < g.k ? to_float(g.ta ? a[ka * g.lda + row] : a[row * g.lda + ka]) : 0.0f;
        bs[threadIdx.y][threadIdx.x] = col < g.n && kb < g.k ? to_float(g.tb ? b[col * g.ldb + kb] : b[kb * g.ldb + col]) : 0.0f;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < TILE; i++) sum += as[threadIdx.y][i] * bs[i][threadIdx.x];
        __syncthreads();
    }
    if (row >= g.m || col >= g.n) return;
    float y = g.alpha * sum;
    if (g.bias) y += to_float(((const D *)g.bias)[col]);
    if (g.beta != 0) y += g.beta * to_float((g.c ? (const D *)g.c + row * g.ldc : (const D *)g.d + row * g.ldd)[col]);
    ((D *)g.d)[row * g.ldd + col] = from_float<D>(y);
}

extern "C" int gemm_is_odd(const gemm *g)
{
    const uintptr_t all = (uintptr_t)g->a | (uintptr_t)g->b | (uintptr_t)g->c | (uintptr_t)g->d;
    const int64_t strides = g->lda | g->ldb | (g->c ? g->ldc : 0) | g->ldd;
    return g->in != CO_F32 && (all % 16 || strides % 8);
}
extern "C" void gemm_plain(const gemm *g, cudaStream_t on)
{
    const dim3 blocks((unsigned)((g->n + TILE - 1) / TILE), (unsigned)((g->m + TILE - 1) / TILE));
    if (g->in == CO_BF16 && g->out == CO_BF16) plain<__nv_bfloat16, __nv_bfloat16><<<blocks, dim3(TILE, TILE), 0, on>>>(*g);
    else if (g->in == CO_BF16) plain<__nv_bfloat16, float><<<blocks, dim3(TILE, TILE), 0, on>>>(*g);
    else if (g->out == CO_F16) plain<__half, __half><<<blocks, dim3(TILE, TILE), 0, on>>>(*g);
    else plain<__half, float><<<blocks, dim3(TILE, TILE), 0, on>>>(*g);
}
