/* comm.c: garbage from a comm: what it says of itself. */
#include "garbage.h"
#undef CO_PLUGIN
#define CO_PLUGIN(plugin) extern int garbage_follows
#include COMM_SELF

static int g_open(const co_host *h, const void *o, const co_backend_vt *be, void *be_self, void **self)
{
    *self = (void *)16;
    CODE("open");
    return self_open(h, o, be, be_self, self);
}
static int g_info(void *self, int32_t *rank, int32_t *world, int32_t *local, int32_t *local_world)
{
    CODE("info");
    if (garbage("info:nothing")) return CO_OK;
    const int r = self_info(self, rank, world, local, local_world);
    if (garbage("info:world")) *world = 0;
    if (garbage("info:rank")) *rank = 5;
    if (garbage("info:local")) *local_world = -3;
    return r;
}
static const co_comm_vt vt = {.struct_size = sizeof vt, .mem_kinds = 7, .open = g_open, .close = self_close, .info = g_info, .split = self_split,
                              .all_reduce = self_all_reduce, .reduce_scatter = copy, .all_gather = copy, .broadcast = self_broadcast,
                              .barrier = self_barrier, .abort = self_abort};
static const co_feature garbage_feature = {.struct_size = sizeof garbage_feature, .kind = CO_KIND_COMM, .name = "self", .summary = "garbage", .vt = &vt};
static const co_feature *const garbage_list[] = {&garbage_feature, NULL};
static const co_plugin garbage_plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof garbage_plugin, .name = "self", .version = "1", .features = garbage_list};
CO_EXPORT const co_plugin *CO_ENTRY(void);
const co_plugin *CO_ENTRY(void) { return &garbage_plugin; }
