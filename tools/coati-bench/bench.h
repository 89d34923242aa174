/* bench.h: parts of coati-bench. Each measurement names its shape, its steps and its spread, and the machine's own limit
 * measured beside it. */
#ifndef COATI_BENCH_H
#define COATI_BENCH_H
#include "core/config/config.h"
#include "core/graph/engine.h"
#include "core/host/host.h"
#include "core/lora/lora.h"
#include "core/params/hf_config.h"

#define BENCH_MAX_STEPS 256
#define BENCH_MAX_SETS 16
#define BENCH_MAX_COUNTS 8

typedef struct shape { /* a model and a batch */
    const char *name;
    const char *config; /* config.json's text */
    int seqs, seq_len;
} shape;

typedef struct bench_opts {
    const char *threads, *backend, *dtype; /* dtype: fp32, bf16, fp16 */
    int steps, checkpoint, offload, profile, lora_rank;
    const char *strategy;
    int accumulation; /* micro-steps a step */
    int queued;       /* steps are queued one behind the other, as a run does, and not waited for one by one */
    int no_update;    /* strategy: resident.c's */
    const char *set[BENCH_MAX_SETS]; /* section.key=value */
    int n_set;
    int fewer[BENCH_MAX_COUNTS], n_fewer; /* then steps of so many sequences, in memory for all */
    const char *comm;  /* auto, or a plugin */
    const char *trace; /* NULL, or a file the counted steps are traced to; of rank N > 0 with .N behind */
    int new_tokens; /* above 0: generate that many after prompts of seq_len, instead of training */
} bench_opts;

typedef struct parts { /* one of each plugin kind, open */
    host *h;
    config *c;
    const co_backend_vt *be, *real; /* be: seen through the profile, if there is one */
    const co_backend_vt *cpu;       /* beside one with CO_BACKEND_ASYNC */
    const co_comm_vt *comm;
    const char *comm_name;
    int32_t rank, world, local_rank, local_world;
    const co_optimizer_vt *optim;
    const co_loss_vt *loss;
    const co_model_vt *model;       /* that serves the config's model_type; with adapters the wrapper around it */
    const co_strategy_vt *strategy;
    void *be_self, *cpu_self, *comm_self, *optim_self, *loss_self, *model_self, *strategy_opts;
    hf_config *hf;
    lora *adapters;
    const co_model_vt *base;
    void *base_self;
    param_table *params;
} parts;
int parts_open(parts *p, const shape *s, const bench_opts *o); /* parts.c; s NULL: no model. parts_close also after a failure */
void parts_close(parts *p);
/* After a failure of one of several ranks: says what it was and ends all. Does not return then. */
void parts_abort(const parts *p, int status);
co_dtype parts_dtype(const bench_opts *o);
/* Everybody's value, on every rank. */
int parts_gather(const parts *p, double mine, double *all);
/* Every parameter from one table of normal numbers, scaled as the model says: quick also for billions. */
int parts_fill(const parts *p, engine *e);

extern const co_strategy_vt resident_vt; /* resident.c: everything stands on the device, nothing is updated */

int bench_train(const shape *s, const bench_opts *o);    /* train.c */
int bench_generate(const shape *s, const bench_opts *o); /* generate.c */
int bench_collectives(int most_mib, const bench_opts *o); /* collectives.c: buffers of 1 MiB up to that */
int bench_update(int64_t n, const bench_opts *o);        /* update.c: AdamW over n parameters in host memory */
/* tokenize.c: the tokenizer of a model's directory on the texts of files, each of which ends in NUL or with its file. */
int bench_tokenize(const char *dir, const char *const *files, int n_files, int rounds);

/* product.c: seconds of one product of SIDE cubed through the backend's own LINEAR, taken again whenever asked: a machine
 * shared with others changes its speed from second to second, so it is measured between the steps it is compared with. */
typedef struct product product;
int product_open(const co_backend_vt *be, void *self, co_dtype t, product **out);
int product_time(product *p, double *seconds);
void product_close(product *p);
double product_flops(const product *p);

/* profile.c: stands between engine and backend: runs plans line by line and adds up each line's time. One at a time. */
const co_backend_vt *profile_over(const co_backend_vt *real);
void profile_step(int counts); /* after each step; counts 0: forget it */
void profile_print(double gflops); /* medians to stderr; gflops: the product speed to compare with */

double bench_now(void);
double bench_median(double *v, int n); /* sorts v */
size_t bench_status_kib(const char *key); /* a line of /proc/self/status */
#endif
