/* state.c: masters and optimizer states by parameter and range, whatever the layout: checkpoints, loading, export. */
#include "zero.h"
#include <coati/halves.h>
#include <string.h>

/* Nothing is on its way any more. */
static int settle(zero *z)
{
    int r = z->any_host ? zero_worker_wait(z, INT64_MAX) : CO_OK;
    if (r == CO_OK && z->out != z->link) r = z->a.backend->stream_sync(z->a.backend_self, z->out);
    if (r == CO_OK && z->link != z->a.compute) r = z->a.backend->stream_sync(z->a.backend_self, z->link);
    return r;
}

static int check(const zero *z, uint32_t param, uint32_t what, int64_t first, int64_t n, uint32_t *owner)
{
    if (param >= z->a.n_params || what > (uint32_t)z->n_state) return CO_FAIL(z->a.host, CO_E_INVALID, "no such parameter or state");
    *owner = z->slots[param].owner;
    const co_param_slot *s = &z->slots[*owner];
    if (first < 0 || n < 0 || first + n > zero_elements(s))
        return CO_FAIL(z->a.host, CO_E_INVALID, "'%s' has no elements %lld to %lld", s->name, (long long)first, (long long)(first + n));
    if (what && !z->buckets[z->bucket_of[*owner]].trainable)
        return CO_FAIL(z->a.host, CO_E_INVALID, "'%s' is frozen: it has no optimizer state", s->name);
    return CO_OK;
}

/* Where `at` elements into this rank's shard are kept in fp32; NULL: nowhere, 16 bits are all there is, at *half. */
static float *kept(const zero *z, const zero_bucket *b, uint32_t what, int64_t at, char **half, int *on_host)
{
    *half = NULL;
    *on_host = b->host;
    if (what) return zero_state(z, b, (int32_t)what - 1) + at;
    if (b->in[ZERO_HOST_MASTER] || b->in[ZERO_MASTER]) return (float *)(void *)zero_at(z, b, b->host ? ZERO_HOST_MASTER : ZERO_MASTER) + at;
    const int host = b->in[ZERO_HOST_PARAMS] != 0;
    char *own = zero_at(z, b, host ? ZERO_HOST_PARAMS : ZERO_PARAMS);
    if (!host && z->policy->whole_params) own = zero_own(z, b, own, b->dtype);
    *on_host = host;
    if (b->dtype == CO_F32) return (float *)(void *)own + at;
    *half = own + at * 2;
    return NULL;
}

/* A master in halves, `at` elements into the shard. */
static void join(const zero *z, const zero_bucket *b, int64_t at, int64_t n, float *to)
{
    const uint16_t *const half = (const uint16_t *)(const void *)zero_at(z, b, ZERO_HOST_PARAMS) + at;
    const int16_t *const low = (const int16_t *)(const void *)zero_at(z, b, ZERO_HOST_MASTER) + at;
    for (int64_t i = 0; i < n; i++) to[i] = co_halves_join(half[i], low[i]);
}
static void split(const zero *z, const zero_bucket *b, int64_t at, int64_t n, const float *from)
{
    uint16_t *const half = (uint16_t *)(void *)zero_at(z, b, ZERO_HOST_PARAMS) + at;
    int16_t *const low = (int16_t *)(void *)zero_at(z, b, ZERO_HOST_MASTER) + at;
    for (int64_t i = 0; i < n; i++) co_halves_split(from[i], &half[i], &low[i]);
}

/* Between host fp32 and 16 bits on the backend, in pieces through ZERO_PIECE. */
static int narrow(zero *z, char *half, uint32_t dtype, const float *from, int64_t n)
{
    const co_backend_vt *be = z->a.backend;
    void *const piece = z->base[ZERO_PIECE];
    int r = CO_OK;
    for (int64_t i = 0; i < n && r == CO_OK; i += ZERO_STAGE) {
        const int64_t m = n - i < ZERO_STAGE ? n - i : ZERO_STAGE;
        r = be->copy(z->a.backend_self, piece, from + i, (size_t)m * sizeof(float), z->a.compute);
        if (r == CO_OK) r = be->flat_cast(z->a.backend_self, half + i * 2, (co_dtype)dtype, piece, CO_F32, m, z->a.compute);
    }
    return r;
}
static int widen(zero *z, float *to, const char *half, uint32_t dtype, int64_t n)
{
    const co_backend_vt *be = z->a.backend;
    void *const piece = z->base[ZERO_PIECE];
    int r = CO_OK;
    for (int64_t i = 0; i < n && r == CO_OK; i += ZERO_STAGE) {
        const int64_t m = n - i < ZERO_STAGE ? n - i : ZERO_STAGE;
        r = be->flat_cast(z->a.backend_self, piece, CO_F32, half + i * 2, (co_dtype)dtype, m, z->a.compute);
        if (r == CO_OK) r = be->copy(z->a.backend_self, to + i, piece, (size_t)m * sizeof(float), z->a.compute);
    }
    return r;
}

int zero_owned(void *self, uint32_t what, void *sink, int (*range)(void *sink, uint32_t param, int64_t first, int64_t n))
{
    const zero *z = self;
    int r = CO_OK;
    for (uint32_t i = 0; i < z->a.n_params && r == CO_OK; i++) {
        if (z->slots[i].owner != i || (what && !z->buckets[z->bucket_of[i]].trainable)) continue;
        const zero_part p = zero_own_part(z, i, z->rank);
        if (p.n) r = range(sink, i, p.first, p.n);
    }
    return r;
}

int zero_read(void *self, uint32_t param, uint32_t what, int64_t first, int64_t n, void *host_f32)
{
    zero *z = self;
    uint32_t o = 0;
    int r = check(z, param, what, first, n, &o), on_host;
    if (r || n == 0) return r;
    const zero_bucket *b = &z->buckets[z->bucket_of[o]];
    const zero_part p = zero_own_part(z, o, z->rank);
    const int whole = z->policy->whole_params && !b->trainable; /* every rank has it */
    if (!whole && (first < p.first || first + n > p.first + p.n))
        return CO_FAIL(z->a.host, CO_E_INVALID, "'%s': rank %d holds elements %lld to %lld, not %lld to %lld", z->slots[o].name, z->rank,
                       (long long)p.first, (long long)(p.first + p.n), (long long)first, (long long)(first + n));
    char *half;
    if (b->halves && what == 0) {
        if ((r = settle(z)) == CO_OK) join(z, b, p.at + first - p.first, n, host_f32);
        return r;
    }
    const float *at = kept(z, b, what, whole ? z->at[o] + first - b->shard * z->rank : p.at + first - p.first, &half, &on_host);
    r = settle(z);
    if (r) return r;
    if (at && on_host) return memcpy(host_f32, at, (size_t)n * sizeof(float)), CO_OK;
    if (at) return z->a.backend->copy(z->a.backend_self, host_f32, at, (size_t)n * sizeof(float), z->a.compute);
    if (on_host) return z->a.cpu->flat_cast(z->a.cpu_self, host_f32, CO_F32, half, (co_dtype)b->dtype, n, NULL);
    return widen(z, host_f32, half, b->dtype, n);
}

/* What this rank holds of the range in its shard. */
static int write_own(zero *z, const zero_bucket *b, uint32_t what, int64_t at, int64_t n, const float *from)
{
    char *half;
    int on_host;
    if (b->halves && what == 0) return split(z, b, at, n, from), CO_OK;
    float *to = kept(z, b, what, at, &half, &on_host);
    int r = CO_OK;
    if (to && on_host) memcpy(to, from, (size_t)n * sizeof(float));
    else if (to) r = z->a.backend->copy(z->a.backend_self, to, from, (size_t)n * sizeof(float), z->a.compute);
    if (r || what || b->dtype == CO_F32) return r;
    if (b->in[ZERO_HOST_PARAMS])
        return z->a.cpu->flat_cast(z->a.cpu_self, zero_at(z, b, ZERO_HOST_PARAMS) + at * 2, (co_dtype)b->dtype, from, CO_F32, n, NULL);
    return z->policy->whole_params ? CO_OK : narrow(z, zero_at(z, b, ZERO_PARAMS) + at * 2, b->dtype, from, n);
}

int zero_write(void *self, uint32_t param, uint32_t what, int64_t first, int64_t n, const void *host_f32)
{
    zero *z = self;
    const float *from = host_f32;
    uint32_t o = 0;
    int r = check(z, param, what, first, n, &o);
    if (r || n == 0) return r;
    const zero_bucket *b = &z->buckets[z->bucket_of[o]];
    const zero_part p = zero_own_part(z, o, z->rank);
    const int64_t lo = first > p.first ? first : p.first, hi = first + n < p.first + p.n ? first + n : p.first + p.n;
    r = settle(z);
    z->ended = 0; /* what is gathered is of before */
    if (r == CO_OK && z->policy->whole_params && what == 0) {
        char *const to = zero_at(z, b, ZERO_PARAMS) + (size_t)(z->at[o] + first) * co_dtype_bytes(b->dtype);
        if (b->dtype == CO_F32) r = z->a.backend->copy(z->a.backend_self, to, from, (size_t)n * sizeof(float), z->a.compute);
        else r = narrow(z, to, b->dtype, from, n);
    }
    return r == CO_OK && lo < hi ? write_own(z, b, what, p.at + lo - p.first, hi - lo, from + (lo - first)) : r;
}

/* Owners in turn hand out their parts, in pieces through ZERO_PIECE. */
int zero_gather(void *self, uint32_t param, int64_t first, int64_t n, void *host_f32)
{
    zero *z = self;
    const co_backend_vt *be = z->a.backend;
    float *const to = host_f32;
    void *const piece = z->base[ZERO_PIECE];
    uint32_t o = 0;
    int r = check(z, param, 0, first, n, &o);
    if (r || n == 0) return r;
    if (z->world == 1 || (z->policy->whole_params && !z->buckets[z->bucket_of[o]].trainable)) return zero_read(z, param, 0, first, n, host_f32);
    for (int32_t rank = 0; rank < z->world && r == CO_OK; rank++) {
        const zero_part p = zero_own_part(z, o, rank);
        const int64_t lo = first > p.first ? first : p.first, hi = first + n < p.first + p.n ? first + n : p.first + p.n;
        for (int64_t i = lo; i < hi && r == CO_OK; i += ZERO_STAGE) {
            const int64_t m = hi - i < ZERO_STAGE ? hi - i : ZERO_STAGE;
            if (rank == z->rank) r = zero_read(z, param, 0, i, m, to + (i - first));
            if (r == CO_OK && rank == z->rank) r = be->copy(z->a.backend_self, piece, to + (i - first), (size_t)m * sizeof(float), z->a.compute);
            if (r == CO_OK) r = z->a.comm->broadcast(z->a.comm_self, piece, m, CO_F32, rank, z->a.compute);
            if (r == CO_OK && rank != z->rank) r = be->copy(z->a.backend_self, to + (i - first), piece, (size_t)m * sizeof(float), z->a.compute);
        }
    }
    return r;
}
