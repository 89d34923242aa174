#include "models/fixture.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/config/config.h"
#include "core/params/load.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static config *kept[64]; /* option strings live as long as their config */
static int n_kept;

int fixture_options(fixture *f, const co_feature *feature, void **out, ...)
{
    config *c = config_new();
    void *opts = mem_alloc(feature->opts_size ? feature->opts_size : 1, 16);
    va_list ap;
    if (!c || !opts) return CO_E_NOMEM;
    va_start(ap, out);
    for (const char *key = va_arg(ap, const char *); key; key = va_arg(ap, const char *))
        (void)config_set(c, "x", key, va_arg(ap, const char *));
    va_end(ap);
    int r = CO_OK;
    if (feature->opts)
        r = config_bind(c, "x", feature->opts, host_plugin_of(f->host, feature)->magic.opt_stride, feature->name, opts);
    if (n_kept < 64) kept[n_kept++] = c;
    *out = opts;
    return r;
}

static int strategy_options(fixture *f, const co_feature *feature, const char *const *pairs)
{
    config *c = config_new();
    f->strategy_opts = mem_alloc(feature->opts_size ? feature->opts_size : 1, 16);
    if (!c || !f->strategy_opts) return CO_E_NOMEM;
    for (; pairs && *pairs; pairs += 2) (void)config_set(c, "strategy", pairs[0], pairs[1]);
    const int r = feature->opts ? config_bind(c, "strategy", feature->opts, host_plugin_of(f->host, feature)->magic.opt_stride, feature->name, f->strategy_opts) : CO_OK;
    config_free(c);
    return r;
}

static int write_param(void *ctx, uint32_t param, int64_t first, int64_t n, const float *values)
{
    return engine_write(ctx, param, 0, first, n, values);
}

int fixture_reload(fixture *f)
{
    int r = !f->weights ? params_init(f->table, 1, write_param, f->engine) : params_load(f->table, f->weights, f->config, 0, write_param, f->engine, NULL);
    return r == CO_OK && f->lora ? adapter_load(f->adapter, f->lora, f->table, write_param, f->engine) : r;
}

/* The model's table, or that of the model with its adapter. */
static int open_table(const fixture_args *a, fixture *f)
{
    int r = param_table_build(f->model, f->model_self, a->dtype, &f->table);
    if (r || !a->adapter) return r;
    if ((r = adapter_open(a->adapter, &f->adapter))) return r;
    if ((r = adapter_check(f->adapter, f->table, a->dir))) return r;
    param_table_free(f->table);
    f->table = NULL;
    lora_spec spec = *adapter_spec(f->adapter);
    spec.dropout = a->lora_dropout;
    if ((r = lora_open(host_services(f->host), f->model, f->model_self, &spec, &f->lora))) return r;
    if ((r = param_table_build(lora_model(f->lora), f->lora, a->dtype, &f->table))) return r;
    return lora_freeze(f->lora, f->table);
}

static int open_all(const fixture_args *a, fixture *f)
{
    const co_feature *feature = NULL;
    void *opts = NULL;
    const co_host *h;
    int r;
    f->host = host_new(NULL);
    if (!f->host) return CO_E_NOMEM;
    h = host_services(f->host);
#define OPEN(kind, member, getter, name, ...)                                                                            \
    r = host_feature(f->host, kind, name, &feature);                                                           \
    if (r) return r;                                                                                           \
    f->member = getter(f->host, feature);                                                                        \
    r = fixture_options(f, feature, &opts, __VA_ARGS__);                                                       \
    if (r) return r
    const char *backend = getenv("COATI_TEST_BACKEND");
    OPEN(CO_KIND_BACKEND, backend, host_backend, backend ? backend : "cpu", (char *)NULL);
    if ((r = f->backend->open(h, opts, &f->backend_self))) return r;
    if (a->wrap) a->wrap(&f->backend, &f->backend_self);
    mem_free(opts);
    if (f->backend->flags & CO_BACKEND_ASYNC) {
        OPEN(CO_KIND_BACKEND, cpu, host_backend, "cpu", (char *)NULL);
        r = f->cpu->open(h, opts, &f->cpu_self);
        mem_free(opts);
        if (r) return r;
    }
    if (!a->comm) {
        OPEN(CO_KIND_COMM, comm, host_comm, "self", (char *)NULL);
        r = f->comm->open(h, opts, f->backend, f->backend_self, &f->comm_self);
        mem_free(opts);
        if (r) return r;
    }
    OPEN(CO_KIND_OPTIMIZER, optim, host_optimizer, "adamw", "weight_decay", a->weight_decay ? a->weight_decay : "0", (char *)NULL);
    r = f->optim->open(h, opts, &f->optim_self);
    mem_free(opts);
    if (r) return r;
    OPEN(CO_KIND_LOSS, loss, host_loss, "causal_lm", (char *)NULL);
    r = f->loss->open(h, opts, &f->loss_self);
    mem_free(opts);
    if (r) return r;
    if ((r = host_feature(f->host, CO_KIND_STRATEGY, a->strategy ? a->strategy : "naive", &feature))) return r;
    f->strategy = host_strategy(f->host, feature);
    if ((r = strategy_options(f, feature, a->strategy_options))) return r;
    if ((r = hf_config_open(a->dir, &f->config))) return r;
    if ((r = host_model_for(f->host, hf_config_model_type(f->config), hf_config_path(f->config), NULL, NULL, &feature))) return r;
    OPEN(CO_KIND_MODEL, model, host_model, feature->name, (char *)NULL);
    r = f->model->open(h, opts, hf_config_meta(f->config), &f->model_self);
    mem_free(opts);
    if (r) return r;
    if (!a->random && (r = st_open_dir(a->dir, &f->weights))) return r;
    if ((r = open_table(a, f))) return r;
    if (a->sum_fp32) param_table_sum_fp32(f->table);
    if (a->hold_stored && f->backend->flags & CO_BACKEND_STORED) params_hold_stored(f->table, f->weights, a->max_tokens == 0);
    static const engine_column columns[] = {{"labels", CO_I32, CO_ROWS_TOKENS}, {"mask", CO_F32, CO_ROWS_TOKENS}};
    const engine_args e = {
        .host = h, .backend = f->backend, .backend_self = f->backend_self, .cpu = f->cpu, .cpu_self = f->cpu_self, .model = f->lora ? lora_model(f->lora) : f->model,
        .model_self = f->lora ? (void *)f->lora : f->model_self, .params = f->table, .strategy = f->strategy, .strategy_opts = f->strategy_opts,
        .comm = a->comm ? a->comm : f->comm, .comm_self = a->comm ? a->comm_self : f->comm_self, .optim = f->optim, .optim_self = f->optim_self, .loss = f->loss,
        .loss_self = f->loss_self, .columns = columns, .n_columns = 2, .max_tokens = a->max_tokens,
        .max_seqs = a->max_seqs, .slots = a->slots, .slot_len = a->slot_len, .pass_tokens = a->pass_tokens,
        .pass_rows = a->pass_rows, .checkpoint_blocks = a->checkpoint_blocks, .offload_activations = a->offload_activations, .dropout = a->dropout, .no_graphs = a->no_graphs, .norm_type = a->norm_type,
    };
    if ((r = engine_open(&e, &f->engine)) || a->plan_only) return r;
    if ((r = engine_allocate(f->engine))) return r;
    return fixture_reload(f);
}

int fixture_open(const fixture_args *a, fixture *f)
{
    memset(f, 0, sizeof *f);
    int r = open_all(a, f);
    if (r) fprintf(stderr, "%s: %s (%s)\n", a->dir, error_message(), error_where());
    return r;
}

void fixture_close(fixture *f)
{
    engine_close(f->engine);
    param_table_free(f->table);
    st_close(f->weights);
    lora_close(f->lora);
    adapter_close(f->adapter);
    if (f->model_self) f->model->close(f->model_self);
    hf_config_close(f->config);
    mem_free(f->strategy_opts);
    if (f->loss_self) f->loss->close(f->loss_self);
    if (f->optim_self) f->optim->close(f->optim_self);
    if (f->comm_self) f->comm->close(f->comm_self);
    if (f->cpu_self) f->cpu->close(f->cpu_self);
    if (f->backend_self) f->backend->close(f->backend_self);
    host_free(f->host);
    while (n_kept) config_free(kept[--n_kept]);
    memset(f, 0, sizeof *f);
}
