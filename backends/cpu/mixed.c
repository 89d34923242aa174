/* mixed.c: lines with bf16 or fp16 values. Some kernels take them as they are (narrow_ops); for all others operands are
 * widened into the scratch, the fp32 kernel runs, its results are rounded once: sums are those of fp32, and a kernel is
 * written once for all types. Where tokens do not depend on each other this goes block by block of tokens. */
#include "mixed.h"
#include <string.h>

#define BLOCK_FLOATS ((int64_t)2 << 20) /* widened at a time */

static int narrow(uint8_t t) { return t == CO_BF16 || t == CO_F16; }
static const co_plan_value *operand(const co_plan_value *values, const co_step_op *op, uint32_t i)
{
    const uint32_t v = i < op->n_in ? op->in[i] : op->out[i - op->n_in];
    return v == CO_NONE ? NULL : &values[v];
}
static int64_t pad(int64_t n) { return (n + 63) & ~(int64_t)63; }
static int64_t cols_of(const co_plan_value *v) { return v->shape.ndim > 1 ? v->shape.ne[1] : 1; }

int mixed_types(const co_plan *p, const co_step_op *op)
{
    for (uint32_t i = 0; i < op->n_in + op->n_out; i++) {
        const co_plan_value *v = operand(p->values, op, i);
        if (v && narrow(v->shape.dtype)) return 1;
    }
    return 0;
}

/* Each row of the results comes from the same row of the inputs; parameters' gradients are sums over rows. */
static int by_rows(uint32_t op)
{
    switch (op) {
    case CO_OP_RMSNORM: case CO_OP_RMSNORM_BWD: case CO_OP_LAYERNORM: case CO_OP_LAYERNORM_BWD: case CO_OP_ROPE: case CO_OP_ROPE_BWD:
    case CO_OP_SWIGLU: case CO_OP_SWIGLU_BWD: case CO_OP_SWIGLU_GRAD: case CO_OP_GELU: case CO_OP_GELU_BWD: case CO_OP_SILU:
    case CO_OP_SILU_BWD: case CO_OP_RELU: case CO_OP_RELU_BWD: case CO_OP_EXP: case CO_OP_LOG_SIGMOID: case CO_OP_LOG_SIGMOID_BWD:
    case CO_OP_CLAMP: case CO_OP_CLAMP_BWD: case CO_OP_SCALE: case CO_OP_STOP_GRADIENT: case CO_OP_ADD: case CO_OP_SUB: case CO_OP_MUL:
    case CO_OP_MINIMUM: case CO_OP_MAXIMUM: case CO_OP_MINIMUM_BWD: case CO_OP_MAXIMUM_BWD: case CO_OP_CONCAT: case CO_OP_SPLIT:
    case CO_OP_FILL0: case CO_OP_LINEAR_BWD_B: return 1;
    default: return 0;
    }
}

/* Rows of an operand that are widened at a time: of a cache one slot's, of tokens a block where that is possible. */
static int64_t rows_at_a_time(const co_plan_value *values, const co_step_op *op, uint32_t i)
{
    const co_plan_value *v = operand(values, op, i);
    int64_t width = 0;
    if (op->op == CO_OP_ATTENTION_CACHED && (i == 3 || i == 4)) return ((const co_attr_cached *)op->attrs)->slot_len;
    if (!by_rows(op->op) || v->rows == CO_ROWS_FIXED) return v->shape.ne[0];
    for (uint32_t k = 0; k < op->n_in + op->n_out; k++) {
        const co_plan_value *o = operand(values, op, k);
        if (o && o->rows == v->rows && narrow(o->shape.dtype)) width += cols_of(o);
    }
    const int64_t rows = width ? BLOCK_FLOATS / width : v->shape.ne[0];
    return rows < 16 ? 16 : rows > v->shape.ne[0] ? v->shape.ne[0] : rows;
}

size_t mixed_scratch(const cpu *c, const co_plan *p, const co_step_op *op)
{
    const cpu_kernel_entry *own = &c->simd->narrow_ops[op->op], *wide = &c->simd->ops[op->op];
    int64_t n = 0;
    if (own->run) return own->scratch ? own->scratch(c, p, op) : 0;
    for (uint32_t i = 0; i < op->n_in + op->n_out; i++) {
        const co_plan_value *v = operand(p->values, op, i);
        if (v && narrow(v->shape.dtype)) n += pad(rows_at_a_time(p->values, op, i) * cols_of(v));
    }
    return (size_t)n * sizeof(float) + (wide->scratch ? wide->scratch(c, p, op) : 0);
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

typedef struct mixed { /* a line's operands as they are and as the kernel sees them */
    uint32_t n;
    view as_is[16];
    float *wide[16]; /* NULL: fp32 already, integers, absent */
    uint8_t type[16], fixed[16];
} mixed;

static view *shown(cpu_step *s, uint32_t i) { return i < s->op->n_in ? &s->in[i] : &s->out[i - s->op->n_in]; }

/* Rows [from, from + rows) of everything that has tokens: inputs widened, the kernel run, results rounded. */
static void run_block(cpu_step *s, const mixed *m, int64_t from, int64_t rows)
{
    for (uint32_t i = 0; i < m->n; i++) {
        view *v = shown(s, i);
        if (m->fixed[i]) continue;
        *v = m->as_is[i];
        v->rows = rows;
        if (!v->p) continue;
        if (!m->wide[i]) {
            v->p += from * v->stride; /* fp32 and int32 */
            continue;
        }
        v->p = m->wide[i];
        v->stride = v->cols;
        if (i < s->op->n_in) move_rows(s->c, &m->as_is[i], m->type[i], from, rows, v->p, 1);
    }
    s->c->simd->ops[s->op->op].run(s);
    for (uint32_t i = s->op->n_in; i < m->n; i++)
        if (!m->fixed[i] && m->wide[i]) move_rows(s->c, &m->as_is[i], m->type[i], from, rows, m->wide[i], 0);
}

void mixed_run(cpu_step *s)
{
    const co_step_op *op = s->op;
    if (s->c->simd->narrow_ops[op->op].run) {
        s->c->simd->narrow_ops[op->op].run(s);
        return;
    }
    mixed m = {.n = op->n_in + op->n_out};
    float *at = (float *)(void *)s->scratch;
    int64_t tokens = 0, block = INT64_MAX;
    for (uint32_t i = 0; i < m.n; i++) {
        const co_plan_value *o = operand(s->values, op, i);
        view *v = shown(s, i);
        m.as_is[i] = *v;
        m.fixed[i] = !by_rows(op->op) || !o || o->rows == CO_ROWS_FIXED;
        if (!o) continue;
        const int64_t rows = rows_at_a_time(s->values, op, i);
        if (!m.fixed[i]) tokens = v->rows, block = rows < block ? rows : block;
        m.type[i] = o->shape.dtype;
        if (!narrow(m.type[i])) continue;
        if (v->p) m.wide[i] = at;
        at += pad(rows * v->cols);
        if (!m.fixed[i] || !v->p) continue;
        v->p = m.wide[i];
        v->stride = v->cols;
        if (op->op == CO_OP_ATTENTION_CACHED && (i == 3 || i == 4)) v->rows = rows;
        else if (i < op->n_in || v->add) move_rows(s->c, &m.as_is[i], m.type[i], 0, v->rows, v->p, 1);
    }
    s->scratch = (char *)at;
    if (op->op == CO_OP_ATTENTION_CACHED) {
        const cpu_step whole = *s;
        cached(s, m.as_is + 3, m.type + 3, &whole);
    } else if (by_rows(op->op) && block < INT64_MAX) {
        for (int64_t from = 0; from == 0 || from < tokens; from += block) {
            run_block(s, &m, from, tokens - from < block ? tokens - from : block);
            for (uint32_t i = 0; i < op->n_out; i++) s->out[i].add |= m.fixed[op->n_in + i]; /* the next block's go on top */
        }
    } else {
        s->c->simd->ops[op->op].run(s);
    }
    for (uint32_t i = op->n_in; i < m.n; i++)
        if (m.fixed[i] && m.wide[i]) move_rows(s->c, &m.as_is[i], m.type[i], 0, m.as_is[i].rows, m.wide[i], 0);
}
