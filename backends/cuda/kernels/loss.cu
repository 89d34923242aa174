/* loss.cu: masked sums over tokens, the seed of a backward, dropout. Sums over tokens are small ([tokens] floats): one
 * block adds them up in double in an order that depends on nothing but the count. */
#include "device.cuh"

#define THREADS 512

template <class X, class M> __device__ inline double masked_sum(const X *x, int64_t x_stride, const M *m, int64_t m_stride, int64_t from, int64_t to, double *shared)
{
    double sum = 0;
    for (int64_t t = from + threadIdx.x; t < to; t += blockDim.x) sum += (double)to_float(x[t * x_stride]) * (double)to_float(m[t * m_stride]);
    return block_sum(sum, shared);
}
template <class T> __global__ void masked_mean(const T *x, const T *m, T *y, int64_t n, const co_live *live)
{
    __shared__ double shared[33];
    const double sum = masked_sum(x, 1, m, 1, 0, n, shared);
    if (threadIdx.x == 0) *y = from_float<T>((float)(sum * (double)live->inv_denom));
}
template <class T> __global__ void masked_sum_rows(const T *x, const T *m, T *y, const co_live *live)
{
    __shared__ double shared[33];
    const int32_t q = (int32_t)blockIdx.x;
    const double sum = masked_sum(x, 1, m, 1, live->seq_start[q], live->seq_start[q + 1], shared);
    if (threadIdx.x == 0) y[q] = from_float<T>((float)sum);
}
extern "C" int cuda_run_MASKED_MEAN(const cuda_step *s)
{
    WITH_TYPE(s->in[0].dtype, T, masked_mean<T><<<1, THREADS, 0, s->on>>>((const T *)s->in[0].p, (const T *)s->in[1].p, (T *)s->out[0].p, s->in[0].rows, s->dev_live);)
    return CO_OK;
}
extern "C" int cuda_run_MASKED_SUM_ROWS(const cuda_step *s)
{
    if (s->live->n_seqs == 0) return CO_OK;
    WITH_TYPE(s->in[0].dtype, T, masked_sum_rows<T><<<(unsigned)s->live->n_seqs, THREADS, 0, s->on>>>((const T *)s->in[0].p, (const T *)s->in[1].p, (T *)s->out[0].p, s->dev_live);)
    return CO_OK;
}

template <class T> __global__ void masked_mean_bwd(const T *m, const T *dy, T *dx, int64_t n, const co_live *live)
{
    const int64_t t = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (t < n) dx[t] = from_float<T>(to_float(m[t]) * to_float(*dy) * live->inv_denom);
}
template <class T> __global__ void masked_sum_rows_bwd(const T *m, const T *dy, T *dx, const co_live *live)
{
    const int32_t q = (int32_t)blockIdx.x;
    for (int64_t t = live->seq_start[q] + (int64_t)threadIdx.x; t < live->seq_start[q + 1]; t += blockDim.x)
        dx[t] = from_float<T>(to_float(m[t]) * to_float(dy[q]));
}
extern "C" int cuda_run_MASKED_MEAN_BWD(const cuda_step *s)
{
    const int64_t n = s->in[0].rows;
    if (n == 0) return CO_OK;
    WITH_TYPE(s->in[0].dtype, T, masked_mean_bwd<T><<<(unsigned)((n + THREADS - 1) / THREADS), THREADS, 0, s->on>>>((const T *)s->in[0].p, (const T *)s->in[1].p, (T *)s->out[0].p, n, s->dev_live);)
    return CO_OK;
}
extern "C" int cuda_run_MASKED_SUM_ROWS_BWD(const cuda_step *s)
{
    if (s->live->n_seqs == 0) return CO_OK;
    WITH_TYPE(s->in[0].dtype, T, masked_sum_rows_bwd<T><<<(unsigned)s->live->n_seqs, THREADS, 0, s->on>>>((const T *)s->in[0].p, (const T *)s->in[1].p, (T *)s->out[0].p, s->dev_live);)
    return CO_OK;
}

template <class T> __global__ void seed(T *y, const co_live *live) { *y = from_float<T>(live->loss_weight * (live->loss_scale ? *live->loss_scale : 1.0f)); }
extern "C" int cuda_run_LOSS_SEED(const cuda_step *s)
{
    WITH_TYPE(s->out[0].dtype, T, seed<T><<<1, 1, 0, s->on>>>((T *)s->out[0].p, s->dev_live);)
    return CO_OK;
}

/* ---- dropout, as <coati/ops.h> defines it: the same draws as every other backend -------------------------------- */
__device__ inline uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}
/* Philox 4x32-10 (Salmon et al. 2011), as co_host.random: key the seed, counter (counter, stream). */
__device__ inline uint64_t philox(uint64_t key, uint64_t stream, uint64_t counter)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t x0 = (uint32_t)counter, x1 = (uint32_t)(counter >> 32), x2 = (uint32_t)stream, x3 = (uint32_t)(stream >> 32);
#pragma unroll
    for (int i = 0; i < 10; i++) {
        const uint64_t a = (uint64_t)0xD2511F53u * x0, b = (uint64_t)0xCD9E8D57u * x2;
        const uint32_t y1 = x1, y3 = x3;
        x0 = (uint32_t)(b >> 32) ^ y1 ^ k0;
        x1 = (uint32_t)b;
        x2 = (uint32_t)(a >> 32) ^ y3 ^ k1;
        x3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (uint64_t)x1 << 32 | x0;
}
template <class T> __global__ void drop(rows_of<const T> xs, rows_of<T> ys, int64_t cols, const co_live *live, uint32_t unit, uint64_t key, uint32_t stream, float p)
{
    const int32_t t = (int32_t)blockIdx.x;
    int32_t lo = 0, hi = live->n_seqs - 1; /* the sequence of token t: the last that starts at or before it */
    while (lo < hi) {
        const int32_t mid = (lo + hi + 1) / 2;
        if (live->seq_start[mid] <= t) lo = mid;
        else hi = mid - 1;
    }
    const uint64_t position = (uint64_t)(t - live->seq_start[lo]), limit = (uint64_t)((double)p * 0x1p64);
    const uint64_t base = mix((live->seq_key ? live->seq_key[lo] : 0) + mix(live->step_key + mix(position)));
    const T *x = xs.row(t);
    T *y = ys.row(t);
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) {
        const bool kept = philox(key, stream + (uint64_t)unit * 65536, base + (uint64_t)c) >= limit;
        y[c] = from_float<T>(kept ? to_float(x[c]) / (1 - p) : 0.0f);
    }
}
extern "C" int cuda_run_DROPOUT(const cuda_step *s)
{
    const co_attr_dropout *a = (const co_attr_dropout *)s->op->attrs;
    const view *x = &s->in[0], *y = &s->out[0];
    if (x->rows == 0) return CO_OK;
    WITH_TYPE(x->dtype, T, drop<T><<<(unsigned)x->rows, 256, 0, s->on>>>(*x, *y, x->cols, s->dev_live, s->live->unit, s->c->seed ? *s->c->seed : 0, a->stream, a->p);)
    return CO_OK;
}
