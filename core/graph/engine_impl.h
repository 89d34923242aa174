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
    size_t bytes;
} engine_layout;

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
    uint32_t n_metrics;
    const char *metric_name[ENGINE_MAX_METRICS];
    co_schedule schedules[MODE_COUNT];
    engine_memory memory;
    size_t allocated;
    void *strategy;
    int strategy_live; /* opened for real, not to be asked for its sizes only */
    char *saved, *hidden, *work, *batch, *cache, *out;
    size_t state_at;      /* within out */
    co_step_state *state; /* on the backend */
    co_step_rule rule;
    double dropout_off;
    int narrow_grads;     /* some gradient is 16 bits wide: one micro-step a step */
    int64_t micro_steps;  /* since the last step */
    int32_t *positions; /* host, for generation passes */
    float *logits;      /* host copy */
};

#define OUT_SLOT 256 /* bytes between the loss and the metrics in CO_REGION_OUT */

static inline size_t engine_align(size_t n) { return (n + 255) & ~(size_t)255; }
#endif
