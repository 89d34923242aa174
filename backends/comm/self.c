/* self.c: one rank. Collectives of one are copies. */
#include <coati/coati.h>

typedef struct self_comm { const co_host *host; const co_backend_vt *be; void *be_self; } self_comm;

static size_t bytes_of(co_dtype t) { return t == CO_BF16 || t == CO_F16 ? 2 : t == CO_U8 ? 1 : t == CO_I64 || t == CO_F64 ? 8 : 4; }

static int self_open(const co_host *h, const void *opts, const co_backend_vt *be, void *be_self, void **self)
{
    (void)opts;
    self_comm *c = h->alloc(h, sizeof *c, _Alignof(self_comm));
    if (!c) return CO_FAIL(h, CO_E_NOMEM, "comm self: out of memory");
    *c = (self_comm){h, be, be_self};
    *self = c;
    return CO_OK;
}
static void self_close(void *self)
{
    self_comm *c = self;
    if (c) c->host->free(c->host, c);
}
static int self_info(void *self, int32_t *rank, int32_t *world, int32_t *local_rank, int32_t *local_world)
{
    (void)self;
    *rank = *local_rank = 0;
    *world = *local_world = 1;
    return CO_OK;
}
static int self_split(void *self, int32_t color, int32_t key, void **sub)
{
    const self_comm *c = self;
    (void)color, (void)key;
    return self_open(c->host, NULL, c->be, c->be_self, sub);
}
static int copy(void *self, const void *in, void *out, int64_t n, co_dtype t, co_stream on)
{
    const self_comm *c = self;
    return in == out || n == 0 ? CO_OK : c->be->copy(c->be_self, out, in, (size_t)n * bytes_of(t), on);
}
static int self_all_reduce(void *self, void *buf, int64_t n, co_dtype t, co_stream on)
{
    (void)self, (void)buf, (void)n, (void)t, (void)on;
    return CO_OK;
}
static int self_broadcast(void *self, void *buf, int64_t n, co_dtype t, int32_t root, co_stream on)
{
    (void)self, (void)buf, (void)n, (void)t, (void)root, (void)on;
    return CO_OK;
}
static int self_barrier(void *self)
{
    (void)self;
    return CO_OK;
}
static int self_abort(void *self, int code)
{
    (void)self, (void)code;
    return CO_OK;
}

static const co_comm_vt self_vt = {
    .struct_size = sizeof self_vt, .mem_kinds = 1u << CO_MEM_HOST | 1u << CO_MEM_PINNED | 1u << CO_MEM_DEVICE,
    .open = self_open, .close = self_close, .info = self_info, .split = self_split, .all_reduce = self_all_reduce,
    .reduce_scatter = copy, .all_gather = copy, .broadcast = self_broadcast, .barrier = self_barrier, .abort = self_abort};
static const co_feature feature = {.struct_size = sizeof feature, .kind = CO_KIND_COMM, .name = "self",
                                   .summary = "a single rank", .vt = &self_vt};
static const co_feature *const features[] = {&feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "coati-comm-self",
                                 .vendor = "coati", .version = "0.1.0", .license = "Apache-2.0", .url = "", .features = features};
CO_PLUGIN(plugin);
