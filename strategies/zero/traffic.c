/* traffic.c: what one step moves, by the layout and the schedules alone: the same walk as gather.c and reduce.c make, without
 * moving anything. */
#include "zero.h"

static double whole_bytes(const zero_bucket *b, uint32_t dtype) { return (double)b->n * (double)co_dtype_bytes(dtype); }

/* A bucket comes from its home, and from host memory first if that is there. */
static void count_fetch(const zero *z, const zero_bucket *b, co_strategy_traffic *t)
{
    if (zero_at_hand(z, b)) return;
    t->gathered += whole_bytes(b, b->dtype);
    t->gather_calls++;
    if (!b->in[ZERO_PARAMS]) t->to_device += (double)b->shard * (double)co_dtype_bytes(b->dtype);
}

/* here: by bucket, whether it is gathered; what stays at the end of a micro-step is there in the next. */
static void count_gathers(const zero *z, const zero_schedule *s, uint8_t *here, co_strategy_traffic *t)
{
    for (uint32_t i = 0; i < s->n; i++) {
        const uint32_t from = z->unit_bucket_first[s->a[i].unit], to = z->unit_bucket_first[s->a[i].unit + 1];
        for (uint32_t j = from; j < to; j++) {
            const uint32_t k = z->unit_buckets[j];
            if (!here[k]) count_fetch(z, &z->buckets[k], t);
            here[k] = !s->leaves[s->first[i] + j - from];
        }
    }
}

static void count_gradients(const zero *z, const zero_bucket *b, int32_t last_access, co_strategy_traffic *t)
{
    const double times = z->policy->whole_grads ? 1 : t->micro_steps, bytes = whole_bytes(b, b->grad_dtype);
    if (b->last_access < 0) return;
    t->scattered += times * bytes;
    t->scatter_calls += times;
    if (b->last_access == last_access) t->last += bytes;
    if (b->host) t->to_host += times * bytes / z->world;
}

int zero_traffic(void *self, co_strategy_traffic *t)
{
    const zero *z = self;
    const co_host *h = z->a.host;
    uint8_t *here = h->alloc(h, z->n_buckets + 1, 16); /* zeros: after a step everything is gathered anew */
    int32_t last_access = -1;
    if (!here) return CO_FAIL(h, CO_E_NOMEM, "strategy %s: out of memory", z->policy->name);
    for (uint32_t i = 0; i < z->n_schedules; i++)
        for (int32_t m = 0; m < t->micro_steps && z->schedules[i].id == CO_SCHED_TRAIN && !z->policy->whole_params; m++)
            count_gathers(z, &z->schedules[i], here, t);
    h->free(h, here);
    for (uint32_t k = 0; k < z->n_buckets; k++)
        if (z->buckets[k].trainable && z->buckets[k].last_access > last_access) last_access = z->buckets[k].last_access;
    for (uint32_t k = 0; k < z->n_buckets; k++) {
        const zero_bucket *b = &z->buckets[k];
        if (!b->trainable) continue;
        count_gradients(z, b, last_access, t);
        *(b->host ? &t->updated_host : &t->updated) += (double)b->shard;
        if (!z->policy->whole_params) continue;
        t->published += whole_bytes(b, b->dtype);
        t->publish_calls++;
        if (b->host) t->to_device += (double)b->shard * (double)co_dtype_bytes(b->dtype);
    }
    t->each_micro_step = !z->policy->whole_grads;
    t->overlap = z->o.overlap;
    return CO_OK;
}
