/* naive.c: one rank holds everything: parameters, gradients and optimizer states in flat fp32 buffers laid out by
 * unit, then group, then declaration (the layout rule of strategy.h). In fp32 the parameters are their own masters. */
#include <coati/coati.h>
#include <math.h>
#include <string.h>

#define MAX_STATE 4

typedef struct segment { /* one unit's parameters of one group: contiguous, one update */
    uint32_t flags;      /* CO_SLICE_* */
    int trainable;
    int64_t at, n;       /* elements from the start of the parameter buffer */
    int64_t grad_at;     /* likewise in the gradient and state buffers; trainable only */
} segment;

typedef struct naive {
    co_strategy_args a;
    co_param_slot *slots;
    int64_t *at, *grad_at; /* by slot, owners only; elements; grad_at < 0: frozen */
    uint32_t *unit_first;  /* [n_units + 1] */
    segment *segments;
    uint32_t n_segments;
    int64_t n_params, n_grads; /* elements, padding included */
    float *params, *grads, *state[MAX_STATE];
    uint32_t n_state;
    co_tensor *param_views, *grad_views; /* by slot */
    uint8_t *accumulate;                 /* by slot, as handed out */
    uint8_t *contributed;                /* by owner: since the last step */
    double norm;
    int64_t norm_step;
} naive;

static int64_t elements(const co_param_slot *s)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < s->shape.ndim; i++) n *= s->shape.ne[i];
    return n;
}
static int64_t aligned(int64_t n)
{
    const int64_t k = CO_PARAM_ALIGN / (int64_t)sizeof(float);
    return (n + k - 1) / k * k;
}

static void lay_out(naive *s)
{
    for (uint32_t u = 0; u < s->a.n_units; u++) {
        uint32_t group = 0, next = 0;
        for (int more = 1; more; group = next) { /* groups of this unit in ascending order */
            segment *g = &s->segments[s->n_segments];
            int found = 0;
            *g = (segment){.at = s->n_params, .grad_at = s->n_grads};
            more = 0;
            for (uint32_t i = s->unit_first[u]; i < s->unit_first[u + 1]; i++) {
                const co_param_slot *p = &s->slots[i];
                if (p->owner != i) continue;
                if (p->group > group && (!more || p->group < next)) more = 1, next = p->group;
                if (p->group != group) continue;
                found = 1;
                g->trainable = p->trainable;
                g->flags = p->flags & CO_PARAM_NO_DECAY ? CO_SLICE_NO_DECAY : 0;
                s->at[i] = s->n_params;
                s->n_params += aligned(elements(p));
                s->grad_at[i] = p->trainable && s->a.optim ? s->n_grads : -1;
                if (s->grad_at[i] >= 0) s->n_grads += aligned(elements(p));
            }
            g->n = s->n_params - g->at;
            if (found) s->n_segments++;
        }
    }
}

static void *table(naive *s, size_t n, size_t size) { return s->a.host->alloc(s->a.host, (n + 1) * size, 16); }

static int allocate(naive *s)
{
    const co_backend_vt *be = s->a.backend;
    void *p = NULL;
    int r = be->alloc(s->a.backend_self, CO_MEM_DEVICE, (size_t)s->n_params * sizeof(float), &p);
    s->params = p;
    if (r == CO_OK && s->n_grads) {
        p = NULL;
        r = be->alloc(s->a.backend_self, CO_MEM_DEVICE, (size_t)s->n_grads * sizeof(float), &p);
        s->grads = p;
        for (uint32_t k = 0; k < s->n_state && r == CO_OK; k++) {
            p = NULL;
            r = be->alloc(s->a.backend_self, CO_MEM_DEVICE, (size_t)s->n_grads * sizeof(float), &p);
            s->state[k] = p;
        }
    }
    for (uint32_t i = 0; i < s->a.n_params && r == CO_OK; i++) {
        const uint32_t o = s->slots[i].owner;
        s->param_views[i] = s->grad_views[i] = s->slots[i].shape;
        s->param_views[i].data = s->params + s->at[o];
        s->grad_views[i].data = s->grad_at[o] >= 0 ? s->grads + s->grad_at[o] : NULL;
    }
    return r;
}

static void naive_close(void *self)
{
    naive *s = self;
    if (!s) return;
    const co_host *h = s->a.host;
    void *const device[] = {s->params, s->grads, s->state[0], s->state[1], s->state[2], s->state[3]};
    for (size_t i = 0; i < sizeof device / sizeof *device; i++)
        if (device[i]) s->a.backend->free(s->a.backend_self, CO_MEM_DEVICE, device[i]);
    void *const host[] = {s->slots, s->at, s->grad_at, s->unit_first, s->segments, s->param_views, s->grad_views,
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
    naive *s = h->alloc(h, sizeof *s, 16);
    if (!s) return CO_FAIL(h, CO_E_NOMEM, "strategy naive: out of memory");
    s->a = *a;
    s->n_state = a->optim ? a->optim->n_state : 0;
    s->slots = table(s, a->n_params, sizeof *s->slots);
    s->at = table(s, a->n_params, sizeof *s->at);
    s->grad_at = table(s, a->n_params, sizeof *s->grad_at);
    s->unit_first = table(s, a->n_units, sizeof *s->unit_first);
    s->segments = table(s, a->n_params + a->n_units, sizeof *s->segments);
    s->param_views = table(s, a->n_params, sizeof *s->param_views);
    s->grad_views = table(s, a->n_params, sizeof *s->grad_views);
    s->accumulate = table(s, a->n_params, 1);
    s->contributed = table(s, a->n_params, 1);
    if (!s->slots || !s->at || !s->grad_at || !s->unit_first || !s->segments || !s->param_views || !s->grad_views ||
        !s->accumulate || !s->contributed)
        r = CO_FAIL(h, CO_E_NOMEM, "strategy naive: out of memory");
    if (r == CO_OK) {
        memcpy(s->slots, a->params, a->n_params * sizeof *s->slots);
        for (uint32_t u = 0, i = 0; u <= a->n_units; u++) {
            while (i < a->n_params && s->slots[i].unit < u) i++;
            s->unit_first[u] = i;
        }
        for (uint32_t i = 0; i < a->n_params; i++)
            if (s->slots[i].shape.dtype != CO_F32)
                r = CO_FAIL(h, CO_E_UNSUPPORTED, "strategy naive holds fp32 parameters; '%s' is of another type", s->slots[i].name);
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
        if (s->slots[i].owner != i || s->grad_at[i] < 0 || s->contributed[i]) continue;
        int r = s->a.backend->fill0(s->a.backend_self, s->grads + s->grad_at[i], (size_t)elements(&s->slots[i]) * sizeof(float),
                                    s->a.compute);
        if (r) return r;
    }
    return CO_OK;
}

static int naive_step(void *self, int64_t step, double lr, double max_norm)
{
    naive *s = self;
    const co_backend_vt *be = s->a.backend;
    double sum = 0;
    int r = clear_untouched(s);
    for (uint32_t i = 0; i < s->n_segments && r == CO_OK; i++) {
        const segment *g = &s->segments[i];
        double part = 0;
        if (!g->trainable) continue;
        r = be->flat_sqnorm(s->a.backend_self, s->grads + g->grad_at, CO_F32, g->n, &part, s->a.compute);
        sum += part;
    }
    if (r == CO_OK) r = be->stream_sync(s->a.backend_self, s->a.compute);
    if (r) return r;
    s->norm = sqrt(sum);
    s->norm_step = step;
    if (!isfinite(s->norm))
        return CO_FAIL(s->a.host, CO_E_STATE, "step %lld: the gradient's norm is not finite; nothing was updated. A lower lr, "
                       "or max_grad_norm, may help", (long long)step);
    /* As torch.nn.utils.clip_grad_norm_. */
    const double factor = max_norm > 0 && max_norm / (s->norm + 1e-6) < 1 ? max_norm / (s->norm + 1e-6) : 1;
    for (uint32_t i = 0; i < s->n_segments && r == CO_OK; i++) {
        const segment *g = &s->segments[i];
        if (!g->trainable) continue;
        co_optim_slice slice = {.struct_size = sizeof slice, .flags = g->flags, .n = g->n, .step = step,
                                .master = s->params + g->at, .grad = s->grads + g->grad_at, .grad_dtype = CO_F32,
                                .out_dtype = CO_F32, .lr = (float)lr, .grad_scale = (float)factor};
        for (uint32_t k = 0; k < s->n_state; k++) slice.state[k] = s->state[k] + g->grad_at;
        r = s->a.optim->update(s->a.optim_self, be, s->a.backend_self, &slice, s->a.compute);
    }
    memset(s->contributed, 0, s->a.n_params);
    return r;
}

static int naive_stats(void *self, int64_t step, co_step_stats *out)
{
    const naive *s = self;
    if (step != s->norm_step) return CO_FAIL(s->a.host, CO_E_STATE, "step %lld has no statistics", (long long)step);
    out->grad_norm = s->norm;
    out->skipped = 0;
    return CO_OK;
}

/* Where element `first` of a parameter's master weight (0) or optimizer state (1..) is. */
static int locate(const naive *s, uint32_t param, uint32_t what, int64_t first, int64_t n, float **out)
{
    if (param >= s->a.n_params || what > s->n_state) return CO_FAIL(s->a.host, CO_E_INVALID, "no such parameter or state");
    const uint32_t o = s->slots[param].owner;
    if (first < 0 || n < 0 || first + n > elements(&s->slots[o]))
        return CO_FAIL(s->a.host, CO_E_INVALID, "'%s' has no elements %lld to %lld", s->slots[o].name, (long long)first, (long long)(first + n));
    if (what && s->grad_at[o] < 0) return CO_FAIL(s->a.host, CO_E_INVALID, "'%s' is frozen: it has no optimizer state", s->slots[o].name);
    *out = (what ? s->state[what - 1] + s->grad_at[o] : s->params + s->at[o]) + first;
    return CO_OK;
}

static int naive_owned(void *self, uint32_t what, void *sink, int (*range)(void *sink, uint32_t param, int64_t first, int64_t n))
{
    const naive *s = self;
    int r = CO_OK;
    for (uint32_t i = 0; i < s->a.n_params && r == CO_OK; i++)
        if (s->slots[i].owner == i && (what == 0 || s->grad_at[i] >= 0)) r = range(sink, i, 0, elements(&s->slots[i]));
    return r;
}

static int naive_read(void *self, uint32_t param, uint32_t what, int64_t first, int64_t n, void *host_f32)
{
    const naive *s = self;
    float *p;
    int r = locate(s, param, what, first, n, &p);
    return r ? r : s->a.backend->copy(s->a.backend_self, host_f32, p, (size_t)n * sizeof(float), s->a.compute);
}

static int naive_write(void *self, uint32_t param, uint32_t what, int64_t first, int64_t n, const void *host_f32)
{
    const naive *s = self;
    float *p;
    int r = locate(s, param, what, first, n, &p);
    return r ? r : s->a.backend->copy(s->a.backend_self, p, host_f32, (size_t)n * sizeof(float), s->a.compute);
}

static int naive_gather(void *self, uint32_t param, int64_t first, int64_t n, void *host_f32)
{
    return naive_read(self, param, 0, first, n, host_f32);
}

static int naive_bytes(void *self, co_strategy_bytes *out)
{
    const naive *s = self;
    out->params = (size_t)s->n_params * sizeof(float);
    out->grads = (size_t)s->n_grads * sizeof(float);
    out->optimizer = out->grads * s->n_state;
    out->master = out->other = 0;
    return CO_OK;
}

static const co_strategy_vt naive_vt = {
    .struct_size = sizeof naive_vt, .open = naive_open, .close = naive_close, .begin = naive_begin, .end = naive_end,
    .acquire = naive_acquire, .release = naive_release, .grads_ready = naive_grads_ready, .step = naive_step,
    .stats = naive_stats, .owned = naive_owned, .read = naive_read, .write = naive_write, .gather = naive_gather,
    .bytes = naive_bytes};
static const co_feature feature = {.struct_size = sizeof feature, .kind = CO_KIND_STRATEGY, .name = "naive",
                                   .summary = "one rank holds everything", .vt = &naive_vt};
static const co_feature *const features[] = {&feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "coati-strategy-naive",
                                 .vendor = "coati", .version = "0.1.0", .license = "Apache-2.0", .url = "", .features = features};
CO_PLUGIN(plugin);
