/* sum.h: what ranks sent, added up on the GPU. */
#ifndef COMM_NCCL_SUM_H
#define COMM_NCCL_SUM_H
#include <coati/types.h>
#include <cuda_runtime_api.h>
#ifdef __cplusplus
extern "C" {
#endif
/* Rank j's n elements: `own` for j = rank, else at arrived + j * stride bytes. */
typedef struct pieces {
    const void *own;
    const char *arrived;
    size_t stride;
    int32_t rank, world;
} pieces;

/* out[i] = ((r0[i] + r1[i]) + r2[i]) + …: the order and the rounding of comm mpi, so the bits are the same. bf16 and f16 add
 * in fp32 and are rounded once. `out` may be `own`. */
cudaError_t sum_pieces(void *out, const pieces *p, int64_t n, co_dtype t, cudaStream_t on);
#ifdef __cplusplus
}
#endif
#endif
