#include "core/train/options.h"
#include "core/base/error.h"
#include <stdlib.h>
#include <string.h>

#define ROW(S, m, key, type, def, lo, hi, names, help) {key, type, offsetof(S, m), 0, def, lo, hi, names, help}
static const char *const stages[] = {"sft", "pretrain", "rm", "ppo", NULL};
static const char *const inits[] = {"pretrained", "random", NULL};
static const char *const checkpointings[] = {"none", "block", NULL};
static const char *const trains[] = {"all", "embeddings", "lora", NULL};
static const char *const lora_biases[] = {"none", "all", "lora_only", NULL};
static const char *const bads[] = {"stop", "skip", NULL};
static const char *const schedules[] = {"cosine", "linear", "constant", NULL};
static const char *const dtypes[] = {"fp32", "bf16", "fp16", NULL};
static const char *const save_dtypes[] = {"auto", "fp32", "bf16", "fp16", NULL};
static const char *const resumes[] = {"auto", "always", "never", NULL};
static const char *const norm_types[] = {"2", "inf", NULL}; /* CO_NORM_* */
static const char *const placements[] = {"auto", "cpu", "cuda", NULL};
static const char *const dropouts[] = {"off", "config", NULL};
static const char *const progresses[] = {"auto", "bar", "plain", "off", NULL};

static const char *const machines[] = {"auto", "cpu", "h100", NULL};

static const co_opt run_rows[] = {
    ROW(run_opts, stage, "stage", CO_OPT_ENUM, "sft", 0, 0, stages, "what to do: sft, supervised fine-tuning; pretrain, go on with plain texts"),
    {"output", CO_OPT_PATH, offsetof(run_opts, output), CO_OPT_REQUIRED, NULL, 0, 0, NULL, "folder for everything the run writes"},
    ROW(run_opts, seed, "seed", CO_OPT_INT, "42", 0, 0, NULL, "of every random choice"),
    ROW(run_opts, backend, "backend", CO_OPT_STR, "cpu", 0, 0, NULL, "plugin that computes"),
    ROW(run_opts, comm, "comm", CO_OPT_STR, "auto", 0, 0, NULL, "plugin through which ranks talk; auto: under mpirun or with --nproc nccl for cuda where it is installed, else mpi; otherwise self"),
    ROW(run_opts, max_steps, "max_steps", CO_OPT_INT, "0", 0, 1e15, NULL, "above 0 it overrides epochs, and data is cycled"),
    ROW(run_opts, epochs, "epochs", CO_OPT_INT, "1", 1, 1e9, NULL, "passes over the data"),
    ROW(run_opts, stop_after, "stop_after", CO_OPT_INT, "0", 0, 1e15, NULL, "end early after this many steps, resumable; 0: never"),
    ROW(run_opts, save_model, "save_model", CO_OPT_BOOL, "1", 0, 0, NULL, "write model/ at the end"),
    ROW(run_opts, save_dtype, "save_dtype", CO_OPT_ENUM, "auto", 0, 0, save_dtypes, "of model/; auto: as the weights it began with are stored, fp32 after a random start"),
    ROW(run_opts, deterministic, "deterministic", CO_OPT_BOOL, "0", 0, 0, NULL, "same bits every time; the CPU always is"),
    ROW(run_opts, device, "device", CO_OPT_INT, "-1", -1, 1023, NULL, "cuda: which of the GPUs that CUDA_VISIBLE_DEVICES shows; -1: the rank's own"),
    ROW(run_opts, gpus_per_node, "gpus_per_node", CO_OPT_INT, "8", 1, 4096, NULL, "--plan: ranks that share a machine, its memory and its way out"),
    ROW(run_opts, machine, "machine", CO_OPT_ENUM, "auto", 0, 0, machines, "whose speeds predictions of step times go by; auto: h100 for cuda, else cpu"),
    {"speeds", CO_OPT_PATH, offsetof(run_opts, speeds), CO_OPT_FILE_EXISTS, "", 0, 0, NULL, "INI file with a section [speeds], over those of the machine"}, CO_OPT_END};
static const co_opt model_rows[] = {
    {"path", CO_OPT_PATH, offsetof(model_opts, path), CO_OPT_REQUIRED | CO_OPT_FILE_EXISTS, NULL, 0, 0, NULL, "Hugging Face directory"},
    ROW(model_opts, arch, "arch", CO_OPT_STR, "auto", 0, 0, NULL, "model plugin; auto: by config.json's model_type"),
    ROW(model_opts, init, "init", CO_OPT_ENUM, "pretrained", 0, 0, inits, "weights from the directory, or a random start"),
    ROW(model_opts, checkpointing, "checkpointing", CO_OPT_ENUM, "none", 0, 0, checkpointings, "block: keep block inputs only, run blocks again in the backward"),
    ROW(model_opts, dropout, "dropout", CO_OPT_ENUM, "off", 0, 0, dropouts, "what config.json declares: left out, or applied in training ([lora] dropout is apart)"),
    ROW(model_opts, offload_activations, "offload_activations", CO_OPT_BOOL, "0", 0, 0, NULL, "block inputs wait in host memory for the backward; with checkpointing that is nearly all there is"),
    ROW(model_opts, train, "train", CO_OPT_ENUM, "all", 0, 0, trains, "which parameters learn; embeddings: those of the vocabulary alone, head included"), CO_OPT_END};
static const co_opt tokenizer_rows[] = {
    ROW(tokenizer_opts, name, "name", CO_OPT_STR, "auto", 0, 0, NULL, "tokenizer plugin; auto: by the files that are there"),
    ROW(tokenizer_opts, path, "path", CO_OPT_PATH, "", 0, 0, NULL, "where its files are; default: the model's directory"), CO_OPT_END};
static const co_opt dataset_rows[] = {
    ROW(dataset_opts, path, "path", CO_OPT_PATH, "", 0, 0, NULL, "a file with records, a folder of such files, or a glob"),
    ROW(dataset_opts, sources, "sources", CO_OPT_STR, "", 0, 0, NULL, "instead of path: name=weight,…, each with a section [dataset.NAME]"),
    ROW(dataset_opts, format, "format", CO_OPT_STR, "auto", 0, 0, NULL, "dataset plugin; auto: by the file's name"),
    ROW(dataset_opts, templ, "template", CO_OPT_STR, "alpaca", 0, 0, NULL, "alpaca, vicuna, llama2, llama3, llama3.1, chatml, zephyr, mistral, hh, none, chat (the model's own), or the path of a template file"),
    ROW(dataset_opts, columns, "columns", CO_OPT_STR, "instruction=instruction,input=input,output=output", 0, 0, NULL, "part=column, comma-separated; as it is: recognised by the columns' own names"),
    ROW(dataset_opts, max_len, "max_len", CO_OPT_INT, "512", 2, 1 << 24, NULL, "tokens a sample; longer ones are cut, and counted; stage pretrain: tokens a block"),
    ROW(dataset_opts, max_records, "max_records", CO_OPT_INT, "0", 0, 1e15, NULL, "records read; 0: all"),
    ROW(dataset_opts, on_bad_record, "on_bad_record", CO_OPT_ENUM, "stop", 0, 0, bads, "a broken record ends the run, or is passed over and counted"),
    ROW(dataset_opts, split, "split", CO_OPT_STR, "", 0, 0, NULL, "e.g. 0.95: the rest, by a stable hash of each record, is held out for evaluation"),
    ROW(dataset_opts, shuffle, "shuffle", CO_OPT_BOOL, "1", 0, 0, NULL, "a new order each epoch, by the seed"), CO_OPT_END};
static const co_opt batch_rows[] = {
    ROW(batch_opts, size, "size", CO_OPT_INT, "4", 1, 1 << 20, NULL, "samples a rank and micro-step"),
    ROW(batch_opts, accumulation, "accumulation", CO_OPT_INT, "8", 1, 1 << 20, NULL, "micro-steps a step"),
    ROW(batch_opts, tokens, "tokens", CO_OPT_INT, "0", 0, 1 << 30, NULL, "or: a token budget a micro-step, filled with whole samples"), CO_OPT_END};
static const co_opt eval_rows[] = {
    ROW(eval_opts, every, "every", CO_OPT_INT, "0", 0, 1e15, NULL, "steps between evaluations; 0: at each epoch's end"),
    ROW(eval_opts, batches, "batches", CO_OPT_INT, "0", 0, 1e15, NULL, "global batches an evaluation; 0: all of dataset.eval"), CO_OPT_END};
static const co_opt loss_rows[] = {ROW(loss_opts, name, "name", CO_OPT_STR, "causal_lm", 0, 0, NULL, "loss plugin"), CO_OPT_END};
static const co_opt optimizer_rows[] = {
    ROW(optimizer_opts, name, "name", CO_OPT_STR, "adamw", 0, 0, NULL, "optimizer plugin"),
    ROW(optimizer_opts, lr, "lr", CO_OPT_FLOAT, "2e-5", 0, 1e3, NULL, "peak learning rate"),
    ROW(optimizer_opts, max_grad_norm, "max_grad_norm", CO_OPT_FLOAT, "1.0", 0, 1e30, NULL, "gradients are scaled down to this norm; 0: never"),
    ROW(optimizer_opts, norm_type, "norm_type", CO_OPT_ENUM, "2", 0, 0, norm_types, "of max_grad_norm and of what is logged: root of the sum of squares, or largest value"), CO_OPT_END};
static const co_opt schedule_rows[] = {
    ROW(schedule_opts, name, "name", CO_OPT_ENUM, "cosine", 0, 0, schedules, "shape of the learning rate after warm-up"),
    ROW(schedule_opts, steps, "steps", CO_OPT_INT, "0", 0, 1e15, NULL, "length in steps; 0: the run's own"),
    ROW(schedule_opts, warmup_ratio, "warmup_ratio", CO_OPT_FLOAT, "0.03", 0, 1, NULL, "share of the steps with a linear rise"),
    ROW(schedule_opts, min_ratio, "min_ratio", CO_OPT_FLOAT, "0", 0, 1, NULL, "end of the schedule, as a share of lr"), CO_OPT_END};
static const co_opt precision_rows[] = {
    ROW(precision_opts, dtype, "dtype", CO_OPT_ENUM, "fp32", 0, 0, dtypes, "of parameters and activations; master weights and optimizer states are fp32"),
    ROW(precision_opts, initial_scale, "initial_scale", CO_OPT_FLOAT, "65536", 1e-30, 1e30, NULL, "fp16: the loss is multiplied by this at first"),
    ROW(precision_opts, growth_factor, "growth_factor", CO_OPT_FLOAT, "2", 1.000001, 1e6, NULL, "fp16: the scale grows by it after growth_interval steps without overflow"),
    ROW(precision_opts, backoff_factor, "backoff_factor", CO_OPT_FLOAT, "0.5", 1e-6, 0.999999, NULL, "fp16: and is multiplied by it when gradients overflow"),
    ROW(precision_opts, growth_interval, "growth_interval", CO_OPT_INT, "1000", 1, 1e9, NULL, "fp16: steps without overflow before the scale grows"),
    ROW(precision_opts, hysteresis, "hysteresis", CO_OPT_INT, "2", 0, 1e9, NULL, "fp16: overflows taken before the scale falls; each further one lowers it, until it has grown"),
    ROW(precision_opts, min_scale, "min_scale", CO_OPT_FLOAT, "1", 0, 1e30, NULL, "fp16: the scale never falls below; 0: no limit"),
    ROW(precision_opts, max_scale, "max_scale", CO_OPT_FLOAT, "4294967296", 0, 1e30, NULL, "fp16: nor grows above; 0: no limit"), CO_OPT_END};
static const co_opt strategy_rows[] = {
    ROW(strategy_opts, name, "name", CO_OPT_STR, "naive", 0, 0, NULL, "who holds which bytes"),
    ROW(strategy_opts, bucket_mb, "bucket_mb", CO_OPT_INT, "25", 0, 1 << 20, NULL, "MiB of gradients reduced at a time; a larger tensor goes whole, 0: unit by unit"),
    ROW(strategy_opts, overlap, "overlap", CO_OPT_BOOL, "1", 0, 0, NULL, "messages and copies beside the computation"),
    ROW(strategy_opts, placement, "placement", CO_OPT_ENUM, "auto", 0, 0, placements, "gemini: where weights, gradients and optimizer states live"),
    ROW(strategy_opts, device_memory, "device_memory", CO_OPT_BYTES, "0", 0, 0, NULL, "gemini: device memory a rank may take, activations included; 0: what is free"),
    ROW(strategy_opts, host_memory, "host_memory", CO_OPT_BYTES, "0", 0, 0, NULL, "zero2_cpu, gemini: host memory all ranks of a node may take; 0: no limit"),
    ROW(strategy_opts, pin_memory, "pin_memory", CO_OPT_BOOL, "1", 0, 0, NULL, "host memory that devices copy from and to directly"), CO_OPT_END};
static const co_opt lora_rows[] = {
    ROW(lora_opts, rank, "rank", CO_OPT_INT, "0", 0, 65536, NULL, "of the adapters; above 0 they are all that trains; 0: off"),
    ROW(lora_opts, alpha, "alpha", CO_OPT_FLOAT, "16", 0, 1e9, NULL, "their output is scaled by alpha / rank"),
    ROW(lora_opts, dropout, "dropout", CO_OPT_FLOAT, "0", 0, 0.999999, NULL, "of their input"),
    ROW(lora_opts, targets, "targets", CO_OPT_STR, "all-linear", 0, 0, NULL, "products that get one: all-linear, or names such as q_proj,v_proj"),
    ROW(lora_opts, bias, "bias", CO_OPT_ENUM, "none", 0, 0, lora_biases, "biases that train: none, all, or those of the targets"),
    ROW(lora_opts, rslora, "rslora", CO_OPT_BOOL, "0", 0, 0, NULL, "scale by alpha / sqrt(rank)"),
    ROW(lora_opts, merge, "merge", CO_OPT_BOOL, "0", 0, 0, NULL, "also write model/ with the adapter merged into the weights"), CO_OPT_END};
static const co_opt checkpoint_rows[] = {
    ROW(checkpoint_opts, every, "every", CO_OPT_STR, "500", 0, 0, NULL, "steps between checkpoints; 0: only at the end; never"),
    ROW(checkpoint_opts, keep, "keep", CO_OPT_INT, "2", 1, 1e9, NULL, "newest checkpoints kept"),
    ROW(checkpoint_opts, resume, "resume", CO_OPT_ENUM, "auto", 0, 0, resumes, "auto: go on from the newest checkpoint if there is one"), CO_OPT_END};
static const co_opt log_rows[] = {
    ROW(log_opts, every, "every", CO_OPT_INT, "1", 1, 1e15, NULL, "steps between lines of metrics.jsonl"),
    ROW(log_opts, progress, "progress", CO_OPT_ENUM, "auto", 0, 0, progresses, "a bar on a terminal, plain lines elsewhere"),
    ROW(log_opts, samples, "samples", CO_OPT_INT, "3", 0, 100, NULL, "prompts of the held-out or training data answered at the end, for report.html"),
    ROW(log_opts, sample_tokens, "sample_tokens", CO_OPT_INT, "64", 1, 4096, NULL, "tokens an answer of these may have"),
    ROW(log_opts, tensorboard, "tensorboard", CO_OPT_BOOL, "1", 0, 0, NULL, "the metrics as TensorBoard events too"),
    ROW(log_opts, trace, "trace", CO_OPT_BOOL, "0", 0, 0, NULL, "trace.json (trace-RANK.json of several): what ran when, for chrome://tracing and ui.perfetto.dev"), CO_OPT_END};
static const co_opt plugins_rows[] = {ROW(plugins_opts, path, "path", CO_OPT_STR, "", 0, 0, NULL, "extra folders, colon-separated"), CO_OPT_END};

const char *options_schedule_name(int32_t name) { return schedules[name]; }
co_dtype options_dtype(int32_t dtype) { return dtype == DTYPE_BF16 ? CO_BF16 : dtype == DTYPE_FP16 ? CO_F16 : CO_F32; }

static int not_offered(const config *c, const char *section, const char *key, const char *offered)
{
    const char *value = config_get(c, section, key);
    return FAIL(CO_E_UNSUPPORTED, "%s: [%s] %s = %s is not offered by this version; it offers %s", config_where(c, section, key), section,
                key, value ? value : "?", offered);
}

static int check_split(const config *c, options *o)
{
    char *end;
    if (o->has_eval && o->eval_dataset.split[0])
        return FAIL(CO_E_CONFIG, "%s: [dataset.eval] split: only [dataset] is split", config_where(c, "dataset.eval", "split"));
    if (!o->dataset.split[0]) return CO_OK;
    o->dataset.split_share = strtod(o->dataset.split, &end);
    if (end == o->dataset.split || *end || !(o->dataset.split_share > 0 && o->dataset.split_share < 1))
        return FAIL(CO_E_CONFIG, "%s: [dataset] split = %s: expected the share of the records to train on, between 0 and 1, such as 0.95",
                    config_where(c, "dataset", "split"), o->dataset.split);
    if (o->has_eval)
        return FAIL(CO_E_CONFIG, "%s: [dataset] split holds records out for evaluation, and [dataset.eval] names others: use one of them",
                    config_where(c, "dataset", "split"));
    return CO_OK;
}

static int check_paths(const config *c, const char *section, const dataset_opts *o, int eval)
{
    const char *where = config_where(c, section, "sources");
    if (!o->path[0] && !o->sources[0])
        return FAIL(CO_E_CONFIG, "[%s] path: required, and not set (a file with records, a folder of such files, or a glob)", section);
    if (!o->sources[0]) return CO_OK;
    if (eval) return FAIL(CO_E_CONFIG, "%s: [%s] sources: only [dataset] has sources", where, section);
    if (o->path[0]) return FAIL(CO_E_CONFIG, "%s: [%s] has both path and sources: use one of them", where, section);
    if (o->max_records) return FAIL(CO_E_CONFIG, "%s: [%s] max_records: with sources each has its own", config_where(c, section, "max_records"), section);
    return CO_OK;
}

static int check_scaler(const config *c, const precision_opts *o)
{
    if (o->min_scale > 0 && o->initial_scale < o->min_scale)
        return FAIL(CO_E_CONFIG, "%s: [precision] initial_scale = %g is below min_scale = %g", config_where(c, "precision", "initial_scale"),
                    o->initial_scale, o->min_scale);
    if (o->max_scale > 0 && (o->initial_scale > o->max_scale || o->min_scale > o->max_scale))
        return FAIL(CO_E_CONFIG, "%s: [precision] %s is above max_scale = %g", config_where(c, "precision", "max_scale"),
                    o->initial_scale > o->max_scale ? "initial_scale" : "min_scale", o->max_scale);
    return CO_OK;
}

static int check(const config *c, options *o)
{
    if (o->run.stage != STAGE_SFT && o->run.stage != STAGE_PRETRAIN) return not_offered(c, "run", "stage", "sft and pretrain");
    if (o->model.train == TRAIN_LORA && o->lora.rank == 0)
        return FAIL(CO_E_CONFIG, "%s: [model] train = lora needs a [lora] rank above 0", config_where(c, "model", "train"));
    if (o->model.train == TRAIN_EMBEDDINGS && o->lora.rank > 0)
        return FAIL(CO_E_CONFIG, "%s: [model] train = embeddings and [lora] rank = %lld cannot be had together", config_where(c, "model", "train"),
                    (long long)o->lora.rank);
    int r = check_scaler(c, &o->precision);
    if (r == CO_OK) r = check_split(c, o);
    if (r == CO_OK) r = check_paths(c, "dataset", &o->dataset, 0);
    if (r == CO_OK && o->has_eval) r = check_paths(c, "dataset.eval", &o->eval_dataset, 1);
    if (r) return r;
    char *end;
    if (strcmp(o->checkpoint.every, "never") == 0) {
        o->checkpoint.every_steps = -1;
        return CO_OK;
    }
    o->checkpoint.every_steps = strtoll(o->checkpoint.every, &end, 10);
    if (end == o->checkpoint.every || *end || o->checkpoint.every_steps < 0)
        return FAIL(CO_E_CONFIG, "%s: [checkpoint] every = %s: expected a whole number of steps, or never",
                    config_where(c, "checkpoint", "every"), o->checkpoint.every);
    return CO_OK;
}

/* The host's rows, in the order of --print-config, and where each section's values go. */
static const options_section sections[] = {
    {"run", run_rows, offsetof(options, run)}, {"model", model_rows, offsetof(options, model)},
    {"tokenizer", tokenizer_rows, offsetof(options, tokenizer)}, {"dataset", dataset_rows, offsetof(options, dataset)},
    {"batch", batch_rows, offsetof(options, batch)}, {"eval", eval_rows, offsetof(options, eval)},
    {"loss", loss_rows, offsetof(options, loss)}, {"optimizer", optimizer_rows, offsetof(options, optimizer)},
    {"schedule", schedule_rows, offsetof(options, schedule)}, {"precision", precision_rows, offsetof(options, precision)},
    {"strategy", strategy_rows, offsetof(options, strategy)}, {"lora", lora_rows, offsetof(options, lora)},
    {"checkpoint", checkpoint_rows, offsetof(options, checkpoint)}, {"log", log_rows, offsetof(options, log)},
    {"plugins", plugins_rows, offsetof(options, plugins)}};

const options_section *options_sections(size_t *n)
{
    *n = sizeof sections / sizeof *sections;
    return sections;
}

int options_bind(config *c, options *o)
{
    memset(o, 0, sizeof *o);
    int r = CO_OK;
    for (size_t i = 0; i < sizeof sections / sizeof *sections && r == CO_OK; i++)
        r = config_bind(c, sections[i].name, sections[i].rows, sizeof(co_opt), "core", (char *)o + sections[i].offset);
    o->has_eval = config_has_section(c, "dataset.eval");
    if (r == CO_OK && o->has_eval) r = config_bind(c, "dataset.eval", dataset_rows, sizeof(co_opt), "core", &o->eval_dataset);
    return r == CO_OK ? check(c, o) : r;
}
