/* attention_wgmma_fwd.cu: the forward for Hopper (sm_90a): wgmma products, operands by the bulk tensor copy engine.
 *
 * FlashAttention-3's shape (Shah et al. 2024). A block stays on its multiprocessor and takes one tile of rows after another; one
 * warpgroup's first warp only fetches (a tile's q, two tiles deep, then blocks of BN keys and values, STAGES deep), the others own 64
 * rows each. Within a warpgroup the product of the next block of keys is queued together with p v of this one, so that the tensor
 * cores work through p v while the exponentials of the next block are made; that goes on across tiles: the first scores of the
 * next tile are made before the last p v of this one is added, and its softmax runs before this one is written out. Between warpgroups
 * a ring of barriers lets one queue its products while the others are at their softmax.
 *
 * Must: 4 hd operations and one exponential a pair. Causal, B8 H32 T2048 on one H100: 429 TFLOP/s at hd 64, 516 at hd 128 of 989 (the
 * exponentials alone would take 0.15 of hd 64's 0.32 ms). What was tried: NOTES-attention.md.
 * The last block of keys starts at most at (live rows - BN), so that no row past the live ones is ever multiplied: what stands
 * there may be anything, NaN too. Keys it repeats are masked. */
#include "attention_wgmma.cuh"

namespace {
using namespace attn90;

template <int HD> struct config {
    static constexpr int WGS = HD == 64 ? 3 : 2, BM = 64 * WGS, BN = 128, STAGES = 2, PANELS = (HD + 63) / 64;
    static constexpr bool ACROSS = WGS == 2; /* products run on across tiles: three warpgroups have no registers for it */
    static constexpr int THREADS = 128 * (WGS + 1), UP = WGS == 3 ? 160 : 232, DOWN = WGS == 3 ? 32 : 40;
    static constexpr uint32_t Q = BM * 128 * PANELS, KV = BN * 128 * PANELS;
    static constexpr uint32_t BYTES = 1024 + 2 * Q + 2 * STAGES * KV + 256;
};
struct maps { CUtensorMap q, k, v; };
struct tile_info { int r0, head, first, blocks, s0, e0, s1, e1; }; /* r0 -1: no more; s, e of the first and of the last row's sequence */

#if ATTN_SM90A
template <int STAGES> struct barriers { /* addresses; q has two slots */
    uint32_t q_full, q_empty, k_full, k_empty, v_full, v_empty;
    __device__ __forceinline__ explicit barriers(uint32_t at)
        : q_full(at), q_empty(at + 16), k_full(at + 32), k_empty(k_full + 8 * STAGES), v_full(k_empty + 8 * STAGES), v_empty(v_full + 8 * STAGES)
    {
    }
};
/* A warpgroup's 64 rows of a tile: they see keys in blocks [b0, b1) of the tile's. */
struct part {
    int head, row0, first, blocks, b0, b1;
    attn_span sees[2], lo, hi; /* the thread's two rows; the first and the last row */
    float slope;
};

template <typename T, int HD, bool ALIBI>
__device__ __forceinline__ void consume(const attn_args &a, uint32_t sq, uint32_t sk, uint32_t sv, unsigned char *q_tiles, uint32_t bar_base,
                                        const tile_info *info)
{
    using C = config<HD>;
    constexpr int BN = C::BN, STAGES = C::STAGES;
    const barriers<STAGES> bar(bar_base);
    const int wg = same(threadIdx.x / 128) - 1, warp = threadIdx.x / 32 % 4, lane = threadIdx.x & 31, n = same(attn_tokens(a));
    const bool elected = lane == 0;
    int stage = 0, phase = 0, opened = 0; /* tiles opened so far */
    auto advance = [&] {
        if (++stage == STAGES) stage = 0, phase ^= 1;
    };
    auto my_turn = [&] { meet(1 + wg, 256); };
    auto next_turn = [&] { meet_arrive(1 + (wg + 1) % C::WGS, 256); };
    if (wg == C::WGS - 1) next_turn(); /* the first warpgroup starts */

    /* The next tile, when its q is there; false: no more. Its slot is (opened - 1) & 1 then. */
    auto open = [&](part &t) {
        const int slot = opened & 1;
        bar_wait(bar.q_full + 8 * slot, opened >> 1 & 1);
        const tile_info w = info[slot];
        if (same(w.r0) < 0) return false;
        opened++;
        t.head = w.head, t.first = same(w.first), t.blocks = same(w.blocks), t.row0 = same(w.r0) + 64 * wg;
        const int last = min(t.row0 + 64, n) - 1, row = t.row0 + 16 * warp + lane / 4;
        const bool one = w.s0 == w.s1;
        const int2 whole = make_int2(w.s0, w.e0);
        const int2 first_row = one ? whole : a.bounds[min(t.row0, n - 1)], last_row = one ? whole : a.bounds[max(last, 0)];
        t.lo = attn_keys_of(a, t.row0, first_row.x, first_row.y), t.hi = attn_keys_of(a, last, last_row.x, last_row.y);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int2 b = one ? whole : a.bounds[min(row + 8 * h, n - 1)];
            t.sees[h] = row + 8 * h < n ? attn_keys_of(a, row + 8 * h, b.x, b.y) : attn_nothing();
        }
        t.b0 = t.row0 >= n ? t.blocks : same((t.lo.lo - t.first) / BN), t.b1 = t.row0 >= n ? t.blocks : same((t.hi.hi - t.first) / BN + 1);
        t.slope = ALIBI ? attn_slope2(a, t.head) : 0;
        return true;
    };

    float o[HD / 2], s[BN / 2], top[2], sum[2], keep[2];
    uint32_t p[BN / 16][4];
    auto pass_by = [&] { /* a block none of these rows sees */
        bar_wait(bar.k_full + 8 * stage, phase);
        bar_wait(bar.v_full + 8 * stage, phase);
        my_turn(), next_turn();
        if (elected) bar_arrive(bar.k_empty + 8 * stage), bar_arrive(bar.v_empty + 8 * stage);
        advance();
    };
    auto fresh = [&] {
#pragma unroll
        for (int h = 0; h < 2; h++) top[h] = -INFINITY, sum[h] = 0;
    };
    auto clear = [&] {
#pragma unroll
        for (int i = 0; i < HD / 2; i++) o[i] = 0;
    };
    /* Scores in s to probabilities, in place; the factor for what was summed before goes to keep. */
    auto softmax = [&](const part &t, int block) {
        const int j0 = t.first + block * BN, at = min(j0, n - BN); /* keys from j0 on, rows in shared memory from `at` on */
        if (ALIBI) {
            const float base = t.slope * (float)(at - t.row0 + 2 * (lane & 3)); /* less the row's own part, which softmax does not see */
#pragma unroll
            for (int i = 0; i < BN / 8; i++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const float bias = fmaf(t.slope, (float)(8 * i + e), base);
                    s[4 * i + e] = fmaf(s[4 * i + e], a.scale2, bias);
                    s[4 * i + 2 + e] = fmaf(s[4 * i + 2 + e], a.scale2, bias);
                }
        }
        if (at < t.hi.lo || at + BN - 1 > t.lo.hi || at < j0) {
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const attn_span v = {max(t.sees[h].lo, j0) - at - 2 * (lane & 3), t.sees[h].hi - at - 2 * (lane & 3)};
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
            float some[2] = {0, 0};
#pragma unroll
            for (int i = 0; i < BN / 8; i++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float &y = s[4 * i + 2 * h + e];
                    y = exp2_fast(ALIBI ? y - at_least : fmaf(y, scale, -at_least));
                    some[e] += y;
                }
            sum[h] = fmaf(sum[h], keep[h], some[0] + some[1]);
        }
    };
    /* Writes a tile's rows out, by way of its q, which nobody reads any more. */
    auto finish = [&](int head, int row0, float slope, int slot, const float (&m)[2], const float (&total)[2]) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = row0 + 16 * warp + lane / 4 + 8 * h;
            const float l = quad_sum(total[h]), inv = 1 / l;
            if (a.lse && (lane & 3) == 0 && row < n)
                a.lse[(int64_t)row * a.ldlse + head] = (m[h] + log2f(l) - slope * (float)(row - row0)) * ATTN_LN2;
#pragma unroll
            for (int i = 0; i < HD / 8; i++) o[4 * i + 2 * h] *= inv, o[4 * i + 2 * h + 1] *= inv;
        }
        store_rows<T, HD, C::BM>((T *)a.o + (int64_t)head * HD, a.ldo, row0 + 16 * warp, n, q_tiles + slot * C::Q, 64 * wg + 16 * warp, o);
        fence_copies();
        __syncwarp();
        if (elected) bar_arrive(bar.q_empty + 8 * slot);
    };

    part t;
    bool more = open(t);
    while (more) { /* no products under way here */
        for (int b = 0; b < t.b0; b++) pass_by();
        if (t.row0 >= n) {
            if (elected) bar_arrive(bar.q_empty + 8 * ((opened - 1) & 1));
            more = open(t);
            continue;
        }
        bar_wait(bar.k_full + 8 * stage, phase);
        my_turn();
        products_begin();
        product_t<T, HD, BN, C::BM>(s, sq + C::Q * ((opened - 1) & 1) + 64 * 128 * wg, sk + C::KV * stage);
        products_commit();
        next_turn();
        products_wait<0>();
        pin(s);
        if (elected) bar_arrive(bar.k_empty + 8 * stage);
        fresh(), clear();
        softmax(t, t.b0);
        as_left<T, BN>(p, s);
        int block = t.b0, v_stage = stage, v_phase = phase, slot = (opened - 1) & 1;
        advance();
        for (;;) { /* p of `block` waits for its product with v */
            const bool inside = block + 1 < t.b1;
            const int head = t.head, row0 = t.row0;
            const float slope = t.slope, m[2] = {top[0], top[1]}, total[2] = {sum[0], sum[1]};
            if (!inside) {
                if (!C::ACROSS) break;
                const int left = t.blocks - t.b1;
                if (left > 1) break;
                if (left == 1) pass_by();
                t.b1 = t.blocks; /* none left */
                more = open(t);
                if (!more || t.b0 > 0 || t.row0 >= n) {
                    bar_wait(bar.v_full + 8 * v_stage, v_phase);
                    pin(o);
                    products_begin();
                    product<T, HD, BN>(o, p, sv + C::KV * v_stage);
                    products_commit();
                    products_wait<0>();
                    pin(o);
                    if (elected) bar_arrive(bar.v_empty + 8 * v_stage);
                    finish(head, row0, slope, slot, m, total);
                    slot = -1;
                    break;
                }
                fresh();
            }
            bar_wait(bar.k_full + 8 * stage, phase);
            my_turn();
            pin(s), pin(o);
            products_begin();
            product_t<T, HD, BN, C::BM>(s, sq + C::Q * ((opened - 1) & 1) + 64 * 128 * wg, sk + C::KV * stage);
            products_commit();
            bar_wait(bar.v_full + 8 * v_stage, v_phase);
            products_begin();
            product<T, HD, BN>(o, p, sv + C::KV * v_stage);
            products_commit();
            next_turn();
            products_wait<1>();
            pin(s);
            if (elected) bar_arrive(bar.k_empty + 8 * stage);
            block = inside ? block + 1 : t.b0;
            softmax(t, block);
            products_wait<0>();
            pin(o);
            if (elected) bar_arrive(bar.v_empty + 8 * v_stage);
            as_left<T, BN>(p, s);
            if (inside) {
#pragma unroll
                for (int i = 0; i < HD / 8; i++) o[4 * i] *= keep[0], o[4 * i + 1] *= keep[0], o[4 * i + 2] *= keep[1], o[4 * i + 3] *= keep[1];
            } else {
                finish(head, row0, slope, slot, m, total);
                clear();
                slot = (opened - 1) & 1;
            }
            v_stage = stage, v_phase = phase;
            advance();
        }
        if (slot < 0) continue;
        /* Blocks are left that only other warpgroups see; or nothing runs on across tiles. */
        bar_wait(bar.v_full + 8 * v_stage, v_phase);
        pin(o);
        products_begin();
        product<T, HD, BN>(o, p, sv + C::KV * v_stage);
        products_commit();
        products_wait<0>();
        pin(o);
        if (elected) bar_arrive(bar.v_empty + 8 * v_stage);
        finish(t.head, t.row0, t.slope, slot, top, sum);
        for (int b = t.b1; b < t.blocks; b++) pass_by();
        more = open(t);
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
    const uint32_t base = (shared_at(shared) + 1023) & ~1023u, sq = base, sk = sq + 2 * C::Q, sv = sk + STAGES * C::KV;
    unsigned char *const q_tiles = shared + (sq - shared_at(shared));
    tile_info *const info = (tile_info *)(shared + (sv + STAGES * C::KV - shared_at(shared)));
    const barriers<STAGES> bar(shared_at(info) + 2 * sizeof(tile_info));
    if (threadIdx.x == 0) {
        for (int i = 0; i < 2; i++) bar_init(bar.q_full + 8 * i, 1), bar_init(bar.q_empty + 8 * i, 4 * C::WGS);
        for (int i = 0; i < STAGES; i++) {
            bar_init(bar.k_full + 8 * i, 1), bar_init(bar.v_full + 8 * i, 1);
            bar_init(bar.k_empty + 8 * i, 4 * C::WGS), bar_init(bar.v_empty + 8 * i, 4 * C::WGS);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    if (same(threadIdx.x / 128) == 0) {
        registers_down<C::DOWN>();
        if (threadIdx.x == 0) {
            const int n = attn_tokens(a), tiles = (n + C::BM - 1) / C::BM, items = items_of(a, tiles);
            int stage = 0, phase = 1, done = 0;
            tile_info w;
            for (int item = blockIdx.x, next; item < items; item = next, done++) {
                int tile, head;
                const int slot = done & 1;
                next = next_item(a, items);
                attn_place(a, tiles, item, tile, head);
                w.r0 = tile * C::BM, w.head = head;
                const int last = min(w.r0 + C::BM, n) - 1;
                const int2 b0 = a.bounds[w.r0], b1 = a.bounds[last];
                w.s0 = b0.x, w.e0 = b0.y, w.s1 = b1.x, w.e1 = b1.y;
                w.first = attn_keys_of(a, w.r0, b0.x, b0.y).lo;
                w.blocks = (attn_keys_of(a, last, b1.x, b1.y).hi - w.first) / BN + 1;
                bar_wait(bar.q_empty + 8 * slot, (done >> 1 & 1) ^ 1);
                info[slot] = w;
                bar_expect(bar.q_full + 8 * slot, C::Q);
                fetch_rows<HD, C::BM>(sq + C::Q * slot, &m.q, bar.q_full + 8 * slot, head, w.r0);
                for (int b = 0; b < w.blocks; b++) {
                    const int at = min(w.first + b * BN, n - BN), kv = head / a.group;
                    bar_wait(bar.k_empty + 8 * stage, phase);
                    bar_expect(bar.k_full + 8 * stage, C::KV);
                    fetch_rows<HD, BN>(sk + C::KV * stage, &m.k, bar.k_full + 8 * stage, kv, at);
                    bar_wait(bar.v_empty + 8 * stage, phase);
                    bar_expect(bar.v_full + 8 * stage, C::KV);
                    fetch_rows<HD, BN>(sv + C::KV * stage, &m.v, bar.v_full + 8 * stage, kv, at);
                    if (++stage == STAGES) stage = 0, phase ^= 1;
                }
            }
            bar_wait(bar.q_empty + 8 * (done & 1), (done >> 1 & 1) ^ 1);
            info[done & 1].r0 = -1;
            bar_arrive(bar.q_full + 8 * (done & 1));
        }
    } else {
        registers_up<C::UP>();
        consume<T, HD, ALIBI>(a, sq, sk, sv, q_tiles, bar.q_full, info);
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
