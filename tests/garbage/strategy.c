/* strategy.c: garbage from each function of a strategy. */
#include "garbage.h"
#include GUIDE_BLOCK

static int g_open(const co_strategy_args *a, void **self)
{
    *self = (void *)16;
    CODE("open");
    return my_open(a, self);
}
static int g_begin(void *self, uint32_t schedule, int hold) { CODE("begin"); return my_begin(self, schedule, hold); }
static int g_end(void *self) { CODE("end"); return my_end(self); }
static int g_acquire(void *self, uint32_t unit, co_phase ph, const co_tensor **params, co_tensor **grads, const uint8_t **adds)
{
    static co_tensor empty[64];
    CODE("acquire");
    if (garbage("acquire:nothing")) return CO_OK;
    const int r = my_acquire(self, unit, ph, params, grads, adds);
    if (garbage("acquire:params")) *params = NULL;
    if (garbage("acquire:empty")) *params = empty;
    if (garbage("acquire:grads") && ph == CO_PHASE_BACKWARD) *grads = NULL;
    if (garbage("acquire:frozen") && ph == CO_PHASE_BACKWARD) *grads = empty;
    if (garbage("acquire:adds") && ph == CO_PHASE_BACKWARD) *adds = NULL;
    return r;
}
static int g_release(void *self, uint32_t unit, co_phase ph) { CODE("release"); return my_release(self, unit, ph); }
static int g_ready(void *self, uint32_t unit, int last) { CODE("grads_ready"); return my_grads_ready(self, unit, last); }
static int g_step(void *self, int64_t step, double lr, double max_norm) { CODE("step"); return my_step(self, step, lr, max_norm); }
static int g_read(void *self, uint32_t p, uint32_t what, int64_t first, int64_t n, void *to) { CODE("read"); return my_read(self, p, what, first, n, to); }
static int g_write(void *self, uint32_t p, uint32_t what, int64_t first, int64_t n, const void *from) { CODE("write"); return my_write(self, p, what, first, n, from); }
static int g_gather(void *self, uint32_t p, int64_t first, int64_t n, void *to) { CODE("gather"); return my_gather(self, p, first, n, to); }
static int g_bytes(void *self, co_strategy_bytes *out)
{
    CODE("bytes");
    const int r = my_bytes(self, out);
    if (garbage("bytes:huge")) out->params = SIZE_MAX;
    if (garbage("bytes:large")) out->grads = (size_t)1 << 58;
    return r;
}
static const co_strategy_vt vt = {.struct_size = sizeof vt, .open = g_open, .close = my_close, .begin = g_begin, .end = g_end, .acquire = g_acquire,
                                  .release = g_release, .grads_ready = g_ready, .step = g_step, .stats = my_stats, .owned = my_owned, .read = g_read,
                                  .write = g_write, .gather = g_gather, .bytes = g_bytes};
GARBAGE_PLUGIN(CO_KIND_STRATEGY, "my_strategy", NULL, char, vt);
