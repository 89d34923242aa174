#include "core/train/evaluate.h"
#include "core/base/error.h"
#include "core/train/ranks.h"
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
    double sums[2 + METRICS_NAMED] = {0}; /* of this rank: loss, labels, metrics */
    evaluation v = {.named = run_metrics(r)};
    int s = loader_seek(d->loader, 0);
    while (s == CO_OK && (batches == 0 || v.batches < batches)) {
        s = loader_next(d->loader, &b);
        if (s) break;
        for (int32_t i = 0; i < b->n_micro && s == CO_OK; i++) {
            const void *columns[2];
            const engine_batch view = run_view(&b->micro[i], columns);
            engine_result res;
            const int32_t n = b->micro[i].n_labels;
            if (n == 0 && r->world == 1) continue; /* several ranks make the same passes, some with nothing to do */
            s = engine_evaluate(r->engine, &view, 1.0 / (n ? n : 1), &res);
            if (n == 0) continue;
            sums[0] += res.loss * n;
            sums[1] += n;
            for (uint32_t k = 0; k < v.named.n; k++) sums[2 + k] += res.metric[k] * n;
        }
        if (s == CO_OK) v.tokens += b->n_tokens, v.samples += b->n_samples, v.batches++;
    }
    if (s >= 0) s = ranks_sum(r, sums, 2 + (int64_t)v.named.n);
    if (s < 0) return s;
    v.labels = (int64_t)sums[1];
    if (v.labels == 0) return FAIL(CO_E_FORMAT, "%s: no sample with a label within max_len", d->path);
    v.loss = sums[0] / sums[1];
    for (uint32_t i = 0; i < v.named.n; i++) v.named.value[i] = sums[2 + i] / sums[1];
    *out = v;
    return CO_OK;
}
