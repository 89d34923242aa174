/* gemini.c: which buckets live on the device and which in host memory. What is left of the budget goes to gathered weights first: each
 * access that finds its bucket there saves a transfer in every micro-step. Then whole buckets, with masters, states and
 * gradients, from the first unit on: its gradient is the last to arrive, and its update the first that is waited for. */
#include "zero.h"

static size_t part(int64_t n, size_t size) { return zero_align((size_t)n * size); }

/* Bytes of a bucket's shard, wherever it lives. */
static size_t at_home(const zero *z, const zero_bucket *b, int host)
{
    const size_t size = co_dtype_bytes(b->dtype), four = sizeof(float);
    const size_t copy = host && b->trainable && b->dtype == CO_F32 ? 0 : part(b->shard, size);
    const size_t master = b->trainable && (host || b->dtype != CO_F32) ? part(b->shard, host && zero_halves(z, b) ? sizeof(int16_t) : four) : 0;
    if (!b->trainable) return copy;
    return copy + master + part(b->shard, co_dtype_bytes(b->grad_dtype)) + part(b->shard * z->n_state, four);
}

static size_t fixed_bytes(const zero *z)
{
    size_t recv = 0;
    for (uint32_t k = 0; k < z->n_buckets; k++) {
        const size_t shard = part(z->buckets[k].shard, co_dtype_bytes(z->buckets[k].grad_dtype));
        if (z->buckets[k].trainable && shard > recv) recv = shard;
    }
    return z->bytes[ZERO_MADE] + recv + ZERO_STAGE * sizeof(float) + (z->a.optim ? part((int64_t)z->world * z->n_sums, sizeof(double)) : 0);
}

static int check_host(const zero *z, int32_t local_world)
{
    size_t host = 0;
    for (uint32_t k = 0; k < z->n_buckets; k++) host += z->buckets[k].host ? at_home(z, &z->buckets[k], 1) : 0;
    host *= (size_t)local_world;
    if (z->o.host_memory == 0 || host <= (size_t)z->o.host_memory) return CO_OK;
    return CO_FAIL(z->a.host, CO_E_NOMEM, "strategy %s: %zu bytes of host memory are needed on this node, [strategy] host_memory is %lld: raise it",
                   z->policy->name, host, (long long)z->o.host_memory);
}

/* What it may take on the device; SIZE_MAX: nobody said. Of what is free a little is left to the driver, which loads kernels when they
 * first run. */
static int budget(const zero *z, size_t least, size_t *out)
{
    const size_t said = (size_t)z->o.device_memory, used = z->a.struct_size >= sizeof z->a ? z->a.device_used : 0;
    *out = said ? (said > used ? said - used : 0) : z->a.device_budget ? z->a.device_budget - z->a.device_budget / 64 : SIZE_MAX;
    if (*out >= least) return CO_OK;
    return CO_FAIL(z->a.host, CO_E_NOMEM, "strategy %s needs at least %zu bytes of device memory (%zu of them for activations and the like), %zu are to be had: "
                   "raise [strategy] device_memory, or lower [batch] size or [dataset] max_len", z->policy->name, least + used, used, *out + used);
}

int zero_choose_places(zero *z, int32_t local_world, size_t *room)
{
    const size_t gathered = zero_least_gathered(z), fixed = fixed_bytes(z);
    size_t all = 0, whole = 0, most;
    for (uint32_t k = 0; k < z->n_buckets; k++) {
        zero_bucket *b = &z->buckets[k];
        all += at_home(z, b, 0);
        whole += part(b->n, co_dtype_bytes(b->dtype));
        b->host = z->o.placement == ZERO_CPU;
    }
    int r = budget(z, fixed + gathered + (z->o.placement == ZERO_CUDA ? all : 0), &most);
    if (r) return r;
    *room = gathered;
    if (most == SIZE_MAX) return check_host(z, local_world);
    size_t left = most - fixed - gathered - (z->o.placement == ZERO_CUDA ? all : 0);
    const size_t more = whole > gathered ? whole - gathered : 0;
    *room += left < more ? left : more;
    left -= left < more ? left : more;
    for (uint32_t k = 0; k < z->n_buckets && z->o.placement == ZERO_AUTO; k++) {
        zero_bucket *b = &z->buckets[k];
        const size_t need = at_home(z, b, 0);
        b->host = need > left;
        if (!b->host) left -= need;
    }
    return check_host(z, local_world);
}
