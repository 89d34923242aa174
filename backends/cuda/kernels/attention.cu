/* attention.cu: chooses the kernels of an attention call, prepares what they share, queues them.
 *
 *   bf16, fp16, head sizes 64, 80, 96, 128, operands on 16 bytes: attention_wgmma_*.cu on Hopper, else attention_mma_*.cu
 *   anything else, head sizes to 256:                             attention_plain.cu
 *   over a cache: attention_mma_fwd.cu for prompts, attention_decode.cu for single tokens and all that mma does not serve
 *
 * Prepared: the index (attn_index below) and, for the backward, stat [H][tokens] = (lse log2(e), rowsum(o do)), laid out
 * so that the pass over keys can copy a run of queries' values at once. stat reads o and do once: 4 T H hd bytes. */
#include "attention.cuh"
#include <cuda.h>
#include <math.h>

namespace {
size_t pad(size_t n) { return (n + 255) & ~(size_t)255; }
int tiles_of(int tokens, int rows) { return (tokens + rows - 1) / rows; }

/* The index: int2 bounds[tokens]; for each tile height the tiles by falling cost as query tiles, and as key tiles; tickets, 0. */
enum { MOST_SORTED = 8192, INDEX_THREADS = 1024 };
size_t order_at(int tokens, int height, bool keys)
{
    size_t at = pad((size_t)tokens * sizeof(int2));
    for (int i = 0; i < ATTN_TILES; i++)
        for (int side = 0; side < 2; side++) {
            if (attn_tile_rows(i) == height && side == (int)keys) return at;
            at += pad((size_t)tiles_of(tokens, attn_tile_rows(i)) * sizeof(int));
        }
    return at;
}

/* Rows of the sequence before the tile's last row (behind the key tile's first), counted from the tile's far side: what a causal tile
 * walks. -1: past the live rows. */
__device__ int cost(const cuda_attn_live &l, int n, int seqs, int r0, int rows, bool keys)
{
    if (r0 >= n) return -1;
    const int last = min(r0 + rows, n) - 1;
    return keys ? l.seq_start[attn_seq_of(l.seq_start, seqs, last) + 1] - r0 : last + 1 - l.seq_start[attn_seq_of(l.seq_start, seqs, r0)];
}

struct orders { int *of[2 * ATTN_TILES]; unsigned *tickets; };
__global__ void __launch_bounds__(INDEX_THREADS) index_kernel(cuda_attn_live l, int tokens, int2 *bounds, orders o)
{
    __shared__ int costs[MOST_SORTED];
    attn_find_arrays(l);
    const int n = l.counts ? l.counts[0] : l.n_tokens, seqs = l.counts ? l.counts[1] : l.n_seqs;
    if (blockIdx.x >= 2 * ATTN_TILES) {
        const int t = (blockIdx.x - 2 * ATTN_TILES) * INDEX_THREADS + threadIdx.x;
        if (t >= tokens) return;
        const int s = t < n ? attn_seq_of(l.seq_start, seqs, t) : 0;
        bounds[t] = t < n ? make_int2(l.seq_start[s], l.seq_start[s + 1]) : make_int2(0, 0);
        return;
    }
    if (blockIdx.x == 0 && threadIdx.x < ATTN_TICKETS) o.tickets[threadIdx.x] = 0;
    const int rows = attn_tile_rows(blockIdx.x / 2), tiles = (tokens + rows - 1) / rows;
    int *order = o.of[blockIdx.x];
    if (tiles > MOST_SORTED) { /* half a million tokens: in place, the tail no longer matters */
        for (int i = threadIdx.x; i < tiles; i += INDEX_THREADS) order[i] = i;
        return;
    }
    for (int i = threadIdx.x; i < tiles; i += INDEX_THREADS) costs[i] = cost(l, n, seqs, i * rows, rows, blockIdx.x & 1);
    __syncthreads();
    for (int i = threadIdx.x; i < tiles; i += INDEX_THREADS) {
        int rank = 0;
        for (int k = 0; k < tiles; k++) rank += costs[k] > costs[i] || (costs[k] == costs[i] && k < i);
        order[rank] = i;
    }
}

/* Eight lanes a row and head; a block 32 rows of a head. */
template <typename T> __global__ void stat_kernel(attn_args a)
{
    const int row = blockIdx.x * 32 + threadIdx.x / 8, head = blockIdx.y, lane = threadIdx.x & 7;
    float sum = 0;
    if (row < attn_tokens(a)) {
        const T *o = (const T *)a.o + row * a.ldo + (int64_t)head * a.hd, *g = (const T *)a.d_o + row * a.lddo + (int64_t)head * a.hd;
        constexpr int VEC = 16 / (int)sizeof(T);
        if (a.aligned) {
            for (int c = lane * VEC; c < a.hd; c += 8 * VEC) {
                const uint4 x = *(const uint4 *)(o + c), y = *(const uint4 *)(g + c);
                const T *xs = (const T *)&x, *ys = (const T *)&y;
#pragma unroll
                for (int i = 0; i < VEC; i++) sum = fmaf(attn_float(xs[i]), attn_float(ys[i]), sum);
            }
        } else {
            for (int c = lane; c < a.hd; c += 8) sum = fmaf(attn_float(o[c]), attn_float(g[c]), sum);
        }
    }
    for (int i = 4; i; i >>= 1) sum += __shfl_xor_sync(~0u, sum, i);
    if (lane == 0 && row < attn_tokens(a)) a.stat[head * a.stat_rows + row] = make_float2(a.lse[row * a.ldlse + head] * ATTN_LOG2E, sum);
}

bool on16(const void *p, int64_t stride, uint32_t dtype)
{
    const size_t size = dtype == CO_F32 ? 4 : 2;
    return ((uintptr_t)p | (uintptr_t)stride * size) % 16 == 0;
}

attn_args args_of(const cuda_attn *a, const cuda_attn_live *live)
{
    attn_args x = {};
    x.heads = a->n_heads, x.kv_heads = a->n_kv_heads, x.group = a->n_heads / a->n_kv_heads, x.hd = a->head_dim;
    x.scale = a->scale != 0 ? a->scale : (float)(1 / sqrt((double)a->head_dim));
    x.scale2 = (float)((double)x.scale * 1.4426950408889634);
    x.causal = a->causal, x.alibi = a->alibi, x.window = a->window > (1 << 30) ? 1 << 30 : a->window;
    x.ldq = a->q, x.ldk = a->k, x.ldv = a->v, x.ldo = a->o, x.ldlse = a->lse;
    x.lddo = a->d_o, x.lddq = a->dq, x.lddk = a->dk, x.lddv = a->dv, x.ldkc = a->kc, x.ldvc = a->vc;
    x.slot_len = a->slot_len, x.splits = 1, x.live = *live;
    return x;
}
int rows_of(const cuda_attn *a, const cuda_attn_live *l) { return l->counts ? a->tokens : l->n_tokens; }

/* The grid of tiles of `height` rows over `heads` heads, `per` of which share a key head's rows. What a wave of blocks walks (k and v,
 * or q and do) shall fit half of L2. */
void grid(const cuda_attn_dev *d, attn_args *x, int tokens, int rows, int height, int heads, int per, const void *index, bool keys)
{
    const double head_bytes = (double)rows * x->hd * 4.0 * (keys ? x->group : 1.0 / per);
    int at_once = (int)fmin((double)heads, fmax((double)per, d->l2 / 2.0 / head_bytes));
    while (heads % at_once) at_once--;
    x->tiles = tiles_of(rows, height), x->items_heads = heads, x->heads_at_once = at_once, x->rows = rows;
    /* Sorted for the capacity; with exact grids the tiles past the live rows come last and are cut off. */
    x->order = (const int *)((const char *)index + order_at(tokens, height, keys));
}

const void *indexed(const cuda_attn_dev *d, const cuda_attn *a, attn_args *x, const void *index, void *scratch, cudaStream_t on,
                    cudaError_t *e)
{
    *e = cudaSuccess;
    if (!index) *e = cuda_attn_index(d, a->tokens, &x->live, scratch, on);
    if (!index) index = scratch;
    x->bounds = (const int2 *)index, x->ticket = (unsigned *)((char *)index + order_at(a->tokens, 0, false));
    return index;
}
} // namespace

cudaError_t cuda_attn_open(cuda_attn_dev *d, int device)
{
    int major, minor;
    *d = {};
    d->device = device;
    const struct { int *to; cudaDeviceAttr what; } wanted[] = {
        {&major, cudaDevAttrComputeCapabilityMajor}, {&minor, cudaDevAttrComputeCapabilityMinor},
        {&d->sms, cudaDevAttrMultiProcessorCount}, {&d->smem, cudaDevAttrMaxSharedMemoryPerBlockOptin}, {&d->l2, cudaDevAttrL2CacheSize}};
    for (const auto &w : wanted) {
        const cudaError_t e = cudaDeviceGetAttribute(w.to, w.what, device);
        if (e) return e;
    }
    d->cc = 10 * major + minor;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
    const cudaError_t e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &d->tensor_map, 12000, cudaEnableDefault, &found);
#else
    const cudaError_t e = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &d->tensor_map, cudaEnableDefault, &found);
#endif
    if (e || found != cudaDriverEntryPointSuccess || d->cc != 90 || !attn_wgmma_built()) d->tensor_map = NULL;
    return cudaSuccess;
}

int attn_map(const cuda_attn_dev *d, CUtensorMap *map, uint32_t dtype, const void *p, int hd, int heads, int rows, int64_t stride, int box)
{
    const cuuint64_t dims[3] = {(cuuint64_t)hd, (cuuint64_t)heads, (cuuint64_t)rows};
    const cuuint64_t strides[2] = {(cuuint64_t)hd * 2, (cuuint64_t)stride * 2};
    const cuuint32_t boxes[3] = {64, 1, (cuuint32_t)box}, ones[3] = {1, 1, 1};
    const auto encode = (decltype(&cuTensorMapEncodeTiled))d->tensor_map;
    return encode(map, dtype == CO_BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 3, (void *)p, dims, strides, boxes, ones,
                  CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, hd == 128 ? CU_TENSOR_MAP_L2_PROMOTION_L2_256B : CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) != CUDA_SUCCESS;
}
static bool wgmma_serves(const cuda_attn_dev *d, uint32_t dtype, int hd) { return d->cc == 90 && d->tensor_map && attn_mma_serves(d, dtype, hd); }

const char *cuda_attn_refuses(const cuda_attn_dev *d, const cuda_attn *a)
{
    (void)d;
    if (a->dtype != CO_F32 && a->dtype != CO_BF16 && a->dtype != CO_F16) return "attention computes in fp32, bf16 or fp16";
    if (a->head_dim < 1 || a->head_dim > 256) return "attention takes head sizes up to 256";
    if (a->n_kv_heads < 1 || a->n_heads % a->n_kv_heads) return "the number of heads must be a multiple of the number of key heads";
    return NULL;
}

size_t cuda_attn_index_bytes(int32_t tokens) { return pad(order_at(tokens, 0, false) + ATTN_TICKETS * sizeof(unsigned)); }

cudaError_t cuda_attn_index(const cuda_attn_dev *d, int32_t tokens, const cuda_attn_live *live, void *index, cudaStream_t stream)
{
    (void)d;
    orders o;
    for (int i = 0; i < 2 * ATTN_TILES; i++) o.of[i] = (int *)((char *)index + order_at(tokens, attn_tile_rows(i / 2), i & 1));
    o.tickets = (unsigned *)((char *)index + order_at(tokens, 0, false));
    index_kernel<<<2 * ATTN_TILES + (unsigned)tiles_of(tokens, INDEX_THREADS), INDEX_THREADS, 0, stream>>>(*live, tokens, (int2 *)index, o);
    return cudaGetLastError();
}

size_t cuda_attn_forward_scratch(const cuda_attn_dev *d, const cuda_attn *a)
{
    (void)d;
    return cuda_attn_index_bytes(a->tokens);
}
static size_t stat_rows(const cuda_attn *a) { return ((size_t)a->tokens + 63) & ~(size_t)63; }
size_t cuda_attn_backward_scratch(const cuda_attn_dev *d, const cuda_attn *a)
{
    (void)d;
    return cuda_attn_index_bytes(a->tokens) + pad((size_t)a->n_heads * stat_rows(a) * sizeof(float2));
}

cudaError_t cuda_attn_forward(const cuda_attn_dev *d, const cuda_attn *a, const void *q, const void *k, const void *v, void *o,
                              float *lse, const cuda_attn_live *live, const void *index, void *scratch, cudaStream_t stream)
{
    attn_args x = args_of(a, live);
    const int rows = rows_of(a, live);
    cudaError_t e;
    if (rows == 0) return cudaSuccess;
    index = indexed(d, a, &x, index, scratch, stream, &e);
    if (e) return e;
    x.q = q, x.k = k, x.v = v, x.o = o, x.lse = lse;
    const bool aligned = on16(q, a->q, a->dtype) && on16(k, a->k, a->dtype) && on16(v, a->v, a->dtype) && on16(o, a->o, a->dtype);
    if (aligned && x.scale > 0 && wgmma_serves(d, a->dtype, a->head_dim)) {
        grid(d, &x, a->tokens, rows, attn_wgmma_forward_rows(a->head_dim), x.heads, x.group, index, false);
        return attn_wgmma_forward(d, a->dtype, &x, stream);
    }
    if (aligned && x.scale > 0 && attn_mma_serves(d, a->dtype, a->head_dim)) {
        grid(d, &x, a->tokens, rows, ATTN_MMA_FORWARD_ROWS, x.heads, x.group, index, false);
        return attn_mma_forward(a->dtype, &x, stream);
    }
    return attn_plain_run(a->dtype, ATTN_FORWARD, &x, rows, stream);
}

cudaError_t cuda_attn_backward(const cuda_attn_dev *d, const cuda_attn *a, const void *q, const void *k, const void *v, const void *o,
                               const float *lse, const void *d_o, void *dq, void *dk, void *dv, const cuda_attn_live *live,
                               const void *index, void *scratch, cudaStream_t stream)
{
    attn_args x = args_of(a, live);
    const int rows = rows_of(a, live);
    cudaError_t e;
    if (rows == 0 || (!dq && !dk && !dv)) return cudaSuccess;
    index = indexed(d, a, &x, index, scratch, stream, &e);
    if (e) return e;
    x.q = q, x.k = k, x.v = v, x.o = (void *)o, x.lse = (float *)lse, x.d_o = d_o, x.dq = dq, x.dk = dk, x.dv = dv;
    x.stat = (float2 *)((char *)scratch + cuda_attn_index_bytes(a->tokens)), x.stat_rows = (int64_t)stat_rows(a);
    const uint32_t t = a->dtype;
    x.aligned = on16(q, a->q, t) && on16(k, a->k, t) && on16(v, a->v, t) && on16(o, a->o, t) && on16(d_o, a->d_o, t) &&
                on16(dq, a->dq, t) && on16(dk, a->dk, t) && on16(dv, a->dv, t) && a->head_dim % (t == CO_F32 ? 4 : 8) == 0;

    const dim3 blocks((unsigned)tiles_of(rows, 32), (unsigned)x.heads);
    if (t == CO_F32) stat_kernel<float><<<blocks, 256, 0, stream>>>(x);
    else if (t == CO_BF16) stat_kernel<__nv_bfloat16><<<blocks, 256, 0, stream>>>(x);
    else stat_kernel<__half><<<blocks, 256, 0, stream>>>(x);
    e = cudaGetLastError();
    const bool wgmma = x.aligned && wgmma_serves(d, t, a->head_dim), mma = x.aligned && attn_mma_serves(d, t, a->head_dim);
    const int height = wgmma ? (int)ATTN_WGMMA_BACKWARD_ROWS : (int)ATTN_MMA_BACKWARD_ROWS;
    for (attn_pass pass : {ATTN_DQ, ATTN_DKDV}) {
        if (e || (pass == ATTN_DQ ? !dq : !dk && !dv)) continue;
        grid(d, &x, a->tokens, rows, height, pass == ATTN_DQ ? x.heads : x.kv_heads, pass == ATTN_DQ ? x.group : 1, index, pass == ATTN_DKDV);
        e = wgmma ? attn_wgmma_backward(d, t, pass, &x, stream) : mma ? attn_mma_backward(t, pass, &x, stream) : attn_plain_run(t, pass, &x, rows, stream);
    }
    return e;
}

/* Prompts go by tiles; one token a sequence, or little more, by splits of the keys: chosen by the rows of the call at hand, of which a
 * plan for the capacity sees many kinds. */
static bool by_tiles(const cuda_attn_dev *d, const cuda_attn *a, int rows, int seqs) { return attn_mma_serves(d, a->dtype, a->head_dim) && rows >= 2 * seqs; }
static int splits_of(const cuda_attn_dev *d, const cuda_attn *a, int rows) { return attn_decode_splits(d, rows, a->n_heads, a->n_kv_heads, a->slot_len); }

/* The most that any number of rows up to the capacity asks for: splits do not grow with the rows. */
size_t cuda_attn_cached_scratch(const cuda_attn_dev *d, const cuda_attn *a)
{
    size_t most = 0;
    for (int64_t rows = 1; rows < 2 * (int64_t)a->tokens; rows *= 2) {
        const int up_to = (int)(2 * rows - 1 < a->tokens ? 2 * rows - 1 : a->tokens);
        const size_t n = attn_decode_scratch(up_to, a->n_heads, a->head_dim, splits_of(d, a, (int)rows));
        most = n > most ? n : most;
    }
    return pad(most);
}

cudaError_t cuda_attn_cached(const cuda_attn_dev *d, const cuda_attn *a, const void *q, const void *k, const void *v, void *kc, void *vc,
                             void *o, const cuda_attn_live *live, void *scratch, cudaStream_t stream)
{
    attn_args x = args_of(a, live);
    const int rows = rows_of(a, live);
    if (rows == 0) return cudaSuccess;
    x.q = q, x.k = k, x.v = v, x.o = o, x.kc = kc, x.vc = vc, x.part = (float *)scratch;
    const uint32_t t = a->dtype;
    const bool aligned = on16(q, a->q, t) && on16(k, a->k, t) && on16(v, a->v, t) && on16(o, a->o, t) && on16(kc, a->kc, t) && on16(vc, a->vc, t);
    if (aligned && x.scale > 0 && by_tiles(d, a, rows, live->counts ? a->seqs : live->n_seqs)) {
        x.tiles = tiles_of(rows, ATTN_MMA_CACHED_ROWS), x.heads_at_once = x.heads;
        return attn_mma_cached(t, &x, stream);
    }
    x.splits = splits_of(d, a, rows);
    return attn_decode_run(d, t, &x, rows, aligned, stream);
}
