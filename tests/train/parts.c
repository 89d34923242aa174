#include "train/parts.h"
#include "check.h"
#include "core/base/error.h"
#include "core/base/memory.h"

/* The counting backend is the real one with alloc and free replaced: its `self` stays the real one's. */
static const co_backend_vt *real;
static co_backend_vt counting;
static struct { void *at; size_t bytes; } taken[64];

static int count_alloc(void *self, co_mem kind, size_t bytes, void **out)
{
    int r = real->alloc(self, kind, bytes, out);
    for (size_t i = 0; r == CO_OK && i < sizeof taken / sizeof *taken; i++)
        if (!taken[i].at) return taken[i].at = *out, taken[i].bytes = bytes, CO_OK;
    return r;
}
static void count_free(void *self, co_mem kind, void *p)
{
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (taken[i].at == p) taken[i].at = NULL, taken[i].bytes = 0;
    real->free(self, kind, p);
}
size_t parts_taken(void)
{
    size_t n = 0;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) n += taken[i].bytes;
    return n;
}

static void must(int r, const char *what)
{
    if (r == CO_OK) return;
    fprintf(stderr, "%s: %s\n", what, error_message());
    exit(1);
}

static const co_feature *feature(parts *p, co_kind kind, const char *name, void **opts)
{
    const co_feature *f = NULL;
    must(host_feature(p->host, kind, name, &f), name);
    *opts = mem_alloc(f->opts_size + 1, 16);
    if (f->opts) must(config_bind(p->config, kind_name(kind), f->opts, host_plugin_of(p->host, f)->magic.opt_stride, name, *opts), name);
    return f;
}

void parts_open(parts *p, const char *backend, const char *const *pairs)
{
    void *opts;
    memset(p, 0, sizeof *p);
    p->host = host_new(NULL);
    p->config = config_new();
    for (; pairs && *pairs; pairs += 2) must(config_set(p->config, "optimizer", pairs[0], pairs[1]), pairs[0]);
    real = host_backend(p->host, feature(p, CO_KIND_BACKEND, backend, &opts));
    counting = *real;
    counting.alloc = count_alloc;
    counting.free = count_free;
    p->backend = &counting;
    must(real->open(host_services(p->host), opts, &p->backend_self), backend);
    mem_free(opts);
    p->comm = host_comm(p->host, feature(p, CO_KIND_COMM, "self", &opts));
    must(p->comm->open(host_services(p->host), opts, p->backend, p->backend_self, &p->comm_self), "self");
    mem_free(opts);
    p->optim = host_optimizer(p->host, feature(p, CO_KIND_OPTIMIZER, "adamw", &opts));
    must(p->optim->open(host_services(p->host), opts, &p->optim_self), "adamw");
    mem_free(opts);
    p->strategy = host_strategy(p->host, feature(p, CO_KIND_STRATEGY, "naive", &p->strategy_opts));
}

void parts_strategy(parts *p, const char *name)
{
    mem_free(p->strategy_opts);
    config_set(p->config, "strategy", "placement", "cpu");
    p->strategy = host_strategy(p->host, feature(p, CO_KIND_STRATEGY, name, &p->strategy_opts));
}

void parts_close(parts *p)
{
    p->optim->close(p->optim_self);
    p->comm->close(p->comm_self);
    p->backend->close(p->backend_self);
    mem_free(p->strategy_opts);
    config_free(p->config);
    host_free(p->host);
}
