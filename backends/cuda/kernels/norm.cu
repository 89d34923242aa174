/* norm.cu: RMSNorm (Zhang & Sennrich 2019) and LayerNorm (Ba et al. 2016), statistics in fp32.
 *
 *   forward   y = (x - mean) r w (+ b), r = rsqrt(var + eps); RMSNorm: mean = 0, var = mean(x^2)
 *   backward  g = dy w, h = (x - mean) r;  dx = r (g - mean(g) - h mean(g h)) (+ res);  dw = sum_t dy h;  db = sum_t dy
 *             (RMSNorm: without mean(g))
 *
 * Floor: forward reads x and writes y once; backward reads x, dy (and res), writes dx. A block takes whole rows; the second
 * look at a row finds it in the L1 cache. In the backward a block goes over many rows and keeps its columns' share of dw and
 * db in registers; shares are added up by a second kernel in the order of the blocks: no atomics, the same bits every time. */
#include "device.cuh"

#define MAX_THREADS 256
#define BLOCKS_PER_SM 4

struct stats { float mean, r; };

template <class T, int N, bool CENTRED> __device__ inline stats row_stats(const T *x, int64_t d, float eps, float *shared)
{
    float sum = 0, v[N];
    stats s = {0, 0};
    if (CENTRED) {
        for (int64_t c = (int64_t)threadIdx.x * N; c < d; c += (int64_t)blockDim.x * N) {
            load_vec<T, N>(x + c, v);
#pragma unroll
            for (int e = 0; e < N; e++) sum += v[e];
        }
        s.mean = block_sum(sum, shared) / (float)d;
        sum = 0;
    }
    for (int64_t c = (int64_t)threadIdx.x * N; c < d; c += (int64_t)blockDim.x * N) {
        load_vec<T, N>(x + c, v);
#pragma unroll
        for (int e = 0; e < N; e++) sum += (v[e] - s.mean) * (v[e] - s.mean);
    }
    s.r = rsqrtf(block_sum(sum, shared) / (float)d + eps);
    return s;
}

template <class T, class W, int N, bool CENTRED> __global__ void __launch_bounds__(MAX_THREADS)
    norm_forward(rows_of<const T> xs, const W *w, const W *b, rows_of<T> ys, int64_t rows, int64_t d, float eps)
{
    __shared__ float shared[33];
    for (int64_t t = blockIdx.x; t < rows; t += gridDim.x) {
        const T *x = xs.row(t);
        T *y = ys.row(t);
        const stats s = row_stats<T, N, CENTRED>(x, d, eps, shared);
        for (int64_t c = (int64_t)threadIdx.x * N; c < d; c += (int64_t)blockDim.x * N) {
            float v[N], k[N], a[N];
            load_vec<T, N>(x + c, v);
            load_vec<W, N>(w + c, k);
            if (CENTRED && b) load_vec<W, N>(b + c, a);
#pragma unroll
            for (int e = 0; e < N; e++) v[e] = (v[e] - s.mean) * s.r * k[e] + (CENTRED && b ? a[e] : 0.0f);
            store_vec<T, N>(y + c, v);
        }
    }
}

/* PER: vectors of a row a thread owns. partial [blocks][2][d]: dw, db; a thread adds in registers, the last block row too. */
template <class T, class W, int N, int PER, bool CENTRED> __global__ void __launch_bounds__(MAX_THREADS)
    norm_backward(rows_of<const T> xs, const W *w, rows_of<const T> dys, rows_of<const T> ress, rows_of<T> dxs, float *partial, int64_t rows, int64_t d, float eps)
{
    __shared__ float shared[33];
    float dw[PER][N] = {}, db[CENTRED ? PER : 1][N] = {};
    for (int64_t t = blockIdx.x; t < rows; t += gridDim.x) {
        const T *x = xs.row(t), *dy = dys.row(t), *res = ress.p ? ress.row(t) : nullptr;
        T *dx = dxs.p ? dxs.row(t) : nullptr;
        const stats s = row_stats<T, N, CENTRED>(x, d, eps, shared);
        float sum_g = 0, sum_gh = 0;
#pragma unroll
        for (int i = 0; i < PER; i++) {
            const int64_t c = ((int64_t)threadIdx.x + (int64_t)i * blockDim.x) * N;
            float v[N], g[N], k[N];
            if (c >= d) continue;
            load_vec<T, N>(x + c, v);
            load_vec<T, N>(dy + c, g);
            load_vec<W, N>(w + c, k);
#pragma unroll
            for (int e = 0; e < N; e++) {
                const float h = (v[e] - s.mean) * s.r;
                dw[i][e] += g[e] * h;
                if (CENTRED) db[i][e] += g[e];
                sum_g += g[e] * k[e];
                sum_gh += g[e] * k[e] * h;
            }
        }
        if (!dx) continue;
        const float mean_gh = block_sum(sum_gh, shared) / (float)d;
        const float mean_g = CENTRED ? block_sum(sum_g, shared) / (float)d : 0.0f;
#pragma unroll
        for (int i = 0; i < PER; i++) {
            const int64_t c = ((int64_t)threadIdx.x + (int64_t)i * blockDim.x) * N;
            float v[N], g[N], k[N], a[N];
            if (c >= d) continue;
            load_vec<T, N>(x + c, v);
            load_vec<T, N>(dy + c, g);
            load_vec<W, N>(w + c, k);
            if (res) load_vec<T, N>(res + c, a);
#pragma unroll
            for (int e = 0; e < N; e++) v[e] = s.r * (g[e] * k[e] - mean_g - (v[e] - s.mean) * s.r * mean_gh) + (res ? a[e] : 0.0f);
            store_vec<T, N>(dx + c, v);
        }
    }
    float *mine = partial + (int64_t)blockIdx.x * 2 * d;
#pragma unroll
    for (int i = 0; i < PER; i++) {
        const int64_t c = ((int64_t)threadIdx.x + (int64_t)i * blockDim.x) * N;
        if (c >= d) continue;
        store_vec<float, N>(mine + c, dw[i]);
        if (CENTRED) store_vec<float, N>(mine + d + c, db[i]);
    }
}

/* out[c] (+)= sum over blocks of partial[block][which][c]: a warp an element group, so that the few columns use the chip. */
template <class G> __global__ void add_partials(const float *partial, int blocks, int64_t d, int which, G *out, int add)
{
    const int64_t c = (int64_t)blockIdx.x * 32 + threadIdx.x;
    __shared__ float rows[8][33];
    float sum = 0;
    if (c < d)
        for (int b = threadIdx.y; b < blocks; b += 8) sum += partial[(int64_t)b * 2 * d + which * d + c];
    rows[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || c >= d) return;
    for (int k = 1; k < 8; k++) sum += rows[k][threadIdx.x];
    out[c] = from_float<G>(add ? to_float(out[c]) + sum : sum);
}

static float eps_of(const cuda_step *s) { return ((const co_attr_f32 *)s->op->attrs)->v; }
static int vectors_fit(const view *w, int64_t d) { return (uintptr_t)w->p % 16 == 0 && d % 8 == 0; }
static int threads_for(int64_t vectors) { return vectors >= MAX_THREADS ? MAX_THREADS : (int)((vectors + 31) / 32 * 32); }

template <class T, class W, bool CENTRED> static void forward(const cuda_step *s)
{
    const view *x = &s->in[0], *w = &s->in[1], *b = &s->in[2], *y = &s->out[0];
    const int64_t d = x->cols;
    const unsigned blocks = (unsigned)(x->rows < 1 << 20 ? x->rows : 1 << 20);
    if (aligned16(x) && aligned16(y) && vectors_fit(w, d) && vectors_fit(b, d))
        norm_forward<T, W, VEC<T>, CENTRED><<<blocks, threads_for(d / VEC<T>), 0, s->on>>>(*x, (const W *)w->p, (const W *)b->p, *y, x->rows, d, eps_of(s));
    else
        norm_forward<T, W, 1, CENTRED><<<blocks, threads_for(d), 0, s->on>>>(*x, (const W *)w->p, (const W *)b->p, *y, x->rows, d, eps_of(s));
}

template <class T, class W, int N, bool CENTRED> static void backward_rows(const cuda_step *s, unsigned blocks)
{
    const view *x = &s->in[0], *w = &s->in[1], *dy = &s->in[2], *res = &s->in[3], *dx = &s->out[0];
    const int64_t d = x->cols, per = (d / N + MAX_THREADS - 1) / MAX_THREADS;
    const int threads = threads_for(d / N);
#define ROWS(PER) norm_backward<T, W, N, PER, CENTRED><<<blocks, threads, 0, s->on>>>(*x, (const W *)w->p, *dy, *res, *dx, (float *)s->scratch, x->rows, d, eps_of(s))
    if (per <= 1) ROWS(1);
    else if (per <= 2) ROWS(2);
    else if (per <= 4) ROWS(4);
    else ROWS(32);
#undef ROWS
}

template <class T, class W, bool CENTRED> static void backward(const cuda_step *s)
{
    const view *x = &s->in[0], *w = &s->in[1], *dy = &s->in[2], *res = &s->in[3], *dx = &s->out[0];
    const int64_t d = x->cols, most = (int64_t)s->c->sms * BLOCKS_PER_SM;
    const unsigned blocks = (unsigned)(x->rows < most ? (x->rows ? x->rows : 1) : most);
    if (aligned16(x) && aligned16(dy) && aligned16(res) && aligned16(dx) && vectors_fit(w, d)) backward_rows<T, W, VEC<T>, CENTRED>(s, blocks);
    else backward_rows<T, W, 1, CENTRED>(s, blocks);
    for (int which = 0; which < (CENTRED ? 2 : 1); which++) {
        const view *g = &s->out[1 + which];
        if (!g->p) continue;
        WITH_TYPE(g->dtype, G, add_partials<G><<<(unsigned)((d + 31) / 32), dim3(32, 8), 0, s->on>>>((const float *)s->scratch, (int)blocks, d, which, (G *)g->p, g->add);)
    }
}

template <bool CENTRED> static int run_forward(const cuda_step *s)
{
    if (s->in[0].rows == 0) return CO_OK;
    WITH_TYPE(s->in[0].dtype, T, {
        if (s->in[1].dtype == CO_F32) forward<T, float, CENTRED>(s);
        else forward<T, T, CENTRED>(s);
    })
    return CO_OK;
}
template <bool CENTRED> static int run_backward(const cuda_step *s)
{
    WITH_TYPE(s->in[0].dtype, T, {
        if (s->in[1].dtype == CO_F32) backward<T, float, CENTRED>(s);
        else backward<T, T, CENTRED>(s);
    })
    return CO_OK;
}
extern "C" int cuda_run_RMSNORM(const cuda_step *s) { return run_forward<false>(s); }
extern "C" int cuda_run_LAYERNORM(const cuda_step *s) { return run_forward<true>(s); }
extern "C" int cuda_run_RMSNORM_BWD(const cuda_step *s) { return run_backward<false>(s); }
extern "C" int cuda_run_LAYERNORM_BWD(const cuda_step *s) { return run_backward<true>(s); }

/* A thread owns up to 32 vectors of a row in the backward. */
extern "C" const char *cuda_norm_refuses(const gpu *c, const co_plan *p, const co_step_op *op)
{
    (void)c;
    const int64_t d = p->values[op->in[0]].shape.ne[1];
    return d > (d % 8 ? 32 : 128) * MAX_THREADS ? "rows are wider than the CUDA norm kernels take (32768, or 8192 where not a multiple of 8)" : NULL;
}

extern "C" size_t cuda_norm_bwd_scratch(const gpu *c, const co_plan *p, const co_step_op *op)
{
    return (size_t)c->sms * BLOCKS_PER_SM * 2 * (size_t)p->values[op->in[0]].shape.ne[1] * sizeof(float);
}
