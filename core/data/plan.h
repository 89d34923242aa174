/* plan.h: which records a step takes and which micro-batch of which rank each goes into. No data is read here, but by `measure`. */
#ifndef CORE_DATA_PLAN_H
#define CORE_DATA_PLAN_H
#include "core/data/mix.h"

#include <stdint.h>

typedef enum sample_state { SAMPLE_OK = 0, SAMPLE_DROPPED, SAMPLE_BAD } sample_state;

typedef struct sample_length { /* what reading a record told of it */
    int32_t n, n_labels;
    uint8_t state, cut; /* sample_state */
    uint8_t known;
} sample_length;

typedef struct plan_rules {
    int64_t n_records;     /* that take part */
    const int64_t *subset; /* [n_records] their indices; NULL: all there are */
    const mix *mix;        /* of weighted sources, over places; NULL: each record once a pass */
    uint64_t seed;
    int32_t shuffle, size, accumulation, tokens, rank, world, max_len;
    const sample_length *lengths; /* where tokens > 0: by place in the subset */
    int (*measure)(void *ctx, int64_t place); /* makes a place's length known; NULL: all of them are */
    void *ctx;
} plan_rules;

typedef struct plan_item {
    int64_t index;  /* record */
    int64_t place;  /* in the subset; without one the same */
    int64_t offset; /* of its ids in the step's pool, where mine */
    int32_t micro;  /* micro-step of its rank */
    int32_t bin;    /* by tokens: micro-batch over all ranks */
    int32_t mine;
    /* Filled by reading it: */
    int32_t n, n_labels;
    uint8_t state, cut;
} plan_item;

typedef struct plan_step {
    double epoch;
    int32_t n_items, n_work, n_mine, n_micro;
    int64_t n_records;                 /* places of the permutation used up */
    int64_t n_dropped, n_bad, n_cut;   /* by tokens: known from the scan; by count 0 */
    int64_t n_tokens, n_labels;        /* likewise */
    plan_item *items; /* [n_items] in the permutation's order */
    int32_t *work;    /* [n_work]  items this rank reads: by count all of them, since their labels count */
    int32_t *mine;    /* [n_mine]  items of this rank by micro-step, then order */
    int32_t *begin;   /* [n_micro + 1] into mine */
} plan_step;

typedef struct plan_sizes { int64_t items, mine, micro, pool, bins; } plan_sizes; /* largest of any step; pool: tokens */

typedef struct data_plan {
    plan_rules r;
    int64_t step, epoch, pos; /* of the next step */
    int64_t *epoch_steps;     /* by tokens: steps of the passes walked so far */
    int64_t n_epochs, cap_epochs;
    int32_t *bin_fill;        /* [sizes.bins] */
    plan_sizes sizes;
} data_plan;

/* CO_E_CONFIG where the rules contradict themselves or a step is too large to address. */
int plan_open(const plan_rules *r, data_plan *out);
void plan_close(data_plan *p);
int plan_steps_of(data_plan *p, int64_t epoch, int64_t *steps);
int plan_seek(data_plan *p, int64_t step); /* where lengths are not known: measures all that stands before the step */
/* An error is measure's: the step is empty then, and the next call tries again where this one stopped. */
int plan_next(data_plan *p, plan_step *out);
#endif
