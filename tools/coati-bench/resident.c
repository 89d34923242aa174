/* resident.c: a strategy for comparison only: parameters and gradients stand in device memory all the time, and nothing is
 * updated. No other can be quicker with the same plans. It has no masters and no states, so that models fit whose update
 * does not. */
#include "bench.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/params/table.h"
#include <string.h>

#define PIECE (1 << 20) /* elements that pass between fp32 and 16 bits at a time */

typedef struct resident {
    co_strategy_args a;
    uint32_t *unit_first; /* [n_units + 1] */
    co_tensor *params, *grads;         /* by slot; data: bytes from the base until there is one */
    uint8_t *accumulate, *contributed; /* likewise */
    size_t param_bytes, grad_bytes;
    char *param_base, *grad_base, *piece;
} resident;

static void resident_close(void *self)
{
    resident *s = self;
    if (!s) return;
    void *const device[] = {s->param_base, s->grad_base, s->piece}, *const tables[] = {s->unit_first, s->params, s->grads, s->accumulate, s->contributed, s};
    for (size_t i = 0; i < sizeof device / sizeof *device; i++)
        if (device[i]) s->a.backend->free(s->a.backend_self, CO_MEM_DEVICE, device[i]);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) mem_free(tables[i]);
}

/* By unit, group and declaration, as the layout rule wants it. */
static void lay_out(resident *s)
{
    for (uint32_t u = 0; u < s->a.n_units; u++)
        for (uint32_t i = s->unit_first[u]; i < s->unit_first[u + 1]; i++) {
            const uint32_t group = s->a.params[i].group;
            int first = 1; /* of its group in this unit */
            for (uint32_t k = s->unit_first[u]; k < i; k++) first &= s->a.params[k].group != group;
            for (uint32_t k = i; k < s->unit_first[u + 1] && first; k++) {
                const co_param_slot *p = &s->a.params[k];
                if (p->group != group || p->owner != k) continue;
                const size_t a = co_dtype_bytes(p->shape.dtype), g = co_dtype_bytes(p->grad_dtype);
                const int64_t unit = (int64_t)(CO_PARAM_ALIGN / (a < g ? a : g)), n = (param_elements(p) + unit - 1) / unit * unit;
                s->params[k] = s->grads[k] = p->shape;
                s->grads[k].dtype = (uint8_t)p->grad_dtype;
                s->params[k].data = (char *)s->param_bytes;
                s->grads[k].data = (char *)s->grad_bytes;
                s->param_bytes += (size_t)n * a;
                s->grad_bytes += p->trainable ? (size_t)n * g : 0;
            }
        }
}

static int allocate(resident *s)
{
    const co_backend_vt *be = s->a.backend;
    void *const dev = s->a.backend_self;
    int r = be->alloc(dev, CO_MEM_DEVICE, s->param_bytes, (void **)&s->param_base);
    if (r == CO_OK && s->grad_bytes) r = be->alloc(dev, CO_MEM_DEVICE, s->grad_bytes, (void **)&s->grad_base);
    if (r == CO_OK) r = be->alloc(dev, CO_MEM_DEVICE, PIECE * sizeof(float), (void **)&s->piece);
    for (uint32_t i = 0; i < s->a.n_params && r == CO_OK; i++) {
        const co_param_slot *p = &s->a.params[i];
        if (p->owner != i) continue;
        s->params[i].data = s->param_base + (size_t)s->params[i].data;
        s->grads[i].data = p->trainable ? s->grad_base + (size_t)s->grads[i].data : NULL;
    }
    for (uint32_t i = 0; i < s->a.n_params && r == CO_OK; i++)
        if (s->a.params[i].owner != i) s->params[i] = s->params[s->a.params[i].owner], s->grads[i] = s->grads[s->a.params[i].owner];
    return r;
}

static int resident_open(const co_strategy_args *a, void **self)
{
    resident *s = mem_alloc(sizeof *s, 16);
    int r = s ? CO_OK : CO_E_NOMEM;
    if (r) return r;
    *s = (resident){.a = *a, .unit_first = mem_calloc(a->n_units + 1, sizeof *s->unit_first), .params = mem_calloc(a->n_params, sizeof *s->params),
                    .grads = mem_calloc(a->n_params, sizeof *s->grads), .accumulate = mem_calloc(a->n_params, 1), .contributed = mem_calloc(a->n_params, 1)};
    if (!s->unit_first || !s->params || !s->grads || !s->accumulate || !s->contributed) r = CO_E_NOMEM;
    for (uint32_t u = 0, i = 0; u <= a->n_units && r == CO_OK; u++) {
        while (i < a->n_params && a->params[i].unit < u) i++;
        s->unit_first[u] = i;
    }
    if (r == CO_OK) lay_out(s);
    if (r == CO_OK && !a->plan_only) r = allocate(s);
    if (r) resident_close(s);
    else *self = s;
    return r;
}

static int resident_begin(void *self, uint32_t schedule, int hold)
{
    (void)self, (void)schedule, (void)hold;
    return CO_OK;
}
static int resident_end(void *self)
{
    (void)self;
    return CO_OK;
}
static int resident_acquire(void *self, uint32_t unit, co_phase ph, const co_tensor **params, co_tensor **grads, const uint8_t **accumulate)
{
    resident *s = self;
    const uint32_t first = s->unit_first[unit], backward = ph == CO_PHASE_BACKWARD;
    for (uint32_t i = first; i < s->unit_first[unit + 1] && backward; i++) s->accumulate[i] = s->contributed[s->a.params[i].owner];
    *params = s->params + first;
    *grads = backward ? s->grads + first : NULL;
    *accumulate = backward ? s->accumulate + first : NULL;
    return CO_OK;
}
static int resident_release(void *self, uint32_t unit, co_phase ph)
{
    resident *s = self;
    for (uint32_t i = s->unit_first[unit]; i < s->unit_first[unit + 1] && ph == CO_PHASE_BACKWARD; i++) s->contributed[s->a.params[i].owner] = 1;
    return CO_OK;
}
static int resident_grads_ready(void *self, uint32_t unit, int last_micro_step)
{
    (void)self, (void)unit, (void)last_micro_step;
    return CO_OK;
}
static int resident_step(void *self, int64_t step, double lr, double max_norm)
{
    resident *s = self;
    (void)step, (void)lr, (void)max_norm;
    memset(s->contributed, 0, s->a.n_params);
    return CO_OK;
}

static int resident_write(void *self, uint32_t param, uint32_t what, int64_t first, int64_t n, const void *host_f32)
{
    const resident *s = self;
    const co_backend_vt *be = s->a.backend;
    const co_dtype t = (co_dtype)s->params[param].dtype;
    char *const to = (char *)s->params[param].data + (size_t)first * co_dtype_bytes(t);
    int r = what ? FAIL(CO_E_INVALID, "nothing is updated, so that there are no states") : CO_OK;
    for (int64_t i = 0; i < n && r == CO_OK; i += PIECE) {
        const int64_t m = n - i < PIECE ? n - i : PIECE;
        r = be->copy(s->a.backend_self, s->piece, (const float *)host_f32 + i, (size_t)m * sizeof(float), s->a.compute);
        if (r == CO_OK) r = be->flat_cast(s->a.backend_self, to + (size_t)i * co_dtype_bytes(t), t, s->piece, CO_F32, m, s->a.compute);
    }
    return r;
}

static int resident_bytes(void *self, co_strategy_bytes *out)
{
    const resident *s = self;
    *out = (co_strategy_bytes){.struct_size = out->struct_size, .params = s->param_bytes, .grads = s->grad_bytes, .other = PIECE * sizeof(float)};
    return CO_OK;
}

const co_strategy_vt resident_vt = {
    .struct_size = sizeof resident_vt, .flags = CO_STRATEGY_STILL, .open = resident_open, .close = resident_close, .begin = resident_begin,
    .end = resident_end, .acquire = resident_acquire, .release = resident_release, .grads_ready = resident_grads_ready, .step = resident_step,
    .write = resident_write, .bytes = resident_bytes};
