/* embedding_bwd.cu: dw[v] = sum of dy[t] over the tokens t with id v, in the order of the tokens, without atomics: the
 * same bits every time. Tokens are sorted by id (stable, CUB's radix sort), then one block adds up each id's run.
 *
 * Floor: dy read once, the touched rows of dw written (or read and written) once; storing also clears the other rows of
 * dw, which is most of it: vocabulary * d * sizeof(type). The sort of 16,384 pairs takes about 20 us on an H100. */
#include "device.cuh"
#include <cub/device/device_radix_sort.cuh>

#define THREADS 256

__global__ void number(int32_t *order, int64_t n)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n) order[i] = (int32_t)i;
}

template <class T, class G> __global__ void __launch_bounds__(THREADS) add_runs(const int32_t *ids, const int32_t *order, int64_t n, const T *dy, int64_t dy_stride,
                                                                               G *dw, int64_t dw_stride, int64_t vocab, int64_t cols, int add)
{
    const int64_t i = blockIdx.x;
    const int32_t id = ids[i];
    if ((i > 0 && ids[i - 1] == id) || id < 0 || id >= vocab) return;
    int64_t end = i + 1;
    while (end < n && ids[end] == id) end++;
    for (int64_t c = threadIdx.x; c < cols; c += THREADS) {
        float sum = 0;
        for (int64_t k = i; k < end; k++) sum += to_float(dy[(int64_t)order[k] * dy_stride + c]);
        G *at = dw + (int64_t)id * dw_stride + c;
        *at = from_float<G>(add ? to_float(*at) + sum : sum);
    }
}

/* Sorted ids, numbers of tokens before and after, and CUB's own. */
static size_t sort_bytes(int64_t n)
{
    size_t bytes = 0;
    (void)cub::DeviceRadixSort::SortPairs(nullptr, bytes, (const int32_t *)nullptr, (int32_t *)nullptr, (const int32_t *)nullptr, (int32_t *)nullptr, (int)n);
    return cuda_pad(bytes);
}
extern "C" size_t cuda_embedding_bwd_scratch(const gpu *c, const co_plan *p, const co_step_op *op)
{
    const int64_t n = p->values[op->in[0]].shape.ne[0];
    (void)c;
    return 3 * cuda_pad((size_t)n * 4) + sort_bytes(n);
}

template <class T, class G> static void launch(const cuda_step *s, const int32_t *ids, const int32_t *order)
{
    const view *dy = &s->in[1], *dw = &s->out[0];
    add_runs<T, G><<<(unsigned)dy->rows, THREADS, 0, s->on>>>(ids, order, dy->rows, (const T *)dy->p, dy->stride, (G *)dw->p, dw->stride, dw->rows,
                                                              dw->cols, dw->add);
}

extern "C" int cuda_run_EMBEDDING_BWD(const cuda_step *s)
{
    const view *ids = &s->in[0], *dw = &s->out[0];
    const int64_t n = ids->rows, capacity = s->values[s->op->in[0]].shape.ne[0];
    const size_t e = co_dtype_bytes(dw->dtype), step = cuda_pad((size_t)capacity * 4);
    if (!dw->p) return CO_OK;
    if (!dw->add) {
        const int r = cuda_check(s->c, cudaMemset2DAsync(dw->p, (size_t)dw->stride * e, 0, (size_t)dw->cols * e, (size_t)dw->rows, s->on), "zeros");
        if (r) return r;
    }
    if (n == 0) return CO_OK;
    int32_t *sorted = (int32_t *)s->scratch, *before = (int32_t *)(s->scratch + step), *after = (int32_t *)(s->scratch + 2 * step);
    size_t bytes = sort_bytes(capacity);
    number<<<(unsigned)((n + THREADS - 1) / THREADS), THREADS, 0, s->on>>>(before, n);
    const int r = cuda_check(s->c, cub::DeviceRadixSort::SortPairs(s->scratch + 3 * step, bytes, (const int32_t *)ids->p, sorted, before, after, (int)n, 0, 32, s->on),
                             "sorting token ids");
    if (r) return r;
    WITH_TYPE(s->in[1].dtype, T, WITH_TYPE(dw->dtype, G, (launch<T, G>(s, sorted, after));))
    return CO_OK;
}
