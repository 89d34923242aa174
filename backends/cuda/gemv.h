/* gemv.h: products that do not go to cuBLASLt: of a few rows, bound by reading the weights, and of unaligned 16-bit operands. */
#ifndef CUDA_GEMV_H
#define CUDA_GEMV_H
#include "cuda.h"
#ifdef __cplusplus
extern "C" {
#endif
#define GEMV_MOST 4 /* rows up to which it is faster than cuBLASLt */

/* x w^T with aligned operands, beta 0 or 1 with c. */
int gemv_serves(const gemm *g);
cudaError_t gemv_run(const gpu *c, const gemm *g, cudaStream_t on);

int gemm_is_odd(const gemm *g);
void gemm_plain(const gemm *g, cudaStream_t on);
#ifdef __cplusplus
}
#endif
#endif
