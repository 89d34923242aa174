/* attention.h: one head of one sequence, as the tasks of attention.c hand it to the blocks of attention_blocks.c. */
#ifndef CPU_ATTENTION_H
#define CPU_ATTENTION_H
#include "kernels.h"

#define QB 64  /* queries of a block */
#define KB 128 /* keys */

typedef struct sequence { /* queries at positions past.., keys from 0 */
    const float *q, *k, *v;
    float *o, *lse;                 /* lse may be NULL */
    int64_t ldq, ldk, ldv, ldo, ldl;
    int64_t n_q, n_k, past, hd;
    float slope;                    /* ALiBi */
} sequence;

typedef struct sides { /* gradients of one head; dq, dk and dv may be absent; those present are added to */
    const float *out, *dout;
    float *dq, *dk, *dv;
    int64_t ldout, lddo, lddq, lddk, lddv;
} sides;

/* Keys [from, to) that queries [q0, q1) can see. */
static inline void attention_keys(const co_attn *a, const sequence *s, int64_t q0, int64_t q1, int64_t *from, int64_t *to)
{
    *from = a->window > 0 && s->past + q0 - a->window + 1 > 0 ? s->past + q0 - a->window + 1 : 0;
    *to = a->causal && s->past + q1 < s->n_k ? s->past + q1 : s->n_k;
}

static inline size_t attention_floats(int64_t hd) { return (size_t)(2 * KB * QB + 2 * hd * QB + 4 * QB); } /* of a thread's scratch */
void attention_forward(const co_attn *a, const sequence *s, float *scratch);
void attention_backward(const co_attn *a, const sequence *s, const sides *g, float *scratch);
#endif
