/* ops.h: one function an op; inputs and outputs as in <coati/ops.def>. */
#ifndef REF_OPS_H
#define REF_OPS_H
#include "../ref.h"
#define OP(id, name, min_in, max_in, n_out, diff) void ref_##id(const ref_line *s);
#include <coati/ops.def>
#undef OP
#endif
