/* run.h: everything a stage needs, opened from a configuration: plugins, model, tokenizer, data, engine. */
#ifndef CORE_TRAIN_RUN_H
#define CORE_TRAIN_RUN_H
#include "core/data/loader.h"
#include "core/graph/engine.h"
#include "core/host/host.h"
#include "core/params/hf_config.h"
#include "core/params/safetensors.h"
#include "core/params/tokenizer.h"
#include "core/lora/adapter.h"
#include "core/train/options.h"

typedef struct run_sources run_sources; /* dataset.c */
typedef struct run_dataset {
    run_sources *sources; /* NULL: another's files, as of a split */
    void *self;         /* of files_dataset */
    const char *path;
    loader *loader;
} run_dataset;

enum { RUN_ANSWER_PASS = 64 }; /* tokens a pass of the engine's cache */

typedef struct run {
    config *config; /* lent */
    options o;
    host *host;
    hf_config *hf;
    st_set *weights; /* NULL with init = random */
    co_dtype stored; /* what most of them are stored in; fp32 with init = random */
    tokenizer tokenizer;
    const co_backend_vt *backend;
    const co_comm_vt *comm;
    const co_comm_vt *talk; /* for host memory (ranks.h): comm itself, or mpi beside one for an async backend */
    const co_strategy_vt *strategy;
    const co_optimizer_vt *optim;
    const co_model_vt *model;
    const co_loss_vt *loss;
    const co_backend_vt *cpu; /* beside an async backend, for updates in host memory; else NULL */
    void *cpu_self;
    void *backend_self, *comm_self, *talk_self, *optim_self, *model_self, *loss_self, *strategy_opts;
    const char *model_name;
    lora *lora; /* [lora] rank above 0, or an adapter to evaluate: the model with its adapters */
    adapter *adapter;
    param_table *table;
    run_dataset train, eval;
    engine *engine;
    int64_t total_steps;
    int32_t rank, world, local_rank, local_world; /* of the comm; world 0: not open yet */
    int32_t plan_rank, plan_world; /* above 0: opened to plan for so many ranks */
    char node[64];                 /* this machine's name */
    int together;                  /* the error that is set is every rank's (ranks_agree) */
    int64_t answer_len; /* positions of the engine's one cache slot, for the report's answers; 0: none */
} run;

/* Opens and checks everything but takes no memory for the model. `c` must outlive it; its tables are bound and it is finished
 * here. run_close also after an error. Dataset plugins may write to the output's index/. */
int run_open(config *c, run *out);
/* Writes nothing: enough for --check and --plan. world above 0: as rank 0 of so many that are not there. */
int run_open_look(config *c, int32_t world, run *out);
/* The plan of another of these ranks takes the place of the one before. */
int run_plan_rank(run *r, int32_t rank);
/* The same for evaluation alone, by one rank: no optimizer, [dataset] is what is evaluated (with `split` the part held out), and an
 * adapter directory may lie over the model; NULL: none. */
int run_open_eval(config *c, const char *adapter_dir, run *out);
/* Takes the memory and loads the weights (or draws them). */
int run_allocate(run *r);
void run_close(run *r);
/* Options of a plugin's table from a section; *opts (freed with mem_free) also when that fails. */
int run_bind_feature(run *r, const char *section, const co_feature *f, void **opts);
int run_open_data(run *r, const char *section, const dataset_opts *o, int training, run_dataset *d);
int run_open_held_out(run *r); /* eval: what [dataset] split keeps from training; after the training data */
void run_close_data(run_dataset *d);
int64_t run_data_bytes(const run_dataset *d); /* of its files */
/* A line a source with its records and samples a pass; "" without [dataset] sources. Free with mem_free. */
char *run_sources_text(const run *r);
/* Writes model/, or with LoRA adapter/ (and model/ merged if asked), under [run] output. */
int run_write_result(run *r);
/* The memory table of --plan. Free with mem_free. */
char *run_plan_text(const run *r);
int run_write_report(run *r, int with_answers); /* report.html, from metrics.jsonl and the run */
/* CO_E_NOMEM with the table and advice if the plan is above what the backend has free. */
int run_check_memory(const run *r);
#endif
