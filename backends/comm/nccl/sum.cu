/* sum.cu: adds the pieces of all ranks. Floor: (world + 1) n elements over the memory's bandwidth; a thread takes 16 bytes of
 * each piece at a time where they are aligned. */
#include "sum.h"
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#define THREADS 256
#define MOST_BLOCKS 1024

/* What an element is added in. */
template <class T> struct wide { using type = T; };
template <> struct wide<__nv_bfloat16> { using type = float; };
template <> struct wide<__half> { using type = float; };
template <class T> __device__ inline typename wide<T>::type widen(T x) { return x; }
template <> __device__ inline float widen(__nv_bfloat16 x) { return __bfloat162float(x); }
template <> __device__ inline float widen(__half x) { return __half2float(x); }
template <class T> __device__ inline T narrow(typename wide<T>::type x) { return x; }
template <> __device__ inline __nv_bfloat16 narrow<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }
template <> __device__ inline __half narrow<__half>(float x) { return __float2half_rn(x); }

template <class T, int N> struct __align__(sizeof(T) * N) pack { T v[N]; };

template <class T, int N> __global__ void __launch_bounds__(THREADS) sum(T *out, pieces p, int64_t packs)
{
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < packs; i += (int64_t)gridDim.x * THREADS) {
        typename wide<T>::type acc[N];
        for (int32_t j = 0; j < p.world; j++) {
            const T *from = j == p.rank ? (const T *)p.own : (const T *)(p.arrived + (size_t)j * p.stride);
            const pack<T, N> x = ((const pack<T, N> *)from)[i];
#pragma unroll
            for (int k = 0; k < N; k++) acc[k] = j == 0 ? widen(x.v[k]) : acc[k] + widen(x.v[k]);
        }
        pack<T, N> y;
#pragma unroll
        for (int k = 0; k < N; k++) y.v[k] = narrow<T>(acc[k]);
        ((pack<T, N> *)out)[i] = y;
    }
}

template <class T, int N> static cudaError_t launch(void *out, const pieces &p, int64_t packs, cudaStream_t on)
{
    const int64_t blocks = (packs + THREADS - 1) / THREADS;
    if (packs) sum<T, N><<<(unsigned)(blocks < MOST_BLOCKS ? blocks : MOST_BLOCKS), THREADS, 0, on>>>((T *)out, p, packs);
    return cudaPeekAtLastError();
}

/* Packs of 16 bytes, then the few elements that are left. */
template <class T> static cudaError_t run(void *out, const pieces &p, int64_t n, cudaStream_t on)
{
    constexpr int N = 16 / (int)sizeof(T);
    const bool aligned = ((uintptr_t)out | (uintptr_t)p.own | (uintptr_t)p.arrived | p.stride) % 16 == 0;
    const int64_t packs = aligned ? n / N : 0, done = packs * N;
    const cudaError_t e = launch<T, N>(out, p, packs, on);
    if (e != cudaSuccess) return e;
    pieces rest = p;
    rest.own = (const T *)p.own + done;
    rest.arrived = p.arrived + (size_t)done * sizeof(T);
    return launch<T, 1>((T *)out + done, rest, n - done, on);
}

extern "C" cudaError_t sum_pieces(void *out, const pieces *p, int64_t n, co_dtype t, cudaStream_t on)
{
    switch (t) {
    case CO_F32: return run<float>(out, *p, n, on);
    case CO_BF16: return run<__nv_bfloat16>(out, *p, n, on);
    case CO_F16: return run<__half>(out, *p, n, on);
    case CO_F64: return run<double>(out, *p, n, on);
    case CO_I32: return run<uint32_t>(out, *p, n, on); /* two's complement */
    case CO_I64: return run<unsigned long long>(out, *p, n, on);
    case CO_U8: return run<uint8_t>(out, *p, n, on);
    default: return cudaErrorInvalidValue;
    }
}
