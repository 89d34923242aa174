/* attention_mma_fwd.cu: the forward on mma.sync tensor cores: packed batches, and queries over a cache.
 *
 * FlashAttention-2's loop (Dao 2023): a block of 4 warps owns 64 or 128 rows of a head, a warp 16 or 32 of them; it walks the keys they
 * see in blocks of 64, with a running maximum and sum per row in log2 units (exp2 is one instruction), and keeps scores, probabilities
 * and the result in registers. The copy of V overlaps the product with K, the copy of the next K the softmax and the product with V.
 *
 * Must: 4 T^2 hd operations a head (half of it if causal), one exponential a pair; bytes: q, k, v, o once, which is nothing beside it.
 * Shared memory delivers a right fragment for 16 (32) rows of work: with 16 it limits before the tensor cores do, hence 128 rows.
 * On an H100, where mma.sync reaches 62 % of the tensor cores, causal B8 H32 T2048: 230 TFLOP/s at hd 64, 260 at hd 128. */
#include "attention_mma.cuh"

namespace {
using namespace attn;
enum { THREADS = 128, BN = 64 };

/* A run of keys at positions 0.. of one sequence, or of the whole packed batch (positions are rows then). */
struct run {
    int first, last; /* keys some row of the tile sees */
    int shift;       /* position of tile row r is r + shift */
    int past;        /* positions below come from the cache */
    int64_t cache, in; /* row of position 0 in the cache; row of position `past` in k, v, less past */
};

template <typename T, int HD, int ROWS>
__device__ __forceinline__ void load_keys(uint32_t to, const T *in, int64_t ld, const T *cache, int64_t ldc, const run &w, int j0)
{
    constexpr int CH = HD / 8;
#pragma unroll
    for (int i0 = 0; i0 < ROWS * CH; i0 += THREADS) {
        const int i = i0 + (int)threadIdx.x, r = i / CH, c = i - r * CH, j = j0 + r;
        if (ROWS * CH % THREADS && i >= ROWS * CH) break;
        const T *from = j < w.past ? cache + (w.cache + j) * ldc : in + (w.in + j) * ld;
        copy16(to + (uint32_t)(r * PITCH<HD> + c * 8) * 2, j <= w.last ? from + c * 8 : in, j <= w.last);
    }
}

template <typename T, int HD, int MT, bool CACHED> __global__ void __launch_bounds__(THREADS) forward(attn_args a)
{
    if (CACHED) attn_find_arrays(a.live);
    constexpr int BM = 64 * MT;
    extern __shared__ __align__(16) unsigned char shared[];
    const int n = attn_tokens(a), warp = threadIdx.x / 32, lane = threadIdx.x & 31;
    int tile, head;
    attn_place(a, blockIdx.x, tile, head);
    const int r0 = tile * BM, last = min(r0 + BM, n) - 1, m0 = warp * 16 * MT;
    if (r0 >= n) return;
    T *sq = (T *)shared, *sk = sq + BM * PITCH<HD>, *sv = sk + BN * PITCH<HD>;
    const uint32_t uq = shared_at(sq), uk = shared_at(sk), uv = shared_at(sv);
    const int64_t kv_col = (int64_t)(head / a.group) * HD;
    const T *k = (const T *)a.k + kv_col, *v = (const T *)a.v + kv_col;
    T *kc = CACHED ? (T *)a.kc + kv_col : nullptr, *vc = CACHED ? (T *)a.vc + kv_col : nullptr;
    const float slope = attn_slope2(a, head);
    load_rows<HD, BM, THREADS>(uq, (const T *)a.q + (int64_t)head * HD, a.ldq, r0, n);
    copies_commit();

    float acc[MT][HD / 8][4] = {}, top[MT][2], sum[MT][2];
    attn_span sees[MT][2];
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            top[m][h] = -INFINITY, sum[m][h] = 0;
            const int row = r0 + m0 + 16 * m + 8 * h + lane / 4;
            sees[m][h] = CACHED || row >= n ? attn_nothing() : attn_keys_of(a, row, a.bounds[row].x, a.bounds[row].y);
        }

    const int seqs = CACHED ? attn_seqs(a) : 0;
    int seq = CACHED ? attn_seq_of(a.live.seq_start, seqs, r0) : 0;
    do {
        run w = {};
        int clear_from, clear_to; /* keys that every row of the tile sees */
        if (!CACHED) {
            const attn_span lo = attn_keys_of(a, r0, a.bounds[r0].x, a.bounds[r0].y);
            const attn_span hi = attn_keys_of(a, last, a.bounds[last].x, a.bounds[last].y);
            w.first = lo.lo, w.last = hi.hi, clear_from = hi.lo, clear_to = lo.hi;
        } else {
            const int start = a.live.seq_start[seq], end = a.live.seq_start[seq + 1], past = a.live.past_len[seq];
            const int ra = max(start, r0), rb = min(end - 1, last);
            if (ra > rb) continue; /* an empty sequence */
            w.shift = past - start, w.past = past, w.cache = (int64_t)a.live.cache_slot[seq] * a.slot_len, w.in = start - past;
            const attn_span lo = attn_keys_of(a, ra + w.shift, 0, past + end - start), hi = attn_keys_of(a, rb + w.shift, 0, past + end - start);
            w.first = lo.lo, w.last = hi.hi;
            const bool whole = ra == r0 && rb == last;
            clear_from = whole ? hi.lo : 1 << 30, clear_to = whole ? lo.hi : -1;
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    const int row = r0 + m0 + 16 * m + 8 * h + lane / 4;
                    sees[m][h] = row >= ra && row <= rb ? attn_keys_of(a, row + w.shift, 0, past + end - start) : attn_nothing();
                }
            if (head % a.group == 0) /* the rows of this tile join the cache */
                for (int i = threadIdx.x; i < (rb - ra + 1) * (HD / 8); i += THREADS) {
                    const int64_t t = ra + i / (HD / 8), c = i % (HD / 8) * 8, to = w.cache + t + w.shift;
                    *(uint4 *)(kc + to * a.ldkc + c) = *(const uint4 *)(k + t * a.ldk + c);
                    *(uint4 *)(vc + to * a.ldvc + c) = *(const uint4 *)(v + t * a.ldv + c);
                }
        }
        __syncthreads(); /* nobody reads the last run's keys any more */
        load_keys<T, HD, BN>(uk, k, a.ldk, kc, a.ldkc, w, w.first);
        copies_commit();
        for (int j0 = w.first; j0 <= w.last; j0 += BN) {
            copies_wait();
            __syncthreads();
            load_keys<T, HD, BN>(uv, v, a.ldv, vc, a.ldvc, w, j0);
            copies_commit();
            float s[MT][BN / 8][4];
            product_t<T, HD, BN, MT>(s, uq, m0, uk);
            uint32_t p[MT][BN / 16][4];
            const bool masked = j0 < clear_from || j0 + BN - 1 > clear_to;
#pragma unroll
            for (int m = 0; m < MT; m++) {
                if (a.alibi) {
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        const float at = slope * (float)(j0 + 2 * (lane & 3) - (r0 + m0 + 16 * m + 8 * h + lane / 4 + w.shift));
#pragma unroll
                        for (int i = 0; i < BN / 8; i++)
#pragma unroll
                            for (int e = 0; e < 2; e++)
                                s[m][i][2 * h + e] = fmaf(s[m][i][2 * h + e], a.scale2, fmaf(slope, (float)(8 * i + e), at));
                    }
                }
                if (masked) {
#pragma unroll
                    for (int h = 0; h < 2; h++)
#pragma unroll
                        for (int i = 0; i < BN / 8; i++)
#pragma unroll
                            for (int e = 0; e < 2; e++)
                                if (!attn_in(sees[m][h], j0 + 8 * i + 2 * (lane & 3) + e)) s[m][i][2 * h + e] = -INFINITY;
                }
                const float scale = a.alibi ? 1 : a.scale2; /* what is still to be multiplied in */
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    float x = s[m][0][2 * h];
#pragma unroll
                    for (int i = 0; i < BN / 8; i++) x = fmaxf(x, fmaxf(s[m][i][2 * h], s[m][i][2 * h + 1]));
                    const float now = fmaxf(top[m][h], quad_max(x) * scale), at = now == -INFINITY ? 0 : now, keep = exp2_fast(top[m][h] - at);
                    top[m][h] = now;
                    float part = 0;
#pragma unroll
                    for (int i = 0; i < BN / 8; i++)
#pragma unroll
                        for (int e = 0; e < 2; e++) {
                            s[m][i][2 * h + e] = exp2_fast(fmaf(s[m][i][2 * h + e], scale, -at));
                            part += s[m][i][2 * h + e];
                        }
                    sum[m][h] = fmaf(sum[m][h], keep, part);
#pragma unroll
                    for (int i = 0; i < HD / 8; i++) acc[m][i][2 * h] *= keep, acc[m][i][2 * h + 1] *= keep;
                }
                as_left<T, BN>(p[m], s[m]);
            }
            copies_wait();
            __syncthreads();
            if (j0 + BN <= w.last) {
                load_keys<T, HD, BN>(uk, k, a.ldk, kc, a.ldkc, w, j0 + BN);
                copies_commit();
            }
            product<T, HD, BN, MT>(acc, p, uv);
        }
    } while (CACHED && ++seq < seqs && a.live.seq_start[seq] <= last);

#pragma unroll
    for (int m = 0; m < MT; m++) {
        const int row = r0 + m0 + 16 * m;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const float l = quad_sum(sum[m][h]), inv = 1 / l;
            if (a.lse && (lane & 3) == 0 && row + 8 * h + lane / 4 < n)
                a.lse[(int64_t)(row + 8 * h + lane / 4) * a.ldlse + head] = (top[m][h] + log2f(l)) * ATTN_LN2;
#pragma unroll
            for (int i = 0; i < HD / 8; i++) acc[m][i][2 * h] *= inv, acc[m][i][2 * h + 1] *= inv;
        }
        store_rows<T, HD>((T *)a.o + (int64_t)head * HD, a.ldo, row, n, sq, m0 + 16 * m, acc[m]);
    }
}

template <typename T, int HD, int MT, bool CACHED> cudaError_t launch(attn_args *a, cudaStream_t on)
{
    const size_t bytes = (size_t)(64 * MT + 2 * BN) * PITCH<HD> * sizeof(T);
    const cudaError_t e = cudaFuncSetAttribute((const void *)forward<T, HD, MT, CACHED>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    if (e) return e;
    forward<T, HD, MT, CACHED><<<(unsigned)(a->tiles * a->heads), THREADS, bytes, on>>>(*a);
    return cudaGetLastError();
}
template <typename T, bool CACHED> cudaError_t by_size(attn_args *a, cudaStream_t on)
{
    switch (a->hd) {
    case 64: return launch<T, 64, CACHED ? 1 : 2, CACHED>(a, on);
    case 80: return launch<T, 80, CACHED ? 1 : 2, CACHED>(a, on);
    case 96: return launch<T, 96, CACHED ? 1 : 2, CACHED>(a, on);
    default: return launch<T, 128, CACHED ? 1 : 2, CACHED>(a, on);
    }
}
} // namespace

bool attn_mma_serves(const cuda_attn_dev *d, uint32_t dtype, int hd)
{
    return d->cc >= 80 && (dtype == CO_BF16 || dtype == CO_F16) && (hd == 64 || hd == 80 || hd == 96 || hd == 128);
}

cudaError_t attn_mma_forward(uint32_t dtype, attn_args *a, cudaStream_t on)
{
    return dtype == CO_BF16 ? by_size<__nv_bfloat16, false>(a, on) : by_size<__half, false>(a, on);
}
cudaError_t attn_mma_cached(uint32_t dtype, attn_args *a, cudaStream_t on)
{
    return dtype == CO_BF16 ? by_size<__nv_bfloat16, true>(a, on) : by_size<__half, true>(a, on);
}
