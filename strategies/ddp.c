/* ddp.c: data parallelism over whole copies (Li et al. 2020). Each rank has a naive strategy of its own; between backward and
 * update gradients are summed over ranks, in buckets of bucket_mb from the end of the buffers, where the backward begins: a
 * bucket goes as soon as its last unit is done, on a stream of its own, while the backward goes on with earlier units. Every
 * rank then has the same gradients to the bit, and so the same norm, the same update and the same weights. */
#include "ddp.h"
#include <string.h>

typedef struct ddp_opts { int64_t bucket_mb; int32_t overlap, pad; } ddp_opts;
static const co_opt options[] = {
    {"bucket_mb", CO_OPT_INT, offsetof(ddp_opts, bucket_mb), 0, "25", 0, 1 << 20, NULL, "MiB of gradients reduced at a time; a larger tensor goes whole, 0: unit by unit"},
    {"overlap", CO_OPT_BOOL, offsetof(ddp_opts, overlap), 0, "1", 0, 0, NULL, "messages beside the computation"}, CO_OPT_END};

typedef struct bucket {
    char *at;
    int64_t n;      /* elements, paddings between parameters included */
    uint32_t dtype;
    uint32_t unit;  /* the last in the backward that contributes */
    int32_t sent;   /* since the last step */
} bucket;

typedef struct ddp {
    co_strategy_args a;
    void *inner;
    co_comm_vt alone; /* what inner sees of the others: nothing */
    co_step_rule rule; /* inner's: judges by all ranks' loss */
    int32_t rank, world;
    size_t bucket_bytes;
    co_param_slot *slots;
    bucket *buckets;
    uint32_t n_buckets;
    double *loss;     /* on the backend: 0, or NaN if some rank's loss is not finite */
    co_stream link;   /* a.compute itself without overlap */
    co_event made, sent;
} ddp;

static int alone_info(void *self, int32_t *rank, int32_t *world, int32_t *local_rank, int32_t *local_world)
{
    (void)self;
    *rank = *local_rank = 0;
    *world = *local_world = 1;
    return CO_OK;
}

static int64_t elements(const co_param_slot *s)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < s->shape.ndim; i++) n *= s->shape.ne[i];
    return n;
}

/* ---- buckets ------------------------------------------------------------------------------------------------------- */
/* Gradient of each owner that has one, by ascending address: as naive lays them out, a group after the other. */
static int list_gradients(ddp *d, bucket *out, uint32_t *n)
{
    *n = 0;
    for (uint32_t u = 0, i = 0; u < d->a.n_units; u++) {
        const co_tensor *params;
        co_tensor *grads = NULL;
        const uint8_t *accumulate;
        const uint32_t first = i;
        const int r = naive_vt.acquire(d->inner, u, CO_PHASE_BACKWARD, &params, &grads, &accumulate);
        if (r) return r;
        for (; i < d->a.n_params && d->slots[i].unit == u; i++) {
            uint32_t last_unit = u, k = *n;
            if (d->slots[i].owner != i || !grads[i - first].data) continue;
            for (uint32_t j = 0; j < d->a.n_params; j++) /* the backward goes down: a lower unit comes later */
                if (d->slots[j].owner == i && d->slots[j].unit < last_unit) last_unit = d->slots[j].unit;
            for (; k > 0 && out[k - 1].at > (char *)grads[i - first].data; k--) out[k] = out[k - 1];
            out[k] = (bucket){.at = grads[i - first].data, .n = elements(&d->slots[i]), .dtype = grads[i - first].dtype, .unit = last_unit};
            ++*n;
        }
    }
    return CO_OK;
}

/* Joins neighbours, from the highest address down, up to bucket_bytes; with bucket_bytes 0 those that are ready together. */
static int make_buckets(ddp *d)
{
    const co_host *h = d->a.host;
    bucket *all = h->alloc(h, ((size_t)d->a.n_params + 1) * sizeof *all, 16);
    uint32_t n = 0;
    d->buckets = h->alloc(h, ((size_t)d->a.n_params + 1) * sizeof *d->buckets, 16);
    int r = all && d->buckets ? list_gradients(d, all, &n) : CO_FAIL(h, CO_E_NOMEM, "strategy ddp: out of memory");
    for (uint32_t k = n; k-- > 0 && r == CO_OK;) {
        const bucket *x = &all[k];
        bucket *b = d->n_buckets ? &d->buckets[d->n_buckets - 1] : NULL;
        const int64_t size = (int64_t)co_dtype_bytes(x->dtype);
        const int64_t joined = b ? (b->at - x->at) / size + b->n : 0, gap = b ? b->at - x->at - x->n * size : 0;
        const int fits = b && (d->bucket_bytes ? (size_t)(joined * size) <= d->bucket_bytes : b->unit == x->unit);
        if (fits && b->dtype == x->dtype && gap < 2 * CO_PARAM_ALIGN) *b = (bucket){x->at, joined, x->dtype, x->unit < b->unit ? x->unit : b->unit, 0};
        else d->buckets[d->n_buckets++] = *x;
    }
    h->free(h, all);
    return r;
}

/* ---- opening --------------------------------------------------------------------------------------------------------- */
static void ddp_close(void *self)
{
    ddp *d = self;
    if (!d) return;
    const co_host *h = d->a.host;
    const co_backend_vt *be = d->a.backend;
    if (d->made) be->event_free(d->a.backend_self, d->made);
    if (d->sent) be->event_free(d->a.backend_self, d->sent);
    if (d->link && d->link != d->a.compute) be->stream_free(d->a.backend_self, d->link);
    if (d->loss) be->free(d->a.backend_self, CO_MEM_DEVICE, d->loss);
    if (d->inner) naive_vt.close(d->inner);
    h->free(h, d->buckets);
    h->free(h, d->slots);
    h->free(h, d);
}

static int prepare(ddp *d)
{
    const co_backend_vt *be = d->a.backend;
    const ddp_opts *o = d->a.opts;
    void *p = NULL;
    int r = make_buckets(d);
    if (r == CO_OK) r = be->alloc(d->a.backend_self, CO_MEM_DEVICE, sizeof *d->loss, &p);
    d->loss = p;
    d->link = d->a.compute;
    if (r == CO_OK && (!o || o->overlap)) r = be->stream_new(d->a.backend_self, &d->link);
    if (r == CO_OK) r = be->event_new(d->a.backend_self, &d->made);
    return r == CO_OK ? be->event_new(d->a.backend_self, &d->sent) : r;
}

static int ddp_open(const co_strategy_args *a, void **self)
{
    const co_host *h = a->host;
    const ddp_opts *o = a->opts;
    int32_t local_rank, local_world;
    ddp *d = h->alloc(h, sizeof *d, 16);
    if (!d) return CO_FAIL(h, CO_E_NOMEM, "strategy ddp: out of memory");
    d->a = *a;
    d->link = a->compute;
    d->bucket_bytes = o ? (size_t)o->bucket_mb << 20 : (size_t)25 << 20;
    d->alone = (co_comm_vt){.struct_size = sizeof d->alone, .info = alone_info};
    int r = a->comm->info(a->comm_self, &d->rank, &d->world, &local_rank, &local_world);
    d->slots = h->alloc(h, ((size_t)a->n_params + 1) * sizeof *d->slots, 16);
    if (r == CO_OK && !d->slots) r = CO_FAIL(h, CO_E_NOMEM, "strategy ddp: out of memory");
    co_strategy_args inner = *a;
    inner.comm = &d->alone;
    if (r == CO_OK) {
        memcpy(d->slots, a->params, a->n_params * sizeof *d->slots);
        if (a->rule) d->rule = *a->rule, inner.rule = &d->rule;
        r = naive_vt.open(&inner, &d->inner);
    }
    if (r == CO_OK && a->optim && !a->plan_only) r = prepare(d);
    if (a->rule && a->rule->loss) d->rule.loss = d->loss;
    if (r) ddp_close(d);
    else *self = d;
    return r;
}

/* ---- a step ---------------------------------------------------------------------------------------------------------- */
static int send(ddp *d, bucket *b)
{
    const co_backend_vt *be = d->a.backend;
    int r = be->event_record(d->a.backend_self, d->made, d->a.compute);
    if (r == CO_OK) r = be->event_wait(d->a.backend_self, d->made, d->link);
    b->sent = 1;
    return r == CO_OK ? d->a.comm->all_reduce(d->a.comm_self, b->at, b->n, (co_dtype)b->dtype, d->link) : r;
}

static int ddp_begin(void *self, uint32_t schedule, int hold) { return naive_vt.begin(((ddp *)self)->inner, schedule, hold); }
static int ddp_end(void *self) { return naive_vt.end(((ddp *)self)->inner); }
static int ddp_acquire(void *self, uint32_t unit, co_phase ph, const co_tensor **params, co_tensor **grads, const uint8_t **accumulate)
{
    return naive_vt.acquire(((ddp *)self)->inner, unit, ph, params, grads, accumulate);
}
static int ddp_release(void *self, uint32_t unit, co_phase ph) { return naive_vt.release(((ddp *)self)->inner, unit, ph); }

static int ddp_grads_ready(void *self, uint32_t unit, int last_micro_step)
{
    ddp *d = self;
    int r = naive_vt.grads_ready(d->inner, unit, last_micro_step);
    for (uint32_t k = 0; k < d->n_buckets && last_micro_step && r == CO_OK; k++)
        if (d->buckets[k].unit == unit && !d->buckets[k].sent) r = send(d, &d->buckets[k]);
    return r;
}

static int ddp_step(void *self, int64_t step, double lr, double max_norm)
{
    ddp *d = self;
    const co_backend_vt *be = d->a.backend;
    void *const dev = d->a.backend_self;
    int r = CO_OK;
    for (uint32_t k = 0; k < d->n_buckets && r == CO_OK; k++) { /* those of units that took no part: naive clears them */
        if (!d->buckets[k].sent) r = send(d, &d->buckets[k]);
        d->buckets[k].sent = 0;
    }
    if (r == CO_OK) r = be->event_record(dev, d->sent, d->link);
    if (r == CO_OK) r = be->event_wait(dev, d->sent, d->a.compute);
    if (r == CO_OK && d->a.rule->loss) { /* 0 times it */
        r = be->fill0(dev, d->loss, sizeof *d->loss, d->a.compute);
        if (r == CO_OK) r = be->flat_axpy(dev, d->loss, d->a.rule->loss, CO_F64, 0, 1, d->a.compute);
        if (r == CO_OK) r = d->a.comm->all_reduce(d->a.comm_self, d->loss, 1, CO_F64, d->a.compute);
    }
    return r == CO_OK ? naive_vt.step(d->inner, step, lr, max_norm) : r;
}
static int ddp_stats(void *self, int64_t step, co_step_stats *out) { return naive_vt.stats(((ddp *)self)->inner, step, out); }

/* ---- state: every rank has it, and answers for an even share of each parameter ----------------------------------------- */
typedef struct sharing { const ddp *d; void *sink; int (*range)(void *sink, uint32_t param, int64_t first, int64_t n); } sharing;

static int own_share(void *ctx, uint32_t param, int64_t first, int64_t n)
{
    const sharing *s = ctx;
    const int64_t rank = s->d->rank, world = s->d->world;
    const int64_t from = n / world * rank + n % world * rank / world, to = n / world * (rank + 1) + n % world * (rank + 1) / world;
    return to > from ? s->range(s->sink, param, first + from, to - from) : CO_OK;
}
static int ddp_owned(void *self, uint32_t what, void *sink, int (*range)(void *sink, uint32_t param, int64_t first, int64_t n))
{
    ddp *d = self;
    sharing s = {d, sink, range};
    return naive_vt.owned(d->inner, what, &s, own_share);
}
static int ddp_read(void *self, uint32_t param, uint32_t what, int64_t first, int64_t n, void *host_f32)
{
    return naive_vt.read(((ddp *)self)->inner, param, what, first, n, host_f32);
}
static int ddp_write(void *self, uint32_t param, uint32_t what, int64_t first, int64_t n, const void *host_f32)
{
    return naive_vt.write(((ddp *)self)->inner, param, what, first, n, host_f32);
}
static int ddp_gather(void *self, uint32_t param, int64_t first, int64_t n, void *host_f32)
{
    return naive_vt.gather(((ddp *)self)->inner, param, first, n, host_f32);
}
static int ddp_bytes(void *self, co_strategy_bytes *out)
{
    const ddp *d = self;
    const int r = naive_vt.bytes(d->inner, out);
    if (d->a.optim) out->other += sizeof *d->loss;
    return r;
}

/* The embeddings' gradient is the last one made, and the last bucket no smaller than it. */
static int ddp_traffic(void *self, co_strategy_traffic *out)
{
    const ddp *d = self;
    const ddp_opts *o = d->a.opts;
    double first = 0;
    int r = naive_vt.traffic(d->inner, out);
    for (uint32_t i = 0; i < d->a.n_params; i++) {
        const co_param_slot *s = &d->slots[i];
        const double bytes = (double)elements(s) * (double)co_dtype_bytes(s->grad_dtype);
        if (s->owner != i || !s->trainable || !d->a.optim) continue;
        out->reduced += bytes;
        if (s->unit == 0) first += bytes;
    }
    out->reduce_calls = d->bucket_bytes && out->reduced > 0 ? (double)(int64_t)(out->reduced / (double)d->bucket_bytes) + 1 : (double)d->a.n_units;
    out->last = first > (double)d->bucket_bytes ? first : (double)d->bucket_bytes;
    if (out->last > out->reduced) out->last = out->reduced;
    out->overlap = !o || o->overlap;
    return r;
}

static const co_strategy_vt ddp_vt = {
    .struct_size = sizeof ddp_vt, .open = ddp_open, .close = ddp_close, .begin = ddp_begin, .end = ddp_end, .acquire = ddp_acquire,
    .release = ddp_release, .grads_ready = ddp_grads_ready, .step = ddp_step, .stats = ddp_stats, .owned = ddp_owned, .read = ddp_read,
    .write = ddp_write, .gather = ddp_gather, .bytes = ddp_bytes, .traffic = ddp_traffic};
const co_feature ddp_feature = {.struct_size = sizeof ddp_feature, .kind = CO_KIND_STRATEGY, .name = "ddp",
                                .summary = "every rank holds everything, gradients are summed over ranks", .opts = options,
                                .opts_size = sizeof(ddp_opts), .vt = &ddp_vt};
