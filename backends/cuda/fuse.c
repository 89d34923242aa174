/* fuse.c: a product followed by a scaling and an addition becomes one product with a scaled, added-to epilogue:
 * y = alpha x w^T + residual. It saves a pass that reads twice and writes once [tokens, n], and the sum is rounded once
 * instead of twice. Residual branches, LoRA's second product and sums of input gradients are of this form. */
#include "fuse.h"
#include "cuda.h"

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

uint32_t fuse_lines(const co_plan *p, fused_line *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        fused_line *l = &out[n++];
        const co_step_op *s = &p->steps[i];
        *l = (fused_line){.step = i, .out = CO_NONE, .residual = CO_NONE, .alpha = 1};
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
    return n;
}
