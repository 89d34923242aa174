/* fixture.h: a model directory opened with the plugins of this build, for tests. */
#ifndef TESTS_MODELS_FIXTURE_H
#define TESTS_MODELS_FIXTURE_H
#include "core/graph/engine.h"
#include "core/host/host.h"
#include "core/lora/adapter.h"
#include "core/params/hf_config.h"
#include "core/params/safetensors.h"

typedef struct fixture {
    host *host;
    hf_config *config;
    st_set *weights;
    const co_backend_vt *backend, *cpu; /* cpu: beside an async one */
    const co_model_vt *model;
    const co_strategy_vt *strategy;
    const co_comm_vt *comm;
    const co_optimizer_vt *optim;
    const co_loss_vt *loss;
    void *backend_self, *cpu_self, *model_self, *comm_self, *optim_self, *loss_self;
    void *strategy_opts;
    adapter *adapter;
    lora *lora;
    param_table *table;
    engine *engine;
} fixture;

typedef struct fixture_args {
    const char *dir;
    int64_t max_tokens, max_seqs;                     /* training and evaluation */
    int64_t slots, slot_len, pass_tokens, pass_rows;  /* generation */
    int checkpoint_blocks, offload_activations;
    const char *weight_decay;                         /* NULL: "0" */
    co_dtype dtype;                                   /* 0: fp32 */
    int hold_stored;                                  /* weights in the 16 bits of their file, for inference or frozen ones */
    int sum_fp32;                                     /* gradients in fp32 whatever dtype is */
    void (*wrap)(const co_backend_vt **vt, void **self); /* NULL, or puts another backend around the one opened */
    int no_graphs;
    const char *adapter;                              /* NULL, or a directory in PEFT's layout */
    double lora_dropout;
    int random;                                       /* weights as the model says they start, seed 1; no file is needed */
    int dropout;                                      /* what the model itself declares, in training */
    const char *strategy;                             /* NULL: naive */
    const char *const *strategy_options;              /* NULL, or key, value … NULL */
    const co_comm_vt *comm;                           /* NULL: self; else given, with comm_self, and not closed */
    void *comm_self;
    uint32_t norm_type;                               /* CO_NORM_* */
    int plan_only;                                    /* no memory is taken */
} fixture_args;

/* Prints the error and returns it; everything opened so far is closed by fixture_close. */
int fixture_open(const fixture_args *a, fixture *f);
int fixture_reload(fixture *f); /* weights from the file again */
void fixture_close(fixture *f);
/* The options of a feature: defaults, and key=value pairs ended by NULL. Free with mem_free. */
int fixture_options(fixture *f, const co_feature *feature, void **out, ...);
#endif
