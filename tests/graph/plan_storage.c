/* plan_storage.c: no plan reads a value whose bytes somebody else has written over. Plans are walked with a tag per
 * element: a step's outputs leave their tag, its inputs must still find their own. Values that are the same data by
 * meaning (parts of a split or a concat, stop_gradient, copies) count as one. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/graph/graph.h"

#define TOKENS 3
#define ARENA_ELEMS (1 << 20)

static uint32_t meaning[4096]; /* union-find over values */
static uint32_t find(uint32_t v)
{
    while (meaning[v] != v) v = meaning[v];
    return v;
}
static void unite(uint32_t a, uint32_t b) { meaning[find(a)] = find(b); }

static void learn_meanings(const co_graph *g)
{
    for (uint32_t v = 0; v < g->n_values && v < 4096; v++) meaning[v] = v;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const gnode *n = &g->nodes[i];
        const int copy = n->op == CO_OP_SCALE && ((const co_attr_f32 *)(const void *)n->attrs)->v == 1.0f;
        if (n->op == CO_OP_SPLIT || n->op == CO_OP_STOP_GRADIENT || copy)
            for (uint32_t k = 0; k < n->n_out; k++) unite(n->out[k], n->in[0]);
        if (n->op == CO_OP_CONCAT)
            for (uint32_t k = 0; k < n->n_in; k++) unite(n->in[k], n->out[0]);
    }
}

static uint32_t *tags[CO_REGION_COUNT];

static int walk_value(const co_plan *p, uint32_t v, int write, const char *where)
{
    const co_plan_value *x = &p->values[v];
    if (x->region == CO_REGION_PARAM || x->region == CO_REGION_GRAD) return 1;
    const size_t base = x->offset / 4;
    for (int64_t r = 0; r < x->shape.ne[0]; r++)
        for (int64_t c = 0; c < (x->shape.ndim > 1 ? x->shape.ne[1] : 1); c++) {
            const size_t at = base + (size_t)(r * x->shape.row_stride + c);
            if (at >= ARENA_ELEMS) return fprintf(stderr, "%s: value %u leaves its region\n", where, v), 0;
            uint32_t *t = &tags[x->region][at];
            if (write) *t = v;
            else if (*t == 0 || find(*t) != find(v))
                return fprintf(stderr, "%s: value %u reads what value %u left\n", where, v, *t), 0;
        }
    return 1;
}

static void walk(const co_plan *p)
{
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const co_step_op *s = &p->steps[i];
        char where[128];
        snprintf(where, sizeof where, "%s step %u (%s)", p->label, i, op_name(s->op));
        for (uint32_t k = 0; k < s->n_in; k++) CHECK(walk_value(p, s->in[k], 0, where));
        for (uint32_t k = 0; k < s->n_out; k++)
            if (s->out[k] != CO_NONE) CHECK(walk_value(p, s->out[k], 1, where));
        for (uint32_t k = 0; k < s->n_out; k++) /* two outputs of one step must not meet */
            if (s->out[k] != CO_NONE) CHECK(walk_value(p, s->out[k], 0, where));
    }
}

/* ---- units to plan ------------------------------------------------------------------------------------------ */
#define D 64
static co_param decls[12];
static co_param_slot slots[12];
static gscope scope_with(uint32_t n)
{
    static const struct { const char *name; int64_t n0, n1; uint32_t group; } rows[] = {
        {"norm1", D, 0, 1}, {"q", D, D, 0}, {"k", D / 2, D, 0}, {"v", D / 2, D, 0}, {"o", D, D, 0}, {"norm2", D, 0, 1},
        {"gate", 128, D, 0}, {"up", 128, D, 0}, {"down", D, 128, 0}, {"lm_head", 97, D, 0}, {"odd", 3, D, 0}, {"odd2", 5, D, 0},
    };
    for (uint32_t i = 0; i < 12; i++) {
        decls[i].local_name = rows[i].name;
        slots[i] = (co_param_slot){.index = i, .owner = i, .group = rows[i].group, .trainable = 1, .name = rows[i].name};
        slots[i].shape = (co_tensor){.ndim = rows[i].n1 ? 2 : 1, .ne = {rows[i].n0, rows[i].n1 ? rows[i].n1 : 1, 1, 1}};
    }
    return (gscope){.label = "test", .decls = decls, .slots = slots, .n_params = n, .max_tokens = TOKENS, .max_seqs = 2,
                    .training = 1};
}
static const gcolumn columns[] = {{"positions", CO_I32, CO_ROWS_TOKENS, 0},
                                  {"labels", CO_I32, CO_ROWS_TOKENS, 256},
                                  {"mask", CO_F32, CO_ROWS_TOKENS, 512}};

static co_val llama_block(const co_graph_ops *op, co_graph *g, co_val x, co_val pos)
{
    const co_attn attn = {.struct_size = sizeof attn, .n_heads = 4, .n_kv_heads = 2, .causal = 1};
    const co_rope rope = {.struct_size = sizeof rope, .n_heads = 4, .neox = 1, .theta = 1e4f};
    co_rope kr = rope;
    kr.n_heads = 2;
    co_val n = op->rmsnorm(g, x, op->param(g, "norm1"), 1e-5f);
    co_val q = op->rope(g, op->linear(g, n, op->param(g, "q"), 0), pos, &rope);
    co_val k = op->rope(g, op->linear(g, n, op->param(g, "k"), 0), pos, &kr);
    co_val v = op->linear(g, n, op->param(g, "v"), 0);
    x = op->add(g, x, op->linear(g, op->attention(g, q, k, v, &attn), op->param(g, "o"), 0));
    n = op->rmsnorm(g, x, op->param(g, "norm2"), 1e-5f);
    co_val f = op->swiglu(g, op->linear(g, n, op->param(g, "gate"), 0), op->linear(g, n, op->param(g, "up"), 0));
    return op->add(g, x, op->linear(g, f, op->param(g, "down"), 0));
}
/* Splits, values used twice, activations in place, a part of a split left unused. */
static co_val odd_block(const co_graph_ops *op, co_graph *g, co_val x, co_val pos)
{
    (void)pos;
    co_val part[3];
    const int64_t widths[3] = {16, 16, 32};
    (void)op->split(g, op->linear(g, x, op->param(g, "q"), 0), 3, widths, part);
    co_val a = op->mul(g, part[0], op->exp(g, part[1])), b = op->gelu(g, part[2], 1);
    co_val s = op->add(g, op->relu(g, x), op->silu(g, op->scale(g, x, 0.5f)));
    (void)a;
    co_val both = op->add(g, s, op->linear(g, op->stop_gradient(g, s), op->param(g, "o"), 0));
    (void)b;
    return op->dropout(g, op->add(g, both, op->clamp(g, x, -1, 1)), 0.1f);
}
static co_val identity_block(const co_graph_ops *op, co_graph *g, co_val x, co_val pos)
{
    (void)op, (void)g, (void)pos;
    return x;
}

static int count_op(const co_plan *p, uint32_t op)
{
    int n = 0;
    for (uint32_t i = 0; i < p->n_steps; i++) n += p->steps[i].op == op;
    return n;
}

static void block_case(co_val (*build)(const co_graph_ops *, co_graph *, co_val, co_val), int train, unit_plans *plans,
                       co_arena *arena)
{
    const gscope scope = scope_with(12);
    co_graph *g = graph_new(arena, &scope, columns, 3);
    for (int r = 0; r < CO_REGION_COUNT; r++) memset(tags[r], 0, ARENA_ELEMS * sizeof *tags[r]);
    g->x = graph_value(g, CO_F32, CO_ROWS_TOKENS, 2, TOKENS, D, CO_REGION_X);
    co_val pos = graph_batch(g, "positions"), y = build(graph_ops(), g, g->x, pos);
    int r = graph_pin(g, &y, CO_REGION_Y, 0);
    g->y = y;
    if (r == CO_OK) r = graph_fuse_linears(g);
    if (r == CO_OK && train) r = graph_derive(g, 0, 1);
    if (r == CO_OK && train) r = graph_rewrite(g, 0);
    learn_meanings(g);
    if (r == CO_OK) r = graph_plan(g, !train, plans);
    CHECK_MSG(r == CO_OK, "%s", error_message());
    if (r) return;
    const co_plan_value *v = plans->forward.values;
    for (uint32_t i = 1; i < g->n_values; i++) /* what the engine provides */
        if (v[i].region == CO_REGION_X || v[i].region == CO_REGION_BATCH) (void)walk_value(&plans->forward, i, 1, "bind");
    walk(&plans->forward);
    if (!train) return;
    for (int64_t k = 0; k < ARENA_ELEMS; k++) tags[CO_REGION_WORK][k] = 0; /* work dies between the plans */
    if (g->dy) (void)walk_value(&plans->backward, g->dy, 1, "bind");
    walk(&plans->backward);
    if (g->dx) CHECK(walk_value(&plans->backward, g->dx, 0, "dx is written"));
}

static void head_case(co_arena *arena)
{
    const gscope scope = scope_with(12);
    const co_graph_ops *op = graph_ops();
    co_graph *g = graph_new(arena, &scope, columns, 3);
    unit_plans plans;
    for (int r = 0; r < CO_REGION_COUNT; r++) memset(tags[r], 0, ARENA_ELEMS * sizeof *tags[r]);
    g->x = graph_value(g, CO_F32, CO_ROWS_TOKENS, 2, TOKENS, D, CO_REGION_X);
    co_val h = op->rmsnorm(g, g->x, op->param(g, "norm1"), 1e-5f);
    co_val lp = op->token_logprob(g, h, op->param(g, "lm_head"), graph_batch(g, "labels"), NULL);
    co_val loss = op->scale(g, op->masked_mean(g, lp, graph_batch(g, "mask")), -1);
    CHECK(graph_pin(g, &loss, CO_REGION_OUT, 0) == CO_OK);
    CHECK(graph_derive(g, loss, 1) == CO_OK && graph_rewrite(g, 1) == CO_OK);
    learn_meanings(g);
    CHECK_MSG(graph_plan(g, 1, &plans) == CO_OK, "%s", error_message());
    CHECK(count_op(&plans.forward, CO_OP_TOKEN_LOGPROB_GRAD) == 1); /* one pass over the vocabulary */
    CHECK(count_op(&plans.forward, CO_OP_TOKEN_LOGPROB) == 0 && count_op(&plans.forward, CO_OP_TOKEN_LOGPROB_BWD) == 0);
    CHECK(plans.saved_bytes == 0);
    for (uint32_t i = 1; i < g->n_values; i++) {
        const uint32_t r = plans.forward.values[i].region;
        if (r == CO_REGION_X || r == CO_REGION_BATCH) (void)walk_value(&plans.forward, i, 1, "bind");
    }
    walk(&plans.forward);
    CHECK(walk_value(&plans.forward, g->dx, 0, "dx is written"));
}

static void refusals(co_arena *arena)
{
    const gscope scope = scope_with(12);
    const co_graph_ops *op = graph_ops();
    co_graph *g = graph_new(arena, &scope, columns, 3);
    co_val x = graph_value(g, CO_F32, CO_ROWS_TOKENS, 2, TOKENS, D, CO_REGION_X);
    co_val bad = op->linear(g, x, op->param(g, "down"), 0);
    CHECK(bad == 0);
    CHECK(op->add(g, bad, x) == 0);
    CHECK_HAS(error_message(), "weight 'down' is [64, 128]"); /* the first cause, not the last */
    g = graph_new(arena, &scope, columns, 3);
    CHECK(op->param(g, "nowhere") == 0);
    CHECK_HAS(error_message(), "no parameter 'nowhere'");
}

int main(void)
{
    co_arena *arena = arena_new(1 << 20);
    unit_plans p;
    for (int r = 0; r < CO_REGION_COUNT; r++) tags[r] = calloc(ARENA_ELEMS, sizeof *tags[r]);
    block_case(llama_block, 1, &p, arena);
    CHECK(count_op(&p.forward, CO_OP_LINEAR) == 4); /* qkv, o, gate+up, down */
    CHECK(count_op(&p.backward, CO_OP_CONCAT) == 0); /* gradients are written side by side */
    CHECK(count_op(&p.backward, CO_OP_ADD) == 0);    /* residuals ride in the norms' backward */
    CHECK(count_op(&p.forward, CO_OP_SCALE) == 0 && count_op(&p.backward, CO_OP_SCALE) == 0);
    /* Saved: q, k, v, attention's output and its statistics, the residual, gate and up. The backward works in their places:
     * WORK holds swiglu's output, which dies first, and no gradient of gate and up. */
    CHECK(p.saved_bytes == TOKENS * 4 * (64 + 32 + 32 + 64 + 64 + 256) + 256);
    CHECK(p.backward.region_bytes[CO_REGION_WORK] == TOKENS * 4 * 128);
    block_case(llama_block, 0, &p, arena);
    block_case(odd_block, 1, &p, arena);
    block_case(odd_block, 0, &p, arena);
    block_case(identity_block, 1, &p, arena);
    head_case(arena);
    refusals(arena);
    for (int r = 0; r < CO_REGION_COUNT; r++) free(tags[r]);
    arena_free(arena);
    return check_done();
}
