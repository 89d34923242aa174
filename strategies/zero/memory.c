/* memory.c: takes what layout.c has counted. */
#include "zero.h"

static co_mem kind(const zero *z, zero_region r)
{
    if (r < ZERO_HOST) return CO_MEM_DEVICE;
    return z->o.pin_memory || r == ZERO_SEEN ? CO_MEM_PINNED : CO_MEM_HOST;
}

static void set_views(zero *z)
{
    for (uint32_t k = 0; k < z->n_buckets && z->policy->whole_params; k++) z->buckets[k].here = zero_at(z, &z->buckets[k], ZERO_PARAMS);
    for (uint32_t i = 0; i < z->a.n_params; i++) {
        z->param_views[i] = z->grad_views[i] = z->slots[i].shape;
        z->grad_views[i].dtype = (uint8_t)z->slots[i].grad_dtype;
    }
    if (!z->base[ZERO_SEEN]) return;
    char *at = z->base[ZERO_SEEN];
    z->seen = (co_step_state *)(void *)at;
    at += zero_align(sizeof *z->seen);
    if (!z->any_host && !zero_scaled(z)) return;
    z->host_sums = (double *)(void *)at;
    at += zero_align(z->n_sums * sizeof(double));
    if (zero_scaled(z)) z->sums_seen = (double *)(void *)at;
}

int zero_allocate(zero *z)
{
    const co_backend_vt *be = z->a.backend;
    void *const dev = z->a.backend_self;
    co_event *const events[] = {&z->made, &z->passed[0], &z->passed[1], &z->taken[0], &z->taken[1],
                                &z->shared, &z->staged[0], &z->staged[1], &z->judged, &z->updated};
    int r = CO_OK;
    for (int i = 0; i < ZERO_REGIONS && r == CO_OK; i++) {
        void *p = NULL;
        if (z->bytes[i]) r = be->alloc(dev, kind(z, i), z->bytes[i], &p);
        z->base[i] = p;
    }
    z->link = z->a.compute;
    if (r == CO_OK && z->o.overlap) r = be->stream_new(dev, &z->link);
    z->out = z->link;
    if (r == CO_OK && z->o.overlap && z->any_host) r = be->stream_new(dev, &z->out);
    for (size_t i = 0; i < sizeof events / sizeof *events && r == CO_OK; i++) r = be->event_new(dev, events[i]);
    for (uint32_t k = 0; k < z->n_buckets && r == CO_OK; k++) r = be->event_new(dev, &z->buckets[k].ready);
    if (r == CO_OK) set_views(z);
    return r == CO_OK && z->any_host ? zero_worker_open(z) : r;
}

void zero_free(zero *z)
{
    const co_backend_vt *be = z->a.backend;
    void *const dev = z->a.backend_self;
    const co_event events[] = {z->made, z->passed[0], z->passed[1], z->taken[0], z->taken[1], z->shared, z->staged[0], z->staged[1], z->judged, z->updated};
    zero_worker_close(z);
    if (z->out != z->link) (void)be->stream_sync(dev, z->out);
    if (z->link != z->a.compute) (void)be->stream_sync(dev, z->link);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        if (events[i]) be->event_free(dev, events[i]);
    for (uint32_t k = 0; k < z->n_buckets; k++)
        if (z->buckets[k].ready) be->event_free(dev, z->buckets[k].ready);
    for (int i = 0; i < ZERO_REGIONS; i++)
        if (z->base[i]) be->free(dev, kind(z, i), z->base[i]);
    if (z->out != z->link) be->stream_free(dev, z->out);
    if (z->link != z->a.compute) be->stream_free(dev, z->link);
}

int zero_bytes(void *self, co_strategy_bytes *out)
{
    const zero *z = self;
    const size_t *b = z->bytes;
    out->params = b[ZERO_PARAMS] + b[ZERO_HOST_PARAMS];
    out->grads = b[ZERO_GRADS] + b[ZERO_HOST_GRADS];
    out->master = b[ZERO_MASTER] + b[ZERO_HOST_MASTER];
    out->optimizer = b[ZERO_STATES] + b[ZERO_HOST_STATES];
    out->other = 0;
    for (int i = 0; i < ZERO_REGIONS; i++) out->other += b[i];
    out->other -= out->params + out->grads + out->master + out->optimizer;
    if (out->struct_size < offsetof(co_strategy_bytes, host) + sizeof out->host) return CO_OK;
    out->host = 0;
    for (int i = ZERO_HOST; i < ZERO_REGIONS; i++) out->host += b[i];
    return CO_OK;
}
