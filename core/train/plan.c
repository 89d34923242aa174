/* plan.c: the memory table, and the refusal when it does not fit. */
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/train/run.h"
#include <stdio.h>

char *run_plan_text(const run *r)
{
    engine_memory m;
    engine_bytes(r->engine, &m);
    const struct { const char *name; size_t bytes; } rows[] = {
        {"parameters", m.params}, {"gradients", m.grads}, {"optimizer states", m.optimizer}, {"master weights", m.master},
        {"strategy, other", m.strategy_other}, {"saved activations", m.saved}, {"hidden states", m.hidden},
        {"key/value cache", m.cache}, {"work", m.work}, {"batch", m.batch}, {"results", m.out}, {"total", m.total},
        {"pinned host memory", m.pinned}};
    char text[2048];
    size_t at = (size_t)snprintf(text, sizeof text, "%-20s %18s %12s\n", "memory", "bytes", "MiB");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].bytes && at < sizeof text)
            at += (size_t)snprintf(text + at, sizeof text - at, "%-20s %18zu %12.1f\n", rows[i].name, rows[i].bytes, (double)rows[i].bytes / 1048576);
    int32_t tokens, seqs;
    loader *const data = r->train.loader ? r->train.loader : r->eval.loader;
    loader_capacity(data, &tokens, &seqs);
    if (at < sizeof text)
        snprintf(text + at, sizeof text - at,
                 "model %s, %lld parameters, %lld of them trained; %lld records; %lld steps of up to %lld micro-steps of up to %d tokens in %d samples\n",
                 r->model_name, (long long)r->table->n_elements, (long long)r->table->n_trainable, (long long)loader_n_records(data),
                 (long long)r->total_steps, (long long)r->o.batch.accumulation, tokens, seqs);
    char *sources = run_sources_text(r), *all = sources ? mem_printf("%s%s", text, sources) : NULL;
    mem_free(sources);
    return all;
}

int run_check_memory(const run *r)
{
    engine_memory m;
    size_t available = 0, all = 0;
    engine_bytes(r->engine, &m);
    int s = PLUGIN("the backend's memory()", r->backend->memory(r->backend_self, &available, &all));
    /* Ranks of a machine share its memory; of GPUs each is taken to have its own. Planned ones may be on other machines. */
    const int32_t sharing = r->plan_world || r->backend->flags & CO_BACKEND_ASYNC || r->local_world < 1 ? 1 : r->local_world;
    if (s || m.total <= available / (size_t)sharing) return s;
    char who[40] = "the run needs";
    if (sharing > 1) snprintf(who, sizeof who, "%d ranks on one machine need", sharing);
    char *table = run_plan_text(r);
    const size_t activations = m.saved + m.hidden;
    s = FAIL(CO_E_NOMEM, "%s %.1f GiB and %.1f GiB are free\n%s%s%s", who, (double)m.total * sharing / 1073741824, (double)available / 1073741824,
             table ? table : "",
             activations > m.total / 4 && !r->o.model.checkpointing ? "set [model] checkpointing = block, " : "",
             activations > m.total / 4 ? "or lower [batch] size (raise accumulation to keep the global batch) or [dataset] max_len"
                                       : "parameters and optimizer states are most of it: use a smaller model or a machine with more memory");
    mem_free(table);
    return s;
}
