/* update.c: the step. Each rank sums the squares of its own shards; all sums go to all ranks, which add them in the same order
 * and so come to the same norm, factor and decision; each updates its own shards. */
#include "zero.h"
#include <stdint.h>
#include <string.h>

static double *sums_of(const zero *z, int32_t rank) { return (double *)(void *)z->base[ZERO_SUMS] + (size_t)rank * z->n_sums; }

static char *own_grad(const zero *z, const zero_bucket *b)
{
    char *const g = zero_at(z, b, ZERO_GRADS);
    return z->policy->whole_grads ? zero_own(z, b, g, b->grad_dtype) : g;
}

static int bucket_squares(zero *z, const zero_bucket *b, double *sums)
{
    const co_backend_vt *be = z->a.backend;
    const char *const grad = own_grad(z, b);
    const co_dtype t = (co_dtype)b->grad_dtype;
    int r = CO_OK;
    if (!zero_scaled(z)) return zero_measure(z, be, z->a.backend_self, grad, t, b->shard, sums, z->a.compute);
    for (uint32_t k = 0; k < b->n_members && r == CO_OK; k++) {
        const zero_part p = zero_own_part(z, z->members[b->first_member + k], z->rank);
        if (p.n) r = zero_measure(z, be, z->a.backend_self, grad + (size_t)p.at * co_dtype_bytes(t), t, p.n, &sums[k], z->a.compute);
        else r = be->fill0(z->a.backend_self, &sums[k], sizeof *sums, z->a.compute);
    }
    return r;
}

/* The last sum is 0, or NaN if this rank's loss is not finite: all ranks skip together. */
static int sum_squares(zero *z)
{
    const co_backend_vt *be = z->a.backend;
    void *const dev = z->a.backend_self;
    double *const own = sums_of(z, z->rank), *const loss = own + z->n_sums - 1;
    int r = be->fill0(dev, loss, sizeof *loss, z->a.compute);
    if (r == CO_OK && z->a.rule->loss) r = be->flat_axpy(dev, loss, z->a.rule->loss, CO_F64, 0, 1, z->a.compute);
    for (uint32_t k = 0; k < z->n_buckets && r == CO_OK; k++) {
        const zero_bucket *b = &z->buckets[k];
        if (!b->trainable) continue;
        if (b->host) r = be->copy(dev, own + b->sum, z->host_sums + b->sum, (zero_scaled(z) ? b->n_members : 1) * sizeof *own, z->a.compute);
        else r = bucket_squares(z, b, own + b->sum);
    }
    return r == CO_OK ? z->a.comm->all_gather(z->a.comm_self, own, sums_of(z, 0), z->n_sums, CO_F64, z->a.compute) : r;
}

static int judge(zero *z, int64_t step, double max_norm)
{
    const co_backend_vt *be = z->a.backend;
    co_step_rule rule = *z->a.rule;
    rule.max_norm = (float)max_norm;
    rule.loss = NULL; /* is among the sums */
    int r = sum_squares(z);
    if (r == CO_OK) r = be->step_factor(z->a.backend_self, &rule, sums_of(z, 0), (int64_t)z->n_sums * z->world, z->a.state, z->a.compute);
    if (r == CO_OK && z->sums_seen)
        r = be->copy(z->a.backend_self, (char *)z->sums_seen + (size_t)(step & 1) * z->bytes[ZERO_SUMS], sums_of(z, 0),
                     (size_t)z->n_sums * (size_t)z->world * sizeof(double), z->a.compute);
    return r;
}

static int update_here(zero *z, zero_bucket *b, int64_t step, double lr)
{
    char *const params = zero_at(z, b, ZERO_PARAMS), *const own = z->policy->whole_params ? zero_own(z, b, params, b->dtype) : params;
    float *const master = (float *)(void *)zero_at(z, b, ZERO_MASTER);
    co_optim_slice s = {.struct_size = sizeof s, .flags = b->flags, .n = b->shard, .step = step,
                        .master = master ? master : (float *)(void *)own, .grad = own_grad(z, b), .grad_dtype = b->grad_dtype,
                        .out = master ? own : NULL, .out_dtype = b->dtype, .lr = (float)lr, .grad_scale = 1,
                        .dev_scale = &z->a.state->factor, .dev_skip = &z->a.state->skip, .dev_step = zero_scaled(z) ? &z->a.state->updates : NULL};
    for (int32_t k = 0; k < z->n_state; k++) s.state[k] = zero_state(z, b, k);
    return z->a.optim->update(z->a.optim_self, z->a.backend, z->a.backend_self, &s, z->a.compute);
}

/* Whole copies: own shards, updated, to all ranks. */
static int share(zero *z, zero_bucket *b)
{
    int r = z->a.comm->all_gather(z->a.comm_self, zero_own(z, b, b->here, b->dtype), b->here, b->shard, (co_dtype)b->dtype, z->link);
    return r == CO_OK ? z->a.backend->event_record(z->a.backend_self, b->ready, z->link) : r;
}

int zero_publish(zero *z, zero_bucket *b)
{
    const char *home = zero_at(z, b, b->in[ZERO_HOST_PARAMS] ? ZERO_HOST_PARAMS : ZERO_HOST_MASTER);
    int r = zero_worker_wait(z, b->ticket);
    if (r == CO_OK)
        r = z->a.backend->copy(z->a.backend_self, zero_own(z, b, b->here, b->dtype), home, (size_t)b->shard * co_dtype_bytes(b->dtype), z->link);
    b->stale = 0;
    b->ticket = 0;
    return r == CO_OK ? share(z, b) : r;
}

/* The CPU goes by what the host sees of the state: this much waiting a step on the CPU costs. What the device updates goes on
 * meanwhile. */
static int post_updates(zero *z, int64_t step, double lr)
{
    int r = z->a.backend->event_sync(z->a.backend_self, z->judged);
    for (uint32_t k = 0; k < z->n_buckets && r == CO_OK; k++) { /* in the order the next forward asks for them */
        zero_bucket *b = &z->buckets[k];
        if (!b->trainable || !b->host) continue;
        b->ticket = zero_worker_post(z, &(zero_job){.what = ZERO_UPDATE, .bucket = b, .step = step, .lr = (float)lr});
        b->stale = 1;
    }
    return r;
}

int zero_step(void *self, int64_t step, double lr, double max_norm)
{
    zero *z = self;
    const co_backend_vt *be = z->a.backend;
    void *const dev = z->a.backend_self;
    int r = zero_clear_unreduced(z);
    if (r == CO_OK && z->any_host) r = zero_worker_wait(z, INT64_MAX);
    if (r == CO_OK) r = be->event_record(dev, z->updated, z->link); /* all reductions */
    if (r == CO_OK) r = be->event_wait(dev, z->updated, z->a.compute);
    if (r == CO_OK) r = judge(z, step, max_norm);
    if (r == CO_OK && z->any_host) r = be->copy(dev, z->seen, z->a.state, sizeof *z->seen, z->a.compute);
    if (r == CO_OK && z->any_host) r = be->event_record(dev, z->judged, z->a.compute);
    for (uint32_t k = 0; k < z->n_buckets && r == CO_OK; k++)
        if (z->buckets[k].trainable && !z->buckets[k].host) r = update_here(z, &z->buckets[k], step, lr);
    if (r == CO_OK) r = be->event_record(dev, z->updated, z->a.compute);
    if (r == CO_OK) r = be->event_wait(dev, z->updated, z->link);
    if (r == CO_OK && z->any_host) r = post_updates(z, step, lr);
    for (uint32_t k = 0; k < z->n_buckets && r == CO_OK; k++) {
        zero_bucket *b = &z->buckets[k];
        if (!b->trainable) continue;
        b->reduced = b->squared = 0;
        if (z->policy->whole_params) r = b->host ? CO_OK : share(z, b);
        else if (b->state != ZERO_FREE) r = zero_move(z, b, ZERO_FREE); /* gathered before the update */
    }
    memset(z->contributed, 0, z->a.n_params);
    return r;
}

/* The sums are every rank's parts of each parameter; the backward goes from the last unit to the first. */
int zero_stats(void *self, int64_t step, co_step_stats *out)
{
    const zero *z = self;
    const double *sums = (const double *)(const void *)((const char *)z->sums_seen + (size_t)(step & 1) * z->bytes[ZERO_SUMS]);
    int64_t last = -1;
    out->overflowed = NULL;
    for (uint32_t k = 0; z->sums_seen && k < z->n_buckets; k++) {
        const zero_bucket *b = &z->buckets[k];
        for (uint32_t m = 0; m < b->n_members && b->trainable; m++)
            for (int32_t rank = 0; rank < z->world; rank++) {
                const double sum = sums[(size_t)rank * z->n_sums + b->sum + m];
                const uint32_t slot = z->members[b->first_member + m];
                if (sum - sum != 0 && (int64_t)slot > last) out->overflowed = z->slots[slot].name, last = slot;
            }
    }
    return CO_OK;
}
