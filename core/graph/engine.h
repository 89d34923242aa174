/* engine.h: one model instance with its plans, its strategy and its buffers. It knows how to run a micro-step,
 * an evaluation and a generation pass; what for is the trainer's business.
 *
 *   engine_open      records every unit, derives backwards, plans memory; allocates nothing on the backend
 *   engine_bytes     what it will take, to the byte (--plan)
 *   engine_allocate  takes it
 *   engine_micro_step … engine_step … engine_collect
 *
 * On an async backend (CO_BACKEND_ASYNC) micro-steps and steps queue and return; nothing in them waits for the device.
 * What a step came to is collected when it is there, best after the next step was queued. [main] throughout. */
#ifndef CORE_GRAPH_ENGINE_H
#define CORE_GRAPH_ENGINE_H
#include <coati/coati.h>
#include <stdio.h>
#include "core/params/table.h"

typedef struct engine engine;

/* A column of the batch besides ids and positions, read by the loss by name. */
typedef struct engine_column {
    const char *name; /* "labels", "mask" */
    co_dtype dtype;   /* CO_I32 or CO_F32 */
    uint32_t rows;    /* CO_ROWS_TOKENS or CO_ROWS_SEQS */
} engine_column;

typedef struct engine_args {
    const co_host *host;
    const co_backend_vt *backend;
    void *backend_self;
    const co_backend_vt *cpu; /* for updates in host memory; NULL: `backend`, which then is no async one */
    void *cpu_self;
    const co_model_vt *model;
    void *model_self;
    const param_table *params;
    const co_strategy_vt *strategy;
    const void *strategy_opts;
    const co_comm_vt *comm;
    void *comm_self;
    const co_optimizer_vt *optim; /* NULL: no training */
    void *optim_self;
    const co_loss_vt *loss; /* NULL: no training and no evaluation */
    void *loss_self;
    const engine_column *columns;
    uint32_t n_columns;
    int64_t max_tokens, max_seqs; /* capacity of a training or evaluation batch; 0: neither */
    /* Generation: `slots` sequences of at most slot_len positions each, passes of at most pass_tokens new
     * tokens, logits for at most pass_rows of them. slots 0: no generation. */
    int64_t slots, slot_len, pass_tokens, pass_rows;
    int32_t dropout;           /* 1: apply what the model declares, in training; 0: none of it */
    int32_t checkpoint_blocks; /* keep block inputs only, run blocks again in the backward */
    int32_t offload_activations; /* what units hand on waits in host memory for the backward; passes are not captured */
    int32_t no_graphs;         /* never capture passes */
    const co_scaler *scaler;   /* fp16: the loss is scaled, beginning with initial_scale; NULL: it is not */
    double initial_scale;
    uint32_t norm_type;        /* CO_NORM_* */
} engine_args;

typedef struct engine_memory { /* bytes */
    size_t params, grads, optimizer, master, strategy_other; /* from the strategy                        */
    size_t saved;                                            /* kept from forward to backward, all units */
    size_t hidden;                                           /* block inputs and their gradients         */
    size_t work; /* the largest plan's temporaries, kernels' scratch included */
    size_t batch, cache, out;
    size_t total;
    size_t pinned; /* beside an async backend: host memory of the strategy and what copies go through; not part of total */
    size_t strategy_host; /* async: of params to strategy_other, what is in host memory */
} engine_memory;

int engine_open(const engine_args *a, engine **out);
/* The largest dropout the model declares that args.dropout = 0 leaves out; 0: none. */
double engine_dropout_off(const engine *e);
int engine_allocate(engine *e);
void engine_close(engine *e);
void engine_bytes(const engine *e, engine_memory *out);
size_t engine_allocated(const engine *e); /* counted at the allocator; equals engine_bytes().total */
/* Floating-point operations of one training micro-step (n_tokens, n_seqs and seq_start of `live`; every token carries a
 * label): products and attention, two a multiply-add, without what checkpointing runs again. */
double engine_flops(const engine *e, const co_live *live);
/* Speeds a prediction goes by: operations, or bytes, a second. */
typedef struct engine_speeds {
    double product, small_product; /* of products of at least small_below operations, and of smaller ones */
    double small_below;
    double attention, attention_backward;
    double memory;   /* bytes read and written */
    double op_s;     /* what a line of a plan takes at least */
} engine_speeds;
typedef struct engine_cost { /* of one micro-step */
    double flops;    /* what is run again in the backward included */
    double bytes;    /* that its lines read and write */
    double forward_s, backward_s;
    double offloaded; /* bytes of activations to host memory, and as many back */
} engine_cost;
/* Each line of the training plans takes as long as its operations or its bytes, whichever is longer (cost.c). Also before
 * engine_allocate. */
void engine_predict(const engine *e, const co_live *live, const engine_speeds *s, engine_cost *out);
/* What the strategy moves in a step of out->micro_steps; CO_E_UNSUPPORTED if it does not say. */
int engine_traffic(const engine *e, co_strategy_traffic *out);
void engine_dump(const engine *e, FILE *to); /* every plan, line by line */

typedef struct engine_batch {
    int32_t n_tokens, n_seqs;
    const int32_t *ids, *positions; /* [n_tokens] */
    const int32_t *seq_start;       /* [n_seqs+1] */
    const uint64_t *seq_key;        /* [n_seqs]   */
    const void *const *columns;     /* as engine_args.columns */
} engine_batch;

#define ENGINE_MAX_METRICS 16
typedef struct engine_result {
    double loss; /* the loss's scalar, this micro-step's share of the step's mean: sum over micro-steps */
    uint32_t n_metrics;
    const char *metric_name[ENGINE_MAX_METRICS];
    double metric[ENGINE_MAX_METRICS];
} engine_result;

/* Forward and backward. inv_denom: 1/D of the whole step; weight: factor on the loss. With `out` (may be NULL) it waits
 * for this micro-step's own numbers. */
int engine_micro_step(engine *e, const engine_batch *b, double inv_denom, double weight, int64_t step,
                      int last_micro_step, engine_result *out);
/* Clips and updates. With `out` (may be NULL) it waits, as engine_collect does. */
int engine_step(engine *e, int64_t step, double lr, double max_norm, co_step_stats *out);
/* Waits until the backend is past a step, one of the last two, and says what came of it: loss and metrics are sums over
 * its micro-steps. CO_E_STATE: loss or gradient were not finite and nothing was updated from there on. */
int engine_collect(engine *e, int64_t step, engine_result *out, co_step_stats *stats);
int engine_is_async(const engine *e);
uint32_t engine_metrics(const engine *e, const char *const **names); /* what the loss names beside its value */

/* What a later run needs beside weights and optimizer states. Waits for what is queued. */
typedef struct engine_scalars {
    double loss_scale;
    int64_t growth_step, hyst_step; /* of the scaler */
    int64_t updates;                /* steps that were not skipped */
} engine_scalars;
int engine_get_scalars(engine *e, engine_scalars *out);
int engine_set_scalars(engine *e, const engine_scalars *in);
int engine_evaluate(engine *e, const engine_batch *b, double inv_denom, engine_result *out);

/* One generation pass over sequences that continue in their cache slots: sequence i adds the tokens
 * seq_start[i]..seq_start[i+1] at positions past_len[i].. of slot[i]. rows: token indices whose logits are
 * wanted. logits: [n_rows, n_vocab], valid until the next pass. */
typedef struct engine_pass {
    int32_t n_tokens, n_seqs, n_rows;
    const int32_t *ids, *seq_start, *slot, *past_len, *rows;
} engine_pass;
int engine_generate(engine *e, const engine_pass *p, const float **logits);

/* The same pass with the tokens drawn where the logits are (SAMPLE_TOKEN, <coati/ops.h>): [n_rows] settings in, [n_rows] ids and
 * log-probabilities out, valid until the next pass. */
typedef struct engine_draw { const float *temperature, *top_k, *top_p, *u; } engine_draw;
int engine_sample(engine *e, const engine_pass *p, const engine_draw *d, const int32_t **ids, const float **logprobs);

/* Parameters and optimizer states by range (co_strategy_vt.read and write). */
int engine_read(engine *e, uint32_t param, uint32_t what, int64_t first, int64_t n, float *out);
int engine_write(engine *e, uint32_t param, uint32_t what, int64_t first, int64_t n, const float *in);
int engine_gather(engine *e, uint32_t param, int64_t first, int64_t n, float *out);
/* Calls range for every range this rank answers for; what: as in engine_read. */
int engine_owned(engine *e, uint32_t what, void *sink, int (*range)(void *sink, uint32_t param, int64_t first, int64_t n));
/* The strategy's instance, for what belongs to it alone (co_strategy_vt.owned). */
void *engine_strategy(const engine *e);
/* Tests: gradient of a parameter after micro-steps and before engine_step. */
int engine_read_grad(engine *e, uint32_t param, int64_t first, int64_t n, float *out);
#endif
