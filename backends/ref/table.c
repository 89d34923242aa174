/* table.c: op -> function, made from ops.def: an op without one does not link. */
#include "ops/ops.h"

#define OP(id, name, min_in, max_in, n_out, diff) [CO_OP_##id] = ref_##id,
const ref_op ref_ops[CO_OP_COUNT] = {
#include <coati/ops.def>
};
#undef OP
