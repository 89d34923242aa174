/* fuse.h: which lines of a plan run as one. */
#ifndef CUDA_FUSE_H
#define CUDA_FUSE_H
#include <coati/coati.h>

typedef struct fused_line {
    uint32_t step;     /* the line of the plan that runs */
    uint32_t out;      /* value that takes its first result; CO_NONE: the line's own */
    uint32_t residual; /* value added to it, or CO_NONE */
    float alpha;       /* factor before that */
    uint32_t twin;     /* a second line that runs with it, or CO_NONE */
} fused_line;

/* Writes at most p->n_steps lines; returns how many. */
uint32_t fuse_lines(const co_plan *p, fused_line *out);
#endif
