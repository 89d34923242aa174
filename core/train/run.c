/* run.c: opens what the configuration names, in the order in which mistakes are cheapest to find. */
#include "core/train/comm_traced.h"
#include "core/train/run.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/params/load.h"
#include "core/train/planned.h"
#include "core/train/ranks.h"
#include <stdio.h>
#include <string.h>

static const co_model_vt *run_model(const run *r) { return r->lora ? lora_model(r->lora) : r->model; }
static void *run_model_self(const run *r) { return r->lora ? (void *)r->lora : r->model_self; }

int run_bind_feature(run *r, const char *section, const co_feature *f, void **opts)
{
    const int s = r->backend ? host_suits(r->host, f, r->backend, r->o.run.backend) : CO_OK;
    if (s) return s;
    *opts = mem_alloc(f->opts_size + sizeof(co_dataset_common), 16);
    if (!*opts) return CO_E_NOMEM;
    if (!f->opts) return CO_OK;
    return config_bind(r->config, section, f->opts, host_plugin_of(r->host, f)->magic.opt_stride, f->name, *opts);
}

/* [run] says what of every backend; [backend], where it names the key itself, wins. */
static int hand_to_backend(run *r, const co_feature *f, const char *key, const char *value)
{
    const size_t stride = host_plugin_of(r->host, f)->magic.opt_stride;
    for (const co_opt *o = f->opts; o && o->key; o = (const co_opt *)(const void *)((const char *)o + stride))
        if (strcmp(o->key, key) == 0) return config_get(r->config, "backend", key) ? CO_OK : config_set(r->config, "backend", key, value);
    return CO_E_UNSUPPORTED;
}

static int open_backend(run *r)
{
    const co_feature *f;
    void *opts = NULL;
    char device[16];
    int s = host_feature(r->host, CO_KIND_BACKEND, r->o.run.backend, &f);
    if (s == CO_OK && r->o.run.deterministic) (void)hand_to_backend(r, f, "deterministic", "1"); /* one without the key always is */
    snprintf(device, sizeof device, "%d", (int)r->o.run.device);
    if (s == CO_OK && r->o.run.device >= 0 && hand_to_backend(r, f, "device", device) == CO_E_UNSUPPORTED)
        s = FAIL(CO_E_CONFIG, "[run] device = %s: backend %s has no devices to choose from; it is for cuda", device, f->name);
    if (s == CO_OK) s = run_bind_feature(r, "backend", f, &opts);
    if (s == CO_OK) {
        r->backend = host_backend(r->host, f);
        s = PLUGIN("the backend's open()", r->backend->open(host_services(r->host), opts, &r->backend_self));
        if (s) r->backend_self = NULL; /* whatever it left there */
    }
    mem_free(opts);
    return s;
}

/* Beside an async backend also the CPU's ([backend.cpu]): strategies update there what they keep in host memory. */
static int open_cpu(run *r)
{
    const co_feature *f;
    void *opts = NULL;
    if (!(r->backend->flags & CO_BACKEND_ASYNC)) return CO_OK;
    int s = host_feature(r->host, CO_KIND_BACKEND, "cpu", &f);
    if (s == CO_OK) s = run_bind_feature(r, "backend.cpu", f, &opts);
    if (s == CO_OK) {
        r->cpu = host_backend(r->host, f);
        s = PLUGIN("the backend's open()", r->cpu->open(host_services(r->host), opts, &r->cpu_self));
    }
    mem_free(opts);
    return s;
}

/* What ranks say from host memory must not wait for an async backend's streams. */
static int open_talk(run *r)
{
    const co_feature *f;
    void *opts = NULL;
    r->talk = r->comm;
    r->talk_self = r->comm_self;
    if (r->world == 1 || r->plan_world || !r->cpu) return CO_OK;
    r->talk_self = NULL;
    int s = host_feature(r->host, CO_KIND_COMM, "mpi", &f);
    if (s == CO_OK) s = run_bind_feature(r, "comm", f, &opts);
    if (s == CO_OK) {
        r->talk = host_comm(r->host, f);
        s = PLUGIN("the comm's open()", r->talk->open(host_services(r->host), opts, r->cpu, r->cpu_self, &r->talk_self));
        if (s) r->talk_self = NULL;
    }
    mem_free(opts);
    return s;
}

static int open_comm(run *r, const char *name)
{
    const co_feature *f;
    void *opts = NULL;
    int s = host_feature(r->host, CO_KIND_COMM, name, &f);
    if (s == CO_OK) s = run_bind_feature(r, "comm", f, &opts);
    if (s == CO_OK && r->plan_world) {
        r->comm = &planned_comm;
        r->comm_self = r;
    } else if (s == CO_OK) {
        r->comm = host_comm(r->host, f);
        s = PLUGIN("the comm's open()", r->comm->open(host_services(r->host), opts, r->backend, r->backend_self, &r->comm_self));
        if (s) r->comm_self = NULL; /* whatever it left there */
        if (s == CO_OK) s = comm_trace(&r->comm, &r->comm_self);
    }
    mem_free(opts);
    if (s == CO_OK) s = ranks_open(r);
    return s == CO_OK ? open_talk(r) : s;
}

static int open_strategy(run *r)
{
    const co_feature *f;
    int s = host_feature(r->host, CO_KIND_STRATEGY, r->o.strategy.name, &f);
    if (s == CO_OK) s = run_bind_feature(r, "strategy", f, &r->strategy_opts);
    if (s == CO_OK) r->strategy = host_strategy(r->host, f);
    return s;
}

static int open_optimizer(run *r)
{
    const co_feature *f;
    void *opts = NULL;
    int s = host_feature(r->host, CO_KIND_OPTIMIZER, r->o.optimizer.name, &f);
    if (s == CO_OK) s = run_bind_feature(r, "optimizer", f, &opts);
    if (s == CO_OK) {
        r->optim = host_optimizer(r->host, f);
        s = PLUGIN("the optimizer's open()", r->optim->open(host_services(r->host), opts, &r->optim_self));
        if (s) r->optim_self = NULL; /* whatever it left there */
    }
    mem_free(opts);
    return s;
}

static int open_loss(run *r)
{
    const co_feature *f;
    void *opts = NULL;
    int s = host_feature(r->host, CO_KIND_LOSS, r->o.loss.name, &f);
    if (s == CO_OK) s = run_bind_feature(r, "loss", f, &opts);
    if (s == CO_OK) {
        r->loss = host_loss(r->host, f);
        s = PLUGIN("the loss's open()", r->loss->open(host_services(r->host), opts, &r->loss_self));
        if (s) r->loss_self = NULL; /* whatever it left there */
    }
    mem_free(opts);
    return s;
}

static void on_bad_plugin(void *ctx, const char *path, const char *why)
{
    (void)ctx, (void)path;
    log_line(CO_LOG_WARN, "host", "%s", why);
}

/* arch = auto: the model plugin that serves config.json's model_type. */
static int choose_model(run *r, const co_feature **out)
{
    if (strcmp(r->o.model.arch, "auto") != 0) return host_feature(r->host, CO_KIND_MODEL, r->o.model.arch, out);
    return host_model_for(r->host, hf_config_model_type(r->hf), hf_config_path(r->hf), on_bad_plugin, NULL, out);
}

/* What has a row for each token: the table of embeddings and the head. */
static int is_of_vocabulary(const param_table *t, uint32_t i)
{
    const co_param_slot *s = &t->slots[i];
    return s->shape.ndim == 2 && s->shape.ne[0] == t->info.n_vocab && param_unit_kind(t, s->unit) != CO_UNIT_BLOCK;
}

static int freeze_all_but_embeddings(param_table *t)
{
    int s = CO_OK;
    for (uint32_t i = 0; i < t->n_params && s == CO_OK; i++)
        if (t->slots[i].owner == i) s = param_table_freeze(t, i, !is_of_vocabulary(t, i));
    return s;
}

/* An adapter to evaluate: held against the model's own table, then laid over it. */
static int open_adapter(run *r, const char *dir)
{
    param_table *base = NULL;
    int s = adapter_open(dir, &r->adapter);
    if (s == CO_OK) s = param_table_build(r->model, r->model_self, options_dtype(r->o.precision.dtype), &base);
    if (s == CO_OK) s = adapter_check(r->adapter, base, r->o.model.path);
    if (s == CO_OK) s = lora_open(host_services(r->host), r->model, r->model_self, adapter_spec(r->adapter), &r->lora);
    param_table_free(base);
    return s;
}

/* The parameters, those of adapters included, and which of them train. */
static int open_table(run *r)
{
    const lora_opts *o = &r->o.lora;
    const lora_spec spec = {.rank = o->rank, .alpha = o->alpha, .dropout = o->dropout, .rslora = o->rslora, .bias = o->bias, .targets = o->targets};
    int s = o->rank > 0 && !r->lora ? lora_open(host_services(r->host), r->model, r->model_self, &spec, &r->lora) : CO_OK;
    if (s == CO_OK) s = param_table_build(run_model(r), run_model_self(r), options_dtype(r->o.precision.dtype), &r->table);
    if (s == CO_OK && r->o.batch.accumulation > 1) param_table_sum_fp32(r->table);
    if (s == CO_OK && r->lora) s = lora_freeze(r->lora, r->table);
    if (s == CO_OK && r->o.model.train == TRAIN_EMBEDDINGS) s = freeze_all_but_embeddings(r->table);
    return s;
}

/* What goes wrong under a plugin that was asked for by name may be the name's fault. */
static int blame_arch(const run *r, const co_feature *f, int s)
{
    const char *type = hf_config_model_type(r->hf);
    const char *const *serves = r->model->model_types;
    if (!type[0] || strcmp(r->o.model.arch, "auto") == 0) return s;
    for (; serves && *serves; serves++)
        if (strcmp(*serves, type) == 0) return s;
    return error_prefix(s, "[model] arch = %.40s does not serve model_type \"%.40s\" (auto takes what does)", f->name, type);
}

static int open_model(run *r, const char *adapter_dir)
{
    const co_feature *f;
    void *opts = NULL;
    int s = hf_config_open(r->o.model.path, &r->hf);
    if (s == CO_OK) s = choose_model(r, &f);
    if (s == CO_OK) s = run_bind_feature(r, "model", f, &opts);
    if (s == CO_OK) {
        r->model = host_model(r->host, f);
        r->model_name = f->name;
        s = PLUGIN("the model's open()", r->model->open(host_services(r->host), opts, hf_config_meta(r->hf), &r->model_self));
        if (s) r->model_self = NULL; /* whatever it left there */
        if (s) s = blame_arch(r, f, error_prefix(s, "%s", r->o.model.path));
    }
    mem_free(opts);
    if (s == CO_OK && adapter_dir) s = open_adapter(r, adapter_dir);
    if (s == CO_OK) s = open_table(r);
    if (s == CO_OK && r->o.model.init == INIT_PRETRAINED) s = st_open_dir(r->o.model.path, &r->weights);
    if (s == CO_OK && r->weights) {
        s = params_load(r->table, r->weights, r->hf, 0, NULL, NULL, NULL); /* the checks only */
        if (s) s = blame_arch(r, f, s);
    }
    if (s == CO_OK && r->weights) r->stored = st_main_dtype(r->weights);
    if (s == CO_OK && r->weights && r->backend->flags & CO_BACKEND_STORED) params_hold_stored(r->table, r->weights, !r->optim);
    return s;
}

static int open_tokenizer(run *r)
{
    const char *dir = r->o.tokenizer.path[0] ? r->o.tokenizer.path : r->o.model.path;
    int s = tokenizer_open(r->host, r->config, r->o.tokenizer.name, dir, &r->tokenizer);
    if (s == CO_OK) s = tokenizer_check_fit(&r->tokenizer, r->table->info.n_vocab, dir, r->o.model.path);
    return s;
}

enum { ANSWER_PROMPT = 256 }; /* tokens of the longest prompt answered for the report */

/* Room for the report's answers: one sequence at a time, so that it stays small beside the rest. */
static void size_answers(run *r)
{
    const int64_t prompt = r->o.dataset.max_len < ANSWER_PROMPT ? r->o.dataset.max_len : ANSWER_PROMPT;
    const int64_t want = prompt + r->o.log.sample_tokens, most = r->table->info.max_seq;
    if (r->o.log.samples > 0 && r->optim) r->answer_len = want < most ? want : most;
}

static int open_engine(run *r)
{
    static const engine_column columns[] = {{"labels", CO_I32, CO_ROWS_TOKENS}, {"mask", CO_F32, CO_ROWS_TOKENS}};
    int32_t tokens = 0, seqs = 0, eval_tokens = 0, eval_seqs = 0;
    size_answers(r);
    if (r->train.loader) loader_capacity(r->train.loader, &tokens, &seqs);
    if (r->eval.loader) loader_capacity(r->eval.loader, &eval_tokens, &eval_seqs);
    const precision_opts *p = &r->o.precision;
    const co_scaler scaler = {.growth_factor = (float)p->growth_factor, .backoff_factor = (float)p->backoff_factor,
                              .min_scale = (float)p->min_scale, .max_scale = (float)p->max_scale,
                              .growth_interval = (int32_t)p->growth_interval, .hysteresis = (int32_t)p->hysteresis};
    const engine_args a = {
        .scaler = p->dtype == DTYPE_FP16 ? &scaler : NULL, .initial_scale = p->initial_scale,
        .host = host_services(r->host), .backend = r->backend, .backend_self = r->backend_self, .cpu = r->cpu, .cpu_self = r->cpu_self, .model = run_model(r),
        .model_self = run_model_self(r), .params = r->table, .strategy = r->strategy, .strategy_opts = r->strategy_opts, .comm = r->comm,
        .comm_self = r->comm_self, .optim = r->optim, .optim_self = r->optim_self, .loss = r->loss, .loss_self = r->loss_self,
        .columns = columns, .n_columns = 2, .max_tokens = tokens > eval_tokens ? tokens : eval_tokens,
        .max_seqs = seqs > eval_seqs ? seqs : eval_seqs, .checkpoint_blocks = r->o.model.checkpointing, .offload_activations = r->o.model.offload_activations,
        .slots = r->answer_len > 0, .slot_len = r->answer_len, .pass_tokens = RUN_ANSWER_PASS, .pass_rows = 1,
        .dropout = r->o.model.dropout, .norm_type = (uint32_t)r->o.optimizer.norm_type};
    const int s = engine_open(&a, &r->engine);
    if (s == CO_OK && engine_dropout_off(r->engine) > 0)
        log_line(CO_LOG_INFO, "run", "config.json declares dropout of up to %g; it is off ([model] dropout = config applies it)",
                 engine_dropout_off(r->engine));
    return s;
}

static int open_data(run *r)
{
    if (!r->optim && !config_get(r->config, "dataset", "max_len") && r->o.dataset.max_len > r->table->info.max_seq)
        r->o.dataset.max_len = r->table->info.max_seq; /* nobody asked for the default's length */
    if (!r->optim) return run_open_data(r, "dataset", &r->o.dataset, 0, &r->eval);
    int s = run_open_data(r, "dataset", &r->o.dataset, 1, &r->train);
    if (s == CO_OK && r->o.has_eval) s = run_open_data(r, "dataset.eval", &r->o.eval_dataset, 0, &r->eval);
    if (s == CO_OK && r->o.dataset.split_share > 0) s = run_open_held_out(r);
    return s;
}

/* Where dataset plugins may keep indexes: beside the output, so that another run's removal cannot take them away. */
static int open_cache(run *r, int may_write)
{
    char *folder = fs_join(r->o.run.output, "index");
    const int s = folder ? host_cache(r->host, folder, may_write) : CO_E_NOMEM;
    mem_free(folder);
    return s;
}

/* What each rank opens by itself. */
static int open_own(run *r, int training, const char *adapter_dir)
{
    int s = open_strategy(r);
    if (s == CO_OK && training) s = open_optimizer(r);
    if (s == CO_OK) s = open_loss(r);
    if (s == CO_OK) s = open_model(r, adapter_dir);
    if (s == CO_OK) s = open_tokenizer(r);
    if (s == CO_OK) s = open_data(r);
    if (s == CO_OK) s = config_finish(r->config);
    if (s == CO_OK) s = open_engine(r);
    if (s == CO_OK && training) r->total_steps = loader_total_steps(r->train.loader);
    return s;
}

static int open_all(config *c, run *r, int training, int may_write, const char *adapter_dir, int32_t plan_world)
{
    memset(r, 0, sizeof *r);
    r->config = c;
    r->plan_world = plan_world;
    int s = options_bind(c, &r->o);
    if (s) return s;
    r->host = host_new(r->o.plugins.path[0] ? r->o.plugins.path : NULL);
    if (!r->host) return CO_E_NOMEM;
    host_seed(r->host, (uint64_t)r->o.run.seed);
    s = open_backend(r);
    if (s == CO_OK) s = open_cpu(r);
    if (s == CO_OK) s = open_comm(r, training && !plan_world ? ranks_comm(r) : "self");
    if (s) return s;
    s = training ? open_cache(r, may_write && r->rank == 0) : CO_OK;
    if (s == CO_OK) s = open_own(r, training, adapter_dir);
    if (plan_world) return s;
    s = ranks_agree(r, s);
    return s == CO_OK ? ranks_same_run(r) : s;
}

int run_open(config *c, run *r) { return open_all(c, r, 1, 1, NULL, 0); }
int run_open_look(config *c, int32_t world, run *r) { return open_all(c, r, 1, 0, NULL, world); }
int run_open_eval(config *c, const char *adapter_dir, run *r) { return open_all(c, r, 0, 0, adapter_dir, 0); }

int run_plan_rank(run *r, int32_t rank)
{
    engine_close(r->engine);
    r->engine = NULL;
    r->plan_rank = r->rank = rank;
    return open_engine(r);
}

static int write_param(void *ctx, uint32_t param, int64_t first, int64_t n, const float *values)
{
    return engine_write(ctx, param, 0, first, n, values);
}

int run_allocate(run *r)
{
    int s = engine_allocate(r->engine);
    if (s) return s;
    if (r->weights) s = params_load(r->table, r->weights, r->hf, (uint64_t)r->o.run.seed, write_param, r->engine, NULL);
    else s = params_init(r->table, (uint64_t)r->o.run.seed, write_param, r->engine);
    if (s == CO_OK && r->adapter) s = adapter_load(r->adapter, r->lora, r->table, write_param, r->engine);
    else if (s == CO_OK && r->lora) s = lora_init(r->lora, r->table, (uint64_t)r->o.run.seed, write_param, r->engine);
    st_close(r->weights); /* the pages of the map need not stay */
    r->weights = NULL;
    return s;
}

void run_close(run *r)
{
    engine_close(r->engine);
    run_close_data(&r->eval);
    run_close_data(&r->train);
    tokenizer_close(&r->tokenizer);
    st_close(r->weights);
    param_table_free(r->table);
    lora_close(r->lora);
    adapter_close(r->adapter);
    if (r->model_self) r->model->close(r->model_self);
    hf_config_close(r->hf);
    if (r->loss && r->loss_self) r->loss->close(r->loss_self);
    if (r->optim_self) r->optim->close(r->optim_self);
    mem_free(r->strategy_opts);
    if (r->talk_self && r->talk_self != r->comm_self) r->talk->close(r->talk_self);
    if (r->comm_self) r->comm->close(r->comm_self);
    if (r->cpu_self) r->cpu->close(r->cpu_self);
    if (r->backend_self) r->backend->close(r->backend_self);
    host_free(r->host);
    memset(r, 0, sizeof *r);
}
