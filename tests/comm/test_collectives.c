/* test_collectives.c: every collective against a plain loop over what all ranks put in, to the bit. Run under mpirun with any
 * number of ranks; the argument "lazy" puts the data in device memory the host cannot touch, "cuda" in a GPU's, and "nccl" there
 * with comm nccl instead of comm mpi; "nccl ordered": with that value of its option sums. */
#include "check.h"
#include "core/base/error.h"
#include "core/config/config.h"
#include "core/host/host.h"
#include "core/params/half.h"
#include "graph/lazy.h"
#include <stdint.h>

static const co_backend_vt *be;
static const co_comm_vt *vt;
static void *be_self;

static void must(int r, const char *what)
{
    if (r == CO_OK) return;
    fprintf(stderr, "%s: %s\n", what, error_message());
    exit(1);
}

/* ---- what a rank puts in: a value of its own for each element --------------------------------------------------- */
static uint32_t mix(uint32_t x)
{
    x ^= x >> 16, x *= 0x7feb352du, x ^= x >> 15, x *= 0x846ca68bu;
    return x ^ x >> 16;
}
static double value(int rank, int64_t i, co_dtype t)
{
    const uint32_t u = mix((uint32_t)(rank * 7919 + 1) * 2654435761u + (uint32_t)i);
    if (t == CO_U8) return u % 256;
    if (t == CO_I32 || t == CO_I64) return (double)(int32_t)(u >> 4) * (u & 1 ? 1 : -1);
    return ldexp((double)(int32_t)u, -31 - (int)(u % 11)); /* of many sizes, so that the order of a sum shows */
}
static void put(void *at, int64_t i, double v, co_dtype t)
{
    switch (t) {
    case CO_F32: ((float *)at)[i] = (float)v; break;
    case CO_BF16: ((uint16_t *)at)[i] = bf16_from_f32((float)v); break;
    case CO_F16: ((uint16_t *)at)[i] = f16_from_f32((float)v); break;
    case CO_I32: ((int32_t *)at)[i] = (int32_t)v; break;
    case CO_U8: ((uint8_t *)at)[i] = (uint8_t)(int64_t)v; break;
    case CO_I64: ((int64_t *)at)[i] = (int64_t)v; break;
    case CO_F64: ((double *)at)[i] = v; break;
    }
}
static double rounded(int rank, int64_t i, co_dtype t) /* as the element holds it */
{
    const double v = value(rank, i, t);
    if (t == CO_F32) return (double)(float)v;
    if (t == CO_BF16) return (double)bf16_to_f32(bf16_from_f32((float)v));
    if (t == CO_F16) return (double)f16_to_f32(f16_from_f32((float)v));
    return v;
}
/* Element i of the sum over `ranks`, in their order: fp32 sums for fp32 and below. */
static double sum_of(const int *ranks, int n, int64_t i, co_dtype t)
{
    double wide = rounded(ranks[0], i, t);
    for (int k = 1; k < n; k++) {
        wide += rounded(ranks[k], i, t);
        if (t == CO_F32 || t == CO_BF16 || t == CO_F16) wide = (double)(float)wide;
        if (t == CO_U8) wide = (double)((int64_t)wide % 256);
        if (t == CO_I32) wide = (double)(int32_t)(uint32_t)(int64_t)wide;
    }
    return wide;
}

/* ---- memory of the backend, filled and looked at by copies ------------------------------------------------------ */
static void *fill(int rank, int64_t first, int64_t n, co_dtype t, size_t elements)
{
    const size_t size = co_dtype_bytes(t);
    char *plain = calloc(elements + 1, size);
    void *p = NULL;
    for (int64_t i = 0; i < n; i++) put(plain, i, value(rank, first + i, t), t);
    must(be->alloc(be_self, CO_MEM_DEVICE, (elements + 1) * size, &p), "alloc");
    must(be->copy(be_self, p, plain, (elements + 1) * size, NULL), "copy");
    free(plain);
    return p;
}
static void expect(const void *p, const char *want, int64_t n, co_dtype t, const char *what)
{
    const size_t bytes = (size_t)n * co_dtype_bytes(t);
    char *got = calloc(bytes + 1, 1);
    must(be->copy(be_self, got, p, bytes, NULL), "copy");
    must(be->stream_sync(be_self, NULL), "sync");
    CHECK_MSG(memcmp(got, want, bytes) == 0, "%s of %lld elements of type %d", what, (long long)n, (int)t);
    free(got);
}

/* All collectives with n elements a rank over the communicator whose members are world ranks ranks[0..world). */
static void check_size(void *comm, const int *ranks, int world, int me, int64_t n, co_dtype t)
{
    const size_t size = co_dtype_bytes(t), all = (size_t)n * (size_t)world;
    char *want = calloc(all + 1, size);
    void *a, *b;

    for (int64_t i = 0; i < n; i++) put(want, i, sum_of(ranks, world, i, t), t);
    a = fill(ranks[me], 0, n, t, (size_t)n);
    must(vt->all_reduce(comm, a, n, t, NULL), "all_reduce");
    expect(a, want, n, t, "all_reduce");
    be->free(be_self, CO_MEM_DEVICE, a);

    for (int64_t i = 0; i < n; i++) put(want, i, sum_of(ranks, world, (int64_t)me * n + i, t), t);
    for (int place = 0; place < 3; place++) { /* elsewhere, at the start, at the own piece */
        a = fill(ranks[me], 0, (int64_t)all, t, all);
        b = fill(0, 0, 0, t, (size_t)n);
        char *const out = place == 0 ? b : place == 1 ? a : (char *)a + (size_t)me * (size_t)n * size;
        must(vt->reduce_scatter(comm, a, out, n, t, NULL), "reduce_scatter");
        expect(out, want, n, t, place ? "reduce_scatter in place" : "reduce_scatter");
        be->free(be_self, CO_MEM_DEVICE, a);
        be->free(be_self, CO_MEM_DEVICE, b);
    }

    for (int r = 0; r < world; r++)
        for (int64_t i = 0; i < n; i++) put(want, r * n + i, value(ranks[r], i, t), t);
    for (int in_place = 0; in_place < 2; in_place++) {
        a = fill(ranks[me], 0, n, t, (size_t)n);
        b = fill(0, 0, 0, t, all);
        char *const own = (char *)b + (size_t)me * (size_t)n * size;
        if (in_place) must(be->copy(be_self, own, a, (size_t)n * size, NULL), "copy");
        must(vt->all_gather(comm, in_place ? own : a, b, n, t, NULL), "all_gather");
        expect(b, want, (int64_t)all, t, in_place ? "all_gather in place" : "all_gather");
        be->free(be_self, CO_MEM_DEVICE, a);
        be->free(be_self, CO_MEM_DEVICE, b);
    }

    for (int root = 0; root < world; root++) {
        for (int64_t i = 0; i < n; i++) put(want, i, value(ranks[root], i, t), t);
        a = fill(ranks[me], 0, n, t, (size_t)n);
        must(vt->broadcast(comm, a, n, t, root, NULL), "broadcast");
        expect(a, want, n, t, "broadcast");
        be->free(be_self, CO_MEM_DEVICE, a);
    }
    free(want);
}

static void check_all(void *comm, const int *ranks, int world, int me)
{
    static const int64_t sizes[] = {0, 1, 2, 3, 5, 17, 1000, 4097};
    for (int t = CO_F32; t <= CO_F64; t++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) check_size(comm, ranks, world, me, sizes[i], (co_dtype)t);
    must(vt->barrier(comm), "barrier");
}

int main(int argc, char **argv)
{
    const char *const how = argc > 1 ? argv[1] : "";
    const int lazy = strcmp(how, "lazy") == 0, nccl = strcmp(how, "nccl") == 0;
    const char *const backend = nccl || strcmp(how, "cuda") == 0 ? "cuda" : "cpu", *const name = nccl ? "nccl" : "mpi";
    config *defaults = config_new();
    host *h = host_new(NULL);
    const co_feature *f;
    void *comm = NULL, *sub = NULL;
    int32_t rank, world, local_rank, local_world, sub_rank, sub_world;
    int everybody[64], part[64], n_part = 0;
    must(host_feature(h, CO_KIND_BACKEND, backend, &f), backend);
    be = host_backend(h, f);
    void *opts = calloc(f->opts_size, 1);
    must(config_bind(defaults, "backend", f->opts, host_plugin_of(h, f)->magic.opt_stride, backend, opts), "its options");
    if (be->open(host_services(h), opts, &be_self)) return printf("skipped: %s\n", error_message()), 77; /* no GPU */
    free(opts);
    config_free(defaults);
    if (lazy) lazy_wrap(&be, &be_self, 0);
    must(host_feature(h, CO_KIND_COMM, name, &f), name);
    vt = host_comm(h, f);
    void *comm_opts = calloc(f->opts_size + 1, 1);
    config *chosen = config_new();
    if (argc > 2) must(config_set(chosen, "comm", "sums", argv[2]), argv[2]);
    if (f->opts) must(config_bind(chosen, "comm", f->opts, host_plugin_of(h, f)->magic.opt_stride, name, comm_opts), "its options");
    const int opened = vt->open(host_services(h), comm_opts, be, be_self, &comm);
    config_free(chosen);
    free(comm_opts);
    if (nccl && opened == CO_E_CONFIG) return printf("skipped: %s\n", error_message()), 77; /* fewer GPUs than ranks */
    must(opened, name);
    must(vt->info(comm, &rank, &world, &local_rank, &local_world), "info");
    CHECK(world >= 1 && world <= 64 && rank >= 0 && rank < world);
    CHECK(local_rank == rank && local_world == world); /* one machine here */
    for (int i = 0; i < world; i++) everybody[i] = i;
    check_all(comm, everybody, world, rank);

    /* More than a round of 8 MiB a rank (64 MiB with nccl), and pieces of different length. */
    check_size(comm, everybody, world, rank, ((int64_t)(nccl ? 72 : 9) << 20) / world / 4 + 7, CO_F32);

    /* Even and odd ranks apart, highest first. */
    for (int i = world - 1; i >= 0; i--)
        if (i % 2 == rank % 2) part[n_part++] = i;
    must(vt->split(comm, rank % 2, world - rank, &sub), "split");
    must(vt->info(sub, &sub_rank, &sub_world, &local_rank, &local_world), "info");
    CHECK(sub_world == n_part && part[sub_rank] == rank && local_rank == sub_rank && local_world == n_part);
    check_all(sub, part, n_part, sub_rank);
    vt->close(sub);

    CHECK(vt->all_reduce(comm, NULL, -1, CO_F32, NULL) == CO_E_INVALID);
    CHECK(vt->broadcast(comm, NULL, 0, CO_F32, world, NULL) == CO_E_INVALID);
    CHECK(vt->split(comm, -1, 0, &sub) == CO_E_INVALID);

    vt->close(comm);
    be->close(be_self);
    host_free(h);
    return check_done();
}
