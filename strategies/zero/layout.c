/* layout.c: which parameters travel together, where each stands, and how many bytes of which kind of memory that takes. */
#include "zero.h"
#include <string.h>

static int64_t padded(const co_param_slot *s)
{
    const size_t a = co_dtype_bytes(s->shape.dtype), b = co_dtype_bytes(s->grad_dtype);
    const int64_t k = (int64_t)(CO_PARAM_ALIGN / (a < b ? a : b));
    return (zero_elements(s) + k - 1) / k * k;
}

/* Whether a parameter of the unit's group is also used by another unit: such buckets have that one unit, as their gradients
 * wait for both. */
static int is_shared(const zero *z, uint32_t unit, uint32_t group)
{
    for (uint32_t i = 0; i < z->a.n_params; i++) {
        const co_param_slot *s = &z->slots[i], *owner = &z->slots[s->owner];
        if (owner->unit == unit && owner->group == group && s->unit != unit) return 1;
    }
    return 0;
}

static int check(const zero *z, const zero_bucket *b, const co_param_slot *p)
{
    const uint8_t t = p->shape.dtype;
    if (t != CO_F32 && t != CO_BF16 && t != CO_F16)
        return CO_FAIL(z->a.host, CO_E_UNSUPPORTED, "strategy %s holds fp32, bf16 and fp16 parameters; '%s' is of another type", z->policy->name, p->name);
    if (t != b->dtype || (b->trainable && p->grad_dtype != b->grad_dtype) || (p->trainable && z->a.optim) != b->trainable)
        return CO_FAIL(z->a.host, CO_E_INVALID, "'%s' is in a group of another type", p->name);
    return CO_OK;
}

/* A unit's parameters of one group, added to the last bucket of the group or to a new one. */
static int add_part(zero *z, uint32_t unit, uint32_t first, uint8_t *closed)
{
    const co_param_slot *p = &z->slots[first];
    const int shared = is_shared(z, unit, p->group);
    const size_t most = (size_t)z->o.bucket_mb << 20;
    zero_bucket *b = NULL;
    int64_t n = 0;
    for (uint32_t i = first; i < z->unit_first[unit + 1]; i++)
        if (z->slots[i].owner == i && z->slots[i].group == p->group) n += padded(&z->slots[i]);
    for (uint32_t k = z->n_buckets; k-- > 0 && !b;)
        if (z->buckets[k].group == p->group) b = closed[k] ? NULL : &z->buckets[k], k = 0;
    if (!b || shared || !z->policy->whole_params ||
        (size_t)(b->n + n) * co_dtype_bytes(b->trainable ? b->grad_dtype : b->dtype) > most) {
        closed[z->n_buckets] = (uint8_t)shared;
        b = &z->buckets[z->n_buckets++];
        *b = (zero_bucket){.group = p->group, .flags = p->flags & CO_PARAM_NO_DECAY ? CO_SLICE_NO_DECAY : 0, .dtype = p->shape.dtype,
                           .grad_dtype = p->grad_dtype, .trainable = p->trainable && z->a.optim, .last_access = -1};
    }
    for (uint32_t i = first; i < z->unit_first[unit + 1]; i++) {
        if (z->slots[i].owner != i || z->slots[i].group != p->group) continue;
        const int r = check(z, b, &z->slots[i]);
        if (r) return r;
        z->bucket_of[i] = (uint32_t)(b - z->buckets);
        z->at[i] = b->n;
        b->n += padded(&z->slots[i]);
        b->n_members++;
    }
    return CO_OK;
}

static int make_buckets(zero *z, uint8_t *closed)
{
    for (uint32_t i = 0; i < z->a.n_params; i++) z->bucket_of[i] = CO_NONE;
    for (uint32_t i = 0; i < z->a.n_params; i++) {
        if (z->slots[i].owner != i || z->bucket_of[i] != CO_NONE) continue;
        const int r = add_part(z, z->slots[i].unit, i, closed);
        if (r) return r;
    }
    for (uint32_t i = 0; i < z->a.n_params; i++) z->bucket_of[i] = z->bucket_of[z->slots[i].owner];
    for (uint32_t k = 0, n = 0; k < z->n_buckets; k++) {
        zero_bucket *b = &z->buckets[k];
        const size_t a = co_dtype_bytes(b->dtype), g = co_dtype_bytes(b->grad_dtype);
        const int64_t unit = (int64_t)(CO_PARAM_ALIGN / (a < g ? a : g)), cut = unit * z->world;
        b->first_member = n;
        for (uint32_t i = 0; i < z->a.n_params; i++)
            if (z->slots[i].owner == i && z->bucket_of[i] == k) z->members[n++] = i;
        b->shard = (b->n + cut - 1) / cut * unit;
        b->n = b->shard * z->world;
        b->host = b->trainable && z->policy->host;
        if (!b->trainable) continue;
        b->sum = z->n_sums;
        z->n_sums += zero_scaled(z) ? b->n_members : 1;
    }
    z->n_sums++; /* the loss's */
    return CO_OK;
}

/* The buckets of each unit, and after which access of training each one's gradient is complete. */
static void list_by_unit(zero *z)
{
    uint32_t n = 0;
    for (uint32_t u = 0; u < z->a.n_units; u++) {
        z->unit_bucket_first[u] = n;
        for (uint32_t i = z->unit_first[u]; i < z->unit_first[u + 1]; i++) {
            int seen = 0;
            for (uint32_t k = z->unit_bucket_first[u]; k < n; k++) seen |= z->unit_buckets[k] == z->bucket_of[i];
            if (!seen) z->unit_buckets[n++] = z->bucket_of[i];
        }
    }
    z->unit_bucket_first[z->a.n_units] = n;
    for (uint32_t k = 0; k < z->n_schedules; k++) {
        const zero_schedule *s = &z->schedules[k];
        if (s->id != CO_SCHED_TRAIN) continue;
        for (uint32_t i = 0; i < s->n; i++)
            for (uint32_t j = z->unit_bucket_first[s->a[i].unit]; s->a[i].phase == CO_PHASE_BACKWARD && j < z->unit_bucket_first[s->a[i].unit + 1]; j++)
                if (z->buckets[z->unit_buckets[j]].trainable) z->buckets[z->unit_buckets[j]].last_access = (int32_t)i;
    }
}

static void take(zero *z, zero_bucket *b, zero_region r, int64_t n, size_t size)
{
    b->in[r] = 1;
    b->at[r] = z->bytes[r];
    z->bytes[r] += zero_align((size_t)n * size);
}

static void place_bucket(zero *z, zero_bucket *b)
{
    const size_t size = co_dtype_bytes(b->dtype), grad = co_dtype_bytes(b->grad_dtype);
    const int whole = z->policy->whole_params;
    b->halves = b->host && zero_halves(z, b);
    if (whole || !b->host) take(z, b, ZERO_PARAMS, whole ? b->n : b->shard, size);
    else if (!b->trainable || b->dtype != CO_F32) take(z, b, ZERO_HOST_PARAMS, b->shard, size);
    if (!b->trainable) return;
    if (whole && b->host && b->dtype != CO_F32) take(z, b, ZERO_HOST_PARAMS, b->shard, size);
    if (b->host) take(z, b, ZERO_HOST_MASTER, b->shard, zero_master_bytes(b));
    else if (b->dtype != CO_F32) take(z, b, ZERO_MASTER, b->shard, sizeof(float));
    if (z->policy->whole_grads) take(z, b, ZERO_GRADS, b->n, grad);
    else take(z, b, b->host ? ZERO_HOST_GRADS : ZERO_GRADS, b->shard, grad);
    take(z, b, b->host ? ZERO_HOST_STATES : ZERO_STATES, b->shard * z->n_state, sizeof(float));
    const size_t shard = zero_align((size_t)b->shard * grad);
    /* Reduced shards that do not go where they stay at once: gradients of 16 bits have one micro-step a step. */
    if ((z->policy->whole_grads || b->host || grad == sizeof(float)) && shard > z->bytes[ZERO_RECV]) z->bytes[ZERO_RECV] = shard;
    if (b->host && 2 * shard > z->bytes[ZERO_HOST_RECV] && grad == sizeof(float)) z->bytes[ZERO_HOST_RECV] = 2 * shard;
    z->any_host = z->any_host || b->host;
}

/* Where kernels make gradients that do not stay whole: from the first unit that contributes to the access after the last,
 * while which they are still being reduced. */
static int place_made(zero *z, const zero_schedule *s)
{
    const co_host *h = z->a.host;
    zero_stay *stays = h->alloc(h, (z->n_buckets + 1) * sizeof *stays, 16);
    uint32_t n = 0;
    if (!stays) return CO_FAIL(h, CO_E_NOMEM, "strategy %s: out of memory", z->policy->name);
    for (uint32_t k = 0; k < z->n_buckets; k++) {
        const zero_bucket *b = &z->buckets[k];
        int32_t from = b->last_access;
        if (!b->trainable || b->last_access < 0) continue;
        for (int32_t i = b->last_access; i >= 0; i--)
            for (uint32_t j = z->unit_bucket_first[s->a[i].unit]; s->a[i].phase == CO_PHASE_BACKWARD && j < z->unit_bucket_first[s->a[i].unit + 1]; j++)
                if (z->unit_buckets[j] == k) from = i;
        stays[n++] = (zero_stay){k, from, b->last_access + 1, zero_align((size_t)b->n * co_dtype_bytes(b->grad_dtype)), 0};
    }
    z->bytes[ZERO_MADE] = zero_place(stays, n, (int32_t)s->n + 1);
    for (uint32_t i = 0; i < n; i++) {
        z->buckets[stays[i].bucket].in[ZERO_MADE] = 1;
        z->buckets[stays[i].bucket].at[ZERO_MADE] = stays[i].at;
    }
    h->free(h, stays);
    return CO_OK;
}

zero_part zero_own_part(const zero *z, uint32_t slot, int32_t rank)
{
    const zero_bucket *b = &z->buckets[z->bucket_of[slot]];
    const int64_t lo = b->shard * rank, hi = lo + b->shard, from = z->at[slot], to = from + zero_elements(&z->slots[slot]);
    const int64_t first = from > lo ? from : lo, last = to < hi ? to : hi;
    return first < last ? (zero_part){first - from, last - first, first - lo} : (zero_part){0, 0, 0};
}

int zero_lay_out(zero *z)
{
    const co_host *h = z->a.host;
    uint8_t *closed = h->alloc(h, z->a.n_params + 1, 16);
    size_t room = SIZE_MAX;
    if (!closed) return CO_FAIL(h, CO_E_NOMEM, "strategy %s: out of memory", z->policy->name);
    int r = make_buckets(z, closed);
    h->free(h, closed);
    if (r) return r;
    list_by_unit(z);
    for (uint32_t k = 0; k < z->n_schedules && r == CO_OK; k++)
        if (z->schedules[k].id == CO_SCHED_TRAIN && !z->policy->whole_grads && z->a.optim) r = place_made(z, &z->schedules[k]);
    if (r == CO_OK && z->policy->chunks) r = zero_choose_places(z, z->local_world, &room);
    for (uint32_t k = 0; k < z->n_buckets && r == CO_OK; k++) place_bucket(z, &z->buckets[k]);
    for (uint32_t k = 0; k < z->n_schedules && r == CO_OK && !z->policy->whole_params; k++)
        r = zero_plan_gathers(z, &z->schedules[k], room, z->policy->chunks, &z->bytes[ZERO_GATHERED]);
    if (z->a.optim) {
        z->bytes[ZERO_SUMS] = zero_align((size_t)z->world * z->n_sums * sizeof(double));
        z->bytes[ZERO_SEEN] = zero_align(sizeof(co_step_state)) + (z->any_host || zero_scaled(z) ? zero_align(z->n_sums * sizeof(double)) : 0) +
                              (zero_scaled(z) ? 2 * z->bytes[ZERO_SUMS] : 0);
    }
    z->bytes[ZERO_PIECE] = ZERO_STAGE * sizeof(float);
    return r;
}
