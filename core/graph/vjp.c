/* vjp.c: reverse-mode differentiation of a unit, node by node in reverse. Each rule is written with ops of the
 * vocabulary; a value with several uses gets the sum of their gradients. */
#include "core/graph/graph.h"
#include "core/base/error.h"
#include <string.h>

typedef struct vjp {
    co_graph *g;
    uint32_t *grad;  /* by value: its gradient so far, 0: none */
    uint8_t *needs;  /* by value: something trainable depends on it */
    uint8_t *has_grad_slot; /* by parameter: an earlier contribution exists in this plan */
    uint32_t cap;
} vjp;

static uint32_t like(co_graph *g, uint32_t v)
{
    const gvalue m = g->values[v];
    return graph_value(g, m.shape.dtype, m.rows, m.shape.ndim, m.shape.ne[0], m.shape.ne[1], CO_REGION_WORK);
}

/* Emits a node whose outputs are the given values (CO_NONE: unwanted). */
static void emit(co_graph *g, uint32_t op, uint32_t n_in, const uint32_t *in, const void *at, size_t as,
                 uint32_t n_out, const uint32_t *out)
{
    if (!graph_node(g, op, n_in, in, at, as)) return;
    gnode *n = &g->nodes[g->n_nodes - 1];
    n->n_out = n_out;
    for (uint32_t i = 0; i < n_out; i++) n->out[i] = out[i];
}

static void contribute(vjp *d, uint32_t v, uint32_t dv)
{
    co_graph *g = d->g;
    if (!dv || v >= d->cap) return;
    if (!d->grad[v]) {
        d->grad[v] = dv;
        return;
    }
    const uint32_t in[2] = {d->grad[v], dv};
    const uint32_t sum = like(g, v);
    emit(g, CO_OP_ADD, 2, in, NULL, 0, 1, &sum);
    d->grad[v] = sum;
}

/* The gradient place of parameter value `p`, CO_NONE if frozen. */
static uint32_t param_grad(vjp *d, uint32_t p)
{
    co_graph *g = d->g;
    if (p == 0 || !d->needs[p]) return CO_NONE;
    const uint32_t v = like(g, p);
    if (!v) return CO_NONE;
    const uint32_t slot = g->values[p].slot;
    g->values[v].region = CO_REGION_GRAD;
    g->values[v].shape.dtype = (uint8_t)g->scope.slots[slot].grad_dtype;
    g->values[v].slot = slot;
    g->values[v].label = g->values[p].label;
    if (d->has_grad_slot[slot]) g->values[v].flags |= CO_VALUE_ADDS;
    d->has_grad_slot[slot] = 1;
    return v;
}

/* A gradient place for input `v` of the node: a parameter's slot, a fresh value, or CO_NONE. */
static uint32_t place(vjp *d, uint32_t v)
{
    if (v == CO_NONE || v == 0 || !d->needs[v]) return CO_NONE;
    return d->g->values[v].region == CO_REGION_PARAM ? param_grad(d, v) : like(d->g, v);
}
static void deliver(vjp *d, uint32_t v, uint32_t dv)
{
    if (dv != CO_NONE && d->g->values[v].region != CO_REGION_PARAM) contribute(d, v, dv);
}

static void unary(vjp *d, const gnode *n, uint32_t op, uint32_t n_in, const uint32_t *in)
{
    const uint32_t dx = place(d, n->in[0]);
    if (dx == CO_NONE) return;
    emit(d->g, op, n_in, in, n->attrs, n->attrs_size, 1, &dx);
    deliver(d, n->in[0], dx);
}

static void scaled(vjp *d, uint32_t v, uint32_t dy, float s)
{
    const uint32_t dx = place(d, v);
    if (dx == CO_NONE) return;
    const co_attr_f32 at = {s};
    emit(d->g, CO_OP_SCALE, 1, &dy, &at, sizeof at, 1, &dx);
    deliver(d, v, dx);
}

static void product(vjp *d, uint32_t v, uint32_t other, uint32_t dy)
{
    const uint32_t dx = place(d, v);
    if (dx == CO_NONE) return;
    const uint32_t in[2] = {dy, other};
    emit(d->g, CO_OP_MUL, 2, in, NULL, 0, 1, &dx);
    deliver(d, v, dx);
}

/* One rule for each op that ops.def marks DIFF: the table below does not compile without it. dy: the gradient of the first
 * output, 0 where none has come (only SPLIT is asked then). */
#define RULE(id) static void rule_##id(vjp *d, const gnode *n, uint32_t dy)

RULE(LINEAR)
{
    const uint32_t x = n->in[0], w = n->in[1], dx = place(d, x);
    if (dx != CO_NONE) {
        const uint32_t in[2] = {dy, w};
        emit(d->g, CO_OP_LINEAR_BWD_X, 2, in, NULL, 0, 1, &dx);
        deliver(d, x, dx);
    }
    const uint32_t dw = place(d, w);
    if (dw != CO_NONE) {
        const uint32_t in[2] = {x, dy};
        emit(d->g, CO_OP_LINEAR_BWD_W, 2, in, NULL, 0, 1, &dw);
        deliver(d, w, dw);
    }
    const uint32_t db = n->n_in > 2 ? place(d, n->in[2]) : CO_NONE;
    if (db != CO_NONE) emit(d->g, CO_OP_LINEAR_BWD_B, 1, &dy, NULL, 0, 1, &db);
}

static void norm(vjp *d, const gnode *n, uint32_t dy)
{
    const int layer = n->op == CO_OP_LAYERNORM;
    const uint32_t in[3] = {n->in[0], n->in[1], dy};
    uint32_t out[3];
    out[0] = place(d, n->in[0]);
    out[1] = place(d, n->in[1]);
    out[2] = layer && n->n_in > 2 ? place(d, n->in[2]) : CO_NONE;
    if (out[0] == CO_NONE && out[1] == CO_NONE && out[2] == CO_NONE) return;
    emit(d->g, layer ? CO_OP_LAYERNORM_BWD : CO_OP_RMSNORM_BWD, 3, in, n->attrs, n->attrs_size, layer ? 3 : 2, out);
    deliver(d, n->in[0], out[0]);
}

RULE(ATTENTION)
{
    const uint32_t in[6] = {n->in[0], n->in[1], n->in[2], n->out[0], n->out[1], dy};
    uint32_t out[3];
    for (int i = 0; i < 3; i++) out[i] = place(d, n->in[i]);
    if (out[0] == CO_NONE && out[1] == CO_NONE && out[2] == CO_NONE) return;
    emit(d->g, CO_OP_ATTENTION_BWD, 6, in, n->attrs, n->attrs_size, 3, out);
    for (int i = 0; i < 3; i++) deliver(d, n->in[i], out[i]);
}

/* Two inputs, two gradients, one op. */
static void pair(vjp *d, const gnode *n, uint32_t dy, uint32_t op)
{
    const uint32_t in[3] = {n->in[0], n->in[1], dy};
    uint32_t out[2] = {place(d, n->in[0]), place(d, n->in[1])};
    if (out[0] == CO_NONE && out[1] == CO_NONE) return;
    emit(d->g, op, 3, in, NULL, 0, 2, out);
    deliver(d, n->in[0], out[0]);
    deliver(d, n->in[1], out[1]);
}

RULE(TOKEN_LOGPROB)
{
    const uint32_t in[5] = {n->in[0], n->in[1], n->in[2], n->out[1], dy};
    uint32_t out[2] = {place(d, n->in[0]), place(d, n->in[1])};
    if (out[0] == CO_NONE && out[1] == CO_NONE) return;
    emit(d->g, CO_OP_TOKEN_LOGPROB_BWD, 5, in, n->attrs, n->attrs_size, 2, out);
    deliver(d, n->in[0], out[0]);
    deliver(d, n->in[1], out[1]);
}

RULE(SPLIT)
{
    (void)dy; /* each output has its own */
    co_graph *g = d->g;
    if (place(d, n->in[0]) == CO_NONE) return;
    uint32_t part[GRAPH_MAX_IO];
    for (uint32_t i = 0; i < n->n_out; i++) {
        part[i] = d->grad[n->out[i]];
        if (part[i]) continue;
        part[i] = like(g, n->out[i]);
        emit(g, CO_OP_FILL0, 0, NULL, NULL, 0, 1, &part[i]);
    }
    const uint32_t dx = like(g, n->in[0]);
    emit(g, CO_OP_CONCAT, n->n_out, part, NULL, 0, 1, &dx);
    deliver(d, n->in[0], dx);
}

RULE(EMBEDDING)
{
    const uint32_t in[2] = {n->in[0], dy}, dw = place(d, n->in[1]);
    if (dw != CO_NONE) emit(d->g, CO_OP_EMBEDDING_BWD, 2, in, NULL, 0, 1, &dw);
}

#define X_DY (const uint32_t[]){n->in[0], dy}
#define DY_SECOND (const uint32_t[]){dy, n->in[1]}
#define SECOND_DY (const uint32_t[]){n->in[1], dy}
RULE(RMSNORM) { norm(d, n, dy); }
RULE(LAYERNORM) { norm(d, n, dy); }
RULE(ROPE) { unary(d, n, CO_OP_ROPE_BWD, 2, DY_SECOND); }
RULE(SWIGLU) { pair(d, n, dy, CO_OP_SWIGLU_BWD); }
RULE(GELU) { unary(d, n, CO_OP_GELU_BWD, 2, X_DY); }
RULE(SILU) { unary(d, n, CO_OP_SILU_BWD, 2, X_DY); }
RULE(RELU) { unary(d, n, CO_OP_RELU_BWD, 2, X_DY); }
RULE(ROW_GATHER) { unary(d, n, CO_OP_ROW_GATHER_BWD, 2, DY_SECOND); }
RULE(DROPOUT) { unary(d, n, CO_OP_DROPOUT, 1, &dy); }
RULE(ADD) { scaled(d, n->in[0], dy, 1), scaled(d, n->in[1], dy, 1); }
RULE(SUB) { scaled(d, n->in[0], dy, 1), scaled(d, n->in[1], dy, -1); }
RULE(MUL) { product(d, n->in[0], n->in[1], dy), product(d, n->in[1], n->in[0], dy); }
RULE(SCALE) { unary(d, n, CO_OP_SCALE, 1, &dy); }
RULE(EXP) { product(d, n->in[0], n->out[0], dy); }
RULE(LOG_SIGMOID) { unary(d, n, CO_OP_LOG_SIGMOID_BWD, 2, X_DY); }
RULE(CLAMP) { unary(d, n, CO_OP_CLAMP_BWD, 2, X_DY); }
RULE(MINIMUM) { pair(d, n, dy, CO_OP_MINIMUM_BWD); }
RULE(MAXIMUM) { pair(d, n, dy, CO_OP_MAXIMUM_BWD); }
RULE(MASKED_MEAN) { unary(d, n, CO_OP_MASKED_MEAN_BWD, 2, SECOND_DY); }
RULE(MASKED_SUM_ROWS) { unary(d, n, CO_OP_MASKED_SUM_ROWS_BWD, 2, SECOND_DY); }

static void stops(vjp *d, const gnode *n, uint32_t dy) { (void)d, (void)n, (void)dy; }

/* The last column of ops.def, as a function or none. */
typedef void rule_fn(vjp *d, const gnode *n, uint32_t dy);
static rule_fn *const rules[CO_OP_COUNT] = {
#define DIFF(id) rule_##id,
#define STOPS(id) stops,
#define NONE(id) NULL,
#define INFERENCE(id) NULL,
#define INTEGER(id) NULL,
#define SECOND(id) NULL,
#define OP(id, name, min_in, max_in, n_out, derivative) derivative(id)
#include <coati/ops.def>
#undef OP
};

static int differentiate(vjp *d, const gnode *n)
{
    const uint32_t dy = n->out[0] == CO_NONE ? 0 : d->grad[n->out[0]];
    if (!dy && n->op != CO_OP_SPLIT) return CO_OK;
    if (!rules[n->op]) return graph_fail(d->g, "op '%s' has no derivative", op_name(n->op));
    rules[n->op](d, n, dy);
    return CO_OK;
}

/* ADD passes its gradient on unchanged: a factor of 1 needs no node. */
static void drop_unit_scales(co_graph *g, uint32_t first)
{
    for (uint32_t i = first; i < g->n_nodes; i++) {
        gnode *n = &g->nodes[i];
        if (n->op != CO_OP_SCALE || ((const co_attr_f32 *)(const void *)n->attrs)->v != 1.0f) continue;
        if (n->out[0] == g->dx || g->values[n->out[0]].shape.dtype != g->values[n->in[0]].shape.dtype) continue;
        const uint32_t from = n->out[0], to = n->in[0];
        for (uint32_t k = first; k < g->n_nodes; k++)
            for (uint32_t j = 0; j < g->nodes[k].n_in; j++)
                if (g->nodes[k].in[j] == from) g->nodes[k].in[j] = to;
        memmove(&g->nodes[i], &g->nodes[i + 1], (g->n_nodes - 1 - i) * sizeof *g->nodes);
        g->n_nodes--;
        i--;
    }
}

int graph_derive(co_graph *g, uint32_t loss, int want_dx)
{
    if (g->failed) return g->failed;
    const uint32_t n_forward = g->n_nodes, n_values = g->n_values;
    const size_t cap = (size_t)n_values + 1;
    vjp d = {.g = g, .cap = n_values};
    d.grad = arena_push(g->arena, 16384 * sizeof *d.grad, 16);
    d.needs = arena_push(g->arena, 16384, 16);
    d.has_grad_slot = arena_push(g->arena, g->scope.n_params + 1, 16);
    if (!d.grad || !d.needs || !d.has_grad_slot) return FAIL(CO_E_NOMEM, "out of memory");
    if (cap > 8192) return graph_fail(g, "a unit of %u values is too large", n_values);
    memset(d.grad, 0, 16384 * sizeof *d.grad);
    memset(d.needs, 0, 16384);
    memset(d.has_grad_slot, 0, g->scope.n_params + 1);

    for (uint32_t v = 1; v < n_values; v++)
        d.needs[v] = g->values[v].region == CO_REGION_PARAM ? g->scope.slots[g->values[v].slot].trainable != 0
                                                            : v == g->x && want_dx;
    for (uint32_t i = 0; i < n_forward; i++) {
        const gnode *n = &g->nodes[i];
        int any = 0;
        for (uint32_t k = 0; k < n->n_in; k++) any |= d.needs[n->in[k]];
        if (n->op == CO_OP_STOP_GRADIENT) any = 0;
        if (any && !op_differentiable(n->op)) return graph_fail(g, "op '%s' has no derivative", op_name(n->op));
        for (uint32_t k = 0; k < n->n_out; k++)
            if (n->out[k] != CO_NONE) d.needs[n->out[k]] = (uint8_t)any;
    }

    g->recording_backward = 1;
    if (loss) {
        const uint32_t seed = like(g, loss);
        emit(g, CO_OP_LOSS_SEED, 0, NULL, NULL, 0, 1, &seed);
        d.grad[loss] = seed;
    } else {
        d.grad[g->y] = g->dy = like(g, g->y);
        g->values[g->dy].region = CO_REGION_DY;
    }
    for (uint32_t i = n_forward; i-- > 0;) {
        const gnode n = g->nodes[i]; /* a copy: emit() may move the array */
        int r = differentiate(&d, &n);
        if (r) return r;
        if (g->n_values >= 16000) return graph_fail(g, "the backward is too large");
    }
    if (want_dx && g->x) {
        const uint32_t dx = like(g, g->x);
        const co_attr_f32 one = {1.0f};
        g->values[dx].region = CO_REGION_DX;
        g->dx = dx;
        if (!d.grad[g->x]) emit(g, CO_OP_FILL0, 0, NULL, NULL, 0, 1, &dx);
        else emit(g, CO_OP_SCALE, 1, &d.grad[g->x], &one, sizeof one, 1, &dx);
    }
    g->recording_backward = 0;
    drop_unit_scales(g, n_forward);
    return g->failed;
}
