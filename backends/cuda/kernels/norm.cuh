/* norm.cuh: what norm.cu and norm_bwd.cu share: a row's statistics, how a row is cut. */
#ifndef CUDA_NORM_CUH
#define CUDA_NORM_CUH
#include "device.cuh"

#define MAX_THREADS 256

struct stats { float mean, r; };

template <class T, int N, bool CENTRED> __device__ inline stats row_stats(const T *x, int64_t d, float eps, float *shared)
{
    float sum = 0, v[N];
    stats s = {0, 0};
    if (CENTRED) {
        for (int64_t c = (int64_t)threadIdx.x * N; c < d; c += (int64_t)blockDim.x * N) {
            load_vec<T, N>(x + c, v);
#pragma unroll
            for (int e = 0; e < N; e++) sum += v[e];
        }
        s.mean = block_sum(sum, shared) / (float)d;
        sum = 0;
    }
    for (int64_t c = (int64_t)threadIdx.x * N; c < d; c += (int64_t)blockDim.x * N) {
        load_vec<T, N>(x + c, v);
#pragma unroll
        for (int e = 0; e < N; e++) sum += (v[e] - s.mean) * (v[e] - s.mean);
    }
    s.r = rsqrtf(block_sum(sum, shared) / (float)d + eps);
    return s;
}

static inline float eps_of(const cuda_step *s) { return ((const co_attr_f32 *)s->op->attrs)->v; }
static inline int vectors_fit(const view *w, int64_t d) { return (uintptr_t)w->p % 16 == 0 && d % 8 == 0; }
static inline int threads_for(int64_t vectors) { return vectors >= MAX_THREADS ? MAX_THREADS : (int)((vectors + 31) / 32 * 32); }
#endif
