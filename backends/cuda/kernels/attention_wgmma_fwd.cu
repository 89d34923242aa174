/* attention_wgmma_fwd.cu: the forward for Hopper (sm_90a): wgmma products, operands by the bulk tensor copy engine.
 *
 * FlashAttention-3's shape (Shah et al. 2024). A block stays on its multiprocessor and takes one tile of rows after another; one
 * warpgroup's first warp only fetches (a tile's q, then blocks of BN keys and values, STAGES deep), the others own 64 rows each.
 * Within a warpgroup the product of the next block of keys is queued before the softmax of this one has been used, so that the tensor
 * cores work through p v while the exponentials of the next block are made; between warpgroups a ring of barriers lets one
 * queue its products while the others are at their softmax. The next tile's operands arrive while this one is being written out.
 *
 * Must: 4 hd operations and one exponential a pair: see NOTES-attention.md for the limits and what is reached.
 * The last block of keys starts at most at (live rows - BN), so that no row past the live ones is ever multiplied: what stands
 * there may be anything, NaN too. Keys it repeats are masked. */
#include "attention_wgmma.cuh"

namespace {
using namespace attn90;

template <int HD> struct config {
    static constexpr int WGS = HD == 64 ? 3 : 2, BM = 64 * WGS, BN = 128, STAGES = 2, PANELS = (HD + 63) / 64;
    static constexpr int THREADS = 128 * (WGS + 1), UP = WGS == 3 ? 160 : 240, DOWN = WGS == 3 ? 32 : 24;
    static constexpr uint32_t Q = BM * 128 * PANELS, KV = BN * 128 * PANELS, OUT = BM * (HD + 8) * 2;
    static constexpr uint32_t BYTES = 1024 + Q + 2 * STAGES * KV + OUT + 256;
};
struct maps { CUtensorMap q, k, v; };
struct tile_info { int r0, head, first, blocks, s0, e0, s1, e1; }; /* of the first and the last row: start and end of its sequence */

#if ATTN_SM90A
/* Rows [row0, row0+64) of the tile see keys [first block, last block]; each thread's two rows. */
template <typename T, int HD, bool ALIBI> __device__ __forceinline__ void consume(const attn_args &a, uint32_t sq, uint32_t sk, uint32_t sv, T *out,
                                                                                  uint32_t bars, const tile_info *shared_info)
{
    using C = config<HD>;
    constexpr int BN = C::BN, STAGES = C::STAGES;
    const uint32_t q_full = bars, q_empty = bars + 8, k_full = bars + 16, k_empty = k_full + 8 * STAGES, v_full = k_empty + 8 * STAGES,
                   v_empty = v_full + 8 * STAGES;
    const int wg = same(threadIdx.x / 128) - 1, warp = threadIdx.x / 32 % 4, lane = threadIdx.x & 31, n = same(attn_tokens(a));
    const bool elected = lane == 0;
    int stage = 0, phase = 0, q_phase = 0;
    auto advance = [&] {
        if (++stage == STAGES) stage = 0, phase ^= 1;
    };
    auto my_turn = [&] { meet(1 + wg, 256); };
    auto next_turn = [&] { meet_arrive(1 + (wg + 1) % C::WGS, 256); };
    if (wg == C::WGS - 1) next_turn(); /* the first warpgroup starts */

    for (int round = 0; round * (int)gridDim.x < a.tiles * a.items_heads; round++) {
        const int item = item_of(round);
        if (item >= a.tiles * a.items_heads || attn_rank(a, item) * C::BM >= n) continue;
        bar_wait(q_full, q_phase);
        const tile_info w = *shared_info;
        const int row0 = w.r0 + 64 * wg, last = min(row0 + 64, n) - 1;
        /* What the warpgroup's rows see. */
        attn_span sees[2], lo, hi;
        const int my_row[2] = {row0 + 16 * warp + lane / 4, row0 + 16 * warp + lane / 4 + 8};
        if (w.s0 == w.s1) {
            lo = attn_keys_of(a, row0, w.s0, w.e0), hi = attn_keys_of(a, last, w.s0, w.e0);
#pragma unroll
            for (int h = 0; h < 2; h++) sees[h] = attn_keys_of(a, my_row[h], w.s0, w.e0);
        } else {
            const int2 b0 = a.bounds[min(row0, n - 1)], b1 = a.bounds[max(last, 0)];
            lo = attn_keys_of(a, row0, b0.x, b0.y), hi = attn_keys_of(a, last, b1.x, b1.y);
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int2 b = a.bounds[min(my_row[h], n - 1)];
                sees[h] = attn_keys_of(a, my_row[h], b.x, b.y);
            }
        }
#pragma unroll
        for (int h = 0; h < 2; h++)
            if (my_row[h] >= n) sees[h] = attn_nothing();
        const int blocks = same(w.blocks);
        const bool idle = same(row0) >= n;
        const int b0 = idle ? blocks : same((lo.lo - w.first) / BN), b1 = idle ? blocks : same((hi.hi - w.first) / BN + 1);
        const float slope = ALIBI ? attn_slope2(a, w.head) : 0;

        float o[HD / 2], s[BN / 2], top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
        uint32_t p[BN / 16][4];
#pragma unroll
        for (int i = 0; i < HD / 2; i++) o[i] = 0;

        auto pass_by = [&] { /* a block none of these rows sees */
            bar_wait(k_full + 8 * stage, phase);
            bar_wait(v_full + 8 * stage, phase);
            my_turn(), next_turn();
            if (elected) bar_arrive(k_empty + 8 * stage), bar_arrive(v_empty + 8 * stage);
            advance();
        };
        /* Scores in s to probabilities, in place; the factor for what was summed before goes to keep. */
        auto softmax = [&](int block, float (&keep)[2]) {
            const int j0 = w.first + block * BN, at = min(j0, n - BN); /* keys from j0 on, rows in shared memory from `at` on */
            if (ALIBI) {
                const float base = slope * (float)(at - row0 + 2 * (lane & 3)); /* less the row's own part, which softmax does not see */
#pragma unroll
                for (int i = 0; i < BN / 8; i++)
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        const float bias = fmaf(slope, (float)(8 * i + e), base);
                        s[4 * i + e] = fmaf(s[4 * i + e], a.scale2, bias);
                        s[4 * i + 2 + e] = fmaf(s[4 * i + 2 + e], a.scale2, bias);
                    }
            }
            if (at < hi.lo || at + BN - 1 > lo.hi || at < j0) {
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    const attn_span v = {max(sees[h].lo, j0) - at - 2 * (lane & 3), sees[h].hi - at - 2 * (lane & 3)};
                    const unsigned width = (unsigned)max(v.hi - v.lo, -1) + 1;
#pragma unroll
                    for (int i = 0; i < BN / 8; i++)
#pragma unroll
                        for (int e = 0; e < 2; e++)
                            if ((unsigned)(8 * i + e - v.lo) >= width) s[4 * i + 2 * h + e] = -INFINITY;
                }
            }
            const float scale = ALIBI ? 1 : a.scale2;
#pragma unroll
            for (int h = 0; h < 2; h++) {
                float x = fmaxf(s[2 * h], s[2 * h + 1]);
#pragma unroll
                for (int i = 1; i < BN / 8; i++) x = fmaxf(x, fmaxf(s[4 * i + 2 * h], s[4 * i + 2 * h + 1]));
                const float now = fmaxf(top[h], quad_max(x) * scale), at_least = now == -INFINITY ? 0 : now;
                keep[h] = exp2_fast(top[h] - at_least);
                top[h] = now;
                float part[2] = {0, 0};
#pragma unroll
                for (int i = 0; i < BN / 8; i++)
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        float &y = s[4 * i + 2 * h + e];
                        y = exp2_fast(ALIBI ? y - at_least : fmaf(y, scale, -at_least));
                        part[e] += y;
                    }
                sum[h] = fmaf(sum[h], keep[h], part[0] + part[1]);
            }
        };

        for (int b = 0; b < b0; b++) pass_by();
        if (!idle) {
            float keep[2];
            bar_wait(k_full + 8 * stage, phase);
            my_turn();
            products_begin();
            product_t<T, HD, BN, C::BM>(s, sq + 64 * 128 * wg, sk + C::KV * stage);
            products_commit();
            next_turn();
            products_wait<0>();
            pin(s);
            if (elected) bar_arrive(k_empty + 8 * stage);
            softmax(b0, keep);
            as_left<T, BN>(p, s);
            int v_stage = stage, v_phase = phase;
            advance();
            for (int b = b0 + 1; b < b1; b++) {
                bar_wait(k_full + 8 * stage, phase);
                my_turn();
                pin(s), pin(o);
                products_begin();
                product_t<T, HD, BN, C::BM>(s, sq + 64 * 128 * wg, sk + C::KV * stage);
                products_commit();
                bar_wait(v_full + 8 * v_stage, v_phase);
                products_begin();
                product<T, HD, BN>(o, p, sv + C::KV * v_stage);
                products_commit();
                next_turn();
                products_wait<1>();
                pin(s);
                if (elected) bar_arrive(k_empty + 8 * stage);
                softmax(b, keep);
                products_wait<0>();
                pin(o);
                if (elected) bar_arrive(v_empty + 8 * v_stage);
#pragma unroll
                for (int i = 0; i < HD / 8; i++) o[4 * i] *= keep[0], o[4 * i + 1] *= keep[0], o[4 * i + 2] *= keep[1], o[4 * i + 3] *= keep[1];
                as_left<T, BN>(p, s);
                v_stage = stage, v_phase = phase;
                advance();
            }
            if (elected) bar_arrive(q_empty);
            bar_wait(v_full + 8 * v_stage, v_phase);
            pin(o);
            products_begin();
            product<T, HD, BN>(o, p, sv + C::KV * v_stage);
            products_commit();
            products_wait<0>();
            pin(o);
            if (elected) bar_arrive(v_empty + 8 * v_stage);
        } else if (elected) {
            bar_arrive(q_empty);
        }
        for (int b = b1; b < blocks; b++) pass_by();
        q_phase ^= 1;
        if (idle) continue;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const float l = quad_sum(sum[h]), inv = 1 / l;
            if (a.lse && (lane & 3) == 0 && my_row[h] < n)
                a.lse[(int64_t)my_row[h] * a.ldlse + w.head] = (top[h] + log2f(l) - slope * (float)(my_row[h] - row0)) * ATTN_LN2;
#pragma unroll
            for (int i = 0; i < HD / 8; i++) o[4 * i + 2 * h] *= inv, o[4 * i + 2 * h + 1] *= inv;
        }
        store_rows<T, HD>((T *)a.o + (int64_t)w.head * HD, a.ldo, row0 + 16 * warp, n, out + (64 * wg + 16 * warp) * (HD + 8), o);
    }
    if (wg == 0) my_turn(); /* the ring's last arrival */
}
#endif

template <typename T, int HD, bool ALIBI>
__global__ void __launch_bounds__(config<HD>::THREADS, 1) forward(const attn_args a, const __grid_constant__ maps m)
{
#if ATTN_SM90A
    using C = config<HD>;
    constexpr int BN = C::BN, STAGES = C::STAGES;
    extern __shared__ unsigned char shared[];
    const uint32_t base = (shared_at(shared) + 1023) & ~1023u, sq = base, sk = sq + C::Q, sv = sk + STAGES * C::KV;
    unsigned char *const rest = shared + (sv + STAGES * C::KV - shared_at(shared));
    T *const out = (T *)rest;
    tile_info *const info = (tile_info *)(rest + C::OUT);
    const uint32_t bars = shared_at(info) + 64;
    const uint32_t q_full = bars, q_empty = bars + 8, k_full = bars + 16, k_empty = k_full + 8 * STAGES, v_full = k_empty + 8 * STAGES,
                   v_empty = v_full + 8 * STAGES;
    if (threadIdx.x == 0) {
        bar_init(q_full, 1), bar_init(q_empty, 4 * C::WGS);
        for (int i = 0; i < STAGES; i++) {
            bar_init(k_full + 8 * i, 1), bar_init(v_full + 8 * i, 1);
            bar_init(k_empty + 8 * i, 4 * C::WGS), bar_init(v_empty + 8 * i, 4 * C::WGS);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    if (same(threadIdx.x / 128) == 0) {
        registers_down<C::DOWN>();
        if (threadIdx.x == 0) {
            const int n = attn_tokens(a);
            int stage = 0, phase = 1, q_phase = 1;
            for (int round = 0; round * (int)gridDim.x < a.tiles * a.items_heads; round++) {
                const int item = item_of(round);
                if (item >= a.tiles * a.items_heads || attn_rank(a, item) * C::BM >= n) continue;
                int tile, head;
                attn_place(a, item, tile, head);
                tile_info w;
                w.r0 = tile * C::BM, w.head = head;
                const int last = min(w.r0 + C::BM, n) - 1;
                const int2 b0 = a.bounds[w.r0], b1 = a.bounds[last];
                w.s0 = b0.x, w.e0 = b0.y, w.s1 = b1.x, w.e1 = b1.y;
                w.first = attn_keys_of(a, w.r0, b0.x, b0.y).lo;
                w.blocks = (attn_keys_of(a, last, b1.x, b1.y).hi - w.first) / BN + 1;
                bar_wait(q_empty, q_phase);
                q_phase ^= 1;
                *info = w;
                bar_expect(q_full, C::Q);
                fetch_rows<HD, C::BM>(sq, &m.q, q_full, head, w.r0);
                for (int b = 0; b < w.blocks; b++) {
                    const int at = min(w.first + b * BN, n - BN), kv = head / a.group;
                    bar_wait(k_empty + 8 * stage, phase);
                    bar_expect(k_full + 8 * stage, C::KV);
                    fetch_rows<HD, BN>(sk + C::KV * stage, &m.k, k_full + 8 * stage, kv, at);
                    bar_wait(v_empty + 8 * stage, phase);
                    bar_expect(v_full + 8 * stage, C::KV);
                    fetch_rows<HD, BN>(sv + C::KV * stage, &m.v, v_full + 8 * stage, kv, at);
                    if (++stage == STAGES) stage = 0, phase ^= 1;
                }
            }
        }
    } else {
        registers_up<C::UP>();
        consume<T, HD, ALIBI>(a, sq, sk, sv, out, bars, info);
    }
#endif
}

template <typename T, int HD> cudaError_t launch(const cuda_attn_dev *d, uint32_t dtype, attn_args *a, cudaStream_t on)
{
    using C = config<HD>;
    maps m;
    if (attn_map(d, &m.q, dtype, a->q, a->hd, a->heads, a->rows, a->ldq, C::BM) || attn_map(d, &m.k, dtype, a->k, a->hd, a->kv_heads, a->rows, a->ldk, C::BN) ||
        attn_map(d, &m.v, dtype, a->v, a->hd, a->kv_heads, a->rows, a->ldv, C::BN))
        return cudaErrorInvalidValue;
    void (*kernel)(const attn_args, const maps) = a->alibi ? forward<T, HD, true> : forward<T, HD, false>;
    const cudaError_t e = cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)C::BYTES);
    if (e) return e;
    kernel<<<(unsigned)(a->tiles * a->heads < d->sms ? a->tiles * a->heads : d->sms), C::THREADS, C::BYTES, on>>>(*a, m);
    return cudaGetLastError();
}
template <typename T> cudaError_t by_size(const cuda_attn_dev *d, uint32_t dtype, attn_args *a, cudaStream_t on)
{
    switch (a->hd) {
    case 64: return launch<T, 64>(d, dtype, a, on);
    case 80: return launch<T, 80>(d, dtype, a, on);
    case 96: return launch<T, 96>(d, dtype, a, on);
    default: return launch<T, 128>(d, dtype, a, on);
    }
}
} // namespace

int attn_wgmma_forward_rows(int hd) { return hd == 64 ? config<64>::BM : config<128>::BM; }

/* A build without sm_90a leaves an empty kernel, which needs few registers. */
bool attn_wgmma_built(void)
{
    cudaFuncAttributes f;
    return cudaFuncGetAttributes(&f, (const void *)forward<__nv_bfloat16, 64, false>) == cudaSuccess && f.numRegs >= 64;
}

cudaError_t attn_wgmma_forward(const cuda_attn_dev *d, uint32_t dtype, attn_args *a, cudaStream_t on)
{
    return dtype == CO_BF16 ? by_size<__nv_bfloat16>(d, dtype, a, on) : by_size<__half>(d, dtype, a, on);
}
