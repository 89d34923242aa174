/* flat.cu: helpers over flat buffers for strategies and optimizers. Each is bound by memory: the floor is the bytes it
 * reads and writes over the bandwidth. */
#include "device.cuh"

#define THREADS 256

template <class T> __device__ inline double get(const T *p, int64_t i) { return (double)to_float(p[i]); }
__device__ inline double get(const double *p, int64_t i) { return p[i]; }
__device__ inline double get(const int32_t *p, int64_t i) { return (double)p[i]; }
template <class T> __device__ inline void put(T *p, int64_t i, double v) { p[i] = from_float<T>((float)v); }
__device__ inline void put(double *p, int64_t i, double v) { p[i] = v; }

#define WITH_FLAT_TYPE(dtype, T, ...)                                                                         \
    switch (dtype) {                                                                                          \
    case CO_F64: { using T = double; __VA_ARGS__ } break;                                                     \
    case CO_BF16: { using T = __nv_bfloat16; __VA_ARGS__ } break;                                             \
    case CO_F16: { using T = __half; __VA_ARGS__ } break;                                                     \
    default: { using T = float; __VA_ARGS__ } break;                                                          \
    }

template <class D, class S> __global__ void cast(D *dst, const S *src, int64_t n)
{
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (int64_t)gridDim.x * THREADS) put(dst, i, get(src, i));
}
template <class T> __global__ void axpy(T *y, const T *x, float a, int64_t n)
{
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (int64_t)gridDim.x * THREADS) put(y, i, get(y, i) + (double)a * get(x, i));
}

static int floating(const gpu *c, co_dtype t)
{
    if (cuda_float(t) || t == CO_F64) return CO_OK;
    return CO_FAIL(c->host, CO_E_UNSUPPORTED, "backend cuda: flat helpers are for floating types");
}

extern "C" int cuda_flat_cast(void *self, void *dst, co_dtype dt, const void *src, co_dtype st, int64_t n, co_stream on)
{
    gpu *c = (gpu *)self;
    int r = floating(c, dt);
    if (r == CO_OK) r = floating(c, st);
    if (r || n == 0) return r;
    const unsigned blocks = grid_for(n, THREADS, (unsigned)c->sms * 16);
    WITH_FLAT_TYPE(dt, D, WITH_FLAT_TYPE(st, S, (cast<D, S><<<blocks, THREADS, 0, cuda_stream(c, on)>>>((D *)dst, (const S *)src, n));))
    return cuda_check(c, cudaGetLastError(), "a cast");
}

extern "C" int cuda_flat_axpy(void *self, void *y, const void *x, co_dtype t, float a, int64_t n, co_stream on)
{
    gpu *c = (gpu *)self;
    const int r = floating(c, t);
    if (r || n == 0) return r;
    WITH_FLAT_TYPE(t, T, axpy<T><<<grid_for(n, THREADS, (unsigned)c->sms * 16), THREADS, 0, cuda_stream(c, on)>>>((T *)y, (const T *)x, a, n);)
    return cuda_check(c, cudaGetLastError(), "axpy");
}

/* ---- sum of squares, in double: a fixed number of blocks, the same bits every time --------------------------------- */
template <class T> __global__ void __launch_bounds__(THREADS) squares(const T *x, int64_t n, double *partial)
{
    constexpr int N = VEC<T>;
    __shared__ double shared[33];
    const int64_t vectors = (uintptr_t)x % 16 == 0 ? n / N : 0;
    double sum = 0;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < vectors; i += (int64_t)gridDim.x * THREADS) {
        float v[N];
        load_vec<T, N>(x + i * N, v);
#pragma unroll
        for (int e = 0; e < N; e++) sum += (double)v[e] * (double)v[e];
    }
    for (int64_t i = vectors * N + (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (int64_t)gridDim.x * THREADS)
        sum += (double)to_float(x[i]) * (double)to_float(x[i]);
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}
__global__ void add_squares(const double *partial, int n, double *out)
{
    __shared__ double shared[33];
    double sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += partial[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) *out = sum;
}
extern "C" int cuda_flat_sqnorm(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on)
{
    gpu *c = (gpu *)self;
    const unsigned blocks = grid_for(n, THREADS * 32, SUM_BLOCKS);
    if (!cuda_float(t)) return CO_FAIL(c->host, CO_E_UNSUPPORTED, "backend cuda: sqnorm is for fp32, bf16 and fp16");
    WITH_TYPE(t, T, squares<T><<<blocks, THREADS, 0, cuda_stream(c, on)>>>((const T *)x, n, c->partial);)
    add_squares<<<1, THREADS, 0, cuda_stream(c, on)>>>(c->partial, (int)blocks, out);
    return cuda_check(c, cudaGetLastError(), "sqnorm");
}

/* ---- largest absolute value. Bits of floats without their sign have the order of their values, and NaN lies above all: whole
 * numbers are compared, and a NaN stays. --------------------------------------------------------------------------- */
__device__ inline uint32_t block_max(uint32_t most, uint32_t *shared)
{
    most = __reduce_max_sync(0xffffffffu, most);
    if ((threadIdx.x & 31) == 0) shared[threadIdx.x >> 5] = most;
    __syncthreads();
    return __reduce_max_sync(0xffffffffu, shared[threadIdx.x & (THREADS / 32 - 1)]);
}
template <class T> __global__ void __launch_bounds__(THREADS) largest(const T *x, int64_t n, uint32_t *partial)
{
    constexpr int N = VEC<T>;
    __shared__ uint32_t shared[THREADS / 32];
    const int64_t vectors = (uintptr_t)x % 16 == 0 ? n / N : 0;
    uint32_t most = 0;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < vectors; i += (int64_t)gridDim.x * THREADS) {
        float v[N];
        load_vec<T, N>(x + i * N, v);
#pragma unroll
        for (int e = 0; e < N; e++) most = max(most, __float_as_uint(v[e]) & 0x7fffffffu);
    }
    for (int64_t i = vectors * N + (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (int64_t)gridDim.x * THREADS)
        most = max(most, __float_as_uint(to_float(x[i])) & 0x7fffffffu);
    most = block_max(most, shared);
    if (threadIdx.x == 0) partial[blockIdx.x] = most;
}
__global__ void __launch_bounds__(THREADS) largest_of(const uint32_t *partial, int n, double *out)
{
    __shared__ uint32_t shared[THREADS / 32];
    uint32_t most = 0;
    for (int i = threadIdx.x; i < n; i += THREADS) most = max(most, partial[i]);
    most = block_max(most, shared);
    if (threadIdx.x == 0) *out = (double)__uint_as_float(most);
}
extern "C" int cuda_flat_absmax(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on)
{
    gpu *c = (gpu *)self;
    const unsigned blocks = grid_for(n, THREADS * 32, SUM_BLOCKS);
    uint32_t *partial = (uint32_t *)c->partial;
    if (!cuda_float(t)) return CO_FAIL(c->host, CO_E_UNSUPPORTED, "backend cuda: absmax is for fp32, bf16 and fp16");
    WITH_TYPE(t, T, largest<T><<<blocks, THREADS, 0, cuda_stream(c, on)>>>((const T *)x, n, partial);)
    largest_of<<<1, THREADS, 0, cuda_stream(c, on)>>>(partial, (int)blocks, out);
    return cuda_check(c, cudaGetLastError(), "absmax");
}

__global__ void judge(co_step_rule rule, const double *sums, int64_t n, co_step_state *state)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum = co_norm_join(&rule, sum, sums[i]);
    co_step_judge(&rule, sum, state);
}
extern "C" int cuda_step_factor(void *self, const co_step_rule *rule, const double *sums, int64_t n, co_step_state *state, co_stream on)
{
    gpu *c = (gpu *)self;
    judge<<<1, 1, 0, cuda_stream(c, on)>>>(*rule, sums, n, state);
    return cuda_check(c, cudaGetLastError(), "judging a step");
}

/* ---- AdamW: the formula is in <coati/backend.h>. 4 elements a thread; bytes an element: master, two states read and
 * written (24), gradient read (2 or 4), compute copy written (2). ------------------------------------------------- */
struct adamw { float b1, b2, lr_t, root, eps, decay, scale; };

__device__ inline float adamw_one(float p, float g, float *m, float *v, const adamw &k)
{
    *m = k.b1 * *m + (1 - k.b1) * g;
    *v = k.b2 * *v + (1 - k.b2) * g * g;
    return p * k.decay - k.lr_t * *m / (sqrtf(*v) * k.root + k.eps);
}
template <class G, class O> __global__ void __launch_bounds__(THREADS)
    update(float *master, const G *grad, O *out, float *m, float *v, int64_t n, adamw k, const float *dev_scale, const int32_t *dev_skip,
           const int64_t *dev_step, float lr)
{
    if (dev_skip && *dev_skip) return;
    if (dev_step) { /* what the host computes where it knows the step */
        k.lr_t = (float)(lr / (1 - pow((double)k.b1, (double)*dev_step)));
        k.root = (float)(1 / sqrt(1 - pow((double)k.b2, (double)*dev_step)));
    }
    const float scale = dev_scale ? k.scale * *dev_scale : k.scale;
    const int64_t vectors = n / 4;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < vectors; i += (int64_t)gridDim.x * THREADS) {
        float p[4], g[4], a[4], b[4];
        load_vec<float, 4>(master + i * 4, p);
        load_vec<G, 4>(grad + i * 4, g);
        load_vec<float, 4>(m + i * 4, a);
        load_vec<float, 4>(v + i * 4, b);
#pragma unroll
        for (int e = 0; e < 4; e++) p[e] = adamw_one(p[e], g[e] * scale, &a[e], &b[e], k);
        store_vec<float, 4>(master + i * 4, p);
        store_vec<float, 4>(m + i * 4, a);
        store_vec<float, 4>(v + i * 4, b);
        if (out) store_vec<O, 4>(out + i * 4, p);
    }
    const int64_t i = vectors * 4 + (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= n) return;
    const float p = adamw_one(master[i], to_float(grad[i]) * scale, &m[i], &v[i], k);
    master[i] = p;
    if (out) out[i] = from_float<O>(p);
}

extern "C" int cuda_flat_adamw(void *self, const co_optim_slice *s, float b1, float b2, float eps, float wd, co_stream on)
{
    gpu *c = (gpu *)self;
    const double t = (double)s->step;
    const adamw k = {b1, b2, (float)(s->lr / (1 - pow((double)b1, t))), (float)(1 / sqrt(1 - pow((double)b2, t))), eps,
                     s->flags & CO_SLICE_NO_DECAY ? 1.0f : (float)(1 - (double)s->lr * wd), s->grad_scale};
    const uintptr_t all = (uintptr_t)s->master | (uintptr_t)s->grad | (uintptr_t)s->out | (uintptr_t)s->state[0] | (uintptr_t)s->state[1];
    if (!cuda_float(s->grad_dtype) || (s->out && !cuda_float(s->out_dtype)))
        return CO_FAIL(c->host, CO_E_UNSUPPORTED, "backend cuda: AdamW takes fp32, bf16 or fp16 gradients");
    if (all % 16) return CO_FAIL(c->host, CO_E_INVALID, "backend cuda: AdamW's buffers are to start at multiples of 16 bytes");
    if (s->n == 0) return CO_OK;
    const unsigned blocks = grid_for(s->n, THREADS * 4, (unsigned)c->sms * 32);
    void *out = s->out == s->master ? NULL : s->out;
    WITH_TYPE(s->grad_dtype, G, WITH_TYPE(s->out_dtype, O, (update<G, O><<<blocks, THREADS, 0, cuda_stream(c, on)>>>(
        s->master, (const G *)s->grad, (O *)out, (float *)s->state[0], (float *)s->state[1], s->n, k, s->dev_scale, s->dev_skip,
        s->dev_step, s->lr));))
    return cuda_check(c, cudaGetLastError(), "AdamW");
}
