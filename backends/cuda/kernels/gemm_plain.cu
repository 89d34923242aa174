/* gemm_plain.cu: products that cuBLASLt does not take: 16-bit operands whose rows do not start at multiples of 16 bytes (odd widths of
 * tests and toy models), and operands of different types. Tiles of 16 x 16, fp32 sums; no claim to speed. */
#include "../gemv.h"
#include "device.cuh"

#define TILE 16

__device__ inline float at(const void *p, int64_t i, uint8_t dtype)
{
    if (dtype == CO_BF16) return to_float(((const __nv_bfloat16 *)p)[i]);
    return dtype == CO_F16 ? to_float(((const __half *)p)[i]) : ((const float *)p)[i];
}

__global__ void plain(gemm g)
{
    __shared__ float as[TILE][TILE + 1], bs[TILE][TILE + 1];
    const int64_t row = (int64_t)blockIdx.y * TILE + threadIdx.y, col = (int64_t)blockIdx.x * TILE + threadIdx.x;
    float sum = 0;
    for (int64_t k = 0; k < g.k; k += TILE) {
        const int64_t ka = k + threadIdx.x, kb = k + threadIdx.y;
        as[threadIdx.y][threadIdx.x] = row < g.m && ka < g.k ? at(g.a, g.ta ? ka * g.lda + row : row * g.lda + ka, g.in) : 0.0f;
        bs[threadIdx.y][threadIdx.x] = col < g.n && kb < g.k ? at(g.b, g.tb ? col * g.ldb + kb : kb * g.ldb + col, g.in_b) : 0.0f;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < TILE; i++) sum += as[threadIdx.y][i] * bs[i][threadIdx.x];
        __syncthreads();
    }
    if (row >= g.m || col >= g.n) return;
    float y = g.alpha * sum;
    if (g.bias) y += at(g.bias, col, g.out);
    if (g.beta != 0) y += g.beta * (g.c ? at(g.c, row * g.ldc + col, g.out) : at(g.d, row * g.ldd + col, g.out));
    if (g.out == CO_BF16) ((__nv_bfloat16 *)g.d)[row * g.ldd + col] = __float2bfloat16(y);
    else if (g.out == CO_F16) ((__half *)g.d)[row * g.ldd + col] = __float2half(y);
    else ((float *)g.d)[row * g.ldd + col] = y;
}

extern "C" int gemm_is_odd(const gemm *g)
{
    const uintptr_t all = (uintptr_t)g->a | (uintptr_t)g->b | (uintptr_t)g->c | (uintptr_t)g->d;
    const int64_t strides = g->lda | g->ldb | (g->c ? g->ldc : 0) | g->ldd;
    return g->in != g->in_b || (g->in == CO_F32 && g->out != CO_F32) || (g->in != CO_F32 && (all % 16 || strides % 8));
}
extern "C" void gemm_plain(const gemm *g, cudaStream_t on)
{
    const dim3 blocks((unsigned)((g->n + TILE - 1) / TILE), (unsigned)((g->m + TILE - 1) / TILE));
    plain<<<blocks, dim3(TILE, TILE), 0, on>>>(*g);
}
