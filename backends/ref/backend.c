/* backend.c: the reference as a backend: one thread, no streams, plans run line by line in double. */
#include "ref.h"
#include <string.h>
#include <unistd.h>

typedef struct ref { const co_host *host; } ref;
typedef struct compiled { const co_plan *plan; } compiled;

static int ref_open(const co_host *h, const void *opts, void **self)
{
    ref *c = h->alloc(h, sizeof *c, 16);
    (void)opts;
    if (!c) return CO_FAIL(h, CO_E_NOMEM, "backend ref: out of memory");
    c->host = h;
    *self = c;
    return CO_OK;
}
static void ref_close(void *self)
{
    ref *c = self;
    if (c) c->host->free(c->host, c);
}
static int ref_memory(void *self, size_t *free_bytes, size_t *total_bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    (void)self;
    *free_bytes = (size_t)sysconf(_SC_AVPHYS_PAGES) * page;
    *total_bytes = (size_t)sysconf(_SC_PHYS_PAGES) * page;
    return CO_OK;
}
static int ref_alloc(void *self, co_mem kind, size_t bytes, void **out)
{
    ref *c = self;
    (void)kind;
    void *p = c->host->alloc(c->host, bytes, 256);
    if (!p) return CO_FAIL(c->host, CO_E_NOMEM, "backend ref: %zu bytes are not to be had", bytes);
    *out = p;
    return CO_OK;
}
static void ref_free(void *self, co_mem kind, void *p)
{
    ref *c = self;
    (void)kind;
    c->host->free(c->host, p);
}
static int ref_copy(void *self, void *dst, const void *src, size_t bytes, co_stream on)
{
    (void)self, (void)on;
    if (bytes) memmove(dst, src, bytes);
    return CO_OK;
}
static int ref_fill0(void *self, void *dst, size_t bytes, co_stream on)
{
    (void)self, (void)on;
    if (bytes) memset(dst, 0, bytes);
    return CO_OK;
}

/* Every call is done when it returns, so streams and events need only be something other than NULL. */
static int ref_stream_new(void *self, co_stream *out)
{
    *out = self;
    return CO_OK;
}
static void ref_stream_free(void *self, co_stream s) { (void)self, (void)s; }
static int ref_stream_sync(void *self, co_stream s)
{
    (void)self, (void)s;
    return CO_OK;
}
static int ref_event_new(void *self, co_event *out)
{
    *out = self;
    return CO_OK;
}
static void ref_event_free(void *self, co_event e) { (void)self, (void)e; }
static int ref_event(void *self, co_event e, co_stream on)
{
    (void)self, (void)e, (void)on;
    return CO_OK;
}

static int ref_event_sync(void *self, co_event e)
{
    (void)self, (void)e;
    return CO_OK;
}

static int refuse(char *why, size_t cap, const char *text)
{
    if (cap) {
        strncpy(why, text, cap - 1);
        why[cap - 1] = 0;
    }
    return CO_E_UNSUPPORTED;
}
static int ref_supports(void *self, const co_plan *p, uint32_t step, char *why, size_t cap)
{
    const co_step_op *s = &p->steps[step];
    (void)self;
    if (s->op >= CO_OP_COUNT) return refuse(why, cap, "the reference does not know it");
    if (s->n_in > 8 || s->n_out > 8) return refuse(why, cap, "more than 8 inputs or outputs");
    for (uint32_t i = 0; i < s->n_in + s->n_out; i++) {
        const uint32_t v = i < s->n_in ? s->in[i] : s->out[i - s->n_in];
        const uint8_t t = v == CO_NONE ? CO_F64 : p->values[v].shape.dtype;
        if (t != CO_F64 && t != CO_I32) return refuse(why, cap, "the reference computes in fp64");
    }
    const co_attn *a = s->op == CO_OP_ATTENTION || s->op == CO_OP_ATTENTION_BWD ? s->attrs : NULL;
    if (a && a->dropout > 0) return refuse(why, cap, "dropout inside attention is not offered; [model] dropout = off leaves it out");
    return CO_OK;
}
static int ref_workspace(void *self, const co_plan *p, size_t *bytes)
{
    (void)self, (void)p;
    *bytes = 0;
    return CO_OK;
}
static int ref_prepare(void *self, const co_plan *p, void **out)
{
    ref *c = self;
    compiled *k = c->host->alloc(c->host, sizeof *k, 16);
    if (!k) return CO_FAIL(c->host, CO_E_NOMEM, "backend ref: out of memory");
    k->plan = p;
    *out = k;
    return CO_OK;
}
static void ref_discard(void *self, void *k)
{
    ref *c = self;
    c->host->free(c->host, k);
}

static ref_view view_of(const co_plan *p, uint32_t index, const co_binding *b)
{
    if (index == CO_NONE) return (ref_view){0};
    const co_plan_value *v = &p->values[index];
    const co_live *l = b->host_live;
    ref_view o = {.rows = v->shape.ne[0], .cols = 1, .stride = 1};
    for (uint8_t i = 1; i < v->shape.ndim; i++) o.cols *= v->shape.ne[i];
    if (v->shape.ndim > 1) o.stride = v->shape.ndim == 2 ? v->shape.row_stride : o.cols;
    if (v->rows == CO_ROWS_TOKENS) o.rows = l->n_tokens;
    if (v->rows == CO_ROWS_SEQS) o.rows = l->n_seqs;
    if (v->rows == CO_ROWS_GATHERED) o.rows = l->n_gathered;
    void *at;
    if (v->region == CO_REGION_PARAM) {
        at = b->params[v->slot].data;
    } else if (v->region == CO_REGION_GRAD) {
        at = b->grads[v->slot].data;
        o.add = (v->flags & CO_VALUE_ADDS) || b->accumulate[v->slot];
    } else {
        at = (char *)b->base[v->region] + v->offset;
    }
    o.p = at;
    o.ids = at;
    return o;
}
static int ref_run(void *self, void *k, const co_binding *b, co_stream on)
{
    const ref *c = self;
    const co_plan *p = ((const compiled *)k)->plan;
    (void)on;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const co_step_op *op = &p->steps[i];
        ref_line line = {.host = c->host, .op = op, .live = b->host_live};
        for (uint32_t n = 0; n < op->n_in; n++) line.in[n] = view_of(p, op->in[n], b);
        for (uint32_t n = 0; n < op->n_out; n++) line.out[n] = view_of(p, op->out[n], b);
        ref_ops[op->op](&line);
    }
    return CO_OK;
}

static const co_backend_vt ref_vt = {
    .struct_size = sizeof ref_vt, .dtypes = 1u << CO_F64, .open = ref_open, .close = ref_close, .memory = ref_memory,
    .alloc = ref_alloc, .free = ref_free, .copy = ref_copy, .fill0 = ref_fill0, .stream_new = ref_stream_new,
    .stream_free = ref_stream_free, .stream_sync = ref_stream_sync, .event_new = ref_event_new,
    .event_free = ref_event_free, .event_record = ref_event, .event_wait = ref_event, .supports = ref_supports,
    .workspace = ref_workspace, .prepare = ref_prepare, .discard = ref_discard, .run = ref_run,
    .flat_cast = ref_flat_cast, .flat_axpy = ref_flat_axpy, .flat_sqnorm = ref_flat_sqnorm, .flat_absmax = ref_flat_absmax,
    .flat_adamw = ref_flat_adamw, .event_sync = ref_event_sync, .step_factor = ref_flat_step_factor};
static const co_feature feature = {.struct_size = sizeof feature, .kind = CO_KIND_BACKEND, .name = "ref",
                                   .summary = "every op from its formula, fp64, one thread: for checks", .vt = &ref_vt};
static const co_feature *const features[] = {&feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "coati-backend-ref",
                                 .vendor = "coati", .version = "0.1.0", .license = "Apache-2.0", .url = "", .features = features};
CO_PLUGIN(plugin);
