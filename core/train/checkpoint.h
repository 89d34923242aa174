/* checkpoint.h: checkpoints/step-N/: state.json, config.ini, weights.safetensors, optimizer.safetensors (fp32, by
 * parameter name: independent of strategy and ranks). Written to step-N.tmp, synced, renamed: complete or absent. */
#ifndef CORE_TRAIN_CHECKPOINT_H
#define CORE_TRAIN_CHECKPOINT_H
#include "core/config/config.h"
#include "core/graph/engine.h"

/* Writes step N, then removes all but the newest `keep`. n_state: optimizer states a parameter has. */
int checkpoint_save(const char *output, int64_t step, int64_t keep, engine *e, const param_table *t, uint32_t n_state,
                    const config *c);
/* Newest complete step, 0 if there is none; leftovers of interrupted writes are removed. */
int checkpoint_newest(const char *output, int64_t *step);
/* same_run.c: CO_E_CONFIG naming the first key that differs and may not: all but run.max_steps, epochs, stop_after, backend,
 * [backend], output (a folder may be moved), log.*, checkpoint.*, strategy.*. Step 0: from output/config.ini itself. */
int checkpoint_check_config(const char *output, int64_t step, const config *c);
int checkpoint_load(const char *output, int64_t step, engine *e, const param_table *t, uint32_t n_state);
#endif
