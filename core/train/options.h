/* options.h: the host's own rows of train.ini, filled from a config. Plugins add theirs to the same sections. */
#ifndef CORE_TRAIN_OPTIONS_H
#define CORE_TRAIN_OPTIONS_H
#include "core/config/config.h"
#include <coati/types.h>

typedef struct run_opts {
    int32_t stage, save_model, deterministic, save_dtype; /* save_dtype: SAVE_* */
    int64_t device; /* -1: the rank's own */
    const char *output, *backend, *comm;
    const char *speeds; /* a file; "": the machine's */
    int64_t gpus_per_node;
    int32_t machine, pad; /* MACHINE_* */
    int64_t seed, max_steps, epochs, stop_after;
} run_opts;
typedef struct model_opts { const char *path, *arch; int32_t init, checkpointing, offload_activations, train, dropout, pad; } model_opts;
typedef struct tokenizer_opts { const char *name, *path; } tokenizer_opts;
typedef struct dataset_opts {
    const char *path, *format, *templ, *columns, *split, *sources;
    int64_t max_len, max_records;
    int32_t on_bad_record, shuffle;
    double split_share; /* of split; 0: none */
} dataset_opts;
typedef struct batch_opts { int64_t size, accumulation, tokens; } batch_opts;
typedef struct eval_opts { int64_t every, batches; } eval_opts;
typedef struct loss_opts { const char *name; } loss_opts;
typedef struct optimizer_opts { const char *name; double lr, max_grad_norm; int32_t norm_type, pad; } optimizer_opts;
typedef struct schedule_opts { int32_t name, pad; int64_t steps; double warmup_ratio, min_ratio; } schedule_opts;
typedef struct precision_opts {
    int32_t dtype, pad;
    double initial_scale, growth_factor, backoff_factor, min_scale, max_scale; /* fp16 */
    int64_t growth_interval, hysteresis;
} precision_opts;
/* Every strategy reads its own of these from the section itself; they are known to all, so that changing `name` is enough. */
typedef struct strategy_opts {
    const char *name;
    int64_t bucket_mb, device_memory, host_memory;
    int32_t overlap, placement, pin_memory, pad;
} strategy_opts;
typedef struct lora_opts { int64_t rank; double alpha, dropout; const char *targets; int32_t bias, rslora, merge, pad; } lora_opts;
typedef struct checkpoint_opts { const char *every; int64_t keep; int32_t resume, pad; int64_t every_steps; } checkpoint_opts;
typedef struct log_opts { int64_t every, samples, sample_tokens; int32_t progress, tensorboard, trace, pad; } log_opts;
typedef struct plugins_opts { const char *path; } plugins_opts;

enum { STAGE_SFT = 0, STAGE_PRETRAIN, STAGE_RM, STAGE_PPO };
enum { INIT_PRETRAINED = 0, INIT_RANDOM };
enum { DTYPE_FP32 = 0, DTYPE_BF16, DTYPE_FP16 };
enum { MACHINE_AUTO = 0, MACHINE_CPU, MACHINE_H100 };
enum { SAVE_AUTO = 0, SAVE_FP32, SAVE_BF16, SAVE_FP16 };
enum { TRAIN_ALL = 0, TRAIN_EMBEDDINGS, TRAIN_LORA };
enum { BAD_STOP = 0, BAD_SKIP };
enum { PROGRESS_AUTO = 0, PROGRESS_BAR, PROGRESS_PLAIN, PROGRESS_OFF };

typedef struct options {
    run_opts run;
    model_opts model;
    tokenizer_opts tokenizer;
    dataset_opts dataset, eval_dataset;
    int has_eval; /* [dataset.eval] is there */
    batch_opts batch;
    eval_opts eval;
    loss_opts loss;
    optimizer_opts optimizer;
    schedule_opts schedule;
    precision_opts precision;
    strategy_opts strategy;
    lora_opts lora;
    checkpoint_opts checkpoint;
    log_opts log;
    plugins_opts plugins;
} options;

typedef struct options_section { const char *name; const co_opt *rows; size_t offset; } options_section; /* into options */
const options_section *options_sections(size_t *n); /* [dataset.eval] has the rows of [dataset] */
/* Binds the host's tables and checks what one row cannot: CO_E_CONFIG, or CO_E_UNSUPPORTED for what this version
 * does not offer, saying what it does. */
int options_bind(config *c, options *out);
const char *options_schedule_name(int32_t name);
co_dtype options_dtype(int32_t dtype); /* of DTYPE_* */
#endif
