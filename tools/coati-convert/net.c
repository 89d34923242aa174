/* net.c: see net.h. */
#include "net.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/base/rng.h"
#include "core/params/load.h"
#include <stdio.h>
#include <string.h>

static int feature(net *n, co_kind kind, const char *name, const co_feature **f, void **opts)
{
    int r = host_feature(n->host, kind, name, f);
    if (r) return r;
    *opts = mem_alloc((*f)->opts_size + 1, 16);
    if (!*opts) return CO_E_NOMEM;
    return (*f)->opts ? config_bind(n->config, kind_name(kind), (*f)->opts, host_plugin_of(n->host, *f)->magic.opt_stride, name, *opts) : CO_OK;
}

static const co_feature *serving(net *n, char *there, size_t cap)
{
    const char *type = hf_config_model_type(n->hf);
    size_t at = 0;
    (void)host_load_all(n->host, CO_KIND_MODEL, NULL, NULL);
    for (size_t i = 0; i < host_count(n->host); i++) {
        const co_model_vt *vt = host_model(n->host, host_at(n->host, i));
        for (const char *const *t = vt ? vt->model_types : NULL; t && *t; t++) {
            if (strcmp(*t, type) == 0) return host_at(n->host, i);
            if (at < cap) at += (size_t)snprintf(there + at, cap - at, "%s%s", at ? ", " : "", *t);
        }
    }
    return NULL;
}

int net_open_model(net *n, const convert_args *a, const char *dir, config *c)
{
    const co_feature *f;
    void *opts = NULL;
    char there[400] = "";
    memset(n, 0, sizeof *n);
    n->host = host_new(a->plugins);
    n->config = c ? c : config_new();
    int r = n->host && n->config ? hf_config_open(dir, &n->hf) : CO_E_NOMEM;
    if (r) return r;
    f = serving(n, there, sizeof there);
    if (!f)
        return FAIL(CO_E_FORMAT, "%s: model_type \"%s\" is served by no installed model plugin; they serve: %s", hf_config_path(n->hf),
                    hf_config_model_type(n->hf), there[0] ? there : "nothing");
    r = feature(n, CO_KIND_MODEL, f->name, &f, &opts);
    if (r == CO_OK) n->model = host_model(n->host, f), r = PLUGIN("the model's open()", n->model->open(host_services(n->host), opts, hf_config_meta(n->hf), &n->model_self));
    mem_free(opts);
    return r == CO_OK ? param_table_build(n->model, n->model_self, CO_F32, &n->base) : r;
}

static int open_backend(net *n, const convert_args *a)
{
    const co_feature *f;
    void *opts = NULL;
    int r = a->threads ? config_set(n->config, "backend", "threads", a->threads) : CO_OK;
    if (r == CO_OK) r = feature(n, CO_KIND_BACKEND, a->backend, &f, &opts);
    if (r == CO_OK) n->backend = host_backend(n->host, f), r = PLUGIN("the backend's open()", n->backend->open(host_services(n->host), opts, &n->backend_self));
    mem_free(opts);
    opts = NULL;
    if (r == CO_OK) r = feature(n, CO_KIND_COMM, "self", &f, &opts);
    if (r == CO_OK) n->comm = host_comm(n->host, f), r = PLUGIN("the comm's open()", n->comm->open(host_services(n->host), opts, n->backend, n->backend_self, &n->comm_self));
    mem_free(opts);
    if (r == CO_OK) r = feature(n, CO_KIND_STRATEGY, "naive", &f, &n->strategy_opts);
    if (r == CO_OK) n->strategy = host_strategy(n->host, f);
    return r;
}

static int write_param(void *ctx, uint32_t param, int64_t first, int64_t count, const float *values) { return engine_write(ctx, param, 0, first, count, values); }

int net_open(net *n, const convert_args *a, const char *dir, const char *adapter_dir)
{
    int r = net_open_model(n, a, dir, NULL);
    n->table = n->base;
    if (r == CO_OK) r = open_backend(n, a);
    if (r == CO_OK && adapter_dir) r = adapter_open(adapter_dir, &n->adapter);
    if (r == CO_OK && adapter_dir) r = adapter_wrap(host_services(n->host), n->model, n->model_self, n->base, dir, &n->adapter, 1, &n->lora);
    if (r == CO_OK && adapter_dir) r = param_table_build(lora_model(n->lora), n->lora, CO_F32, &n->table);
    if (r == CO_OK) r = weights_open(dir, &n->weights);
    if (r) return r;
    n->length = n->base->info.max_seq < PROBE_TOKENS ? n->base->info.max_seq : PROBE_TOKENS;
    const engine_args e = {.host = host_services(n->host), .backend = n->backend, .backend_self = n->backend_self, .model = n->lora ? lora_model(n->lora) : n->model,
                           .model_self = n->lora ? (void *)n->lora : n->model_self, .params = n->table, .strategy = n->strategy, .strategy_opts = n->strategy_opts,
                           .comm = n->comm, .comm_self = n->comm_self, .slots = PROBES, .slot_len = n->length, .pass_tokens = PROBES * n->length,
                           .pass_rows = PROBES * n->length};
    r = engine_open(&e, &n->engine);
    if (r == CO_OK) r = engine_allocate(n->engine);
    if (r == CO_OK) r = params_load(n->table, n->weights, n->hf, 0, write_param, n->engine, NULL);
    if (r == CO_OK && n->lora) r = adapter_load(n->adapter, n->lora, n->table, write_param, n->engine);
    return r;
}

void net_close(net *n)
{
    engine_close(n->engine);
    if (n->table != n->base) param_table_free(n->table);
    param_table_free(n->base);
    lora_close(n->lora);
    adapter_close(n->adapter);
    st_close(n->weights);
    if (n->model_self) n->model->close(n->model_self);
    mem_free(n->strategy_opts);
    if (n->comm_self) n->comm->close(n->comm_self);
    if (n->backend_self) n->backend->close(n->backend_self);
    hf_config_close(n->hf);
    config_free(n->config);
    host_free(n->host);
    memset(n, 0, sizeof *n);
}

int net_read(void *ctx, uint32_t param, int64_t first, int64_t count, float *out) { return engine_gather(((net *)ctx)->engine, param, first, count, out); }

int net_logits(net *n, float **out, int32_t **ids)
{
    const int32_t tokens = (int32_t)(PROBES * n->length);
    const int64_t vocab = n->base->info.n_vocab;
    int32_t start[PROBES + 1], slot[PROBES], past[PROBES] = {0};
    int32_t *rows = mem_calloc((size_t)tokens, sizeof *rows);
    const float *logits = NULL;
    *ids = mem_calloc((size_t)tokens, sizeof **ids);
    *out = mem_calloc((size_t)tokens * (size_t)vocab, sizeof **out);
    int r = rows && *ids && *out ? CO_OK : CO_E_NOMEM;
    for (int32_t i = 0; i < tokens && r == CO_OK; i++) {
        rows[i] = i;
        (*ids)[i] = (int32_t)rng_below(1, 4711, (uint64_t)i, (uint64_t)(n->probe_vocab ? n->probe_vocab : vocab));
    }
    for (int32_t s = 0; s <= PROBES; s++) start[s] = s * (int32_t)n->length;
    for (int32_t s = 0; s < PROBES; s++) slot[s] = s;
    const engine_pass p = {.n_tokens = tokens, .n_seqs = PROBES, .n_rows = tokens, .ids = *ids, .seq_start = start, .slot = slot, .past_len = past, .rows = rows};
    if (r == CO_OK) r = engine_generate(n->engine, &p, &logits);
    if (r == CO_OK) memcpy(*out, logits, (size_t)tokens * (size_t)vocab * sizeof **out);
    mem_free(rows);
    return r;
}
