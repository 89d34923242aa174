/* engine_offload.c: units' outputs wait in host memory from the forward to the backward. On the device three places are taken in
 * turns: while a unit reads one and writes the next, the one before it is on its way out; in the backward the second next
 * unit's input comes in while a unit runs. The last three never leave. All by events: nobody waits on the host. */
#include "core/graph/engine_impl.h"
#include "core/base/error.h"

enum { R = ENGINE_OFFLOAD_PLACES };

size_t engine_offload_bytes(const engine *e)
{
    const uint32_t states = e->n_units - 1; /* the last unit's output is the loss */
    return e->a.offload_activations && e->has_mode[MODE_TRAIN] && states > R ? (states - R) * e->hidden_train : 0;
}

static int leaves(const engine *e, uint32_t state) { return state + 1 + R < e->n_units; }

int engine_open_offload(engine *e)
{
    const co_backend_vt *be = e->a.backend;
    co_event *const events[] = {&e->offload.computed, &e->offload.stored[0], &e->offload.stored[1], &e->offload.stored[2],
                                &e->offload.there[0], &e->offload.there[1], &e->offload.there[2]};
    if (engine_offload_bytes(e) == 0) return CO_OK;
    int r = PLUGIN("the backend's stream_new()", be->stream_new(e->a.backend_self, &e->offload.on));
    e->offload.has_stream = r == CO_OK;
    for (size_t i = 0; i < sizeof events / sizeof *events && r == CO_OK; i++) r = PLUGIN("the backend's event_new()", be->event_new(e->a.backend_self, events[i]));
    return r;
}

void engine_close_offload(engine *e)
{
    const co_backend_vt *be = e->a.backend;
    const co_event events[] = {e->offload.computed, e->offload.stored[0], e->offload.stored[1], e->offload.stored[2],
                               e->offload.there[0], e->offload.there[1], e->offload.there[2]};
    if (e->offload.has_stream) (void)be->stream_sync(e->a.backend_self, e->offload.on);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        if (events[i]) be->event_free(e->a.backend_self, events[i]);
    if (e->offload.has_stream) be->stream_free(e->a.backend_self, e->offload.on);
}

static char *place(const engine *e, uint32_t state) { return e->hidden + state % R * e->hidden_train; }
static char *kept(const engine *e, uint32_t state) { return e->offload.host + state * e->hidden_train; }

/* The copies' stream goes on where the computation is now. */
static int follow(engine *e)
{
    const int r = PLUGIN("the backend's event_record()", e->a.backend->event_record(e->a.backend_self, e->offload.computed, NULL));
    return r == CO_OK ? PLUGIN("the backend's event_wait()", e->a.backend->event_wait(e->a.backend_self, e->offload.computed, e->offload.on)) : r;
}

int engine_offload_before(engine *e, uint32_t unit, int backward)
{
    const co_event until = backward ? e->offload.there[(unit + R - 1) % R] : e->offload.stored[unit % R];
    if (!e->offload.has_stream || (backward && (unit == 0 || !leaves(e, unit - 1)))) return CO_OK;
    return PLUGIN("the backend's event_wait()", e->a.backend->event_wait(e->a.backend_self, until, NULL));
}

int engine_offload_after_forward(engine *e, uint32_t unit, size_t bytes)
{
    const co_backend_vt *be = e->a.backend;
    if (!e->offload.has_stream || !leaves(e, unit)) return CO_OK;
    int r = follow(e);
    if (r == CO_OK) r = PLUGIN("the backend's copy()", be->copy(e->a.backend_self, kept(e, unit), place(e, unit), bytes, e->offload.on));
    return r == CO_OK ? PLUGIN("the backend's event_record()", be->event_record(e->a.backend_self, e->offload.stored[unit % R], e->offload.on)) : r;
}

/* Unit u's output was needed last: in its place comes what unit u - 2 reads. */
int engine_offload_after_backward(engine *e, uint32_t unit, size_t bytes)
{
    const co_backend_vt *be = e->a.backend;
    if (!e->offload.has_stream || unit < R || unit + 1 >= e->n_units) return CO_OK;
    const uint32_t state = unit - R;
    int r = follow(e);
    if (r == CO_OK) r = PLUGIN("the backend's copy()", be->copy(e->a.backend_self, place(e, state), kept(e, state), bytes, e->offload.on));
    return r == CO_OK ? PLUGIN("the backend's event_record()", be->event_record(e->a.backend_self, e->offload.there[state % R], e->offload.on)) : r;
}
