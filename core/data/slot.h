/* slot.h: the buffers of one step that is being read, waits, or is in use. Allocated once at capacity. */
#ifndef CORE_DATA_SLOT_H
#define CORE_DATA_SLOT_H
#include "core/data/loader.h"
#include "core/data/plan.h"

typedef enum slot_state { SLOT_FREE = 0, SLOT_FILLING, SLOT_READY } slot_state;

typedef struct slot {
    slot_state state;
    int32_t next_work, left;   /* items not yet taken; items not yet done */
    plan_step plan;
    step_batch out;
    batch *micro;              /* [sizes.micro] */
    int32_t *ids, *positions, *labels; /* [sizes.pool] */
    float *mask;
    int32_t *seq_start;        /* [sizes.mine + sizes.micro] */
    uint64_t *seq_key;         /* [sizes.mine] */
    int32_t error_item, error_code; /* the first item in order that failed; code 0: none */
    int32_t bad_item;               /* likewise passed over; -1: none */
    char error[1024], bad[1024];
    size_t bytes;
} slot;

int slot_init(slot *s, const plan_sizes *z);
void slot_deinit(slot *s);
/* For a planned step: nothing read yet. */
void slot_begin(slot *s, int64_t step);
/* Keeps the message of the earliest item, whatever order the threads come in. */
void slot_note_error(slot *s, int32_t item, int32_t code, const char *message);
void slot_note_bad(slot *s, int32_t item, const char *message);
/* All items are read, their ids at their offsets: packs them into micro-batches and sums up. by_tokens: the sums
 * are the plan's. */
void slot_assemble(slot *s, int by_tokens);
#endif
