/* attention.cuh: what the attention kernels share: their arguments, who sees whom, element types, launchers by family.
 *
 * Rows of all sequences lie end to end, so a tile is BM neighbouring rows whatever sequences they belong to. What a row sees is one
 * interval of rows, and the interval's ends never fall from one row to the next: from the sequence's first row (or the window's)
 * to itself (causal) or the sequence's last row. Hence a tile's keys are one run of rows, a block of them needs no mask if it lies
 * inside the last row's lower and the first row's upper end, and nothing but the interval knows about sequences, windows or
 * causality. The same holds the other way round, for the queries that see a key. */
#ifndef CUDA_ATTENTION_CUH
#define CUDA_ATTENTION_CUH
#include "../attention.h"
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#define ATTN_LOG2E 1.4426950408889634f
#define ATTN_LN2 0.6931471805599453f

struct attn_args { /* passed by value */
    const void *q, *k, *v, *d_o;
    void *o, *dq, *dk, *dv, *kc, *vc;
    float *lse;
    float2 *stat;        /* [H][stat_rows]: lse*log2(e), sum of o*do */
    const int2 *bounds;  /* [tokens] first row and end of each row's sequence */
    const int *order;    /* tiles by falling cost, or NULL */
    unsigned *ticket;    /* Hopper: 0 between launches; blocks draw their next item from it */
    float *part;         /* cached: partial results of the splits */
    int64_t ldq, ldk, ldv, ldo, ldlse, lddo, lddq, lddk, lddv, ldkc, ldvc, stat_rows;
    int heads, kv_heads, group, hd; /* group = heads / kv_heads */
    int tiles, items_heads, heads_at_once; /* of the grid: see attn_place */
    int rows;                       /* operands have at least that many */
    int causal, window, alibi, slot_len, splits;
    int aligned;         /* every operand lies on 16 bytes */
    float scale, scale2; /* scale * log2(e) */
    cuda_attn_live live;
};

/* Takes the arrays' places from the device's own struct. */
__device__ __forceinline__ void attn_find_arrays(cuda_attn_live &l)
{
    if (l.dev) l.seq_start = l.dev->seq_start, l.cache_slot = l.dev->cache_slot, l.past_len = l.dev->past_len;
}
__device__ __forceinline__ int attn_tokens(const attn_args &a) { return a.live.counts ? a.live.counts[0] : a.live.n_tokens; }
__device__ __forceinline__ int attn_seqs(const attn_args &a) { return a.live.counts ? a.live.counts[1] : a.live.n_seqs; }

/* Press et al. 2022, times log2(e); see backends/ref/ops/attention.c. */
__device__ __forceinline__ float attn_slope2(const attn_args &a, int head)
{
    if (!a.alibi) return 0;
    int m = 1;
    while (2 * m <= a.heads) m *= 2;
    const float e = head < m ? -8.0f * (float)(head + 1) / (float)m : -4.0f * (float)(2 * (head - m) + 1) / (float)m;
    return exp2f(e) * ATTN_LOG2E;
}

struct attn_span { int lo, hi; }; /* inclusive; empty as lo = hi = 2^30, so that hi - lo stays a count less one */
__device__ __forceinline__ attn_span attn_nothing() { return {1 << 30, 1 << 30}; }
/* i, j and s..e-1 count positions in one run; a window was clamped to 2^30 by the host. */
__device__ __forceinline__ attn_span attn_keys_of(const attn_args &a, int i, int s, int e)
{
    return {a.window > 0 ? max(s, i - a.window + 1) : s, a.causal ? i : e - 1};
}
__device__ __forceinline__ attn_span attn_queries_of(const attn_args &a, int j, int s, int e)
{
    return {a.causal ? j : s, a.window > 0 ? min(e - 1, j + a.window - 1) : e - 1};
}
__device__ __forceinline__ bool attn_in(attn_span s, int x) { return (unsigned)(x - s.lo) <= (unsigned)(s.hi - s.lo); }

/* Blocks run through the heads heads_at_once at a time (what these read shall stay in L2), within those through the tiles from the
 * costliest, so that what is left at the end is cheap. */
__device__ __forceinline__ void attn_place(const attn_args &a, int tiles, int block, int &tile, int &head)
{
    const int per = a.heads_at_once * tiles, first = block / per, in = block - first * per, rank = in / a.heads_at_once;
    head = first * a.heads_at_once + in - rank * a.heads_at_once;
    tile = a.order ? a.order[rank] : rank;
}
__device__ __forceinline__ void attn_place(const attn_args &a, int block, int &tile, int &head) { attn_place(a, a.tiles, block, tile, head); }

template <typename T> __device__ __forceinline__ float attn_float(T x) { return (float)x; }
template <typename T> __device__ __forceinline__ T attn_from(float x) { return (T)x; }

/* The sequence that row t belongs to. */
__device__ __forceinline__ int attn_seq_of(const int32_t *start, int n, int t)
{
    int lo = 0, hi = n - 1;
    while (lo < hi) {
        const int mid = (lo + hi + 1) >> 1;
        if (start[mid] <= t) lo = mid;
        else hi = mid - 1;
    }
    return lo;
}

/* Tile heights that attention.cu prepares an order for. */
enum { ATTN_TILES = 3 };
__host__ __device__ constexpr int attn_tile_rows(int i) { return 64 * (i + 1); }

/* The families; each says what it serves. Tiles and their order, bounds and stat are set by attention.cu. */
enum attn_pass { ATTN_FORWARD, ATTN_DQ, ATTN_DKDV };
cudaError_t attn_plain_run(uint32_t dtype, attn_pass pass, attn_args *a, int rows, cudaStream_t on);

bool attn_mma_serves(const cuda_attn_dev *d, uint32_t dtype, int hd);
enum { ATTN_MMA_FORWARD_ROWS = 128, ATTN_MMA_CACHED_ROWS = 64, ATTN_MMA_BACKWARD_ROWS = 64 };
cudaError_t attn_mma_forward(uint32_t dtype, attn_args *a, cudaStream_t on);
cudaError_t attn_mma_cached(uint32_t dtype, attn_args *a, cudaStream_t on);
cudaError_t attn_mma_backward(uint32_t dtype, attn_pass pass, attn_args *a, cudaStream_t on);

/* Hopper. A map describes `rows` rows of heads of hd columns, fetched `box` rows of 64 columns of a head at a time; 0 or not. */
bool attn_wgmma_built(void);
int attn_map(const cuda_attn_dev *d, struct CUtensorMap_st *map, uint32_t dtype, const void *p, int hd, int heads, int rows, int64_t stride, int box);
int attn_wgmma_forward_rows(int hd);
enum { ATTN_WGMMA_BACKWARD_ROWS = 128 };
enum { ATTN_TICKETS = 4 }; /* in the index */
cudaError_t attn_wgmma_forward(const cuda_attn_dev *d, uint32_t dtype, attn_args *a, cudaStream_t on);
cudaError_t attn_wgmma_backward(const cuda_attn_dev *d, uint32_t dtype, attn_pass pass, attn_args *a, cudaStream_t on);

int attn_decode_splits(const cuda_attn_dev *d, int rows, int heads, int kv_heads, int slot_len);
size_t attn_decode_scratch(int rows, int heads, int hd, int splits);
cudaError_t attn_decode_run(const cuda_attn_dev *d, uint32_t dtype, attn_args *a, int rows, int aligned, cudaStream_t on);
#endif
