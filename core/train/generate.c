#include "core/train/generate.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/config/config.h"
#include "core/host/host.h"
#include "core/lora/adapter.h"
#include "core/params/hf_config.h"
#include "core/params/load.h"
#include <string.h>

#define PASS_TOKENS 512 /* new tokens a pass besides one a slot: a long prompt takes several */

struct generator {
    host *host;
    config *config;
    hf_config *hf;
    tokenizer tokenizer;
    const co_backend_vt *backend;
    const char *backend_name;
    const co_comm_vt *comm;
    const co_model_vt *model;
    const co_strategy_vt *strategy;
    void *backend_self, *comm_self, *model_self, *strategy_opts;
    adapter **adapters;
    size_t n_adapters;
    lora *lora;
    param_table *table;
    engine *engine;
    int64_t slots, max_len;
    co_dtype dtype; /* of activations, and of weights that are not held as they are stored */
    decoder *decoder;
};

static int feature(generator *g, co_kind kind, const char *name, const co_feature **f, void **opts)
{
    int r = host_feature(g->host, kind, name, f);
    if (r == CO_OK && g->backend) r = host_suits(g->host, *f, g->backend, g->backend_name);
    if (r) return r;
    *opts = mem_alloc((*f)->opts_size + 1, 16);
    if (!*opts) return CO_E_NOMEM;
    return (*f)->opts ? config_bind(g->config, kind_name(kind), (*f)->opts, host_plugin_of(g->host, *f)->magic.opt_stride, name, *opts) : CO_OK;
}

static int open_model(generator *g, const char *dir)
{
    const co_feature *f = NULL;
    void *opts = NULL;
    int r = hf_config_open(dir, &g->hf);
    if (r == CO_OK) r = host_model_for(g->host, hf_config_model_type(g->hf), hf_config_path(g->hf), NULL, NULL, &f);
    if (r) return r;
    r = feature(g, CO_KIND_MODEL, f->name, &f, &opts);
    if (r == CO_OK) {
        g->model = host_model(g->host, f);
        r = PLUGIN("the model's open()", g->model->open(host_services(g->host), opts, hf_config_meta(g->hf), &g->model_self));
    }
    mem_free(opts);
    return r == CO_OK ? param_table_build(g->model, g->model_self, g->dtype, &g->table) : r;
}

/* A device decodes in what the weights are stored in: its memory holds them once, its products are made for it. */
static int choose_dtype(generator *g, const char *dir, const char *wanted)
{
    static const struct { const char *name; co_dtype t; } list[] = {{"fp32", CO_F32}, {"bf16", CO_BF16}, {"fp16", CO_F16}};
    const int choose = !wanted || strcmp(wanted, "auto") == 0;
    const char *name = "fp32";
    st_set *file = NULL;
    int r = CO_OK;
    if (choose && g->backend->flags & CO_BACKEND_ASYNC) {
        r = st_open_dir(dir, &file);
        if (r) return r;
        const co_dtype stored = st_main_dtype(file);
        st_close(file);
        for (size_t i = 0; i < sizeof list / sizeof *list; i++)
            if (list[i].t == stored && g->backend->dtypes & 1u << stored) name = list[i].name;
    } else if (!choose) {
        name = wanted;
    }
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (strcmp(list[i].name, name) != 0) continue;
        g->dtype = list[i].t;
        return g->backend->dtypes & 1u << g->dtype ? CO_OK : FAIL(CO_E_CONFIG, "the backend does not compute in %s", name);
    }
    return FAIL(CO_E_CONFIG, "dtype %s: expected auto, fp32, bf16 or fp16", wanted);
}

/* Before anything is taken: exit code 4 with the way out, instead of a device that is full half way. */
static int check_memory(const generator *g)
{
    engine_memory m;
    size_t available = 0, all = 0;
    engine_bytes(g->engine, &m);
    const int r = PLUGIN("the backend's memory()", g->backend->memory(g->backend_self, &available, &all));
    if (r || m.total <= available) return r;
    return FAIL(CO_E_NOMEM, "generating needs %.1f GiB and %.1f GiB are free: %.1f for weights, %.1f for the cache of %lld sequences of %lld positions. %s",
                (double)m.total / 1073741824, (double)available / 1073741824, (double)m.params / 1073741824, (double)m.cache / 1073741824,
                (long long)g->slots, (long long)g->max_len,
                m.cache > m.params / 2 && g->slots > 1 ? "Take fewer sequences at once (--batch)"
                : m.cache > m.params / 2              ? "Take a shorter context (--context)"
                : g->dtype == CO_F32                  ? "Weights of 16 bits take half (--dtype bf16)"
                                                      : "Use a smaller model or another machine");
}

/* Opens the adapters, and wraps the model so that each of them fits. */
static int open_adapters(generator *g, const generator_args *a)
{
    int r = CO_OK;
    if (a->n_adapters == 0) return CO_OK;
    g->adapters = mem_calloc(a->n_adapters, sizeof *g->adapters);
    if (!g->adapters) return CO_E_NOMEM;
    for (size_t i = 0; i < a->n_adapters && r == CO_OK; i++) {
        r = adapter_open(a->adapters[i], &g->adapters[i]);
        g->n_adapters += r == CO_OK;
    }
    if (r == CO_OK) r = adapter_wrap(host_services(g->host), g->model, g->model_self, g->table, a->model_dir, g->adapters, g->n_adapters, &g->lora);
    if (r) return r;
    param_table_free(g->table);
    g->table = NULL;
    return param_table_build(lora_model(g->lora), g->lora, g->dtype, &g->table);
}

static int write_param(void *ctx, uint32_t param, int64_t first, int64_t n, const float *values)
{
    return engine_write(ctx, param, 0, first, n, values);
}

static int open_engine(generator *g, const char *dir)
{
    const engine_args a = {.host = host_services(g->host), .backend = g->backend, .backend_self = g->backend_self, .model = g->lora ? lora_model(g->lora) : g->model,
                           .model_self = g->lora ? (void *)g->lora : g->model_self, .params = g->table, .strategy = g->strategy, .strategy_opts = g->strategy_opts,
                           .comm = g->comm, .comm_self = g->comm_self, .slots = g->slots, .slot_len = g->max_len,
                           .pass_tokens = PASS_TOKENS + g->slots, .pass_rows = g->slots};
    st_set *file = NULL;
    int r = st_open_dir(dir, &file);
    if (r == CO_OK && g->backend->flags & CO_BACKEND_STORED) params_hold_stored(g->table, file, 1); /* decoding is bound by reading weights */
    if (r == CO_OK) r = engine_open(&a, &g->engine);
    if (r == CO_OK) r = check_memory(g);
    if (r == CO_OK) r = engine_allocate(g->engine);
    if (r == CO_OK) r = params_load(g->table, file, g->hf, 0, write_param, g->engine, NULL);
    st_close(file);
    return r == CO_OK && g->lora ? generator_use_adapter(g, 0) : r;
}

int generator_use_adapter(generator *g, size_t i)
{
    if (i >= g->n_adapters) return FAIL(CO_E_INVALID, "adapter %zu of %zu", i + 1, g->n_adapters);
    return adapter_load(g->adapters[i], g->lora, g->table, write_param, g->engine);
}

int generator_open(const generator_args *a, generator **out)
{
    generator *g = mem_alloc(sizeof *g, 16);
    const co_feature *f;
    void *opts = NULL;
    if (!g) return CO_E_NOMEM;
    g->host = host_new(a->plugin_path);
    g->config = config_new();
    g->slots = a->slots;
    g->backend_name = a->backend;
    int r = g->host && g->config ? CO_OK : CO_E_NOMEM;
    if (r == CO_OK && a->threads) r = config_set(g->config, "backend", "threads", a->threads);
    if (r == CO_OK) r = feature(g, CO_KIND_BACKEND, a->backend, &f, &opts);
    if (r == CO_OK) g->backend = host_backend(g->host, f), r = PLUGIN("the backend's open()", g->backend->open(host_services(g->host), opts, &g->backend_self));
    mem_free(opts);
    opts = NULL;
    if (r == CO_OK) r = feature(g, CO_KIND_COMM, "self", &f, &opts);
    if (r == CO_OK) g->comm = host_comm(g->host, f), r = PLUGIN("the comm's open()", g->comm->open(host_services(g->host), opts, g->backend, g->backend_self, &g->comm_self));
    mem_free(opts);
    if (r == CO_OK) r = feature(g, CO_KIND_STRATEGY, "naive", &f, &g->strategy_opts);
    if (r == CO_OK) g->strategy = host_strategy(g->host, f);
    if (r == CO_OK) r = choose_dtype(g, a->model_dir, a->dtype);
    if (r == CO_OK) r = open_model(g, a->model_dir);
    if (r == CO_OK) r = open_adapters(g, a);
    if (r == CO_OK) r = tokenizer_open(g->host, g->config, "auto", a->model_dir, &g->tokenizer);
    if (r == CO_OK) r = tokenizer_check_fit(&g->tokenizer, g->table->info.n_vocab, a->model_dir, a->model_dir);
    if (r == CO_OK) {
        const int64_t most = g->table->info.max_seq;
        g->max_len = a->max_len > 0 ? a->max_len : most < 4096 ? most : 4096;
        if (g->max_len > most) r = FAIL(CO_E_CONFIG, "%lld positions are asked for; the model has %lld", (long long)g->max_len, (long long)most);
    }
    if (r == CO_OK) r = open_engine(g, a->model_dir);
    if (r == CO_OK) {
        const decoder_args d = {.engine = g->engine, .slots = g->slots, .max_len = g->max_len, .pass_tokens = PASS_TOKENS + g->slots,
                                .eos = g->tokenizer.eos};
        r = decoder_open(&d, &g->decoder);
    }
    if (r) generator_close(g);
    else *out = g;
    return r;
}

void generator_close(generator *g)
{
    if (!g) return;
    decoder_close(g->decoder);
    engine_close(g->engine);
    tokenizer_close(&g->tokenizer);
    param_table_free(g->table);
    lora_close(g->lora);
    for (size_t i = 0; i < g->n_adapters; i++) adapter_close(g->adapters[i]);
    mem_free(g->adapters);
    if (g->model_self) g->model->close(g->model_self);
    hf_config_close(g->hf);
    mem_free(g->strategy_opts);
    if (g->comm_self) g->comm->close(g->comm_self);
    if (g->backend_self) g->backend->close(g->backend_self);
    config_free(g->config);
    host_free(g->host);
    mem_free(g);
}

const tokenizer *generator_tokenizer(const generator *g) { return &g->tokenizer; }
int64_t generator_max_len(const generator *g) { return g->max_len; }

int generate(generator *g, decode_job *jobs, size_t n, const sample_opts *o) { return decode(g->decoder, jobs, n, o); }
