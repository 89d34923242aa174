/* attention.c: lines of attention, handed to attention.h. */
#include "attention.h"
#include "cuda.h"
#include <string.h>

/* What a line says of its operands: q, k, v in front, then by op. */
static cuda_attn describe(const co_plan_value *values, const co_step_op *op)
{
    const co_plan_value *q = &values[op->in[0]], *k = &values[op->in[1]], *v = &values[op->in[2]];
    const co_attr_cached *cached = op->op == CO_OP_ATTENTION_CACHED ? op->attrs : NULL;
    const co_attn *a = cached ? &cached->attn : op->attrs;
    cuda_attn x = {.dtype = q->shape.dtype, .n_heads = (int32_t)a->n_heads, .n_kv_heads = (int32_t)a->n_kv_heads,
                   .head_dim = (int32_t)(q->shape.ne[1] / a->n_heads), .tokens = (int32_t)q->shape.ne[0], .scale = a->scale, .causal = a->causal,
                   .alibi = a->alibi, .window = a->window, .q = q->shape.row_stride, .k = k->shape.row_stride, .v = v->shape.row_stride};
    const uint32_t *out = op->out;
#define STRIDE(i) (i != CO_NONE ? values[i].shape.row_stride : 0)
    if (op->op == CO_OP_ATTENTION) {
        x.o = STRIDE(out[0]);
        x.lse = STRIDE(out[1]);
    } else if (cached) {
        x.slot_len = cached->slot_len;
        x.kc = STRIDE(op->in[3]);
        x.vc = STRIDE(op->in[4]);
        x.o = STRIDE(out[0]);
    } else {
        x.o = STRIDE(op->in[3]);
        x.lse = STRIDE(op->in[4]);
        x.d_o = STRIDE(op->in[5]);
        x.dq = STRIDE(out[0]);
        x.dk = STRIDE(out[1]);
        x.dv = STRIDE(out[2]);
    }
#undef STRIDE
    return x;
}

static cuda_attn_live live_of(const cuda_step *s)
{
    return (cuda_attn_live){.dev = s->dev_live, .n_tokens = s->live->n_tokens, .n_seqs = s->live->n_seqs};
}

size_t cuda_attention_scratch(const gpu *c, const co_plan *p, const co_step_op *op)
{
    const cuda_attn a = describe(p->values, op);
    if (op->op == CO_OP_ATTENTION) return cuda_attn_forward_scratch(&c->attn, &a);
    return op->op == CO_OP_ATTENTION_CACHED ? cuda_attn_cached_scratch(&c->attn, &a) : cuda_attn_backward_scratch(&c->attn, &a);
}

const char *cuda_attention_refuses(const gpu *c, const co_plan *p, const co_step_op *op)
{
    const co_attn *plain = op->op == CO_OP_ATTENTION_CACHED ? &((const co_attr_cached *)op->attrs)->attn : op->attrs;
    const cuda_attn a = describe(p->values, op);
    if (plain->dropout > 0) return "attention with dropout has no CUDA kernel; set it to 0";
    return cuda_attn_refuses(&c->attn, &a);
}

int cuda_run_ATTENTION(const cuda_step *s)
{
    const cuda_attn a = describe(s->values, s->op);
    const cuda_attn_live live = live_of(s);
    if (s->in[0].rows == 0) return CO_OK;
    return cuda_check(s->c, cuda_attn_forward(&s->c->attn, &a, s->in[0].p, s->in[1].p, s->in[2].p, s->out[0].p, s->out[1].p, &live, NULL, s->scratch, s->on), "attention");
}

int cuda_run_ATTENTION_BWD(const cuda_step *s)
{
    const cuda_attn a = describe(s->values, s->op);
    const cuda_attn_live live = live_of(s);
    if (s->in[0].rows == 0) return CO_OK;
    return cuda_check(s->c, cuda_attn_backward(&s->c->attn, &a, s->in[0].p, s->in[1].p, s->in[2].p, s->in[3].p, s->in[4].p, s->in[5].p, s->out[0].p, s->out[1].p,
                                               s->out[2].p, &live, NULL, s->scratch, s->on), "the backward of attention");
}

int cuda_run_ATTENTION_CACHED(const cuda_step *s)
{
    const cuda_attn a = describe(s->values, s->op);
    const cuda_attn_live live = live_of(s);
    if (s->in[0].rows == 0) return CO_OK;
    return cuda_check(s->c, cuda_attn_cached(&s->c->attn, &a, s->in[0].p, s->in[1].p, s->in[2].p, s->in[3].p, s->in[4].p, s->out[0].p, &live, s->scratch, s->on), "attention over the cache");
}
