/* trace.c: when what was queued on a stream ran, for the run's trace. Each span is a pair of events that carry times; it is handed on when
 * both have passed, which is looked at whenever the next one begins, so that nothing waits. Times count from an event that the host
 * waited for once: both clocks agree to some ten microseconds. */
#include "trace.h"
#include <stdio.h>
#include <string.h>

#define SPANS 4096 /* under way at most: some steps of a large model; then the oldest is waited for */
#define STREAMS 16

typedef struct span {
    cudaEvent_t from, to;
    uint32_t track;
    int ended;
    char category[16], name[64];
} span;

struct cuda_trace {
    const co_trace *out;
    span ring[SPANS];
    uint64_t first, next; /* spans first to next are under way */
    cudaEvent_t base;
    uint64_t base_ns;
    cudaStream_t streams[STREAMS];
    uint32_t n_streams;
};

static cuda_trace *trace_of(gpu *c)
{
    const co_trace *out = c->host->extension(c->host, CO_TRACE_ID);
    if (c->trace || !out || !CO_HAS(co_trace, out, span)) return c->trace;
    cuda_trace *t = c->host->alloc(c->host, sizeof *t, 16);
    if (!t) return NULL;
    t->out = out;
    c->trace = t;
    for (int i = 0; i < SPANS; i++)
        if (cudaEventCreate(&t->ring[i].from) != cudaSuccess || cudaEventCreate(&t->ring[i].to) != cudaSuccess) goto failed;
    if (cudaEventCreate(&t->base) != cudaSuccess || cudaEventRecord(t->base, c->main) != cudaSuccess || cudaEventSynchronize(t->base) != cudaSuccess) goto failed;
    t->base_ns = out->begin();
    return t;
failed:
    trace_free(c);
    return NULL;
}

void trace_free(gpu *c)
{
    cuda_trace *t = c->trace;
    if (!t) return;
    for (int i = 0; i < SPANS; i++) {
        if (t->ring[i].from) (void)cudaEventDestroy(t->ring[i].from);
        if (t->ring[i].to) (void)cudaEventDestroy(t->ring[i].to);
    }
    if (t->base) (void)cudaEventDestroy(t->base);
    c->host->free(c->host, t);
    c->trace = NULL;
}

/* Hands on what has passed; waits for those before wait_until. */
static void drain(cuda_trace *t, uint64_t wait_until)
{
    while (t->first < t->next) {
        span *s = &t->ring[t->first % SPANS];
        float from = 0, took = 0;
        if (!s->ended) break;
        if (t->first < wait_until ? cudaEventSynchronize(s->to) != cudaSuccess : cudaEventQuery(s->to) != cudaSuccess) break;
        if (cudaEventElapsedTime(&from, t->base, s->from) == cudaSuccess && cudaEventElapsedTime(&took, s->from, s->to) == cudaSuccess) {
            const uint64_t begin = t->base_ns + (uint64_t)(1e6 * (double)from);
            t->out->span(begin, begin + (uint64_t)(1e6 * (double)took), s->track, s->category, s->name);
        }
        t->first++;
    }
    (void)cudaGetLastError(); /* "not ready" is no error of anybody's */
}

/* Tracks in the order streams are first seen; the backend's own is the first. */
static uint32_t track_of(cuda_trace *t, const gpu *c, cudaStream_t on)
{
    if (t->n_streams == 0) t->streams[t->n_streams++] = c->main;
    for (uint32_t i = 0; i < t->n_streams; i++)
        if (t->streams[i] == on) return i;
    if (t->n_streams == STREAMS) return CO_NONE;
    t->streams[t->n_streams] = on;
    return t->n_streams++;
}

static uint64_t trace_begin(void *self, co_stream on)
{
    gpu *c = self;
    cuda_trace *t = trace_of(c);
    if (!t) return 0;
    drain(t, t->next - t->first == SPANS ? t->first + 1 : 0);
    if (t->next - t->first == SPANS) return 0; /* the oldest has not ended: spans within spans */
    span *s = &t->ring[t->next % SPANS];
    s->ended = 0;
    s->track = track_of(t, c, cuda_stream(c, on));
    if (s->track == CO_NONE) return 0; /* more streams than anybody can look at */
    if (cudaEventRecord(s->from, cuda_stream(c, on)) != cudaSuccess) return 0;
    return ++t->next;
}

static void trace_end(void *self, uint64_t number, const char *category, const char *name)
{
    gpu *c = self;
    span *s = &c->trace->ring[(number - 1) % SPANS];
    snprintf(s->category, sizeof s->category, "%s", category);
    snprintf(s->name, sizeof s->name, "%s", name);
    (void)cudaEventRecord(s->to, c->trace->streams[s->track]);
    s->ended = 1;
}

static void trace_flush(void *self)
{
    gpu *c = self;
    if (!c->trace) return;
    drain(c->trace, c->trace->next);
    trace_free(c);
}

const co_device_trace cuda_device_trace = {.struct_size = sizeof cuda_device_trace, .begin = trace_begin, .end = trace_end, .flush = trace_flush};
