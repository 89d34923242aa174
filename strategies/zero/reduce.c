/* reduce.c: gradients from where kernels made them to the shard that owns them. Each goes once: a tied parameter's when both its
 * units have contributed. Sums over micro-steps are made in fp32 where they stay. */
#include "zero.h"
#include <string.h>

/* A parameter no unit touched has a gradient of zero, not what stood there before; so has the padding, where other buckets'
 * gradients stood: it is summed and updated with the rest. */
static int clear_untouched(zero *z, zero_bucket *b, char *grad)
{
    const size_t size = co_dtype_bytes(b->grad_dtype);
    int64_t clean = 0; /* up to here */
    int r = CO_OK;
    for (uint32_t k = 0; k <= b->n_members && r == CO_OK; k++) {
        const uint32_t i = k < b->n_members ? z->members[b->first_member + k] : CO_NONE;
        const int64_t to = i == CO_NONE ? b->n : z->at[i];
        if (i != CO_NONE && !z->contributed[i]) continue;
        if (to > clean) r = z->a.backend->fill0(z->a.backend_self, grad + (size_t)clean * size, (size_t)(to - clean) * size, z->a.compute);
        if (i != CO_NONE) clean = to + zero_elements(&z->slots[i]);
    }
    return r;
}

/* One shard through pinned memory to the CPU, which adds it up; the first goes straight to where it stays. */
static int send_to_host(zero *z, zero_bucket *b)
{
    const co_backend_vt *be = z->a.backend;
    void *const dev = z->a.backend_self;
    const size_t bytes = (size_t)b->shard * co_dtype_bytes(b->grad_dtype);
    char *const own = zero_at(z, b, ZERO_HOST_GRADS);
    const uint32_t half = z->n_staged++ & 1;
    int r = CO_OK;
    /* The CPU must be done with what stands there, one step's update or the shard before the last. */
    if (b->ticket) r = zero_worker_wait(z, b->ticket);
    if (r == CO_OK && z->staged_ticket[half]) r = zero_worker_wait(z, z->staged_ticket[half]);
    z->staged_ticket[half] = 0;
    char *const to = b->reduced ? z->base[ZERO_HOST_RECV] + half * (z->bytes[ZERO_HOST_RECV] / 2) : own;
    if (r == CO_OK) r = be->event_record(dev, z->shared, z->link);
    if (r == CO_OK) r = be->event_wait(dev, z->shared, z->out);
    if (r == CO_OK) r = be->copy(dev, to, z->base[ZERO_RECV], bytes, z->out);
    if (r == CO_OK) r = be->event_record(dev, z->staged[half], z->out);
    if (r == CO_OK && b->reduced) z->staged_ticket[half] = zero_worker_post(z, &(zero_job){.what = ZERO_ADD, .bucket = b, .after = z->staged[half], .from = half});
    return r;
}

static void ask_for_squares(zero *z, zero_bucket *b)
{
    b->squared = 1;
    zero_worker_post(z, &(zero_job){.what = ZERO_SQUARES, .bucket = b, .after = z->n_staged ? z->staged[(z->n_staged - 1) & 1] : NULL});
}

int zero_finish(zero *z, zero_bucket *b, int last)
{
    const co_backend_vt *be = z->a.backend;
    const co_comm_vt *comm = z->a.comm;
    void *const dev = z->a.backend_self;
    const co_dtype t = (co_dtype)b->grad_dtype;
    const size_t bytes = (size_t)b->shard * co_dtype_bytes(t);
    const int whole = z->policy->whole_grads;
    char *const grad = zero_at(z, b, whole ? ZERO_GRADS : ZERO_MADE), *const recv = z->base[ZERO_RECV];
    if (b->reduced && !recv)
        return CO_FAIL(z->a.host, CO_E_STATE, "strategy %s: a second micro-step in a step whose gradients are 16 bits wide", z->policy->name);
    int r = clear_untouched(z, b, grad);
    if (r == CO_OK) r = be->event_record(dev, z->made, z->a.compute);
    if (r == CO_OK) r = be->event_wait(dev, z->made, z->link);
    if (r == CO_OK && b->state == ZERO_HOLD_AFTER_BWD) r = zero_move(z, b, ZERO_READY_FOR_REDUCE);
    if (r) return r;
    char *const own = whole ? zero_own(z, b, grad, t) : b->host ? NULL : zero_at(z, b, ZERO_GRADS);
    char *const out = whole || b->host || b->reduced ? recv : own;
    if (out == recv && z->n_staged) r = be->event_wait(dev, z->staged[(z->n_staged - 1) & 1], z->link); /* it has left from there */
    if (r == CO_OK) r = comm->reduce_scatter(z->a.comm_self, grad, out, b->shard, t, z->link);
    if (r == CO_OK && b->host) r = send_to_host(z, b);
    else if (r == CO_OK && whole) r = be->copy(dev, own, recv, bytes, z->link);
    else if (r == CO_OK && b->reduced) r = be->flat_axpy(dev, own, recv, t, 1, b->shard, z->link);
    for (uint32_t k = 0; k < b->n_members; k++) z->contributed[z->members[b->first_member + k]] = 0;
    b->pending = 0;
    b->reduced = 1;
    b->squared = 0;
    if (r == CO_OK && last && b->host) ask_for_squares(z, b);
    if (r == CO_OK && b->state == ZERO_READY_FOR_REDUCE) r = zero_move(z, b, ZERO_HOLD);
    return r;
}

int zero_finish_before(zero *z, int32_t access)
{
    int r = CO_OK;
    for (uint32_t k = 0; k < z->n_buckets && r == CO_OK && !z->policy->whole_grads; k++)
        if (z->buckets[k].pending && z->buckets[k].last_access < access) r = zero_finish(z, &z->buckets[k], 0);
    return r;
}

int zero_grads_ready(void *self, uint32_t unit, int last_micro_step)
{
    zero *z = self;
    int r = CO_OK;
    const uint32_t first = z->unit_bucket_first[unit];
    for (uint32_t j = first; j < z->unit_bucket_first[unit + 1] && r == CO_OK; j++) {
        zero_bucket *b = &z->buckets[z->unit_buckets[j]];
        if (!b->pending || b->last_access != z->access) continue;
        if (last_micro_step || !z->policy->whole_grads) r = zero_finish(z, b, last_micro_step);
        if (r == CO_OK && !z->policy->whole_params && z->now->leaves[z->now->first[z->access] + j - first]) r = zero_move(z, b, ZERO_FREE);
    }
    return r == CO_OK ? z->a.backend->event_record(z->a.backend_self, z->taken[z->n_taken++ & 1], z->link) : r;
}

/* Before the update: whatever is still pending, and zeros for what nobody touched since the last step. */
int zero_clear_unreduced(zero *z)
{
    int r = CO_OK;
    for (uint32_t k = 0; k < z->n_buckets && r == CO_OK; k++) {
        zero_bucket *b = &z->buckets[k];
        if (!b->trainable) continue;
        const size_t bytes = (size_t)b->shard * co_dtype_bytes(b->grad_dtype);
        char *const grad = zero_at(z, b, b->host ? ZERO_HOST_GRADS : ZERO_GRADS);
        if (b->pending) r = zero_finish(z, b, 1);
        else if (!b->reduced && b->host && b->ticket) r = zero_worker_wait(z, b->ticket);
        if (r == CO_OK && !b->reduced && b->host) memset(grad, 0, bytes);
        else if (r == CO_OK && !b->reduced)
            r = z->a.backend->fill0(z->a.backend_self, z->policy->whole_grads ? zero_own(z, b, grad, b->grad_dtype) : grad, bytes, z->link);
        if (r == CO_OK && b->host && !b->squared) ask_for_squares(z, b);
    }
    return r;
}
