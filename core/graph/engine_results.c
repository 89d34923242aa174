/* engine_results.c: what steps came to. Losses and metrics of micro-steps add up on the backend, in fp64 and in order; with
 * the step's state they go to the host in one copy behind the update, which nobody waits for until it is asked for. */
#include "core/graph/engine_impl.h"
#include "core/base/error.h"
#include <math.h>
#include <string.h>

size_t engine_results_bytes(const engine *e) { return engine_align(sizeof(co_step_state)) + engine_align((size_t)e->n_sums * sizeof(double)); }

int engine_sum_results(engine *e, int first)
{
    const co_backend_vt *be = e->a.backend;
    double *const wide = (double *)(void *)(e->out + e->wide_at);
    if (e->replaying) return CO_OK;
    int r = PLUGIN("the backend's flat_cast()", be->flat_cast(e->a.backend_self, first ? e->sums : wide, CO_F64, e->out, CO_F32, e->n_sums, NULL));
    return r == CO_OK && !first ? PLUGIN("the backend's flat_axpy()", be->flat_axpy(e->a.backend_self, e->sums, wide, CO_F64, 1, e->n_sums, NULL)) : r;
}

static char *results_of(const engine *e, int64_t step) { return e->results + (size_t)(step & 1) * engine_results_bytes(e); }

int engine_send_results(engine *e, int64_t step)
{
    const co_backend_vt *be = e->a.backend;
    int r = PLUGIN("the backend's copy()", be->copy(e->a.backend_self, results_of(e, step), e->state, engine_results_bytes(e), NULL));
    if (r == CO_OK) r = PLUGIN("the backend's event_record()", be->event_record(e->a.backend_self, e->done[step & 1], NULL));
    e->step_of[step & 1] = step;
    return r;
}

static void name_metrics(const engine *e, engine_result *out)
{
    memset(out, 0, sizeof *out);
    out->n_metrics = e->n_metrics;
    for (uint32_t i = 0; i < e->n_metrics; i++) out->metric_name[i] = e->metric_name[i];
}

uint32_t engine_metrics(const engine *e, const char *const **names)
{
    *names = e->metric_name;
    return e->n_metrics;
}

int engine_collect(engine *e, int64_t step, engine_result *out, co_step_stats *stats)
{
    co_step_state s;
    if (step < 1 || e->step_of[step & 1] != step) return FAIL(CO_E_STATE, "results of step %lld are not there: only the last two steps' are", (long long)step);
    int r = PLUGIN("the backend's event_sync()", e->a.backend->event_sync(e->a.backend_self, e->done[step & 1]));
    if (r) return r;
    memcpy(&s, results_of(e, step), sizeof s);
    const double *sums = (const double *)(const void *)(results_of(e, step) + engine_align(sizeof s));
    name_metrics(e, out);
    out->loss = sums[0];
    for (uint32_t i = 0; i < e->n_metrics; i++) out->metric[i] = sums[(size_t)(i + 1) * (OUT_SLOT / sizeof(float))];
    *stats = (co_step_stats){.struct_size = sizeof *stats, .skipped = s.skip, .grad_norm = s.norm, .loss_scale = s.used_scale, .next_scale = s.loss_scale};
    if (s.skip) r = PLUGIN("the strategy's stats()", e->a.strategy->stats(e->strategy, step, stats));
    if (r || !s.stuck) return r;
    if (!isfinite(out->loss))
        return FAIL(CO_E_STATE, "step %lld: the loss is not finite; the weights are those of step %lld. A lower lr may help", (long long)step, (long long)step - 1);
    return FAIL(CO_E_STATE, "step %lld: the gradient's norm is not finite; nothing was updated. A lower lr, or max_grad_norm, may help", (long long)step);
}

int engine_get_scalars(engine *e, engine_scalars *out)
{
    co_step_state s;
    int r = PLUGIN("the backend's stream_sync()", e->a.backend->stream_sync(e->a.backend_self, NULL));
    if (r == CO_OK) r = PLUGIN("the backend's copy()", e->a.backend->copy(e->a.backend_self, &s, e->state, sizeof s, NULL));
    if (r == CO_OK) *out = (engine_scalars){s.loss_scale, s.growth_step, s.hyst_step, s.updates};
    return r;
}

int engine_set_scalars(engine *e, const engine_scalars *in)
{
    const co_step_state s = {.loss_scale = (float)in->loss_scale, .growth_step = (int32_t)in->growth_step,
                             .hyst_step = (int32_t)in->hyst_step, .updates = in->updates};
    return PLUGIN("the backend's copy()", e->a.backend->copy(e->a.backend_self, e->state, &s, sizeof s, NULL));
}

int engine_read_out(engine *e, engine_result *out)
{
    float v = 0;
    name_metrics(e, out);
    int r = PLUGIN("the backend's stream_sync()", e->a.backend->stream_sync(e->a.backend_self, NULL));
    if (r == CO_OK) r = PLUGIN("the backend's copy()", e->a.backend->copy(e->a.backend_self, &v, e->out, sizeof v, NULL));
    out->loss = v;
    for (uint32_t i = 0; i < e->n_metrics && r == CO_OK; i++) {
        r = PLUGIN("the backend's copy()", e->a.backend->copy(e->a.backend_self, &v, e->out + (size_t)OUT_SLOT * (i + 1), sizeof v, NULL));
        out->metric[i] = v;
    }
    return r;
}
