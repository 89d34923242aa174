/* backend.c: garbage from each function of a backend. It takes every plan and computes nothing: zeros are numbers too. */
#include "garbage.h"
#include <math.h>
#include GUIDE_BLOCK

static int g_open(const co_host *h, const void *o, void **self)
{
    *self = (void *)16;
    CODE("open");
    return my_open(h, o, self);
}
static int g_memory(void *self, size_t *available, size_t *total)
{
    CODE("memory");
    const int r = my_memory(self, available, total);
    if (garbage("memory:none")) *available = *total = 0;
    return r;
}
static int g_alloc(void *self, co_mem kind, size_t bytes, void **out)
{
    CODE("alloc");
    if (garbage("alloc:nothing")) return CO_OK;
    if (garbage("alloc:odd")) return *out = (void *)17, CO_OK;
    return my_alloc(self, kind, bytes, out);
}
static void g_free(void *self, co_mem kind, void *p)
{
    if (p != (void *)17) my_free(self, kind, p);
}
static int g_copy(void *self, void *to, const void *from, size_t n, co_stream on) { CODE("copy"); return my_copy(self, to, from, n, on); }
static int g_fill0(void *self, void *p, size_t n, co_stream on) { CODE("fill0"); return my_fill0(self, p, n, on); }
static int g_stream_sync(void *self, co_stream s) { CODE("stream_sync"); return my_stream_sync(self, s); }
static int g_event_new(void *self, co_event *e) { CODE("event_new"); return my_event_new(self, e); }
static int g_event(void *self, co_event e, co_stream s) { CODE("event_record"); return my_event(self, e, s); }
static int g_event_sync(void *self, co_event e) { CODE("event_sync"); return my_event_sync(self, e); }
static int g_supports(void *self, const co_plan *p, uint32_t step, char *why, size_t cap)
{
    (void)self, (void)p, (void)step;
    CODE("supports");
    if (garbage("supports:endless")) return memset(why, 'x', cap), CO_E_UNSUPPORTED;
    return CO_OK;
}
static int g_workspace(void *self, const co_plan *p, size_t *bytes)
{
    CODE("workspace");
    const int r = my_workspace(self, p, bytes);
    if (garbage("workspace:huge")) *bytes = SIZE_MAX;
    if (garbage("workspace:large")) *bytes = (size_t)1 << 58;
    return r;
}
static int g_prepare(void *self, const co_plan *p, void **out)
{
    CODE("prepare");
    return garbage("prepare:nothing") ? CO_OK : my_prepare(self, p, out);
}
static int g_run(void *self, void *compiled, const co_binding *b, co_stream on)
{
    (void)self, (void)compiled, (void)b, (void)on;
    CODE("run");
    return CO_OK;
}
static int g_cast(void *self, void *to, co_dtype dt, const void *from, co_dtype st, int64_t n, co_stream on)
{
    (void)self, (void)to, (void)dt, (void)from, (void)st, (void)n, (void)on;
    CODE("flat_cast");
    return CO_OK;
}
static int g_axpy(void *self, void *y, const void *x, co_dtype t, float a, int64_t n, co_stream on)
{
    (void)self, (void)y, (void)x, (void)t, (void)a, (void)n, (void)on;
    CODE("flat_axpy");
    return CO_OK;
}
static int g_sqnorm(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on) { CODE("flat_sqnorm"); return my_sqnorm(self, x, t, n, out, on); }
static int g_adamw(void *self, const co_optim_slice *s, float b1, float b2, float eps, float wd, co_stream on)
{
    (void)self, (void)s, (void)b1, (void)b2, (void)eps, (void)wd, (void)on;
    CODE("flat_adamw");
    return CO_OK;
}
static int g_factor(void *self, const co_step_rule *rule, const double *sums, int64_t n, co_step_state *state, co_stream on)
{
    CODE("step_factor");
    const int r = my_step_factor(self, rule, sums, n, state, on);
    if (garbage("step_factor:nan")) state->norm = NAN, state->stuck = state->skip = 1;
    return r;
}
static const co_backend_vt vt = {.struct_size = sizeof vt, .dtypes = 1u << CO_F32, .open = g_open, .close = my_close, .memory = g_memory, .alloc = g_alloc,
    .free = g_free, .copy = g_copy, .fill0 = g_fill0, .stream_new = my_stream_new, .stream_free = my_stream_free, .stream_sync = g_stream_sync,
    .event_new = g_event_new, .event_free = my_event_free, .event_record = g_event, .event_wait = my_event, .event_sync = g_event_sync,
    .supports = g_supports, .workspace = g_workspace, .prepare = g_prepare, .discard = my_discard, .run = g_run, .flat_cast = g_cast,
    .flat_axpy = g_axpy, .flat_sqnorm = g_sqnorm, .flat_adamw = g_adamw, .step_factor = g_factor};
GARBAGE_PLUGIN(CO_KIND_BACKEND, "my_backend", NULL, char, vt);
