/* sample.cu: SAMPLE_TOKEN as <coati/ops.h> defines it, a block a row. Nothing is sorted: the logits' bits, put into the order of
 * their values, are descended a byte at a time, each pass adding up what lies in each of 256 buckets of shared memory. Weights are
 * whole numbers, so atomic additions give the same sums in any order. A row of 32,000 logits comes from L2; at most 12 passes
 * over it, about 50 us, all rows at once. */
#include "device.cuh"

#define THREADS 1024

struct settings { const float *temperature, *top_k, *top_p, *u; };

struct row { /* of the block */
    const float *z;
    int64_t n;
    float max, temperature;
    uint32_t least; /* keys below it are not in K */
};

__device__ inline uint32_t order_of(float x)
{
    const uint32_t b = x == 0 ? 0u : __float_as_uint(x); /* both zeros are one */
    return b & 0x80000000u ? ~b : b | 0x80000000u;
}
__device__ inline float value_of(uint32_t key) { return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key); }
__device__ inline unsigned long long weight(const row &w, float z) { return (unsigned long long)(CO_SAMPLE_ONE * exp(((double)z - (double)w.max) / (double)w.temperature)); }

/* The key, falling, at which the sum of weights (or the count) passes `target`, and the sum in front of its equals. */
template <bool COUNT> __device__ uint32_t descend(const row &w, unsigned long long target, unsigned long long *before)
{
    __shared__ unsigned long long bucket[256], found_sum;
    __shared__ uint32_t found;
    uint32_t prefix = 0, mask = 0;
    unsigned long long sum = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        __syncthreads();
        if (threadIdx.x < 256) bucket[threadIdx.x] = 0;
        __syncthreads();
        for (int64_t v = threadIdx.x; v < w.n; v += THREADS) {
            const uint32_t key = order_of(w.z[v]);
            if (((key ^ prefix) & mask) == 0 && key >= w.least) atomicAdd(&bucket[key >> shift & 255], COUNT ? 1ull : weight(w, w.z[v]));
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            uint32_t b = 255;
            while (b > 0 && sum + bucket[b] <= target) sum += bucket[b--];
            found = b;
            found_sum = sum;
        }
        __syncthreads();
        sum = found_sum;
        prefix |= found << shift;
        mask |= 255u << shift;
    }
    *before = sum;
    return prefix;
}

/* The id of number `skip` (from 0) of the row's elements with this key, by rising id. */
__device__ int32_t nth_equal(const row &w, uint32_t key, unsigned long long skip)
{
    __shared__ int counts[32];
    __shared__ int32_t found;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    if (threadIdx.x == 0) found = -1;
    for (int64_t from = 0; from < w.n; from += THREADS) {
        const int64_t v = from + threadIdx.x;
        const bool mine = v < w.n && order_of(w.z[v]) == key;
        const unsigned votes = __ballot_sync(0xffffffffu, mine);
        __syncthreads();
        if (lane == 0) counts[warp] = __popc(votes);
        __syncthreads();
        if (found >= 0) break;
        unsigned long long ahead = __popc(votes & ((1u << lane) - 1)), total = 0;
        for (int k = 0; k < 32; k++) {
            if (k < warp) ahead += counts[k];
            total += counts[k];
        }
        if (mine && ahead == skip) found = (int32_t)v;
        skip = skip >= total ? skip - total : skip;
        __syncthreads();
        if (found >= 0) break;
    }
    return found;
}

__global__ void __launch_bounds__(THREADS) sample(rows_of<const float> logits, int64_t n, settings how, int32_t *ids, float *logprob)
{
    __shared__ float shared_max[33];
    __shared__ int32_t shared_id[33];
    __shared__ double shared[33];
    __shared__ unsigned long long shared_sum[33];
    const int64_t r = blockIdx.x;
    allow_next();
    await_previous();
    const float h[4] = {how.temperature[r], how.top_k[r], how.top_p[r], how.u[r]};
    row w = {logits.row(r), n, -INFINITY, h[0], 0};
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;

    int32_t best = INT32_MAX;
    for (int64_t v = threadIdx.x; v < n; v += THREADS)
        if (w.z[v] > w.max) w.max = w.z[v], best = (int32_t)v;
    for (int step = 0; step < 2; step++) { /* within warps, then over them: the largest, of equals the lowest id */
        for (int d = 16; d > 0; d /= 2) {
            const float m = __shfl_xor_sync(0xffffffffu, w.max, d);
            const int32_t i = __shfl_xor_sync(0xffffffffu, best, d);
            if (m > w.max || (m == w.max && i < best)) w.max = m, best = i;
        }
        if (step) break;
        if (lane == 0) shared_max[warp] = w.max, shared_id[warp] = best;
        __syncthreads();
        w.max = shared_max[lane], best = shared_id[lane];
    }
    double sum = 0;
    for (int64_t v = threadIdx.x; v < n; v += THREADS) sum += (double)expf(w.z[v] - w.max);
    sum = block_sum(sum, shared);

    int32_t id = best;
    if (w.temperature > 0) {
        unsigned long long before, all = 0;
        if (h[1] > 0 && h[1] < (float)n) w.least = descend<true>(w, (unsigned long long)h[1] - 1, &before);
        for (int64_t v = threadIdx.x; v < n; v += THREADS)
            if (order_of(w.z[v]) >= w.least) all += weight(w, w.z[v]);
        all = block_sum(all, shared_sum);
        if (h[2] < 1) {
            const double need = ceil((double)h[2] * (double)all);
            const uint32_t at = descend<false>(w, need > 1 ? (unsigned long long)need - 1 : 0, &before);
            const unsigned long long one = weight(w, value_of(at));
            all = before; /* as many of those that end P as are needed */
            if (one && (double)all < need) all += (unsigned long long)ceil((need - (double)before) / (double)one) * one;
            if (all == 0) all = 1;
        }
        const unsigned long long target = (unsigned long long)((double)h[3] * (double)all);
        const uint32_t at = descend<false>(w, target, &before);
        const unsigned long long one = weight(w, value_of(at));
        id = nth_equal(w, at, one ? (target - before) / one : 0);
    }
    if (threadIdx.x) return;
    if (ids) ids[r] = id;
    if (logprob) logprob[r] = (float)((double)w.z[id] - (double)w.max - log(sum));
}

extern "C" int cuda_run_SAMPLE_TOKEN(const cuda_step *s)
{
    const view *z = &s->in[0];
    const settings how = {(const float *)s->in[1].p, (const float *)s->in[2].p, (const float *)s->in[3].p, (const float *)s->in[4].p};
    if (z->rows) launch_early(s->c, s->on, sample, (unsigned)z->rows, THREADS, *z, z->cols, how, (int32_t *)s->out[0].p, (float *)s->out[1].p);
    return CO_OK;
}
