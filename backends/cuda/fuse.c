/* fuse.c: a product followed by a scaling and an addition becomes one product with a scaled, added-to epilogue:
 * y = alpha x w^T + residual. It saves a pass that reads twice and writes once [tokens, n], and the sum is rounded once
 * instead of twice. Residual branches, LoRA's second product and sums of input gradients are of this form.
 *
 * A large product to which small ones are added later, column by column (LoRA on q, k, v; on gate and up), goes behind them and adds to
 * what they stored: y = t, y += x w^T instead of y = x w^T, y += t. The small ones then write y instead of reading and writing it,
 * and the large one reads it while it multiplies. An addition behind both (the residual branch) joins the small one:
 * y = t + h, y += x w^T.
 *
 * Rotary positions of queries and keys, one line behind the other, become one launch. */
#include "fuse.h"
#include <string.h>

/* Bytes [from, to) of a value at capacity, in its region. */
static void extent(const co_plan_value *v, size_t *from, size_t *to)
{
    const size_t e = co_dtype_bytes(v->shape.dtype), cols = v->shape.ndim > 1 ? (size_t)v->shape.ne[1] : 1;
    *from = v->offset;
    *to = v->offset + (v->shape.ne[0] ? ((size_t)(v->shape.ne[0] - 1) * (size_t)v->shape.row_stride + cols) * e : 0);
}
static int overlap(const co_plan_value *a, const co_plan_value *b)
{
    size_t a0, a1, b0, b1;
    if (a->region != b->region || a->region == CO_REGION_PARAM || a->region == CO_REGION_GRAD) return 0;
    extent(a, &a0, &a1);
    extent(b, &b0, &b1);
    return a0 < b1 && b0 < a1;
}
static int same_place(const co_plan_value *a, const co_plan_value *b) { return a->region == b->region && a->offset == b->offset; }

static uint32_t uses(const co_plan *p, uint32_t v)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_steps; i++)
        for (uint32_t k = 0; k < p->steps[i].n_in; k++) n += p->steps[i].in[k] == v;
    return n;
}

/* `v` is read by the next line only, and by no other plan: it dies there, or is overwritten there. */
static int dies_next(const co_plan *p, uint32_t v, uint32_t next_out)
{
    const co_plan_value *t = p->values;
    return uses(p, v) == 1 && (t[v].region == CO_REGION_WORK || t[v].flags & CO_VALUE_LOCAL || same_place(&t[v], &t[next_out]));
}

/* May the product write `to` although it still reads its inputs? */
static int may_write(const co_plan *p, const co_step_op *product, uint32_t to)
{
    for (uint32_t k = 0; k < product->n_in; k++)
        if (product->in[k] != CO_NONE && overlap(&p->values[product->in[k]], &p->values[to])) return 0;
    return 1;
}

/* No element is in both. Columns of one matrix share its extent, not its elements. */
static int apart(const co_plan_value *a, const co_plan_value *b)
{
    const int64_t e = (int64_t)co_dtype_bytes(a->shape.dtype), s = a->shape.row_stride;
    if (!overlap(a, b)) return 1;
    if (a->shape.ndim < 2 || b->shape.ndim < 2 || a->shape.dtype != b->shape.dtype || s != b->shape.row_stride || s <= 0) return 0;
    const int64_t bytes = (int64_t)b->offset - (int64_t)a->offset, at = (bytes / e % s + s) % s;
    return bytes % e == 0 && at >= a->shape.ne[1] && at + b->shape.ne[1] <= s;
}

/* ---- small products first --------------------------------------------------------------------------------------- */
#define MOST_PARTS 8
static int is_product(const co_step_op *s) { return s->op == CO_OP_LINEAR || s->op == CO_OP_LINEAR_BWD_X; }
static int64_t inner(const co_plan *p, const co_step_op *s) { return p->values[s->in[1]].shape.ne[s->op == CO_OP_LINEAR]; }

/* May the line run before the product `s`, whose result is y? */
static int keeps(const co_plan *p, const fused_line *l, const co_step_op *s, const co_plan_value *y)
{
    const co_step_op *o = &p->steps[l->step];
    const co_plan_value *v = p->values;
    if (l->twin != CO_NONE || (l->residual != CO_NONE && !apart(&v[l->residual], y))) return 0;
    for (uint32_t k = 0; k < o->n_in; k++)
        if (o->in[k] != CO_NONE && !apart(&v[o->in[k]], y)) return 0;
    for (uint32_t k = 0; k < o->n_out; k++) {
        const uint32_t out = k == 0 && l->out != CO_NONE ? l->out : o->out[k];
        if (out != CO_NONE && (!apart(&v[out], y) || !apart(&v[out], &v[s->in[0]]) || !apart(&v[out], &v[s->in[1]]))) return 0;
    }
    return 1;
}

/* First column of y that the line adds a much smaller product to, in place; -1: it does not do that. */
static int64_t adds_to(const co_plan *p, const fused_line *l, const co_step_op *s, const co_plan_value *y)
{
    const co_step_op *o = &p->steps[l->step];
    if (!is_product(o) || l->residual == CO_NONE || l->out == CO_NONE || inner(p, o) * 8 > inner(p, s)) return -1;
    const co_plan_value *r = &p->values[l->residual], *to = &p->values[l->out];
    const int64_t e = (int64_t)co_dtype_bytes(y->shape.dtype), bytes = (int64_t)r->offset - (int64_t)y->offset;
    if (!same_place(r, to) || r->region != y->region || r->shape.dtype != y->shape.dtype || r->shape.row_stride != y->shape.row_stride || r->rows != y->rows) return -1;
    if (bytes < 0 || bytes % e || bytes / e + r->shape.ne[1] > y->shape.ne[1]) return -1;
    for (uint32_t k = 0; k < o->n_in; k++)
        if (o->in[k] != CO_NONE && !apart(&p->values[o->in[k]], y)) return -1;
    return bytes / e;
}

/* The addition behind small product, base: y = t + h, y += x w^T. Is there one that allows it? */
static int takes_addition(const co_plan *p, fused_line *small, fused_line *base, const co_step_op *add)
{
    const uint32_t sum = small->out;
    if (add->op != CO_OP_ADD || add->in[0] == add->in[1] || (add->in[0] != sum && add->in[1] != sum) || !dies_next(p, sum, add->out[0])) return 0;
    const uint32_t h = add->in[add->in[0] == sum], to = add->out[0];
    const co_plan_value *r = &p->values[h], *y = &p->values[to];
    if (r->shape.dtype != y->shape.dtype || !may_write(p, &p->steps[small->step], to) || !may_write(p, &p->steps[base->step], to)) return 0;
    if (overlap(r, y) && !(same_place(r, y) && r->shape.row_stride == y->shape.row_stride)) return 0;
    small->residual = h;
    small->out = base->residual = base->out = to;
    return 1;
}

static uint32_t small_first(const co_plan *p, fused_line *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const co_step_op *s = &p->steps[out[i].step];
        if (!is_product(s) || out[i].residual != CO_NONE || out[i].out != CO_NONE || out[i].alpha != 1 || (s->n_in > 2 && s->in[2] != CO_NONE)) continue;
        const co_plan_value *y = &p->values[s->out[0]];
        uint32_t part[MOST_PARTS], parts = 0, last = i;
        int64_t columns = 0;
        for (uint32_t k = i + 1; k < n && columns < y->shape.ne[1]; k++) {
            const int64_t at = adds_to(p, &out[k], s, y);
            if (at < 0 ? !keeps(p, &out[k], s, y) : parts == MOST_PARTS) break;
            if (at < 0) continue;
            int fresh = 1;
            for (uint32_t m = 0; m < parts; m++) fresh &= apart(&p->values[out[part[m]].out], &p->values[out[k].out]);
            if (!fresh) break;
            part[parts++] = last = k;
            columns += p->values[out[k].out].shape.ne[1];
        }
        if (columns != y->shape.ne[1]) continue;
        fused_line base = out[i];
        base.residual = s->out[0];
        for (uint32_t m = 0; m < parts; m++) out[part[m]].residual = CO_NONE;
        memmove(&out[i], &out[i + 1], (last - i) * sizeof *out);
        out[last] = base;
        if (parts > 1 || last + 1 >= n || out[last + 1].twin != CO_NONE) continue;
        if (!takes_addition(p, &out[last - 1], &out[last], &p->steps[out[last + 1].step])) continue;
        memmove(&out[last + 1], &out[last + 2], (n - last - 2) * sizeof *out);
        n--;
    }
    return n;
}

/* Does the line behind turn other heads by the same angles? */
static int turns_with(const co_plan *p, const co_step_op *a, const co_step_op *b)
{
    const co_plan_value *v = p->values;
    if ((a->op != CO_OP_ROPE && a->op != CO_OP_ROPE_BWD) || b->op != a->op || a->in[1] != b->in[1] || a->out[0] == CO_NONE || b->out[0] == CO_NONE) return 0;
    co_rope x = *(const co_rope *)a->attrs, y = *(const co_rope *)b->attrs;
    const co_plan_value *xa = &v[a->in[0]], *xb = &v[b->in[0]], *ya = &v[a->out[0]], *yb = &v[b->out[0]];
    if (xa->shape.ne[1] / x.n_heads != xb->shape.ne[1] / y.n_heads || xa->shape.dtype != xb->shape.dtype || xa->rows != xb->rows) return 0;
    x.n_heads = y.n_heads;
    return memcmp(&x, &y, sizeof x) == 0 && apart(xb, ya) && apart(xa, yb) && apart(ya, yb);
}

uint32_t fuse_lines(const co_plan *p, fused_line *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        fused_line *l = &out[n++];
        const co_step_op *s = &p->steps[i];
        *l = (fused_line){.step = i, .out = CO_NONE, .residual = CO_NONE, .alpha = 1, .twin = CO_NONE};
        if (i + 1 < p->n_steps && turns_with(p, s, &p->steps[i + 1])) {
            l->twin = ++i;
            continue;
        }
        if ((s->op != CO_OP_LINEAR && s->op != CO_OP_LINEAR_BWD_X) || s->n_out < 1) continue;
        uint32_t at = s->out[0];
        const int bias = s->op == CO_OP_LINEAR && s->n_in > 2 && s->in[2] != CO_NONE; /* it is not to be scaled */
        if (!bias && i + 1 < p->n_steps && p->steps[i + 1].op == CO_OP_SCALE && p->steps[i + 1].in[0] == at &&
            dies_next(p, at, p->steps[i + 1].out[0]) && may_write(p, s, p->steps[i + 1].out[0])) {
            l->alpha = ((const co_attr_f32 *)p->steps[i + 1].attrs)->v;
            l->out = at = p->steps[++i].out[0];
        }
        if (i + 1 >= p->n_steps || p->steps[i + 1].op != CO_OP_ADD) continue;
        const co_step_op *add = &p->steps[i + 1];
        const int side = add->in[1] == at;
        if (add->in[side] != at || add->in[0] == add->in[1] || !dies_next(p, at, add->out[0])) continue;
        const co_plan_value *r = &p->values[add->in[1 - side]], *y = &p->values[add->out[0]];
        if (r->shape.dtype != y->shape.dtype || !may_write(p, s, add->out[0])) continue;
        if (overlap(r, y) && !(same_place(r, y) && r->shape.row_stride == y->shape.row_stride)) continue;
        l->residual = add->in[1 - side];
        l->out = add->out[0];
        i++;
    }
    return small_first(p, out, n);
}
