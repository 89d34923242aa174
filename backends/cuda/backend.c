/* backend.c: one GPU as a backend: device, memory, streams and events. Plans are in plan.c. */
#include "cuda.h"
#include "plan.h"
#include "trace.h"
#include <stdlib.h>
#include <string.h>

typedef struct cuda_opts { int64_t device; int32_t deterministic; } cuda_opts;
static const co_opt options[] = {
    {"device", CO_OPT_INT, offsetof(cuda_opts, device), 0, "-1", -1, 1023, NULL, "number of the GPU among those CUDA_VISIBLE_DEVICES shows; -1: this rank's own"},
    {"deterministic", CO_OPT_BOOL, offsetof(cuda_opts, deterministic), 0, "0", 0, 1, NULL, "the same bits every time"},
    CO_OPT_END};

int cuda_check(const gpu *c, cudaError_t e, const char *what)
{
    if (e == cudaSuccess) return CO_OK;
    return CO_FAIL(c->host, e == cudaErrorMemoryAllocation ? CO_E_NOMEM : CO_E_DEVICE, "backend cuda, device %d: %s: %s", c->device,
                   what, cudaGetErrorString(e));
}

/* Which rank of this machine this is, as its launcher says; 0 without one. */
static int local_rank(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *text = getenv(names[i]);
        if (text && *text >= '0' && *text <= '9') return (int)strtol(text, NULL, 10);
    }
    return 0;
}

static int choose_device(gpu *c, int64_t wanted)
{
    int n = 0;
    const cudaError_t e = cudaGetDeviceCount(&n);
    if (e != cudaSuccess || n == 0)
        return CO_FAIL(c->host, CO_E_CONFIG, "backend cuda: no GPU can be used (%s): is a driver installed, and does CUDA_VISIBLE_DEVICES "
                       "show a device? [run] backend = cpu needs none", e == cudaSuccess ? "none is visible" : cudaGetErrorString(e));
    c->device = wanted < 0 ? local_rank() % n : (int)wanted; /* more ranks than GPUs share them */
    if (c->device >= n)
        return CO_FAIL(c->host, CO_E_CONFIG, "backend cuda: there is no device %d, the visible ones are 0 to %d", c->device, n - 1);
    struct cudaDeviceProp p;
    int r = cuda_check(c, cudaGetDeviceProperties(&p, c->device), "reading its properties");
    if (r) return r;
    if (p.major < 8)
        return CO_FAIL(c->host, CO_E_CONFIG, "backend cuda: device %d (%s) has compute capability %d.%d; 8.0 (Ampere) is the least", c->device,
                       p.name, p.major, p.minor);
    c->sms = p.multiProcessorCount;
    c->max_shared = p.sharedMemPerBlockOptin;
    c->host->log(c->host, CO_LOG_INFO, "cuda", "device %d: %s, compute capability %d.%d, %d multiprocessors, %.1f GiB", c->device, p.name,
                 p.major, p.minor, p.multiProcessorCount, (double)p.totalGlobalMem / (1 << 30));
    return cuda_check(c, cudaSetDevice(c->device), "choosing it");
}

static void cuda_close(void *self)
{
    gpu *c = self;
    if (!c) return;
    if (c->main) (void)cudaStreamSynchronize(c->main);
    trace_free(c);
    gemm_close(c);
    (void)cudaFree(c->partial);
    if (c->main) (void)cudaStreamDestroy(c->main);
    c->host->free(c->host, c);
}

static int cuda_open(const co_host *h, const void *opts, void **self)
{
    const cuda_opts *o = opts;
    gpu *c = h->alloc(h, sizeof *c, 64);
    if (!c) return CO_FAIL(h, CO_E_NOMEM, "backend cuda: out of memory");
    c->host = h;
    c->deterministic = o->deterministic;
    c->seed = h->extension(h, "coati.seed/1");
    int r = choose_device(c, o->device);
    if (r == CO_OK) r = cuda_check(c, cudaStreamCreateWithFlags(&c->main, cudaStreamNonBlocking), "a stream");
    if (r == CO_OK) r = cuda_check(c, cudaMalloc((void **)&c->partial, SUM_BLOCKS * sizeof *c->partial), "memory for sums");
    if (r == CO_OK) r = cuda_check(c, cuda_attn_open(&c->attn, c->device), "reading what attention needs of it");
    if (r == CO_OK) r = gemm_open(c);
    if (r) cuda_close(c);
    else *self = c;
    return r;
}

static int cuda_memory(void *self, size_t *free_bytes, size_t *total_bytes)
{
    return cuda_check(self, cudaMemGetInfo(free_bytes, total_bytes), "asking for its free memory");
}

static int cuda_alloc(void *self, co_mem kind, size_t bytes, void **out)
{
    gpu *c = self;
    if (kind == CO_MEM_HOST) {
        *out = c->host->alloc(c->host, bytes, 256);
        return *out ? CO_OK : CO_FAIL(c->host, CO_E_NOMEM, "backend cuda: %zu bytes of host memory are not to be had", bytes);
    }
    if (kind == CO_MEM_PINNED) return pinned_alloc(c, bytes, out);
    const cudaError_t e = cudaMalloc(out, bytes);
    if (e == cudaErrorMemoryAllocation) {
        size_t left = 0, all = 0;
        (void)cudaGetLastError();
        (void)cudaMemGetInfo(&left, &all);
        return CO_FAIL(c->host, CO_E_NOMEM, "backend cuda, device %d: %zu bytes are not to be had, %zu of %zu are free", c->device, bytes, left, all);
    }
    int r = cuda_check(c, e, "allocating memory");
    if (r == CO_OK) r = cuda_check(c, cudaMemsetAsync(*out, 0, bytes, c->main), "clearing new memory");
    return r == CO_OK ? cuda_check(c, cudaStreamSynchronize(c->main), "clearing new memory") : r;
}

static void cuda_free(void *self, co_mem kind, void *p)
{
    gpu *c = self;
    if (kind == CO_MEM_HOST) c->host->free(c->host, p);
    else if (kind == CO_MEM_PINNED) pinned_free(c, p);
    else (void)cudaFree(p);
}

/* From or to pageable memory the runtime returns when the source has been read, or the target written. */
static int cuda_copy(void *self, void *dst, const void *src, size_t bytes, co_stream on)
{
    return bytes ? cuda_check(self, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, cuda_stream(self, on)), "copying") : CO_OK;
}
static int cuda_fill0(void *self, void *dst, size_t bytes, co_stream on)
{
    return bytes ? cuda_check(self, cudaMemsetAsync(dst, 0, bytes, cuda_stream(self, on)), "clearing memory") : CO_OK;
}

/* ---- streams and events ----------------------------------------------------------------------------------------- */
/* Side streams carry messages, of few blocks, that others wait for: the next free multiprocessor is theirs. */
static int cuda_stream_new(void *self, co_stream *out)
{
    int least = 0, greatest = 0;
    (void)cudaDeviceGetStreamPriorityRange(&least, &greatest);
    return cuda_check(self, cudaStreamCreateWithPriority((cudaStream_t *)out, cudaStreamNonBlocking, greatest), "a stream");
}
static void cuda_stream_free(void *self, co_stream s)
{
    (void)self;
    if (s) (void)cudaStreamDestroy((cudaStream_t)s);
}
static int cuda_stream_sync(void *self, co_stream s)
{
    return cuda_check(self, cudaStreamSynchronize(cuda_stream(self, s)), "running what was queued");
}
static int cuda_event_new(void *self, co_event *out)
{
    return cuda_check(self, cudaEventCreateWithFlags((cudaEvent_t *)out, cudaEventDisableTiming), "an event");
}
static void cuda_event_free(void *self, co_event e)
{
    (void)self;
    if (e) (void)cudaEventDestroy((cudaEvent_t)e);
}
static int cuda_event_record(void *self, co_event e, co_stream on)
{
    return cuda_check(self, cudaEventRecord((cudaEvent_t)e, cuda_stream(self, on)), "recording an event");
}
static int cuda_event_wait(void *self, co_event e, co_stream on)
{
    return cuda_check(self, cudaStreamWaitEvent(cuda_stream(self, on), (cudaEvent_t)e, 0), "waiting for an event");
}

/* Also from threads that have never chosen a device: they would set up one of their own, the first. */
static int cuda_event_sync(void *self, co_event e)
{
    const gpu *c = self;
    const int r = cuda_check(c, cudaSetDevice(c->device), "choosing it");
    return r ? r : cuda_check(c, cudaEventSynchronize((cudaEvent_t)e), "running what was queued");
}

/* ---- captured graphs ---------------------------------------------------------------------------------------------- */
static int cuda_graph_begin(void *self, co_stream on)
{
    return cuda_check(self, cudaStreamBeginCapture(cuda_stream(self, on), cudaStreamCaptureModeThreadLocal), "beginning a graph");
}
static int cuda_graph_end(void *self, co_stream on, void **graph)
{
    cudaGraph_t g = NULL;
    cudaGraphExec_t x = NULL;
    int r = cuda_check(self, cudaStreamEndCapture(cuda_stream(self, on), &g), "ending a graph");
    if (r == CO_OK) r = cuda_check(self, cudaGraphInstantiate(&x, g, 0), "instantiating a graph");
    if (g) (void)cudaGraphDestroy(g);
    *graph = x;
    return r;
}
static void cuda_graph_free(void *self, void *graph)
{
    (void)self;
    (void)cudaGraphExecDestroy((cudaGraphExec_t)graph);
}
static int cuda_graph_launch(void *self, void *graph, co_stream on)
{
    return cuda_check(self, cudaGraphLaunch((cudaGraphExec_t)graph, cuda_stream(self, on)), "launching a graph");
}

static const void *cuda_extension(void *self, const char *id)
{
    (void)self;
    return strcmp(id, CO_DEVICE_TRACE_ID) == 0 ? &cuda_device_trace : NULL;
}

static const co_backend_vt cuda_vt = {
    .struct_size = sizeof cuda_vt, .dtypes = 1u << CO_F32 | 1u << CO_BF16 | 1u << CO_F16, .flags = CO_BACKEND_ASYNC, .open = cuda_open, .close = cuda_close,
    .memory = cuda_memory, .alloc = cuda_alloc, .free = cuda_free, .copy = cuda_copy, .fill0 = cuda_fill0, .stream_new = cuda_stream_new,
    .stream_free = cuda_stream_free, .stream_sync = cuda_stream_sync, .event_new = cuda_event_new, .event_free = cuda_event_free,
    .event_record = cuda_event_record, .event_wait = cuda_event_wait, .supports = plan_supports, .workspace = plan_workspace,
    .prepare = plan_prepare, .discard = plan_discard, .run = plan_run, .flat_cast = cuda_flat_cast, .flat_axpy = cuda_flat_axpy,
    .flat_sqnorm = cuda_flat_sqnorm, .flat_absmax = cuda_flat_absmax, .flat_adamw = cuda_flat_adamw, .event_sync = cuda_event_sync,
    .step_factor = cuda_step_factor, .graph_begin = cuda_graph_begin, .graph_end = cuda_graph_end, .graph_launch = cuda_graph_launch, .graph_free = cuda_graph_free, .extension = cuda_extension};
static const co_feature feature = {.struct_size = sizeof feature, .kind = CO_KIND_BACKEND, .name = "cuda",
                                   .summary = "one NVIDIA GPU: cuBLASLt products and own kernels; fp32, bf16, fp16", .opts = options,
                                   .opts_size = sizeof(cuda_opts), .vt = &cuda_vt};
static const co_feature *const features[] = {&feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "coati-backend-cuda",
                                 .vendor = "coati", .version = "0.1.0", .license = "Apache-2.0", .url = "", .features = features};
CO_PLUGIN(plugin);
