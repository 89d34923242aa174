/* rope.cu: rotary positions (Su et al. 2021, eq. 34): the pair (a, b) at position p turns by p f_i; the backward turns
 * back. Floor: x read and written once. The angle p f_i reaches 1e5: it is formed and reduced in double, as the tables of
 * the CPU backend are, in a block's shared memory once for all heads of a token. fuse.c joins queries and keys into one launch. */
#include "device.cuh"

#define THREADS 128
#define MAX_PAIRS 256
#define TAU 6.283185307179586476925

struct turning { double freq[MAX_PAIRS]; };

/* Queries, and keys beside them: blockIdx.y says which. */
template <class T> struct sides {
    rows_of<const T> x[2];
    rows_of<T> y[2];
    int heads[2];
};

/* By pair, on the host; formulas as in backends/ref/ops/rope.c. */
static double frequency(const co_rope *a, double dims, int i)
{
    const double f = pow((double)a->theta, -2.0 * i / dims);
    if (a->scaling == CO_ROPE_LINEAR) return f / a->factor;
    if (a->scaling != CO_ROPE_LLAMA3) return f;
    const double turns = a->original_context * f / TAU;
    if (turns > a->high_freq_factor) return f;
    if (turns < a->low_freq_factor) return f / a->factor;
    const double smooth = (turns - a->low_freq_factor) / ((double)a->high_freq_factor - a->low_freq_factor);
    return (1 - smooth) * f / a->factor + smooth * f;
}

/* cos and dir * sin of the token's angles, for the whole block: fp32 of an angle within a turn. */
__device__ inline void fill_table(float2 *cs, int pairs, int32_t pos, const turning &turn, double dir)
{
    for (int i = threadIdx.x; i < pairs; i += THREADS) {
        const double angle = (double)pos * turn.freq[i];
        float s, c;
        sincosf((float)(angle - TAU * rint(angle / TAU)), &s, &c);
        cs[i] = make_float2(c, (float)dir * s);
    }
    __syncthreads();
}

template <class T> __global__ void __launch_bounds__(THREADS)
    rotate(const __grid_constant__ sides<T> s, const int32_t *pos, const __grid_constant__ turning turn, int hd, int dims, int neox, double dir)
{
    __shared__ float2 cs[MAX_PAIRS];
    const int64_t t = blockIdx.x;
    const int pairs = dims / 2, heads = s.heads[blockIdx.y];
    allow_next();
    await_previous();
    fill_table(cs, pairs, pos[t], turn, dir);
    const T *x = s.x[blockIdx.y].row(t);
    T *y = s.y[blockIdx.y].row(t);
    for (int i = threadIdx.x; i < heads * pairs; i += THREADS) {
        const int h = i / pairs, k = i - h * pairs;
        const int a = h * hd + (neox ? k : 2 * k), b = h * hd + (neox ? k + pairs : 2 * k + 1);
        const float u = to_float(x[a]), v = to_float(x[b]);
        y[a] = from_float<T>(u * cs[k].x - v * cs[k].y);
        y[b] = from_float<T>(u * cs[k].y + v * cs[k].x);
    }
    if (x == y) return;
    for (int i = threadIdx.x; i < heads * (hd - dims); i += THREADS) {
        const int c = i / (hd - dims) * hd + dims + i % (hd - dims);
        y[c] = x[c];
    }
}

/* Half-split pairs (neox), 16 bytes of each half a thread: the case of LLaMA and its kin. */
template <class T> __global__ void __launch_bounds__(THREADS)
    rotate_vec(const __grid_constant__ sides<T> s, const int32_t *pos, const __grid_constant__ turning turn, int hd, double dir)
{
    constexpr int N = VEC<T>;
    __shared__ float2 cs[MAX_PAIRS];
    const int64_t t = blockIdx.x;
    const int pairs = hd / 2, per_head = pairs / N, heads = s.heads[blockIdx.y];
    allow_next();
    await_previous();
    const T *x = s.x[blockIdx.y].row(t);
    T *y = s.y[blockIdx.y].row(t);
    fill_table(cs, pairs, pos[t], turn, dir);
    for (int i = threadIdx.x; i < heads * per_head; i += THREADS) {
        const int h = i / per_head, k = (i - h * per_head) * N;
        float u[N], v[N], a[N], b[N];
        load_vec<T, N>(x + h * hd + k, u);
        load_vec<T, N>(x + h * hd + pairs + k, v);
#pragma unroll
        for (int e = 0; e < N; e++) {
            a[e] = u[e] * cs[k + e].x - v[e] * cs[k + e].y;
            b[e] = u[e] * cs[k + e].y + v[e] * cs[k + e].x;
        }
        store_vec<T, N>(y + h * hd + k, a);
        store_vec<T, N>(y + h * hd + pairs + k, b);
    }
}

static int turn(const cuda_step *s, double dir)
{
    const co_rope *a = (const co_rope *)s->op->attrs;
    const view *x = &s->in[0], *pos = &s->in[1], *y = &s->out[0], *x2 = s->twin ? &s->twin_in : x, *y2 = s->twin ? &s->twin_out : y;
    const int hd = (int)(x->cols / a->n_heads), dims = a->rotary_dims ? (int)a->rotary_dims : hd;
    turning k;
    if (x->rows == 0) return CO_OK;
    for (int i = 0; i < dims / 2; i++) k.freq[i] = frequency(a, dims, i);
    const dim3 blocks((unsigned)x->rows, s->twin ? 2 : 1);
    WITH_TYPE(x->dtype, T, {
        const sides<T> both = {{*x, *x2}, {*y, *y2}, {(int)(x->cols / hd), (int)(x2->cols / hd)}};
        if (a->neox && dims == hd && dims / 2 % VEC<T> == 0 && aligned16(x) && aligned16(y) && aligned16(x2) && aligned16(y2))
            launch_early(s->c, s->on, rotate_vec<T>, blocks, THREADS, both, (const int32_t *)pos->p, k, hd, dir);
        else
            launch_early(s->c, s->on, rotate<T>, blocks, THREADS, both, (const int32_t *)pos->p, k, hd, dims, (int)a->neox, dir);
    })
    return CO_OK;
}
extern "C" int cuda_run_ROPE(const cuda_step *s) { return turn(s, 1); }
extern "C" int cuda_run_ROPE_BWD(const cuda_step *s) { return turn(s, -1); }

extern "C" const char *cuda_rope_refuses(const gpu *c, const co_plan *p, const co_step_op *op)
{
    const co_rope *a = (const co_rope *)op->attrs;
    (void)c;
    if (a->scaling == CO_ROPE_YARN) return "YaRN scaling has no CUDA kernel";
    const int64_t dims = a->rotary_dims ? a->rotary_dims : p->values[op->in[0]].shape.ne[1] / a->n_heads;
    return dims / 2 > MAX_PAIRS ? "heads are wider than 512" : NULL;
}
