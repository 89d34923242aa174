/* plan.c: every value gets its place. Values that share storage (views, results written over a dying input) form
 * one block; blocks that live from forward to backward go to SAVED. The others share bytes where their lifetimes do not
 * meet: those of the backward take the places in SAVED that it no longer needs, what does not fit there goes to WORK.
 * Offsets are multiples of 256. */
#include "core/graph/planner.h"
#include "core/base/error.h"
#include <string.h>

#define ALIGN 256

static void touch(planner *p, uint32_t v, uint32_t t)
{
    if (v == CO_NONE) return;
    if (p->first[v] == CO_NONE) p->first[v] = t;
    p->last[v] = t;
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
        const uint32_t root = planner_root(g, v, NULL);
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

static int in_the_way(const block *b, const block *o) { return b->offset < o->offset + o->bytes && o->offset < b->offset + b->bytes; }

/* The lowest place for b among the placed blocks of its region. */
static void fit(planner *p, const uint8_t *placed, block *b)
{
    b->offset = 0;
    for (int moved = 1; moved;) {
        moved = 0;
        for (uint32_t i = 1; i < p->g->n_values; i++) {
            const block *o = &p->blocks[i];
            if (!placed[i] || o->in_saved != b->in_saved || !meets(b, o) || !in_the_way(b, o)) continue;
            b->offset = o->offset + o->bytes;
            moved = 1;
        }
    }
}

/* Saved blocks side by side, then the others, first fit in order of size, largest first. Returns the size of WORK. */
static size_t place(planner *p, size_t *saved)
{
    const uint32_t n = p->g->n_values;
    size_t top = 0;
    uint8_t *placed = arena_push(p->g->arena, n, 16);
    if (!placed) return SIZE_MAX;
    memset(placed, 0, n);
    *saved = 0;
    for (uint32_t v = 1; v < n; v++) {
        block *b = &p->blocks[v];
        if (!b->saved) continue;
        b->offset = *saved;
        *saved += b->bytes;
        placed[v] = b->in_saved = 1;
    }
    for (;;) {
        uint32_t v = 0;
        for (uint32_t i = 1; i < n; i++)
            if (p->blocks[i].work && !placed[i] && (!v || p->blocks[i].bytes > p->blocks[v].bytes)) v = i;
        if (!v) return top;
        block *b = &p->blocks[v];
        b->in_saved = !p->one && b->first >= p->n_forward;
        if (b->in_saved) fit(p, placed, b);
        if (b->in_saved && b->offset + b->bytes > *saved) b->in_saved = 0;
        if (!b->in_saved) {
            fit(p, placed, b);
            if (b->offset + b->bytes > top) top = b->offset + b->bytes;
        }
        placed[v] = 1;
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
        const uint32_t root = planner_root(g, v, &col);
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
            if (p->blocks[root].in_saved) o->region = CO_REGION_SAVED;
            if (p->blocks[root].in_saved && p->blocks[root].work) o->flags |= CO_VALUE_LOCAL;
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
        if (g->nodes[t].op != CO_OP_CONCAT || !planner_share_concat(&p, t)) continue;
        drop_node(&p, t--);
        find_lifetimes(&p);
    }
    for (uint32_t t = 0; t < g->n_nodes; t++) {
        planner_share_in_place(&p, t);
        planner_share_twins(&p, t);
        if (!planner_copies_onto_itself(g, &g->nodes[t])) continue;
        drop_node(&p, t--);
        find_lifetimes(&p);
    }
    measure_blocks(&p);
    memset(out, 0, sizeof *out);
    const size_t work = place(&p, &out->saved_bytes);
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
