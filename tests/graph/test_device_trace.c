/* test_device_trace.c: what runs on a device is in the trace on tracks of its own: each unit, or a whole pass where it is replayed as a graph,
 * steps, and collectives on the stream they go by; nothing is asked while a graph is captured. */
#include "check.h"
#include "core/base/trace.h"
#include "core/graph/device_trace.h"
#include "core/train/comm_traced.h"
#include "graph/lazy.h"
#include "models/golden.h"
#include <unistd.h>

/* A device that tells of spans when asked to flush: all of them with a stream of their own for a track. */
enum { MOST = 4096 };
static struct { uint64_t begin, end; uint32_t track; char category[16], name[64]; } spans[MOST];
static uint64_t n_spans;
static int open_spans, captured_while_open, flushed;
static co_backend_vt vt;
static const co_backend_vt *inner;

static uint64_t span_begin(void *self, co_stream on)
{
    (void)self;
    if (n_spans == MOST) return 0;
    open_spans++;
    spans[n_spans].begin = trace_services.begin();
    spans[n_spans].track = on ? 1 : 0;
    return ++n_spans;
}
static void span_end(void *self, uint64_t span, const char *category, const char *name)
{
    (void)self;
    open_spans--;
    spans[span - 1].end = trace_services.begin();
    snprintf(spans[span - 1].category, sizeof spans->category, "%s", category);
    snprintf(spans[span - 1].name, sizeof spans->name, "%s", name);
}
static void span_flush(void *self)
{
    (void)self;
    flushed++;
    for (uint64_t i = 0; i < n_spans; i++) trace_services.span(spans[i].begin, spans[i].end, spans[i].track, spans[i].category, spans[i].name);
    n_spans = 0;
}
static const co_device_trace hook = {.struct_size = sizeof hook, .begin = span_begin, .end = span_end, .flush = span_flush};
static const void *extension(void *self, const char *id) { return (void)self, strcmp(id, CO_DEVICE_TRACE_ID) == 0 ? &hook : NULL; }
static int graph_begin(void *self, co_stream on)
{
    captured_while_open += open_spans;
    return inner->graph_begin(self, on);
}
static void wrap(const co_backend_vt **be, void **self)
{
    lazy_wrap(be, self, LAZY_NONE);
    inner = *be;
    vt = *inner;
    vt.struct_size = sizeof vt;
    vt.extension = extension;
    vt.graph_begin = graph_begin;
    *be = &vt;
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)) != NULL; p++) n++;
    return n;
}

/* Four steps; the text of their trace, to be freed. */
static char *run(const golden *g, const char *path, int no_graphs)
{
    enum { STEPS = 4 };
    fixture f;
    const void *columns[2];
    const engine_batch b = golden_batch(g, columns);
    fixture_args a = {.dir = g->name, .max_tokens = g->n_tokens, .max_seqs = g->n_seqs, .wrap = wrap, .no_graphs = no_graphs};
    char *text = NULL;
    size_t len = 0;
    CHECK_MSG(fixture_open(&a, &f) == CO_OK, "%s", error_message());
    CHECK(trace_open(path, 0) == CO_OK);
    device_trace_open(f.backend, f.backend_self);
    for (int64_t step = 1; step <= STEPS; step++) {
        CHECK_MSG(engine_micro_step(f.engine, &b, 1 / g->n_labels, 1, step, 1, NULL) == CO_OK, "%s", error_message());
        CHECK(engine_step(f.engine, step, 1e-3, 1, NULL) == CO_OK);
    }
    const co_comm_vt *comm = f.comm;
    void *comm_self = f.comm_self;
    CHECK(comm_trace(&comm, &comm_self) == CO_OK); /* closes the inner one with itself: not closed here */
    co_stream side = NULL;
    void *p = NULL;
    CHECK(f.backend->stream_new(f.backend_self, &side) == CO_OK && f.backend->alloc(f.backend_self, CO_MEM_DEVICE, 1024, &p) == CO_OK);
    CHECK(comm->all_reduce(comm_self, p, 250, CO_F32, side) == CO_OK);
    device_trace_close();
    CHECK(device_trace_begin(NULL) == 0); /* nobody is asked any more */
    trace_close();
    f.backend->free(f.backend_self, CO_MEM_DEVICE, p);
    mem_free(comm_self);
    fixture_close(&f);
    CHECK(fs_read_all(path, &text, &len, 1 << 22) == CO_OK);
    return text;
}

int main(void)
{
    char dir[] = "/tmp/coati-trace-XXXXXX";
    CHECK(mkdtemp(dir) != NULL);
    char *path = fs_join(dir, "trace.json"), *from = mem_printf("%s/tests/golden/llama/gqa_tied", COATI_SOURCE_DIR);
    golden g;
    CHECK(golden_open(&g, from, from));
    for (int no_graphs = 0; no_graphs < 2; no_graphs++) {
        char *text = run(&g, path, no_graphs);
        if (!text) break;
        const char *device = "\"tid\":1000}";
        CHECK(count(text, "\"name\":\"device, stream 0\"") == 1 && count(text, "\"name\":\"device, stream 1\"") == 1);
        CHECK(count(text, device) > 4 && open_spans == 0 && captured_while_open == 0);
        /* Of four passes the first runs line by line, the second is captured and launched, the others are launched. */
        CHECK_MSG(count(text, "\"name\":\"pass of ") == (no_graphs ? 0 : 3), "%d passes", count(text, "\"name\":\"pass of "));
        int units = 0, steps = 0;
        for (const char *line = text; line; line = strchr(line + 1, '\n')) {
            const size_t n = strcspn(line + 1, "\n") + 1;
            char one[512];
            snprintf(one, n + 1 < sizeof one ? n + 1 : sizeof one, "%s", line);
            units += strstr(one, "\"cat\":\"unit\"") && strstr(one, "/backward ") && strstr(one, device);
            steps += strstr(one, "\"name\":\"step ") && strstr(one, device);
        }
        CHECK_MSG(no_graphs ? units >= 8 && units % 4 == 0 : units == 0, "%d units", units);
        CHECK_MSG(steps == 4, "%d steps", steps);
        CHECK(count(text, "\"name\":\"all_reduce 0.001 MB\",\"cat\":\"comm\"") == 2 && count(text, "\"tid\":1001}") == 1); /* the host's, and the stream's */
        mem_free(text);
    }
    CHECK(flushed == 2);
    golden_close(&g);
    CHECK(unlink(path) == 0 && rmdir(dir) == 0);
    mem_free(from);
    mem_free(path);
    return check_done();
}
