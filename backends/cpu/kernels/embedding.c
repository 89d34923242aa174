/* embedding.c: rows by id. The backward adds rows that share an id: threads take columns, so the order is the batch's. */
#include "kernels.h"
#include <string.h>

static void gather(const cpu_step *s, const view *ids, const view *w, const view *y)
{
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < y->rows; t++)
        memcpy(y->p + t * y->stride, w->p + view_ids(ids)[t] * w->stride, (size_t)y->cols * sizeof(float));
}

static void scatter_add(const cpu_step *s, const view *ids, const view *dy, const view *dw, int64_t rows)
{
#pragma omp parallel num_threads(s->c->threads)
    {
        int64_t from, to;
        if (!dw->add) {
            cpu_share(rows, omp_get_thread_num(), omp_get_num_threads(), &from, &to);
            for (int64_t r = from; r < to; r++) memset(dw->p + r * dw->stride, 0, (size_t)dw->cols * sizeof(float));
#pragma omp barrier
        }
        cpu_share(dw->cols, omp_get_thread_num(), omp_get_num_threads(), &from, &to);
        for (int64_t t = 0; t < dy->rows; t++) {
            float *to_row = dw->p + view_ids(ids)[t] * dw->stride;
            const float *row = dy->p + t * dy->stride;
            for (int64_t j = from; j < to; j++) to_row[j] += row[j];
        }
    }
}

void k_embedding(const cpu_step *s) { gather(s, &s->in[0], &s->in[1], &s->out[0]); }
void k_embedding_bwd(const cpu_step *s)
{
    if (s->out[0].p) scatter_add(s, &s->in[0], &s->in[1], &s->out[0], s->out[0].rows);
}
void k_row_gather(const cpu_step *s) { gather(s, &s->in[1], &s->in[0], &s->out[0]); }
void k_row_gather_bwd(const cpu_step *s)
{
    if (s->out[0].p) scatter_add(s, &s->in[1], &s->in[0], &s->out[0], s->out[0].rows);
}
void k_shift_ids(const cpu_step *s)
{
    const int32_t by = ((const co_attr_i32 *)cpu_attrs(s))->v;
    for (int64_t t = 0; t < s->out[0].rows; t++) view_ids(&s->out[0])[t] = view_ids(&s->in[0])[t] + by;
}
