/* parts.c: opens the plugins a measurement runs on. */
#include "bench.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/base/rng.h"
#include "core/base/trace.h"
#include "core/train/comm_traced.h"
#include "core/train/ranks.h"
#include <stdio.h>
#include <string.h>

co_dtype parts_dtype(const bench_opts *o)
{
    return strcmp(o->dtype, "bf16") == 0 ? CO_BF16 : strcmp(o->dtype, "fp16") == 0 ? CO_F16 : CO_F32;
}

static int options_of(parts *p, co_kind kind, const char *name, const co_feature **f, void **opts)
{
    int r = host_feature(p->h, kind, name, f);
    if (r) return r;
    *opts = mem_alloc((*f)->opts_size + 1, 16);
    if (!*opts) return CO_E_NOMEM;
    if (!(*f)->opts) return CO_OK;
    return config_bind(p->c, kind_name(kind), (*f)->opts, host_plugin_of(p->h, *f)->magic.opt_stride, name, *opts);
}

/* Beside an async backend the CPU's, for updates in host memory. */
static int open_cpu(parts *p)
{
    const co_feature *f;
    void *o;
    if (!(p->be->flags & CO_BACKEND_ASYNC)) return CO_OK;
    int r = options_of(p, CO_KIND_BACKEND, "cpu", &f, &o);
    if (r == CO_OK) p->cpu = host_backend(p->h, f), r = p->cpu->open(host_services(p->h), o, &p->cpu_self), mem_free(o);
    return r;
}

static int open_comm(parts *p, const bench_opts *opts)
{
    const co_feature *f;
    void *o;
    p->comm_name = strcmp(opts->comm, "auto") == 0 ? ranks_comm_auto(p->h, p->real) : opts->comm;
    int r = options_of(p, CO_KIND_COMM, p->comm_name, &f, &o);
    if (r) return r;
    p->comm = host_comm(p->h, f);
    r = p->comm->open(host_services(p->h), o, p->be, p->be_self, &p->comm_self);
    mem_free(o);
    if (r == CO_OK) r = p->comm->info(p->comm_self, &p->rank, &p->world, &p->local_rank, &p->local_world);
    if (r == CO_OK && opts->trace) r = comm_trace(&p->comm, &p->comm_self);
    if (r == CO_OK && p->rank > 0) log_level_set(CO_LOG_ERROR); /* rank 0 says it for all */
    return r;
}

static int open_plugins(parts *p, const bench_opts *opts)
{
    const co_feature *f;
    const co_host *h = host_services(p->h);
    void *o;
    int r = strcmp(opts->backend, "cpu") == 0 ? config_set(p->c, "backend", "threads", opts->threads) : CO_OK;
    if (r == CO_OK) r = options_of(p, CO_KIND_BACKEND, opts->backend, &f, &o);
    if (r == CO_OK) p->be = p->real = host_backend(p->h, f), r = p->be->open(h, o, &p->be_self), mem_free(o);
    if (r == CO_OK) r = open_cpu(p);
    if (r == CO_OK && opts->profile) p->be = profile_over(p->be);
    if (r == CO_OK) r = open_comm(p, opts);
    if (r == CO_OK) r = options_of(p, CO_KIND_OPTIMIZER, "adamw", &f, &o);
    if (r == CO_OK) p->optim = host_optimizer(p->h, f), r = p->optim->open(h, o, &p->optim_self), mem_free(o);
    if (r == CO_OK) r = options_of(p, CO_KIND_LOSS, "causal_lm", &f, &o);
    if (r == CO_OK) p->loss = host_loss(p->h, f), r = p->loss->open(h, o, &p->loss_self), mem_free(o);
    if (r == CO_OK) r = options_of(p, CO_KIND_STRATEGY, opts->strategy, &f, &p->strategy_opts);
    if (r == CO_OK) p->strategy = opts->no_update ? &resident_vt : host_strategy(p->h, f);
    return r;
}

static int open_model(parts *p, const shape *s, const bench_opts *o)
{
    const co_feature *f = NULL;
    const co_host *h = host_services(p->h);
    void *opts = NULL;
    int r = hf_config_parse(s->config, strlen(s->config), s->name, &p->hf);
    if (r == CO_OK) r = host_model_for(p->h, hf_config_model_type(p->hf), s->name, NULL, NULL, &f);
    if (r) return r;
    r = options_of(p, CO_KIND_MODEL, f->name, &f, &opts);
    if (r == CO_OK) p->model = p->base = host_model(p->h, f), r = p->base->open(h, opts, hf_config_meta(p->hf), &p->base_self);
    mem_free(opts);
    p->model_self = p->base_self;
    if (r == CO_OK && o->lora_rank) {
        const lora_spec spec = {.rank = o->lora_rank, .alpha = 16, .targets = "all-linear"};
        r = lora_open(h, p->base, p->base_self, &spec, &p->adapters);
        if (r == CO_OK) p->model = lora_model(p->adapters), p->model_self = p->adapters;
    }
    if (r == CO_OK) r = param_table_build(p->model, p->model_self, parts_dtype(o), &p->params);
    if (r == CO_OK && p->adapters) r = lora_freeze(p->adapters, p->params);
    if (r == CO_OK && o->accumulation > 1) param_table_sum_fp32(p->params);
    return r;
}

int parts_open(parts *p, const shape *s, const bench_opts *o)
{
    *p = (parts){.h = host_new(NULL), .c = config_new()};
    int r = p->h && p->c ? CO_OK : CO_E_NOMEM;
    for (int i = 0; i < o->n_set && r == CO_OK; i++) r = config_override(p->c, o->set[i]);
    if (r == CO_OK) r = open_plugins(p, o);
    if (r == CO_OK && s) r = open_model(p, s, o);
    return r == CO_OK ? config_finish(p->c) : r; /* what --set names and nobody has */
}

void parts_abort(const parts *p, int status)
{
    if (status == CO_OK || p->world <= 1 || !p->comm_self) return;
    fprintf(stderr, "coati-bench: rank %d: %s\n", p->rank, error_message());
    (void)p->comm->abort(p->comm_self, error_exit_code(status));
}

int parts_gather(const parts *p, double mine, double *all)
{
    void *dev = NULL;
    const size_t bytes = (size_t)p->world * sizeof *all;
    int r = p->real->alloc(p->be_self, CO_MEM_DEVICE, bytes, &dev);
    if (r) return r;
    double *const own = (double *)dev + p->rank;
    r = p->real->copy(p->be_self, own, &mine, sizeof mine, NULL);
    if (r == CO_OK) r = p->comm->all_gather(p->comm_self, own, dev, 1, CO_F64, NULL);
    if (r == CO_OK) r = p->real->copy(p->be_self, all, dev, bytes, NULL);
    if (r == CO_OK) r = p->real->stream_sync(p->be_self, NULL);
    p->real->free(p->be_self, CO_MEM_DEVICE, dev);
    return r;
}

void parts_close(parts *p)
{
    param_table_free(p->params);
    lora_close(p->adapters);
    mem_free(p->strategy_opts);
    if (p->base_self) p->base->close(p->base_self);
    if (p->loss_self) p->loss->close(p->loss_self);
    if (p->optim_self) p->optim->close(p->optim_self);
    if (p->comm_self) p->comm->close(p->comm_self);
    if (p->cpu_self) p->cpu->close(p->cpu_self);
    if (p->be_self) p->real->close(p->be_self);
    hf_config_close(p->hf);
    config_free(p->c);
    host_free(p->h);
}

#define TABLE (1 << 20)
int parts_fill(const parts *p, engine *e)
{
    float *normal = mem_calloc(TABLE, sizeof *normal), *piece = mem_calloc(TABLE, sizeof *piece);
    int r = normal && piece ? CO_OK : CO_E_NOMEM;
    for (int64_t i = 0; i < TABLE && r == CO_OK; i++) normal[i] = (float)rng_normal(1, RNG_INIT, (uint64_t)i);
    for (uint32_t k = 0; k < p->params->n_params && r == CO_OK; k++) {
        const co_param *d = param_decl(p->params, k);
        const int64_t total = param_elements(&p->params->slots[k]);
        if (p->params->slots[k].owner != k) continue;
        for (int64_t i = 0; i < TABLE; i++)
            piece[i] = d->init == CO_INIT_ZERO ? 0.0f : d->init == CO_INIT_ONE ? 1.0f : d->init_std * normal[(i + 7919 * (int64_t)k) % TABLE];
        for (int64_t first = 0; first < total && r == CO_OK; first += TABLE)
            r = engine_write(e, k, 0, first, total - first < TABLE ? total - first : TABLE, piece);
    }
    mem_free(normal);
    mem_free(piece);
    return r;
}
