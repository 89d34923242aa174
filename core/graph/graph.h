/* graph.h: what one unit computes, as recorded from a model's or loss's build(), and the passes over it.
 *
 *   record   build() -> nodes and values with shapes          record.c, shape.c
 *   fuse     products over one input become one               fuse.c
 *   derive   backward nodes appended                          vjp.c
 *   simplify recompute instead of save, residuals into norms  rewrite.c
 *   plan     storage by lifetime -> co_plan                   share.c, plan.c
 *
 * A graph lives in one arena and dies with it. */
#ifndef CORE_GRAPH_GRAPH_H
#define CORE_GRAPH_GRAPH_H
#include <coati/coati.h>
#include "core/base/memory.h"

#define GRAPH_MAX_IO 8
#define GRAPH_MAX_ATTRS 96

typedef struct gvalue {
    co_tensor shape;   /* ne[0] at capacity; row_stride is set by the planner */
    uint32_t rows;     /* co_rows */
    uint32_t region;   /* co_region; CO_REGION_WORK: the planner decides */
    uint32_t slot;     /* PARAM, GRAD: index within the unit */
    uint32_t flags;    /* CO_VALUE_* */
    size_t offset;     /* given for BATCH, CACHE and OUT; made by the planner for WORK and SAVED */
    uint32_t view_of;  /* value whose storage this is, CO_NONE: its own */
    int64_t view_col;  /* first column within view_of */
    const char *label; /* for dumps */
} gvalue;

typedef struct gnode {
    uint32_t op, n_in, n_out, attrs_size;
    uint32_t in[GRAPH_MAX_IO], out[GRAPH_MAX_IO];
    uint32_t backward; /* belongs to the backward plan */
    _Alignas(8) unsigned char attrs[GRAPH_MAX_ATTRS];
} gnode;

/* What names mean inside one unit. */
typedef struct gscope {
    const char *label;             /* "block" */
    const co_param *decls;         /* the unit kind's parameters, by index within the unit */
    const co_param_slot *slots;    /* one instance of them: shapes, groups, trainable */
    uint32_t n_params;
    uint32_t first_slot;           /* number of slots[0] in the whole table */
    co_dtype dtype;                /* of activations */
    int64_t max_tokens, max_seqs, max_gathered;
    int32_t training;              /* 0: dropout is off */
    int32_t dropout;               /* 0: the model's own is off even in training; adapters have theirs */
    int32_t slot_len;              /* > 0: attention uses the cache */
    int64_t slots_in_cache;
    int64_t n_vocab, max_positions; /* token ids and positions stay below; 0: not known */
} gscope;

typedef struct gcolumn { /* a batch column: name, type, place */
    const char *name;
    co_dtype dtype;
    uint32_t rows;
    size_t offset;
} gcolumn;

struct co_graph {
    co_arena *arena;
    gscope scope;
    gvalue *values; /* [0] is the failed value */
    uint32_t n_values, cap_values;
    gnode *nodes;
    uint32_t n_nodes, cap_nodes;
    const gcolumn *columns;
    uint32_t n_columns;
    uint32_t *param_value; /* [n_params] value of each parameter, 0: not asked for */
    uint32_t x, y;         /* the unit's input and output, 0: none */
    uint32_t dy, dx;       /* gradients of them, after vjp */
    uint32_t recording_backward;
    uint32_t next_stream;  /* dropout */
    double dropout_off;    /* the largest probability that scope.dropout = 0 left out */
    const void *rewrite;   /* what a wrapped model's builder calls need to know (core/lora) */
    uint32_t rewrite_unit;
    size_t cache_bytes;    /* taken by cached attention so far */
    int failed;            /* the first cause: its status, the text is in error_message() */
};

co_graph *graph_new(co_arena *arena, const gscope *scope, const gcolumn *columns, uint32_t n_columns);
const co_graph_ops *graph_ops(void);

/* Values made by the host. */
co_val graph_value(co_graph *g, co_dtype t, uint32_t rows, uint32_t ndim, int64_t n0, int64_t n1, uint32_t region);
co_val graph_batch(co_graph *g, const char *column);
/* Appends a node; outputs are fresh values shaped like the given ones. Returns the node. */
gnode *graph_node(co_graph *g, uint32_t op, uint32_t n_in, const uint32_t *in, const void *attrs, size_t attrs_size);
/* Fixes where a result stands; one that is a view or an input is copied there. Before graph_derive. */
int graph_pin(co_graph *g, co_val *result, uint32_t region, size_t offset);
int graph_fail(co_graph *g, const char *fmt, ...) CO_PRINTF(2, 3); /* first cause wins */

co_val graph_dropout(co_graph *g, co_val x, float p); /* whatever scope.dropout says */

const char *op_name(uint32_t op);
int op_differentiable(uint32_t op);

/* Passes. All return a status; the message names unit and op. */
int graph_fuse_linears(co_graph *g);
/* Derives the backward of `loss` (a scalar, seeded with LOSS_SEED) or, with loss 0, of g->y given g->dy.
 * want_dx: the gradient of g->x is needed. Sets g->dx. */
int graph_derive(co_graph *g, uint32_t loss, int want_dx);
int graph_rewrite(co_graph *g, int one); /* residual into norm backward; classifier in one pass or recompute; sorts */
int graph_sort(co_graph *g);    /* stable topological order, forward before backward where free */

typedef struct unit_plans {
    co_plan forward, backward; /* backward.n_steps 0: none, or everything is in forward (one) */
    size_t saved_bytes;
} unit_plans;
/* one: forward and backward as a single plan with nothing saved (the last unit). */
int graph_plan(co_graph *g, int one, unit_plans *out);

/* Floating-point operations of one line of a plan on a batch (flops.c); 0 for what is no product. */
double graph_step_flops(const co_plan *p, const co_step_op *s, const co_live *live);
#endif
