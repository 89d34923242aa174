/* rig.h: a tiny model on an engine, with the feature under test in its place and coati's own in all others. */
#ifndef TOOLS_COATI_VALIDATE_RIG_H
#define TOOLS_COATI_VALIDATE_RIG_H
#include "core/graph/engine.h"
#include "validate.h"

enum { RIG_TOKENS = 14, RIG_SEQS = 3 };

typedef struct rig {
    host *host;
    bound bound[16];
    int n_bound;
    hf_config *config; /* lent when the model is under test */
    const co_backend_vt *backend;
    const co_comm_vt *comm;
    const co_strategy_vt *strategy;
    const co_optimizer_vt *optim;
    const co_model_vt *model;
    const co_loss_vt *loss;
    void *backend_self, *comm_self, *optim_self, *model_self, *loss_self;
    const void *strategy_opts;
    param_table *table;
    engine *engine;
    int owns_config;
} rig;

typedef struct rig_batch { /* three sequences of made-up tokens */
    int32_t ids[RIG_TOKENS], positions[RIG_TOKENS], labels[RIG_TOKENS], start[RIG_SEQS + 1];
    float mask[RIG_TOKENS];
    uint64_t key[RIG_SEQS];
    double n_labels;
} rig_batch;

/* standard: coati's own in every place, to compare with. The message says which part could not be had. rig_close after errors too. */
int rig_open(const subject *s, int standard, int checkpoint_blocks, rig *out);
void rig_close(rig *r);
void rig_batch_make(const rig *r, rig_batch *b);
int rig_step(rig *r, const rig_batch *b, int64_t step, double *loss, co_step_stats *stats);
int rig_checksum(rig *r, uint64_t *out); /* of all parameters */
const char *tiny_config(const char *model_type); /* config.json of a tiny model under the names of every known family; static */
#endif
