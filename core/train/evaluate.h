/* evaluate.h: the mean loss of the weights as they are over a dataset. */
#ifndef CORE_TRAIN_EVALUATE_H
#define CORE_TRAIN_EVALUATE_H
#include "core/train/metrics.h"
#include "core/train/run.h"

typedef struct evaluation {
    double loss; /* mean over all label tokens, whatever the batches */
    metrics_named named; /* what the loss names beside it, likewise */
    int64_t labels, tokens, samples, batches;
} evaluation;

/* One pass over `d` from its start, or over its first `batches` global batches. CO_E_FORMAT: no sample has a label. */
int run_evaluate(run *r, const run_dataset *d, int64_t batches, evaluation *out);
/* The columns of the loss's metrics; their values are NaN. */
metrics_named run_metrics(const run *r);
/* A micro-batch as the engine takes it; columns: room for the two that losses read. */
engine_batch run_view(const batch *b, const void *columns[2]);
#endif
