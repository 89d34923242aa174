#include "core/train/comm_traced.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/base/trace.h"
#include "core/graph/device_trace.h"

typedef struct traced {
    const co_comm_vt *vt;
    void *self;
    int32_t world;
    double sent;
} traced;

/* n elements of a whole buffer; rounds: passed round the ring so often. */
static void count(traced *c, double n, co_dtype t, double rounds)
{
    c->sent += rounds * n * (double)co_dtype_bytes(t) * (c->world - 1) / c->world;
}
double comm_sent(const void *self) { return ((const traced *)self)->sent; }

static void finish(uint64_t begin, uint64_t ran, const char *what, int64_t n, co_dtype t)
{
    device_trace_end(ran, "comm", "%s %.3f MB", what, 1e-6 * (double)n * (double)co_dtype_bytes(t));
    trace_end(begin, "comm", "%s %.3f MB", what, 1e-6 * (double)n * (double)co_dtype_bytes(t));
}

static int wrap(const co_comm_vt *vt, void *self, void **out)
{
    int32_t rank, local_rank, local_world;
    traced *c = mem_calloc(1, sizeof *c);
    if (!c) return FAIL(CO_E_NOMEM, "out of memory");
    c->vt = vt;
    c->self = self;
    const int r = PLUGIN("the comm's info()", vt->info(self, &rank, &c->world, &local_rank, &local_world));
    if (r) mem_free(c);
    else *out = c;
    return r;
}
static void close_traced(void *self)
{
    traced *c = self;
    if (!c) return;
    c->vt->close(c->self);
    mem_free(c);
}
static int info(void *self, int32_t *rank, int32_t *world, int32_t *local_rank, int32_t *local_world)
{
    const traced *c = self;
    return c->vt->info(c->self, rank, world, local_rank, local_world);
}
static int split(void *self, int32_t color, int32_t key, void **sub)
{
    const traced *c = self;
    void *part = NULL;
    int r = c->vt->split(c->self, color, key, &part);
    if (r) return r;
    r = wrap(c->vt, part, sub);
    if (r) c->vt->close(part);
    return r;
}
static int all_reduce(void *self, void *buf, int64_t n, co_dtype t, co_stream on)
{
    const traced *c = self;
    count(self, (double)n, t, 2);
    const uint64_t begin = trace_begin(), ran = device_trace_begin(on);
    const int r = c->vt->all_reduce(c->self, buf, n, t, on);
    finish(begin, ran, "all_reduce", n, t);
    return r;
}
static int reduce_scatter(void *self, const void *in, void *out, int64_t n_out, co_dtype t, co_stream on)
{
    const traced *c = self;
    count(self, (double)n_out * c->world, t, 1);
    const uint64_t begin = trace_begin(), ran = device_trace_begin(on);
    const int r = c->vt->reduce_scatter(c->self, in, out, n_out, t, on);
    finish(begin, ran, "reduce_scatter, a rank's", n_out, t);
    return r;
}
static int all_gather(void *self, const void *in, void *out, int64_t n_in, co_dtype t, co_stream on)
{
    const traced *c = self;
    count(self, (double)n_in * c->world, t, 1);
    const uint64_t begin = trace_begin(), ran = device_trace_begin(on);
    const int r = c->vt->all_gather(c->self, in, out, n_in, t, on);
    finish(begin, ran, "all_gather, a rank's", n_in, t);
    return r;
}
static int broadcast(void *self, void *buf, int64_t n, co_dtype t, int32_t root, co_stream on)
{
    const traced *c = self;
    count(self, (double)n, t, 1);
    const uint64_t begin = trace_begin(), ran = device_trace_begin(on);
    const int r = c->vt->broadcast(c->self, buf, n, t, root, on);
    finish(begin, ran, "broadcast", n, t);
    return r;
}
static int barrier(void *self)
{
    const traced *c = self;
    const uint64_t begin = trace_begin();
    const int r = c->vt->barrier(c->self);
    trace_end(begin, "comm", "barrier");
    return r;
}
static int abort_all(void *self, int code)
{
    const traced *c = self;
    return c->vt->abort(c->self, code);
}

int comm_trace(const co_comm_vt **vt, void **self)
{
    static const co_comm_vt table = {.struct_size = sizeof table, .close = close_traced, .info = info, .split = split, .all_reduce = all_reduce,
                                     .reduce_scatter = reduce_scatter, .all_gather = all_gather, .broadcast = broadcast, .barrier = barrier,
                                     .abort = abort_all};
    static co_comm_vt mine; /* the table with what the inner one takes; a run has one comm */
    void *outer = NULL;
    const int r = wrap(*vt, *self, &outer);
    if (r) return r;
    mine = table;
    mine.mem_kinds = (*vt)->mem_kinds;
    *vt = &mine;
    *self = outer;
    return CO_OK;
}
