/* norm.cu: RMSNorm (Zhang & Sennrich 2019) and LayerNorm (Ba et al. 2016), statistics in fp32; norm_bwd.cu: their gradients.
 *
 *   y = (x - mean) r w (+ b), r = rsqrt(var + eps); RMSNorm: mean = 0, var = mean(x^2)
 *
 * Floor: x read and y written once. A block takes whole rows, in registers; of rows too wide for that, the second look finds the row in
 * the L1 cache. */
#include "norm.cuh"

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

/* The same with the row held in registers, PER vectors a thread: it is read once, and the weights are on their way before the kernel in
 * front has ended (device.cuh), if they are parameters, which no kernel of a pass writes. */
template <class T, class W, int N, int PER, bool CENTRED> __global__ void __launch_bounds__(MAX_THREADS)
    norm_forward_held(rows_of<const T> xs, const W *w, const W *b, rows_of<T> ys, int64_t d, float eps, int constant)
{
    __shared__ float shared[33];
    pack<W, N> k[PER], a[PER];
    float v[PER][N], sum = 0;
    allow_next();
    if (!constant) await_previous();
#pragma unroll
    for (int i = 0; i < PER; i++) {
        const int64_t c = ((int64_t)threadIdx.x + (int64_t)i * blockDim.x) * N;
        if (c >= d) continue;
        k[i] = *reinterpret_cast<const pack<W, N> *>(w + c);
        if (CENTRED && b) a[i] = *reinterpret_cast<const pack<W, N> *>(b + c);
    }
    if (constant) await_previous();
    const T *x = xs.row(blockIdx.x);
    T *y = ys.row(blockIdx.x);
#pragma unroll
    for (int i = 0; i < PER; i++) {
        const int64_t c = ((int64_t)threadIdx.x + (int64_t)i * blockDim.x) * N;
#pragma unroll
        for (int e = 0; e < N; e++) v[i][e] = 0;
        if (c < d) load_vec<T, N>(x + c, v[i]);
    }
    float mean = 0;
    if (CENTRED) {
#pragma unroll
        for (int i = 0; i < PER; i++)
#pragma unroll
            for (int e = 0; e < N; e++) sum += v[i][e];
        mean = block_sum(sum, shared) / (float)d;
        sum = 0;
    }
#pragma unroll
    for (int i = 0; i < PER; i++)
#pragma unroll
        for (int e = 0; e < N; e++)
            if (((int64_t)threadIdx.x + (int64_t)i * blockDim.x) * N < d) sum += (v[i][e] - mean) * (v[i][e] - mean);
    const float r = rsqrtf(block_sum(sum, shared) / (float)d + eps);
#pragma unroll
    for (int i = 0; i < PER; i++) {
        const int64_t c = ((int64_t)threadIdx.x + (int64_t)i * blockDim.x) * N;
        if (c >= d) continue;
#pragma unroll
        for (int e = 0; e < N; e++) v[i][e] = (v[i][e] - mean) * r * to_float(k[i].v[e]) + (CENTRED && b ? to_float(a[i].v[e]) : 0.0f);
        store_vec<T, N>(y + c, v[i]);
    }
}

template <class T, class W, bool CENTRED> static void forward(const cuda_step *s)
{
    const view *x = &s->in[0], *w = &s->in[1], *b = &s->in[2], *y = &s->out[0];
    const int64_t d = x->cols;
    const unsigned blocks = (unsigned)(x->rows < 1 << 20 ? x->rows : 1 << 20);
    const int64_t per = (d / VEC<T> + MAX_THREADS - 1) / MAX_THREADS;
    const int constant = s->values[s->op->in[1]].region == CO_REGION_PARAM && (!b->p || s->values[s->op->in[2]].region == CO_REGION_PARAM);
    if (aligned16(x) && aligned16(y) && vectors_fit(w, d) && vectors_fit(b, d) && per <= 4 && blocks == x->rows) {
#define HELD(PER) launch_early(s->c, s->on, norm_forward_held<T, W, VEC<T>, PER, CENTRED>, blocks, threads_for(d / VEC<T>), *x, (const W *)w->p, (const W *)b->p, *y, d, eps_of(s), constant)
        if (per <= 1) HELD(1);
        else if (per <= 2) HELD(2);
        else HELD(4);
#undef HELD
    } else if (aligned16(x) && aligned16(y) && vectors_fit(w, d) && vectors_fit(b, d))
        norm_forward<T, W, VEC<T>, CENTRED><<<blocks, threads_for(d / VEC<T>), 0, s->on>>>(*x, (const W *)w->p, (const W *)b->p, *y, x->rows, d, eps_of(s));
    else
        norm_forward<T, W, 1, CENTRED><<<blocks, threads_for(d), 0, s->on>>>(*x, (const W *)w->p, (const W *)b->p, *y, x->rows, d, eps_of(s));
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
extern "C" int cuda_run_RMSNORM(const cuda_step *s) { return run_forward<false>(s); }
extern "C" int cuda_run_LAYERNORM(const cuda_step *s) { return run_forward<true>(s); }
