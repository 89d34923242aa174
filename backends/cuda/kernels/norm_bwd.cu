/* norm_bwd.cu: gradients of RMSNorm and LayerNorm (norm.cu).
 *
 *   g = dy w, h = (x - mean) r;  dx = r (g - mean(g) - h mean(g h)) (+ res);  dw = sum_t dy h;  db = sum_t dy
 *   (RMSNorm: without mean(g))
 *
 * Floor: x, dy (and res) read and dx written once. A block, or a warp of it, goes over many rows and keeps its columns' share of dw and db in
 * registers; shares are added up by a second kernel in the order of the blocks: no atomics, the same bits every time. */
#include "norm.cuh"

#define BLOCKS_PER_SM 4

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

/* Rows of up to NARROW elements: a warp a row, held in registers as it was stored, so that nothing is read twice and no barrier stands
 * between rows. Three sums over the row are taken at once behind the mean: of (x - mean)^2, g and g (x - mean). A block's eight warps put
 * their shares of dw and db together in the order of the warps. */
#define NARROW 1024
template <class T, class W, int N, bool CENTRED> __global__ void __launch_bounds__(256, 1)
    norm_backward_narrow(rows_of<const T> xs, const W *w, rows_of<const T> dys, rows_of<const T> ress, rows_of<T> dxs, float *partial, int64_t rows, int64_t d, float eps)
{
    constexpr int PER = NARROW / 32 / N;
    __shared__ __align__(32) float share[8][NARROW];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    float dw[PER][N] = {}, db[CENTRED ? PER : 1][N] = {};
    for (int64_t t = (int64_t)blockIdx.x * 8 + warp; t < rows; t += (int64_t)gridDim.x * 8) {
        pack<T, N> x[PER], dy[PER], res[PER];
        float mean = 0, sum = 0, sum_g = 0, sum_gx = 0;
#pragma unroll
        for (int i = 0; i < PER; i++) {
            const int64_t c = ((int64_t)lane + i * 32) * N;
            if (c >= d) continue;
            x[i] = *reinterpret_cast<const pack<T, N> *>(xs.row(t) + c);
            dy[i] = *reinterpret_cast<const pack<T, N> *>(dys.row(t) + c);
            if (ress.p && dxs.p) res[i] = *reinterpret_cast<const pack<T, N> *>(ress.row(t) + c);
        }
        if (CENTRED) {
#pragma unroll
            for (int i = 0; i < PER; i++)
#pragma unroll
                for (int e = 0; e < N; e++)
                    if (((int64_t)lane + i * 32) * N < d) mean += to_float(x[i].v[e]);
            mean = warp_sum(mean) / (float)d;
        }
#pragma unroll
        for (int i = 0; i < PER; i++) {
            const int64_t c = ((int64_t)lane + i * 32) * N;
            float k[N];
            if (c >= d) continue;
            load_vec<W, N>(w + c, k);
#pragma unroll
            for (int e = 0; e < N; e++) {
                const float u = to_float(x[i].v[e]) - mean, g = to_float(dy[i].v[e]) * k[e];
                sum += u * u, sum_gx += g * u;
                if (CENTRED) sum_g += g;
            }
        }
        const float r = rsqrtf(warp_sum(sum) / (float)d + eps), mean_gh = warp_sum(sum_gx) * r / (float)d;
        const float mean_g = CENTRED ? warp_sum(sum_g) / (float)d : 0.0f;
#pragma unroll
        for (int i = 0; i < PER; i++) {
            const int64_t c = ((int64_t)lane + i * 32) * N;
            float k[N], v[N];
            if (c >= d) continue;
            load_vec<W, N>(w + c, k);
#pragma unroll
            for (int e = 0; e < N; e++) {
                const float h = (to_float(x[i].v[e]) - mean) * r, g = to_float(dy[i].v[e]);
                dw[i][e] += g * h;
                if (CENTRED) db[i][e] += g;
                v[e] = r * (g * k[e] - mean_g - h * mean_gh) + (ress.p && dxs.p ? to_float(res[i].v[e]) : 0.0f);
            }
            if (dxs.p) store_vec<T, N>(dxs.row(t) + c, v);
        }
    }
    float *mine = partial + (int64_t)blockIdx.x * 2 * d;
    for (int which = 0; which < (CENTRED ? 2 : 1); which++) {
        __syncthreads();
#pragma unroll
        for (int i = 0; i < PER; i++) store_vec<float, N>(&share[warp][(lane + i * 32) * N], which ? db[CENTRED ? i : 0] : dw[i]);
        __syncthreads();
        for (int c = threadIdx.x; c < d; c += 256) {
            float sum = 0;
#pragma unroll
            for (int k = 0; k < 8; k++) sum += share[k][c];
            mine[which * d + c] = sum;
        }
    }
}

/* out[c] (+)= sum over blocks of partial[block][which][c], which = blockIdx.y: a warp an element group, so that the few columns use the chip. */
template <class G> __global__ void add_partials(const float *partial, int blocks, int64_t d, G *dw, G *db, int add_dw, int add_db)
{
    const int64_t c = (int64_t)blockIdx.x * 32 + threadIdx.x;
    const int which = blockIdx.y, add = which ? add_db : add_dw;
    G *out = which ? db : dw;
    allow_next();
    await_previous();
    if (!out) return;
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
    unsigned blocks = (unsigned)(x->rows < most ? (x->rows ? x->rows : 1) : most);
    const bool vectors = aligned16(x) && aligned16(dy) && aligned16(res) && aligned16(dx) && vectors_fit(w, d);
    if (vectors && d <= NARROW) {
        const int64_t wanted = (x->rows + 7) / 8; /* eight warps with all registers, one block a multiprocessor: 48 KB in flight on each */
        blocks = (unsigned)(wanted < 1 ? 1 : wanted < s->c->sms ? wanted : s->c->sms);
        norm_backward_narrow<T, W, VEC<T>, CENTRED><<<blocks, 256, 0, s->on>>>(*x, (const W *)w->p, *dy, *res, *dx, (float *)s->scratch, x->rows, d, eps_of(s));
    } else if (vectors) {
        backward_rows<T, W, VEC<T>, CENTRED>(s, blocks);
    } else {
        backward_rows<T, W, 1, CENTRED>(s, blocks);
    }
    const view *dw = &s->out[1], *db = &s->out[2];
    for (int which = 0; which < (CENTRED ? 2 : 1); which++) { /* both at once, or those there are */
        const bool both = dw->p && db->p && dw->dtype == db->dtype;
        const view *g = which ? db : dw;
        if (!g->p || (which && both)) continue;
        const dim3 grid((unsigned)((d + 31) / 32), both || which ? 2 : 1);
        WITH_TYPE(g->dtype, G, launch_early(s->c, s->on, add_partials<G>, grid, dim3(32, 8), (const float *)s->scratch, (int)blocks, d, (G *)(which ? nullptr : dw->p),
                                            (G *)(both || which ? db->p : nullptr), (int)dw->add, (int)db->add);)
    }
}

template <bool CENTRED> static int run_backward(const cuda_step *s)
{
    WITH_TYPE(s->in[0].dtype, T, {
        if (s->in[1].dtype == CO_F32) backward<T, float, CENTRED>(s);
        else backward<T, T, CENTRED>(s);
    })
    return CO_OK;
}
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
