/* linear.c: products through OpenBLAS at the live number of rows. One row is a matrix-vector product: bound by reading
 * the weights once. */
#include "kernels.h"
#include <string.h>

static void fill_rows(const cpu_step *s, const view *y, const float *bias)
{
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < y->rows; t++) memcpy(y->p + t * y->stride, bias, (size_t)y->cols * sizeof(float));
}

void k_linear(const cpu_step *s)
{
    const view *x = &s->in[0], *w = &s->in[1], *y = &s->out[0];
    const float beta = s->in[2].p ? 1.0f : 0.0f;
    if (y->rows == 0) return;
    if (beta != 0) fill_rows(s, y, s->in[2].p);
    if (y->rows == 1) {
        cpu_row_product(s->c, w->rows, w->cols, w->p, w->stride, x->p, beta, y->p);
        return;
    }
    cpu_product(s->c, BLAS_N, BLAS_T, y->rows, w->rows, w->cols, x->p, x->stride, w->p, w->stride, beta, y->p, y->stride);
}

void k_linear_bwd_x(const cpu_step *s)
{
    const view *dy = &s->in[0], *w = &s->in[1], *dx = &s->out[0];
    if (!dx->p || dx->rows == 0) return;
    cpu_product(s->c, BLAS_N, BLAS_N, dx->rows, w->cols, w->rows, dy->p, dy->stride, w->p, w->stride, 0, dx->p, dx->stride);
}

void k_linear_bwd_w(const cpu_step *s)
{
    const view *x = &s->in[0], *dy = &s->in[1], *dw = &s->out[0];
    if (!dw->p) return;
    if (x->rows == 0) {
        if (!dw->add) memset(dw->p, 0, (size_t)(dw->rows * dw->cols) * sizeof(float));
        return;
    }
    cpu_product(s->c, BLAS_T, BLAS_N, dw->rows, dw->cols, x->rows, dy->p, dy->stride, x->p, x->stride, dw->add ? 1.0f : 0.0f, dw->p,
                dw->stride);
}

/* Threads take columns, so that each sum runs over the rows in order. */
void k_linear_bwd_b(const cpu_step *s)
{
    const view *dy = &s->in[0], *db = &s->out[0];
    if (!db->p) return;
#pragma omp parallel num_threads(s->c->threads)
    {
        int64_t from, to;
        cpu_share(db->rows, omp_get_thread_num(), omp_get_num_threads(), &from, &to);
        for (int64_t at = from; at < to; at += 64) {
            const int64_t n = to - at < 64 ? to - at : 64;
            double sum[64] = {0};
            for (int64_t t = 0; t < dy->rows; t++)
                for (int64_t j = 0; j < n; j++) sum[j] += dy->p[t * dy->stride + at + j];
            for (int64_t j = 0; j < n; j++) db->p[at + j] = (float)(sum[j] + (db->add ? (double)db->p[at + j] : 0));
        }
    }
}
