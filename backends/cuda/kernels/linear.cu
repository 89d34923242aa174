/* linear.cu: products of tokens and weights (cuBLASLt), and the bias's gradient.
 * Floor: 2 tokens n k operations each. */
#include "device.cuh"

template <class S, class D> __global__ void cast_bias(const S *b, D *out, int64_t n)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = from_float<D>(to_float(b[i]));
}
/* y = alpha x w^T + b + residual. The epilogue takes a bias of y's type: one of another is rounded to it first. */
extern "C" int cuda_run_LINEAR(const cuda_step *s)
{
    const view *x = &s->in[0], *w = &s->in[1], *b = &s->in[2], *y = &s->out[0], *r = &s->residual;
    const void *bias = b->p;
    if (bias && b->dtype != y->dtype) {
        void *rounded = s->scratch + GEMM_WORKSPACE;
        const unsigned blocks = (unsigned)((w->rows + 255) / 256);
        WITH_TYPE(b->dtype, S, WITH_TYPE(y->dtype, D, (cast_bias<S, D><<<blocks, 256, 0, s->on>>>((const S *)b->p, (D *)rounded, w->rows));))
        bias = rounded;
    }
    const gemm g = {.m = x->rows, .n = w->rows, .k = x->cols, .a = x->p, .b = w->p, .c = r->p, .bias = bias, .d = y->p, .lda = x->stride,
                    .ldb = w->stride, .ldc = r->stride, .ldd = y->stride, .ta = 0, .tb = 1, .in = x->dtype, .in_b = w->dtype, .out = y->dtype, .alpha = s->alpha,
                    .beta = r->p ? 1.0f : 0.0f};
    return gemm_run(s->c, &g, s->scratch, s->on);
}
/* dx = alpha dy w + residual */
extern "C" int cuda_run_LINEAR_BWD_X(const cuda_step *s)
{
    const view *dy = &s->in[0], *w = &s->in[1], *dx = &s->out[0], *r = &s->residual;
    const gemm g = {.m = dy->rows, .n = w->cols, .k = w->rows, .a = dy->p, .b = w->p, .c = r->p, .bias = nullptr, .d = dx->p, .lda = dy->stride,
                    .ldb = w->stride, .ldc = r->stride, .ldd = dx->stride, .ta = 0, .tb = 0, .in = dy->dtype, .in_b = w->dtype, .out = dx->dtype, .alpha = s->alpha,
                    .beta = r->p ? 1.0f : 0.0f};
    return gemm_run(s->c, &g, s->scratch, s->on);
}
/* dw (+)= dy^T x */
extern "C" int cuda_run_LINEAR_BWD_W(const cuda_step *s)
{
    const view *x = &s->in[0], *dy = &s->in[1], *dw = &s->out[0];
    if (!dw->p) return CO_OK;
    if (x->rows == 0) {
        const size_t e = co_dtype_bytes(dw->dtype);
        return dw->add ? CO_OK : cuda_check(s->c, cudaMemset2DAsync(dw->p, (size_t)dw->stride * e, 0, (size_t)dw->cols * e, (size_t)dw->rows, s->on), "zeros");
    }
    const gemm g = {.m = dw->rows, .n = dw->cols, .k = x->rows, .a = dy->p, .b = x->p, .c = dw->add ? dw->p : nullptr, .bias = nullptr, .d = dw->p,
                    .lda = dy->stride, .ldb = x->stride, .ldc = dw->stride, .ldd = dw->stride, .ta = 1, .tb = 0, .in = dy->dtype, .in_b = x->dtype, .out = dw->dtype,
                    .alpha = 1, .beta = dw->add ? 1.0f : 0.0f};
    return gemm_run(s->c, &g, s->scratch, s->on);
}
extern "C" size_t cuda_linear_scratch(const gpu *c, const co_plan *p, const co_step_op *op)
{
    (void)c;
    const int bias = op->op == CO_OP_LINEAR && op->n_in > 2 && op->in[2] != CO_NONE;
    return GEMM_WORKSPACE + (bias ? cuda_pad((size_t)p->values[op->in[1]].shape.ne[0] * sizeof(float)) : 0);
}

/* db (+)= sum over tokens of dy: strips of tokens a block, added up in the order of the strips. Floor: dy read once. */
#define STRIPS 64
/* N columns a thread; 32 x N columns and 8 rows at a time a block. */
template <class T, int N> __global__ void __launch_bounds__(256) column_strips(const T *dy, int64_t stride, int64_t rows, int64_t cols, float *partial)
{
    const int64_t c = ((int64_t)blockIdx.x * 32 + threadIdx.x) * N;
    const int64_t from = rows * blockIdx.y / STRIPS, to = rows * (blockIdx.y + 1) / STRIPS;
    __shared__ float part[8][32 * N];
    float sum[N] = {};
    if (c < cols)
        for (int64_t t = from + threadIdx.y; t < to; t += 8) {
            float v[N];
            load_vec<T, N>(dy + t * stride + c, v);
#pragma unroll
            for (int e = 0; e < N; e++) sum[e] += v[e];
        }
#pragma unroll
    for (int e = 0; e < N; e++) part[threadIdx.y][e * 32 + threadIdx.x] = sum[e];
    __syncthreads();
    if (threadIdx.y || c >= cols) return;
    for (int k = 1; k < 8; k++)
#pragma unroll
        for (int e = 0; e < N; e++) sum[e] += part[k][e * 32 + threadIdx.x];
    store_vec<float, N>(partial + blockIdx.y * cols + c, sum);
}
template <class G> __global__ void add_strips(const float *partial, int64_t cols, G *out, int add)
{
    const int64_t c = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= cols) return;
    float sum = 0;
    for (int k = 0; k < STRIPS; k++) sum += partial[k * cols + c];
    out[c] = from_float<G>(add ? to_float(out[c]) + sum : sum);
}
extern "C" size_t cuda_bias_scratch(const gpu *c, const co_plan *p, const co_step_op *op)
{
    (void)c;
    return STRIPS * (size_t)p->values[op->in[0]].shape.ne[1] * sizeof(float);
}
extern "C" int cuda_run_LINEAR_BWD_B(const cuda_step *s)
{
    const view *dy = &s->in[0], *db = &s->out[0];
    float *partial = (float *)s->scratch;
    if (!db->p) return CO_OK;
    WITH_TYPE(dy->dtype, T, {
        if (aligned16(dy) && dy->cols % 8 == 0)
            column_strips<T, VEC<T>><<<dim3((unsigned)((dy->cols + 32 * VEC<T> - 1) / (32 * VEC<T>)), STRIPS), dim3(32, 8), 0, s->on>>>((const T *)dy->p, dy->stride, dy->rows, dy->cols, partial);
        else
            column_strips<T, 1><<<dim3((unsigned)((dy->cols + 31) / 32), STRIPS), dim3(32, 8), 0, s->on>>>((const T *)dy->p, dy->stride, dy->rows, dy->cols, partial);
    })
    WITH_TYPE(db->dtype, G, add_strips<G><<<(unsigned)((dy->cols + 255) / 256), 256, 0, s->on>>>(partial, dy->cols, (G *)db->p, db->add);)
    return CO_OK;
}
