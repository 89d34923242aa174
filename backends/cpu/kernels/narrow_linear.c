/* narrow_linear.c: products with bf16 or fp16 operands. Panels of weights and blocks of tokens are widened into the scratch,
 * multiplied in fp32 and rounded once: a step in bf16 takes 1.09 of one in fp32 (15M parameters, 2048 tokens, 2 threads, AMD
 * EPYC), and no operand is widened whole. With one row, as in decoding, weights go from their 16 bits straight into the sums:
 * half the bytes of fp32, 10.5 against 6.2 billion weights a second (2 threads, AMD EPYC, [150000, 1024]). */
#include "kernels.h"
#include "../half.h"

#define BLOCK 512 /* tokens of a block, rows of a panel of weights */
#define FEW 8     /* rows up to which weights are not widened into memory */
#define RUN 512   /* elements widened at a time then */

static uint32_t type_in(const cpu_step *s, int i) { return s->values[s->op->in[i]].shape.dtype; }
static uint32_t type_out(const cpu_step *s, int i) { return s->values[s->op->out[i]].shape.dtype; }
static int64_t pad(int64_t n) { return (n + 63) & ~(int64_t)63; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static const char *row_of(const view *v, uint32_t type, int64_t r, int64_t c)
{
    return (const char *)(const void *)v->p + (size_t)(r * v->stride + c) * co_dtype_bytes(type);
}

/* The widths of weights, w[n, k], and the tokens of a line. */
static void sizes(const co_plan_value *values, const co_step_op *op, int64_t *n, int64_t *k, int64_t *tokens)
{
    const co_tensor *w = &values[op->op == CO_OP_LINEAR_BWD_W ? op->out[0] : op->in[1]].shape;
    *n = w->ne[0], *k = w->ne[1], *tokens = values[op->in[0]].shape.ne[0];
}

/* Scratch: a block [tokens, k], a panel [n, k], a block [tokens, n], k of them for the bias. */
size_t k_narrow_linear_scratch(const cpu *c, const co_plan *p, const co_step_op *op)
{
    int64_t n, k, tokens;
    (void)c;
    sizes(p->values, op, &n, &k, &tokens);
    tokens = least(tokens, BLOCK), n = least(n, BLOCK);
    return (size_t)(pad(tokens * k) + pad(n * k) + pad(tokens * n)) * sizeof(float);
}

/* Columns [c, c + cols) of rows [r, r + rows) to and from dense fp32. */
static void widen(const cpu_step *s, const view *v, uint32_t type, int64_t r, int64_t rows, int64_t c, int64_t cols, float *to)
{
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t i = 0; i < rows; i++) k_widen(to + i * cols, row_of(v, type, r + i, c), type, cols);
}
static void narrow(const cpu_step *s, const view *v, uint32_t type, int64_t r, int64_t rows, int64_t c, int64_t cols, const float *from)
{
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t i = 0; i < rows; i++) k_narrow((char *)(uintptr_t)row_of(v, type, r + i, c), type, from + i * cols, cols);
}

/* Sums in four vectors: one would wait for itself. `AS` makes fp32 of an element. */
#define DOT(name, T, AS)                                                                          \
    static float name(const T *a, const float *b, int64_t n)                                      \
    {                                                                                             \
        float part[4][8] = {{0}}, sum = 0;                                                        \
        int64_t i = 0;                                                                            \
        for (; i + 32 <= n; i += 32)                                                              \
            for (int v = 0; v < 4; v++)                                                           \
                for (int k = 0; k < 8; k++) part[v][k] += AS(a[i + v * 8 + k]) * b[i + v * 8 + k]; \
        for (; i < n; i++) sum += AS(a[i]) * b[i];                                                \
        for (int k = 0; k < 8; k++) sum += (part[0][k] + part[1][k]) + (part[2][k] + part[3][k]); \
        return sum;                                                                               \
    }
#define SAME(x) (x)
DOT(dot, float, SAME)
DOT(dot_bf16, uint16_t, bf16_to_f32)
DOT(dot_f16, uint16_t, f16_to_f32)

/* One row: the sum is made as the weights come, without a widened copy. */
static float dot_as_stored(const char *w, uint32_t type, const float *x, int64_t n)
{
    if (type == CO_BF16) return dot_bf16((const uint16_t *)(const void *)w, x, n);
    return type == CO_F16 ? dot_f16((const uint16_t *)(const void *)w, x, n) : dot((const float *)(const void *)w, x, n);
}

/* y = x w^T for a few rows: each thread takes rows of w, widened run by run in its cache. */
static void few_rows(const cpu_step *s, const view *x, const view *w, const view *bias, const view *y)
{
    const uint32_t tw = type_in(s, 1), ty = type_out(s, 0), tb = bias->p ? type_in(s, 2) : CO_F32;
    const int64_t k = w->cols;
    float *xs = (float *)(void *)s->scratch;
    widen(s, x, type_in(s, 0), 0, x->rows, 0, k, xs);
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t j = 0; j < w->rows; j++) {
        float run[RUN], sum[FEW] = {0}, b = 0;
        if (x->rows == 1) sum[0] = dot_as_stored(row_of(w, tw, j, 0), tw, xs, k);
        for (int64_t at = 0; at < k && x->rows > 1; at += RUN) {
            const int64_t n = least(RUN, k - at);
            k_widen(run, row_of(w, tw, j, at), tw, n);
            for (int64_t t = 0; t < x->rows; t++) sum[t] += dot(run, xs + t * k + at, n);
        }
        if (bias->p) k_widen(&b, row_of(bias, tb, j, 0), tb, 1);
        for (int64_t t = 0; t < x->rows; t++) {
            sum[t] += b;
            k_narrow((char *)(uintptr_t)row_of(y, ty, t, j), ty, &sum[t], 1);
        }
    }
}

static void add_bias(const cpu_step *s, float *y, int64_t rows, int64_t cols, const view *bias, int64_t from)
{
    float b[BLOCK];
    k_widen(b, row_of(bias, type_in(s, 2), from, 0), type_in(s, 2), cols);
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < rows; t++)
        for (int64_t j = 0; j < cols; j++) y[t * cols + j] += b[j];
}

void k_narrow_linear(const cpu_step *s)
{
    const view *x = &s->in[0], *w = &s->in[1], *y = &s->out[0];
    const int64_t n = w->rows, k = w->cols;
    if (y->rows <= FEW) {
        few_rows(s, x, w, &s->in[2], y);
        return;
    }
    float *const xs = (float *)(void *)s->scratch, *const ws = xs + pad(least(y->rows, BLOCK) * k), *const ys = ws + pad(least(n, BLOCK) * k);
    for (int64_t t = 0; t < y->rows; t += BLOCK) {
        const int64_t rows = least(BLOCK, y->rows - t);
        widen(s, x, type_in(s, 0), t, rows, 0, k, xs);
        for (int64_t j = 0; j < n; j += BLOCK) {
            const int64_t cols = least(BLOCK, n - j);
            widen(s, w, type_in(s, 1), j, cols, 0, k, ws);
            cpu_product(s->c, BLAS_N, BLAS_T, rows, cols, k, xs, k, ws, k, 0, ys, cols);
            if (s->in[2].p) add_bias(s, ys, rows, cols, &s->in[2], j);
            narrow(s, y, type_out(s, 0), t, rows, j, cols, ys);
        }
    }
}

void k_narrow_linear_bwd_x(const cpu_step *s)
{
    const view *dy = &s->in[0], *w = &s->in[1], *dx = &s->out[0];
    const int64_t n = w->rows, k = w->cols;
    if (!dx->p) return;
    float *const xs = (float *)(void *)s->scratch, *const ws = xs + pad(least(dx->rows, BLOCK) * k), *const ys = ws + pad(least(n, BLOCK) * k);
    for (int64_t t = 0; t < dx->rows; t += BLOCK) {
        const int64_t rows = least(BLOCK, dx->rows - t);
        for (int64_t j = 0; j < n; j += BLOCK) { /* sums go on in fp32 */
            const int64_t cols = least(BLOCK, n - j);
            widen(s, w, type_in(s, 1), j, cols, 0, k, ws);
            widen(s, dy, type_in(s, 0), t, rows, j, cols, ys);
            cpu_product(s->c, BLAS_N, BLAS_N, rows, k, cols, ys, cols, ws, k, j ? 1.0f : 0.0f, xs, k);
        }
        narrow(s, dx, type_out(s, 0), t, rows, 0, k, xs);
    }
}

void k_narrow_linear_bwd_w(const cpu_step *s)
{
    const view *x = &s->in[0], *dy = &s->in[1], *dw = &s->out[0];
    const int64_t n = dw->rows, k = dw->cols;
    if (!dw->p) return;
    float *const xs = (float *)(void *)s->scratch, *const ws = xs + pad(least(x->rows, BLOCK) * k), *const ys = ws + pad(least(n, BLOCK) * k);
    for (int64_t j = 0; j < n; j += BLOCK) {
        const int64_t cols = least(BLOCK, n - j);
        if (dw->add) widen(s, dw, type_out(s, 0), j, cols, 0, k, ws);
        else memset(ws, 0, (size_t)(cols * k) * sizeof(float));
        for (int64_t t = 0; t < x->rows; t += BLOCK) {
            const int64_t rows = least(BLOCK, x->rows - t);
            widen(s, x, type_in(s, 0), t, rows, 0, k, xs);
            widen(s, dy, type_in(s, 1), t, rows, j, cols, ys);
            cpu_product(s->c, BLAS_T, BLAS_N, cols, k, rows, ys, cols, xs, k, 1, ws, k);
        }
        narrow(s, dw, type_out(s, 0), j, cols, 0, k, ws);
    }
}
