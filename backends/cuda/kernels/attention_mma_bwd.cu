/* attention_mma_bwd.cu: the backward on mma.sync tensor cores, in two passes that each recompute the probabilities: dq by rows of
 * queries, dk and dv by rows of keys. 14 hd operations a pair instead of the 10 of one pass that adds dq up with atomics, but
 * nothing is added in memory: sums run in a fixed order in registers, no fp32 copy of dq exists, and a pass that is not wanted
 * (frozen weights) costs nothing. Heads that share a key head are summed within its block for the same reason.
 *
 * Both have the forward's shape: 4 warps with 16 rows each, walking what the rows see in blocks. In the pass over keys the scores are
 * made transposed (k q^T), so that p^T and ds^T come out of the sums in the layout a left operand needs.
 *   p = exp2(scale2 q k^T - lse2), dp = do v^T, ds = p (dp - D), D = rowsum(o do):
 *   dv = p^T do, dk = scale ds^T q, dq = scale ds k       (Dao et al. 2022, appendix B.2)
 * On an H100, causal B8 H32 T2048: 173 TFLOP/s at both hd 64 and 128, counted as 10 hd; 242 of what is really done. */
#include "attention_mma.cuh"

namespace {
using namespace attn;
enum { THREADS = 128, BM = ATTN_MMA_BACKWARD_ROWS };
template <int HD> constexpr int STEP = HD > 80 ? 32 : 64; /* rows a block of the walk holds: registers and 99 KB decide */

template <typename T, int HD> __global__ void __launch_bounds__(THREADS) grad_q(attn_args a)
{
    constexpr int BN = STEP<HD>;
    extern __shared__ __align__(16) unsigned char shared[];
    const int n = attn_tokens(a), m0 = threadIdx.x / 32 * 16, lane = threadIdx.x & 31;
    int tile, head;
    attn_place(a, blockIdx.x, tile, head);
    const int r0 = tile * BM, last = min(r0 + BM, n) - 1;
    if (r0 >= n) return;
    T *sq = (T *)shared;
    const uint32_t uq = shared_at(sq), ug = uq + BM * PITCH<HD> * 2, uk = ug + BM * PITCH<HD> * 2, uv = uk + 2 * BN * PITCH<HD> * 2;
    const T *k = (const T *)a.k + (int64_t)(head / a.group) * HD, *v = (const T *)a.v + (int64_t)(head / a.group) * HD;
    const float slope = attn_slope2(a, head);
    load_rows<HD, BM, THREADS>(uq, (const T *)a.q + (int64_t)head * HD, a.ldq, r0, n);
    load_rows<HD, BM, THREADS>(ug, (const T *)a.d_o + (int64_t)head * HD, a.lddo, r0, n);

    const attn_span lo = attn_keys_of(a, r0, a.bounds[r0].x, a.bounds[r0].y), hi = attn_keys_of(a, last, a.bounds[last].x, a.bounds[last].y);
    attn_span sees[2];
    float2 stat[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int row = r0 + m0 + 8 * h + lane / 4;
        sees[h] = row < n ? attn_keys_of(a, row, a.bounds[row].x, a.bounds[row].y) : attn_nothing();
        stat[h] = row < n ? a.stat[head * a.stat_rows + row] : make_float2(0, 0);
    }
    load_rows<HD, BN, THREADS>(uk, k, a.ldk, lo.lo, hi.hi + 1);
    load_rows<HD, BN, THREADS>(uv, v, a.ldv, lo.lo, hi.hi + 1);
    copies_commit();
    float acc[1][HD / 8][4] = {};
    for (int j0 = lo.lo, it = 0; j0 <= hi.hi; j0 += BN, it++) {
        const uint32_t at = (it & 1) * BN * PITCH<HD> * 2, next = BN * PITCH<HD> * 2 - at;
        copies_wait();
        __syncthreads();
        if (j0 + BN <= hi.hi) {
            load_rows<HD, BN, THREADS>(uk + next, k, a.ldk, j0 + BN, hi.hi + 1);
            load_rows<HD, BN, THREADS>(uv + next, v, a.ldv, j0 + BN, hi.hi + 1);
            copies_commit();
        }
        float s[1][BN / 8][4], g[1][BN / 8][4];
        product_t<T, HD, BN, 1>(s, uq, m0, uk + at);
        product_t<T, HD, BN, 1>(g, ug, m0, uv + at);
        const bool masked = j0 < hi.lo || j0 + BN - 1 > lo.hi;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = r0 + m0 + 8 * h + lane / 4;
            const float bias = a.alibi ? fmaf(slope, (float)(j0 + 2 * (lane & 3) - row), -stat[h].x) : -stat[h].x;
#pragma unroll
            for (int i = 0; i < BN / 8; i++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const int c = 8 * i + e;
                    float p = exp2_fast(fmaf(s[0][i][2 * h + e], a.scale2, a.alibi ? fmaf(slope, (float)c, bias) : bias));
                    if (masked && !attn_in(sees[h], j0 + c + 2 * (lane & 3))) p = 0;
                    s[0][i][2 * h + e] = p * (g[0][i][2 * h + e] - stat[h].y);
                }
        }
        uint32_t ds[1][BN / 16][4];
        as_left<T, BN>(ds[0], s[0]);
        product<T, HD, BN, 1>(acc, ds, uk + at);
    }
#pragma unroll
    for (int i = 0; i < HD / 8; i++)
#pragma unroll
        for (int e = 0; e < 4; e++) acc[0][i][e] *= a.scale;
    store_rows<T, HD>((T *)a.dq + (int64_t)head * HD, a.lddq, r0 + m0, n, sq, m0, acc[0]);
}

/* `head` is a key head; the walk runs over the queries that see the tile, once for each of its query heads. */
template <typename T, int HD> __global__ void __launch_bounds__(THREADS) grad_kv(attn_args a)
{
    constexpr int BN = STEP<HD>, STAGE = BN * PITCH<HD> * 2;
    extern __shared__ __align__(16) unsigned char shared[];
    const int n = attn_tokens(a), m0 = threadIdx.x / 32 * 16, lane = threadIdx.x & 31;
    int tile, head;
    attn_place(a, blockIdx.x, tile, head);
    const int r0 = tile * BM, last = min(r0 + BM, n) - 1;
    if (r0 >= n) return;
    T *sk = (T *)shared, *sv = sk + BM * PITCH<HD>;
    const float4 *sstat = (const float4 *)(sv + BM * PITCH<HD> + 4 * BN * PITCH<HD>); /* [2][BN] of float2, two at a time */
    const uint32_t uk = shared_at(sk), uv = shared_at(sv), uq = uv + BM * PITCH<HD> * 2, ug = uq + 2 * STAGE, us = shared_at(sstat);
    load_rows<HD, BM, THREADS>(uk, (const T *)a.k + (int64_t)head * HD, a.ldk, r0, n);
    load_rows<HD, BM, THREADS>(uv, (const T *)a.v + (int64_t)head * HD, a.ldv, r0, n);

    const attn_span lo = attn_queries_of(a, r0, a.bounds[r0].x, a.bounds[r0].y);
    const attn_span hi = attn_queries_of(a, last, a.bounds[last].x, a.bounds[last].y);
    attn_span seen[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int row = r0 + m0 + 8 * h + lane / 4;
        seen[h] = row < n ? attn_queries_of(a, row, a.bounds[row].x, a.bounds[row].y) : attn_nothing();
    }
    const int blocks = (hi.hi - lo.lo) / BN + 1;
    auto fetch = [&](int it, int stage) {
        const int g = it / blocks, i0 = lo.lo + (it - g * blocks) * BN, q_head = head * a.group + g;
        load_rows<HD, BN, THREADS>(uq + stage * STAGE, (const T *)a.q + (int64_t)q_head * HD, a.ldq, i0, hi.hi + 1);
        load_rows<HD, BN, THREADS>(ug + stage * STAGE, (const T *)a.d_o + (int64_t)q_head * HD, a.lddo, i0, hi.hi + 1);
        const int t = threadIdx.x;
        if (t < BN) copy8(us + (stage * BN + t) * 8, a.stat + q_head * a.stat_rows + (i0 + t <= hi.hi ? i0 + t : 0), i0 + t <= hi.hi);
        copies_commit();
    };
    fetch(0, 0);
    float dk[1][HD / 8][4] = {}, dv[1][HD / 8][4] = {};
    float slope = attn_slope2(a, head * a.group);
    for (int it = 0; it < blocks * a.group; it++) {
        const int stage = it & 1, g = it / blocks, i0 = lo.lo + (it - g * blocks) * BN;
        if (a.alibi && i0 == lo.lo) slope = attn_slope2(a, head * a.group + g);
        copies_wait();
        __syncthreads();
        if (it + 1 < blocks * a.group) fetch(it + 1, stage ^ 1);
        float s[1][BN / 8][4], d[1][BN / 8][4];
        product_t<T, HD, BN, 1>(s, uk, m0, uq + stage * STAGE);
        product_t<T, HD, BN, 1>(d, uv, m0, ug + stage * STAGE);
        const bool masked = i0 < hi.lo || i0 + BN - 1 > lo.hi;
#pragma unroll
        for (int i = 0; i < BN / 8; i++) {
            const float4 st = sstat[stage * BN / 2 + 4 * i + (lane & 3)]; /* of columns 8i + 2(lane%4) and the next */
#pragma unroll
            for (int h = 0; h < 2; h++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const int row = r0 + m0 + 8 * h + lane / 4, c = i0 + 8 * i + 2 * (lane & 3) + e;
                    const float lse2 = e ? st.z : st.x, delta = e ? st.w : st.y;
                    float p = exp2_fast(fmaf(s[0][i][2 * h + e], a.scale2, a.alibi ? fmaf(slope, (float)(row - c), -lse2) : -lse2));
                    if (masked && !attn_in(seen[h], c)) p = 0;
                    s[0][i][2 * h + e] = p;
                    d[0][i][2 * h + e] = p * (d[0][i][2 * h + e] - delta);
                }
        }
        uint32_t left[1][BN / 16][4];
        as_left<T, BN>(left[0], s[0]);
        product<T, HD, BN, 1>(dv, left, ug + stage * STAGE);
        as_left<T, BN>(left[0], d[0]);
        product<T, HD, BN, 1>(dk, left, uq + stage * STAGE);
    }
#pragma unroll
    for (int i = 0; i < HD / 8; i++)
#pragma unroll
        for (int e = 0; e < 4; e++) dk[0][i][e] *= a.scale;
    if (a.dk) store_rows<T, HD>((T *)a.dk + (int64_t)head * HD, a.lddk, r0 + m0, n, sk, m0, dk[0]);
    if (a.dv) store_rows<T, HD>((T *)a.dv + (int64_t)head * HD, a.lddv, r0 + m0, n, sv, m0, dv[0]);
}

template <typename T, int HD> cudaError_t launch(attn_pass pass, attn_args *a, cudaStream_t on)
{
    void (*kernel)(attn_args) = pass == ATTN_DQ ? grad_q<T, HD> : grad_kv<T, HD>;
    const size_t bytes = (size_t)(2 * BM + 4 * STEP<HD>) * PITCH<HD> * sizeof(T) + 2 * STEP<HD> * sizeof(float2);
    const cudaError_t e = cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    if (e) return e;
    kernel<<<(unsigned)(a->tiles * (pass == ATTN_DQ ? a->heads : a->kv_heads)), THREADS, bytes, on>>>(*a);
    return cudaGetLastError();
}
template <typename T> cudaError_t by_size(attn_pass pass, attn_args *a, cudaStream_t on)
{
    switch (a->hd) {
    case 64: return launch<T, 64>(pass, a, on);
    case 80: return launch<T, 80>(pass, a, on);
    case 96: return launch<T, 96>(pass, a, on);
    default: return launch<T, 128>(pass, a, on);
    }
}
} // namespace

cudaError_t attn_mma_backward(uint32_t dtype, attn_pass pass, attn_args *a, cudaStream_t on)
{
    return dtype == CO_BF16 ? by_size<__nv_bfloat16>(pass, a, on) : by_size<__half>(pass, a, on);
}
