/* engine_impl.h: the engine's inside, shared by engine.c (start-up) and engine_run.c (steps). */
#ifndef CORE_GRAPH_ENGINE_IMPL_H
#define CORE_GRAPH_ENGINE_IMPL_H
#include "core/graph/engine.h"
#include "core/graph/graph.h"

typedef enum engine_mode { MODE_TRAIN = 0, MODE_EVAL, MODE_CACHED, MODE_COUNT } engine_mode;
enum { KIND_EMBED = 0, KIND_FINAL = 1, KIND_BLOCK = 2 }; /* block kind k is KIND_BLOCK + k */

typedef struct engine_unit { /* one kind of unit in one mode */
    unit_plans plans;
    void *forward, *backward; /* as the backend prepared them */
    size_t cache_bytes;
} engine_unit;

typedef struct engine_layout { /* one mode's batch, in CO_REGION_BATCH */
    gcolumn *columns; /* token_ids, positions, then the rest */
    uint32_t n_columns;
    /* Async backends only, after the columns: a co_live a unit and the arrays they point to. */
    size_t live_at, start_at, key_at, slot_at, past_at;
    size_t bytes;
} engine_layout;

/* A batch on its way to an async backend: pinned staging, a block on the device, and the events that order both. */
typedef struct engine_lane {
    char *staging, *incoming;
    co_event copied, consumed;
} engine_lane;

/* engine_offload.c: places on the device, taken in turns; events of the copies out of and into each. */
#define ENGINE_OFFLOAD_PLACES 3
typedef struct engine_offload {
    char *host; /* outputs of units 0.. */
    co_stream on;
    int has_stream;
    co_event computed, stored[ENGINE_OFFLOAD_PLACES], there[ENGINE_OFFLOAD_PLACES];
} engine_offload;

#define ENGINE_GRAPHS 48
typedef struct engine_key { /* what a captured pass depends on */
    uint32_t mode, first, last; /* first, last: micro-step of its step */
    int32_t tokens, seqs, gathered;
} engine_key;
typedef struct engine_graph { engine_key key; void *graph; int seen; } engine_graph;

struct engine {
    engine_args a;
    co_arena *arena;
    uint32_t n_kinds, n_units, n_layers;
    int64_t d_model, n_vocab;
    int has_mode[MODE_COUNT];
    engine_unit *units[MODE_COUNT]; /* [n_kinds] */
    engine_layout layout[MODE_COUNT];
    uint32_t *kind_of; /* by unit */
    size_t *saved_at, *cache_at; /* by unit: offsets in the saved and cache buffers */
    size_t hidden_train, hidden_cached; /* bytes of one hidden-state buffer */
    uint32_t n_states;   /* places of units' outputs when training; fewer than units: in turns, the others wait in host memory */
    int gradients_apart; /* of hidden states: two buffers of their own in turns, not the places of states that are done with */
    uint32_t n_metrics;
    const char *metric_name[ENGINE_MAX_METRICS];
    co_schedule schedules[MODE_COUNT];
    engine_memory memory;
    size_t allocated;
    void *strategy;
    int strategy_live; /* opened for real, not to be asked for its sizes only */
    char *saved, *hidden, *work, *batch, *cache, *out;
    int async; /* CO_BACKEND_ASYNC */
    engine_lane lanes[2];
    co_stream copies;
    engine_offload offload;
    int64_t uploads;
    /* The step's sums, on the backend within `out`: loss and metrics in fp64, OUT_SLOT/4 apart like their fp32 values. */
    size_t state_at, sums_at, wide_at, results_at;
    int64_t n_sums;
    co_step_state *state;
    double *sums;
    char *results; /* the host's copies of state and sums, of two steps in turns; pinned where the backend is async */
    co_event done[2];
    int64_t step_of[2];
    co_step_rule rule;
    double dropout_off;
    engine_graph *graphs; /* [ENGINE_GRAPHS], NULL: nothing is captured */
    uint32_t n_graphs;
    int replaying; /* strategies are called, no plan is run: a graph does */
    size_t device_budget; /* of the strategy; 0: not known */
    int narrow_grads;     /* some gradient is 16 bits wide: one micro-step a step */
    int64_t micro_steps;  /* since the last step */
    int32_t *positions; /* host, for generation passes */
    float *logits;      /* host copy of OUT after a generation pass: logits, then ids, then log-probabilities */
    float *greedy;      /* [pass_rows] zeros */
};

#define ENGINE_MAX_COLUMNS 32
#define OUT_SLOT 256 /* bytes between the loss and the metrics in CO_REGION_OUT */

/* engine_memory.c */
int engine_open_strategy(engine *e, int plan_only);
void engine_size_buffers(engine *e); /* before the strategy is opened: its budget is what they leave */
void engine_add_strategy(engine *e);

/* engine_batch.c: puts a batch where the backend's kernels read it. columns: as in the mode's layout. */
int engine_upload(engine *e, engine_mode mode, const void *const *columns, co_live *live);
int32_t engine_class(const engine *e, int64_t n, int64_t capacity);
size_t engine_lane_bytes(const engine *e); /* of one staging buffer or incoming block; 0: not async */
int engine_open_lanes(engine *e);
void engine_close_lanes(engine *e);

/* engine_graph.c: runs queue(e, ctx), or what it queued when `key` was captured. */
int engine_replay(engine *e, const engine_key *key, int (*queue)(engine *e, void *ctx), void *ctx);
int engine_open_graphs(engine *e);
void engine_close_graphs(engine *e);

/* engine_offload.c; nothing unless args.offload_activations. `bytes` of a unit's output are alive. */
size_t engine_offload_bytes(const engine *e); /* of host memory */
int engine_open_offload(engine *e);
void engine_close_offload(engine *e);
int engine_offload_before(engine *e, uint32_t unit, int backward);
int engine_offload_after_forward(engine *e, uint32_t unit, size_t bytes);
int engine_offload_after_backward(engine *e, uint32_t unit, size_t bytes);

/* engine_results.c */
size_t engine_results_bytes(const engine *e);
int engine_sum_results(engine *e, int first); /* adds the micro-step's loss and metrics to the step's */
int engine_send_results(engine *e, int64_t step);
int engine_read_out(engine *e, engine_result *out); /* waits; the loss and metrics of the last pass */

static inline size_t engine_align(size_t n) { return (n + 255) & ~(size_t)255; }
/* Where the drawn ids stand in OUT, behind the logits. */
static inline size_t engine_ids_at(const engine *e) { return engine_align((size_t)(e->a.pass_rows * e->n_vocab) * sizeof(float)); }
#endif
