/* gemini.c: which buckets live on the device and which in host memory. What is left of the budget goes to gathered weights first: each
 * access that finds its bucket there saves a transfer in every micro-step; before that what [strategy] host_memory has no room for. Then whole buckets, with masters, states and
 * gradients, evenly among the others: what the CPU adds up then comes at an even rate through the whole backward. */
#include "zero.h"

#define DRIVER 48 /* a part of device memory that is the driver's: it loads kernels when they first run */

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

static size_t in_host(const zero *z, int32_t local_world)
{
    size_t host = 0;
    for (uint32_t k = 0; k < z->n_buckets; k++) host += z->buckets[k].host ? at_home(z, &z->buckets[k], 1) : 0;
    return host * (size_t)local_world;
}

static int check_host(const zero *z, int32_t local_world)
{
    const size_t host = in_host(z, local_world);
    if (z->o.host_memory == 0 || host <= (size_t)z->o.host_memory) return CO_OK;
    return CO_FAIL(z->a.host, CO_E_NOMEM, "strategy %s: %zu bytes of host memory are needed on this node, [strategy] host_memory is %lld: raise it",
                   z->policy->name, host, (long long)z->o.host_memory);
}

/* What it may take on the device; SIZE_MAX: nobody said. Where free memory is known there is a driver. */
static int budget(const zero *z, size_t least, size_t *out)
{
    const size_t said = (size_t)z->o.device_memory, used = z->a.struct_size >= sizeof z->a ? z->a.device_used : 0, part = z->a.device_budget ? DRIVER : 0;
    const size_t all = said ? said : z->a.device_budget ? z->a.device_budget + used : 0, kept = part ? all / part : 0, need = least + used;
    *out = all == 0 ? SIZE_MAX : all - kept > used ? all - kept - used : 0;
    if (*out >= least) return CO_OK;
    size_t enough = part ? need + need / (part - 1) : need;
    if (part && enough - 1 - (enough - 1) / part >= need) enough--;
    return CO_FAIL(z->a.host, CO_E_NOMEM, "strategy %s needs at least %zu bytes of device memory (%zu of them for activations and the like), %zu are to be had: "
                   "raise [strategy] device_memory, or lower [batch] size or [dataset] max_len", z->policy->name,
                   enough, used, all);
}

/* What host memory does not hold goes to the device before anything is kept there between uses. */
static void lighten(zero *z, int32_t local_world, size_t *left)
{
    for (uint32_t k = 0; k < z->n_buckets && z->o.host_memory && in_host(z, local_world) > (size_t)z->o.host_memory; k++) {
        const size_t cost = at_home(z, &z->buckets[k], 0);
        if (cost > *left) continue;
        z->buckets[k].host = 0;
        *left -= cost;
    }
}

/* Homes on the device in `left` bytes, evenly, then whatever still fits. On one rank a home is also where it is gathered: returns what
 * gathered buckets need less for it. */
static size_t spread(zero *z, size_t left)
{
    size_t saved = 0;
    double all = 0, passed = 0, taken = 0;
    const double room = (double)left;
    for (int pass = 0; pass < 3 && left; pass++)
        for (uint32_t k = 0; k < z->n_buckets; k++) {
            zero_bucket *b = &z->buckets[k];
            if (!b->host) continue;
            const size_t twice = z->world == 1 ? part(b->n, co_dtype_bytes(b->dtype)) : 0, cost = at_home(z, b, 0) - twice;
            if (pass == 0) all += (double)cost;
            passed += pass == 1 ? (double)cost : 0;
            if (pass == 0 || cost > left || (pass == 1 && taken + (double)cost / 2 > passed * room / all)) continue;
            b->host = 0;
            left -= cost;
            taken += (double)cost;
            saved += twice;
        }
    return saved;
}

int zero_choose_places(zero *z, int32_t local_world, size_t *room)
{
    size_t all = 0, whole, most;
    for (uint32_t k = 0; k < z->n_buckets; k++) {
        zero_bucket *b = &z->buckets[k];
        all += at_home(z, b, 0);
        b->host = z->o.placement != ZERO_CUDA; /* what auto begins with: gathered weights take their most */
    }
    const size_t gathered = zero_least_gathered(z), fixed = fixed_bytes(z);
    int r = budget(z, fixed + gathered + (z->o.placement == ZERO_CUDA ? all : 0), &most);
    if (r) return r;
    *room = gathered;
    if (most == SIZE_MAX) {
        for (uint32_t k = 0; k < z->n_buckets; k++) z->buckets[k].host = z->o.placement == ZERO_CPU;
        return check_host(z, local_world);
    }
    size_t left = most - fixed - gathered - (z->o.placement == ZERO_CUDA ? all : 0);
    if (z->o.placement == ZERO_AUTO) lighten(z, local_world, &left);
    whole = 0;
    for (uint32_t k = 0; k < z->n_buckets; k++) whole += zero_at_hand(z, &z->buckets[k]) ? 0 : part(z->buckets[k].n, co_dtype_bytes(z->buckets[k].dtype));
    const size_t more = whole > gathered ? whole - gathered : 0;
    *room += left < more ? left : more;
    left -= left < more ? left : more;
    if (z->o.placement == ZERO_AUTO) *room -= spread(z, left);
    return check_host(z, local_world);
}
