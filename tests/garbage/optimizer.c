/* optimizer.c: garbage from each function of an optimizer. */
#include "garbage.h"
#include <math.h>
#include GUIDE_BLOCK

static int g_open(const co_host *h, const void *o, void **self)
{
    *self = (void *)16;
    CODE("open");
    return my_open(h, o, self);
}
static int g_update(void *self, const co_backend_vt *be, void *be_self, const co_optim_slice *s, co_stream on)
{
    CODE("update");
    const int r = my_update(self, be, be_self, s, on);
    for (int64_t i = 0; i < s->n && garbage("update:nan"); i++) s->master[i] = NAN;
    return r;
}
static const co_optimizer_vt vt = {.struct_size = sizeof vt, .n_state = 1, .open = g_open, .close = my_close, .update = g_update};
static const co_optimizer_vt greedy = {.struct_size = sizeof vt, .n_state = 4000000000u, .open = g_open, .close = my_close, .update = g_update};
static const co_feature plain_feature = {.struct_size = sizeof plain_feature, .kind = CO_KIND_OPTIMIZER, .name = "my_sgd", .summary = "garbage", .opts = opts, .opts_size = sizeof(my_opts), .vt = &vt};
static const co_feature greedy_feature = {.struct_size = sizeof greedy_feature, .kind = CO_KIND_OPTIMIZER, .name = "my_sgd", .summary = "garbage", .opts = opts, .opts_size = sizeof(my_opts), .vt = &greedy};
static const co_feature *const plain_list[] = {&plain_feature, NULL}, *const greedy_list[] = {&greedy_feature, NULL};
static const co_plugin plain = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plain, .name = "my_sgd", .version = "1", .features = plain_list};
static const co_plugin greedy_plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof greedy_plugin, .name = "my_sgd", .version = "1", .features = greedy_list};
CO_EXPORT const co_plugin *CO_ENTRY(void);
const co_plugin *CO_ENTRY(void) { return garbage("n_state:huge") ? &greedy_plugin : &plain; }
