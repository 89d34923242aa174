/* sum.h: what ranks sent, added up. */
#ifndef COMM_MPI_SUM_H
#define COMM_MPI_SUM_H
#include <coati/types.h>

/* out[i] = ((from[0][i] + from[1][i]) + from[2][i]) + …, n elements: in this order, whatever arrived first, each addition
 * rounded to the element's type; bf16 and f16 add in fp32 and are rounded once at the end, to nearest even. `out` may be one
 * of the sources. 0: there is no such type. */
int sum_in_order(void *out, const void *const *from, int32_t n_from, int64_t n, co_dtype t);
#endif
