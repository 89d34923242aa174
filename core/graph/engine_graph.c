/* engine_graph.c: passes captured once a shape class and replayed. The first of a kind runs as it is (libraries set
 * themselves up), the second is captured, every further one is a single launch. Batches, counts, scalars and keys are read
 * from device memory, so a replay serves the batch at hand. Only with strategies that queue nothing themselves within a
 * pass; they are still called, as they keep count of what was contributed. */
#include "core/graph/engine_impl.h"
#include "core/base/error.h"
#include "core/graph/device_trace.h"
#include <string.h>

int engine_open_graphs(engine *e)
{
    const co_backend_vt *be = e->a.backend;
    if (!e->async || e->a.no_graphs || e->a.offload_activations || !(e->a.strategy->flags & CO_STRATEGY_STILL)) return CO_OK;
    if (!CO_HAS(co_backend_vt, be, graph_begin) || !CO_HAS(co_backend_vt, be, graph_end) ||
        !CO_HAS(co_backend_vt, be, graph_launch) || !CO_HAS(co_backend_vt, be, graph_free))
        return CO_OK;
    e->graphs = mem_calloc(ENGINE_GRAPHS, sizeof *e->graphs);
    return e->graphs ? CO_OK : CO_E_NOMEM;
}

void engine_close_graphs(engine *e)
{
    for (uint32_t i = 0; i < e->n_graphs; i++)
        if (e->graphs[i].graph) e->a.backend->graph_free(e->a.backend_self, e->graphs[i].graph);
    mem_free(e->graphs);
    e->graphs = NULL;
    e->n_graphs = 0;
}

/* NULL: there are too many kinds; the pass runs as it is. */
static engine_graph *find(engine *e, const engine_key *key)
{
    for (uint32_t i = 0; i < e->n_graphs; i++)
        if (memcmp(&e->graphs[i].key, key, sizeof *key) == 0) return &e->graphs[i];
    if (e->n_graphs == ENGINE_GRAPHS) return NULL;
    engine_graph *g = &e->graphs[e->n_graphs++];
    g->key = *key;
    return g;
}

int engine_replay(engine *e, const engine_key *key, int (*queue)(engine *e, void *ctx), void *ctx)
{
    const co_backend_vt *be = e->a.backend;
    void *self = e->a.backend_self;
    engine_graph *g = e->graphs ? find(e, key) : NULL;
    int r;
    if (!g || !g->seen) {
        if (g) g->seen = 1;
        return queue(e, ctx);
    }
    if (g->graph) {
        e->replaying = 1;
        r = queue(e, ctx);
        e->replaying = 0;
    } else {
        r = be->graph_begin(self, NULL);
        if (r) return r;
        r = queue(e, ctx);
        const int ended = be->graph_end(self, NULL, &g->graph);
        if (r == CO_OK) r = ended;
    }
    const uint64_t ran = device_trace_begin(NULL);
    if (r == CO_OK) r = be->graph_launch(self, g->graph, NULL);
    device_trace_end(ran, "unit", "pass of %d tokens", key->tokens);
    return r;
}
