/* unit.h: one kind of unit, recorded for training and run on backend `ref` in double, with parameters and inputs drawn here. */
#ifndef TOOLS_COATI_VALIDATE_UNIT_H
#define TOOLS_COATI_VALIDATE_UNIT_H
#include "core/graph/graph.h"
#include "validate.h"

enum { UNIT_TOKENS = 7, UNIT_SEQS = 3, UNIT_MAX_PARAMS = 256, UNIT_MAX_COLUMNS = 16 };

typedef struct unit_args {
    const char *label;
    const co_param *decls;      /* of the unit; slots of one instance */
    const co_param_slot *slots;
    uint32_t n_params;
    int64_t d_model, n_vocab;
    int has_x;                  /* 0: the embedding unit */
    /* Batch columns besides token_ids and positions. */
    const gcolumn *columns;
    uint32_t n_columns;
    /* Describes the unit; a loss returns its scalar (is_loss). */
    co_val (*build)(void *ctx, co_graph *g, const co_unit_in *in);
    void *ctx;
    int is_loss;
} unit_args;

typedef struct unit {
    unit_args a;
    co_arena *arena;
    co_graph *graph;
    unit_plans plans;
    const co_backend_vt *ref;
    void *ref_self, *forward, *backward;
    double *x, *y, *dx, *dy, *out, *work, *saved;
    char *batch;
    gcolumn columns[UNIT_MAX_COLUMNS];
    co_tensor params[UNIT_MAX_PARAMS], grads[UNIT_MAX_PARAMS];
    uint8_t accumulate[UNIT_MAX_PARAMS];
    co_live live;
    int32_t seq_start[UNIT_SEQS + 1];
    uint64_t seq_key[UNIT_SEQS];
} unit;

/* h: to find backend ref. An error's message says what the unit does wrong. */
int unit_open(host *h, const unit_args *a, uint64_t seed, unit *out);
void unit_close(unit *u);
int unit_forward(unit *u);
int unit_backward(unit *u); /* after a forward; a loss has done it already */
void *unit_column(unit *u, const char *name); /* its values, to be changed between runs */
/* What is differentiated: the sum of dy * y, or the loss. */
double unit_objective(const unit *u);
#endif
