/* progress.h: what a person sees while a run goes on; on stderr, so that stdout stays for results. */
#ifndef CORE_TRAIN_PROGRESS_H
#define CORE_TRAIN_PROGRESS_H
#include "core/train/metrics.h"
#include <coati/abi.h>

void progress_open(int mode); /* PROGRESS_* of options.h */
void progress_close(void);
/* step_s: mean seconds a step, for the time left. logged: the step has a line in metrics.jsonl; only these get a plain
 * line, a bar moves at each. */
void progress_step(int64_t step, int64_t total, const metrics_step *m, double step_s, int logged);
void progress_note(const char *fmt, ...) CO_PRINTF(1, 2); /* a line of its own; silent when off or quiet */
#endif
