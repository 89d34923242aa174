/* record.c: the builder calls a model or a loss makes, turned into nodes with shapes. */
#include "core/graph/graph.h"
#include "core/base/error.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct { const char *name; uint8_t min_in, max_in, n_out, diff; } op_table[] = {
#define DIFF 1
#define STOPS 1
#define NONE 0
#define INFERENCE 0
#define INTEGER 0
#define SECOND 0
#define OP(id, name, min_in, max_in, n_out, diff) {name, min_in, max_in, n_out, diff},
#include <coati/ops.def>
#undef OP
};
_Static_assert(sizeof op_table / sizeof *op_table == CO_OP_COUNT, "every op has a line");

const char *op_name(uint32_t op) { return op < CO_OP_COUNT ? op_table[op].name : "unknown op"; }
int op_differentiable(uint32_t op) { return op < CO_OP_COUNT && op_table[op].diff; }

int graph_fail(co_graph *g, const char *fmt, ...)
{
    if (g->failed) return g->failed;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    g->failed = CO_E_CONFIG;
    return FAIL(CO_E_CONFIG, "unit '%s': %s", g->scope.label, text);
}

static int no_memory(co_graph *g)
{
    if (g->failed) return g->failed;
    g->failed = CO_E_NOMEM;
    return FAIL(CO_E_NOMEM, "unit '%s': out of memory", g->scope.label);
}

co_graph *graph_new(co_arena *arena, const gscope *scope, const gcolumn *columns, uint32_t n_columns)
{
    co_graph *g = arena_push(arena, sizeof *g, 16);
    uint32_t *params = arena_push(arena, (scope->n_params + 1) * sizeof *params, 16);
    if (!g || !params) return NULL;
    memset(g, 0, sizeof *g);
    memset(params, 0, (scope->n_params + 1) * sizeof *params);
    g->arena = arena;
    g->scope = *scope;
    g->columns = columns;
    g->n_columns = n_columns;
    g->param_value = params;
    g->n_values = 1;
    g->cap_values = 0;
    return g;
}

/* Arrays grow by copying within the arena: graphs are small and short-lived. */
static void *grow(co_graph *g, void *old, uint32_t n, uint32_t *cap, size_t size)
{
    if (n < *cap) return old;
    uint32_t want = *cap ? *cap * 2 : 64;
    void *p = arena_push(g->arena, want * size, 16);
    if (!p) return NULL;
    memset(p, 0, want * size);
    if (old) memcpy(p, old, n * size);
    *cap = want;
    return p;
}

co_val graph_value(co_graph *g, co_dtype t, uint32_t rows, uint32_t ndim, int64_t n0, int64_t n1, uint32_t region)
{
    gvalue *v = grow(g, g->values, g->n_values, &g->cap_values, sizeof *v);
    if (!v) return (void)no_memory(g), 0;
    g->values = v;
    v += g->n_values;
    memset(v, 0, sizeof *v);
    v->shape.ndim = (uint8_t)ndim;
    v->shape.dtype = (uint8_t)t;
    v->shape.ne[0] = n0;
    v->shape.ne[1] = ndim > 1 ? n1 : 1;
    v->shape.ne[2] = v->shape.ne[3] = 1;
    v->shape.row_stride = ndim > 1 ? n1 : 1;
    v->rows = rows;
    v->region = region;
    v->slot = CO_NONE;
    v->view_of = CO_NONE;
    return g->n_values++;
}

gnode *graph_node(co_graph *g, uint32_t op, uint32_t n_in, const uint32_t *in, const void *attrs, size_t attrs_size)
{
    gnode *n = grow(g, g->nodes, g->n_nodes, &g->cap_nodes, sizeof *n);
    if (!n) return (void)no_memory(g), NULL;
    g->nodes = n;
    n += g->n_nodes++;
    memset(n, 0, sizeof *n);
    n->op = op;
    n->n_in = n_in;
    n->n_out = op_table[op].n_out;
    for (uint32_t i = 0; i < n_in; i++) n->in[i] = in[i];
    for (uint32_t i = 0; i < GRAPH_MAX_IO; i++) n->out[i] = CO_NONE;
    if (attrs_size) memcpy(n->attrs, attrs, attrs_size);
    n->attrs_size = (uint32_t)attrs_size;
    n->backward = g->recording_backward;
    return n;
}

co_val graph_batch(co_graph *g, const char *column)
{
    if (!column) return (void)graph_fail(g, "a column of the batch is asked for by no name"), 0;
    for (uint32_t i = 0; i < g->n_columns; i++) {
        const gcolumn *c = &g->columns[i];
        if (strcmp(c->name, column) != 0) continue;
        for (uint32_t k = 1; k < g->n_values; k++) /* one value a column */
            if (g->values[k].region == CO_REGION_BATCH && g->values[k].offset == c->offset) return k;
        int64_t n = c->rows == CO_ROWS_TOKENS ? g->scope.max_tokens
                    : c->rows == CO_ROWS_SEQS ? g->scope.max_seqs
                                              : g->scope.max_gathered;
        co_val v = graph_value(g, c->dtype, c->rows, 1, n, 1, CO_REGION_BATCH);
        if (!v) return 0;
        g->values[v].offset = c->offset;
        g->values[v].label = c->name;
        return v;
    }
    return (void)graph_fail(g, "the batch has no column '%s'", column), 0;
}

int graph_pin(co_graph *g, co_val *result, uint32_t region, size_t offset)
{
    if (g->failed || *result == 0) return g->failed ? g->failed : graph_fail(g, "build() returned no value");
    gvalue *v = &g->values[*result];
    const int narrow = region == CO_REGION_OUT && (v->shape.dtype == CO_BF16 || v->shape.dtype == CO_F16);
    if (v->view_of != CO_NONE || v->region != CO_REGION_WORK || narrow) { /* a view, or an input handed back: copy it */
        gvalue m = *v;
        if (narrow) m.shape.dtype = CO_F32; /* what the host reads is fp32 */
        const co_attr_f32 one = {1.0f};
        if (!graph_node(g, CO_OP_SCALE, 1, result, &one, sizeof one)) return CO_E_NOMEM;
        *result = graph_value(g, m.shape.dtype, m.rows, m.shape.ndim, m.shape.ne[0], m.shape.ne[1], region);
        if (!*result) return CO_E_NOMEM;
        g->nodes[g->n_nodes - 1].out[0] = *result;
        v = &g->values[*result];
    }
    v->region = region;
    v->offset = offset;
    return CO_OK;
}

/* ---- helpers for the builder calls ------------------------------------------------------------------ */
static gvalue *val(co_graph *g, co_val v) { return &g->values[v]; }

static int usable(co_graph *g, co_val v, const char *op)
{
    if (g->failed || v == 0) {
        if (!g->failed) (void)graph_fail(g, "%s was given value 0", op);
        return 0;
    }
    if (v >= g->n_values) return (void)graph_fail(g, "%s was given value %u, which does not exist", op, v), 0;
    return 1;
}
static int want_dims(co_graph *g, co_val v, unsigned ndim, int is_float, const char *op, const char *what)
{
    if (!usable(g, v, op)) return 0;
    gvalue *x = val(g, v);
    if (x->shape.ndim != ndim)
        return (void)graph_fail(g, "%s: %s has %u dimensions, expected %u", op, what, x->shape.ndim, ndim), 0;
    if ((x->shape.dtype == CO_I32) == is_float)
        return (void)graph_fail(g, "%s: %s must be %s", op, what, is_float ? "floating point" : "int32"), 0;
    return 1;
}
static int same_shape(co_graph *g, co_val a, co_val b, const char *op)
{
    if (!usable(g, a, op) || !usable(g, b, op)) return 0;
    const co_tensor *p = &val(g, a)->shape, *q = &val(g, b)->shape;
    if (p->ndim != q->ndim || p->ne[0] != q->ne[0] || p->ne[1] != q->ne[1] || val(g, a)->rows != val(g, b)->rows)
        return (void)graph_fail(g, "%s: shapes differ, [%lld, %lld] and [%lld, %lld]", op, (long long)p->ne[0],
                                (long long)p->ne[1], (long long)q->ne[0], (long long)q->ne[1]), 0;
    if (p->dtype != q->dtype) return (void)graph_fail(g, "%s: an fp32 value and one of the activations' type", op), 0;
    return 1;
}
/* Losses are computed in fp32, whatever the activations are. */
static co_val wide(co_graph *g, co_val x)
{
    if (!usable(g, x, "a loss") || (val(g, x)->shape.dtype != CO_BF16 && val(g, x)->shape.dtype != CO_F16)) return x;
    const co_attr_f32 one = {1.0f};
    const gvalue m = *val(g, x);
    if (!graph_node(g, CO_OP_SCALE, 1, &x, &one, sizeof one)) return 0;
    return g->nodes[g->n_nodes - 1].out[0] =
               graph_value(g, CO_F32, m.rows, m.shape.ndim, m.shape.ne[0], m.shape.ne[1], CO_REGION_WORK);
}
/* A node with one output shaped like `like`, with `cols` columns (0: the same). */
static co_val out_like(co_graph *g, uint32_t op, uint32_t n, const uint32_t *in, const void *at, size_t as,
                       co_val like, int64_t cols)
{
    gnode *node = graph_node(g, op, n, in, at, as);
    if (!node) return 0;
    const gvalue m = *val(g, like);
    co_val v = graph_value(g, m.shape.dtype, m.rows, m.shape.ndim, m.shape.ne[0], cols ? cols : m.shape.ne[1],
                           CO_REGION_WORK);
    g->nodes[g->n_nodes - 1].out[0] = v;
    return v;
}

/* ---- the vocabulary --------------------------------------------------------------------------------- */
static co_val b_param(co_graph *g, const char *name)
{
    if (g->failed) return 0;
    if (!name) return (void)graph_fail(g, "a parameter is asked for by no name"), 0;
    for (uint32_t i = 0; i < g->scope.n_params; i++) {
        if (strcmp(g->scope.decls[i].local_name, name) != 0) continue;
        if (g->param_value[i]) return g->param_value[i];
        const co_tensor *s = &g->scope.slots[i].shape;
        co_val v = graph_value(g, s->dtype, CO_ROWS_FIXED, s->ndim, s->ne[0], s->ne[1], CO_REGION_PARAM);
        if (!v) return 0;
        val(g, v)->slot = i;
        val(g, v)->label = g->scope.decls[i].local_name;
        return g->param_value[i] = v;
    }
    return (void)graph_fail(g, "no parameter '%s' is declared for it", name), 0;
}

static co_val b_linear(co_graph *g, co_val x, co_val w, co_val bias)
{
    if (!want_dims(g, x, 2, 1, "linear", "x") || !want_dims(g, w, 2, 1, "linear", "the weight")) return 0;
    if (bias && !want_dims(g, bias, 1, 1, "linear", "the bias")) return 0;
    const int64_t n = val(g, w)->shape.ne[0], k = val(g, w)->shape.ne[1];
    if (val(g, x)->shape.ne[1] != k)
        return (void)graph_fail(g, "linear: x has %lld columns, weight '%s' is [%lld, %lld]",
                                (long long)val(g, x)->shape.ne[1], val(g, w)->label ? val(g, w)->label : "?",
                                (long long)n, (long long)k), 0;
    if (bias && val(g, bias)->shape.ne[0] != n)
        return (void)graph_fail(g, "linear: %lld outputs, bias of %lld", (long long)n,
                                (long long)val(g, bias)->shape.ne[0]), 0;
    const uint32_t in[3] = {x, w, bias};
    return out_like(g, CO_OP_LINEAR, bias ? 3 : 2, in, NULL, 0, x, n);
}

/* Ids of the batch reach up to here; 0: not known. */
static int64_t most_ids(co_graph *g, co_val ids)
{
    const gvalue *v = val(g, ids);
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const gnode *n = &g->nodes[i];
        if (n->op != CO_OP_SHIFT_IDS || n->out[0] != ids) continue;
        const int64_t most = most_ids(g, n->in[0]);
        return most ? most + ((const co_attr_i32 *)(const void *)n->attrs)->v : 0;
    }
    if (v->region != CO_REGION_BATCH || !v->label) return 0;
    return strcmp(v->label, "token_ids") == 0 ? g->scope.n_vocab : strcmp(v->label, "positions") == 0 ? g->scope.max_positions : 0;
}
static co_val b_embedding(co_graph *g, co_val ids, co_val w)
{
    if (!want_dims(g, ids, 1, 0, "embedding", "ids") || !want_dims(g, w, 2, 1, "embedding", "the table")) return 0;
    const int64_t most = most_ids(g, ids);
    if (most > val(g, w)->shape.ne[0])
        return (void)graph_fail(g, "embedding: ids up to %lld are possible, table '%s' has %lld rows", (long long)most - 1,
                                val(g, w)->label ? val(g, w)->label : "?", (long long)val(g, w)->shape.ne[0]), 0;
    const uint32_t in[2] = {ids, w};
    gnode *n = graph_node(g, CO_OP_EMBEDDING, 2, in, NULL, 0);
    if (!n) return 0;
    co_val v = graph_value(g, g->scope.dtype, val(g, ids)->rows, 2, val(g, ids)->shape.ne[0], val(g, w)->shape.ne[1],
                           CO_REGION_WORK);
    return g->nodes[g->n_nodes - 1].out[0] = v;
}

static int norm_ok(co_graph *g, co_val x, co_val w, const char *op)
{
    if (!want_dims(g, x, 2, 1, op, "x") || !want_dims(g, w, 1, 1, op, "a weight")) return 0;
    if (val(g, x)->shape.ne[1] != val(g, w)->shape.ne[0])
        return (void)graph_fail(g, "%s: %lld columns, weight of %lld", op, (long long)val(g, x)->shape.ne[1],
                                (long long)val(g, w)->shape.ne[0]), 0;
    return 1;
}
static co_val b_rmsnorm(co_graph *g, co_val x, co_val w, float eps)
{
    if (!norm_ok(g, x, w, "rmsnorm")) return 0;
    const uint32_t in[2] = {x, w};
    const co_attr_f32 at = {eps};
    return out_like(g, CO_OP_RMSNORM, 2, in, &at, sizeof at, x, 0);
}
static co_val b_layernorm(co_graph *g, co_val x, co_val w, co_val b, float eps)
{
    if (!norm_ok(g, x, w, "layernorm") || (b && !norm_ok(g, x, b, "layernorm"))) return 0;
    const uint32_t in[3] = {x, w, b};
    const co_attr_f32 at = {eps};
    return out_like(g, CO_OP_LAYERNORM, b ? 3 : 2, in, &at, sizeof at, x, 0);
}

static co_val b_rope(co_graph *g, co_val x, co_val pos, const co_rope *r)
{
    if (!want_dims(g, x, 2, 1, "rope", "x") || !want_dims(g, pos, 1, 0, "rope", "positions")) return 0;
    if (!r) return (void)graph_fail(g, "rope: no settings are given"), 0;
    co_rope at;
    memset(&at, 0, sizeof at);
    memcpy(&at, r, r->struct_size < sizeof at ? r->struct_size : sizeof at);
    at.struct_size = sizeof at;
    const int64_t cols = val(g, x)->shape.ne[1];
    if (at.n_heads == 0 || cols % at.n_heads)
        return (void)graph_fail(g, "rope: %lld columns do not divide into %u heads", (long long)cols, at.n_heads), 0;
    if (at.rotary_dims == 0) at.rotary_dims = (uint32_t)(cols / at.n_heads);
    if (at.rotary_dims > (uint32_t)(cols / at.n_heads) || at.rotary_dims % 2)
        return (void)graph_fail(g, "rope: %u rotary dimensions of a head of %lld; must be even and not more",
                                at.rotary_dims, (long long)(cols / at.n_heads)), 0;
    const uint32_t in[2] = {x, pos};
    return out_like(g, CO_OP_ROPE, 2, in, &at, sizeof at, x, 0);
}

/* Does dropout that a model declares apply? */
static int model_dropout(co_graph *g, double p)
{
    if (!g->scope.training || p == 0) return 0;
    if (!g->scope.dropout && p > g->dropout_off) g->dropout_off = p;
    return g->scope.dropout != 0;
}

static co_val b_attention(co_graph *g, co_val q, co_val k, co_val v, const co_attn *a)
{
    if (!want_dims(g, q, 2, 1, "attention", "q") || !want_dims(g, k, 2, 1, "attention", "k")) return 0;
    if (!same_shape(g, k, v, "attention")) return 0;
    if (!a) return (void)graph_fail(g, "attention: no settings are given"), 0;
    co_attn at;
    memset(&at, 0, sizeof at);
    memcpy(&at, a, a->struct_size < sizeof at ? a->struct_size : sizeof at);
    at.struct_size = sizeof at;
    if (!model_dropout(g, at.dropout)) at.dropout = 0;
    const int64_t qc = val(g, q)->shape.ne[1], kc = val(g, k)->shape.ne[1];
    if (!at.n_heads || !at.n_kv_heads || at.n_heads % at.n_kv_heads || qc % at.n_heads || kc % at.n_kv_heads ||
        qc / at.n_heads != kc / at.n_kv_heads)
        return (void)graph_fail(g, "attention: q of %lld columns in %u heads, k and v of %lld in %u do not fit",
                                (long long)qc, at.n_heads, (long long)kc, at.n_kv_heads), 0;
    if (at.scale == 0) at.scale = (float)(1.0 / __builtin_sqrt((double)(qc / at.n_heads)));
    if (g->scope.slot_len > 0) {
        const int64_t rows = g->scope.slots_in_cache * g->scope.slot_len;
        co_val c[2];
        for (int i = 0; i < 2; i++) {
            c[i] = graph_value(g, g->scope.dtype, CO_ROWS_FIXED, 2, rows, kc, CO_REGION_CACHE);
            if (!c[i]) return 0;
            val(g, c[i])->offset = g->cache_bytes;
            val(g, c[i])->label = i ? "v cache" : "k cache";
            g->cache_bytes += ((size_t)(rows * kc) * co_dtype_bytes(g->scope.dtype) + 255) & ~(size_t)255;
        }
        const uint32_t in[5] = {q, k, v, c[0], c[1]};
        const co_attr_cached ca = {.attn = at, .slot_len = g->scope.slot_len};
        return out_like(g, CO_OP_ATTENTION_CACHED, 5, in, &ca, sizeof ca, q, 0);
    }
    const uint32_t in[3] = {q, k, v};
    co_val o = out_like(g, CO_OP_ATTENTION, 3, in, &at, sizeof at, q, 0);
    if (!o) return 0;
    co_val lse = graph_value(g, CO_F32, val(g, q)->rows, 2, val(g, q)->shape.ne[0], at.n_heads, CO_REGION_WORK);
    if (lse) val(g, lse)->shape.dtype = g->scope.dtype == CO_F64 ? CO_F64 : CO_F32;
    g->nodes[g->n_nodes - 1].out[1] = lse;
    return lse ? o : 0;
}

static co_val pair(co_graph *g, uint32_t op, co_val a, co_val b)
{
    if (!same_shape(g, a, b, op_name(op))) return 0;
    const uint32_t in[2] = {a, b};
    return out_like(g, op, 2, in, NULL, 0, a, 0);
}
static co_val single(co_graph *g, uint32_t op, co_val x, const void *at, size_t as)
{
    if (!usable(g, x, op_name(op))) return 0;
    return out_like(g, op, 1, &x, at, as, x, 0);
}
static co_val b_swiglu(co_graph *g, co_val a, co_val b) { return pair(g, CO_OP_SWIGLU, a, b); }
static co_val b_gelu(co_graph *g, co_val x, int tanh_approx)
{
    const co_attr_i32 at = {tanh_approx != 0};
    return single(g, CO_OP_GELU, x, &at, sizeof at);
}
static co_val b_silu(co_graph *g, co_val x) { return single(g, CO_OP_SILU, x, NULL, 0); }
static co_val b_relu(co_graph *g, co_val x) { return single(g, CO_OP_RELU, x, NULL, 0); }
static co_val b_row_gather(co_graph *g, co_val x, co_val rows)
{
    if (!want_dims(g, x, 2, 1, "row_gather", "x") || !want_dims(g, rows, 1, 0, "row_gather", "rows")) return 0;
    const uint32_t in[2] = {x, rows};
    gnode *n = graph_node(g, CO_OP_ROW_GATHER, 2, in, NULL, 0);
    if (!n) return 0;
    co_val v = graph_value(g, val(g, x)->shape.dtype, val(g, rows)->rows, 2, val(g, rows)->shape.ne[0],
                           val(g, x)->shape.ne[1], CO_REGION_WORK);
    return g->nodes[g->n_nodes - 1].out[0] = v;
}
co_val graph_dropout(co_graph *g, co_val x, float p)
{
    if (!usable(g, x, "dropout")) return 0;
    if (p == 0 || !g->scope.training) return x;
    if (!(p > 0 && p < 1)) return (void)graph_fail(g, "dropout: probability %g is not in [0, 1)", (double)p), 0;
    const co_attr_dropout at = {p, 16 + g->next_stream++};
    return single(g, CO_OP_DROPOUT, x, &at, sizeof at);
}
static co_val b_dropout(co_graph *g, co_val x, float p) { return model_dropout(g, p) ? graph_dropout(g, x, p) : x; }
static co_val b_add(co_graph *g, co_val a, co_val b) { return pair(g, CO_OP_ADD, a, b); }
static co_val b_sub(co_graph *g, co_val a, co_val b) { return pair(g, CO_OP_SUB, a, b); }
static co_val b_mul(co_graph *g, co_val a, co_val b) { return pair(g, CO_OP_MUL, a, b); }
static co_val b_scale(co_graph *g, co_val x, float s)
{
    const co_attr_f32 at = {s};
    return single(g, CO_OP_SCALE, x, &at, sizeof at);
}
static co_val b_exp(co_graph *g, co_val x) { return single(g, CO_OP_EXP, x, NULL, 0); }
static co_val b_log_sigmoid(co_graph *g, co_val x) { return single(g, CO_OP_LOG_SIGMOID, x, NULL, 0); }
static co_val b_clamp(co_graph *g, co_val x, float lo, float hi)
{
    const co_attr_range at = {lo, hi};
    return single(g, CO_OP_CLAMP, x, &at, sizeof at);
}
static co_val b_minimum(co_graph *g, co_val a, co_val b) { return pair(g, CO_OP_MINIMUM, a, b); }
static co_val b_maximum(co_graph *g, co_val a, co_val b) { return pair(g, CO_OP_MAXIMUM, a, b); }

static co_val b_token_logprob(co_graph *g, co_val h, co_val w, co_val t, const co_classifier *c)
{
    if (!want_dims(g, h, 2, 1, "token_logprob", "hidden") || !want_dims(g, w, 2, 1, "token_logprob", "lm_head") ||
        !want_dims(g, t, 1, 0, "token_logprob", "targets"))
        return 0;
    if (val(g, h)->shape.ne[1] != val(g, w)->shape.ne[1])
        return (void)graph_fail(g, "token_logprob: hidden states of %lld columns, head of %lld",
                                (long long)val(g, h)->shape.ne[1], (long long)val(g, w)->shape.ne[1]), 0;
    co_classifier at = {.ignore_index = -100};
    if (c) memcpy(&at, c, c->struct_size < sizeof at ? c->struct_size : sizeof at);
    at.struct_size = sizeof at;
    if (at.inv_temperature == 0) at.inv_temperature = 1;
    const uint32_t in[3] = {h, w, t};
    gnode *n = graph_node(g, CO_OP_TOKEN_LOGPROB, 3, in, &at, sizeof at);
    if (!n) return 0;
    const uint32_t node = g->n_nodes - 1, rows = val(g, h)->rows;
    const int64_t cap = val(g, h)->shape.ne[0];
    const co_dtype t32 = g->scope.dtype == CO_F64 ? CO_F64 : CO_F32;
    co_val logp = graph_value(g, t32, rows, 1, cap, 1, CO_REGION_WORK);
    co_val lse = graph_value(g, t32, rows, 1, cap, 1, CO_REGION_WORK);
    g->nodes[node].out[0] = logp;
    g->nodes[node].out[1] = lse;
    return lse ? logp : 0;
}
static co_val b_masked_mean(co_graph *g, co_val x, co_val mask)
{
    x = wide(g, x);
    if (!same_shape(g, x, mask, "masked_mean") || !want_dims(g, x, 1, 1, "masked_mean", "x")) return 0;
    const uint32_t in[2] = {x, mask};
    gnode *n = graph_node(g, CO_OP_MASKED_MEAN, 2, in, NULL, 0);
    if (!n) return 0;
    co_val v = graph_value(g, val(g, x)->shape.dtype, CO_ROWS_FIXED, 1, 1, 1, CO_REGION_WORK);
    return g->nodes[g->n_nodes - 1].out[0] = v;
}
static co_val b_masked_sum_rows(co_graph *g, co_val x, co_val mask)
{
    x = wide(g, x);
    if (!same_shape(g, x, mask, "masked_sum_rows") || !want_dims(g, x, 1, 1, "masked_sum_rows", "x")) return 0;
    const uint32_t in[2] = {x, mask};
    gnode *n = graph_node(g, CO_OP_MASKED_SUM_ROWS, 2, in, NULL, 0);
    if (!n) return 0;
    co_val v = graph_value(g, val(g, x)->shape.dtype, CO_ROWS_SEQS, 1, g->scope.max_seqs, 1, CO_REGION_WORK);
    return g->nodes[g->n_nodes - 1].out[0] = v;
}
static co_val b_stop_gradient(co_graph *g, co_val x)
{
    co_val v = single(g, CO_OP_STOP_GRADIENT, x, NULL, 0);
    if (v) val(g, v)->view_of = x;
    return v;
}
static int b_split(co_graph *g, co_val x, uint32_t n, const int64_t *widths, co_val *out)
{
    if (n == 0 || n > GRAPH_MAX_IO || !widths || !out) return graph_fail(g, "split: 1 to %d parts, not %u", GRAPH_MAX_IO, n);
    for (uint32_t i = 0; i < n; i++) out[i] = 0;
    if (!want_dims(g, x, 2, 1, "split", "x")) return CO_E_INVALID;
    int64_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (widths[i] < 1 || widths[i] > val(g, x)->shape.ne[1]) return graph_fail(g, "split: part %u has a width of %lld", i, (long long)widths[i]);
        sum += widths[i];
    }
    if (sum != val(g, x)->shape.ne[1])
        return graph_fail(g, "split: widths add up to %lld of %lld columns", (long long)sum,
                          (long long)val(g, x)->shape.ne[1]);
    if (!graph_node(g, CO_OP_SPLIT, 1, &x, NULL, 0)) return CO_E_NOMEM;
    const uint32_t node = g->n_nodes - 1;
    g->nodes[node].n_out = n;
    int64_t col = 0;
    for (uint32_t i = 0; i < n; i++) {
        const gvalue m = *val(g, x);
        co_val v = graph_value(g, m.shape.dtype, m.rows, 2, m.shape.ne[0], widths[i], CO_REGION_WORK);
        if (!v) return CO_E_NOMEM;
        val(g, v)->view_of = x;
        val(g, v)->view_col = col;
        col += widths[i];
        g->nodes[node].out[i] = out[i] = v;
    }
    return CO_OK;
}
static co_val b_shift_ids(co_graph *g, co_val ids, int32_t offset)
{
    if (!want_dims(g, ids, 1, 0, "shift_ids", "ids")) return 0;
    const co_attr_i32 at = {offset};
    return out_like(g, CO_OP_SHIFT_IDS, 1, &ids, &at, sizeof at, ids, 0);
}
static co_val b_custom(co_graph *g, const char *id, uint32_t n, const co_val *in, const void *at, size_t as)
{
    (void)n, (void)in, (void)at, (void)as;
    return (void)graph_fail(g, "custom op '%.100s' is offered by no loaded plugin", id ? id : ""), 0;
}
static void b_name(co_graph *g, co_val v, const char *label)
{
    if (v && v < g->n_values && label) val(g, v)->label = arena_strndup(g->arena, label, strlen(label));
}

const co_graph_ops *graph_ops(void)
{
    static const co_graph_ops ops = {
        .struct_size = sizeof ops, .param = b_param, .linear = b_linear, .embedding = b_embedding,
        .rmsnorm = b_rmsnorm, .layernorm = b_layernorm, .rope = b_rope, .attention = b_attention,
        .swiglu = b_swiglu, .gelu = b_gelu, .silu = b_silu, .relu = b_relu, .row_gather = b_row_gather,
        .dropout = b_dropout, .add = b_add, .sub = b_sub, .mul = b_mul, .scale = b_scale, .exp = b_exp,
        .log_sigmoid = b_log_sigmoid, .clamp = b_clamp, .minimum = b_minimum, .maximum = b_maximum,
        .token_logprob = b_token_logprob, .masked_mean = b_masked_mean, .masked_sum_rows = b_masked_sum_rows,
        .stop_gradient = b_stop_gradient, .split = b_split, .shift_ids = b_shift_ids, .custom = b_custom,
        .name = b_name,
    };
    return &ops;
}
