/* gemv.cu: y[m,n] = alpha x[m,k] w[n,k]^T + b + residual for a few rows m: decoding. The time is that of reading w once: floor
 * n k sizeof(type) bytes. A warp takes a row of w; its lanes read 16 bytes each, UNROLL of them in flight before the first is used,
 * which keeps about 100 KB in flight on each multiprocessor, several times what memory latency asks for. x comes from L1.
 * Sums are fp32 in a fixed order. */
#include "../gemv.h"
#include "device.cuh"

#define WARPS 8
#define UNROLL 4

/* Weights do not depend on the kernel before: this one starts while that one runs (device.cuh), has its first weights on the way to
 * registers, 8 MB over the chip, and waits for x only then: what small kernels in front of it take is not lost to the memory. */
template <class T, class D, int M> __global__ void __launch_bounds__(WARPS * 32)
    few_rows(const T *x, int64_t ldx, const T *w, int64_t ldw, int64_t n, int64_t k, const D *bias, const D *res, int64_t ldres, D *y, int64_t ldy, float alpha)
{
    allow_next();
    constexpr int N = VEC<T>, STEP = 32 * N;
    const int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    const int lane = threadIdx.x & 31;
    const T *wr = w + (row < n ? row : n - 1) * ldw + lane * N;
    float sum[M] = {};
    uint4 a[UNROLL];
    int64_t c = 0;
    const bool whole = UNROLL * STEP <= k;
#pragma unroll
    for (int u = 0; u < UNROLL; u++)
        if (whole) a[u] = __ldcs(reinterpret_cast<const uint4 *>(wr + u * STEP)); /* read once: not to be kept */
    await_previous();
    while (c + UNROLL * STEP <= k) {
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            const pack<T, N> p = *reinterpret_cast<const pack<T, N> *>(&a[u]);
#pragma unroll
            for (int m = 0; m < M; m++) {
                float v[N];
                load_vec<T, N>(x + m * ldx + lane * N + c + u * STEP, v);
#pragma unroll
                for (int e = 0; e < N; e++) sum[m] += v[e] * to_float(p.v[e]);
            }
            if (c + (2 * UNROLL) * STEP <= k) a[u] = __ldcs(reinterpret_cast<const uint4 *>(wr + c + (UNROLL + u) * STEP));
        }
        c += UNROLL * STEP;
    }
    for (; c + lane * N < k; c += STEP) {
        float b[N];
        load_vec<T, N>(wr + c, b);
#pragma unroll
        for (int m = 0; m < M; m++) {
            float v[N];
            load_vec<T, N>(x + m * ldx + lane * N + c, v);
#pragma unroll
            for (int e = 0; e < N; e++) sum[m] += v[e] * b[e];
        }
    }
#pragma unroll
    for (int m = 0; m < M; m++) sum[m] = warp_sum(sum[m]);
    if (lane || row >= n) return;
#pragma unroll
    for (int m = 0; m < M; m++)
        y[m * ldy + row] = from_float<D>(alpha * sum[m] + (bias ? to_float(bias[row]) : 0.0f) + (res ? to_float(res[m * ldres + row]) : 0.0f));
}

extern "C" int gemv_serves(const gemm *g)
{
    const size_t e = co_dtype_bytes(g->in);
    const uintptr_t all = (uintptr_t)g->a | (uintptr_t)g->b;
    if (g->ta || !g->tb || g->m < 1 || g->m > GEMV_MOST || all % 16) return 0;
    if (g->lda * (int64_t)e % 16 || g->ldb * (int64_t)e % 16 || g->k * (int64_t)e % 16) return 0;
    return g->in == g->in_b && (g->out == g->in || g->out == CO_F32);
}

template <class T, class D, int M> static cudaError_t launch(const gpu *c, const gemm *g, cudaStream_t on)
{
    launch_early(c, on, few_rows<T, D, M>, dim3((unsigned)((g->n + WARPS - 1) / WARPS)), dim3(WARPS * 32), (const T *)g->a, g->lda, (const T *)g->b, g->ldb,
                 g->n, g->k, (const D *)g->bias, g->beta != 0 ? (const D *)g->c : (const D *)nullptr, g->ldc, (D *)g->d, g->ldd, g->alpha);
    return cudaPeekAtLastError();
}
template <class T, class D> static cudaError_t by_rows(const gpu *c, const gemm *g, cudaStream_t on)
{
    switch (g->m) {
    case 1: return launch<T, D, 1>(c, g, on);
    case 2: return launch<T, D, 2>(c, g, on);
    case 3: return launch<T, D, 3>(c, g, on);
    default: return launch<T, D, 4>(c, g, on);
    }
}
extern "C" cudaError_t gemv_run(const gpu *c, const gemm *g, cudaStream_t on)
{
    WITH_TYPE(g->in, T, {
        if (g->out == g->in) return by_rows<T, T>(c, g, on);
        return by_rows<T, float>(c, g, on);
    })
    return cudaSuccess;
}
