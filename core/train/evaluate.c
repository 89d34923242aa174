#include "core/train/evaluate.h"
#include "core/base/error.h"
#include <math.h>

_Static_assert(METRICS_NAMED >= ENGINE_MAX_METRICS, "every metric has a column");

engine_batch run_view(const batch *b, const void *columns[2])
{
    columns[0] = b->labels;
    columns[1] = b->mask;
    return (engine_batch){.n_tokens = b->n_tokens, .n_seqs = b->n_seqs, .ids = b->ids, .positions = b->positions,
                          .seq_start = b->seq_start, .seq_key = b->seq_key, .columns = columns};
}

metrics_named run_metrics(const run *r)
{
    metrics_named m = {0};
    const char *const *names;
    m.n = engine_metrics(r->engine, &names);
    for (uint32_t i = 0; i < m.n; i++) m.name[i] = names[i], m.value[i] = NAN;
    return m;
}

int run_evaluate(run *r, const run_dataset *d, int64_t batches, evaluation *out)
{
    const step_batch *b;
    double sum = 0;
    evaluation v = {.named = run_metrics(r)};
    for (uint32_t i = 0; i < v.named.n; i++) v.named.value[i] = 0;
    int s = loader_seek(d->loader, 0);
    while (s == CO_OK && (batches == 0 || v.batches < batches)) {
        s = loader_next(d->loader, &b);
        if (s) break;
        for (int32_t i = 0; i < b->n_micro && s == CO_OK; i++) {
            const void *columns[2];
            const engine_batch view = run_view(&b->micro[i], columns);
            engine_result res;
            if (b->micro[i].n_labels == 0) continue;
            s = engine_evaluate(r->engine, &view, 1.0 / b->micro[i].n_labels, &res);
            sum += res.loss * b->micro[i].n_labels;
            for (uint32_t k = 0; k < v.named.n; k++) v.named.value[k] += res.metric[k] * b->micro[i].n_labels;
            v.labels += b->micro[i].n_labels;
        }
        if (s == CO_OK) v.tokens += b->n_tokens, v.samples += b->n_samples, v.batches++;
    }
    if (s < 0) return s;
    if (v.labels == 0) return FAIL(CO_E_FORMAT, "%s: no sample with a label within max_len", d->path);
    v.loss = sum / (double)v.labels;
    for (uint32_t i = 0; i < v.named.n; i++) v.named.value[i] /= (double)v.labels;
    *out = v;
    return CO_OK;
}
