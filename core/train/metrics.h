/* metrics.h: metrics.jsonl, one line an object, on disk when the call returns; the same as TensorBoard events. */
#ifndef CORE_TRAIN_METRICS_H
#define CORE_TRAIN_METRICS_H
#include <stdint.h>

typedef struct metrics metrics;
/* Opens output/metrics.jsonl for appending; lines of steps after `keep_step` (of a run that went on past the
 * checkpoint it is resumed from) are cut off first, and a half line at the end. events: write TensorBoard's files too. */
int metrics_open(const char *output, int64_t keep_step, int events, metrics **out);
void metrics_close(metrics *m);

/* What a loss names beside its value (loss.h): further columns, in evaluations as "eval_NAME". */
enum { METRICS_NAMED = 16 };
typedef struct metrics_named {
    uint32_t n;
    const char *name[METRICS_NAMED];
    double value[METRICS_NAMED];
} metrics_named;
/* CO_E_CONFIG: a name that is a column already. */
int metrics_check_names(const metrics_named *m);

typedef struct metrics_step {
    int64_t step, tokens, samples;
    double epoch, loss, lr, grad_norm, tokens_per_s, step_s;
    double data_wait_s; /* of step_s, waiting for the step's samples */
    double loss_scale; /* fp16: that the step's gradients carried; 0: no such column */
    int64_t skipped;   /* fp16: 1 if it overflowed and changed nothing */
    uint64_t mem_device_bytes, mem_host_bytes;
    metrics_named named;
} metrics_step;
int metrics_train(metrics *m, const metrics_step *s);
int metrics_eval(metrics *m, int64_t step, double epoch, double loss, const metrics_named *named, int64_t tokens, int64_t samples);
#endif
