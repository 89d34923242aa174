/* engine.c: from a model's description to plans, sizes and buffers. */
#include "core/graph/engine_impl.h"
#include "core/base/error.h"
#include <string.h>

static const char *const mode_name[MODE_COUNT] = {"train", "eval", "generate"};

/* ---- recording one kind of unit in one mode --------------------------------------------------------------- */
typedef struct sink {
    engine *e;
    co_graph *g;
    co_val metric[ENGINE_MAX_METRICS];
    uint32_t n;
} sink;

/* A name becomes a key of metrics.jsonl and a tag of TensorBoard. */
static int is_metric_name(const char *name)
{
    const size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return n > 0 && n <= 40 && !name[n];
}

static void on_metric(void *ctx, const char *name, co_val v)
{
    sink *s = ctx;
    if (!name || !name[0]) {
        (void)graph_fail(s->g, "a loss names a metric without a name");
        return;
    }
    if (!is_metric_name(name)) {
        (void)graph_fail(s->g, "a loss names a metric '%.80s': at most 40 letters, digits and _ are possible", name);
        return;
    }
    for (uint32_t i = 0; i < s->n; i++)
        if (strcmp(s->e->metric_name[i], name) == 0) {
            (void)graph_fail(s->g, "a loss names the metric '%s' twice", name);
            return;
        }
    if (s->n == ENGINE_MAX_METRICS) {
        (void)graph_fail(s->g, "a loss names more than %d metrics", ENGINE_MAX_METRICS);
        return;
    }
    s->e->metric_name[s->n] = name;
    s->metric[s->n++] = v;
}

/* Only what exists and is one number has its place among the results. */
static int check_scalar(co_graph *g, co_val v, const char *what)
{
    if (g->failed) return g->failed;
    if (v == 0 || v >= g->n_values) return graph_fail(g, "%s is value %u, which does not exist", what, v);
    const co_tensor *t = &g->values[v].shape;
    if (t->ndim == 1 && t->ne[0] == 1 && g->values[v].rows == CO_ROWS_FIXED && t->dtype != CO_I32) return CO_OK;
    return graph_fail(g, "%s is no scalar", what);
}

static int record_loss(engine *e, co_graph *g, co_val hidden, co_val *loss)
{
    const co_graph_ops *op = graph_ops();
    sink s = {.e = e, .g = g};
    co_loss_in in = {.struct_size = sizeof in, .hidden = hidden, .field = graph_batch, .g = g};
    if (!g->failed) in.lm_head = op->param(g, "lm_head");
    *loss = e->a.loss->build(e->a.loss_self, op, &in, &s, on_metric);
    int r = check_scalar(g, *loss, "what the loss's build() returned");
    for (uint32_t i = 0; i < s.n && r == CO_OK; i++) r = check_scalar(g, s.metric[i], s.e->metric_name[i]);
    if (r == CO_OK) r = graph_pin(g, loss, CO_REGION_OUT, 0);
    for (uint32_t i = 0; i < s.n && r == CO_OK; i++)
        r = graph_pin(g, &s.metric[i], CO_REGION_OUT, (size_t)OUT_SLOT * (i + 1));
    e->n_metrics = s.n;
    return r;
}

static const char *const sampling[4] = {"temperature", "top_k", "top_p", "u"};

/* Logits and the token drawn from them, side by side in OUT. */
static int record_logits(engine *e, co_graph *g, co_val hidden)
{
    const co_graph_ops *op = graph_ops();
    co_val logits = op->linear(g, hidden, op->param(g, "lm_head"), 0);
    if (logits && co_dtype_bytes(g->scope.dtype) == 2) g->values[logits].shape.dtype = CO_F32; /* the host samples from them */
    int r = graph_pin(g, &logits, CO_REGION_OUT, 0);
    uint32_t in[5] = {logits};
    for (int i = 0; i < 4; i++) in[1 + i] = graph_batch(g, sampling[i]);
    gnode *n = r == CO_OK ? graph_node(g, CO_OP_SAMPLE_TOKEN, 5, in, NULL, 0) : NULL;
    if (!n) return r ? r : g->failed;
    const uint32_t at = g->n_nodes - 1;
    const co_val ids = graph_value(g, CO_I32, CO_ROWS_GATHERED, 1, e->a.pass_rows, 1, CO_REGION_OUT);
    const co_val logprobs = graph_value(g, CO_F32, CO_ROWS_GATHERED, 1, e->a.pass_rows, 1, CO_REGION_OUT);
    if (!ids || !logprobs) return CO_E_NOMEM;
    g->values[ids].offset = engine_ids_at(e);
    g->values[logprobs].offset = engine_ids_at(e) + (size_t)e->a.pass_rows * 4;
    g->nodes[at].n_out = 2;
    g->nodes[at].out[0] = ids;
    g->nodes[at].out[1] = logprobs;
    return CO_OK;
}

static gscope scope_of(engine *e, engine_mode mode, co_unit unit, uint32_t instance)
{
    const param_table *t = e->a.params;
    static const char *const label[] = {"embed", "block", "final"};
    gscope s = {.label = label[unit], .decls = t->decls[unit], .slots = t->slots + t->unit_first[instance],
                .n_params = t->n_decls[unit], .first_slot = t->unit_first[instance], .dtype = t->dtype,
                .training = mode == MODE_TRAIN, .dropout = e->a.dropout, .n_vocab = e->n_vocab,
                .max_positions = mode == MODE_CACHED ? e->a.slot_len : e->a.max_tokens};
    if (s.max_positions > t->info.max_seq) s.max_positions = t->info.max_seq; /* longer samples are refused or cut */
    if (mode == MODE_CACHED) {
        s.max_tokens = e->a.pass_tokens;
        s.max_seqs = e->a.slots;
        s.max_gathered = e->a.pass_rows;
        s.slot_len = (int32_t)e->a.slot_len;
        s.slots_in_cache = e->a.slots;
    } else {
        s.max_tokens = e->a.max_tokens;
        s.max_seqs = e->a.max_seqs;
    }
    return s;
}

static int record_unit(engine *e, engine_mode mode, co_unit unit, uint32_t block_kind, uint32_t instance,
                       engine_unit *out)
{
    const gscope scope = scope_of(e, mode, unit, instance);
    co_graph *g = graph_new(e->arena, &scope, e->layout[mode].columns, e->layout[mode].n_columns);
    if (!g) return FAIL(CO_E_NOMEM, "out of memory");
    const int last = unit == CO_UNIT_FINAL;
    const co_graph_ops *op = graph_ops();
    co_unit_in in = {.struct_size = sizeof in};
    in.token_ids = graph_batch(g, "token_ids");
    in.positions = graph_batch(g, "positions");
    if (unit != CO_UNIT_EMBED)
        in.x = g->x = graph_value(g, scope.dtype, CO_ROWS_TOKENS, 2, scope.max_tokens, e->d_model, CO_REGION_X);
    if (last && mode == MODE_CACHED) in.x = op->row_gather(g, g->x, graph_batch(g, "rows"));
    co_val y = e->a.model->build(e->a.model_self, unit, block_kind, op, g, &in);
    co_val loss = 0;
    int r = g->failed;
    if (r == CO_OK && y == 0) r = graph_fail(g, "build() returned no value");
    if (r == CO_OK && y >= g->n_values) r = graph_fail(g, "build() returned value %u, which does not exist", y);
    if (r == CO_OK && (g->values[y].shape.ndim != 2 || g->values[y].rows == CO_ROWS_FIXED || g->values[y].shape.dtype != scope.dtype))
        r = graph_fail(g, "build() returned something else than hidden states");
    if (r == CO_OK && !last && g->values[y].shape.ne[1] != e->d_model) /* the last unit's width is lm_head's, checked there */
        r = graph_fail(g, "build() returned %lld columns, d_model is %lld", (long long)g->values[y].shape.ne[1],
                       (long long)e->d_model);
    if (r == CO_OK && !last) {
        r = graph_pin(g, &y, CO_REGION_Y, 0);
        g->y = y;
    } else if (r == CO_OK) {
        r = mode == MODE_CACHED ? record_logits(e, g, y) : record_loss(e, g, y, &loss);
    }
    if (r == CO_OK) r = graph_fuse_linears(g);
    if (r == CO_OK && mode == MODE_TRAIN) {
        r = graph_derive(g, loss, unit != CO_UNIT_EMBED);
        if (r == CO_OK) r = graph_rewrite(g, last);
    }
    if (r == CO_OK) r = graph_plan(g, mode != MODE_TRAIN || last, &out->plans);
    out->cache_bytes = g->cache_bytes;
    if (g->dropout_off > e->dropout_off) e->dropout_off = g->dropout_off;
    return r;
}

static int check_support(engine *e, const co_plan *p)
{
    char why[256] = "";
    for (uint32_t i = 0; i < p->n_steps; i++) {
        int r = e->a.backend->supports(e->a.backend_self, p, i, why, sizeof why);
        why[sizeof why - 1] = 0;
        if (r) return FAIL(CO_E_UNSUPPORTED, "the backend cannot run %s of %s: %s", op_name(p->steps[i].op), p->label, why[0] ? why : "it gives no reason");
    }
    return CO_OK;
}

/* A unit's output, read again by its backward: exp() at its end, say. */
static int reads_own_output(const co_plan *p)
{
    for (uint32_t i = 0; i < p->n_steps; i++)
        for (uint32_t k = 0; k < p->steps[i].n_in; k++)
            if (p->steps[i].in[k] != CO_NONE && p->values[p->steps[i].in[k]].region == CO_REGION_Y) return 1;
    return 0;
}

static int record_mode(engine *e, engine_mode mode)
{
    const uint32_t n = e->n_kinds;
    e->units[mode] = arena_push(e->arena, n * sizeof *e->units[mode], 16);
    if (!e->units[mode]) return FAIL(CO_E_NOMEM, "out of memory");
    memset(e->units[mode], 0, n * sizeof *e->units[mode]);
    uint8_t *done = arena_push(e->arena, n, 16);
    if (!done) return FAIL(CO_E_NOMEM, "out of memory");
    memset(done, 0, n);
    for (uint32_t u = 0; u < e->n_units; u++) {
        const uint32_t kind = e->kind_of[u];
        if (done[kind]) continue;
        done[kind] = 1;
        engine_unit *unit = &e->units[mode][kind];
        int r = record_unit(e, mode, param_unit_kind(e->a.params, u), kind >= KIND_BLOCK ? kind - KIND_BLOCK : 0, u, unit);
        if (r) return error_prefix(r, "planning %s", mode_name[mode]);
        const co_plan *plans[2] = {&unit->plans.forward, &unit->plans.backward};
        if (reads_own_output(&unit->plans.backward)) e->gradients_apart = 1;
        for (int i = 0; i < 2; i++) {
            size_t scratch = 0;
            r = check_support(e, plans[i]);
            if (r == CO_OK && plans[i]->n_steps) r = PLUGIN("the backend's workspace()", e->a.backend->workspace(e->a.backend_self, plans[i], &scratch));
            if (r) return r;
            /* A plan's scratch follows its own work: the classifier's large one costs nothing beside a block's work. */
            if (scratch > SIZE_MAX / 8) return FAIL(CO_E_ABI, "the backend's workspace() asks for %zu bytes: the plugin is broken", scratch);
            const size_t both = plans[i]->region_bytes[CO_REGION_WORK] + scratch;
            if (both > e->memory.work) e->memory.work = both;
        }
    }
    return CO_OK;
}

/* ---- batches and the order of units -------------------------------------------------------------------------------------------------- */
static int lay_out_batch(engine *e, engine_mode mode)
{
    engine_layout *l = &e->layout[mode];
    const uint32_t extra = mode == MODE_CACHED ? 5 : e->a.n_columns;
    l->n_columns = 2 + extra;
    l->columns = arena_push(e->arena, l->n_columns * sizeof *l->columns, 16);
    if (!l->columns) return FAIL(CO_E_NOMEM, "out of memory");
    l->columns[0] = (gcolumn){"token_ids", CO_I32, CO_ROWS_TOKENS, 0};
    l->columns[1] = (gcolumn){"positions", CO_I32, CO_ROWS_TOKENS, 0};
    if (mode == MODE_CACHED) {
        l->columns[2] = (gcolumn){"rows", CO_I32, CO_ROWS_GATHERED, 0};
        for (uint32_t i = 0; i < 4; i++) l->columns[3 + i] = (gcolumn){sampling[i], CO_F32, CO_ROWS_GATHERED, 0};
    } else
        for (uint32_t i = 0; i < extra; i++)
            l->columns[2 + i] = (gcolumn){e->a.columns[i].name, e->a.columns[i].dtype, e->a.columns[i].rows, 0};
    const gscope s = scope_of(e, mode, CO_UNIT_EMBED, 0);
    for (uint32_t i = 0; i < l->n_columns; i++) {
        const int64_t n = l->columns[i].rows == CO_ROWS_TOKENS ? s.max_tokens
                          : l->columns[i].rows == CO_ROWS_SEQS ? s.max_seqs
                                                               : s.max_gathered;
        l->columns[i].offset = l->bytes;
        l->bytes += engine_align((size_t)n * 4);
    }
    if (e->async) {
        const struct { size_t *at, bytes; } more[] = {
            {&l->live_at, e->n_units * sizeof(co_live)}, {&l->start_at, (size_t)(s.max_seqs + 1) * sizeof(int32_t)},
            {&l->key_at, (size_t)s.max_seqs * sizeof(uint64_t)}, {&l->slot_at, (size_t)s.max_seqs * sizeof(int32_t)},
            {&l->past_at, (size_t)s.max_seqs * sizeof(int32_t)}};
        for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
            *more[i].at = l->bytes;
            l->bytes += engine_align(more[i].bytes);
        }
    }
    if (l->bytes > e->memory.batch) e->memory.batch = l->bytes;
    return CO_OK;
}

static int schedule(engine *e, engine_mode mode)
{
    const uint32_t L = e->n_layers, train = mode == MODE_TRAIN, n = e->n_units + (train ? L + 1 : 0);
    co_access *a = arena_push(e->arena, n * sizeof *a, 16);
    if (!a) return FAIL(CO_E_NOMEM, "out of memory");
    memset(a, 0, n * sizeof *a);
    for (uint32_t i = 0; i < n; i++) {
        a[i].unit = i < e->n_units ? i : 2 * (L + 1) - i;
        a[i].phase = !train ? CO_PHASE_INFER : i <= L ? CO_PHASE_FORWARD : CO_PHASE_BACKWARD;
        a[i].work_bytes = e->memory.work;
    }
    e->schedules[mode] = (co_schedule){sizeof(co_schedule), (uint32_t)mode, n, a};
    return CO_OK;
}

/* What buffers are sized by, and ids are checked against, must be what the parameters say. */
static int check_model(const param_table *t)
{
    const co_model_info *i = &t->info;
    const uint32_t head = param_find_local(t, CO_UNIT_FINAL, "lm_head");
    if (i->d_model < 1 || i->d_model > 1u << 24 || i->n_vocab < 1 || i->n_vocab > INT32_MAX || i->max_seq < 1)
        return FAIL(CO_E_ABI, "the model's info() says width %u, %u token ids, %u positions: the plugin is broken", i->d_model, i->n_vocab, i->max_seq);
    if (i->n_block_kinds > i->n_layers) return FAIL(CO_E_ABI, "the model's info() says %u kinds of block in %u layers: the plugin is broken", i->n_block_kinds, i->n_layers);
    if (head == CO_NONE) return FAIL(CO_E_ABI, "the model declares no \"lm_head\" in its final unit: the plugin is broken");
    const co_param *d = &t->decls[CO_UNIT_FINAL][head];
    if (d->ndim != 2 || d->ne[0] != i->n_vocab)
        return FAIL(CO_E_ABI, "the model's info() says %u token ids, its lm_head has %lld rows: the plugin is broken", i->n_vocab, (long long)d->ne[0]);
    return CO_OK;
}

int engine_open(const engine_args *a, engine **out)
{
    *out = NULL;
    const int fits = check_model(a->params);
    if (fits) return fits;
    if (a->loss && (a->loss->wants & (CO_LOSS_WANTS_VALUE | CO_LOSS_WANTS_REWARD)))
        return FAIL(CO_E_UNSUPPORTED, "the loss wants a value or reward head, which this stage does not have");
    engine *e = mem_alloc(sizeof *e, 16);
    if (!e) return CO_E_NOMEM;
    int r = CO_OK;
    e->a = *a;
    e->arena = arena_new(1 << 16);
    e->n_units = a->params->n_units;
    e->n_layers = a->params->n_layers;
    e->d_model = a->params->info.d_model;
    e->n_vocab = a->params->info.n_vocab;
    const uint32_t block_kinds = a->params->info.n_block_kinds ? a->params->info.n_block_kinds : 1;
    e->n_kinds = KIND_BLOCK + block_kinds;
    e->has_mode[MODE_EVAL] = a->loss && a->max_tokens > 0;
    e->has_mode[MODE_TRAIN] = e->has_mode[MODE_EVAL] && a->optim;
    e->has_mode[MODE_CACHED] = a->slots > 0;
    e->rule = (co_step_rule){.struct_size = sizeof e->rule, .scaling = a->scaler != NULL, .norm_type = a->norm_type};
    if (a->scaler) e->rule.scaler = *a->scaler; /* the caller's may go */
    e->async = (a->backend->flags & CO_BACKEND_ASYNC) != 0;
    if (2 + a->n_columns > ENGINE_MAX_COLUMNS) {
        mem_free(e);
        return FAIL(CO_E_INVALID, "a batch of %u columns; %d are possible", 2 + a->n_columns, ENGINE_MAX_COLUMNS);
    }
    if (!e->arena) r = CO_E_NOMEM;
    if (r == CO_OK && a->slots > 0 && a->slot_len > a->params->info.max_seq)
        r = FAIL(CO_E_CONFIG, "%lld positions are asked for; the model has %u", (long long)a->slot_len, a->params->info.max_seq);
    if (r == CO_OK) {
        const size_t n = e->n_units;
        e->kind_of = arena_push(e->arena, n * sizeof *e->kind_of, 16);
        e->saved_at = arena_push(e->arena, n * sizeof *e->saved_at, 16);
        e->cache_at = arena_push(e->arena, n * sizeof *e->cache_at, 16);
        if (!e->kind_of || !e->saved_at || !e->cache_at) r = FAIL(CO_E_NOMEM, "out of memory");
    }
    for (uint32_t i = 0; i < a->params->n_params; i++)
        e->narrow_grads |= a->params->slots[i].trainable && co_dtype_bytes(a->params->slots[i].grad_dtype) == 2;
    for (uint32_t u = 0; u < e->n_units && r == CO_OK; u++) {
        const co_unit kind = param_unit_kind(a->params, u);
        const uint32_t b = kind == CO_UNIT_BLOCK && a->model->block_kind ? a->model->block_kind(a->model_self, u - 1) : 0;
        if (b >= block_kinds) r = FAIL(CO_E_INVALID, "the model puts layer %u in block kind %u of %u", u - 1, b, block_kinds);
        e->kind_of[u] = kind == CO_UNIT_EMBED ? KIND_EMBED : kind == CO_UNIT_FINAL ? KIND_FINAL : KIND_BLOCK + b;
        e->saved_at[u] = e->cache_at[u] = 0;
    }
    for (int m = 0; m < MODE_COUNT && r == CO_OK; m++) {
        if (!e->has_mode[m]) continue;
        r = lay_out_batch(e, m);
        if (r == CO_OK) r = record_mode(e, m);
    }
    for (int m = 0; m < MODE_COUNT && r == CO_OK; m++)
        if (e->has_mode[m]) r = schedule(e, m);
    if (r == CO_OK) engine_size_buffers(e);
    if (r == CO_OK) r = engine_open_strategy(e, 1);
    if (r == CO_OK) engine_add_strategy(e);
    if (r) engine_close(e);
    else *out = e;
    return r;
}
