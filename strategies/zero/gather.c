/* gather.c: compute copies where and when units need them. Whole ones stand still; others are gathered by unit on the link
 * stream, one access ahead, into places that residency.c has chosen. */
#include "zero.h"

static zero_schedule *find(zero *z, uint32_t id)
{
    for (uint32_t i = 0; i < z->n_schedules; i++)
        if (z->schedules[i].id == id) return &z->schedules[i];
    return NULL;
}

/* From where its shards live to dst, on every rank. */
static int fetch(zero *z, zero_bucket *b, char *dst)
{
    const co_backend_vt *be = z->a.backend;
    char *const home = zero_at(z, b, ZERO_PARAMS);
    if (zero_at_hand(z, b)) dst = home;
    char *const own = zero_own(z, b, dst, b->dtype);
    int r = b->ticket ? zero_worker_wait(z, b->ticket) : CO_OK;
    b->ticket = 0;
    if (r == CO_OK && !home) {
        const char *from = zero_at(z, b, b->in[ZERO_HOST_PARAMS] ? ZERO_HOST_PARAMS : ZERO_HOST_MASTER);
        r = be->copy(z->a.backend_self, own, from, (size_t)b->shard * co_dtype_bytes(b->dtype), z->link);
    }
    if (r == CO_OK) r = z->a.comm->all_gather(z->a.comm_self, home ? home : own, dst, b->shard, (co_dtype)b->dtype, z->link);
    if (r == CO_OK) r = be->event_record(z->a.backend_self, b->ready, z->link);
    b->here = dst;
    b->stale = 0;
    return r;
}

static int fetch_all(zero *z, int32_t access)
{
    const zero_schedule *s = z->now;
    const uint32_t u = s->a[access].unit, n = z->unit_bucket_first[u + 1] - z->unit_bucket_first[u];
    int r = CO_OK;
    for (uint32_t j = 0; j < n && r == CO_OK; j++) {
        zero_bucket *b = &z->buckets[z->unit_buckets[z->unit_bucket_first[u] + j]];
        if (b->state != ZERO_FREE) continue;
        r = zero_move(z, b, ZERO_HOLD);
        if (r == CO_OK) r = fetch(z, b, z->base[ZERO_GATHERED] + s->where[s->first[access] + j]);
    }
    return r;
}

static void forget_all(zero *z)
{
    for (uint32_t k = 0; k < z->n_buckets && !z->policy->whole_params; k++) {
        z->buckets[k].state = ZERO_FREE;
        z->buckets[k].here = NULL;
    }
}

/* Before anything runs, owners' shards of whole copies go to all ranks: each may have been given its own alone. */
static int publish_all(zero *z)
{
    const co_backend_vt *be = z->a.backend;
    int r = CO_OK;
    for (uint32_t k = 0; k < z->n_buckets && r == CO_OK; k++) {
        zero_bucket *b = &z->buckets[k];
        r = z->a.comm->all_gather(z->a.comm_self, zero_own(z, b, b->here, b->dtype), b->here, b->shard, (co_dtype)b->dtype, z->link);
        if (r == CO_OK) r = be->event_record(z->a.backend_self, b->ready, z->link);
    }
    return r;
}

/* Places follow from the memory each rank saw; ranks that chose others would wait for each other for ever. */
static int agree(zero *z)
{
    const co_backend_vt *be = z->a.backend;
    void *const dev = z->a.backend_self;
    double *const piece = (double *)(void *)z->base[ZERO_PIECE], mine = (double)z->bytes[ZERO_GATHERED], other = 0;
    for (uint32_t k = 0; k < z->n_buckets; k++) mine += z->buckets[k].host * (k + 1.0);
    int r = be->copy(dev, piece + z->rank, &mine, sizeof mine, z->a.compute);
    if (r == CO_OK) r = z->a.comm->all_gather(z->a.comm_self, piece + z->rank, piece, 1, CO_F64, z->a.compute);
    for (int k = 0; k < z->world && r == CO_OK; k++) {
        r = be->copy(dev, &other, piece + k, sizeof other, z->a.compute);
        if (r == CO_OK && other != mine)
            r = CO_FAIL(z->a.host, CO_E_CONFIG, "strategy %s: ranks %d and %d chose other places, as they saw other amounts of free memory: set [strategy] device_memory",
                        z->policy->name, z->rank, k);
    }
    return r;
}

int zero_begin(void *self, uint32_t schedule, int hold)
{
    zero *z = self;
    zero_schedule *s = find(z, schedule);
    if (!s) return CO_FAIL(z->a.host, CO_E_INVALID, "strategy %s: schedule %u was not given at the start", z->policy->name, schedule);
    if (hold && !z->policy->whole_params && !s->permanent)
        return CO_FAIL(z->a.host, CO_E_NOMEM, "strategy %s cannot hold all units at once in %zu bytes", z->policy->name, z->bytes[ZERO_GATHERED]);
    /* Writes went by the compute stream. */
    int r = z->a.backend->event_record(z->a.backend_self, z->updated, z->a.compute);
    if (r == CO_OK) r = z->a.backend->event_wait(z->a.backend_self, z->updated, z->link);
    if (s != z->now || !z->ended) forget_all(z);
    z->now = s;
    z->access = -1;
    z->ended = 0;
    if (r == CO_OK && !z->begun && z->policy->whole_params && z->world > 1) r = publish_all(z);
    if (r == CO_OK && !z->begun && z->policy->chunks && z->world > 1) r = agree(z);
    z->begun = 1;
    return r;
}

int zero_end(void *self)
{
    zero *z = self;
    z->ended = 1;
    return CO_OK;
}

/* The next access of that unit and phase. Units may be left out, as long as the order is kept. */
static int advance(zero *z, uint32_t unit, co_phase ph)
{
    const zero_schedule *s = z->now;
    for (int32_t i = z->access + 1; s && unit < z->a.n_units && i < (int32_t)s->n; i++) {
        if (s->a[i].unit != unit || s->a[i].phase != (uint32_t)ph) continue;
        const int skipped = i != z->access + 1;
        z->access = i;
        return skipped;
    }
    return CO_FAIL(z->a.host, CO_E_STATE, "strategy %s: unit %u was acquired out of the schedule's order", z->policy->name, unit);
}

static void show(zero *z, uint32_t unit, int backward)
{
    for (uint32_t i = z->unit_first[unit]; i < z->unit_first[unit + 1]; i++) {
        const zero_bucket *b = &z->buckets[z->bucket_of[i]];
        const uint32_t o = z->slots[i].owner;
        z->param_views[i].data = b->here + (size_t)z->at[o] * co_dtype_bytes(b->dtype);
        char *const grad = !backward || !b->trainable ? NULL : zero_at(z, b, z->policy->whole_grads ? ZERO_GRADS : ZERO_MADE);
        z->grad_views[i].data = grad ? grad + (size_t)z->at[o] * co_dtype_bytes(b->grad_dtype) : NULL;
        z->accumulate[i] = z->contributed[o];
    }
}

int zero_acquire(void *self, uint32_t unit, co_phase ph, const co_tensor **params, co_tensor **grads, const uint8_t **accumulate)
{
    zero *z = self;
    const co_backend_vt *be = z->a.backend;
    void *const dev = z->a.backend_self;
    const int skipped = advance(z, unit, ph), backward = ph == CO_PHASE_BACKWARD, whole = z->policy->whole_params;
    int r = skipped < 0 ? skipped : CO_OK;
    if (r == CO_OK && backward) r = zero_finish_before(z, z->access);
    /* Places of gradients are reused two accesses later: the older of both marks. The first of a backward finds its place as the last one's
     * reductions left it. */
    if (r == CO_OK && backward) r = be->event_wait(dev, z->taken[z->n_taken & 1], z->a.compute);
    if (r == CO_OK && backward && (skipped || z->access == 0 || z->now->a[z->access - 1].phase != CO_PHASE_BACKWARD))
        r = be->event_wait(dev, z->taken[(z->n_taken + 1) & 1], z->a.compute);
    for (int i = 0; i < 2 && r == CO_OK && !whole; i++) r = be->event_wait(dev, z->passed[i], z->link);
    if (r == CO_OK && !whole) r = fetch_all(z, z->access);
    for (uint32_t j = z->unit_bucket_first[unit]; j < z->unit_bucket_first[unit + 1] && r == CO_OK; j++) {
        zero_bucket *b = &z->buckets[z->unit_buckets[j]];
        if (whole && b->stale) r = zero_publish(z, b);
        if (r == CO_OK) r = be->event_wait(dev, b->ready, z->a.compute);
        if (r == CO_OK && !whole) r = zero_move(z, b, ZERO_COMPUTE);
    }
    if (r) return r;
    show(z, unit, backward);
    *params = z->param_views + z->unit_first[unit];
    *grads = backward ? z->grad_views + z->unit_first[unit] : NULL;
    *accumulate = backward ? z->accumulate + z->unit_first[unit] : NULL;
    return CO_OK;
}

/* The next unit's buckets come while this one runs: their places were left by the unit before at the latest. */
static int prefetch(zero *z)
{
    int r = CO_OK;
    if (!z->o.overlap || z->access + 1 >= (int32_t)z->now->n) return CO_OK;
    if (z->n_passed) r = z->a.backend->event_wait(z->a.backend_self, z->passed[(z->n_passed - 1) & 1], z->link);
    return r == CO_OK ? fetch_all(z, z->access + 1) : r;
}

int zero_release(void *self, uint32_t unit, co_phase ph)
{
    zero *z = self;
    const int backward = ph == CO_PHASE_BACKWARD, whole = z->policy->whole_params;
    int r = CO_OK;
    if (!z->now || z->access < 0 || z->now->a[z->access].unit != unit)
        return CO_FAIL(z->a.host, CO_E_STATE, "strategy %s: unit %u was released and not acquired", z->policy->name, unit);
    for (uint32_t i = z->unit_first[unit]; i < z->unit_first[unit + 1] && backward; i++) {
        zero_bucket *b = &z->buckets[z->bucket_of[i]];
        z->contributed[z->slots[i].owner] = (uint8_t)b->trainable;
        b->pending |= (uint8_t)b->trainable;
    }
    const uint32_t first = z->now->first ? z->now->first[z->access] : 0, from = z->unit_bucket_first[unit];
    for (uint32_t j = from; j < z->unit_bucket_first[unit + 1] && r == CO_OK && !whole; j++) {
        zero_bucket *b = &z->buckets[z->unit_buckets[j]];
        r = zero_move(z, b, backward && b->trainable ? ZERO_HOLD_AFTER_BWD : ZERO_HOLD);
        /* What is about to be reduced leaves after that. */
        if (r == CO_OK && z->now->leaves[first + j - from] && !(b->state == ZERO_HOLD_AFTER_BWD && b->last_access == z->access))
            r = zero_move(z, b, ZERO_FREE);
    }
    if (r == CO_OK && !whole) r = prefetch(z);
    return r == CO_OK ? z->a.backend->event_record(z->a.backend_self, z->passed[z->n_passed++ & 1], z->a.compute) : r;
}
