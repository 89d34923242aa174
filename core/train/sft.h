/* sft.h: supervised fine-tuning: the loop. */
#ifndef CORE_TRAIN_SFT_H
#define CORE_TRAIN_SFT_H
#include "core/train/run.h"

typedef struct sft_flags {
    int resume;    /* 1: must resume, 0: as the configuration says, -1: must not */
    int overwrite; /* remove an earlier run's files first */
    const volatile int *stop; /* a signal number once one came, to whichever rank */
    volatile int64_t *step;   /* gets the step under way; NULL: nobody asks */
    int stopped;              /* out: the signal that ended the run early on all ranks, or 0 */
} sft_flags;

/* Runs to the end, or to stop_after, or until *stop; writes everything under [run] output, by rank 0 but for checkpoints. */
int sft_run(run *r, sft_flags *f);
#endif
