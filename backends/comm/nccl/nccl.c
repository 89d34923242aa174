/* nccl.c: collectives among GPUs. MPI starts the ranks and tells them of each other, NCCL moves the bytes.
 *
 * NCCL's rings add in an order of their own and round bf16 at every hop. Two numbers have one order and one rounding, and whole
 * numbers any: there sums are NCCL's. Among more ranks ([comm] sums = auto) they are in rank order, as in comm mpi: a rank gets
 * everybody's piece of its own range (ncclSend and ncclRecv, all peers at once), adds them in fp32 and sends the result round: the
 * same traffic, (N-1)/N of the buffer a rank for reduce_scatter, twice that for all_reduce, and the same bits as comm mpi
 * whatever the transport. all_gather and broadcast are NCCL's.
 *
 * Nothing waits for the host. A call on stream NULL, the backend's own, runs on a stream of the comm between two events. */
#include "../mpi/pieces.h"
#include "../mpi/place.h"
#include "sum.h"
#include <cuda_runtime_api.h>
#include <nccl.h>
#include <string.h>

#define HELD ((size_t)64 << 20) /* bytes that arrive in a round, all peers together */

enum { SUMS_AUTO = 0, SUMS_ORDERED, SUMS_NCCL };
typedef struct nccl_opts { int32_t sums, pad; } nccl_opts;
static const char *const sums_names[] = {"auto", "ordered", "nccl", NULL};
static const co_opt options[] = {
    {"sums", CO_OPT_ENUM, offsetof(nccl_opts, sums), 0, "auto", 0, 0, sums_names, "ordered: added in rank order in fp32, comm mpi's bits; nccl: by NCCL, which rounds 16 bits at every hop; auto: nccl where the bits are the same (two ranks), else ordered"},
    CO_OPT_END};

typedef struct nccl_comm {
    const co_host *host;
    const co_backend_vt *be;
    void *be_self;
    MPI_Comm mpi;
    int own_mpi; /* the communicator is freed by close */
    mpi_place at;
    ncclComm_t nccl;
    int device, sums;
    co_stream stream;      /* for calls on stream NULL */
    co_event before, after;
    cudaStream_t used;     /* by the last call; `last` is its end: `arrived` is everybody's, whatever the stream */
    cudaEvent_t last;
    size_t segment;        /* bytes a piece and round */
    char *arrived;         /* [world * segment], on the device */
    int64_t *bounds;       /* [world + 1] piece j is elements bounds[j] to bounds[j+1] */
} nccl_comm;

static int fail(const nccl_comm *c, const char *what, int64_t n, const char *why)
{
    return CO_FAIL(c->host, CO_E_COMM, "rank %d on %s: %s of %lld elements among %d ranks failed: %s", c->at.world_rank, c->at.node, what,
                   (long long)n, c->at.world, why);
}
static int from_nccl(const nccl_comm *c, ncclResult_t e, const char *what, int64_t n)
{
    if (e == ncclSuccess || e == ncclInProgress) return CO_OK;
    const char *more = c->nccl ? ncclGetLastError(c->nccl) : "";
    return fail(c, what, n, more && *more ? more : ncclGetErrorString(e));
}
static int from_cuda(const nccl_comm *c, cudaError_t e, const char *what, int64_t n)
{
    return e == cudaSuccess ? CO_OK : fail(c, what, n, cudaGetErrorString(e));
}

static void nccl_close(void *self)
{
    nccl_comm *c = self;
    if (!c) return;
    if (c->nccl) (void)ncclCommDestroy(c->nccl);
    if (c->last) (void)cudaEventDestroy(c->last);
    if (c->arrived) c->be->free(c->be_self, CO_MEM_DEVICE, c->arrived);
    if (c->before) c->be->event_free(c->be_self, c->before);
    if (c->after) c->be->event_free(c->be_self, c->after);
    if (c->stream) c->be->stream_free(c->be_self, c->stream);
    if (c->own_mpi) MPI_Comm_free(&c->mpi);
    c->host->free(c->host, c->bounds);
    c->host->free(c->host, c);
}

/* The backend's memory says on which GPU it works. */
static int find_device(nccl_comm *c)
{
    struct cudaPointerAttributes a;
    int r = from_cuda(c, cudaPointerGetAttributes(&a, c->arrived), "finding the GPU", 0);
    if (r) return r;
    if (a.type != cudaMemoryTypeDevice) return CO_FAIL(c->host, CO_E_CONFIG, "comm nccl: the backend's memory is not a GPU's; comm mpi is for other backends");
    c->device = a.device;
    r = from_cuda(c, cudaSetDevice(c->device), "choosing the GPU", 0);
    return r ? r : from_cuda(c, cudaEventCreateWithFlags(&c->last, cudaEventDisableTiming), "making an event", 0);
}

/* Two ranks on one GPU cannot talk through NCCL; it says so only as "invalid usage". */
static int check_devices(const nccl_comm *c)
{
    char mine[96] = "", *all = c->host->alloc(c->host, sizeof mine * (size_t)c->at.world, 16);
    int r = CO_OK;
    if (!all) return CO_FAIL(c->host, CO_E_NOMEM, "comm nccl: out of memory");
    memcpy(mine, c->at.node, sizeof c->at.node);
    if (cudaDeviceGetPCIBusId(mine + sizeof c->at.node, (int)(sizeof mine - sizeof c->at.node), c->device) != cudaSuccess) mine[sizeof c->at.node] = 0;
    if (MPI_Allgather(mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, c->mpi)) r = fail(c, "comparing GPUs", 0, "MPI_Allgather");
    for (int j = 0; j < c->at.rank && r == CO_OK; j++)
        if (memcmp(all + (size_t)j * sizeof mine, mine, sizeof mine) == 0)
            r = CO_FAIL(c->host, CO_E_CONFIG, "comm nccl: ranks %d and %d on %s share one GPU (%s): start one rank a GPU, or set [run] comm = mpi",
                        j, c->at.rank, c->at.node, mine + sizeof c->at.node);
    c->host->free(c->host, all);
    int32_t worst = r, mine_r = r;
    if (MPI_Allreduce(&mine_r, &worst, 1, MPI_INT32_T, MPI_MIN, c->mpi)) return fail(c, "comparing GPUs", 0, "MPI_Allreduce");
    return r == CO_OK && worst ? CO_FAIL(c->host, CO_E_CONFIG, "comm nccl: another rank shares its GPU") : r;
}

static int meet(nccl_comm *c)
{
    ncclUniqueId id;
    int r = c->at.rank == 0 ? from_nccl(c, ncclGetUniqueId(&id), "making an id", 0) : CO_OK;
    if (r) memset(&id, 0, sizeof id);
    if (MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, c->mpi)) return fail(c, "telling the id", 0, "MPI_Bcast");
    return r ? r : from_nccl(c, ncclCommInitRank(&c->nccl, c->at.world, id, c->at.rank), "meeting", 0);
}

static int take(nccl_comm *c)
{
    const size_t n = (size_t)c->at.world;
    void *p = NULL;
    c->segment = HELD / n & ~(size_t)255;
    c->bounds = c->host->alloc(c->host, (n + 1) * sizeof *c->bounds, 16);
    if (!c->bounds) return CO_FAIL(c->host, CO_E_NOMEM, "comm nccl: rank %d on %s is out of memory", c->at.world_rank, c->at.node);
    int r = c->be->alloc(c->be_self, CO_MEM_DEVICE, n * c->segment, &p);
    c->arrived = p;
    if (r == CO_OK) r = c->be->stream_new(c->be_self, &c->stream);
    if (r == CO_OK) r = c->be->event_new(c->be_self, &c->before);
    if (r == CO_OK) r = c->be->event_new(c->be_self, &c->after);
    return r;
}

static int open_over(const co_host *h, const co_backend_vt *be, void *be_self, MPI_Comm mpi, int own, int sums, void **self)
{
    nccl_comm *c = h->alloc(h, sizeof *c, 16);
    if (!c) return CO_FAIL(h, CO_E_NOMEM, "comm nccl: out of memory");
    c->host = h;
    c->be = be;
    c->be_self = be_self;
    c->mpi = mpi;
    c->own_mpi = own;
    c->sums = sums;
    int r = mpi_find_place(mpi, &c->at) ? fail(c, "finding the ranks of a node", 0, "MPI_Comm_split_type") : CO_OK;
    if (r == CO_OK) r = take(c);
    if (r == CO_OK) r = find_device(c);
    if (r == CO_OK) r = check_devices(c);
    if (r == CO_OK) r = meet(c);
    if (r) nccl_close(c);
    else *self = c;
    return r;
}

static int nccl_open(const co_host *h, const void *opts, const co_backend_vt *be, void *be_self, void **self)
{
    const nccl_opts *o = opts;
    if (!(be->flags & CO_BACKEND_ASYNC)) return CO_FAIL(h, CO_E_CONFIG, "comm nccl moves a GPU's memory: it needs [run] backend = cuda; comm mpi is for the CPU");
    const int r = mpi_begin(h, "nccl");
    return r ? r : open_over(h, be, be_self, MPI_COMM_WORLD, 0, o ? o->sums : SUMS_AUTO, self);
}

static int nccl_info(void *self, int32_t *rank, int32_t *world, int32_t *local_rank, int32_t *local_world)
{
    const nccl_comm *c = self;
    *rank = c->at.rank;
    *world = c->at.world;
    *local_rank = c->at.local_rank;
    *local_world = c->at.local_world;
    return CO_OK;
}

static int nccl_split(void *self, int32_t color, int32_t key, void **sub)
{
    const nccl_comm *c = self;
    MPI_Comm part;
    if (color < 0) return CO_FAIL(c->host, CO_E_INVALID, "split: color %d; at least 0", color);
    if (MPI_Comm_split(c->mpi, color, key, &part)) return fail(c, "split", 0, "MPI_Comm_split");
    return open_over(c->host, c->be, c->be_self, part, 1, c->sums, sub);
}

/* ---- streams ------------------------------------------------------------------------------------------------------- */
/* A stream of backend cuda is a cudaStream_t; its own, NULL here, is not known to anybody else. What went wrong in the background since
 * the last call is told now. */
static int enter(nccl_comm *c, co_stream on, cudaStream_t *s, const char *what, int64_t n)
{
    ncclResult_t background = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(c->nccl, &background);
    int r = from_nccl(c, asked == ncclSuccess ? background : asked, what, n);
    *s = (cudaStream_t)(on ? on : c->stream);
    if (r == CO_OK && !on) r = c->be->event_record(c->be_self, c->before, NULL);
    if (r == CO_OK && !on) r = c->be->event_wait(c->be_self, c->before, c->stream);
    if (r == CO_OK && c->used && c->used != *s) r = from_cuda(c, cudaStreamWaitEvent(*s, c->last, 0), what, n);
    return r;
}
static int leave(nccl_comm *c, co_stream on, int r, const char *what, int64_t n)
{
    if (r) return r;
    c->used = (cudaStream_t)(on ? on : c->stream);
    r = from_cuda(c, cudaEventRecord(c->last, c->used), what, n);
    if (on || r) return r;
    r = c->be->event_record(c->be_self, c->after, c->stream);
    return r ? r : c->be->event_wait(c->be_self, c->after, NULL);
}

/* ---- rounds -------------------------------------------------------------------------------------------------------- */
/* The sum of everybody's piece `rank`, into `out`. in + bounds[j]: this rank's contribution to piece j. */
static int reduce_pieces(nccl_comm *c, const char *in, char *out, co_dtype t, cudaStream_t on, const char *what, int64_t n)
{
    const size_t size = co_dtype_bytes(t);
    const int64_t most = (int64_t)(c->segment / size), end = piece_longest(c->bounds, c->at.world);
    const int me = c->at.rank, world = c->at.world;
    int r = CO_OK;
    for (int64_t at = 0; at < end && r == CO_OK; at += most) {
        const int64_t mine = piece_share(c->bounds, me, at, most);
        ncclResult_t e = ncclGroupStart();
        for (int k = 1; k < world && e == ncclSuccess; k++) { /* each rank begins with its neighbour */
            const int to = (me + k) % world, from = (me - k + world) % world;
            const size_t sent = (size_t)piece_share(c->bounds, to, at, most) * size;
            if (sent) e = ncclSend(in + (size_t)(c->bounds[to] + at) * size, sent, ncclUint8, to, c->nccl, on);
            if (e == ncclSuccess && mine) e = ncclRecv(c->arrived + (size_t)from * c->segment, (size_t)mine * size, ncclUint8, from, c->nccl, on);
        }
        const ncclResult_t ended = ncclGroupEnd();
        r = from_nccl(c, e == ncclSuccess ? ended : e, what, n);
        const pieces p = {.own = in + (size_t)(c->bounds[me] + at) * size, .arrived = c->arrived, .stride = c->segment, .rank = me, .world = world};
        if (r == CO_OK && mine) r = from_cuda(c, sum_pieces(out + (size_t)at * size, &p, mine, t, on), what, n);
    }
    return r;
}

/* Piece `rank` of buf to everybody, and theirs into buf: pieces need not be equal. */
static int gather_pieces(nccl_comm *c, char *buf, size_t size, cudaStream_t on, const char *what, int64_t n)
{
    const int me = c->at.rank, world = c->at.world;
    const size_t mine = (size_t)(c->bounds[me + 1] - c->bounds[me]) * size;
    ncclResult_t e = ncclGroupStart();
    for (int k = 1; k < world && e == ncclSuccess; k++) {
        const int to = (me + k) % world, from = (me - k + world) % world;
        const size_t theirs = (size_t)(c->bounds[from + 1] - c->bounds[from]) * size;
        if (mine) e = ncclSend(buf + (size_t)c->bounds[me] * size, mine, ncclUint8, to, c->nccl, on);
        if (e == ncclSuccess && theirs) e = ncclRecv(buf + (size_t)c->bounds[from] * size, theirs, ncclUint8, from, c->nccl, on);
    }
    const ncclResult_t ended = ncclGroupEnd();
    return from_nccl(c, e == ncclSuccess ? ended : e, what, n);
}

/* ---- collectives --------------------------------------------------------------------------------------------------- */
static int check(const nccl_comm *c, int64_t n, const char *what)
{
    return n < 0 ? CO_FAIL(c->host, CO_E_INVALID, "%s of %lld elements", what, (long long)n) : CO_OK;
}

static ncclDataType_t nccl_type(co_dtype t)
{
    switch (t) {
    case CO_F32: return ncclFloat32;
    case CO_BF16: return ncclBfloat16;
    case CO_F16: return ncclFloat16;
    case CO_F64: return ncclFloat64;
    case CO_I32: return ncclInt32;
    case CO_I64: return ncclInt64;
    default: return ncclUint8;
    }
}
/* Does NCCL add? */
static int adds(const nccl_comm *c, co_dtype t)
{
    const int one_order = c->at.world == 2 || t == CO_I32 || t == CO_I64 || t == CO_U8;
    return c->sums == SUMS_NCCL || (c->sums == SUMS_AUTO && one_order);
}

static int nccl_all_reduce(void *self, void *buf, int64_t n, co_dtype t, co_stream on)
{
    nccl_comm *c = self;
    const size_t size = co_dtype_bytes(t);
    cudaStream_t s;
    int r = check(c, n, "all_reduce");
    if (r || c->at.world == 1) return r;
    r = enter(c, on, &s, "all_reduce", n);
    if (r == CO_OK && adds(c, t)) {
        r = from_nccl(c, ncclAllReduce(buf, buf, (size_t)n, nccl_type(t), ncclSum, c->nccl, s), "all_reduce", n);
    } else if (r == CO_OK) {
        piece_cut(c->bounds, c->at.world, n);
        r = reduce_pieces(c, buf, (char *)buf + (size_t)c->bounds[c->at.rank] * size, t, s, "all_reduce", n);
        if (r == CO_OK) r = gather_pieces(c, buf, size, s, "all_reduce", n);
    }
    return leave(c, on, r, "all_reduce", n);
}

static int nccl_reduce_scatter(void *self, const void *in, void *out, int64_t n_out, co_dtype t, co_stream on)
{
    nccl_comm *c = self;
    cudaStream_t s;
    int r = check(c, n_out, "reduce_scatter");
    if (r) return r;
    if (c->at.world == 1) return in == out || n_out == 0 ? CO_OK : c->be->copy(c->be_self, out, in, (size_t)n_out * co_dtype_bytes(t), on);
    /* Within `in` NCCL writes to the own piece only. Where `out` is may differ from rank to rank, what is asked of NCCL must not. */
    const size_t bytes = (size_t)n_out * co_dtype_bytes(t);
    char *const own = (char *)(uintptr_t)in + bytes * (size_t)c->at.rank, *const to = in == out ? own : out;
    r = enter(c, on, &s, "reduce_scatter", n_out);
    if (r == CO_OK && adds(c, t)) {
        r = from_nccl(c, ncclReduceScatter(in, to, (size_t)n_out, nccl_type(t), ncclSum, c->nccl, s), "reduce_scatter", n_out);
        if (r == CO_OK && to != out) r = from_cuda(c, cudaMemcpyAsync(out, to, bytes, cudaMemcpyDeviceToDevice, s), "reduce_scatter", n_out);
    } else if (r == CO_OK) {
        for (int j = 0; j <= c->at.world; j++) c->bounds[j] = n_out * j;
        r = reduce_pieces(c, in, out, t, s, "reduce_scatter", n_out);
    }
    return leave(c, on, r, "reduce_scatter", n_out);
}

static int nccl_all_gather(void *self, const void *in, void *out, int64_t n_in, co_dtype t, co_stream on)
{
    nccl_comm *c = self;
    const size_t bytes = (size_t)n_in * co_dtype_bytes(t);
    cudaStream_t s;
    int r = check(c, n_in, "all_gather");
    if (r == CO_OK) r = enter(c, on, &s, "all_gather", n_in);
    if (r == CO_OK) r = from_nccl(c, ncclAllGather(in, out, bytes, ncclUint8, c->nccl, s), "all_gather", n_in);
    return leave(c, on, r, "all_gather", n_in);
}

static int nccl_broadcast(void *self, void *buf, int64_t n, co_dtype t, int32_t root, co_stream on)
{
    nccl_comm *c = self;
    cudaStream_t s;
    int r = check(c, n, "broadcast");
    if (r == CO_OK && (root < 0 || root >= c->at.world)) r = CO_FAIL(c->host, CO_E_INVALID, "broadcast from rank %d of %d", root, c->at.world);
    if (r == CO_OK) r = enter(c, on, &s, "broadcast", n);
    if (r == CO_OK) r = from_nccl(c, ncclBroadcast(buf, buf, (size_t)n * co_dtype_bytes(t), ncclUint8, root, c->nccl, s), "broadcast", n);
    return leave(c, on, r, "broadcast", n);
}

static int nccl_barrier(void *self)
{
    nccl_comm *c = self;
    return MPI_Barrier(c->mpi) ? fail(c, "barrier", 0, "MPI_Barrier") : CO_OK;
}

/* The launcher ends everybody, peers inside a collective too. Not ncclCommAbort first: it acts on this rank alone, and may itself wait for one
 * that is gone. */
static int nccl_abort(void *self, int code)
{
    (void)self;
    MPI_Abort(MPI_COMM_WORLD, code);
    return CO_OK;
}

static const co_comm_vt nccl_vt = {
    .struct_size = sizeof nccl_vt, .mem_kinds = 1u << CO_MEM_DEVICE, .open = nccl_open, .close = nccl_close, .info = nccl_info,
    .split = nccl_split, .all_reduce = nccl_all_reduce, .reduce_scatter = nccl_reduce_scatter, .all_gather = nccl_all_gather,
    .broadcast = nccl_broadcast, .barrier = nccl_barrier, .abort = nccl_abort};
static const co_feature feature = {.struct_size = sizeof feature, .kind = CO_KIND_COMM, .name = "nccl",
                                   .summary = "GPUs over NCCL, ranks over MPI; sums as in rank order", .opts = options,
                                   .opts_size = sizeof(nccl_opts), .vt = &nccl_vt};
static const co_feature *const features[] = {&feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "coati-comm-nccl",
                                 .vendor = "coati", .version = "0.1.0", .license = "Apache-2.0", .url = "", .features = features,
                                 .deinit = mpi_end};
CO_PLUGIN(plugin);
