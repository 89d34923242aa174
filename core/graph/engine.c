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

static void on_metric(void *ctx, const char *name, co_val v)
{
    sink *s = ctx;
    if (s->n == ENGINE_MAX_METRICS) {
        (void)graph_fail(s->g, "a loss names more than %d metrics", ENGINE_MAX_METRICS);
        return;
    }
    s->e->metric_name[s->n] = name;
    s->metric[s->n++] = v;
}

static int record_loss(engine *e, co_graph *g, co_val hidden, co_val *loss)
{
    const co_graph_ops *op = graph_ops();
    sink s = {.e = e, .g = g};
    co_loss_in in = {.struct_size = sizeof in, .hidden = hidden, .field = graph_batch, .g = g};
    if (!g->failed) in.lm_head = op->param(g, "lm_head");
    *loss = e->a.loss->build(e->a.loss_self, op, &in, &s, on_metric);
    int r = graph_pin(g, loss, CO_REGION_OUT, 0);
    for (uint32_t i = 0; i < s.n && r == CO_OK; i++)
        r = graph_pin(g, &s.metric[i], CO_REGION_OUT, (size_t)OUT_SLOT * (i + 1));
    e->n_metrics = s.n;
    return r;
}

static int record_logits(engine *e, co_graph *g, co_val hidden)
{
    const co_graph_ops *op = graph_ops();
    (void)e;
    co_val logits = op->linear(g, hidden, op->param(g, "lm_head"), 0);
    if (logits && co_dtype_bytes(g->scope.dtype) == 2) g->values[logits].shape.dtype = CO_F32; /* the host samples from them */
    return graph_pin(g, &logits, CO_REGION_OUT, 0);
}

static gscope scope_of(engine *e, engine_mode mode, co_unit unit, uint32_t instance)
{
    const param_table *t = e->a.params;
    static const char *const label[] = {"embed", "block", "final"};
    gscope s = {.label = label[unit], .decls = t->decls[unit], .slots = t->slots + t->unit_first[instance],
                .n_params = t->n_decls[unit], .first_slot = t->unit_first[instance], .dtype = t->dtype,
                .training = mode == MODE_TRAIN, .dropout = e->a.dropout};
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
        if (r) return FAIL(CO_E_UNSUPPORTED, "the backend cannot run %s of %s: %s", op_name(p->steps[i].op), p->label, why);
    }
    return CO_OK;
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
        for (int i = 0; i < 2; i++) {
            size_t scratch = 0;
            r = check_support(e, plans[i]);
            if (r == CO_OK && plans[i]->n_steps) r = e->a.backend->workspace(e->a.backend_self, plans[i], &scratch);
            if (r) return r;
            /* A plan's scratch follows its own work: the classifier's large one costs nothing beside a block's work. */
            const size_t both = plans[i]->region_bytes[CO_REGION_WORK] + scratch;
            if (both > e->memory.work) e->memory.work = both;
        }
    }
    return CO_OK;
}

/* ---- sizes -------------------------------------------------------------------------------------------------- */
static int lay_out_batch(engine *e, engine_mode mode)
{
    engine_layout *l = &e->layout[mode];
    const uint32_t extra = mode == MODE_CACHED ? 1 : e->a.n_columns;
    l->n_columns = 2 + extra;
    l->columns = arena_push(e->arena, l->n_columns * sizeof *l->columns, 16);
    if (!l->columns) return FAIL(CO_E_NOMEM, "out of memory");
    l->columns[0] = (gcolumn){"token_ids", CO_I32, CO_ROWS_TOKENS, 0};
    l->columns[1] = (gcolumn){"positions", CO_I32, CO_ROWS_TOKENS, 0};
    if (mode == MODE_CACHED) l->columns[2] = (gcolumn){"rows", CO_I32, CO_ROWS_GATHERED, 0};
    else
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

static int open_strategy(engine *e, int plan_only)
{
    const param_table *t = e->a.params;
    co_schedule list[MODE_COUNT];
    uint32_t n = 0;
    for (int m = 0; m < MODE_COUNT; m++)
        if (e->has_mode[m]) list[n++] = e->schedules[m];
    const co_strategy_args a = {
        .struct_size = sizeof a, .host = e->a.host, .opts = e->a.strategy_opts,
        .backend = e->a.backend, .backend_self = e->a.backend_self, .cpu = e->a.backend, .cpu_self = e->a.backend_self,
        .comm = e->a.comm, .comm_self = e->a.comm_self,
        .optim = e->has_mode[MODE_TRAIN] ? e->a.optim : NULL, .optim_self = e->a.optim_self,
        .n_units = t->n_units, .n_params = t->n_params, .n_schedules = n, .params = t->slots, .schedules = list,
        .plan_only = plan_only, .rule = e->has_mode[MODE_TRAIN] ? &e->rule : NULL, .state = plan_only ? NULL : e->state,
    };
    int r = e->a.strategy->open(&a, &e->strategy);
    if (r) {
        e->strategy = NULL;
        return r;
    }
    e->strategy_live = !plan_only;
    co_strategy_bytes b = {.struct_size = sizeof b};
    r = e->a.strategy->bytes(e->strategy, &b);
    if (r) return r;
    e->memory.params = b.params;
    e->memory.grads = b.grads;
    e->memory.master = b.master;
    e->memory.optimizer = b.optimizer;
    e->memory.strategy_other = b.other;
    return CO_OK;
}

static void size_hidden(engine *e)
{
    const size_t row = (size_t)e->d_model * co_dtype_bytes(e->a.params->dtype);
    size_t hidden = 0;
    if (e->has_mode[MODE_EVAL]) {
        e->hidden_train = engine_align((size_t)e->a.max_tokens * row);
        hidden = e->hidden_train * (e->has_mode[MODE_TRAIN] ? e->n_layers + 3 : 2); /* each unit's output, 2 gradients */
    }
    if (e->has_mode[MODE_CACHED]) {
        e->hidden_cached = engine_align((size_t)e->a.pass_tokens * row);
        if (2 * e->hidden_cached > hidden) hidden = 2 * e->hidden_cached;
    }
    e->memory.hidden = hidden;
}

static void size_buffers(engine *e)
{
    engine_memory *m = &e->memory;
    size_hidden(e);
    for (uint32_t u = 0; u < e->n_units; u++) {
        if (e->has_mode[MODE_TRAIN]) {
            const size_t s = e->units[MODE_TRAIN][e->kind_of[u]].plans.saved_bytes;
            const int again = e->a.checkpoint_blocks && e->kind_of[u] >= KIND_BLOCK;
            e->saved_at[u] = again ? 0 : m->saved;
            if (!again) m->saved += s;
        }
        if (e->has_mode[MODE_CACHED]) {
            e->cache_at[u] = m->cache;
            m->cache += e->units[MODE_CACHED][e->kind_of[u]].cache_bytes;
        }
    }
    if (e->has_mode[MODE_TRAIN] && e->a.checkpoint_blocks) { /* one slot for the block that is run again */
        size_t slot = 0;
        for (uint32_t k = KIND_BLOCK; k < e->n_kinds; k++)
            if (e->units[MODE_TRAIN][k].plans.saved_bytes > slot) slot = e->units[MODE_TRAIN][k].plans.saved_bytes;
        for (uint32_t u = 0; u < e->n_units; u++)
            if (e->kind_of[u] >= KIND_BLOCK) e->saved_at[u] = m->saved;
        m->saved += slot;
    }
    if (e->has_mode[MODE_EVAL]) m->out = (size_t)OUT_SLOT * (e->n_metrics + 1);
    const size_t logits = (size_t)(e->a.pass_rows * e->n_vocab) * sizeof(float);
    if (e->has_mode[MODE_CACHED] && logits > m->out) m->out = engine_align(logits);
    e->state_at = m->out;
    if (e->has_mode[MODE_TRAIN]) m->out += engine_align(sizeof(co_step_state));
    m->total = m->params + m->grads + m->optimizer + m->master + m->strategy_other + m->saved + m->hidden + m->work +
               m->batch + m->cache + m->out;
}

int engine_open(const engine_args *a, engine **out)
{
    *out = NULL;
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
    e->rule = (co_step_rule){.struct_size = sizeof e->rule};
    if (!e->arena) r = CO_E_NOMEM;
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
    if (r == CO_OK) r = open_strategy(e, 1);
    if (r == CO_OK) size_buffers(e);
    if (r) engine_close(e);
    else *out = e;
    return r;
}

/* ---- taking the memory ---------------------------------------------------------------------------------------- */
static int take(engine *e, size_t bytes, char **out)
{
    if (bytes == 0) return CO_OK;
    void *p = NULL;
    int r = e->a.backend->alloc(e->a.backend_self, CO_MEM_DEVICE, bytes, &p);
    if (r) return r;
    *out = p;
    e->allocated += bytes;
    return CO_OK;
}

int engine_allocate(engine *e)
{
    const engine_memory *m = &e->memory;
    const struct { size_t bytes; char **to; } list[] = {
        {m->saved, &e->saved}, {m->hidden, &e->hidden}, {m->work, &e->work}, {m->batch, &e->batch},
        {m->cache, &e->cache}, {m->out, &e->out},
    };
    int r = CO_OK;
    e->a.strategy->close(e->strategy);
    e->strategy = NULL;
    for (size_t i = 0; i < sizeof list / sizeof *list && r == CO_OK; i++) r = take(e, list[i].bytes, list[i].to);
    if (r == CO_OK && e->has_mode[MODE_TRAIN]) {
        const co_step_state start = {.loss_scale = 1};
        e->state = (co_step_state *)(void *)(e->out + e->state_at);
        r = e->a.backend->copy(e->a.backend_self, e->state, &start, sizeof start, NULL);
    }
    if (r == CO_OK) r = open_strategy(e, 0);
    if (r == CO_OK) e->allocated += m->params + m->grads + m->optimizer + m->master + m->strategy_other;
    if (r == CO_OK && e->has_mode[MODE_CACHED]) {
        e->positions = mem_calloc((size_t)e->a.pass_tokens, sizeof *e->positions);
        e->logits = mem_calloc((size_t)(e->a.pass_rows * e->n_vocab), sizeof *e->logits);
        if (!e->positions || !e->logits) r = CO_E_NOMEM;
    }
    for (int mode = 0; mode < MODE_COUNT; mode++)
        for (uint32_t k = 0; k < e->n_kinds && r == CO_OK && e->units[mode]; k++) {
            engine_unit *u = &e->units[mode][k];
            if (u->plans.forward.n_steps) r = e->a.backend->prepare(e->a.backend_self, &u->plans.forward, &u->forward);
            if (r == CO_OK && u->plans.backward.n_steps)
                r = e->a.backend->prepare(e->a.backend_self, &u->plans.backward, &u->backward);
        }
    return r;
}

void engine_close(engine *e)
{
    if (!e) return;
    const co_backend_vt *be = e->a.backend;
    for (int mode = 0; mode < MODE_COUNT; mode++)
        for (uint32_t k = 0; k < e->n_kinds && e->units[mode]; k++) {
            if (e->units[mode][k].forward) be->discard(e->a.backend_self, e->units[mode][k].forward);
            if (e->units[mode][k].backward) be->discard(e->a.backend_self, e->units[mode][k].backward);
        }
    char *const list[] = {e->saved, e->hidden, e->work, e->batch, e->cache, e->out};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i]) be->free(e->a.backend_self, CO_MEM_DEVICE, list[i]);
    if (e->strategy) e->a.strategy->close(e->strategy);
    mem_free(e->positions);
    mem_free(e->logits);
    arena_free(e->arena);
    mem_free(e);
}

void engine_bytes(const engine *e, engine_memory *out) { *out = e->memory; }
double engine_dropout_off(const engine *e) { return e->dropout_off; }
size_t engine_allocated(const engine *e) { return e->allocated; }
