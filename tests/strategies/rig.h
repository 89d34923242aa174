/* rig.h: a model trained by a strategy on some ranks, threads of this process, on batches that depend on nothing but their
 * number; what comes of it is kept to be compared. */
#ifndef TESTS_STRATEGIES_RIG_H
#define TESTS_STRATEGIES_RIG_H
#include "models/fixture.h"
#include "strategies/team.h"

#define RIG_STEPS 64

typedef struct rig_case {
    const char *dir, *adapter;   /* model, and NULL or what lies over it */
    const char *strategy;
    const char *const *options;
    int32_t world, accumulation; /* micro-batches a step: world * accumulation */
    int checkpoint_blocks, offload_activations;
    co_dtype dtype;
    int random;
    int64_t first_step, steps;   /* from 1 */
    double max_norm;
    uint32_t norm_type;
    const struct rig_result *resume; /* NULL, or state to begin with */
    void (*wrap)(const co_backend_vt **vt, void **self);
    int eval;                    /* evaluate one micro-batch before each step */
} rig_case;

typedef struct rig_result {
    double loss[RIG_STEPS], norm[RIG_STEPS], eval[RIG_STEPS]; /* by step, of all ranks */
    uint32_t n_params, n_what;
    char **names;
    int64_t *n;                /* elements; 0: tied or frozen */
    float **state[5];          /* [what][param]: master, optimizer states, put together from what ranks own */
    float **exported;          /* [param]: as gather() gives it; every rank's was the same */
    double sent[RIG_STEPS];    /* bytes rank 0 sends at least, by step */
    int failed;
} rig_result;

/* Runs and checks on the way what holds for every run; 0 when all went well. Free with rig_free. */
int rig_run(const rig_case *c, rig_result *out);
void rig_free(rig_result *r);
/* The device memory gemini says it needs at least for this case. */
long rig_least(const rig_case *c);
/* Losses within 2e-6 relative; every tensor within 1e-5 of its norm. `zero`: an expect.json that lists parameters whose gradient
 * is zero but for rounding; they are bounded by 2 lr a step instead. NULL: there are none. Returns the number that differ. */
int rig_compare(const char *what, const rig_result *got, const rig_result *want, int64_t steps, const char *zero);
#define RIG_LR 1e-3
#endif
