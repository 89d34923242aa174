/* attention_wgmma_bwd.cu: the backward for Hopper (sm_90a), in the two passes of attention_mma_bwd.cu, with the machinery of
 * attention_wgmma_fwd.cu: persistent blocks, one fetching warp, two warpgroups of 64 rows each.
 *
 * dq: S = q k^T and dP = do v^T, q (and do, where there is room) held in registers, since with 64 columns a product that reads both
 * operands from shared memory is as long in reading as in multiplying; p and ds stay in registers; dq += ds k, k read across its rows.
 * dk, dv: S^T = k q^T, dP^T = v do^T, so that p^T and ds^T are left operands as they come; dv += p^T do, dk += ds^T q. Products run behind
 * each other without a wait for their own sums: exponentials are made while dP is, ds while dv grows, and dk runs into
 * the next block's S. No operand is transposed by way of memory and nothing but the results is written.
 *
 * Must: 14 hd operations a pair (6 and 8) and two exponentials. Causal, B8 H32 T2048 on one H100: 0.41 and 0.62 ms at hd 64, 0.71 and 0.93
 * at hd 128, 500 to 590 TFLOP/s of 989 at hd 128; with D, 325 and 403 as a backward is usually counted (10 hd). */
#include "attention_wgmma.cuh"

namespace {
using namespace attn90;

template <int HD> struct config_q {
    static constexpr int WGS = 2, BM = 64 * WGS, BN = HD == 64 ? 96 : 64, STAGES = 3, PANELS = (HD + 63) / 64, UP = 232, DOWN = 40;
    static constexpr bool HOLD = HD < 128; /* do in registers as q is */
    static constexpr uint32_t Q = BM * 128 * PANELS, KV = BN * 128 * PANELS, OUT = Q;
    static constexpr uint32_t BYTES = 1024 + 2 * Q + 2 * STAGES * KV + OUT + 256;
};
template <int HD> struct config_kv {
    static constexpr int WGS = 2, BM = 64 * WGS, BN = 64, STAGES = HD == 64 ? 3 : 2, PANELS = (HD + 63) / 64, UP = HD == 128 ? 240 : 232, DOWN = HD == 128 ? 24 : 40;
    static constexpr bool HOLD = false; /* k and v in registers */
    static constexpr uint32_t KV = BM * 128 * PANELS, Q = BN * 128 * PANELS, STAT = BN * 8, OUT = KV;
    static constexpr uint32_t BYTES = 1024 + 2 * KV + 2 * STAGES * Q + STAGES * STAT + OUT + 256;
};
enum { THREADS = 384 };
struct maps { CUtensorMap q, k, v, g; };
struct tile_info { int r0,  head, first, blocks, s0, e0, s1, e1; };

#if ATTN_SM90A
template <bool KEYS> __device__ __forceinline__ attn_span seen_by(const attn_args &a, int row, int s, int e)
{
    return KEYS ? attn_queries_of(a, row, s, e) : attn_keys_of(a, row, s, e);
}
/* What a warpgroup's 64 rows see: of each of the thread's two rows, and of the first and last row. KEYS: rows are keys, and see queries. */
struct view { attn_span of[2], lo, hi; int row[2]; };
template <bool KEYS> __device__ __forceinline__ view view_of(const attn_args &a, const tile_info &w, int row0, int n)
{
    const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x & 31, last = min(row0 + 64, n) - 1;
    view v;
    v.row[0] = row0 + 16 * warp + lane / 4, v.row[1] = v.row[0] + 8;
    const bool one = w.s0 == w.s1;
    const int2 whole = make_int2(w.s0, w.e0), b0 = one ? whole : a.bounds[min(row0, n - 1)], b1 = one ? whole : a.bounds[max(last, 0)];
    v.lo = seen_by<KEYS>(a, row0, b0.x, b0.y), v.hi = seen_by<KEYS>(a, last, b1.x, b1.y);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int2 b = one ? whole : a.bounds[min(v.row[h], n - 1)];
        v.of[h] = v.row[h] < n ? seen_by<KEYS>(a, v.row[h], b.x, b.y) : attn_nothing();
    }
    return v;
}
template <bool KEYS, int BM, int BN> __device__ __forceinline__ tile_info tile_of(const attn_args &a, int tiles, int item, int n)
{
    int tile;
    tile_info w;
    attn_place(a, tiles, item, tile, w.head);
    w.r0 = tile * BM;
    const int last = min(w.r0 + BM, n) - 1;
    const int2 b0 = a.bounds[w.r0], b1 = a.bounds[last];
    w.s0 = b0.x, w.e0 = b0.y, w.s1 = b1.x, w.e1 = b1.y;
    w.first = seen_by<KEYS>(a, w.r0, b0.x, b0.y).lo;
    w.blocks = (seen_by<KEYS>(a, last, b1.x, b1.y).hi - w.first) / BN + 1;
    return w;
}
struct ring { /* position in a ring of stages */
    int stage, phase;
    template <int STAGES> __device__ __forceinline__ void advance()
    {
        if (++stage == STAGES) stage = 0, phase ^= 1;
    }
};
#endif

template <typename T, int HD> __global__ void __launch_bounds__(THREADS, 1) grad_q(const attn_args a, const __grid_constant__ maps m)
{
#if ATTN_SM90A
    using C = config_q<HD>;
    constexpr int BN = C::BN, STAGES = C::STAGES;
    extern __shared__ unsigned char shared[];
    const uint32_t base = (shared_at(shared) + 1023) & ~1023u, sq = base, sg = sq + C::Q, sk = sg + C::Q, sv = sk + STAGES * C::KV;
    unsigned char *const out = shared + (sv + STAGES * C::KV - shared_at(shared));
    tile_info *const info = (tile_info *)(out + C::OUT);
    const uint32_t q_full = shared_at(info) + 64, q_empty = q_full + 8, k_full = q_full + 16, k_empty = k_full + 8 * STAGES,
                   v_full = k_empty + 8 * STAGES, v_empty = v_full + 8 * STAGES;
    const int n = same(attn_tokens(a)), tiles = (n + C::BM - 1) / C::BM, items = items_of(a, tiles);
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
        if (threadIdx.x != 0) return;
        ring r = {0, 1};
        int q_phase = 1;
        for (int item = blockIdx.x, next; item < items; item = next) {
            next = next_item(a, items);
            const tile_info w = tile_of<false, C::BM, BN>(a, tiles, item, n);
            bar_wait(q_empty, q_phase);
            q_phase ^= 1;
            *info = w;
            bar_expect(q_full, 2 * C::Q);
            fetch_rows<HD, C::BM>(sq, &m.q, q_full, w.head, w.r0);
            fetch_rows<HD, C::BM>(sg, &m.g, q_full, w.head, w.r0);
            for (int b = 0; b < w.blocks; b++) {
                const int at = min(w.first + b * BN, n - BN), kv = w.head / a.group;
                bar_wait(k_empty + 8 * r.stage, r.phase);
                bar_expect(k_full + 8 * r.stage, C::KV);
                fetch_rows<HD, BN>(sk + C::KV * r.stage, &m.k, k_full + 8 * r.stage, kv, at);
                bar_wait(v_empty + 8 * r.stage, r.phase);
                bar_expect(v_full + 8 * r.stage, C::KV);
                fetch_rows<HD, BN>(sv + C::KV * r.stage, &m.v, v_full + 8 * r.stage, kv, at);
                r.advance<STAGES>();
            }
        }
        bar_wait(q_empty, q_phase);
        info->r0 = -1;
        bar_arrive(q_full);
    } else {
        registers_up<C::UP>();
        const int wg = same(threadIdx.x / 128) - 1, warp = threadIdx.x / 32 % 4, lane = threadIdx.x & 31;
        const bool elected = lane == 0;
        ring r = {0, 0};
        int q_phase = 0;
        for (;;) {
            bar_wait(q_full, q_phase);
            q_phase ^= 1;
            const tile_info w = *info;
            if (same(w.r0) < 0) break;
            const int row0 = w.r0 + 64 * wg;
            const bool idle = same(row0) >= n;
            const view v = view_of<false>(a, w, row0, n);
            const int blocks = same(w.blocks);
            const int b0 = idle ? blocks : same((v.lo.lo - w.first) / BN), b1 = idle ? blocks : same((v.hi.hi - w.first) / BN + 1);
            const float slope = attn_slope2(a, w.head);
            float2 stat[2];
#pragma unroll
            for (int h = 0; h < 2; h++) stat[h] = v.row[h] < n ? a.stat[w.head * a.stat_rows + v.row[h]] : make_float2(0, 0);
            float acc[HD / 2], s[BN / 2], d[BN / 2];
            uint32_t ds[BN / 16][4], q[HD / 16][4], g[HD / 16][4];
            hold<HD, C::BM>(q, sq, 64 * wg + 16 * warp);
            if (C::HOLD) hold<HD, C::BM>(g, sg, 64 * wg + 16 * warp);
            __syncwarp();
            bool released = C::HOLD;
            if (elected && released) bar_arrive(q_empty);
#pragma unroll
            for (int i = 0; i < HD / 2; i++) acc[i] = 0;
            auto pass_by = [&] {
                bar_wait(k_full + 8 * r.stage, r.phase);
                bar_wait(v_full + 8 * r.stage, r.phase);
                if (elected) bar_arrive(k_empty + 8 * r.stage), bar_arrive(v_empty + 8 * r.stage);
                r.advance<STAGES>();
            };
            for (int b = 0; b < b0; b++) pass_by();
            int before = -1; /* stage of the block whose k is still being multiplied */
            for (int b = b0; b < b1; b++) {
                bar_wait(k_full + 8 * r.stage, r.phase);
                pin(s), pin(d);
                products_begin();
                product_t<T, HD, BN>(s, q, sk + C::KV * r.stage);
                products_commit();
                bar_wait(v_full + 8 * r.stage, r.phase);
                products_begin();
                if (C::HOLD) product_t<T, HD, BN>(d, g, sv + C::KV * r.stage);
                else product_t<T, HD, BN, C::BM>(d, sg + 64 * 128 * wg, sv + C::KV * r.stage);
                products_commit();
                products_wait<1>();
                pin(s);
                if (elected && before >= 0) bar_arrive(k_empty + 8 * before);
                const int j0 = w.first + b * BN, at = min(j0, n - BN);
                const bool masked = at < v.hi.lo || at + BN - 1 > v.lo.hi || at < j0;
                if (a.alibi) {
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        const float bias = fmaf(slope, (float)(at + 2 * (lane & 3) - v.row[h]), -stat[h].x);
#pragma unroll
                        for (int i = 0; i < BN / 8; i++)
#pragma unroll
                            for (int e = 0; e < 2; e++) {
                                float &x = s[4 * i + 2 * h + e];
                                x = exp2_fast(fmaf(x, a.scale2, fmaf(slope, (float)(8 * i + e), bias)));
                            }
                    }
                } else {
#pragma unroll
                    for (int i = 0; i < BN / 2; i++) s[i] = exp2_fast(fmaf(s[i], a.scale2, -stat[i / 2 & 1].x));
                }
                if (masked) {
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        const int from = max(v.of[h].lo, j0) - at - 2 * (lane & 3), to = v.of[h].hi - at - 2 * (lane & 3);
                        const unsigned width = (unsigned)max(to - from, -1) + 1;
#pragma unroll
                        for (int i = 0; i < BN / 8; i++)
#pragma unroll
                            for (int e = 0; e < 2; e++)
                                if ((unsigned)(8 * i + e - from) >= width) s[4 * i + 2 * h + e] = 0;
                    }
                }
                products_wait<0>();
                pin(d), pin(acc);
                if (elected) bar_arrive(v_empty + 8 * r.stage);
                if (!released && b == b1 - 1) { /* the next tile's q and do may come */
                    if (elected) bar_arrive(q_empty);
                    released = true;
                }
#pragma unroll
                for (int i = 0; i < BN / 2; i++) s[i] *= d[i] - stat[i / 2 & 1].y;
                as_left<T, BN>(ds, s);
                products_begin();
                product<T, HD, BN>(acc, ds, sk + C::KV * r.stage);
                products_commit();
                before = r.stage;
                r.advance<STAGES>();
            }
            products_wait<0>();
            pin(acc);
            if (elected && before >= 0) bar_arrive(k_empty + 8 * before);
            if (elected && !released) bar_arrive(q_empty);
            for (int b = b1; b < blocks; b++) pass_by();
            if (idle) continue;
#pragma unroll
            for (int i = 0; i < HD / 2; i++) acc[i] *= a.scale;
            store_rows<T, HD, C::BM>((T *)a.dq + (int64_t)w.head * HD, a.lddq, row0 + 16 * warp, n, out, 64 * wg + 16 * warp, acc);
        }
    }
#endif
}

template <typename T, int HD> __global__ void __launch_bounds__(THREADS, 1) grad_kv(const attn_args a, const __grid_constant__ maps m)
{
#if ATTN_SM90A
    using C = config_kv<HD>;
    constexpr int BN = C::BN, STAGES = C::STAGES;
    extern __shared__ unsigned char shared[];
    const uint32_t base = (shared_at(shared) + 1023) & ~1023u, sk = base, sv = sk + C::KV, sq = sv + C::KV, sg = sq + STAGES * C::Q;
    unsigned char *const rest = shared + (sg + STAGES * C::Q - shared_at(shared));
    const float4 *const sstat = (const float4 *)rest; /* [STAGES][BN/2]: lse2, D of two queries */
    tile_info *const info = (tile_info *)(rest + STAGES * C::STAT + C::OUT);
    const uint32_t k_full = shared_at(info) + 64, k_empty = k_full + 8, q_full = k_full + 16, g_full = q_full + 8 * STAGES, empty = g_full + 8 * STAGES;
    const int n = same(attn_tokens(a)), tiles = (n + C::BM - 1) / C::BM, items = items_of(a, tiles);
    if (threadIdx.x == 0) {
        bar_init(k_full, 1), bar_init(k_empty, 4 * C::WGS);
        for (int i = 0; i < STAGES; i++) {
            bar_init(q_full + 8 * i, 1 + 32), bar_init(g_full + 8 * i, 1);
            bar_init(empty + 8 * i, 4 * C::WGS);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    if (same(threadIdx.x / 128) == 0) {
        registers_down<C::DOWN>();
        if (threadIdx.x >= 32) return;
        const int lane = threadIdx.x;
        ring r = {0, 1};
        int k_phase = 1;
        for (int item = blockIdx.x, next; item < items; item = same(next)) {
            next = lane == 0 ? next_item(a, items) : 0;
            const tile_info w = tile_of<true, C::BM, BN>(a, tiles, item, n);
            bar_wait(k_empty, k_phase);
            k_phase ^= 1;
            if (lane == 0) {
                *info = w;
                bar_expect(k_full, 2 * C::KV);
                fetch_rows<HD, C::BM>(sk, &m.k, k_full, w.head, w.r0);
                fetch_rows<HD, C::BM>(sv, &m.v, k_full, w.head, w.r0);
            }
            for (int g = 0; g < a.group; g++)
                for (int b = 0; b < w.blocks; b++) {
                    const int at = min(w.first + b * BN, n - BN), head = w.head * a.group + g;
                    bar_wait(empty + 8 * r.stage, r.phase);
                    const float2 *from = a.stat + head * a.stat_rows;
#pragma unroll
                    for (int i = lane; i < BN; i += 32)
                        attn::copy8(shared_at(sstat) + C::STAT * r.stage + 8 * i, from + max(at + i, 0), at + i >= 0);
                    bar_arrive_copies(q_full + 8 * r.stage);
                    if (lane == 0) {
                        bar_expect(q_full + 8 * r.stage, C::Q);
                        fetch_rows<HD, BN>(sq + C::Q * r.stage, &m.q, q_full + 8 * r.stage, head, at);
                        bar_expect(g_full + 8 * r.stage, C::Q);
                        fetch_rows<HD, BN>(sg + C::Q * r.stage, &m.g, g_full + 8 * r.stage, head, at);
                    }
                    r.advance<STAGES>();
                }
        }
        asm volatile("cp.async.wait_all;" ::: "memory");
        bar_wait(k_empty, k_phase);
        if (lane == 0) {
            info->r0 = -1;
            bar_arrive(k_full);
        }
    } else {
        registers_up<C::UP>();
        const int wg = same(threadIdx.x / 128) - 1, warp = threadIdx.x / 32 % 4, lane = threadIdx.x & 31;
        const bool elected = lane == 0;
        unsigned char *const out = rest + STAGES * C::STAT;
        ring r = {0, 0};
        int k_phase = 0;
        for (;;) {
            bar_wait(k_full, k_phase);
            k_phase ^= 1;
            const tile_info w = *info;
            if (same(w.r0) < 0) break;
            const int row0 = w.r0 + 64 * wg;
            const bool idle = same(row0) >= n;
            const view v = view_of<true>(a, w, row0, n);
            const int blocks = same(w.blocks);
            const int b0 = idle ? blocks : same((v.lo.lo - w.first) / BN), b1 = idle ? blocks : same((v.hi.hi - w.first) / BN + 1);
            float dk[HD / 2], dv[HD / 2], s[BN / 2], d[BN / 2];
            uint32_t p16[BN / 16][4], d16[BN / 16][4];
#pragma unroll
            for (int i = 0; i < HD / 2; i++) dk[i] = dv[i] = 0;
            uint32_t k[HD / 16][4], v16[HD / 16][4];
            bool released = C::HOLD;
            if (C::HOLD) {
                hold<HD, C::BM>(k, sk, 64 * wg + 16 * warp);
                hold<HD, C::BM>(v16, sv, 64 * wg + 16 * warp);
                __syncwarp();
                if (elected) bar_arrive(k_empty);
            }
            int before = -1; /* stage whose queries are still being multiplied */
            auto pass_by = [&] {
                bar_wait(q_full + 8 * r.stage, r.phase);
                bar_wait(g_full + 8 * r.stage, r.phase);
                if (elected) bar_arrive(empty + 8 * r.stage);
                r.advance<STAGES>();
            };
            auto finish = [&] {
                products_wait<0>();
                pin(dk), pin(dv);
                if (elected && before >= 0) bar_arrive(empty + 8 * before);
                before = -1;
            };
            for (int g = 0; g < a.group; g++) {
                const float slope = attn_slope2(a, w.head * a.group + g);
                if (b0 > 0) finish();
                for (int b = 0; b < b0; b++) pass_by();
                for (int b = b0; b < b1; b++) {
                    products_wait<1>(); /* p^T's registers are free */
                    pin(dv);
                    bar_wait(q_full + 8 * r.stage, r.phase);
                    pin(s), pin(d);
                    products_begin();
                    if (C::HOLD) product_t<T, HD, BN>(s, k, sq + C::Q * r.stage);
                    else product_t<T, HD, BN, C::BM>(s, sk + 64 * 128 * wg, sq + C::Q * r.stage);
                    products_commit();
                    bar_wait(g_full + 8 * r.stage, r.phase);
                    products_begin();
                    if (C::HOLD) product_t<T, HD, BN>(d, v16, sg + C::Q * r.stage);
                    else product_t<T, HD, BN, C::BM>(d, sv + 64 * 128 * wg, sg + C::Q * r.stage);
                    products_commit();
                    products_wait<1>();
                    pin(s);
                    if (elected && before >= 0) bar_arrive(empty + 8 * before);
                    const int i0 = w.first + b * BN, at = min(i0, n - BN);
                    const bool masked = at < v.hi.lo || at + BN - 1 > v.lo.hi || at < i0;
                    const float4 *const st = sstat + BN / 2 * r.stage + (lane & 3);
                    if (a.alibi) {
                        const float row_part[2] = {slope * (float)(v.row[0] - at - 2 * (lane & 3)), slope * (float)(v.row[1] - at - 2 * (lane & 3))};
#pragma unroll
                        for (int i = 0; i < BN / 8; i++) {
                            const float4 x = st[4 * i];
                            const float c[2] = {fmaf(-slope, (float)(8 * i), -x.x), fmaf(-slope, (float)(8 * i + 1), -x.z)};
#pragma unroll
                            for (int k = 0; k < 4; k++) s[4 * i + k] = exp2_fast(fmaf(s[4 * i + k], a.scale2, c[k & 1] + row_part[k / 2]));
                        }
                    } else {
#pragma unroll
                        for (int i = 0; i < BN / 8; i++) {
                            const float4 x = st[4 * i];
#pragma unroll
                            for (int k = 0; k < 4; k++) s[4 * i + k] = exp2_fast(fmaf(s[4 * i + k], a.scale2, k & 1 ? -x.z : -x.x));
                        }
                    }
                    int from[2];
                    unsigned width[2];
                    if (masked) {
#pragma unroll
                        for (int h = 0; h < 2; h++) {
                            from[h] = max(v.of[h].lo, i0) - at - 2 * (lane & 3);
                            width[h] = (unsigned)max(v.of[h].hi - at - 2 * (lane & 3) - from[h], -1) + 1;
#pragma unroll
                            for (int i = 0; i < BN / 8; i++)
#pragma unroll
                                for (int e = 0; e < 2; e++)
                                    if ((unsigned)(8 * i + e - from[h]) >= width[h]) s[4 * i + 2 * h + e] = 0;
                        }
                    }
                    as_left<T, BN>(p16, s);
                    pin(dv);
                    products_begin();
                    product<T, HD, BN>(dv, p16, sg + C::Q * r.stage);
                    products_commit();
                    products_wait<1>();
                    pin(d);
#pragma unroll
                    for (int i = 0; i < BN / 8; i++) {
                        const float4 x = st[4 * i];
#pragma unroll
                        for (int k = 0; k < 4; k++) s[4 * i + k] *= d[4 * i + k] - (k & 1 ? x.w : x.y);
                    }
                    as_left<T, BN>(d16, s);
                    pin(dk);
                    products_begin();
                    product<T, HD, BN>(dk, d16, sq + C::Q * r.stage);
                    products_commit();
                    if (!released && g == a.group - 1 && b == b1 - 1) { /* k and v are done with: the next tile's may come */
                        if (elected) bar_arrive(k_empty);
                        released = true;
                    }
                    before = r.stage;
                    r.advance<STAGES>();
                }
                if (b1 < blocks) finish();
                for (int b = b1; b < blocks; b++) pass_by();
            }
            finish();
            if (elected && !released) bar_arrive(k_empty);
            if (idle) continue;
#pragma unroll
            for (int i = 0; i < HD / 2; i++) dk[i] *= a.scale;
            if (a.dv) store_rows<T, HD, C::BM>((T *)a.dv + (int64_t)w.head * HD, a.lddv, row0 + 16 * warp, n, out, 64 * wg + 16 * warp, dv);
            if (a.dk) store_rows<T, HD, C::BM>((T *)a.dk + (int64_t)w.head * HD, a.lddk, row0 + 16 * warp, n, out, 64 * wg + 16 * warp, dk);
        }
    }
#endif
}

template <typename T, int HD> cudaError_t launch(const cuda_attn_dev *d, uint32_t dtype, attn_pass pass, attn_args *a, cudaStream_t on)
{
    const bool q = pass == ATTN_DQ;
    const int own = q ? config_q<HD>::BM : config_kv<HD>::BM, walked = q ? config_q<HD>::BN : config_kv<HD>::BN;
    const int bytes = (int)(q ? config_q<HD>::BYTES : config_kv<HD>::BYTES);
    maps m;
    if (attn_map(d, &m.q, dtype, a->q, HD, a->heads, a->rows, a->ldq, q ? own : walked) ||
        attn_map(d, &m.g, dtype, a->d_o, HD, a->heads, a->rows, a->lddo, q ? own : walked) ||
        attn_map(d, &m.k, dtype, a->k, HD, a->kv_heads, a->rows, a->ldk, q ? walked : own) ||
        attn_map(d, &m.v, dtype, a->v, HD, a->kv_heads, a->rows, a->ldv, q ? walked : own))
        return cudaErrorInvalidValue;
    void (*kernel)(const attn_args, const maps) = q ? grad_q<T, HD> : grad_kv<T, HD>;
    const cudaError_t e = cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (e) return e;
    const int items = a->tiles * a->items_heads;
    kernel<<<(unsigned)(items < d->sms ? items : d->sms), THREADS, bytes, on>>>(*a, m);
    return cudaGetLastError();
}
template <typename T> cudaError_t by_size(const cuda_attn_dev *d, uint32_t dtype, attn_pass pass, attn_args *a, cudaStream_t on)
{
    switch (a->hd) {
    case 64: return launch<T, 64>(d, dtype, pass, a, on);
    case 80: return launch<T, 80>(d, dtype, pass, a, on);
    case 96: return launch<T, 96>(d, dtype, pass, a, on);
    default: return launch<T, 128>(d, dtype, pass, a, on);
    }
}
} // namespace

cudaError_t attn_wgmma_backward(const cuda_attn_dev *d, uint32_t dtype, attn_pass pass, attn_args *a, cudaStream_t on)
{
    return dtype == CO_BF16 ? by_size<__nv_bfloat16>(d, dtype, pass, a, on) : by_size<__half>(d, dtype, pass, a, on);
}
