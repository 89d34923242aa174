/* share.c: results that stand where an input stood, so that they take no storage of their own. */
#include "core/graph/planner.h"

uint32_t planner_root(const co_graph *g, uint32_t v, int64_t *col)
{
    int64_t c = 0;
    while (g->values[v].view_of != CO_NONE) {
        c += g->values[v].view_col;
        v = g->values[v].view_of;
    }
    if (col) *col = c;
    return v;
}

static int owned(const planner *p, uint32_t v) /* the planner may place it */
{
    return p->g->values[v].region == CO_REGION_WORK && v != p->g->y && v != p->g->dx;
}

static int same_phase(const planner *p, uint32_t a, uint32_t b)
{
    return p->one || (a < p->n_forward) == (b < p->n_forward);
}

/* Nothing that shares columns with v is read after time t. */
static int dies_at(const planner *p, uint32_t v, uint32_t t)
{
    const co_graph *g = p->g;
    int64_t c0, c1;
    const uint32_t root = planner_root(g, v, &c0);
    for (uint32_t u = 1; u < g->n_values; u++) {
        if (p->first[u] == CO_NONE || planner_root(g, u, &c1) != root) continue;
        if (c1 >= c0 + g->values[v].shape.ne[1] || c0 >= c1 + g->values[u].shape.ne[1]) continue;
        if (p->last[u] > t) return 0;
    }
    return 1;
}

/* Inputs a result may be written over, best first. */
static uint32_t overwritable(const gnode *n, uint32_t out, uint32_t *choice)
{
    uint32_t k = 0;
    switch (n->op) {
    case CO_OP_ADD: case CO_OP_SUB: case CO_OP_MUL: case CO_OP_SWIGLU: case CO_OP_MINIMUM: case CO_OP_MAXIMUM:
        if (out == 0) choice[k++] = 0, choice[k++] = 1;
        break;
    case CO_OP_ROPE: case CO_OP_ROPE_BWD: case CO_OP_SCALE: case CO_OP_EXP: case CO_OP_SILU: case CO_OP_GELU:
    case CO_OP_RELU: case CO_OP_DROPOUT: case CO_OP_CLAMP: case CO_OP_LOG_SIGMOID:
        if (out == 0) choice[k++] = 0;
        break;
    case CO_OP_GELU_BWD: case CO_OP_SILU_BWD: case CO_OP_RELU_BWD: case CO_OP_CLAMP_BWD: case CO_OP_LOG_SIGMOID_BWD:
        choice[k++] = 1;
        break;
    case CO_OP_SWIGLU_GRAD:
        if (out == 0) choice[k++] = 2;
        break;
    case CO_OP_RMSNORM_BWD: case CO_OP_LAYERNORM_BWD:
        if (out == 0 && n->n_in > 3) choice[k++] = 3;
        if (out == 0) choice[k++] = 2;
        break;
    default: break;
    }
    return k;
}

void planner_share_in_place(planner *p, uint32_t t)
{
    co_graph *g = p->g;
    const gnode *n = &g->nodes[t];
    uint32_t choice[2];
    const uint32_t k = overwritable(n, 0, choice);
    for (uint32_t i = 0; i < k; i++) {
        const uint32_t in = n->in[choice[i]], out = n->out[0];
        if (out == CO_NONE) return;
        const gvalue *a = &g->values[in], *b = &g->values[out];
        const uint32_t root = planner_root(g, in, NULL);
        if (!owned(p, root) || p->first[root] == CO_NONE || !same_phase(p, p->first[in], t)) continue;
        if (a->rows != b->rows || a->shape.dtype != b->shape.dtype || a->shape.ne[1] != b->shape.ne[1] ||
            a->shape.ne[0] != b->shape.ne[0] || a->shape.ndim != b->shape.ndim)
            continue;
        if (!dies_at(p, in, t) || root == planner_root(g, out, NULL)) continue;
        if (a->view_of == CO_NONE) g->values[in].view_of = out, g->values[in].view_col = 0;
        else if (b->view_of == CO_NONE && owned(p, out)) g->values[out].view_of = in, g->values[out].view_col = 0;
        else continue;
        return;
    }
}

/* Outputs that may stand exactly where inputs stood: out[first + i] over in[i]. */
static uint32_t twins(const gnode *n, uint32_t *first)
{
    *first = n->op == CO_OP_SWIGLU_GRAD;
    return n->op == CO_OP_SWIGLU_GRAD || n->op == CO_OP_SWIGLU_BWD ? 2 : 0;
}

static int is_twin(planner *p, const gnode *n, uint32_t in, uint32_t out_root)
{
    const co_graph *g = p->g;
    uint32_t first;
    const uint32_t k = twins(n, &first);
    int64_t from, to;
    (void)planner_root(g, in, &from);
    for (uint32_t i = 0; i < k; i++)
        if (n->in[i] == in && n->out[first + i] != CO_NONE && planner_root(g, n->out[first + i], &to) == out_root && to == from &&
            g->values[in].shape.ne[1] == g->values[n->out[first + i]].shape.ne[1])
            return 1;
    return 0;
}

/* Gradients of gate and up stand where gate and up, saved by the forward and read for the last time, stood: [tokens, 2 d_ff]
 * less of WORK. Whole blocks change hands: everything else in the old one is dead, nothing of the new one is born yet. */
void planner_share_twins(planner *p, uint32_t t)
{
    co_graph *g = p->g;
    const gnode *n = &g->nodes[t];
    uint32_t first;
    if (!twins(n, &first) || n->out[first] == CO_NONE) return;
    const uint32_t old = planner_root(g, n->in[0], NULL), new = planner_root(g, n->out[first], NULL);
    const gvalue *a = &g->values[old], *b = &g->values[new];
    if (old == new || !owned(p, old) || !owned(p, new) || a->rows != b->rows || a->shape.dtype != b->shape.dtype ||
        a->shape.ne[0] != b->shape.ne[0] || a->shape.ne[1] != b->shape.ne[1])
        return;
    for (uint32_t v = 1; v < g->n_values; v++) {
        if (p->first[v] == CO_NONE) continue;
        const uint32_t root = planner_root(g, v, NULL);
        if (root == old && (p->last[v] > t || (p->last[v] == t && !is_twin(p, n, v, new)))) return;
        if (root == new && p->first[v] < t) return;
    }
    g->values[new].view_of = old;
    g->values[new].view_col = 0;
}

int planner_copies_onto_itself(const co_graph *g, const gnode *n)
{
    int64_t a, b;
    if (n->op != CO_OP_SCALE || ((const co_attr_f32 *)(const void *)n->attrs)->v != 1.0f) return 0;
    return planner_root(g, n->in[0], &a) == planner_root(g, n->out[0], &b) && a == b;
}

int planner_share_concat(planner *p, uint32_t t)
{
    co_graph *g = p->g;
    const gnode *n = &g->nodes[t];
    int64_t col = 0;
    int all = 1;
    for (uint32_t i = 0; i < n->n_in; i++) {
        gvalue *part = &g->values[n->in[i]];
        const int64_t width = part->shape.ne[1];
        if (part->view_of == CO_NONE && owned(p, n->in[i]) && p->first[n->in[i]] != CO_NONE &&
            same_phase(p, p->first[n->in[i]], t)) {
            part->view_of = n->out[0];
            part->view_col = col;
        } else {
            all = 0;
        }
        col += width;
    }
    return all;
}
