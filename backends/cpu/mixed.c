/* mixed.c: lines with bf16 or fp16 values. Operands are widened into the scratch, the fp32 kernel runs, its results are
 * rounded once: sums are those of fp32, and a kernel is written once for all types. */
#include "mixed.h"
#include <string.h>

static int narrow(uint8_t t) { return t == CO_BF16 || t == CO_F16; }
static const co_tensor *operand(const co_plan_value *values, const co_step_op *op, uint32_t i)
{
    const uint32_t v = i < op->n_in ? op->in[i] : op->out[i - op->n_in];
    return v == CO_NONE ? NULL : &values[v].shape;
}
static int64_t pad(int64_t n) { return (n + 63) & ~(int64_t)63; }

int mixed_types(const co_plan *p, const co_step_op *op)
{
    for (uint32_t i = 0; i < op->n_in + op->n_out; i++) {
        const co_tensor *t = operand(p->values, op, i);
        if (t && narrow(t->dtype)) return 1;
    }
    return 0;
}

/* Rows of the cache that are widened at a time: one slot's. */
static int64_t cached_rows(const co_step_op *op, uint32_t i)
{
    return op->op == CO_OP_ATTENTION_CACHED && (i == 3 || i == 4) ? ((const co_attr_cached *)op->attrs)->slot_len : 0;
}

size_t mixed_scratch(const co_plan *p, const co_step_op *op)
{
    int64_t n = 0;
    if (op->op == CO_OP_EMBEDDING || op->op == CO_OP_ROW_GATHER) return 0;
    for (uint32_t i = 0; i < op->n_in + op->n_out; i++) {
        const co_tensor *t = operand(p->values, op, i);
        if (!t || !narrow(t->dtype)) continue;
        const int64_t rows = cached_rows(op, i) ? cached_rows(op, i) : t->ne[0];
        n += pad(rows * (t->ndim > 1 ? t->ne[1] : 1));
    }
    return (size_t)n * sizeof(float);
}

static char *row_at(const view *v, int64_t r) { return (char *)v->p + (size_t)(r * v->stride) * 2; }

/* Rows [from, from + n) of a 16-bit view to or from dense fp32 rows. */
static void move_rows(const cpu *c, const view *half, uint8_t type, int64_t from, int64_t n, float *wide, int widen)
{
    const int dense = half->stride == half->cols;
    const int64_t width = dense ? 4096 : half->cols, total = n * half->cols;
    if (total == 0) return;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t at = 0; at < total; at += width) {
        const int64_t m = total - at < width ? total - at : width;
        char *h = dense ? row_at(half, from) + at * 2 : row_at(half, from + at / width);
        if (widen) c->simd->widen(wide + at, h, type, m);
        else c->simd->narrow(h, type, wide + at, m);
    }
}

/* Rows by id are copied as they are. */
static void gather(const cpu_step *s, const view *ids, const view *w, uint8_t w_type, const view *y, uint8_t y_type)
{
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < y->rows; t++) {
        const int64_t id = view_ids(ids)[t];
        if (w_type == y_type) memcpy(row_at(y, t), row_at(w, id), (size_t)y->cols * 2);
        else if (y_type == CO_F32) s->c->simd->widen(y->p + t * y->stride, row_at(w, id), w_type, y->cols);
        else s->c->simd->narrow(row_at(y, t), y_type, w->p + id * w->stride, y->cols);
    }
}

/* Sequence by sequence, so that only the part of the cache that is read is widened; the new rows go back. */
static void cached(cpu_step *s, const view *cache, const uint8_t *type, const cpu_step *whole)
{
    const co_live *all = s->live;
    const int64_t len = ((const co_attr_cached *)s->op->attrs)->slot_len;
    for (int32_t i = 0; i < all->n_seqs; i++) {
        const int32_t t0 = all->seq_start[i], n = all->seq_start[i + 1] - t0, start[2] = {0, n}, slot = 0, past = all->past_len[i];
        const co_live one = {.struct_size = sizeof one, .n_tokens = n, .n_seqs = 1, .seq_start = start, .cache_slot = &slot, .past_len = &past};
        const int64_t row = (int64_t)all->cache_slot[i] * len;
        s->live = &one;
        for (int k = 0; k < 3; k++) s->in[k].p = whole->in[k].p + t0 * whole->in[k].stride, s->in[k].rows = n;
        s->out[0].p = whole->out[0].p + t0 * whole->out[0].stride;
        s->out[0].rows = n;
        for (int k = 0; k < 2; k++) move_rows(s->c, &cache[k], type[k], row, past, s->in[3 + k].p, 1);
        s->c->simd->ops[s->op->op].run(s);
        for (int k = 0; k < 2; k++) move_rows(s->c, &cache[k], type[k], row + past, n, s->in[3 + k].p + past * s->in[3 + k].stride, 0);
    }
    s->live = all;
}

void mixed_run(cpu_step *s)
{
    const co_step_op *op = s->op;
    view was[16] = {{0}};
    uint8_t type[16] = {0};
    for (uint32_t i = 0; i < op->n_in + op->n_out; i++) {
        const co_tensor *t = operand(s->values, op, i);
        type[i] = t ? t->dtype : CO_F32;
    }
    if (op->op == CO_OP_EMBEDDING) {
        gather(s, &s->in[0], &s->in[1], type[1], &s->out[0], type[2]);
        return;
    }
    if (op->op == CO_OP_ROW_GATHER) {
        gather(s, &s->in[1], &s->in[0], type[0], &s->out[0], type[2]);
        return;
    }
    float *wide = (float *)(void *)s->scratch;
    for (uint32_t i = 0; i < op->n_in + op->n_out; i++) {
        const co_tensor *t = operand(s->values, op, i);
        view *v = i < op->n_in ? &s->in[i] : &s->out[i - op->n_in];
        const int64_t slot_rows = cached_rows(op, i);
        was[i] = *v;
        if (!t || !narrow(t->dtype)) continue;
        if (v->p) {
            v->p = wide;
            v->stride = v->cols;
            if (slot_rows) v->rows = slot_rows;
            else if (i < op->n_in || v->add) move_rows(s->c, &was[i], type[i], 0, v->rows, wide, 1);
        }
        wide += pad((slot_rows ? slot_rows : t->ne[0]) * v->cols);
    }
    s->scratch = (char *)wide;
    if (op->op == CO_OP_ATTENTION_CACHED) {
        const cpu_step whole = *s;
        cached(s, was + 3, type + 3, &whole);
        for (int k = 0; k < 3; k++) s->in[k] = whole.in[k];
        s->out[0] = whole.out[0];
    } else {
        s->c->simd->ops[op->op].run(s);
    }
    for (uint32_t i = op->n_in; i < op->n_in + op->n_out; i++)
        if (was[i].p && narrow(type[i])) move_rows(s->c, &was[i], type[i], 0, was[i].rows, s->out[i - op->n_in].p, 0);
}
