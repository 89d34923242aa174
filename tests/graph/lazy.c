#include "graph/lazy.h"
#include "core/base/error.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAX_MEMORY = 64, MAX_STREAMS = 6 };
typedef enum work { RUN, COPY, FILL, CAST, AXPY, SQNORM, ADAMW, FACTOR, RECORD, WAIT, GRAPH } work;

typedef struct compiled { const co_plan *plan; void *real; uint32_t n_slots; } compiled;
typedef struct stream { struct item *items; int64_t n, cap, done; } stream;
typedef struct event { stream *on; int64_t at; } event; /* done when on->done >= at */

typedef struct item {
    work what;
    void *a, *snapshot;
    const void *b;
    co_dtype ta, tb;
    int64_t n;
    float x[4];
    compiled *plan;
    co_binding binding;
    co_optim_slice slice;
    co_step_rule rule;
    co_step_state *state;
    event wait;
    stream *graph;
} item;

/* Of streams and events. What is queued runs under it too, and queues nothing. */
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static struct {
    const co_backend_vt *real;
    void *self;
    co_backend_vt vt;
    int ahead;
    struct { void *at; size_t bytes; co_mem kind; } memory[MAX_MEMORY];
    stream streams[MAX_STREAMS]; /* [0] is the main one */
    int n_streams;
    stream *capture;
    void **kept;
    lazy_counts counts;
} z;

/* A copy that lives as long as the backend. */
static void *keep(const void *from, size_t bytes)
{
    if (!from || !bytes) return NULL;
    void **p = malloc(sizeof *p * 2 + bytes);
    if (!p) abort();
    p[0] = z.kept;
    z.kept = p;
    return memcpy(p + 2, from, bytes);
}

static void open_memory(int yes)
{
    for (int i = 0; i < MAX_MEMORY; i++)
        if (z.memory[i].at && z.memory[i].kind == CO_MEM_DEVICE) mprotect(z.memory[i].at, z.memory[i].bytes, yes ? PROT_READ | PROT_WRITE : PROT_NONE);
}
/* 0 plain host memory, else 1 + co_mem. */
static int kind_of(const void *p)
{
    for (int i = 0; i < MAX_MEMORY; i++) {
        const char *at = z.memory[i].at;
        if (at && (const char *)p >= at && (const char *)p < at + z.memory[i].bytes) return 1 + (int)z.memory[i].kind;
    }
    return 0;
}
static void on_device(const void *p) { z.counts.faults += p && kind_of(p) != 1 + CO_MEM_DEVICE; }

/* ---- running ------------------------------------------------------------------------------------------------- */
static void run_item(item *i);
static void advance(stream *s, int64_t to)
{
    while (s->done < to) {
        item i = s->items[s->done]; /* the array may move */
        if (i.what == WAIT && i.wait.on) advance(i.wait.on, i.wait.at);
        run_item(&i);
        s->done++;
    }
}
static void run_item(item *i)
{
    switch (i->what) {
    case RUN: {
        const co_live *live = i->binding.dev_live;
        i->binding.host_live = live;
        (void)z.real->run(z.self, i->plan->real, &i->binding, NULL);
        break;
    }
    case COPY: memcpy(i->a, i->snapshot ? i->snapshot : i->b, (size_t)i->n); break;
    case FILL: memset(i->a, 0, (size_t)i->n); break;
    case CAST: (void)z.real->flat_cast(z.self, i->a, i->ta, i->b, i->tb, i->n, NULL); break;
    case AXPY: (void)z.real->flat_axpy(z.self, i->a, i->b, i->ta, i->x[0], i->n, NULL); break;
    case SQNORM: (void)z.real->flat_sqnorm(z.self, i->b, i->tb, i->n, i->a, NULL); break;
    case ADAMW: (void)z.real->flat_adamw(z.self, &i->slice, i->x[0], i->x[1], i->x[2], i->x[3], NULL); break;
    case FACTOR: (void)z.real->step_factor(z.self, &i->rule, i->b, i->n, i->state, NULL); break;
    case GRAPH:
        for (int64_t k = 0; k < i->graph->n; k++) run_item(&i->graph->items[k]);
        break;
    case RECORD: case WAIT: break;
    }
}
static void advance_to(stream *s, int64_t to)
{
    pthread_mutex_lock(&mu);
    open_memory(1);
    advance(s, to);
    open_memory(0);
    pthread_mutex_unlock(&mu);
}
/* As far as it gets without making another stream run. */
static void run_ahead(stream *s)
{
    open_memory(1);
    while (s->done < s->n) {
        const item *i = &s->items[s->done];
        if (i->what == WAIT && i->wait.on && i->wait.on->done < i->wait.at) break;
        advance(s, s->done + 1);
    }
    open_memory(0);
}
static stream *stream_of(co_stream s) { return s ? (stream *)(void *)s : &z.streams[0]; }
static int queue(co_stream on, const item *i)
{
    pthread_mutex_lock(&mu);
    stream *s = stream_of(on);
    if (z.capture) {
        z.counts.faults += s != &z.streams[0] || i->what == WAIT || i->what == RECORD || i->snapshot;
        s = z.capture;
    }
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 64;
        s->items = realloc(s->items, (size_t)s->cap * sizeof *s->items);
        if (!s->items) abort();
    }
    s->items[s->n++] = *i;
    if (s != z.capture && z.ahead >> (s - z.streams) & 1) run_ahead(s);
    pthread_mutex_unlock(&mu);
    return CO_OK;
}

/* ---- the table ------------------------------------------------------------------------------------------------ */
static int lazy_alloc(void *self, co_mem kind, size_t bytes, void **out)
{
    (void)self;
    for (int i = 0; i < MAX_MEMORY; i++) {
        if (z.memory[i].at) continue;
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) return CO_E_NOMEM;
        if (kind == CO_MEM_DEVICE) mprotect(p, bytes, PROT_NONE), z.counts.device += bytes;
        z.memory[i].at = *out = p;
        z.memory[i].bytes = bytes;
        z.memory[i].kind = kind;
        return CO_OK;
    }
    return CO_E_NOMEM;
}
static void lazy_free(void *self, co_mem kind, void *p)
{
    (void)self;
    for (int i = 0; i < MAX_MEMORY; i++) {
        if (!p || z.memory[i].at != p) continue;
        z.counts.faults += z.memory[i].kind != kind;
        if (kind == CO_MEM_DEVICE) z.counts.device -= z.memory[i].bytes;
        munmap(p, z.memory[i].bytes);
        z.memory[i].at = NULL;
    }
}
static int lazy_copy(void *self, void *dst, const void *src, size_t bytes, co_stream on)
{
    item i = {.what = COPY, .a = dst, .b = src, .n = (int64_t)bytes};
    (void)self;
    if (!kind_of(src)) i.snapshot = keep(src, bytes);
    int r = queue(on, &i);
    if (kind_of(dst)) return r;
    z.counts.syncs++;
    advance_to(stream_of(on), stream_of(on)->n);
    return r;
}
static int lazy_fill0(void *self, void *dst, size_t bytes, co_stream on)
{
    (void)self;
    on_device(dst);
    return queue(on, &(item){.what = FILL, .a = dst, .n = (int64_t)bytes});
}
static int lazy_stream_new(void *self, co_stream *out)
{
    (void)self;
    if (z.n_streams == MAX_STREAMS) return CO_E_NOMEM;
    *out = (co_stream)(void *)&z.streams[z.n_streams++];
    return CO_OK;
}
static void lazy_stream_free(void *self, co_stream s) { (void)self, advance_to(stream_of(s), stream_of(s)->n); }
static int lazy_stream_sync(void *self, co_stream s)
{
    (void)self;
    z.counts.syncs++;
    advance_to(stream_of(s), stream_of(s)->n);
    return CO_OK;
}
static int lazy_event_new(void *self, co_event *out)
{
    (void)self;
    *out = calloc(1, sizeof(event));
    return *out ? CO_OK : CO_E_NOMEM;
}
static void lazy_event_free(void *self, co_event e) { (void)self, free(e); }
static int lazy_event_record(void *self, co_event e, co_stream on)
{
    event *v = (event *)(void *)e;
    (void)self;
    pthread_mutex_lock(&mu);
    v->on = stream_of(on);
    v->at = v->on->n + 1;
    pthread_mutex_unlock(&mu);
    return queue(on, &(item){.what = RECORD});
}
static int lazy_event_wait(void *self, co_event e, co_stream on)
{
    (void)self;
    return queue(on, &(item){.what = WAIT, .wait = *(event *)(void *)e});
}
static int lazy_event_sync(void *self, co_event e)
{
    (void)self;
    pthread_mutex_lock(&mu);
    const event v = *(const event *)(const void *)e;
    pthread_mutex_unlock(&mu);
    if (v.on) advance_to(v.on, v.at);
    return CO_OK;
}
static int lazy_memory(void *self, size_t *a, size_t *b) { return (void)self, z.real->memory(z.self, a, b); }
static int lazy_supports(void *self, const co_plan *p, uint32_t step, char *why, size_t cap)
{
    return (void)self, z.real->supports(z.self, p, step, why, cap);
}
static int lazy_workspace(void *self, const co_plan *p, size_t *bytes) { return (void)self, z.real->workspace(z.self, p, bytes); }
static int lazy_prepare(void *self, const co_plan *p, void **out)
{
    compiled *c = calloc(1, sizeof *c);
    (void)self;
    c->plan = p;
    for (uint32_t v = 0; v < p->n_values; v++)
        if ((p->values[v].region == CO_REGION_PARAM || p->values[v].region == CO_REGION_GRAD) && p->values[v].slot != CO_NONE &&
            p->values[v].slot >= c->n_slots)
            c->n_slots = p->values[v].slot + 1;
    *out = c;
    return z.real->prepare(z.self, p, &c->real);
}
static void lazy_discard(void *self, void *k)
{
    compiled *c = k;
    (void)self;
    z.real->discard(z.self, c->real);
    free(c);
}
static int lazy_run(void *self, void *k, const co_binding *b, co_stream on)
{
    item i = {.what = RUN, .plan = k, .binding = *b};
    (void)self;
    z.counts.runs++;
    on_device(b->dev_live);
    for (int r = 0; r < 16; r++) /* an empty region may begin where another ends */
        if (b->base[r] && !kind_of(b->base[r])) on_device((const char *)b->base[r] - 1);
    for (uint32_t s = 0; s < i.plan->n_slots; s++) on_device(b->params[s].data), on_device(b->grads ? b->grads[s].data : NULL);
    i.binding.params = keep(b->params, i.plan->n_slots * sizeof *b->params);
    i.binding.grads = keep(b->grads, i.plan->n_slots * sizeof *b->grads);
    i.binding.accumulate = keep(b->accumulate, i.plan->n_slots);
    return queue(on, &i);
}
static int lazy_cast(void *self, void *d, co_dtype dt, const void *s, co_dtype st, int64_t n, co_stream on)
{
    (void)self;
    on_device(d), on_device(s);
    return queue(on, &(item){.what = CAST, .a = d, .ta = dt, .b = s, .tb = st, .n = n});
}
static int lazy_axpy(void *self, void *y, const void *x, co_dtype t, float a, int64_t n, co_stream on)
{
    (void)self;
    on_device(y), on_device(x);
    return queue(on, &(item){.what = AXPY, .a = y, .ta = t, .b = x, .x = {a}, .n = n});
}
static int lazy_sqnorm(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on)
{
    (void)self;
    on_device(x), on_device(out);
    return queue(on, &(item){.what = SQNORM, .a = out, .b = x, .tb = t, .n = n});
}
static int lazy_adamw(void *self, const co_optim_slice *s, float b1, float b2, float eps, float wd, co_stream on)
{
    (void)self;
    on_device(s->master), on_device(s->grad), on_device(s->out), on_device(s->state[0]), on_device(s->dev_scale), on_device(s->dev_skip);
    return queue(on, &(item){.what = ADAMW, .slice = *s, .x = {b1, b2, eps, wd}});
}
static int lazy_factor(void *self, const co_step_rule *rule, const double *sums, int64_t n, co_step_state *state, co_stream on)
{
    (void)self;
    on_device(sums), on_device(state), on_device(rule->loss);
    return queue(on, &(item){.what = FACTOR, .rule = *rule, .b = sums, .n = n, .state = state});
}
static int lazy_graph_begin(void *self, co_stream on)
{
    (void)self, (void)on;
    z.counts.captures++;
    z.capture = calloc(1, sizeof *z.capture);
    return z.capture ? CO_OK : CO_E_NOMEM;
}
static int lazy_graph_end(void *self, co_stream on, void **graph)
{
    (void)self, (void)on;
    *graph = z.capture;
    z.capture = NULL;
    return CO_OK;
}
static int lazy_graph_launch(void *self, void *graph, co_stream on)
{
    (void)self;
    z.counts.launches++;
    return queue(on, &(item){.what = GRAPH, .graph = graph});
}
static void lazy_graph_free(void *self, void *graph)
{
    stream *g = graph;
    (void)self;
    free(g->items);
    free(g);
}
static void lazy_close(void *self)
{
    (void)self;
    z.real->close(z.self);
    for (int i = 0; i < MAX_STREAMS; i++) free(z.streams[i].items);
    while (z.kept) {
        void **p = z.kept;
        z.kept = p[0];
        free(p);
    }
    memset(&z, 0, sizeof z);
}

void lazy_wrap(const co_backend_vt **vt, void **self, int ahead)
{
    memset(&z, 0, sizeof z);
    z.real = *vt;
    z.self = *self;
    z.ahead = ahead;
    z.n_streams = 1;
    z.vt = (co_backend_vt){
        .struct_size = sizeof z.vt, .dtypes = z.real->dtypes, .flags = CO_BACKEND_ASYNC | CO_BACKEND_CLASSES, .close = lazy_close, .memory = lazy_memory,
        .alloc = lazy_alloc, .free = lazy_free, .copy = lazy_copy, .fill0 = lazy_fill0, .stream_new = lazy_stream_new,
        .stream_free = lazy_stream_free, .stream_sync = lazy_stream_sync, .event_new = lazy_event_new, .event_free = lazy_event_free,
        .event_record = lazy_event_record, .event_wait = lazy_event_wait, .event_sync = lazy_event_sync, .supports = lazy_supports,
        .workspace = lazy_workspace, .prepare = lazy_prepare, .discard = lazy_discard, .run = lazy_run, .flat_cast = lazy_cast,
        .flat_axpy = lazy_axpy, .flat_sqnorm = lazy_sqnorm, .flat_adamw = lazy_adamw, .step_factor = lazy_factor,
        .graph_begin = lazy_graph_begin, .graph_end = lazy_graph_end, .graph_launch = lazy_graph_launch, .graph_free = lazy_graph_free};
    *vt = &z.vt;
    *self = &z;
}
void lazy_reset(void)
{
    const size_t device = z.counts.device;
    z.counts = (lazy_counts){.device = device};
}
lazy_counts lazy_count(void) { return z.counts; }
