/* gemv.cu: y[m,n] = alpha x[m,k] w[n,k]^T + b + residual for a few rows m: decoding. The time is that of reading w once: floor
 * n k sizeof(type) bytes. A warp takes a row of w; its lanes read 16 bytes each, UNROLL of them in flight before the first is used,
 * which keeps about 100 KB in flight on each multiprocessor, several times what memory latency asks for. x comes from L1.
 * Sums are fp32 in a fixed order. */
#include "../gemv.h"
#include "device.cuh"

#define WARPS 8
#define UNROLL 4

template <class T, int M> __global__ void __launch_bounds__(WARPS * 32)
    few_rows(const T *x, int64_t ldx, const T *w, int64_t ldw, int64_t n, int64_t k, const T *bias, const T *res, int64_t ldres, T *y, int64_t ldy, float alpha)
{
    constexpr int N = VEC<T>, STEP = 32 * N;
    const int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    const int lane = threadIdx.x & 31;
    if (row >= n) return;
    const T *wr = w + row * ldw + lane * N;
    float sum[M] = {};
    int64_t c = 0;
    for (; c + UNROLL * STEP <= k; c += UNROLL * STEP) {
        pack<T, N> a[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            const uint4 raw = __ldcs(reinterpret_cast<const uint4 *>(wr + c + u * STEP)); /* read once: not to be kept */
            a[u] = *reinterpret_cast<const pack<T, N> *>(&raw);
        }
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
#pragma unroll
            for (int m = 0; m < M; m++) {
                float v[N];
                load_vec<T, N>(x + m * ldx + lane * N + c + u * STEP, v);
#pragma unroll
                for (int e = 0; e < N; e++) sum[m] += v[e] * to_float(a[u].v[e]);
            }
    }
    for (; c + lane * N < k; c += STEP) {
        float a[N];
        load_vec<T, N>(wr + c, a);
#pragma unroll
        for (int m = 0; m < M; m++) {
            float v[N];
            load_vec<T, N>(x + m * ldx + lane * N + c, v);
#pragma unroll
            for (int e = 0; e < N; e++) sum[m] += v[e] * a[e];
        }
    }
#pragma unroll
    for (int m = 0; m < M; m++) sum[m] = warp_sum(sum[m]);
    if (lane) return;
#pragma unroll
    for (int m = 0; m < M; m++)
        y[m * ldy + row] = from_float<T>(alpha * sum[m] + (bias ? to_float(bias[row]) : 0.0f) + (res ? to_float(res[m * ldres + row]) : 0.0f));
}

/* fp32 results of 16-bit operands: logits. */
template <class T, int M> __global__ void __launch_bounds__(WARPS * 32)
    few_rows_f32(const T *x, int64_t ldx, const T *w, int64_t ldw, int64_t n, int64_t k, float *y, int64_t ldy, float alpha)
{
    constexpr int N = VEC<T>, STEP = 32 * N;
    const int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    const int lane = threadIdx.x & 31;
    if (row >= n) return;
    const T *wr = w + row * ldw + lane * N;
    float sum[M] = {};
#pragma unroll 4
    for (int64_t c = 0; c + lane * N < k; c += STEP) {
        float a[N];
        load_vec<T, N>(wr + c, a);
#pragma unroll
        for (int m = 0; m < M; m++) {
            float v[N];
            load_vec<T, N>(x + m * ldx + lane * N + c, v);
#pragma unroll
            for (int e = 0; e < N; e++) sum[m] += v[e] * a[e];
        }
    }
#pragma unroll
    for (int m = 0; m < M; m++) {
        sum[m] = warp_sum(sum[m]);
        if (lane == 0) y[m * ldy + row] = alpha * sum[m];
    }
}

extern "C" int gemv_serves(const gemm *g)
{
    const size_t e = co_dtype_bytes(g->in);
    const uintptr_t all = (uintptr_t)g->a | (uintptr_t)g->b;
    if (g->ta || !g->tb || g->m < 1 || g->m > GEMV_MOST || all % 16) return 0;
    if (g->lda * (int64_t)e % 16 || g->ldb * (int64_t)e % 16 || g->k * (int64_t)e % 16) return 0;
    return g->out == g->in || (g->out == CO_F32 && !g->c && !g->bias);
}

template <class T, int M> static void launch(const gemm *g, cudaStream_t on)
{
    const unsigned blocks = (unsigned)((g->n + WARPS - 1) / WARPS);
    if (g->out == g->in)
        few_rows<T, M><<<blocks, WARPS * 32, 0, on>>>((const T *)g->a, g->lda, (const T *)g->b, g->ldb, g->n, g->k, (const T *)g->bias,
                                                      g->beta != 0 ? (const T *)g->c : nullptr, g->ldc, (T *)g->d, g->ldd, g->alpha);
    else
        few_rows_f32<T, M><<<blocks, WARPS * 32, 0, on>>>((const T *)g->a, g->lda, (const T *)g->b, g->ldb, g->n, g->k, (float *)g->d, g->ldd, g->alpha);
}

extern "C" void gemv_run(const gemm *g, cudaStream_t on)
{
    WITH_TYPE(g->in, T, {
        switch (g->m) {
        case 1: launch<T, 1>(g, on); break;
        case 2: launch<T, 2>(g, on); break;
        case 3: launch<T, 3>(g, on); break;
        default: launch<T, 4>(g, on); break;
        }
    })
}
