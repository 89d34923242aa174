/* narrow_embedding.c: rows by id in bf16 and fp16. Forward they are copied. Backward the tokens of an id are brought together,
 * so that each row of the table is summed in fp32 and rounded once, however often its id occurs; ids that do not occur cost
 * nothing where gradients add up, and a row of zeros where they do not. */
#include "kernels.h"
#include <string.h>

#define RUN 1024 /* columns of a sum */

static char *row_of(const view *v, uint32_t type, int64_t r, int64_t c)
{
    return (char *)(void *)v->p + (size_t)(r * v->stride + c) * co_dtype_bytes(type);
}

static void gather(const cpu_step *s, const view *ids, const view *w, uint32_t tw, const view *y)
{
    const uint32_t ty = s->values[s->op->out[0]].shape.dtype;
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < y->rows; t++) {
        const char *from = row_of(w, tw, view_ids(ids)[t], 0);
        char *to = row_of(y, ty, t, 0);
        if (tw == ty) memcpy(to, from, (size_t)y->cols * co_dtype_bytes(ty));
        else if (ty == CO_F32) k_widen((float *)(void *)to, from, tw, y->cols);
        else k_narrow(to, ty, (const float *)(const void *)from, y->cols);
    }
}
void k_narrow_embedding(const cpu_step *s) { gather(s, &s->in[0], &s->in[1], s->values[s->op->in[1]].shape.dtype, &s->out[0]); }
void k_narrow_row_gather(const cpu_step *s) { gather(s, &s->in[1], &s->in[0], s->values[s->op->in[0]].shape.dtype, &s->out[0]); }

/* Scratch: where each id's tokens begin, and the tokens in order of their ids. */
size_t k_narrow_embedding_scratch(const cpu *c, const co_plan *p, const co_step_op *op)
{
    (void)c;
    const int64_t rows = p->values[op->out[0]].shape.ne[0], tokens = p->values[op->in[0]].shape.ne[0];
    return (size_t)(rows + 2 + tokens + 64) * sizeof(int32_t);
}

static void sum_rows(const cpu_step *s, const int32_t *begin, const int32_t *order, const view *dy, uint32_t ty, const view *dw, uint32_t tw, int64_t id)
{
    float sum[RUN], row[RUN];
    const int32_t from = begin[id], to = begin[id + 1];
    (void)s;
    if (from == to && dw->add) return;
    for (int64_t c = 0; c < dw->cols; c += RUN) {
        const int64_t n = dw->cols - c < RUN ? dw->cols - c : RUN;
        if (dw->add) k_widen(sum, row_of(dw, tw, id, c), tw, n);
        else memset(sum, 0, (size_t)n * sizeof *sum);
        for (int32_t i = from; i < to; i++) {
            k_widen(row, row_of(dy, ty, order[i], c), ty, n);
            for (int64_t j = 0; j < n; j++) sum[j] += row[j];
        }
        k_narrow(row_of(dw, tw, id, c), tw, sum, n);
    }
}

void k_narrow_embedding_bwd(const cpu_step *s)
{
    const view *ids = &s->in[0], *dy = &s->in[1], *dw = &s->out[0];
    const uint32_t ty = s->values[s->op->in[1]].shape.dtype, tw = s->values[s->op->out[0]].shape.dtype;
    int32_t *begin = (int32_t *)(void *)s->scratch, *order = begin + dw->rows + 2;
    if (!dw->p) return;
    memset(begin, 0, (size_t)(dw->rows + 2) * sizeof *begin); /* counts, two places on: they become begins, then ends */
    for (int64_t t = 0; t < dy->rows; t++) begin[view_ids(ids)[t] + 2]++;
    for (int64_t r = 0; r < dw->rows; r++) begin[r + 2] += begin[r + 1];
    for (int64_t t = 0; t < dy->rows; t++) order[begin[view_ids(ids)[t] + 1]++] = (int32_t)t;
#pragma omp parallel for num_threads(s->c->threads) schedule(dynamic, 64)
    for (int64_t id = 0; id < dw->rows; id++) sum_rows(s, begin, order, dy, ty, dw, tw, id);
}
