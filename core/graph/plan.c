/* plan.c: every value gets its place. Values that share storage (views, results written over a dying input) form
 * one block; blocks that live from forward to backward go to SAVED, the others to WORK, where blocks whose
 * lifetimes do not meet share bytes. Offsets are multiples of 256. */
#include "core/graph/graph.h"
#include "core/base/error.h"
#include <string.h>

#define ALIGN 256

typedef struct block { /* storage of one root value */
    uint32_t first, last; /* node times; first > last: unused */
    size_t bytes, offset;
    uint8_t saved, work;
} block;

typedef struct planner {
    co_graph *g;
    uint32_t n_forward; /* nodes before this one are the forward plan */
    int one;
    uint32_t *first, *last; /* by value: first and last node that touches it; first == CO_NONE: untouched */
    block *blocks;          /* by value, roots only */
} planner;

static uint32_t root_of(const co_graph *g, uint32_t v, int64_t *col)
{
    int64_t c = 0;
    while (g->values[v].view_of != CO_NONE) {
        c += g->values[v].view_col;
        v = g->values[v].view_of;
    }
    if (col) *col = c;
    return v;
}

static void touch(planner *p, uint32_t v, uint32_t t)
{
    if (v == CO_NONE) return;
    if (p->first[v] == CO_NONE) p->first[v] = t;
    p->last[v] = t;
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
    const uint32_t root = root_of(g, v, &c0);
    for (uint32_t u = 1; u < g->n_values; u++) {
        if (p->first[u] == CO_NONE || root_of(g, u, &c1) != root) continue;
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

static void share_in_place(planner *p, uint32_t t)
{
    co_graph *g = p->g;
    const gnode *n = &g->nodes[t];
    uint32_t choice[2];
    const uint32_t k = overwritable(n, 0, choice);
    for (uint32_t i = 0; i < k; i++) {
        const uint32_t in = n->in[choice[i]], out = n->out[0];
        if (out == CO_NONE) return;
        const gvalue *a = &g->values[in], *b = &g->values[out];
        const uint32_t root = root_of(g, in, NULL);
        if (!owned(p, root) || p->first[root] == CO_NONE || !same_phase(p, p->first[in], t)) continue;
        if (a->rows != b->rows || a->shape.dtype != b->shape.dtype || a->shape.ne[1] != b->shape.ne[1] ||
            a->shape.ne[0] != b->shape.ne[0] || a->shape.ndim != b->shape.ndim)
            continue;
        if (!dies_at(p, in, t) || root == root_of(g, out, NULL)) continue;
        if (a->view_of == CO_NONE) g->values[in].view_of = out, g->values[in].view_col = 0;
        else if (b->view_of == CO_NONE && owned(p, out)) g->values[out].view_of = in, g->values[out].view_col = 0;
        else continue;
        return;
    }
}

static int copies_onto_itself(const co_graph *g, const gnode *n)
{
    int64_t a, b;
    if (n->op != CO_OP_SCALE || ((const co_attr_f32 *)(const void *)n->attrs)->v != 1.0f) return 0;
    return root_of(g, n->in[0], &a) == root_of(g, n->out[0], &b) && a == b;
}

/* Parts of a concat are written where the whole will stand. Returns 1 if nothing is left to copy. */
static int share_concat(planner *p, uint32_t t)
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

static void drop_node(planner *p, uint32_t t)
{
    co_graph *g = p->g;
    memmove(&g->nodes[t], &g->nodes[t + 1], (g->n_nodes - t - 1) * sizeof *g->nodes);
    g->n_nodes--;
    if (t < p->n_forward) p->n_forward--;
}

static void find_lifetimes(planner *p)
{
    co_graph *g = p->g;
    memset(p->first, 0xff, g->n_values * sizeof *p->first);
    memset(p->last, 0, g->n_values * sizeof *p->last);
    for (uint32_t t = 0; t < g->n_nodes; t++) {
        for (uint32_t k = 0; k < g->nodes[t].n_in; k++) touch(p, g->nodes[t].in[k], t);
        for (uint32_t k = 0; k < g->nodes[t].n_out; k++) touch(p, g->nodes[t].out[k], t);
    }
}

static void measure_blocks(planner *p)
{
    co_graph *g = p->g;
    for (uint32_t v = 1; v < g->n_values; v++) p->blocks[v].first = CO_NONE;
    for (uint32_t v = 1; v < g->n_values; v++) {
        if (p->first[v] == CO_NONE) continue;
        const uint32_t root = root_of(g, v, NULL);
        block *b = &p->blocks[root];
        if (b->first == CO_NONE || p->first[v] < b->first) b->first = p->first[v];
        if (p->last[v] > b->last) b->last = p->last[v];
    }
    for (uint32_t v = 1; v < g->n_values; v++) {
        block *b = &p->blocks[v];
        if (b->first == CO_NONE || g->values[v].view_of != CO_NONE || g->values[v].region != CO_REGION_WORK) continue;
        const co_tensor *s = &g->values[v].shape;
        b->bytes = ((size_t)(s->ne[0] * s->ne[1]) * co_dtype_bytes(s->dtype) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
        b->saved = !p->one && b->first < p->n_forward && b->last >= p->n_forward;
        b->work = !b->saved;
    }
}

static int meets(const block *a, const block *b) { return a->first <= b->last && b->first <= a->last; }

/* First fit in order of size, largest first. */
static size_t place_work(planner *p)
{
    const uint32_t n = p->g->n_values;
    size_t top = 0;
    uint8_t *placed = arena_push(p->g->arena, n, 16);
    if (!placed) return SIZE_MAX;
    memset(placed, 0, n);
    for (;;) {
        uint32_t v = 0;
        for (uint32_t i = 1; i < n; i++)
            if (p->blocks[i].work && !placed[i] && (!v || p->blocks[i].bytes > p->blocks[v].bytes)) v = i;
        if (!v) return top;
        block *b = &p->blocks[v];
        b->offset = 0;
        for (int moved = 1; moved;) {
            moved = 0;
            for (uint32_t i = 1; i < n; i++) {
                const block *o = &p->blocks[i];
                if (!placed[i] || !meets(b, o)) continue;
                if (b->offset < o->offset + o->bytes && o->offset < b->offset + b->bytes) {
                    b->offset = o->offset + o->bytes;
                    moved = 1;
                }
            }
        }
        placed[v] = 1;
        if (b->offset + b->bytes > top) top = b->offset + b->bytes;
    }
}

static int write_values(planner *p, co_plan_value **out)
{
    co_graph *g = p->g;
    co_plan_value *table = arena_push(g->arena, g->n_values * sizeof *table, 16);
    if (!table) return FAIL(CO_E_NOMEM, "out of memory");
    memset(table, 0, g->n_values * sizeof *table);
    for (uint32_t v = 1; v < g->n_values; v++) {
        int64_t col;
        const uint32_t root = root_of(g, v, &col);
        const gvalue *val = &g->values[v], *r = &g->values[root];
        co_plan_value *o = &table[v];
        o->shape = val->shape;
        o->shape.row_stride = val->shape.ndim > 1 ? r->shape.ne[1] : 1;
        o->rows = val->rows;
        o->slot = val->slot;
        o->flags = val->flags;
        o->region = r->region;
        o->offset = r->offset;
        if (r->region == CO_REGION_WORK) {
            o->offset = p->blocks[root].offset;
            if (p->blocks[root].saved) o->region = CO_REGION_SAVED;
        }
        o->offset += (size_t)col * co_dtype_bytes(val->shape.dtype);
    }
    *out = table;
    return CO_OK;
}

static int write_plan(co_graph *g, uint32_t from, uint32_t to, const co_plan_value *values, const char *suffix,
                      co_plan *out)
{
    co_step_op *steps = arena_push(g->arena, (to - from + 1) * sizeof *steps, 16);
    if (!steps) return FAIL(CO_E_NOMEM, "out of memory");
    memset(steps, 0, (to - from + 1) * sizeof *steps);
    uint32_t n = 0;
    for (uint32_t i = from; i < to; i++) {
        gnode *node = &g->nodes[i];
        if (node->op == CO_OP_SPLIT || node->op == CO_OP_STOP_GRADIENT) continue; /* views cost nothing */
        steps[n++] = (co_step_op){.op = node->op, .n_in = node->n_in, .n_out = node->n_out, .in = node->in,
                                  .out = node->out, .attrs = node->attrs, .attrs_size = node->attrs_size};
    }
    memset(out, 0, sizeof *out);
    out->struct_size = sizeof *out;
    out->n_steps = n;
    out->n_values = g->n_values;
    out->steps = steps;
    out->values = values;
    out->label = arena_printf(g->arena, "%s/%s", g->scope.label, suffix);
    return out->label ? CO_OK : CO_E_NOMEM;
}

int graph_plan(co_graph *g, int one, unit_plans *out)
{
    planner p = {.g = g, .one = one};
    int r;
    if (g->failed) return g->failed;
    while (p.n_forward < g->n_nodes && !g->nodes[p.n_forward].backward) p.n_forward++;
    for (uint32_t i = p.n_forward; i < g->n_nodes && !one; i++)
        if (!g->nodes[i].backward) return graph_fail(g, "forward and backward are tangled");
    p.first = arena_push(g->arena, g->n_values * sizeof *p.first, 16);
    p.last = arena_push(g->arena, g->n_values * sizeof *p.last, 16);
    p.blocks = arena_push(g->arena, g->n_values * sizeof *p.blocks, 16);
    if (!p.first || !p.last || !p.blocks) return FAIL(CO_E_NOMEM, "out of memory");
    memset(p.blocks, 0, g->n_values * sizeof *p.blocks);

    find_lifetimes(&p);
    for (uint32_t t = 0; t < g->n_nodes; t++) {
        if (g->nodes[t].op != CO_OP_CONCAT || !share_concat(&p, t)) continue;
        drop_node(&p, t--);
        find_lifetimes(&p);
    }
    for (uint32_t t = 0; t < g->n_nodes; t++) {
        share_in_place(&p, t);
        if (!copies_onto_itself(g, &g->nodes[t])) continue;
        drop_node(&p, t--);
        find_lifetimes(&p);
    }
    measure_blocks(&p);
    memset(out, 0, sizeof *out);
    for (uint32_t v = 1; v < g->n_values; v++) {
        block *b = &p.blocks[v];
        if (!b->saved) continue;
        b->offset = out->saved_bytes;
        out->saved_bytes += b->bytes;
    }
    const size_t work = place_work(&p);
    if (work == SIZE_MAX) return FAIL(CO_E_NOMEM, "out of memory");

    co_plan_value *values = NULL;
    r = write_values(&p, &values);
    if (r) return r;
    if (one) {
        r = write_plan(g, 0, g->n_nodes, values, "all", &out->forward);
    } else {
        r = write_plan(g, 0, p.n_forward, values, "forward", &out->forward);
        if (r == CO_OK && p.n_forward < g->n_nodes)
            r = write_plan(g, p.n_forward, g->n_nodes, values, "backward", &out->backward);
    }
    out->forward.region_bytes[CO_REGION_WORK] = out->backward.region_bytes[CO_REGION_WORK] = work;
    out->forward.region_bytes[CO_REGION_SAVED] = out->backward.region_bytes[CO_REGION_SAVED] = out->saved_bytes;
    return r;
}
