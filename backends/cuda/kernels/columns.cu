/* columns.cu: copies of columns and rows, embeddings, integer ids, zeros. Floor: bytes read and written once. */
#include "device.cuh"

#define THREADS 256

/* ---- columns side by side ------------------------------------------------------------------------------------- */
template <class T> __global__ void copy_columns(const T *from, int64_t from_stride, T *to, int64_t to_stride, int64_t rows, int64_t cols)
{
    const int64_t total = rows * cols;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < total; i += (int64_t)gridDim.x * THREADS) {
        const int64_t r = i / cols, c = i - r * cols;
        to[r * to_stride + c] = from[r * from_stride + c];
    }
}
static void copy_part(const cuda_step *s, const view *from, int64_t from_col, const view *to, int64_t to_col, int64_t cols)
{
    if (to->rows * cols == 0 || !to->p) return;
    WITH_TYPE(to->dtype, T, {
        const T *a = (const T *)from->p + from_col;
        T *b = (T *)to->p + to_col;
        if (a == b && from->stride == to->stride) return;
        copy_columns<T><<<grid_for(to->rows * cols, THREADS, (unsigned)s->c->sms * 16), THREADS, 0, s->on>>>(a, from->stride, b, to->stride, to->rows, cols);
    })
}
extern "C" int cuda_run_CONCAT(const cuda_step *s)
{
    int64_t at = 0;
    for (uint32_t i = 0; i < s->op->n_in; at += s->in[i++].cols) copy_part(s, &s->in[i], 0, &s->out[0], at, s->in[i].cols);
    return CO_OK;
}
extern "C" int cuda_run_SPLIT(const cuda_step *s)
{
    int64_t at = 0;
    for (uint32_t i = 0; i < s->op->n_out; at += s->out[i++].cols) copy_part(s, &s->in[0], at, &s->out[i], 0, s->out[i].cols);
    return CO_OK;
}
extern "C" int cuda_run_FILL0(const cuda_step *s)
{
    const view *v = &s->out[0];
    const size_t e = co_dtype_bytes(v->dtype);
    if (!v->p || v->rows * v->cols == 0) return CO_OK;
    return cuda_check(s->c, cudaMemset2DAsync(v->p, (size_t)v->stride * e, 0, (size_t)v->cols * e, (size_t)v->rows, s->on), "zeros");
}

/* ---- rows by number: embedding [V,d] by ids, row_gather [T,d] by rows ------------------------------------------- */
template <class T, int N> __global__ void gather(const T *w, int64_t w_stride, const int32_t *ids, T *y, int64_t y_stride, int64_t rows, int64_t cols)
{
    const int64_t per_row = cols / N, total = rows * per_row;
    allow_next();
    await_previous();
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < total; i += (int64_t)gridDim.x * THREADS) {
        const int64_t r = i / per_row, c = (i - r * per_row) * N;
        *reinterpret_cast<pack<T, N> *>(y + r * y_stride + c) = *reinterpret_cast<const pack<T, N> *>(w + (int64_t)ids[r] * w_stride + c);
    }
}
static int gather_rows(const cuda_step *s, const view *w, const view *ids, const view *y)
{
    if (y->rows * y->cols == 0) return CO_OK;
    WITH_TYPE(y->dtype, T, {
        const unsigned most = (unsigned)s->c->sms * 16;
        if (aligned16(w) && aligned16(y) && y->cols % VEC<T> == 0)
            launch_early(s->c, s->on, gather<T, VEC<T>>, grid_for(y->rows * y->cols / VEC<T>, THREADS, most), THREADS, (const T *)w->p, w->stride,
                         (const int32_t *)ids->p, (T *)y->p, y->stride, y->rows, y->cols);
        else
            launch_early(s->c, s->on, gather<T, 1>, grid_for(y->rows * y->cols, THREADS, most), THREADS, (const T *)w->p, w->stride, (const int32_t *)ids->p,
                         (T *)y->p, y->stride, y->rows, y->cols);
    })
    return CO_OK;
}
extern "C" int cuda_run_EMBEDDING(const cuda_step *s) { return gather_rows(s, &s->in[1], &s->in[0], &s->out[0]); }
extern "C" int cuda_run_ROW_GATHER(const cuda_step *s) { return gather_rows(s, &s->in[0], &s->in[1], &s->out[0]); }

/* dx[t] = sum of dy[r] over the rows r that name t, in order: a block a token, which first looks whether any does. */
template <class T> __global__ void __launch_bounds__(THREADS) gather_bwd(const T *dy, int64_t dy_stride, const int32_t *rows, int64_t n, T *dx, int64_t dx_stride, int64_t cols)
{
    const int32_t t = (int32_t)blockIdx.x;
    int mine = 0;
    for (int64_t r = threadIdx.x; r < n; r += THREADS) mine |= rows[r] == t;
    const int any = __syncthreads_or(mine);
    for (int64_t c = threadIdx.x; c < cols; c += THREADS) {
        float sum = 0;
        for (int64_t r = 0; any && r < n; r++)
            if (rows[r] == t) sum += to_float(dy[r * dy_stride + c]);
        dx[t * dx_stride + c] = from_float<T>(sum);
    }
}
extern "C" int cuda_run_ROW_GATHER_BWD(const cuda_step *s)
{
    const view *dy = &s->in[0], *rows = &s->in[1], *dx = &s->out[0];
    if (!dx->p || dx->rows == 0) return CO_OK;
    WITH_TYPE(dx->dtype, T, gather_bwd<T><<<(unsigned)dx->rows, THREADS, 0, s->on>>>((const T *)dy->p, dy->stride, (const int32_t *)rows->p,
                                                                                     rows->rows, (T *)dx->p, dx->stride, dx->cols);)
    return CO_OK;
}

__global__ void shift_ids(const int32_t *x, int32_t *y, int64_t n, int32_t by)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n) y[i] = x[i] + by;
}
extern "C" int cuda_run_SHIFT_IDS(const cuda_step *s)
{
    const int64_t n = s->in[0].rows;
    if (n)
        shift_ids<<<(unsigned)((n + THREADS - 1) / THREADS), THREADS, 0, s->on>>>((const int32_t *)s->in[0].p, (int32_t *)s->out[0].p, n,
                                                                                 ((const co_attr_i32 *)s->op->attrs)->v);
    return CO_OK;
}
