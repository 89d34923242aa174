/* mpi.c: collectives over MPI, made of point-to-point messages so that sums do not depend on what arrives first: a rank gets
 * everybody's pieces of its own range, adds them in rank order, and hands the result to the others. Traffic is that of a
 * ring: (N-1)/N of the buffer a rank for reduce_scatter and for all_gather, twice that for all_reduce.
 *
 * Messages go in rounds of `segment` bytes a piece, so that what is held beside the caller's buffers is bounded. Where the
 * backend is async, device memory goes through pinned memory round by round and the stream is waited for: meant for tests
 * and for start-up, not for speed. Elsewhere everything has happened when a call returns, which is stream order. */
#include "pieces.h"
#include "place.h"
#include "sum.h"
#include <string.h>

#define HELD ((size_t)8 << 20)     /* bytes of messages on their way to a rank, all peers together */
#define SEGMENT_LEAST ((size_t)16 << 10)
#define TAG 7

typedef struct mpi_comm {
    const co_host *host;
    const co_backend_vt *be;
    void *be_self;
    MPI_Comm comm;
    int own;              /* the communicator is freed by close */
    mpi_place at;
    size_t segment;       /* bytes a piece and round */
    char *arrived;        /* [world * segment] what peers sent */
    char *staged;         /* async backends: [world * segment], pinned */
    const void **from;    /* [world] */
    int64_t *bounds;      /* [world + 1] piece j is elements bounds[j] to bounds[j+1] */
    MPI_Request *pending; /* [2 * world] */
} mpi_comm;

static int fail_mpi(const mpi_comm *c, int e, const char *what, int64_t n)
{
    char text[MPI_MAX_ERROR_STRING + 1] = "";
    int len = 0;
    MPI_Error_string(e, text, &len);
    return CO_FAIL(c->host, CO_E_COMM, "rank %d on %s: %s of %lld elements among %d ranks failed: %s", c->at.world_rank, c->at.node, what,
                   (long long)n, c->at.world, text);
}

static void mpi_close(void *self)
{
    mpi_comm *c = self;
    if (!c) return;
    if (c->staged) c->be->free(c->be_self, CO_MEM_PINNED, c->staged);
    if (c->own) MPI_Comm_free(&c->comm);
    void *const list[] = {c->arrived, c->from, c->bounds, c->pending, c};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) c->host->free(c->host, list[i]);
}

static int take_memory(mpi_comm *c)
{
    const co_host *h = c->host;
    const size_t n = (size_t)c->at.world;
    c->segment = (HELD / n < SEGMENT_LEAST ? SEGMENT_LEAST : HELD / n) & ~(size_t)255;
    c->arrived = c->at.world > 1 ? h->alloc(h, n * c->segment, 256) : NULL;
    c->from = h->alloc(h, n * sizeof *c->from, 16);
    c->bounds = h->alloc(h, (n + 1) * sizeof *c->bounds, 16);
    c->pending = h->alloc(h, 2 * n * sizeof *c->pending, 16);
    if ((c->at.world > 1 && !c->arrived) || !c->from || !c->bounds || !c->pending)
        return CO_FAIL(h, CO_E_NOMEM, "comm mpi: rank %d on %s is out of memory", c->at.world_rank, c->at.node);
    void *p = NULL;
    const int r = c->at.world > 1 && c->be->flags & CO_BACKEND_ASYNC ? c->be->alloc(c->be_self, CO_MEM_PINNED, n * c->segment, &p) : CO_OK;
    c->staged = p;
    return r;
}

static int open_over(const co_host *h, const co_backend_vt *be, void *be_self, MPI_Comm comm, int own, void **self)
{
    mpi_comm *c = h->alloc(h, sizeof *c, 16);
    if (!c) return CO_FAIL(h, CO_E_NOMEM, "comm mpi: out of memory");
    c->host = h;
    c->be = be;
    c->be_self = be_self;
    c->comm = comm;
    c->own = own;
    const int e = mpi_find_place(comm, &c->at);
    int r = e ? fail_mpi(c, e, "finding the ranks of a node", 0) : take_memory(c);
    if (r) mpi_close(c);
    else *self = c;
    return r;
}

static int mpi_open(const co_host *h, const void *opts, const co_backend_vt *be, void *be_self, void **self)
{
    (void)opts;
    const int r = mpi_begin(h, "mpi");
    return r ? r : open_over(h, be, be_self, MPI_COMM_WORLD, 0, self);
}

static int mpi_info(void *self, int32_t *rank, int32_t *world, int32_t *local_rank, int32_t *local_world)
{
    const mpi_comm *c = self;
    *rank = c->at.rank;
    *world = c->at.world;
    *local_rank = c->at.local_rank;
    *local_world = c->at.local_world;
    return CO_OK;
}

static int mpi_split(void *self, int32_t color, int32_t key, void **sub)
{
    const mpi_comm *c = self;
    MPI_Comm part;
    if (color < 0) return CO_FAIL(c->host, CO_E_INVALID, "split: color %d; at least 0", color);
    const int e = MPI_Comm_split(c->comm, color, key, &part);
    return e ? fail_mpi(c, e, "split", 0) : open_over(c->host, c->be, c->be_self, part, 1, sub);
}

/* ---- rounds ------------------------------------------------------------------------------------------------------ */
static int stage(mpi_comm *c, void *to, const void *from, size_t bytes, co_stream on)
{
    return bytes ? c->be->copy(c->be_self, to, from, bytes, on) : CO_OK;
}

/* The sum of everybody's piece `rank`, into `out`. in + bounds[j]: this rank's contribution to piece j. */
static int reduce_pieces(mpi_comm *c, const char *in, char *out, co_dtype t, co_stream on, const char *what, int64_t n)
{
    const size_t size = co_dtype_bytes(t);
    const int64_t most = (int64_t)(c->segment / size), end = piece_longest(c->bounds, c->at.world);
    int r = CO_OK, e = MPI_SUCCESS;
    for (int64_t at = 0; at < end && r == CO_OK; at += most) {
        const int64_t mine = piece_share(c->bounds, c->at.rank, at, most);
        int pending = 0;
        for (int j = 0; j < c->at.world && c->staged && r == CO_OK; j++)
            r = stage(c, c->staged + (size_t)j * c->segment, in + (size_t)(c->bounds[j] + at) * size, (size_t)piece_share(c->bounds, j, at, most) * size, on);
        if (r == CO_OK && c->staged) r = c->be->stream_sync(c->be_self, on);
        if (r) return r;
        for (int j = 0; j < c->at.world && !e; j++) {
            c->from[j] = c->arrived + (size_t)j * c->segment;
            if (j != c->at.rank && mine) e = MPI_Irecv(c->arrived + (size_t)j * c->segment, (int)(mine * (int64_t)size), MPI_BYTE, j, TAG, c->comm, &c->pending[pending++]);
        }
        for (int k = 1; k <= c->at.world && !e; k++) { /* each rank begins with its neighbour, not all with rank 0 */
            const int j = (c->at.rank + k) % c->at.world;
            const int64_t m = piece_share(c->bounds, j, at, most);
            const char *piece = c->staged ? c->staged + (size_t)j * c->segment : in + (size_t)(c->bounds[j] + at) * size;
            if (j == c->at.rank) c->from[j] = piece;
            else if (m) e = MPI_Isend(piece, (int)(m * (int64_t)size), MPI_BYTE, j, TAG, c->comm, &c->pending[pending++]);
        }
        if (!e) e = MPI_Waitall(pending, c->pending, MPI_STATUSES_IGNORE);
        if (e) return fail_mpi(c, e, what, n);
        char *const to = c->staged ? c->staged + (size_t)c->at.rank * c->segment : out + (size_t)at * size;
        if (mine) sum_in_order(to, c->from, c->at.world, mine, t);
        if (c->staged) r = stage(c, out + (size_t)at * size, to, (size_t)mine * size, on);
        if (r == CO_OK && c->staged) r = c->be->stream_sync(c->be_self, on);
    }
    return r;
}

/* Piece `rank` of buf to everybody, and theirs into buf. */
static int gather_pieces(mpi_comm *c, char *buf, size_t size, co_stream on, const char *what, int64_t n)
{
    const int64_t most = (int64_t)(c->segment / size), end = piece_longest(c->bounds, c->at.world);
    int r = CO_OK, e = MPI_SUCCESS;
    for (int64_t at = 0; at < end && r == CO_OK; at += most) {
        const int64_t mine = piece_share(c->bounds, c->at.rank, at, most);
        const char *own = buf + (size_t)(c->bounds[c->at.rank] + at) * size;
        int pending = 0;
        if (c->staged) {
            char *const here = c->staged + (size_t)c->at.rank * c->segment;
            r = stage(c, here, own, (size_t)mine * size, on);
            if (r == CO_OK) r = c->be->stream_sync(c->be_self, on);
            if (r) return r;
            own = here;
        }
        for (int k = 1; k < c->at.world && !e; k++) {
            const int j = (c->at.rank + k) % c->at.world;
            const int64_t m = piece_share(c->bounds, j, at, most);
            char *const to = c->staged ? c->staged + (size_t)j * c->segment : buf + (size_t)(c->bounds[j] + at) * size;
            if (m) e = MPI_Irecv(to, (int)(m * (int64_t)size), MPI_BYTE, j, TAG, c->comm, &c->pending[pending++]);
            if (!e && mine) e = MPI_Isend(own, (int)(mine * (int64_t)size), MPI_BYTE, j, TAG, c->comm, &c->pending[pending++]);
        }
        if (!e) e = MPI_Waitall(pending, c->pending, MPI_STATUSES_IGNORE);
        if (e) return fail_mpi(c, e, what, n);
        for (int j = 0; j < c->at.world && c->staged && r == CO_OK; j++)
            if (j != c->at.rank)
                r = stage(c, buf + (size_t)(c->bounds[j] + at) * size, c->staged + (size_t)j * c->segment, (size_t)piece_share(c->bounds, j, at, most) * size, on);
        if (r == CO_OK && c->staged) r = c->be->stream_sync(c->be_self, on);
    }
    return r;
}

/* ---- collectives ------------------------------------------------------------------------------------------------- */
static int check(const mpi_comm *c, int64_t n, const char *what)
{
    return n < 0 ? CO_FAIL(c->host, CO_E_INVALID, "%s of %lld elements", what, (long long)n) : CO_OK;
}

static int mpi_all_reduce(void *self, void *buf, int64_t n, co_dtype t, co_stream on)
{
    mpi_comm *c = self;
    int r = check(c, n, "all_reduce");
    if (r || c->at.world == 1) return r;
    piece_cut(c->bounds, c->at.world, n);
    const size_t size = co_dtype_bytes(t);
    r = reduce_pieces(c, buf, (char *)buf + (size_t)c->bounds[c->at.rank] * size, t, on, "all_reduce", n);
    return r ? r : gather_pieces(c, buf, size, on, "all_reduce", n);
}

static int mpi_reduce_scatter(void *self, const void *in, void *out, int64_t n_out, co_dtype t, co_stream on)
{
    mpi_comm *c = self;
    int r = check(c, n_out, "reduce_scatter");
    if (r) return r;
    if (c->at.world == 1) return in == out || n_out == 0 ? CO_OK : c->be->copy(c->be_self, out, in, (size_t)n_out * co_dtype_bytes(t), on);
    for (int j = 0; j <= c->at.world; j++) c->bounds[j] = n_out * j;
    return reduce_pieces(c, in, out, t, on, "reduce_scatter", n_out);
}

static int mpi_all_gather(void *self, const void *in, void *out, int64_t n_in, co_dtype t, co_stream on)
{
    mpi_comm *c = self;
    const size_t size = co_dtype_bytes(t);
    char *const own = (char *)out + (size_t)c->at.rank * (size_t)n_in * size;
    int r = check(c, n_in, "all_gather");
    if (r == CO_OK && in != own && n_in) r = c->be->copy(c->be_self, own, in, (size_t)n_in * size, on);
    if (r || c->at.world == 1) return r;
    for (int j = 0; j <= c->at.world; j++) c->bounds[j] = n_in * j;
    return gather_pieces(c, out, size, on, "all_gather", n_in);
}

static int mpi_broadcast(void *self, void *buf, int64_t n, co_dtype t, int32_t root, co_stream on)
{
    mpi_comm *c = self;
    const size_t all = (size_t)n * co_dtype_bytes(t), round = (size_t)c->at.world * c->segment;
    int r = check(c, n, "broadcast");
    if (r == CO_OK && (root < 0 || root >= c->at.world)) r = CO_FAIL(c->host, CO_E_INVALID, "broadcast from rank %d of %d", root, c->at.world);
    for (size_t at = 0; at < all && r == CO_OK && c->at.world > 1; at += round) {
        const size_t m = all - at < round ? all - at : round;
        char *const here = (char *)buf + at;
        if (c->staged && c->at.rank == root) r = stage(c, c->staged, here, m, on);
        if (r == CO_OK && c->staged) r = c->be->stream_sync(c->be_self, on);
        if (r) break;
        const int e = MPI_Bcast(c->staged ? c->staged : here, (int)m, MPI_BYTE, root, c->comm);
        if (e) return fail_mpi(c, e, "broadcast", n);
        if (c->staged && c->at.rank != root) r = stage(c, here, c->staged, m, on);
        if (r == CO_OK && c->staged) r = c->be->stream_sync(c->be_self, on);
    }
    return r;
}

static int mpi_barrier(void *self)
{
    mpi_comm *c = self;
    const int e = MPI_Barrier(c->comm);
    return e ? fail_mpi(c, e, "barrier", 0) : CO_OK;
}

static int mpi_abort(void *self, int code)
{
    (void)self;
    MPI_Abort(MPI_COMM_WORLD, code);
    return CO_OK;
}

static const co_comm_vt mpi_vt = {
    .struct_size = sizeof mpi_vt, .mem_kinds = 1u << CO_MEM_HOST | 1u << CO_MEM_PINNED | 1u << CO_MEM_DEVICE,
    .open = mpi_open, .close = mpi_close, .info = mpi_info, .split = mpi_split, .all_reduce = mpi_all_reduce,
    .reduce_scatter = mpi_reduce_scatter, .all_gather = mpi_all_gather, .broadcast = mpi_broadcast, .barrier = mpi_barrier,
    .abort = mpi_abort};
static const co_feature feature = {.struct_size = sizeof feature, .kind = CO_KIND_COMM, .name = "mpi",
                                   .summary = "ranks over MPI; sums in rank order", .vt = &mpi_vt};
static const co_feature *const features[] = {&feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "coati-comm-mpi",
                                 .vendor = "coati", .version = "0.1.0", .license = "Apache-2.0", .url = "", .features = features,
                                 .deinit = mpi_end};
CO_PLUGIN(plugin);
