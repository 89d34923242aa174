/* checkpoint_state.h: state.json of a checkpoint: the numbers a run goes on with beside weights and optimizer states. */
#ifndef CORE_TRAIN_CHECKPOINT_STATE_H
#define CORE_TRAIN_CHECKPOINT_STATE_H
#include "core/graph/engine.h"

int checkpoint_write_state(const char *dir, int64_t step, uint32_t n_state, int32_t ranks, engine *e);
/* How many ranks wrote it; 1 where the file does not say. */
int checkpoint_read_ranks(const char *dir, int64_t *ranks);
/* Gives the engine its scalars again. What the file does not name stays as the engine has it. */
int checkpoint_read_state(const char *dir, int64_t step, engine *e);
#endif
