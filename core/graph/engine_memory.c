/* engine_memory.c: how much an engine takes, to the byte, and the taking of it. */
#include "core/graph/engine_impl.h"
#include "core/base/error.h"
#include <string.h>

/* On the device without the strategy's. */
static size_t own_bytes(const engine *e)
{
    const engine_memory *m = &e->memory;
    return m->saved + m->hidden + m->work + m->batch + m->cache + m->out;
}
/* Params to other, without what is in host memory. */
static size_t strategy_bytes(const engine *e)
{
    const engine_memory *m = &e->memory;
    return m->params + m->grads + m->optimizer + m->master + m->strategy_other - m->strategy_host;
}

int engine_open_strategy(engine *e, int plan_only)
{
    const param_table *t = e->a.params;
    co_schedule list[MODE_COUNT];
    uint32_t n = 0;
    for (int m = 0; m < MODE_COUNT; m++)
        if (e->has_mode[m]) list[n++] = e->schedules[m];
    const co_strategy_args a = {
        .struct_size = sizeof a, .host = e->a.host, .opts = e->a.strategy_opts,
        .backend = e->a.backend, .backend_self = e->a.backend_self, .cpu = e->a.cpu ? e->a.cpu : e->a.backend, .cpu_self = e->a.cpu ? e->a.cpu_self : e->a.backend_self,
        .comm = e->a.comm, .comm_self = e->a.comm_self,
        .optim = e->has_mode[MODE_TRAIN] ? e->a.optim : NULL, .optim_self = e->a.optim_self,
        .n_units = t->n_units, .n_params = t->n_params, .n_schedules = n, .params = t->slots, .schedules = list,
        .plan_only = plan_only, .device_budget = e->device_budget, .device_used = own_bytes(e), .rule = e->has_mode[MODE_TRAIN] ? &e->rule : NULL, .state = plan_only ? NULL : e->state,
    };
    int32_t rank = -1, world = -1, local = -1, local_world = -1;
    int r = PLUGIN("the comm's info()", e->a.comm->info(e->a.comm_self, &rank, &world, &local, &local_world));
    if (r == CO_OK && (world < 1 || rank < 0 || rank >= world || local < 0 || local >= local_world || local_world > world))
        r = FAIL(CO_E_ABI, "the comm's info() says rank %d of %d, %d of %d on this machine: the plugin is broken", rank, world, local, local_world);
    if (r == CO_OK) r = PLUGIN("the strategy's open()", e->a.strategy->open(&a, &e->strategy));
    if (r) {
        e->strategy = NULL;
        return r;
    }
    e->strategy_live = !plan_only;
    co_strategy_bytes b = {.struct_size = sizeof b};
    r = PLUGIN("the strategy's bytes()", e->a.strategy->bytes(e->strategy, &b));
    if (r) return r;
    const size_t list_of[] = {b.params, b.grads, b.master, b.optimizer, b.other};
    for (size_t i = 0; i < sizeof list_of / sizeof *list_of; i++)
        if (list_of[i] > SIZE_MAX / 16) return FAIL(CO_E_ABI, "the strategy's bytes() says %zu: the plugin is broken", list_of[i]);
    e->memory.params = b.params;
    e->memory.grads = b.grads;
    e->memory.master = b.master;
    e->memory.optimizer = b.optimizer;
    e->memory.strategy_other = b.other;
    if (b.host > b.params + b.grads + b.master + b.optimizer + b.other)
        return FAIL(CO_E_ABI, "the strategy's bytes() says %zu of host memory, more than all: the plugin is broken", b.host);
    e->memory.strategy_host = e->async ? b.host : 0;
    return CO_OK;
}

static void size_hidden(engine *e)
{
    if (e->a.offload_activations && e->n_layers + 1 > ENGINE_OFFLOAD_PLACES) e->gradients_apart = 1; /* what stands there is still to be overwritten */
    e->n_states = e->a.offload_activations && e->n_layers + 1 > ENGINE_OFFLOAD_PLACES ? ENGINE_OFFLOAD_PLACES : e->n_layers + 1;
    const size_t row = (size_t)e->d_model * co_dtype_bytes(e->a.params->dtype);
    size_t hidden = 0;
    if (e->has_mode[MODE_EVAL]) {
        e->hidden_train = engine_align((size_t)e->a.max_tokens * row);
        hidden = e->hidden_train * (e->has_mode[MODE_TRAIN] ? e->n_states + 1 + (uint32_t)e->gradients_apart : 2); /* units' outputs and 1 or 2 gradients */
    }
    if (e->has_mode[MODE_CACHED]) {
        e->hidden_cached = engine_align((size_t)e->a.pass_tokens * row);
        if (2 * e->hidden_cached > hidden) hidden = 2 * e->hidden_cached;
    }
    e->memory.hidden = hidden;
}

void engine_size_buffers(engine *e)
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
    const size_t drawn = engine_ids_at(e) + (size_t)e->a.pass_rows * 8; /* logits, ids, log-probabilities */
    if (e->has_mode[MODE_CACHED] && drawn > m->out) m->out = engine_align(drawn);
    if (e->has_mode[MODE_TRAIN]) {
        e->n_sums = (int64_t)e->n_metrics * (OUT_SLOT / (int64_t)sizeof(float)) + 1;
        e->state_at = m->out; /* state and sums side by side: they go to the host together */
        e->sums_at = e->state_at + engine_align(sizeof(co_step_state));
        e->wide_at = e->state_at + engine_results_bytes(e);
        m->out = e->wide_at + engine_align((size_t)e->n_sums * sizeof(double));
        e->results_at = m->out;
        if (e->async) m->pinned += 2 * engine_results_bytes(e);
        else m->out += 2 * engine_results_bytes(e);
    }
    m->batch += 2 * engine_lane_bytes(e);
    m->pinned += 2 * engine_lane_bytes(e);
    if (e->async && e->has_mode[MODE_CACHED]) m->pinned += drawn;
    if (e->async) m->pinned += engine_offload_bytes(e);
    else m->out += engine_offload_bytes(e);
    size_t free_bytes = 0, total_bytes = 0;
    if (e->async && e->a.backend->memory(e->a.backend_self, &free_bytes, &total_bytes) == CO_OK && free_bytes > own_bytes(e))
        e->device_budget = free_bytes - own_bytes(e);
}

void engine_add_strategy(engine *e)
{
    e->memory.total = own_bytes(e) + strategy_bytes(e);
    e->memory.pinned += e->memory.strategy_host;
}

/* ---- taking the memory ---------------------------------------------------------------------------------------- */
static int take(engine *e, size_t bytes, char **out)
{
    if (bytes == 0) return CO_OK;
    void *p = NULL;
    int r = PLUGIN("the backend's alloc()", e->a.backend->alloc(e->a.backend_self, CO_MEM_DEVICE, bytes, &p));
    if (r == CO_OK && (!p || (uintptr_t)p % CO_PARAM_ALIGN)) r = FAIL(CO_E_ABI, "the backend's alloc() gives %p: the plugin is broken", p);
    if (r) return r;
    *out = p;
    e->allocated += bytes;
    return CO_OK;
}

static int take_pinned(engine *e, size_t bytes, char **out)
{
    void *p = NULL;
    int r = bytes ? PLUGIN("the backend's alloc()", e->a.backend->alloc(e->a.backend_self, CO_MEM_PINNED, bytes, &p)) : CO_OK;
    if (r == CO_OK && bytes && !p) r = FAIL(CO_E_ABI, "the backend's alloc() gives nothing: the plugin is broken");
    *out = p;
    return r;
}

/* The step's state and sums, and where the host gets them. */
static int prepare_results(engine *e)
{
    const co_step_state start = {.loss_scale = e->a.scaler ? (float)e->a.initial_scale : 1};
    const co_backend_vt *be = e->a.backend;
    e->state = (co_step_state *)(void *)(e->out + e->state_at);
    e->sums = (double *)(void *)(e->out + e->sums_at);
    e->rule.loss = e->sums;
    int r = PLUGIN("the backend's copy()", be->copy(e->a.backend_self, e->state, &start, sizeof start, NULL));
    for (int i = 0; i < 2 && r == CO_OK; i++) r = PLUGIN("the backend's event_new()", be->event_new(e->a.backend_self, &e->done[i]));
    if (r == CO_OK && e->async) r = take_pinned(e, 2 * engine_results_bytes(e), &e->results);
    if (!e->async) e->results = e->out + e->results_at;
    return r;
}

static int prepare_offload(engine *e)
{
    int r = CO_OK;
    if (e->async) r = take_pinned(e, engine_offload_bytes(e), &e->offload.host);
    else e->offload.host = e->out + e->memory.out - engine_offload_bytes(e);
    return r == CO_OK ? engine_open_offload(e) : r;
}

static int prepare_generation(engine *e)
{
    const size_t bytes = engine_ids_at(e) + (size_t)e->a.pass_rows * 8;
    char *p = NULL;
    e->positions = mem_calloc((size_t)e->a.pass_tokens, sizeof *e->positions);
    e->greedy = mem_calloc((size_t)e->a.pass_rows, sizeof *e->greedy);
    if (!e->positions || !e->greedy) return CO_E_NOMEM;
    if (!e->async) return (e->logits = mem_calloc(bytes, 1)) ? CO_OK : CO_E_NOMEM;
    int r = take_pinned(e, bytes, &p);
    e->logits = (float *)(void *)p;
    return r;
}

static int prepare(engine *e, const co_plan *p, void **out)
{
    const int r = PLUGIN("the backend's prepare()", e->a.backend->prepare(e->a.backend_self, p, out));
    return r || *out ? r : FAIL(CO_E_ABI, "the backend's prepare() gives nothing for %s: the plugin is broken", p->label);
}

int engine_allocate(engine *e)
{
    const engine_memory *m = &e->memory;
    const struct { size_t bytes; char **to; } list[] = {
        {m->saved, &e->saved}, {m->hidden, &e->hidden}, {m->work, &e->work}, {m->batch - 2 * engine_lane_bytes(e), &e->batch},
        {m->cache, &e->cache}, {m->out, &e->out},
    };
    int r = CO_OK;
    e->a.strategy->close(e->strategy);
    e->strategy = NULL;
    for (size_t i = 0; i < sizeof list / sizeof *list && r == CO_OK; i++) r = take(e, list[i].bytes, list[i].to);
    if (r == CO_OK) r = engine_open_lanes(e);
    if (r == CO_OK && e->has_mode[MODE_TRAIN]) r = prepare_results(e);
    if (r == CO_OK && e->has_mode[MODE_TRAIN]) r = prepare_offload(e);
    if (r == CO_OK && e->has_mode[MODE_CACHED]) r = prepare_generation(e);
    if (r == CO_OK) r = engine_open_strategy(e, 0);
    if (r == CO_OK) e->allocated += strategy_bytes(e);
    if (r == CO_OK) r = engine_open_graphs(e);
    for (int mode = 0; mode < MODE_COUNT; mode++)
        for (uint32_t k = 0; k < e->n_kinds && r == CO_OK && e->units[mode]; k++) {
            engine_unit *u = &e->units[mode][k];
            if (u->plans.forward.n_steps) r = prepare(e, &u->plans.forward, &u->forward);
            if (r == CO_OK && u->plans.backward.n_steps) r = prepare(e, &u->plans.backward, &u->backward);
        }
    return r;
}

void engine_close(engine *e)
{
    if (!e) return;
    const co_backend_vt *be = e->a.backend;
    if (e->strategy_live) (void)be->stream_sync(e->a.backend_self, NULL);
    engine_close_graphs(e);
    engine_close_lanes(e);
    engine_close_offload(e);
    for (int i = 0; i < 2; i++)
        if (e->done[i]) be->event_free(e->a.backend_self, e->done[i]);
    if (e->async && e->offload.host) be->free(e->a.backend_self, CO_MEM_PINNED, e->offload.host);
    if (e->async && e->results) be->free(e->a.backend_self, CO_MEM_PINNED, e->results);
    if (e->async && e->logits) be->free(e->a.backend_self, CO_MEM_PINNED, e->logits);
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
    mem_free(e->greedy);
    if (!e->async) mem_free(e->logits);
    arena_free(e->arena);
    mem_free(e);
}

void engine_bytes(const engine *e, engine_memory *out) { *out = e->memory; }
double engine_dropout_off(const engine *e) { return e->dropout_off; }
size_t engine_allocated(const engine *e) { return e->allocated; }
int engine_is_async(const engine *e) { return e->async; }
