/* cost.c: how long a micro-step takes by given speeds: the plans are walked as a run would, and each line takes as long as its
 * operations or the bytes of its inputs and outputs, whichever is longer. What a line costs beside these, and caches, are
 * not known here: op_s alone stands for them. */
#include "core/base/error.h"
#include "core/graph/engine_impl.h"

static double value_bytes(const co_plan *p, uint32_t v, const co_live *live)
{
    const co_plan_value *x = &p->values[v];
    const co_tensor *t = &x->shape;
    double n = x->rows == CO_ROWS_TOKENS ? live->n_tokens : x->rows == CO_ROWS_SEQS ? live->n_seqs : x->rows == CO_ROWS_GATHERED ? live->n_gathered : 0;
    if (x->rows == CO_ROWS_FIXED) n = t->ndim ? (double)t->ne[0] : 1;
    for (uint32_t i = 1; i < t->ndim; i++) n *= (double)t->ne[i];
    return n * (double)co_dtype_bytes(t->dtype);
}

static double step_bytes(const co_plan *p, const co_step_op *s, const co_live *live)
{
    double sum = 0;
    if (s->op == CO_OP_SPLIT || s->op == CO_OP_STOP_GRADIENT) return 0; /* views */
    for (uint32_t i = 0; i < s->n_out; i++)
        if (s->out[i] != CO_NONE) sum += value_bytes(p, s->out[i], live);
    for (uint32_t i = 0; i < s->n_in; i++)
        if (s->in[i] != CO_NONE && !(s->op == CO_OP_EMBEDDING && i == 1)) sum += value_bytes(p, s->in[i], live);
    return s->op == CO_OP_EMBEDDING ? sum + value_bytes(p, s->out[0], live) : sum; /* as many rows of the table as there are tokens */
}

static double speed_of(const co_step_op *s, double flops, const engine_speeds *v)
{
    if (s->op == CO_OP_ATTENTION) return v->attention;
    if (s->op == CO_OP_ATTENTION_BWD) return v->attention_backward;
    return flops < v->small_below ? v->small_product : v->product;
}

static void add_plan(const co_plan *p, const co_live *live, const engine_speeds *v, engine_cost *to, double *seconds)
{
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const double flops = graph_step_flops(p, &p->steps[i], live), bytes = step_bytes(p, &p->steps[i], live);
        const double computed = flops > 0 ? flops / speed_of(&p->steps[i], flops, v) : 0, moved = bytes / v->memory;
        const double longer = computed > moved ? computed : moved;
        *seconds += longer > v->op_s || bytes <= 0 ? longer : v->op_s;
        to->flops += flops;
        to->bytes += bytes;
    }
}

void engine_predict(const engine *e, const co_live *live, const engine_speeds *v, engine_cost *out)
{
    *out = (engine_cost){0};
    for (uint32_t u = 0; u < e->n_units && e->has_mode[MODE_TRAIN]; u++) {
        const unit_plans *p = &e->units[MODE_TRAIN][e->kind_of[u]].plans;
        const int last = u + 1 == e->n_units; /* forward and backward in one plan */
        add_plan(&p->forward, live, v, out, last ? &out->backward_s : &out->forward_s);
        if (last) continue;
        if (e->a.checkpoint_blocks && e->kind_of[u] >= KIND_BLOCK) add_plan(&p->forward, live, v, out, &out->backward_s);
        add_plan(&p->backward, live, v, out, &out->backward_s);
    }
    if (e->a.offload_activations && e->has_mode[MODE_TRAIN])
        out->offloaded = (double)(e->n_units - 1) * (double)live->n_tokens * (double)e->d_model * (double)co_dtype_bytes(e->a.params->dtype);
}

int engine_traffic(const engine *e, co_strategy_traffic *out)
{
    const int32_t micro_steps = out->micro_steps;
    *out = (co_strategy_traffic){.struct_size = sizeof *out, .micro_steps = micro_steps};
    if (!CO_HAS(co_strategy_vt, e->a.strategy, traffic)) return FAIL(CO_E_UNSUPPORTED, "this strategy does not say what it moves");
    return PLUGIN("the strategy's traffic()", e->a.strategy->traffic(e->strategy, out));
}
