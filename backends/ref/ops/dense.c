/* dense.c: products and rows by id. */
#include "ops.h"

/* sum over c of a[r][c] b[q][c] */
static double dot(const ref_view *a, int64_t r, const ref_view *b, int64_t q)
{
    double sum = 0;
    for (int64_t c = 0; c < a->cols; c++) sum += ref_get(a, r, c) * ref_get(b, q, c);
    return sum;
}

/* y[t][n] = sum_k x[t][k] w[n][k] + b[n] */
void ref_LINEAR(const ref_line *s)
{
    const ref_view *x = &s->in[0], *w = &s->in[1], *b = &s->in[2], *y = &s->out[0];
    for (int64_t t = 0; t < y->rows; t++)
        for (int64_t n = 0; n < w->rows; n++) ref_put(y, t, n, dot(x, t, w, n) + (b->p ? ref_get(b, n, 0) : 0));
}
/* dx[t][k] = sum_n dy[t][n] w[n][k] */
void ref_LINEAR_BWD_X(const ref_line *s)
{
    const ref_view *dy = &s->in[0], *w = &s->in[1], *dx = &s->out[0];
    for (int64_t t = 0; t < dy->rows; t++)
        for (int64_t k = 0; k < w->cols; k++) {
            double sum = 0;
            for (int64_t n = 0; n < w->rows; n++) sum += ref_get(dy, t, n) * ref_get(w, n, k);
            ref_put(dx, t, k, sum);
        }
}
/* dw[n][k] = sum_t dy[t][n] x[t][k] */
void ref_LINEAR_BWD_W(const ref_line *s)
{
    const ref_view *x = &s->in[0], *dy = &s->in[1], *dw = &s->out[0];
    for (int64_t n = 0; n < dy->cols; n++)
        for (int64_t k = 0; k < x->cols; k++) {
            double sum = 0;
            for (int64_t t = 0; t < x->rows; t++) sum += ref_get(dy, t, n) * ref_get(x, t, k);
            ref_put(dw, n, k, sum);
        }
}
/* db[n] = sum_t dy[t][n] */
void ref_LINEAR_BWD_B(const ref_line *s)
{
    const ref_view *dy = &s->in[0], *db = &s->out[0];
    for (int64_t n = 0; n < dy->cols; n++) {
        double sum = 0;
        for (int64_t t = 0; t < dy->rows; t++) sum += ref_get(dy, t, n);
        ref_put(db, n, 0, sum);
    }
}

static void gather(const ref_view *ids, const ref_view *from, const ref_view *to)
{
    for (int64_t t = 0; t < ids->rows; t++)
        for (int64_t c = 0; c < from->cols; c++) ref_put(to, t, c, ref_get(from, ids->ids[t], c));
}
/* to[r] = sum of dy[t] over the t with ids[t] = r: rows that occur twice get both. */
static void scatter(const ref_view *ids, const ref_view *dy, const ref_view *to)
{
    for (int64_t r = 0; r < to->rows; r++)
        for (int64_t c = 0; c < to->cols; c++) {
            double sum = 0;
            for (int64_t t = 0; t < ids->rows; t++)
                if (ids->ids[t] == r) sum += ref_get(dy, t, c);
            ref_put(to, r, c, sum);
        }
}
void ref_EMBEDDING(const ref_line *s) { gather(&s->in[0], &s->in[1], &s->out[0]); }
void ref_EMBEDDING_BWD(const ref_line *s) { scatter(&s->in[0], &s->in[1], &s->out[0]); }
void ref_ROW_GATHER(const ref_line *s) { gather(&s->in[1], &s->in[0], &s->out[0]); }
void ref_ROW_GATHER_BWD(const ref_line *s) { scatter(&s->in[1], &s->in[0], &s->out[0]); }
void ref_SHIFT_IDS(const ref_line *s)
{
    const co_attr_i32 *a = s->op->attrs;
    for (int64_t t = 0; t < s->in[0].rows; t++) s->out[0].ids[t] = s->in[0].ids[t] + a->v;
}
