/* planner.h: what the two halves of planning share: which values stand where others stood (share.c), and where blocks of
 * storage go (plan.c). */
#ifndef CORE_GRAPH_PLANNER_H
#define CORE_GRAPH_PLANNER_H
#include "core/graph/graph.h"

typedef struct block { /* storage of one root value */
    uint32_t first, last; /* node times; first > last: unused */
    size_t bytes, offset;
    uint8_t saved, work;
    uint8_t in_saved; /* stands in SAVED: saved, or in the place of what was */
} block;

typedef struct planner {
    co_graph *g;
    uint32_t n_forward; /* nodes before this one are the forward plan */
    int one;
    uint32_t *first, *last; /* by value: first and last node that touches it; first == CO_NONE: untouched */
    block *blocks;          /* by value, roots only */
} planner;

uint32_t planner_root(const co_graph *g, uint32_t v, int64_t *col); /* the value whose storage v is part of; col: where in it */
/* Views are made where a result may stand on an input that dies. */
void planner_share_in_place(planner *p, uint32_t node);
void planner_share_twins(planner *p, uint32_t node);
/* Parts of a concat are written where the whole will stand. Returns 1 if nothing is left to copy. */
int planner_share_concat(planner *p, uint32_t node);
int planner_copies_onto_itself(const co_graph *g, const gnode *n);
#endif
