/* rewrite.c: passes over forward and backward together that save memory traffic: a residual's gradient added
 * inside the norm's backward, the classifier in one pass, cheap values computed again instead of kept. */
#include "core/graph/graph.h"
#include "core/base/error.h"
#include <string.h>

static uint32_t producer(const co_graph *g, uint32_t v)
{
    for (uint32_t i = 0; i < g->n_nodes; i++)
        for (uint32_t k = 0; k < g->nodes[i].n_out; k++)
            if (g->nodes[i].out[k] == v) return i;
    return CO_NONE;
}
static uint32_t count_uses(const co_graph *g, uint32_t v)
{
    uint32_t n = v == g->y || v == g->dx;
    for (uint32_t i = 0; i < g->n_nodes; i++)
        for (uint32_t k = 0; k < g->nodes[i].n_in; k++) n += g->nodes[i].in[k] == v;
    return n;
}
static void remove_node(co_graph *g, uint32_t i)
{
    memmove(&g->nodes[i], &g->nodes[i + 1], (g->n_nodes - i - 1) * sizeof *g->nodes);
    g->n_nodes--;
}

/* Does computing v need `of`? */
static int depends(const co_graph *g, uint32_t v, uint32_t of)
{
    if (v == of) return 1;
    const uint32_t p = producer(g, v);
    if (p == CO_NONE) return 0;
    for (uint32_t k = 0; k < g->nodes[p].n_in; k++)
        if (depends(g, g->nodes[p].in[k], of)) return 1;
    return 0;
}

/* add(a, norm_bwd(x, w, dy)) -> norm_bwd(x, w, dy, res = a): one pass over [tokens, d_model] less. */
static void residual_into_norm(co_graph *g)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const gnode add = g->nodes[i];
        if (add.op != CO_OP_ADD || !add.backward) continue;
        for (int side = 0; side < 2; side++) {
            const uint32_t b = add.in[side], a = add.in[1 - side], p = producer(g, b);
            if (p == CO_NONE || count_uses(g, b) != 1 || g->nodes[p].n_in != 3) continue;
            if (g->nodes[p].op != CO_OP_RMSNORM_BWD && g->nodes[p].op != CO_OP_LAYERNORM_BWD) continue;
            if (g->nodes[p].out[0] != b || depends(g, a, b)) continue;
            g->nodes[p].in[3] = a;
            g->nodes[p].n_in = 4;
            g->nodes[p].out[0] = add.out[0];
            remove_node(g, i);
            i--;
            break;
        }
    }
}

/* Where the gradient of the log-probabilities is known without them (SFT: -mask/D), forward and backward of the
 * classifier share one pass over the vocabulary. */
static void classifier_in_one_pass(co_graph *g)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].op != CO_OP_TOKEN_LOGPROB_BWD) continue;
        const gnode b = g->nodes[i];
        const uint32_t f = producer(g, b.in[3]);
        if (f == CO_NONE) continue;
        const gnode fwd = g->nodes[f];
        if (depends(g, b.in[4], fwd.out[0]) || depends(g, b.in[4], fwd.out[1])) continue;
        gnode *n = &g->nodes[i];
        n->op = CO_OP_TOKEN_LOGPROB_GRAD;
        n->n_in = 4;
        n->in[3] = b.in[4];
        n->n_out = 3;
        n->out[0] = fwd.out[0];
        n->out[1] = b.out[0];
        n->out[2] = b.out[1];
        remove_node(g, f);
        i--;
    }
}

static int cheap(uint32_t op)
{
    switch (op) {
    case CO_OP_RMSNORM: case CO_OP_LAYERNORM: case CO_OP_SWIGLU: case CO_OP_GELU: case CO_OP_SILU: case CO_OP_RELU:
        return 1;
    default: return 0;
    }
}

/* Values of cheap ops that the backward reads are computed again there: [tokens, d_ff] and twice
 * [tokens, d_model] less to keep in a block, for a few percent of its elementwise work. */
static void recompute_cheap(co_graph *g)
{
    uint32_t *again = arena_push(g->arena, g->n_values * sizeof *again, 16);
    if (!again) return;
    memset(again, 0, g->n_values * sizeof *again);
    const uint32_t n_known = g->n_values;
    for (uint32_t i = 0; i < g->n_nodes; i++) { /* clones are appended and visited too: chains resolve */
        if (!g->nodes[i].backward) continue;
        for (uint32_t k = 0; k < g->nodes[i].n_in; k++) {
            const uint32_t v = g->nodes[i].in[k];
            if (v >= n_known || v == g->y) continue;
            const uint32_t p = producer(g, v);
            if (p == CO_NONE || g->nodes[p].backward || !cheap(g->nodes[p].op)) continue;
            if (!again[v]) {
                const gnode from = g->nodes[p];
                const gvalue m = g->values[v];
                const uint32_t c = graph_value(g, m.shape.dtype, m.rows, m.shape.ndim, m.shape.ne[0], m.shape.ne[1],
                                               CO_REGION_WORK);
                g->recording_backward = 1;
                gnode *n = graph_node(g, from.op, from.n_in, from.in, from.attrs, from.attrs_size);
                g->recording_backward = 0;
                if (!c || !n) return;
                g->nodes[g->n_nodes - 1].out[0] = c;
                g->values[c].label = "again";
                again[v] = c;
            }
            g->nodes[i].in[k] = again[v];
        }
    }
}

/* h = swiglu(gate, up) computed again and swiglu_bwd(gate, up, dh) -> one swiglu_grad: gate and up, [tokens, d_ff] each, are
 * read once less. */
static void swiglu_in_one_pass(co_graph *g)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const gnode b = g->nodes[i];
        if (b.op != CO_OP_SWIGLU_BWD) continue;
        for (uint32_t k = 0; k < g->n_nodes; k++) {
            const gnode a = g->nodes[k];
            if (a.op != CO_OP_SWIGLU || !a.backward || a.in[0] != b.in[0] || a.in[1] != b.in[1] || depends(g, b.in[2], a.out[0])) continue;
            gnode *n = &g->nodes[i];
            n->op = CO_OP_SWIGLU_GRAD;
            n->n_out = 3;
            n->out[0] = a.out[0];
            n->out[1] = b.out[0];
            n->out[2] = b.out[1];
            remove_node(g, k);
            i -= k < i;
            break;
        }
    }
}

int graph_rewrite(co_graph *g, int one)
{
    residual_into_norm(g);
    if (one) classifier_in_one_pass(g);
    else recompute_cheap(g), swiglu_in_one_pass(g);
    return g->failed ? g->failed : graph_sort(g);
}

/* ---- order: each node after its producers, otherwise as recorded --------------------------------------- */
typedef struct sorter {
    co_graph *g;
    const uint32_t *maker; /* by value */
    uint8_t *state;        /* by node: 0 new, 1 open, 2 done */
    gnode *out;
    uint32_t n;
} sorter;

static int visit(sorter *s, uint32_t i)
{
    if (s->state[i] == 2) return CO_OK;
    if (s->state[i] == 1) return graph_fail(s->g, "op '%s' depends on itself", op_name(s->g->nodes[i].op));
    s->state[i] = 1;
    for (uint32_t k = 0; k < s->g->nodes[i].n_in; k++) {
        const uint32_t p = s->maker[s->g->nodes[i].in[k]];
        if (p == CO_NONE) continue;
        int r = visit(s, p);
        if (r) return r;
    }
    s->state[i] = 2;
    s->out[s->n++] = s->g->nodes[i];
    return CO_OK;
}

int graph_sort(co_graph *g)
{
    uint32_t *maker = arena_push(g->arena, g->n_values * sizeof *maker, 16);
    sorter s = {.g = g, .maker = maker};
    s.state = arena_push(g->arena, g->n_nodes + 1, 16);
    s.out = arena_push(g->arena, (g->n_nodes + 1) * sizeof *s.out, 16);
    if (!maker || !s.state || !s.out) return FAIL(CO_E_NOMEM, "out of memory");
    memset(maker, 0xff, g->n_values * sizeof *maker);
    memset(s.state, 0, g->n_nodes + 1);
    for (uint32_t i = 0; i < g->n_nodes; i++)
        for (uint32_t k = 0; k < g->nodes[i].n_out; k++)
            if (g->nodes[i].out[k] != CO_NONE) maker[g->nodes[i].out[k]] = i;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        int r = visit(&s, i);
        if (r) return r;
    }
    g->nodes = s.out;
    g->cap_nodes = g->n_nodes; /* the sorted array is exact: the next append moves it */
    return CO_OK;
}
