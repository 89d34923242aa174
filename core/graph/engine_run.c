/* engine_run.c: steps, evaluations and generation passes over the plans. Nothing is allocated here. */
#include "core/graph/engine_impl.h"
#include "core/base/error.h"
#include "core/base/trace.h"
#include "core/graph/device_trace.h"
#include "core/params/half.h"
#include <string.h>

static int check_ids(const engine *e, const int32_t *ids, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= e->n_vocab)
            return FAIL(CO_E_FORMAT, "token %d of the batch is id %d; the model's vocabulary has %lld: does the "
                        "tokenizer belong to this model?", i, ids[i], (long long)e->n_vocab);
    return CO_OK;
}

/* A table of positions ends at max_seq. */
static int check_positions(const engine *e, const int32_t *positions, int32_t n)
{
    const uint32_t most = e->a.params->info.max_seq;
    for (int32_t i = 0; i < n; i++)
        if (positions[i] < 0 || (uint32_t)positions[i] >= most)
            return FAIL(CO_E_CONFIG, "token %d of the batch is at position %d; the model has %u: lower max_len", i, positions[i], most);
    return CO_OK;
}

static int check_batch(const engine *e, const engine_batch *b)
{
    if (b->n_tokens < 0 || b->n_tokens > e->a.max_tokens || b->n_seqs > e->a.max_seqs)
        return FAIL(CO_E_INVALID, "a batch of %d tokens in %d sequences; planned for %lld in %lld", b->n_tokens,
                    b->n_seqs, (long long)e->a.max_tokens, (long long)e->a.max_seqs);
    const int r = check_ids(e, b->ids, b->n_tokens);
    return r == CO_OK ? check_positions(e, b->positions, b->n_tokens) : r;
}

static int upload_batch(engine *e, engine_mode mode, const engine_batch *b, co_live *live)
{
    const void *columns[ENGINE_MAX_COLUMNS] = {b->ids, b->positions};
    for (uint32_t i = 0; i < e->a.n_columns; i++) columns[2 + i] = b->columns[i];
    return engine_upload(e, mode, columns, live);
}

/* Hidden-state buffer i of the mode: the output of unit i when training, a few taken in turns otherwise. */
static char *hidden_at(engine *e, engine_mode mode, uint32_t i)
{
    if (mode == MODE_CACHED) return e->hidden + (i & 1) * e->hidden_cached;
    return e->hidden + (mode == MODE_TRAIN ? i % e->n_states : (i & 1)) * e->hidden_train;
}

/* The gradient of unit u's input. It stands where u's output stood: the unit behind it, which read that, has run its backward. */
static char *gradient_at(engine *e, uint32_t u)
{
    return e->hidden + (size_t)(e->gradients_apart ? e->n_states + (u & 1) : u) * e->hidden_train;
}

static void bind(engine *e, engine_mode mode, uint32_t unit, co_live *live, co_binding *b)
{
    memset(b, 0, sizeof *b);
    b->struct_size = sizeof *b;
    b->base[CO_REGION_WORK] = e->work;
    b->base[CO_REGION_BATCH] = e->batch;
    b->base[CO_REGION_OUT] = e->out;
    b->base[CO_REGION_SAVED] = e->saved ? e->saved + e->saved_at[unit] : NULL;
    b->base[CO_REGION_CACHE] = e->cache ? e->cache + e->cache_at[unit] : NULL;
    if (unit > 0) b->base[CO_REGION_X] = hidden_at(e, mode, unit - 1);
    if (unit + 1 < e->n_units) b->base[CO_REGION_Y] = hidden_at(e, mode, unit);
    live->unit = unit;
    b->host_live = live;
    b->dev_live = e->async ? (const co_live *)(const void *)(e->batch + e->layout[mode].live_at) + unit : live;
}

/* The kernels' scratch begins where the plan's own work ends. */
static int run_plan(engine *e, const co_plan *p, void *compiled, co_binding *b)
{
    if (e->replaying) return CO_OK;
    b->base[CO_REGION_SCRATCH] = e->work + p->region_bytes[CO_REGION_WORK];
    const uint64_t begin = trace_begin(), ran = e->graphs ? 0 : device_trace_begin(NULL); /* with graphs engine_replay tells of the pass */
    const int r = PLUGIN("the backend's run()", e->a.backend->run(e->a.backend_self, compiled, b, NULL));
    device_trace_end(ran, "unit", "%s %u", p->label, b->host_live->unit);
    trace_end(begin, "unit", "%s %u", p->label, b->host_live->unit);
    return r;
}

/* Views of a unit's parameters and gradients, none of them missing. */
static int acquire(engine *e, uint32_t unit, co_phase phase, const co_tensor **params, co_tensor **grads, const uint8_t **accumulate)
{
    const param_table *t = e->a.params;
    const uint32_t n = param_unit_count(t, unit), backward = phase == CO_PHASE_BACKWARD;
    const uint64_t begin = trace_begin();
    int r = PLUGIN("the strategy's acquire()", e->a.strategy->acquire(e->strategy, unit, phase, params, grads, accumulate));
    trace_end(begin, "strategy", "acquire %u", unit);
    if (r || n == 0) return r;
    int missing = !*params || (backward && (!*grads || !*accumulate));
    for (uint32_t i = 0; i < n && !missing; i++) {
        const co_param_slot *s = &t->slots[t->unit_first[unit] + i];
        missing = !(*params)[i].data || (backward && e->a.optim && t->slots[s->owner].trainable && !(*grads)[i].data);
    }
    return missing ? FAIL(CO_E_ABI, "the strategy's acquire() of unit %u lacks parameters or gradients: the plugin is broken", unit) : CO_OK;
}

static size_t state_bytes(const engine *e, const co_live *live)
{
    return (size_t)live->n_tokens * (size_t)e->d_model * co_dtype_bytes(e->a.params->dtype);
}

static int run_forward(engine *e, engine_mode mode, uint32_t unit, co_phase phase, co_live *live)
{
    const co_tensor *params = NULL;
    co_tensor *grads = NULL;
    const uint8_t *accumulate = NULL;
    co_binding b;
    int r = acquire(e, unit, phase, &params, &grads, &accumulate);
    if (r) return r;
    bind(e, mode, unit, live, &b);
    b.params = params;
    const engine_unit *u = &e->units[mode][e->kind_of[unit]];
    if (mode == MODE_TRAIN) r = engine_offload_before(e, unit, 0);
    if (r == CO_OK) r = run_plan(e, &u->plans.forward, u->forward, &b);
    if (r == CO_OK && mode == MODE_TRAIN) r = engine_offload_after_forward(e, unit, state_bytes(e, live));
    if (r) return r;
    return PLUGIN("the strategy's release()", e->a.strategy->release(e->strategy, unit, phase));
}

/* The last unit runs forward and backward as one plan; the others run their backward, after their forward again
 * if they are checkpointed. */
static int run_backward(engine *e, uint32_t unit, co_live *live, int last_micro_step)
{
    const engine_unit *u = &e->units[MODE_TRAIN][e->kind_of[unit]];
    const co_tensor *params = NULL;
    co_tensor *grads = NULL;
    const uint8_t *accumulate = NULL;
    co_binding b;
    int r = acquire(e, unit, CO_PHASE_BACKWARD, &params, &grads, &accumulate);
    if (r) return r;
    bind(e, MODE_TRAIN, unit, live, &b);
    b.params = params;
    b.grads = grads;
    b.accumulate = accumulate;
    b.base[CO_REGION_DX] = gradient_at(e, unit);
    if (unit + 1 < e->n_units) b.base[CO_REGION_DY] = gradient_at(e, unit + 1);
    r = engine_offload_before(e, unit, 1);
    if (r) return r;
    if (unit + 1 == e->n_units) {
        r = run_plan(e, &u->plans.forward, u->forward, &b);
    } else {
        if (e->a.checkpoint_blocks && e->kind_of[unit] >= KIND_BLOCK)
            r = run_plan(e, &u->plans.forward, u->forward, &b);
        if (r == CO_OK && u->backward) r = run_plan(e, &u->plans.backward, u->backward, &b);
    }
    if (r == CO_OK) r = engine_offload_after_backward(e, unit, state_bytes(e, live));
    if (r == CO_OK) r = PLUGIN("the strategy's release()", e->a.strategy->release(e->strategy, unit, CO_PHASE_BACKWARD));
    const uint64_t begin = trace_begin();
    if (r == CO_OK) r = PLUGIN("the strategy's grads_ready()", e->a.strategy->grads_ready(e->strategy, unit, last_micro_step));
    trace_end(begin, "strategy", "grads_ready %u", unit);
    return r;
}

static co_live live_of(const engine *e, const engine_batch *b, double inv_denom, double weight, int64_t step)
{
    return (co_live){.struct_size = sizeof(co_live), .n_tokens = b->n_tokens, .n_seqs = b->n_seqs,
                     .seq_start = b->seq_start, .seq_key = b->seq_key, .inv_denom = (float)inv_denom,
                     .loss_weight = (float)weight, .step_key = (uint64_t)step, .loss_scale = e->state ? &e->state->loss_scale : NULL,
                     .class_tokens = engine_class(e, b->n_tokens, e->a.max_tokens), .class_seqs = engine_class(e, b->n_seqs, e->a.max_seqs)};
}

/* ---- passes: what is queued for one batch --------------------------------------------------------------------- */
typedef struct pass {
    engine_mode mode;
    co_live *live;
    int first, last; /* micro-step of its step */
} pass;

static int queue_training(engine *e, void *ctx)
{
    const pass *p = ctx;
    int r = PLUGIN("the strategy's begin()", e->a.strategy->begin(e->strategy, CO_SCHED_TRAIN, 0));
    for (uint32_t u = 0; u + 1 < e->n_units && r == CO_OK; u++) r = run_forward(e, MODE_TRAIN, u, CO_PHASE_FORWARD, p->live);
    for (uint32_t u = e->n_units; u-- > 0 && r == CO_OK;) r = run_backward(e, u, p->live, p->last);
    if (r == CO_OK) r = engine_sum_results(e, p->first);
    return r == CO_OK ? PLUGIN("the strategy's end()", e->a.strategy->end(e->strategy)) : r;
}

static int queue_inference(engine *e, void *ctx)
{
    const pass *p = ctx;
    int r = PLUGIN("the strategy's begin()", e->a.strategy->begin(e->strategy, p->mode == MODE_EVAL ? CO_SCHED_EVAL : CO_SCHED_CACHED, 0));
    for (uint32_t u = 0; u < e->n_units && r == CO_OK; u++) r = run_forward(e, p->mode, u, CO_PHASE_INFER, p->live);
    return r == CO_OK ? PLUGIN("the strategy's end()", e->a.strategy->end(e->strategy)) : r;
}

static int run_pass(engine *e, pass *p)
{
    const engine_key key = {(uint32_t)p->mode, (uint32_t)p->first, (uint32_t)p->last, p->live->class_tokens, p->live->class_seqs, p->live->class_gathered};
    return engine_replay(e, &key, p->mode == MODE_TRAIN ? queue_training : queue_inference, p);
}

int engine_micro_step(engine *e, const engine_batch *b, double inv_denom, double weight, int64_t step,
                      int last_micro_step, engine_result *out)
{
    if (!e->has_mode[MODE_TRAIN] || !e->strategy_live) return FAIL(CO_E_STATE, "this engine was not opened for training");
    if (e->micro_steps && e->narrow_grads)
        return FAIL(CO_E_STATE, "a second micro-step in a step whose gradients are 16 bits wide: they are planned for one");
    co_live live = live_of(e, b, inv_denom, weight, step);
    pass p = {MODE_TRAIN, &live, e->micro_steps++ == 0, last_micro_step != 0};
    int r = check_batch(e, b);
    if (r == CO_OK) r = upload_batch(e, MODE_TRAIN, b, &live);
    if (r == CO_OK) r = run_pass(e, &p);
    return r == CO_OK && out ? engine_read_out(e, out) : r;
}

int engine_step(engine *e, int64_t step, double lr, double max_norm, co_step_stats *out)
{
    engine_result ignored;
    const uint64_t begin = trace_begin(), ran = device_trace_begin(NULL);
    int r = PLUGIN("the strategy's step() or the optimizer's update()", e->a.strategy->step(e->strategy, step, lr, max_norm));
    device_trace_end(ran, "strategy", "step %lld", (long long)step);
    trace_end(begin, "strategy", "step %lld", (long long)step);
    e->micro_steps = 0;
    if (r == CO_OK) r = engine_send_results(e, step);
    return r == CO_OK && out ? engine_collect(e, step, &ignored, out) : r;
}

int engine_evaluate(engine *e, const engine_batch *b, double inv_denom, engine_result *out)
{
    if (!e->has_mode[MODE_EVAL] || !e->strategy_live) return FAIL(CO_E_STATE, "this engine was not opened for evaluation");
    co_live live = live_of(e, b, inv_denom, 1, 0);
    pass p = {MODE_EVAL, &live, 1, 1};
    int r = check_batch(e, b);
    if (r == CO_OK) r = upload_batch(e, MODE_EVAL, b, &live);
    if (r == CO_OK) r = run_pass(e, &p);
    return r == CO_OK ? engine_read_out(e, out) : r;
}

static int check_pass(const engine *e, const engine_pass *p)
{
    if (p->n_tokens > e->a.pass_tokens || p->n_seqs > e->a.slots || p->n_rows > e->a.pass_rows)
        return FAIL(CO_E_INVALID, "a pass of %d tokens, %d sequences, %d rows; planned for %lld, %lld, %lld", p->n_tokens,
                    p->n_seqs, p->n_rows, (long long)e->a.pass_tokens, (long long)e->a.slots, (long long)e->a.pass_rows);
    for (int32_t s = 0; s < p->n_seqs; s++) {
        const int64_t end = (int64_t)p->past_len[s] + p->seq_start[s + 1] - p->seq_start[s];
        if (p->slot[s] < 0 || p->slot[s] >= e->a.slots || p->past_len[s] < 0 || end > e->a.slot_len)
            return FAIL(CO_E_INVALID, "sequence %d reaches position %lld in slot %d; %lld slots of %lld positions", s,
                        (long long)end, p->slot[s], (long long)e->a.slots, (long long)e->a.slot_len);
    }
    return check_ids(e, p->ids, p->n_tokens);
}

static int generate(engine *e, const engine_pass *p, const engine_draw *d, int want_logits)
{
    if (!e->has_mode[MODE_CACHED] || !e->strategy_live) return FAIL(CO_E_STATE, "this engine was not opened for generation");
    int r = check_pass(e, p);
    if (r) return r;
    for (int32_t s = 0; s < p->n_seqs; s++)
        for (int32_t i = p->seq_start[s]; i < p->seq_start[s + 1]; i++)
            e->positions[i] = p->past_len[s] + i - p->seq_start[s];
    co_live live = {.struct_size = sizeof live, .n_tokens = p->n_tokens, .n_seqs = p->n_seqs, .n_gathered = p->n_rows,
                    .seq_start = p->seq_start, .cache_slot = p->slot, .past_len = p->past_len,
                    .class_tokens = engine_class(e, p->n_tokens, e->a.pass_tokens), .class_seqs = engine_class(e, p->n_seqs, e->a.slots),
                    .class_gathered = engine_class(e, p->n_rows, e->a.pass_rows)};
    const void *const columns[7] = {p->ids, e->positions, p->rows, d->temperature, d->top_k, d->top_p, d->u};
    pass run = {MODE_CACHED, &live, 1, 1};
    const size_t from = want_logits ? 0 : engine_ids_at(e), to = engine_ids_at(e) + (size_t)e->a.pass_rows * 8;
    r = engine_upload(e, MODE_CACHED, columns, &live);
    if (r == CO_OK) r = run_pass(e, &run);
    if (r == CO_OK) r = PLUGIN("the backend's copy()", e->a.backend->copy(e->a.backend_self, (char *)e->logits + from, e->out + from, to - from, NULL));
    return r == CO_OK ? PLUGIN("the backend's stream_sync()", e->a.backend->stream_sync(e->a.backend_self, NULL)) : r;
}

int engine_generate(engine *e, const engine_pass *p, const float **logits)
{
    const engine_draw greedy = {e->greedy, e->greedy, e->greedy, e->greedy};
    *logits = e->logits;
    return generate(e, p, &greedy, 1);
}

int engine_sample(engine *e, const engine_pass *p, const engine_draw *d, const int32_t **ids, const float **logprobs)
{
    const char *drawn = (const char *)e->logits + engine_ids_at(e);
    *ids = (const int32_t *)(const void *)drawn;
    *logprobs = (const float *)(const void *)(drawn + (size_t)e->a.pass_rows * 4);
    return generate(e, p, d, 0);
}

int engine_read(engine *e, uint32_t param, uint32_t what, int64_t first, int64_t n, float *out)
{
    return PLUGIN("the strategy's read()", e->a.strategy->read(e->strategy, param, what, first, n, out));
}
int engine_write(engine *e, uint32_t param, uint32_t what, int64_t first, int64_t n, const float *in)
{
    return PLUGIN("the strategy's write()", e->a.strategy->write(e->strategy, param, what, first, n, in));
}
int engine_gather(engine *e, uint32_t param, int64_t first, int64_t n, float *out)
{
    return PLUGIN("the strategy's gather()", e->a.strategy->gather(e->strategy, param, first, n, out));
}

int engine_owned(engine *e, uint32_t what, void *sink, int (*range)(void *sink, uint32_t param, int64_t first, int64_t n))
{
    return PLUGIN("the strategy's owned()", e->a.strategy->owned(e->strategy, what, sink, range));
}

void *engine_strategy(const engine *e) { return e->strategy; }

int engine_read_grad(engine *e, uint32_t param, int64_t first, int64_t n, float *out)
{
    const param_table *t = e->a.params;
    const uint32_t owner = t->slots[param].owner, unit = t->slots[owner].unit;
    const co_tensor *params = NULL;
    co_tensor *grads = NULL;
    const uint8_t *accumulate = NULL;
    int r = acquire(e, unit, CO_PHASE_BACKWARD, &params, &grads, &accumulate);
    if (r) return r;
    const co_tensor *g = grads ? &grads[t->slots[owner].index] : NULL;
    if (!g || !g->data) return FAIL(CO_E_INVALID, "parameter '%s' has no gradient", t->slots[param].name);
    const size_t size = co_dtype_bytes(g->dtype);
    r = PLUGIN("the backend's stream_sync()", e->a.backend->stream_sync(e->a.backend_self, NULL));
    if (r == CO_OK) r = PLUGIN("the backend's copy()", e->a.backend->copy(e->a.backend_self, out, (const char *)g->data + (size_t)first * size, (size_t)n * size, NULL));
    if (r == CO_OK && size == 2) { /* widened where it stands, from the end */
        for (int64_t i = n; i-- > 0;) {
            uint16_t half;
            memcpy(&half, (const char *)out + 2 * i, sizeof half);
            out[i] = g->dtype == CO_BF16 ? bf16_to_f32(half) : f16_to_f32(half);
        }
    }
    return r;
}
