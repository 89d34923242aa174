/* attention_decode.cu: few new tokens over a cache: each token's query heads walk the keys of its slot.
 *
 * Must: read the visible k and v rows of every sequence once, 2 bytes-per-element x hd x 2 a key and key head; two
 * multiply-adds an element and query head. Memory bounds it by far for up to about eight query heads a key head, so the kernel is about
 * having enough loads in flight: a block of 4 warps owns a token, a key head and up to GB of its query heads, which share the loads;
 * LANES neighbouring lanes own a key (16 bytes each at a time, whole lines together) and 32/LANES keys times UNROLL are in flight in a
 * warp, k and v both. Each group of lanes keeps a running maximum of its own, so lanes exchange nothing but the dot products' sums.
 * Where tokens and heads alone would not fill the chip, the keys are split over `splits` blocks: a thread block cluster whose
 * members add up through each other's shared memory (compute capability 9.0, up to 8), or blocks that leave their part in scratch for
 * a second kernel. Both add in the order of the splits.
 *
 * The new rows join the cache here too: every token reads the positions from past_len on from k and v themselves, not from
 * the cache, so nobody waits for anybody's append.
 * On an H100 (copies 3.0 TB/s): 64 sequences of 384, 32 heads of 128, 2.7 TB/s; one of 2048, 1.8; one of 256, 7.4 us, all latency. */
#include "attention.cuh"
#include <cooperative_groups.h>

namespace {
enum { THREADS = 128, WARPS = 4 };

template <typename T, int HD> struct shape {
    static constexpr int VEC = 16 / (int)sizeof(T), CHUNKS = HD / VEC;
    static constexpr int LANES = CHUNKS % 8 == 0 ? 8 : CHUNKS % 4 == 0 ? 4 : 2;
    static constexpr int PER = CHUNKS / LANES, ELEMS = PER * VEC; /* of a lane */
    static constexpr int KEYS = 32 / LANES;                       /* a warp reads at once */
    static constexpr int UNROLL = PER >= 4 ? 2 : 8 / PER > 4 ? 4 : 8 / PER;
    static constexpr int STEP = KEYS * UNROLL;
};

template <typename T> __device__ __forceinline__ void unpack(float *to, uint4 x);
template <> __device__ __forceinline__ void unpack<float>(float *to, uint4 x)
{
    to[0] = __uint_as_float(x.x), to[1] = __uint_as_float(x.y), to[2] = __uint_as_float(x.z), to[3] = __uint_as_float(x.w);
}
template <> __device__ __forceinline__ void unpack<__nv_bfloat16>(float *to, uint4 x)
{
    const uint32_t w[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int i = 0; i < 4; i++) to[2 * i] = __uint_as_float(w[i] << 16), to[2 * i + 1] = __uint_as_float(w[i] & 0xffff0000u);
}
template <> __device__ __forceinline__ void unpack<__half>(float *to, uint4 x)
{
    const uint32_t w[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float2 f = __half22float2(*reinterpret_cast<const __half2 *>(&w[i]));
        to[2 * i] = f.x, to[2 * i + 1] = f.y;
    }
}

struct place { /* of a token */
    int seq, start, past, pos, lo, hi; /* keys lo..hi by position */
    int64_t cache;                     /* the slot's first row */
};
__device__ __forceinline__ place place_of(const attn_args &a, int row)
{
    place p;
    p.seq = attn_seq_of(a.live.seq_start, attn_seqs(a), row);
    p.start = a.live.seq_start[p.seq], p.past = a.live.past_len[p.seq], p.pos = p.past + row - p.start;
    const attn_span s = attn_keys_of(a, p.pos, 0, p.past + a.live.seq_start[p.seq + 1] - p.start);
    p.lo = s.lo, p.hi = s.hi, p.cache = (int64_t)a.live.cache_slot[p.seq] * a.slot_len;
    return p;
}

template <typename T, int HD, int GB> __global__ void __launch_bounds__(THREADS) decode(attn_args a, int clustered)
{
#if __CUDA_ARCH__ >= 900 /* as device.cuh says */
    cudaTriggerProgrammaticLaunchCompletion();
    cudaGridDependencySynchronize();
#endif
    attn_find_arrays(a.live);
    using S = shape<T, HD>;
    const int row = blockIdx.x, n = attn_tokens(a), split = blockIdx.z;
    if (row >= n) return;
    const int chunks = (a.group + GB - 1) / GB, kv_head = blockIdx.y / chunks, g0 = blockIdx.y % chunks * GB;
    const int heads = min(GB, a.group - g0), head0 = kv_head * a.group + g0;
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31, sub = lane % S::LANES, key = lane / S::LANES;
    const place w = place_of(a, row);
    const int64_t kv_col = (int64_t)kv_head * HD;
    const T *k = (const T *)a.k + kv_col, *v = (const T *)a.v + kv_col;
    T *kc = (T *)a.kc + kv_col, *vc = (T *)a.vc + kv_col;

    if (split == 0 && g0 == 0 && threadIdx.x < 2 * S::CHUNKS) {
        const int c = threadIdx.x % S::CHUNKS * S::VEC;
        const bool second = threadIdx.x >= S::CHUNKS;
        *(uint4 *)((second ? vc + (w.cache + w.pos) * a.ldvc : kc + (w.cache + w.pos) * a.ldkc) + c) =
            *(const uint4 *)((second ? v + row * a.ldv : k + row * a.ldk) + c);
    }

    float q[GB][S::ELEMS], acc[GB][S::ELEMS] = {}, top[GB], sum[GB], slope[GB];
#pragma unroll
    for (int g = 0; g < GB; g++) {
        top[g] = -INFINITY, sum[g] = 0, slope[g] = attn_slope2(a, head0 + min(g, heads - 1));
        const T *from = (const T *)a.q + row * a.ldq + (int64_t)(head0 + min(g, heads - 1)) * HD;
#pragma unroll
        for (int c = 0; c < S::PER; c++) unpack<T>(q[g] + c * S::VEC, *(const uint4 *)(from + (c * S::LANES + sub) * S::VEC));
#pragma unroll
        for (int i = 0; i < S::ELEMS; i++) q[g][i] *= a.scale2;
    }

    const int count = w.hi - w.lo + 1, each = (((count + a.splits - 1) / a.splits) + S::STEP - 1) / S::STEP * S::STEP;
    const int from = w.lo + split * each, to = min(from + each, w.hi + 1);
    for (int j0 = from + warp * S::STEP; j0 < to; j0 += WARPS * S::STEP) {
        uint4 kr[S::UNROLL][S::PER], vr[S::UNROLL][S::PER];
#pragma unroll
        for (int u = 0; u < S::UNROLL; u++) {
            const int j = min(j0 + u * S::KEYS + key, to - 1);
            const bool old = j < w.past;
            const T *kp = old ? kc + (w.cache + j) * a.ldkc : k + (int64_t)(w.start + j - w.past) * a.ldk;
            const T *vp = old ? vc + (w.cache + j) * a.ldvc : v + (int64_t)(w.start + j - w.past) * a.ldv;
#pragma unroll
            for (int c = 0; c < S::PER; c++) {
                kr[u][c] = *(const uint4 *)(kp + (c * S::LANES + sub) * S::VEC);
                vr[u][c] = *(const uint4 *)(vp + (c * S::LANES + sub) * S::VEC);
            }
        }
        float s[S::UNROLL][GB];
#pragma unroll
        for (int u = 0; u < S::UNROLL; u++) {
#pragma unroll
            for (int g = 0; g < GB; g++) s[u][g] = 0;
#pragma unroll
            for (int c = 0; c < S::PER; c++) {
                float x[S::VEC];
                unpack<T>(x, kr[u][c]);
#pragma unroll
                for (int g = 0; g < GB; g++)
#pragma unroll
                    for (int i = 0; i < S::VEC; i++) s[u][g] = fmaf(q[g][c * S::VEC + i], x[i], s[u][g]);
            }
            const int j = j0 + u * S::KEYS + key;
#pragma unroll
            for (int g = 0; g < GB; g++) {
#pragma unroll
                for (int o = 1; o < S::LANES; o *= 2) s[u][g] += __shfl_xor_sync(~0u, s[u][g], o);
                s[u][g] = j < to ? fmaf(slope[g], (float)(j - w.pos), s[u][g]) : -INFINITY;
            }
        }
#pragma unroll
        for (int g = 0; g < GB; g++) {
            float now = top[g];
#pragma unroll
            for (int u = 0; u < S::UNROLL; u++) now = fmaxf(now, s[u][g]);
            if (now > top[g]) {
                const float keep = exp2f(top[g] - now);
                top[g] = now, sum[g] *= keep;
#pragma unroll
                for (int i = 0; i < S::ELEMS; i++) acc[g][i] *= keep;
            }
            const float at = now == -INFINITY ? 0 : now;
#pragma unroll
            for (int u = 0; u < S::UNROLL; u++) sum[g] += s[u][g] = exp2f(s[u][g] - at);
        }
#pragma unroll
        for (int u = 0; u < S::UNROLL; u++)
#pragma unroll
            for (int c = 0; c < S::PER; c++) {
                float x[S::VEC];
                unpack<T>(x, vr[u][c]);
#pragma unroll
                for (int g = 0; g < GB; g++)
#pragma unroll
                    for (int i = 0; i < S::VEC; i++) acc[g][c * S::VEC + i] = fmaf(s[u][g], x[i], acc[g][c * S::VEC + i]);
            }
    }

    /* Lanes that hold the same columns, then warps. */
    __shared__ float warp_acc[WARPS][GB][HD], warp_top[WARPS][GB], warp_sum[WARPS][GB];
    __shared__ float block_acc[GB][HD], block_top[GB], block_sum[GB];
#pragma unroll
    for (int g = 0; g < GB; g++) {
        float now = top[g];
#pragma unroll
        for (int o = S::LANES; o < 32; o *= 2) now = fmaxf(now, __shfl_xor_sync(~0u, now, o));
        const float keep = now == -INFINITY ? 0 : exp2f(top[g] - now);
        float l = sum[g] * keep;
#pragma unroll
        for (int o = S::LANES; o < 32; o *= 2) l += __shfl_xor_sync(~0u, l, o);
#pragma unroll
        for (int i = 0; i < S::ELEMS; i++) {
            float x = acc[g][i] * keep;
#pragma unroll
            for (int o = S::LANES; o < 32; o *= 2) x += __shfl_xor_sync(~0u, x, o);
            if (key == 0) warp_acc[warp][g][(i / S::VEC * S::LANES + sub) * S::VEC + i % S::VEC] = x;
        }
        if (lane == 0) warp_top[warp][g] = now, warp_sum[warp][g] = l;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < heads * HD; i += THREADS) {
        const int g = i / HD, c = i % HD;
        float now = -INFINITY, x = 0, l = 0;
        for (int u = 0; u < WARPS; u++) now = fmaxf(now, warp_top[u][g]);
        for (int u = 0; u < WARPS; u++) {
            const float keep = now == -INFINITY ? 0 : exp2f(warp_top[u][g] - now);
            x += warp_acc[u][g][c] * keep, l += warp_sum[u][g] * keep;
        }
        if (a.splits == 1) {
            ((T *)a.o)[row * a.ldo + (int64_t)(head0 + g) * HD + c] = attn_from<T>(x / l);
        } else if (clustered) {
            block_acc[g][c] = x;
            if (c == 0) block_top[g] = now, block_sum[g] = l;
        } else {
            float *part = a.part + ((int64_t)(row * a.heads + head0 + g) * a.splits + split) * (HD + 2);
            part[c] = x;
            if (c == 0) part[HD] = now, part[HD + 1] = l;
        }
    }
#if __CUDA_ARCH__ >= 900
    if (clustered) {
        namespace cg = cooperative_groups;
        cg::cluster_group cluster = cg::this_cluster();
        cluster.sync();
        for (int i = split * THREADS + threadIdx.x; i < heads * HD; i += a.splits * THREADS) {
            const int g = i / HD, c = i % HD;
            float now = -INFINITY, x = 0, l = 0;
            for (int r = 0; r < a.splits; r++) now = fmaxf(now, *cluster.map_shared_rank(&block_top[g], r));
            for (int r = 0; r < a.splits; r++) {
                const float keep = exp2f(*cluster.map_shared_rank(&block_top[g], r) - now);
                x += *cluster.map_shared_rank(&block_acc[g][c], r) * keep, l += *cluster.map_shared_rank(&block_sum[g], r) * keep;
            }
            ((T *)a.o)[row * a.ldo + (int64_t)(head0 + g) * HD + c] = attn_from<T>(x / l);
        }
        cluster.sync(); /* nobody leaves while its memory is read */
    }
#endif
}

/* A block a row and head. */
template <typename T> __global__ void combine(attn_args a)
{
    const int row = blockIdx.x, head = blockIdx.y;
    if (row >= attn_tokens(a)) return;
    const float *part = a.part + (int64_t)(row * a.heads + head) * a.splits * (a.hd + 2);
    float now = -INFINITY, x = 0, l = 0;
    for (int r = 0; r < a.splits; r++) now = fmaxf(now, part[r * (a.hd + 2) + a.hd]);
    for (int r = 0; r < a.splits; r++) {
        const float *p = part + r * (a.hd + 2), keep = exp2f(p[a.hd] - now);
        x += p[threadIdx.x] * keep, l += p[a.hd + 1] * keep;
    }
    ((T *)a.o)[row * a.ldo + (int64_t)head * a.hd + threadIdx.x] = attn_from<T>(x / l);
}

/* Any head size up to 256 and any alignment: a block a token and head, a thread a key, then a thread a column or two. */
template <typename T> __global__ void __launch_bounds__(THREADS) decode_any(attn_args a)
{
    attn_find_arrays(a.live);
    __shared__ float q[256], p[THREADS], part[WARPS];
    const int row = blockIdx.x, head = blockIdx.y, t = threadIdx.x, hd = a.hd;
    if (row >= attn_tokens(a)) return;
    const place w = place_of(a, row);
    const int64_t kv_col = (int64_t)(head / a.group) * hd;
    const T *k = (const T *)a.k + kv_col, *v = (const T *)a.v + kv_col;
    T *kc = (T *)a.kc + kv_col, *vc = (T *)a.vc + kv_col;
    for (int c = t; c < hd; c += THREADS) {
        q[c] = attn_float(((const T *)a.q)[row * a.ldq + (int64_t)head * hd + c]) * a.scale2;
        if (head % a.group == 0) {
            kc[(w.cache + w.pos) * a.ldkc + c] = k[row * a.ldk + c];
            vc[(w.cache + w.pos) * a.ldvc + c] = v[row * a.ldv + c];
        }
    }
    const float slope = attn_slope2(a, head);
    float top = -INFINITY, sum = 0, acc[2] = {0, 0};
    for (int j0 = w.lo; j0 <= w.hi; j0 += THREADS) {
        const int j = j0 + t, many = min(THREADS, w.hi - j0 + 1);
        __syncthreads();
        float s = -INFINITY;
        if (j <= w.hi) {
            const T *x = j < w.past ? kc + (w.cache + j) * a.ldkc : k + (int64_t)(w.start + j - w.past) * a.ldk;
            s = slope * (float)(j - w.pos);
            for (int c = 0; c < hd; c++) s = fmaf(q[c], attn_float(x[c]), s);
        }
        float now = s;
        for (int o = 16; o; o >>= 1) now = fmaxf(now, __shfl_xor_sync(~0u, now, o));
        if (t % 32 == 0) part[t / 32] = now;
        __syncthreads();
        now = fmaxf(top, fmaxf(fmaxf(part[0], part[1]), fmaxf(part[2], part[3])));
        const float keep = exp2f(top - now);
        top = now;
        p[t] = exp2f(s - now);
        __syncthreads();
        sum *= keep, acc[0] *= keep, acc[1] *= keep;
        for (int i = 0; i < many; i++) {
            const int jj = j0 + i;
            const T *x = jj < w.past ? vc + (w.cache + jj) * a.ldvc : v + (int64_t)(w.start + jj - w.past) * a.ldv;
            sum += p[i];
            if (t < hd) acc[0] = fmaf(p[i], attn_float(x[t]), acc[0]);
            if (t + THREADS < hd) acc[1] = fmaf(p[i], attn_float(x[t + THREADS]), acc[1]);
        }
    }
    for (int i = 0; i < 2; i++)
        if (t + i * THREADS < hd) ((T *)a.o)[row * a.ldo + (int64_t)head * hd + t + i * THREADS] = attn_from<T>(acc[i] / sum);
}

template <typename T, int HD, int GB> cudaError_t launch(attn_args *a, int rows, int clustered, int early, cudaStream_t on)
{
    cudaLaunchConfig_t c = {};
    cudaLaunchAttribute at[2] = {};
    c.gridDim = dim3((unsigned)rows, (unsigned)(a->kv_heads * ((a->group + GB - 1) / GB)), (unsigned)a->splits);
    c.blockDim = dim3(THREADS), c.stream = on;
    at[0].id = cudaLaunchAttributeProgrammaticStreamSerialization, at[0].val.programmaticStreamSerializationAllowed = 1;
    at[1].id = cudaLaunchAttributeClusterDimension;
    at[1].val.clusterDim.x = at[1].val.clusterDim.y = 1, at[1].val.clusterDim.z = (unsigned)a->splits;
    c.attrs = early ? at : at + 1, c.numAttrs = (early ? 1 : 0) + (clustered ? 1 : 0);
    cudaError_t e = cudaLaunchKernelEx(&c, decode<T, HD, GB>, *a, clustered);
    if (e || a->splits == 1 || clustered) return e;
    combine<T><<<dim3((unsigned)rows, (unsigned)a->heads), HD, 0, on>>>(*a);
    return cudaGetLastError();
}
template <typename T, int HD> cudaError_t by_group(attn_args *a, int rows, int clustered, int early, cudaStream_t on)
{
    constexpr int GB = shape<T, HD>::ELEMS > 24 ? 2 : 4; /* registers */
    return a->group == 1 ? launch<T, HD, 1>(a, rows, clustered, early, on) : launch<T, HD, GB>(a, rows, clustered, early, on);
}
template <typename T> cudaError_t run(attn_args *a, int rows, int aligned, int clustered, int early, cudaStream_t on)
{
    if (aligned && a->hd == 64) return by_group<T, 64>(a, rows, clustered, early, on);
    if (aligned && a->hd == 80) return by_group<T, 80>(a, rows, clustered, early, on);
    if (aligned && a->hd == 96) return by_group<T, 96>(a, rows, clustered, early, on);
    if (aligned && a->hd == 128) return by_group<T, 128>(a, rows, clustered, early, on);
    decode_any<T><<<dim3((unsigned)rows, (unsigned)a->heads), THREADS, 0, on>>>(*a);
    return cudaGetLastError();
}
enum { MOST_SPLITS = 32, CLUSTER = 8 };
} // namespace

/* Enough blocks for the chip, 32 keys a split at least. */
int attn_decode_splits(const cuda_attn_dev *d, int rows, int heads, int kv_heads, int slot_len)
{
    const int group = heads / kv_heads, blocks = rows * kv_heads * (group == 1 ? 1 : (group + 3) / 4);
    int splits = 1;
    while (splits < MOST_SPLITS && blocks * splits < 2 * d->sms && slot_len / (2 * splits) >= 32) splits *= 2;
    if (d->cc >= 90 && splits > CLUSTER && blocks * CLUSTER >= d->sms) splits = CLUSTER; /* one kernel beats a fuller chip */
    return splits;
}
size_t attn_decode_scratch(int rows, int heads, int hd, int splits)
{
    return splits == 1 ? 0 : (size_t)rows * (size_t)heads * (size_t)splits * (size_t)(hd + 2) * sizeof(float);
}
cudaError_t attn_decode_run(const cuda_attn_dev *d, uint32_t dtype, attn_args *a, int rows, int aligned, cudaStream_t on)
{
    const int clustered = a->splits > 1 && a->splits <= CLUSTER && d->cc >= 90, early = d->cc >= 90;
    if (dtype == CO_F32) return run<float>(a, rows, aligned, clustered, early, on);
    if (dtype == CO_BF16) return run<__nv_bfloat16>(a, rows, aligned, clustered, early, on);
    return run<__half>(a, rows, aligned, clustered, early, on);
}
