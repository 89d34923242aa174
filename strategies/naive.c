/* naive.c: one rank holds everything, in flat buffers laid out by group, then unit, then declaration (the layout rule of
 * strategy.h holds: a unit's part of a group is contiguous). A group is one segment: one norm and one update for the
 * whole model. Trainable parameters of 16 bits have an fp32 master; those in fp32 are their own. */
#include "ddp.h"
#include <string.h>

#define MAX_STATE 4
#define STAGE 65536 /* elements: frozen 16-bit parameters pass through fp32 in pieces of this */

typedef struct segment {      /* all parameters of one group */
    uint32_t group, flags;    /* flags: CO_SLICE_* */
    uint32_t dtype, grad_dtype;
    int trainable;
    int64_t n;                /* elements, padding included: the same in every buffer, so that one update covers all */
    size_t param_at, grad_at; /* bytes from the start of the buffers */
    int64_t master_at;        /* elements; below 0: none */
    int64_t state_at;
} segment;

typedef struct naive {
    co_strategy_args a;
    co_param_slot *slots;
    uint32_t *segment_of;  /* by slot, owners only */
    int64_t *at;           /* likewise: elements from the segment's start */
    uint32_t *unit_first;  /* [n_units + 1] */
    segment *segments;
    uint32_t n_segments;
    size_t param_bytes, grad_bytes;
    int64_t n_master, n_state_elements;
    uint32_t n_state, n_sums;
    char *params, *grads;
    float *master, *state[MAX_STATE], *stage;
    double *sums, *sums_seen; /* of squares: on the backend; the host's copies of two steps (loss scaling only) */
    int32_t needs_stage;
    co_tensor *param_views, *grad_views; /* by slot */
    uint8_t *accumulate;                 /* by slot, as handed out */
    uint8_t *contributed;                /* by owner: since the last step */
} naive;

static int64_t elements(const co_param_slot *s)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < s->shape.ndim; i++) n *= s->shape.ne[i];
    return n;
}
static int scaled(const naive *s) { return s->a.rule && s->a.rule->scaling; }
static int64_t padded(const segment *g, int64_t n)
{
    const size_t a = co_dtype_bytes(g->dtype), b = co_dtype_bytes(g->grad_dtype);
    const int64_t k = (int64_t)(CO_PARAM_ALIGN / (a < b ? a : b));
    return (n + k - 1) / k * k;
}

/* The groups there are, in ascending order. */
static int find_segments(naive *s)
{
    for (uint32_t i = 0; i < s->a.n_params; i++) {
        const co_param_slot *p = &s->slots[i];
        uint32_t k = 0;
        if (p->owner != i) continue;
        while (k < s->n_segments && s->segments[k].group < p->group) k++;
        segment *g = &s->segments[k];
        if (k == s->n_segments || g->group != p->group) {
            memmove(g + 1, g, (s->n_segments++ - k) * sizeof *g);
            *g = (segment){.group = p->group, .flags = p->flags & CO_PARAM_NO_DECAY ? CO_SLICE_NO_DECAY : 0, .dtype = p->shape.dtype,
                           .grad_dtype = p->grad_dtype, .trainable = p->trainable && s->a.optim, .master_at = -1, .state_at = -1};
        }
        if (p->shape.dtype != CO_F32 && p->shape.dtype != CO_BF16 && p->shape.dtype != CO_F16)
            return CO_FAIL(s->a.host, CO_E_UNSUPPORTED, "strategy naive holds fp32, bf16 and fp16 parameters; '%s' is of another type", p->name);
        if (p->shape.dtype != g->dtype || (g->trainable && p->grad_dtype != g->grad_dtype) || (p->trainable && s->a.optim) != g->trainable)
            return CO_FAIL(s->a.host, CO_E_INVALID, "'%s' is in a group of another type", p->name);
    }
    return CO_OK;
}

static void lay_out(naive *s)
{
    for (uint32_t k = 0; k < s->n_segments; k++) {
        segment *g = &s->segments[k];
        for (uint32_t i = 0; i < s->a.n_params; i++) {
            if (s->slots[i].owner != i || s->slots[i].group != g->group) continue;
            s->segment_of[i] = k;
            s->at[i] = g->n;
            g->n += padded(g, elements(&s->slots[i]));
            s->n_sums += g->trainable && scaled(s);
        }
        g->param_at = s->param_bytes;
        s->param_bytes += (size_t)g->n * co_dtype_bytes(g->dtype);
        if (!g->trainable) {
            s->needs_stage |= g->dtype != CO_F32;
            continue;
        }
        g->grad_at = s->grad_bytes;
        s->grad_bytes += (size_t)g->n * co_dtype_bytes(g->grad_dtype);
        g->state_at = s->n_state_elements;
        s->n_state_elements += g->n;
        if (g->dtype != CO_F32) g->master_at = s->n_master, s->n_master += g->n;
        s->n_sums += !scaled(s);
    }
}

static void *table(naive *s, size_t n, size_t size) { return s->a.host->alloc(s->a.host, (n + 1) * size, 16); }

static size_t sums_bytes(const naive *s) { return (s->n_sums * sizeof(double) + 255) & ~(size_t)255; }
static size_t seen_bytes(const naive *s) { return scaled(s) ? 2 * sums_bytes(s) : 0; }
static size_t stage_bytes(const naive *s) { return s->needs_stage ? STAGE * sizeof(float) : 0; }

static int allocate(naive *s)
{
    const co_backend_vt *be = s->a.backend;
    const size_t states = (size_t)s->n_state_elements * sizeof(float);
    enum { PARAMS, GRADS, MASTER, STAGING, SUMS, SEEN, STATES, N = STATES + MAX_STATE };
    size_t bytes[N] = {[PARAMS] = s->param_bytes, [GRADS] = s->grad_bytes, [MASTER] = (size_t)s->n_master * sizeof(float),
                       [STAGING] = stage_bytes(s), [SUMS] = sums_bytes(s), [SEEN] = seen_bytes(s)};
    void *got[N] = {NULL};
    int r = CO_OK;
    for (uint32_t k = 0; k < s->n_state; k++) bytes[STATES + k] = states;
    for (int i = 0; i < N && r == CO_OK; i++)
        if (bytes[i]) r = be->alloc(s->a.backend_self, i == SEEN ? CO_MEM_PINNED : CO_MEM_DEVICE, bytes[i], &got[i]);
    s->params = got[PARAMS];
    s->grads = got[GRADS];
    s->master = got[MASTER];
    s->stage = got[STAGING];
    s->sums = got[SUMS];
    s->sums_seen = got[SEEN];
    for (int k = 0; k < MAX_STATE; k++) s->state[k] = got[STATES + k];
    for (uint32_t i = 0; i < s->a.n_params && r == CO_OK; i++) {
        const uint32_t o = s->slots[i].owner;
        const segment *g = &s->segments[s->segment_of[o]];
        s->param_views[i] = s->grad_views[i] = s->slots[i].shape;
        s->param_views[i].data = s->params + g->param_at + (size_t)s->at[o] * co_dtype_bytes(g->dtype);
        s->grad_views[i].dtype = (uint8_t)g->grad_dtype;
        s->grad_views[i].data = g->trainable ? s->grads + g->grad_at + (size_t)s->at[o] * co_dtype_bytes(g->grad_dtype) : NULL;
    }
    return r;
}

static void naive_close(void *self)
{
    naive *s = self;
    if (!s) return;
    const co_host *h = s->a.host;
    void *const device[] = {s->params, s->grads, s->master, s->state[0], s->state[1], s->state[2], s->state[3], s->stage, s->sums};
    for (size_t i = 0; i < sizeof device / sizeof *device; i++)
        if (device[i]) s->a.backend->free(s->a.backend_self, CO_MEM_DEVICE, device[i]);
    if (s->sums_seen) s->a.backend->free(s->a.backend_self, CO_MEM_PINNED, s->sums_seen);
    void *const host[] = {s->slots, s->at, s->segment_of, s->unit_first, s->segments, s->param_views, s->grad_views,
                          s->accumulate, s->contributed, s};
    for (size_t i = 0; i < sizeof host / sizeof *host; i++) h->free(h, host[i]);
}

static int naive_open(const co_strategy_args *a, void **self)
{
    const co_host *h = a->host;
    int32_t rank, world, local_rank, local_world;
    int r = a->comm->info(a->comm_self, &rank, &world, &local_rank, &local_world);
    if (r) return r;
    if (world > 1) return CO_FAIL(h, CO_E_CONFIG, "strategy naive is for one rank, there are %d: choose ddp or a zero strategy", world);
    if (a->optim && a->optim->n_state > MAX_STATE)
        return CO_FAIL(h, CO_E_UNSUPPORTED, "strategy naive holds %d optimizer states, this one wants %u", MAX_STATE, a->optim->n_state);
    if (a->optim && (!a->rule || (!a->state && !a->plan_only))) return CO_FAIL(h, CO_E_INVALID, "strategy naive: an optimizer and no step rule or state");
    if (a->optim && a->rule->norm_type == CO_NORM_INF && !CO_HAS(co_backend_vt, a->backend, flat_absmax))
        return CO_FAIL(h, CO_E_UNSUPPORTED, "[optimizer] norm_type = inf: this backend does not offer flat_absmax; use 2");
    naive *s = h->alloc(h, sizeof *s, 16);
    if (!s) return CO_FAIL(h, CO_E_NOMEM, "strategy naive: out of memory");
    s->a = *a;
    s->n_state = a->optim ? a->optim->n_state : 0;
    s->slots = table(s, a->n_params, sizeof *s->slots);
    s->at = table(s, a->n_params, sizeof *s->at);
    s->segment_of = table(s, a->n_params, sizeof *s->segment_of);
    s->unit_first = table(s, a->n_units, sizeof *s->unit_first);
    s->segments = table(s, a->n_params + 1, sizeof *s->segments);
    s->param_views = table(s, a->n_params, sizeof *s->param_views);
    s->grad_views = table(s, a->n_params, sizeof *s->grad_views);
    s->accumulate = table(s, a->n_params, 1);
    s->contributed = table(s, a->n_params, 1);
    if (!s->slots || !s->at || !s->segment_of || !s->unit_first || !s->segments || !s->param_views || !s->grad_views ||
        !s->accumulate || !s->contributed)
        r = CO_FAIL(h, CO_E_NOMEM, "strategy naive: out of memory");
    if (r == CO_OK) {
        memcpy(s->slots, a->params, a->n_params * sizeof *s->slots);
        for (uint32_t u = 0, i = 0; u <= a->n_units; u++) {
            while (i < a->n_params && s->slots[i].unit < u) i++;
            s->unit_first[u] = i;
        }
        r = find_segments(s);
    }
    if (r == CO_OK) lay_out(s);
    if (r == CO_OK && !a->plan_only) r = allocate(s);
    if (r) naive_close(s);
    else *self = s;
    return r;
}

static int naive_begin(void *self, uint32_t schedule, int hold)
{
    (void)self, (void)schedule, (void)hold;
    return CO_OK;
}
static int naive_end(void *self)
{
    (void)self;
    return CO_OK;
}

static int naive_acquire(void *self, uint32_t unit, co_phase ph, const co_tensor **params, co_tensor **grads,
                         const uint8_t **accumulate)
{
    naive *s = self;
    const uint32_t first = s->unit_first[unit];
    *params = s->param_views + first;
    *grads = NULL;
    *accumulate = NULL;
    if (ph != CO_PHASE_BACKWARD) return CO_OK;
    for (uint32_t i = first; i < s->unit_first[unit + 1]; i++) s->accumulate[i] = s->contributed[s->slots[i].owner];
    *grads = s->grad_views + first;
    *accumulate = s->accumulate + first;
    return CO_OK;
}

static int naive_release(void *self, uint32_t unit, co_phase ph)
{
    naive *s = self;
    if (ph == CO_PHASE_BACKWARD)
        for (uint32_t i = s->unit_first[unit]; i < s->unit_first[unit + 1]; i++) s->contributed[s->slots[i].owner] = 1;
    return CO_OK;
}

static int naive_grads_ready(void *self, uint32_t unit, int last_micro_step)
{
    (void)self, (void)unit, (void)last_micro_step;
    return CO_OK;
}

/* A parameter no unit touched since the last step has a gradient of zero, not the last step's. */
static int clear_untouched(naive *s)
{
    for (uint32_t i = 0; i < s->a.n_params; i++) {
        if (s->slots[i].owner != i || !s->grad_views[i].data || s->contributed[i]) continue;
        int r = s->a.backend->fill0(s->a.backend_self, s->grad_views[i].data,
                                    (size_t)elements(&s->slots[i]) * co_dtype_bytes(s->grad_views[i].dtype), s->a.compute);
        if (r) return r;
    }
    return CO_OK;
}

/* A sum of squares a group; with loss scaling one a parameter, to name the one that overflowed. */
static int sum_squares(naive *s)
{
    const co_backend_vt *be = s->a.backend;
    int (*const measure)(void *, const void *, co_dtype, int64_t, double *, co_stream) = s->a.rule->norm_type == CO_NORM_INF ? be->flat_absmax : be->flat_sqnorm;
    uint32_t n = 0;
    int r = CO_OK;
    for (uint32_t k = 0; k < s->n_segments && r == CO_OK; k++) {
        const segment *g = &s->segments[k];
        if (!g->trainable) continue;
        if (!scaled(s)) r = measure(s->a.backend_self, s->grads + g->grad_at, (co_dtype)g->grad_dtype, g->n, &s->sums[n++], s->a.compute);
        for (uint32_t i = 0; scaled(s) && i < s->a.n_params && r == CO_OK; i++)
            if (s->slots[i].owner == i && s->segment_of[i] == k)
                r = measure(s->a.backend_self, s->grad_views[i].data, (co_dtype)g->grad_dtype, elements(&s->slots[i]), &s->sums[n++],
                                    s->a.compute);
    }
    return r;
}

static int naive_step(void *self, int64_t step, double lr, double max_norm)
{
    naive *s = self;
    const co_backend_vt *be = s->a.backend;
    co_step_rule rule = *s->a.rule;
    rule.max_norm = (float)max_norm;
    int r = clear_untouched(s);
    if (r == CO_OK) r = sum_squares(s);
    if (r == CO_OK) r = be->step_factor(s->a.backend_self, &rule, s->sums, s->n_sums, s->a.state, s->a.compute);
    if (r == CO_OK && s->sums_seen)
        r = be->copy(s->a.backend_self, s->sums_seen + (step & 1) * (int64_t)(sums_bytes(s) / sizeof(double)), s->sums,
                     s->n_sums * sizeof(double), s->a.compute);
    for (uint32_t k = 0; k < s->n_segments && r == CO_OK; k++) {
        const segment *g = &s->segments[k];
        if (!g->trainable) continue;
        void *const param = s->params + g->param_at;
        co_optim_slice slice = {.struct_size = sizeof slice, .flags = g->flags, .n = g->n, .step = step,
                                .master = g->master_at < 0 ? param : s->master + g->master_at, .grad = s->grads + g->grad_at,
                                .grad_dtype = g->grad_dtype, .out = g->master_at < 0 ? NULL : param, .out_dtype = g->dtype,
                                .lr = (float)lr, .grad_scale = 1, .dev_scale = &s->a.state->factor, .dev_skip = &s->a.state->skip,
                                .dev_step = scaled(s) ? &s->a.state->updates : NULL};
        for (uint32_t i = 0; i < s->n_state; i++) slice.state[i] = s->state[i] + g->state_at;
        r = s->a.optim->update(s->a.optim_self, be, s->a.backend_self, &slice, s->a.compute);
    }
    memset(s->contributed, 0, s->a.n_params);
    return r;
}

/* The sums stand in the order of sum_squares; the backward goes from the last unit to the first. */
static int naive_stats(void *self, int64_t step, co_step_stats *out)
{
    const naive *s = self;
    const double *sums = s->sums_seen ? s->sums_seen + (step & 1) * (int64_t)(sums_bytes(s) / sizeof(double)) : NULL;
    uint32_t n = 0, last = 0;
    out->overflowed = NULL;
    for (uint32_t k = 0; sums && k < s->n_segments; k++)
        for (uint32_t i = 0; i < s->a.n_params; i++) {
            if (!s->segments[k].trainable || s->slots[i].owner != i || s->segment_of[i] != k) continue;
            const double sum = sums[n++];
            if (sum - sum == 0 || (out->overflowed && i < last)) continue;
            out->overflowed = s->slots[i].name;
            last = i;
        }
    return CO_OK;
}

/* A range of a parameter's master weight (what 0) or optimizer state (1..). */
typedef struct place {
    float *f32; /* NULL: a 16-bit parameter without a master */
    char *half; /* the 16-bit parameter, NULL: there is none */
} place;

static int locate(const naive *s, uint32_t param, uint32_t what, int64_t first, int64_t n, place *out)
{
    if (param >= s->a.n_params || what > s->n_state) return CO_FAIL(s->a.host, CO_E_INVALID, "no such parameter or state");
    const uint32_t o = s->slots[param].owner;
    const segment *g = &s->segments[s->segment_of[o]];
    const int64_t at = s->at[o] + first;
    if (first < 0 || n < 0 || first + n > elements(&s->slots[o]))
        return CO_FAIL(s->a.host, CO_E_INVALID, "'%s' has no elements %lld to %lld", s->slots[o].name, (long long)first, (long long)(first + n));
    if (what && !g->trainable) return CO_FAIL(s->a.host, CO_E_INVALID, "'%s' is frozen: it has no optimizer state", s->slots[o].name);
    *out = (place){.half = g->dtype == CO_F32 ? NULL : s->params + g->param_at + (size_t)at * 2};
    if (what) out->f32 = s->state[what - 1] + g->state_at + at, out->half = NULL;
    else if (g->master_at >= 0) out->f32 = s->master + g->master_at + at;
    else if (g->dtype == CO_F32) out->f32 = (float *)(void *)(s->params + g->param_at) + at;
    return CO_OK;
}

static int naive_owned(void *self, uint32_t what, void *sink, int (*range)(void *sink, uint32_t param, int64_t first, int64_t n))
{
    const naive *s = self;
    int r = CO_OK;
    for (uint32_t i = 0; i < s->a.n_params && r == CO_OK; i++)
        if (s->slots[i].owner == i && (what == 0 || s->segments[s->segment_of[i]].trainable)) r = range(sink, i, 0, elements(&s->slots[i]));
    return r;
}

static int naive_read(void *self, uint32_t param, uint32_t what, int64_t first, int64_t n, void *host_f32)
{
    const naive *s = self;
    const co_backend_vt *be = s->a.backend;
    place p;
    int r = locate(s, param, what, first, n, &p);
    if (r) return r;
    if (p.f32) return be->copy(s->a.backend_self, host_f32, p.f32, (size_t)n * sizeof(float), s->a.compute);
    const co_dtype t = (co_dtype)s->slots[s->slots[param].owner].shape.dtype;
    for (int64_t i = 0; i < n && r == CO_OK; i += STAGE) {
        const int64_t m = n - i < STAGE ? n - i : STAGE;
        r = be->flat_cast(s->a.backend_self, s->stage, CO_F32, p.half + i * 2, t, m, s->a.compute);
        if (r == CO_OK) r = be->copy(s->a.backend_self, (float *)host_f32 + i, s->stage, (size_t)m * sizeof(float), s->a.compute);
    }
    return r;
}

static int naive_write(void *self, uint32_t param, uint32_t what, int64_t first, int64_t n, const void *host_f32)
{
    const naive *s = self;
    const co_backend_vt *be = s->a.backend;
    place p;
    int r = locate(s, param, what, first, n, &p);
    if (r) return r;
    const co_dtype t = (co_dtype)s->slots[s->slots[param].owner].shape.dtype;
    if (p.f32) {
        r = be->copy(s->a.backend_self, p.f32, host_f32, (size_t)n * sizeof(float), s->a.compute);
        return r == CO_OK && p.half ? be->flat_cast(s->a.backend_self, p.half, t, p.f32, CO_F32, n, s->a.compute) : r;
    }
    for (int64_t i = 0; i < n && r == CO_OK; i += STAGE) {
        const int64_t m = n - i < STAGE ? n - i : STAGE;
        r = be->copy(s->a.backend_self, s->stage, (const float *)host_f32 + i, (size_t)m * sizeof(float), s->a.compute);
        if (r == CO_OK) r = be->flat_cast(s->a.backend_self, p.half + i * 2, t, s->stage, CO_F32, m, s->a.compute);
    }
    return r;
}

static int naive_gather(void *self, uint32_t param, int64_t first, int64_t n, void *host_f32)
{
    return naive_read(self, param, 0, first, n, host_f32);
}

static int naive_bytes(void *self, co_strategy_bytes *out)
{
    const naive *s = self;
    out->params = s->param_bytes;
    out->grads = s->grad_bytes;
    out->optimizer = (size_t)s->n_state_elements * sizeof(float) * s->n_state;
    out->master = (size_t)s->n_master * sizeof(float);
    out->other = sums_bytes(s) + seen_bytes(s) + stage_bytes(s);
    return CO_OK;
}

static int naive_traffic(void *self, co_strategy_traffic *out)
{
    out->updated = (double)((const naive *)self)->n_state_elements;
    return CO_OK;
}

const co_strategy_vt naive_vt = {
    .struct_size = sizeof naive_vt, .flags = CO_STRATEGY_STILL, .open = naive_open, .close = naive_close, .begin = naive_begin, .end = naive_end,
    .acquire = naive_acquire, .release = naive_release, .grads_ready = naive_grads_ready, .step = naive_step,
    .stats = naive_stats, .owned = naive_owned, .read = naive_read, .write = naive_write, .gather = naive_gather,
    .bytes = naive_bytes, .traffic = naive_traffic};
static const co_feature feature = {.struct_size = sizeof feature, .kind = CO_KIND_STRATEGY, .name = "naive",
                                   .summary = "one rank holds everything", .vt = &naive_vt};
static const co_feature *const features[] = {&feature, &ddp_feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "coati-strategy-naive",
                                 .vendor = "coati", .version = "0.1.0", .license = "Apache-2.0", .url = "", .features = features};
CO_PLUGIN(plugin);
