/* checkpoint.h: checkpoints/step-N/: state.json, config.ini, weights.safetensors, optimizer.safetensors (fp32, by
 * parameter name: independent of strategy and ranks). Written to step-N.tmp, synced, renamed: complete or absent. */
#ifndef CORE_TRAIN_CHECKPOINT_H
#define CORE_TRAIN_CHECKPOINT_H
#include "core/config/config.h"
#include "core/graph/engine.h"

/* The ranks that write one together: each the ranges it owns, a piece at a time, into files that rank 0 has laid out and that
 * hold the same bytes for any number of ranks. agree: collective; an error if any rank had one (ranks.h). */
typedef struct checkpoint_team { int32_t rank, world; void *ctx; int (*agree)(void *ctx, int status); } checkpoint_team;
/* Writes step N, then removes all but the newest `keep`. n_state: optimizer states a parameter has. team: NULL for one rank;
 * otherwise collective, and there for all or for none. */
int checkpoint_save(const char *output, int64_t step, int64_t keep, engine *e, const param_table *t, uint32_t n_state,
                    const config *c, const checkpoint_team *team);
/* Newest complete step, 0 if there is none; with `clean` leftovers of interrupted writes are removed. */
int checkpoint_newest(const char *output, int clean, int64_t *step);
/* same_run.c: CO_E_CONFIG naming the first key that differs and may not: all but run.max_steps, epochs, stop_after, backend, comm,
 * [backend], output (a folder may be moved), log.*, checkpoint.*, strategy.*, and as long as the global batch stays
 * the same the number of ranks, batch.size and batch.accumulation. Step 0: from output/config.ini itself. */
int checkpoint_check_config(const char *output, int64_t step, const config *c, int32_t ranks);
int checkpoint_load(const char *output, int64_t step, engine *e, const param_table *t, uint32_t n_state);
#endif
