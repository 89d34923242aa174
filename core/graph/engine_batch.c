/* engine_batch.c: a batch on its way to the kernels. A CPU backend reads the caller's facts and gets its columns by copies.
 * For an async one everything is one block: columns, a co_live a unit, and its arrays. It is written into pinned memory,
 * copied to the device on a stream of its own while earlier work runs, and put in place on the main stream by a copy
 * within the device. Addresses never change, so that captured passes read the batch at hand. */
#include "core/graph/engine_impl.h"
#include "core/base/error.h"
#include <string.h>

size_t engine_lane_bytes(const engine *e)
{
    size_t most = 0;
    for (int m = 0; m < MODE_COUNT && e->async; m++)
        if (e->layout[m].bytes > most) most = e->layout[m].bytes;
    return most;
}

/* Four sizes an octave: at most a quarter is launched in vain. */
int32_t engine_class(const engine *e, int64_t n, int64_t capacity)
{
    int64_t step = 1;
    if (!(e->a.backend->flags & CO_BACKEND_CLASSES)) return (int32_t)n;
    while (step * 8 < n) step *= 2;
    const int64_t up = (n + step - 1) / step * step;
    return (int32_t)(up < capacity ? up : capacity);
}

int engine_open_lanes(engine *e)
{
    const co_backend_vt *be = e->a.backend;
    const size_t bytes = engine_lane_bytes(e);
    int r = CO_OK;
    if (!e->async || bytes == 0) return CO_OK;
    r = PLUGIN("the backend's stream_new()", be->stream_new(e->a.backend_self, &e->copies));
    for (int i = 0; i < 2 && r == CO_OK; i++) {
        engine_lane *l = &e->lanes[i];
        void *p = NULL;
        r = PLUGIN("the backend's alloc()", be->alloc(e->a.backend_self, CO_MEM_PINNED, bytes, &p));
        l->staging = p;
        p = NULL;
        if (r == CO_OK) r = PLUGIN("the backend's alloc()", be->alloc(e->a.backend_self, CO_MEM_DEVICE, bytes, &p));
        l->incoming = p;
        if (r == CO_OK) e->allocated += bytes;
        if (r == CO_OK) r = PLUGIN("the backend's event_new()", be->event_new(e->a.backend_self, &l->copied));
        if (r == CO_OK) r = PLUGIN("the backend's event_new()", be->event_new(e->a.backend_self, &l->consumed));
    }
    return r;
}

void engine_close_lanes(engine *e)
{
    const co_backend_vt *be = e->a.backend;
    for (int i = 0; i < 2; i++) {
        engine_lane *l = &e->lanes[i];
        if (l->staging) be->free(e->a.backend_self, CO_MEM_PINNED, l->staging);
        if (l->incoming) be->free(e->a.backend_self, CO_MEM_DEVICE, l->incoming);
        if (l->copied) be->event_free(e->a.backend_self, l->copied);
        if (l->consumed) be->event_free(e->a.backend_self, l->consumed);
    }
    if (e->copies) be->stream_free(e->a.backend_self, e->copies);
}

static size_t rows_of(const gcolumn *c, const co_live *l)
{
    return (size_t)(c->rows == CO_ROWS_TOKENS ? l->n_tokens : c->rows == CO_ROWS_SEQS ? l->n_seqs : l->n_gathered);
}

static void put(char *to, const void *from, size_t bytes)
{
    if (from && bytes) memcpy(to, from, bytes);
}

static void fill_staging(engine *e, const engine_layout *l, const void *const *columns, const co_live *live, char *to)
{
    const size_t n = (size_t)live->n_seqs;
    co_live there = *live;
    for (uint32_t i = 0; i < l->n_columns; i++) put(to + l->columns[i].offset, columns[i], rows_of(&l->columns[i], live) * 4);
    put(to + l->start_at, live->seq_start, (n + 1) * sizeof(int32_t));
    put(to + l->key_at, live->seq_key, n * sizeof(uint64_t));
    put(to + l->slot_at, live->cache_slot, n * sizeof(int32_t));
    put(to + l->past_at, live->past_len, n * sizeof(int32_t));
    there.seq_start = (const int32_t *)(const void *)(e->batch + l->start_at);
    there.seq_key = live->seq_key ? (const uint64_t *)(const void *)(e->batch + l->key_at) : NULL;
    there.cache_slot = live->cache_slot ? (const int32_t *)(const void *)(e->batch + l->slot_at) : NULL;
    there.past_len = live->past_len ? (const int32_t *)(const void *)(e->batch + l->past_at) : NULL;
    for (uint32_t u = 0; u < e->n_units; u++) {
        there.unit = u;
        memcpy(to + l->live_at + u * sizeof there, &there, sizeof there);
    }
}

/* The host waits only if it is two batches ahead of the copies. */
static int send(engine *e, const engine_layout *l, const void *const *columns, const co_live *live)
{
    const co_backend_vt *be = e->a.backend;
    void *self = e->a.backend_self;
    engine_lane *lane = &e->lanes[e->uploads++ & 1];
    int r = PLUGIN("the backend's event_sync()", be->event_sync(self, lane->copied));
    if (r) return r;
    fill_staging(e, l, columns, live, lane->staging);
    r = PLUGIN("the backend's event_wait()", be->event_wait(self, lane->consumed, e->copies));
    if (r == CO_OK) r = PLUGIN("the backend's copy()", be->copy(self, lane->incoming, lane->staging, l->bytes, e->copies));
    if (r == CO_OK) r = PLUGIN("the backend's event_record()", be->event_record(self, lane->copied, e->copies));
    if (r == CO_OK) r = PLUGIN("the backend's event_wait()", be->event_wait(self, lane->copied, NULL));
    if (r == CO_OK) r = PLUGIN("the backend's copy()", be->copy(self, e->batch, lane->incoming, l->bytes, NULL));
    return r == CO_OK ? be->event_record(self, lane->consumed, NULL) : r;
}

int engine_upload(engine *e, engine_mode mode, const void *const *columns, co_live *live)
{
    const engine_layout *l = &e->layout[mode];
    int r = CO_OK;
    if (e->async) return send(e, l, columns, live);
    for (uint32_t i = 0; i < l->n_columns && r == CO_OK; i++) {
        const size_t n = rows_of(&l->columns[i], live);
        if (n) r = PLUGIN("the backend's copy()", e->a.backend->copy(e->a.backend_self, e->batch + l->columns[i].offset, columns[i], n * 4, NULL));
    }
    return r;
}
