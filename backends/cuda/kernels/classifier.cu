/* classifier.cu: log-probabilities of the targets, their gradient and the head's, without a [tokens, vocabulary] matrix: tokens go
 * through in chunks of logits. Logits are fp32 (a bf16 logit of 20 is off by 0.06); their gradient overwrites them row by row in
 * the type of the activations, at twice the row stride, and feeds the two products of the backward.
 *
 * With a_v = h . w_v, z_v = inv_temperature cap(a_v), cap(a) = softcap tanh(a / softcap):
 *   logp = z_target - lse, lse = log sum_v exp(z_v);  da_v = dlogp ([v = target] - exp(z_v - lse)) inv_temperature cap'(a_v)
 *   dh = da W, dW = da^T h
 *
 * Floor: 2 T V d operations for the logits and 4 T V d for the gradients; 4 bytes a logit written by the first product, read once,
 * 2 written, 2 read by each of the other two products. Two ways, the one that takes less memory:
 *   - logits' gradients lie in their chunk's logits. A chunk is at least twice as large as dW in fp32, so that adding to dW costs
 *     little beside the logits; chunks of dW add up in fp32 and are rounded once;
 *   - 16-bit gradients of all tokens are kept beside a smaller chunk of logits, and each of the last two products runs once: dW is
 *     neither added up nor converted (4 bytes an element written, 8 a further chunk, 6 at the end; here 2). For wide heads and few tokens:
 *     250,880 x 1024 and 4096 tokens take 2.6 instead of 3.1 GB, and 4.1 GB less go over the bus, of 19. */
#include "device.cuh"
#include <cooperative_groups.h>

#define THREADS 1024
#define CHUNK_BYTES ((size_t)512 << 20)

struct rule { float inv_t, cap; int32_t ignore; };

__device__ inline float logit(float a, const rule &k) { return k.inv_t * (k.cap > 0 ? k.cap * tanhf(a / k.cap) : a); }
__device__ inline float slope(float a, const rule &k)
{
    if (k.cap <= 0) return k.inv_t;
    const float th = tanhf(a / k.cap);
    return k.inv_t * (1 - th * th);
}

/* One row of logits a block. dlogp NULL: forward only. N: logits a load. Gradients may lie where their row's logits lie. */
template <class T, int N> __global__ void __launch_bounds__(THREADS)
    classify(float *logits, T *grads, int64_t grads_stride, int64_t vocab, const int32_t *targets, rule k, const float *dlogp, float *logp, float *lse)
{
    const int64_t row = blockIdx.x;
    float *a = logits + row * vocab;
    T *out = grads + row * grads_stride;
    const int32_t target = targets[row];
    const bool counts = target >= 0 && (target == 0 || target != k.ignore) && target < vocab;
    __shared__ float shared[33], shared_max[33];
    if (!counts) {
        if (threadIdx.x == 0 && logp) logp[row] = 0;
        if (threadIdx.x == 0 && lse) lse[row] = 0;
        for (int64_t v = threadIdx.x; dlogp && v < vocab; v += THREADS) out[v] = from_float<T>(0.0f);
        return;
    }
    float max = -INFINITY, sum = 0;
    for (int64_t v = (int64_t)threadIdx.x * N; v < vocab; v += THREADS * N) {
        float x[N], most = -INFINITY;
        load_vec<float, N>(a + v, x);
#pragma unroll
        for (int e = 0; e < N; e++) x[e] = logit(x[e], k), most = fmaxf(most, x[e]);
        if (most > max) sum *= __expf(max - most), max = most;
#pragma unroll
        for (int e = 0; e < N; e++) sum += __expf(x[e] - max);
    }
    /* The block's maximum, then every thread's sum brought to it. */
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    float top = warp_max(max);
    if (lane == 0) shared_max[warp] = top;
    __syncthreads();
    top = warp_max(shared_max[lane]);
    sum = block_sum(max == -INFINITY ? 0.0f : sum * __expf(max - top), shared);
    const float z = top + logf(sum);
    const float at_target = a[target];
    if (threadIdx.x == 0 && logp) logp[row] = logit(at_target, k) - z;
    if (threadIdx.x == 0 && lse) lse[row] = z;
    if (!dlogp) return;
    const float d = dlogp[row];
    __syncthreads(); /* a[target] has been read by all */
    for (int64_t from = 0; from < vocab; from += THREADS * N) {
        const int64_t v = from + (int64_t)threadIdx.x * N;
        float x[N];
        if (v < vocab) {
            load_vec<float, N>(a + v, x);
#pragma unroll
            for (int e = 0; e < N; e++) x[e] = d * slope(x[e], k) * ((v + e == target ? 1.0f : 0.0f) - __expf(logit(x[e], k) - z));
        }
        __syncthreads(); /* what stands at the bytes written now has been read */
        if (v < vocab) store_vec<T, N>(out + v, x);
    }
}

/* The same with the row held in registers, 32 logits a thread: they are read once, not twice. A row longer than a block holds goes to
 * a cluster of `parts` blocks (Hopper), which share maximum and sum. Gradients are written when all of the row has been read. */
#define HELD 32
#define PART (THREADS * HELD)
template <class T, bool CLUSTER> __global__ void __launch_bounds__(THREADS, 1)
    classify_held(float *logits, T *grads, int64_t grads_stride, int64_t vocab, const int32_t *targets, rule k, const float *dlogp, float *logp, float *lse, int parts)
{
    const int64_t row = CLUSTER ? blockIdx.x / parts : blockIdx.x;
    const int part = CLUSTER ? (int)(blockIdx.x % (unsigned)parts) : 0;
    float *a = logits + row * vocab;
    T *out = grads + row * grads_stride;
    const int32_t target = targets[row];
    const bool counts = target >= 0 && (target == 0 || target != k.ignore) && target < vocab;
    const int64_t first = (int64_t)part * PART + (int64_t)threadIdx.x * 4;
    __shared__ float shared[33], shared_max[33];
    __shared__ float mine[2]; /* this block's maximum and sum, for the others of the cluster */
    if (!counts) { /* the same for the whole cluster */
        if (threadIdx.x == 0 && part == 0 && logp) logp[row] = 0;
        if (threadIdx.x == 0 && part == 0 && lse) lse[row] = 0;
        const float zero[4] = {};
        for (int i = 0; dlogp && i < HELD / 4; i++) {
            const int64_t v = first + (int64_t)i * THREADS * 4;
            if (v < vocab) store_vec<T, 4>(out + v, zero);
        }
        return;
    }
    float x[HELD];
    float max = -INFINITY, sum = 0;
    const float at_target = a[target];
#pragma unroll
    for (int i = 0; i < HELD / 4; i++) {
        const int64_t v = first + (int64_t)i * THREADS * 4;
        if (v < vocab) {
            load_vec<float, 4>(a + v, x + 4 * i);
        } else {
#pragma unroll
            for (int e = 0; e < 4; e++) x[4 * i + e] = -INFINITY;
        }
    }
#pragma unroll
    for (int i = 0; i < HELD; i++)
        if (x[i] != -INFINITY) max = fmaxf(max, logit(x[i], k));
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    max = warp_max(max);
    if (lane == 0) shared_max[warp] = max;
    __syncthreads();
    max = warp_max(shared_max[lane]);
#pragma unroll
    for (int i = 0; i < HELD; i++)
        if (x[i] != -INFINITY) sum += __expf(logit(x[i], k) - max);
    sum = block_sum(sum, shared);
    float z;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (CLUSTER) {
        const cooperative_groups::cluster_group c = cooperative_groups::this_cluster();
        if (threadIdx.x == 0) mine[0] = max, mine[1] = sum;
        c.sync();
        float top = -INFINITY, all = 0;
        for (int i = 0; i < parts; i++) top = fmaxf(top, *c.map_shared_rank(&mine[0], i));
        for (int i = 0; i < parts; i++) all += *c.map_shared_rank(&mine[1], i) * __expf(*c.map_shared_rank(&mine[0], i) - top);
        z = top + logf(all);
        c.sync(); /* nobody leaves while others read, and all of the row has been read */
    } else
#endif
    {
        z = max + logf(sum);
        __syncthreads(); /* all of the row has been read, a[target] too */
    }
    if (threadIdx.x == 0 && part == 0 && logp) logp[row] = logit(at_target, k) - z;
    if (threadIdx.x == 0 && part == 0 && lse) lse[row] = z;
    if (!dlogp) return;
    const float d = dlogp[row];
#pragma unroll
    for (int i = 0; i < HELD / 4; i++) {
        const int64_t v = first + (int64_t)i * THREADS * 4;
        float y[4];
#pragma unroll
        for (int e = 0; e < 4; e++) y[e] = d * slope(x[4 * i + e], k) * ((v + e == target ? 1.0f : 0.0f) - __expf(logit(x[4 * i + e], k) - z));
        if (v < vocab) store_vec<T, 4>(out + v, y);
    }
}

/* One row a block or cluster, or by two passes where neither holds it. */
template <class T> static cudaError_t classify_rows(const cuda_step *s, int64_t n, float *logits, T *grads, int64_t stride, int64_t vocab, const int32_t *target, rule k, const float *dlogp, float *logp, float *lse)
{
    const int parts = (int)((vocab + PART - 1) / PART);
    if (vocab % 4 || parts > 8 || (parts > 1 && s->c->attn.cc < 90)) {
        if (vocab % 4 == 0) classify<T, 4><<<(unsigned)n, THREADS, 0, s->on>>>(logits, grads, stride, vocab, target, k, dlogp, logp, lse);
        else classify<T, 1><<<(unsigned)n, THREADS, 0, s->on>>>(logits, grads, stride, vocab, target, k, dlogp, logp, lse);
        return cudaGetLastError();
    }
    if (parts == 1) {
        classify_held<T, false><<<(unsigned)n, THREADS, 0, s->on>>>(logits, grads, stride, vocab, target, k, dlogp, logp, lse, 1);
        return cudaGetLastError();
    }
    cudaLaunchAttribute cluster = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = (unsigned)parts;
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
    cudaLaunchConfig_t c = {};
    c.gridDim = dim3((unsigned)(n * parts));
    c.blockDim = dim3(THREADS);
    c.stream = s->on;
    c.attrs = &cluster;
    c.numAttrs = 1;
    return cudaLaunchKernelEx(&c, classify_held<T, true>, logits, grads, stride, vocab, target, k, dlogp, logp, lse, parts);
}

/* Rows of a chunk: logits of CHUNK_BYTES, or of twice dW's size if that is more. */
static int64_t chunk_rows(int64_t tokens, int64_t vocab, int64_t d)
{
    const size_t dw = 2 * (size_t)vocab * (size_t)d * sizeof(float), bytes = dw > CHUNK_BYTES ? dw : CHUNK_BYTES;
    int64_t rows = (int64_t)(bytes / sizeof(float)) / vocab / 128 * 128;
    if (rows < 128) rows = 128;
    return rows < tokens ? rows : tokens;
}

typedef struct space { /* of the scratch */
    int64_t rows;             /* of a chunk */
    size_t logits, dw, grads; /* offsets after the products' workspace; dw, grads 0: none */
    size_t bytes;
} space;

static space lay_out(const co_plan_value *values, const co_step_op *op)
{
    const co_tensor *h = &values[op->in[0]].shape, *w = &values[op->in[1]].shape;
    const uint32_t dw = op->op == CO_OP_TOKEN_LOGPROB ? CO_NONE : op->out[op->op == CO_OP_TOKEN_LOGPROB_GRAD ? 2 : 1];
    space s = {chunk_rows(h->ne[0], w->ne[0], h->ne[1]), GEMM_WORKSPACE, 0, 0, 0};
    s.bytes = s.logits + cuda_pad((size_t)s.rows * (size_t)w->ne[0] * sizeof(float));
    if (dw != CO_NONE && values[dw].shape.dtype != CO_F32 && s.rows < h->ne[0]) {
        s.dw = s.bytes;
        s.bytes += cuda_pad((size_t)w->ne[0] * (size_t)w->ne[1] * sizeof(float));
        space kept = {chunk_rows(h->ne[0], w->ne[0], 0), GEMM_WORKSPACE, 0, 0, 0};
        kept.grads = kept.logits + cuda_pad((size_t)kept.rows * (size_t)w->ne[0] * sizeof(float));
        kept.bytes = kept.grads + cuda_pad((size_t)h->ne[0] * (size_t)w->ne[0] * co_dtype_bytes(h->dtype));
        if (h->dtype != CO_F32 && w->ne[0] % 8 == 0 && kept.bytes <= s.bytes) return kept;
    }
    return s;
}
extern "C" size_t cuda_classifier_scratch(const gpu *c, const co_plan *p, const co_step_op *op)
{
    (void)c;
    return lay_out(p->values, op).bytes;
}

template <class T, class G> __global__ void take_sum(const float *sum, G *out, int64_t stride, int64_t rows, int64_t cols, int add)
{
    const int64_t total = rows * cols;
    for (int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x; i < total; i += (int64_t)gridDim.x * 256) {
        G *at = out + i / cols * stride + i % cols;
        *at = from_float<G>(add ? to_float(*at) + sum[i] : sum[i]);
    }
}

typedef struct operands {
    const view *h, *w, *targets, *dlogp, *logp, *lse, *dh, *dw; /* any but the first three may be NULL or absent */
} operands;

static void *row_at(const view *v, int64_t r) { return (char *)v->p + (size_t)(r * v->stride) * co_dtype_bytes(v->dtype); }
static float *number_at(const view *v, int64_t r) { return v && v->p ? (float *)v->p + r : nullptr; }

static int run(const cuda_step *s, const operands *o)
{
    const co_classifier *attr = (const co_classifier *)s->op->attrs;
    const rule k = {attr->inv_temperature != 0 ? attr->inv_temperature : 1.0f, attr->softcap, attr->ignore_index};
    const view *h = o->h, *w = o->w, *dh = o->dh && o->dh->p ? o->dh : nullptr, *dw = o->dw && o->dw->p ? o->dw : nullptr;
    const space at = lay_out(s->values, s->op);
    const int64_t vocab = w->rows, d = h->cols, tokens = h->rows;
    const int backward = dh || dw || o->dlogp;
    float *logits = (float *)(s->scratch + at.logits), *sum = at.dw ? (float *)(s->scratch + at.dw) : nullptr;
    int r = CO_OK, add = dw && !sum ? dw->add : 0;

    if (dw && tokens == 0 && !dw->add)
        return cuda_check(s->c, cudaMemset2DAsync(dw->p, (size_t)dw->stride * co_dtype_bytes(dw->dtype), 0, (size_t)d * co_dtype_bytes(dw->dtype), (size_t)vocab, s->on), "zeros");
    const int64_t per = (int64_t)(sizeof(float) / co_dtype_bytes(h->dtype));
    char *kept = at.grads ? s->scratch + at.grads : nullptr;
    for (int64_t t = 0; t < tokens && r == CO_OK; t += at.rows) {
        const int64_t n = tokens - t < at.rows ? tokens - t : at.rows;
        const gemm score = {.m = n, .n = vocab, .k = d, .a = row_at(h, t), .b = w->p, .c = nullptr, .bias = nullptr, .d = logits, .lda = h->stride, .ldb = w->stride,
                            .ldc = 0, .ldd = vocab, .ta = 0, .tb = 1, .in = h->dtype, .in_b = h->dtype, .out = CO_F32, .alpha = 1, .beta = 0};
        r = gemm_run(s->c, &score, s->scratch, s->on);
        if (r) break;
        const int32_t *target = (const int32_t *)o->targets->p + t;
        const float *dlogp = backward ? number_at(o->dlogp, t) : nullptr;
        const int64_t ld = kept ? vocab : vocab * per;
        void *grads = kept ? (void *)(kept + (size_t)(t * vocab) * co_dtype_bytes(h->dtype)) : (void *)logits;
        WITH_TYPE(h->dtype, T, r = cuda_check(s->c, classify_rows<T>(s, n, logits, (T *)grads, ld, vocab, target, k, dlogp, number_at(o->logp, t), number_at(o->lse, t)), "the classifier");)
        if (r || (kept && t + n < tokens)) continue;
        /* What the products take: this chunk, or all. */
        const int64_t first = kept ? 0 : t, many = kept ? tokens : n;
        const void *da = kept ? (const void *)kept : (const void *)logits;
        if (dh) {
            const gemm g = {.m = many, .n = d, .k = vocab, .a = da, .b = w->p, .c = nullptr, .bias = nullptr, .d = row_at(dh, first), .lda = ld, .ldb = w->stride, .ldc = 0,
                            .ldd = dh->stride, .ta = 0, .tb = 0, .in = h->dtype, .in_b = h->dtype, .out = dh->dtype, .alpha = 1, .beta = 0};
            r = gemm_run(s->c, &g, s->scratch, s->on);
        }
        if (dw && r == CO_OK) {
            void *to = sum ? (void *)sum : dw->p;
            const gemm g = {.m = vocab, .n = d, .k = many, .a = da, .b = row_at(h, first), .c = add ? to : nullptr, .bias = nullptr, .d = to, .lda = ld, .ldb = h->stride,
                            .ldc = sum ? d : dw->stride, .ldd = sum ? d : dw->stride, .ta = 1, .tb = 0, .in = h->dtype, .in_b = h->dtype, .out = sum ? (uint8_t)CO_F32 : dw->dtype,
                            .alpha = 1, .beta = add ? 1.0f : 0.0f};
            r = gemm_run(s->c, &g, s->scratch, s->on);
            add = 1;
        }
    }
    if (r == CO_OK && sum && dw)
        WITH_TYPE(dw->dtype, G, take_sum<float, G><<<grid_for(vocab * d, 256, (unsigned)s->c->sms * 16), 256, 0, s->on>>>(sum, (G *)dw->p, dw->stride, vocab, d, dw->add);)
    return r;
}

extern "C" int cuda_run_TOKEN_LOGPROB(const cuda_step *s)
{
    const operands o = {.h = &s->in[0], .w = &s->in[1], .targets = &s->in[2], .dlogp = nullptr, .logp = &s->out[0], .lse = &s->out[1], .dh = nullptr, .dw = nullptr};
    return run(s, &o);
}
extern "C" int cuda_run_TOKEN_LOGPROB_BWD(const cuda_step *s)
{
    const operands o = {.h = &s->in[0], .w = &s->in[1], .targets = &s->in[2], .dlogp = &s->in[4], .logp = nullptr, .lse = nullptr, .dh = &s->out[0], .dw = &s->out[1]};
    return run(s, &o);
}
extern "C" int cuda_run_TOKEN_LOGPROB_GRAD(const cuda_step *s)
{
    const operands o = {.h = &s->in[0], .w = &s->in[1], .targets = &s->in[2], .dlogp = &s->in[3], .logp = &s->out[0], .lse = nullptr, .dh = &s->out[1], .dw = &s->out[2]};
    return run(s, &o);
}
