/* fuse.c: products that read the same input and whose weights lie next to each other in memory (q, k, v; gate,
 * up) become one product and a split into column views. Relies on the layout rule in strategy.h. */
#include "core/graph/graph.h"
#include <string.h>

/* Parameter `b` starts where `a` ends: same group, next in it, no padding between. */
static int adjacent(const co_graph *g, uint32_t a, uint32_t b)
{
    const co_param_slot *s = g->scope.slots;
    const uint32_t base = g->scope.first_slot;
    if (b <= a || s[a].group != s[b].group || s[a].owner != base + a || s[b].owner != base + b) return 0;
    for (uint32_t i = a + 1; i < b; i++)
        if (s[i].group == s[a].group) return 0;
    int64_t n = 1;
    for (uint32_t i = 0; i < s[a].shape.ndim; i++) n *= s[a].shape.ne[i];
    return ((size_t)n * co_dtype_bytes(s[a].shape.dtype)) % CO_PARAM_ALIGN == 0;
}

static int joinable(const co_graph *g, const gnode *a, const gnode *b)
{
    const gvalue *wa = &g->values[a->in[1]], *wb = &g->values[b->in[1]];
    if (b->op != CO_OP_LINEAR || a->in[0] != b->in[0] || a->n_in != b->n_in) return 0;
    if (wa->region != CO_REGION_PARAM || wb->region != CO_REGION_PARAM) return 0;
    if (!adjacent(g, wa->slot, wb->slot)) return 0;
    if (a->n_in < 3) return 1;
    const gvalue *ba = &g->values[a->in[2]], *bb = &g->values[b->in[2]];
    return ba->region == CO_REGION_PARAM && bb->region == CO_REGION_PARAM && adjacent(g, ba->slot, bb->slot);
}

static uint32_t span(co_graph *g, const uint32_t *nodes, uint32_t n, uint32_t input)
{
    const gvalue first = g->values[g->nodes[nodes[0]].in[input]];
    int64_t rows = 0;
    for (uint32_t i = 0; i < n; i++) rows += g->values[g->nodes[nodes[i]].in[input]].shape.ne[0];
    const uint32_t v = graph_value(g, first.shape.dtype, CO_ROWS_FIXED, first.shape.ndim, rows, first.shape.ne[1],
                                   CO_REGION_PARAM);
    if (!v) return 0;
    g->values[v].slot = first.slot;
    g->values[v].label = first.label;
    return v;
}

/* All products that join with node i, in the order of their weights. */
static uint32_t collect(const co_graph *g, uint32_t i, uint32_t *run)
{
    uint32_t n = 0;
    run[n++] = i;
    for (int grew = 1; grew && n < GRAPH_MAX_IO;) {
        grew = 0;
        for (uint32_t k = i + 1; k < g->n_nodes && !grew; k++) {
            if (joinable(g, &g->nodes[run[n - 1]], &g->nodes[k])) {
                run[n++] = k;
                grew = 1;
            } else if (g->nodes[k].op == CO_OP_LINEAR && joinable(g, &g->nodes[k], &g->nodes[run[0]])) {
                memmove(run + 1, run, n++ * sizeof *run);
                run[0] = k;
                grew = 1;
            }
        }
    }
    return n;
}

static int fuse(co_graph *g, const uint32_t *run, uint32_t n)
{
    uint32_t at[GRAPH_MAX_IO]; /* node positions, ascending */
    for (uint32_t k = 0; k < n; k++) {
        uint32_t j = k;
        for (; j > 0 && at[j - 1] > run[k]; j--) at[j] = at[j - 1];
        at[j] = run[k];
    }
    const gnode first = g->nodes[at[0]];
    uint32_t in[3] = {first.in[0], span(g, run, n, 1), 0};
    if (first.n_in > 2) in[2] = span(g, run, n, 2);
    const gvalue x = g->values[first.in[0]];
    const uint32_t y = graph_value(g, x.shape.dtype, x.rows, 2, x.shape.ne[0], g->values[in[1]].shape.ne[0],
                                   CO_REGION_WORK);
    if (!in[1] || !y) return CO_E_NOMEM;
    gnode split = {.op = CO_OP_SPLIT, .n_in = 1, .n_out = n};
    split.in[0] = y;
    int64_t col = 0;
    for (uint32_t k = 0; k < GRAPH_MAX_IO; k++) split.out[k] = CO_NONE;
    for (uint32_t k = 0; k < n; k++) {
        const uint32_t out = g->nodes[run[k]].out[0];
        g->values[out].view_of = y;
        g->values[out].view_col = col;
        col += g->values[out].shape.ne[1];
        split.out[k] = out;
    }
    memcpy(g->nodes[at[0]].in, in, sizeof in);
    g->nodes[at[0]].out[0] = y;
    /* The split follows at once, so that the views exist before anyone reads them; the other products go. */
    memmove(&g->nodes[at[0] + 2], &g->nodes[at[0] + 1], (at[1] - at[0] - 1) * sizeof split);
    g->nodes[at[0] + 1] = split;
    for (uint32_t k = n - 1; k >= 2; k--) {
        memmove(&g->nodes[at[k]], &g->nodes[at[k] + 1], (g->n_nodes - at[k] - 1) * sizeof split);
        g->n_nodes--;
    }
    return CO_OK;
}

int graph_fuse_linears(co_graph *g)
{
    for (uint32_t i = 0; i < g->n_nodes && !g->failed; i++) {
        uint32_t run[GRAPH_MAX_IO];
        if (g->nodes[i].op != CO_OP_LINEAR) continue;
        const uint32_t n = collect(g, i, run);
        int r = n < 2 ? CO_OK : fuse(g, run, n);
        if (r) return r;
    }
    return g->failed;
}
