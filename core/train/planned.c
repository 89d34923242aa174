/* planned.c: a comm of ranks that are not there: strategies can be asked what a rank of so many would hold. */
#include "core/train/planned.h"
#include "core/base/error.h"

static int planned_info(void *self, int32_t *rank, int32_t *world, int32_t *local_rank, int32_t *local_world)
{
    const run *r = self;
    const int32_t node = (int32_t)r->o.run.gpus_per_node, first = r->plan_rank / node * node;
    *rank = r->plan_rank;
    *world = r->plan_world;
    *local_rank = r->plan_rank - first;
    *local_world = r->plan_world - first < node ? r->plan_world - first : node;
    return CO_OK;
}
static void planned_close(void *self) { (void)self; }
static int not_there(void) { return FAIL(CO_E_STATE, "a collective among ranks that are only planned"); }
static int planned_split(void *self, int32_t color, int32_t key, void **sub) { return (void)self, (void)color, (void)key, (void)sub, not_there(); }
static int planned_all_reduce(void *self, void *buf, int64_t n, co_dtype t, co_stream on) { return (void)self, (void)buf, (void)n, (void)t, (void)on, not_there(); }
static int planned_two(void *self, const void *in, void *out, int64_t n, co_dtype t, co_stream on)
{
    return (void)self, (void)in, (void)out, (void)n, (void)t, (void)on, not_there();
}
static int planned_broadcast(void *self, void *buf, int64_t n, co_dtype t, int32_t root, co_stream on)
{
    return (void)self, (void)buf, (void)n, (void)t, (void)root, (void)on, not_there();
}
static int planned_barrier(void *self) { return (void)self, not_there(); }
static int planned_stop(void *self, int code) { return (void)self, (void)code, not_there(); }

const co_comm_vt planned_comm = {
    .struct_size = sizeof planned_comm, .mem_kinds = 1u << CO_MEM_HOST | 1u << CO_MEM_PINNED | 1u << CO_MEM_DEVICE, .close = planned_close,
    .info = planned_info, .split = planned_split, .all_reduce = planned_all_reduce, .reduce_scatter = planned_two, .all_gather = planned_two,
    .broadcast = planned_broadcast, .barrier = planned_barrier, .abort = planned_stop};
