/* cases.h: for every op its cases and how its gradient is composed. */
#ifndef TESTS_OPS_CASES_H
#define TESTS_OPS_CASES_H
#include "ops/harness.h"

/* How a backward line's inputs come from the forward's inputs, outputs, the outputs' gradients, a residual. */
enum { FROM_IN = 0, FROM_OUT = 10, FROM_DY = 20, FROM_RES = 30 };
enum { ATTRS_SAME = 0, ATTRS_ONE, ATTRS_MINUS_ONE };
typedef struct rule {
    uint32_t op;
    int n_in, in[8];   /* FROM_* + index                                                    */
    int n_out, out[3]; /* forward input whose gradient it is; 10 + i: forward output i again */
    int attrs;         /* ATTRS_*                                                           */
    int share;         /* 1 + backward input that output 0 may stand on, 0: none            */
    int twins;         /* the last `twins` outputs may stand on the first inputs             */
} rule;

typedef struct entry {
    int (*make)(kase *k, const lives *l, int v); /* fills variant v; 0: no such. NULL: a backward op, which ... */
    uint32_t of;                                 /* ... runs through the rules of this one                      */
    const rule *rules;                           /* ends with n_in 0; NULL: not differentiated                  */
} entry;
const entry *entry_of(uint32_t op);
int kase_make(kase *k, uint32_t op, const lives *l, int v);
/* The backward line for a forward that has run. dy: gradient of each output. Gradients of fixed values go to
 * region GRAD; sum_fp32: in fp32 whatever the parameter's type. */
void rule_apply(const rule *r, const kase *forward, const arg *dy, const arg *res, int accumulate, int sum_fp32, kase *out);
#endif
