/* flops.c: the floating-point operations a plan cannot do without: products, two a multiply-add. Recomputing what was not
 * kept is the plan's own choice and not counted. */
#include "core/graph/engine_impl.h"

/* Pairs of query and key that see each other in a sequence of n. */
static double pairs(const co_attn *a, double n)
{
    if (!a->causal) return n * n;
    const double w = a->window > 0 && a->window < n ? a->window : n;
    return w * (w + 1) / 2 + (n - w) * w;
}

double graph_step_flops(const co_plan *p, const co_step_op *s, const co_live *live)
{
    uint32_t w = CO_NONE;
    double products = 1, sum = 0;
    switch (s->op) {
    case CO_OP_LINEAR:
    case CO_OP_LINEAR_BWD_X: w = s->in[1]; break;
    case CO_OP_LINEAR_BWD_W: w = s->out[0]; break;
    case CO_OP_TOKEN_LOGPROB: w = s->in[1]; break;
    case CO_OP_TOKEN_LOGPROB_BWD: w = s->in[1], products = (s->out[0] != CO_NONE) + (s->out[1] != CO_NONE); break;
    case CO_OP_TOKEN_LOGPROB_GRAD: w = s->in[1], products = 1 + (s->out[1] != CO_NONE) + (s->out[2] != CO_NONE); break;
    case CO_OP_ATTENTION:
    case CO_OP_ATTENTION_BWD: { /* q k^T and p v; dv, dp, dq, dk */
        const co_attn *a = s->attrs;
        for (int32_t i = 0; i < live->n_seqs; i++) sum += pairs(a, live->seq_start[i + 1] - live->seq_start[i]);
        return (s->op == CO_OP_ATTENTION ? 4.0 : 8.0) * sum * (double)p->values[s->in[0]].shape.ne[1];
    }
    default: return 0;
    }
    const co_plan_value *x = &p->values[s->in[0]];
    const co_tensor *t = &p->values[w].shape;
    const double rows = x->rows == CO_ROWS_TOKENS ? live->n_tokens : (double)x->shape.ne[0];
    return 2 * products * rows * (double)t->ne[0] * (double)t->ne[1];
}

double engine_flops(const engine *e, const co_live *live)
{
    double sum = 0;
    for (uint32_t u = 0; u < e->n_units && e->has_mode[MODE_TRAIN]; u++) {
        const unit_plans *p = &e->units[MODE_TRAIN][e->kind_of[u]].plans;
        const co_plan *both[2] = {&p->forward, &p->backward};
        for (int side = 0; side < 2; side++)
            for (uint32_t i = 0; i < both[side]->n_steps; i++) sum += graph_step_flops(both[side], &both[side]->steps[i], live);
    }
    return sum;
}
