/* device.cuh: loads and stores by type, vectors of 16 bytes, sums over a block, dispatch over element types. */
#ifndef CUDA_DEVICE_CUH
#define CUDA_DEVICE_CUH
#include "../cuda.h"
#include <cuda_bf16.h>
#include <cuda_fp16.h>

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float to_float(__half x) { return __half2float(x); }
template <class T> __device__ inline T from_float(float x);
template <> __device__ inline float from_float<float>(float x) { return x; }
template <> __device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) { return __float2bfloat16(x); }
template <> __device__ inline __half from_float<__half>(float x) { return __float2half(x); }

/* VEC<T> elements are one 16-byte access. */
template <class T> constexpr int VEC = 16 / (int)sizeof(T);
template <class T, int N> struct alignas(N * sizeof(T)) pack { T v[N]; };

template <class T, int N> __device__ inline void load_vec(const T *p, float *out)
{
    const pack<T, N> a = *reinterpret_cast<const pack<T, N> *>(p);
#pragma unroll
    for (int i = 0; i < N; i++) out[i] = to_float(a.v[i]);
}
template <class T, int N> __device__ inline void store_vec(T *p, const float *in)
{
    pack<T, N> a;
#pragma unroll
    for (int i = 0; i < N; i++) a.v[i] = from_float<T>(in[i]);
    *reinterpret_cast<pack<T, N> *>(p) = a;
}

template <class S> __device__ inline S warp_sum(S x)
{
#pragma unroll
    for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(0xffffffffu, x, d);
    return x;
}
__device__ inline float warp_max(float x)
{
#pragma unroll
    for (int d = 16; d > 0; d /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, d));
    return x;
}
/* Sum over the block, in every thread, in an order that depends on blockDim alone. All threads call it; `shared` holds
 * 33 elements and may be used again after the next barrier. */
template <class S> __device__ inline S block_sum(S x, S *shared)
{
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = (blockDim.x + 31) >> 5;
    x = warp_sum(x);
    __syncthreads();
    if (lane == 0) shared[warp] = x;
    __syncthreads();
    if (warp == 0) {
        S y = lane < warps ? shared[lane] : S(0);
        y = warp_sum(y);
        if (lane == 0) shared[32] = y;
    }
    __syncthreads();
    return shared[32];
}

/* Programmatic dependent launch (Hopper). A kernel of a decoding step takes 2 to 10 us, of which launching and draining are a good part.
 * Launched by launch_early it may start when all blocks of the kernel before it have started; it lets the one behind it start as soon
 * by calling allow_next, and waits by await_previous before it touches anything a kernel may have written or may still read. The one
 * before waited likewise for the one before it, so order is kept over any number of kernels, and by those launched plainly too.
 * What stands before await_previous (weights on their way, index arithmetic) runs beside the end of the kernel before.
 * Every thread waits, or none writes: a block that left without it would let its successor overtake its predecessor. */
__device__ inline void allow_next()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    cudaTriggerProgrammaticLaunchCompletion();
#endif
}
__device__ inline void await_previous()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    cudaGridDependencySynchronize();
#endif
}
/* Errors show as those of <<<>>> do. */
template <class... Wanted, class... Given> static inline void launch_early(const gpu *c, cudaStream_t on, void (*kernel)(Wanted...), dim3 blocks, dim3 threads, Given... args)
{
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t l = {};
    l.gridDim = blocks, l.blockDim = threads, l.stream = on;
    l.attrs = &early, l.numAttrs = c->attn.cc >= 90 ? 1 : 0;
    (void)cudaLaunchKernelEx(&l, kernel, (Wanted)args...);
}

/* Rows of a value: what a kernel needs of a view. */
template <class T> struct rows_of {
    T *p;
    int64_t stride;
    __host__ rows_of(const view &v) : p((T *)v.p), stride(v.stride) {}
    __device__ T *row(int64_t r) const { return p + r * stride; }
};

static inline int aligned16(const view *v)
{
    return !v->p || ((uintptr_t)v->p % 16 == 0 && (size_t)v->stride * co_dtype_bytes(v->dtype) % 16 == 0);
}
static inline unsigned grid_for(int64_t items, int per_block, unsigned most)
{
    const int64_t n = (items + per_block - 1) / per_block;
    return n < 1 ? 1u : n > (int64_t)most ? most : (unsigned)n;
}

/* Runs `body` with T the element type of `dtype`. */
#define WITH_TYPE(dtype, T, ...)                                                                              \
    switch (dtype) {                                                                                          \
    case CO_BF16: { using T = __nv_bfloat16; __VA_ARGS__ } break;                                             \
    case CO_F16: { using T = __half; __VA_ARGS__ } break;                                                     \
    default: { using T = float; __VA_ARGS__ } break;                                                          \
    }
#endif
