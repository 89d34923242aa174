/* kernels.h: one function an op (or family); inputs and outputs as in <coati/ops.def>. */
#ifndef CPU_KERNELS_H
#define CPU_KERNELS_H
#include "../cpu.h"
#include "level.h"

void k_linear(const cpu_step *s), k_linear_bwd_x(const cpu_step *s), k_linear_bwd_w(const cpu_step *s), k_linear_bwd_b(const cpu_step *s);
void k_embedding(const cpu_step *s), k_embedding_bwd(const cpu_step *s), k_row_gather(const cpu_step *s), k_row_gather_bwd(const cpu_step *s);
void k_shift_ids(const cpu_step *s);
void k_rmsnorm(const cpu_step *s), k_rmsnorm_bwd(const cpu_step *s), k_layernorm(const cpu_step *s), k_layernorm_bwd(const cpu_step *s);
void k_rope(const cpu_step *s);
void k_attention(const cpu_step *s), k_attention_bwd(const cpu_step *s), k_attention_cached(const cpu_step *s);
void k_sample_token(const cpu_step *s);
size_t k_sample_scratch(const cpu *c, const co_plan *p, const co_step_op *op);
void k_swiglu(const cpu_step *s), k_swiglu_bwd(const cpu_step *s), k_swiglu_grad(const cpu_step *s), k_unary(const cpu_step *s), k_unary_bwd(const cpu_step *s);
void k_dropout(const cpu_step *s), k_binary(const cpu_step *s), k_select_bwd(const cpu_step *s), k_concat(const cpu_step *s);
void k_split(const cpu_step *s), k_fill0(const cpu_step *s);
void k_token_logprob(const cpu_step *s), k_token_logprob_bwd(const cpu_step *s), k_token_logprob_grad(const cpu_step *s);
void k_masked_mean(const cpu_step *s), k_masked_mean_bwd(const cpu_step *s), k_masked_sum_rows(const cpu_step *s);
void k_masked_sum_rows_bwd(const cpu_step *s), k_loss_seed(const cpu_step *s);

void k_widen(float *to, const void *from, uint32_t type, int64_t n), k_narrow(void *to, uint32_t type, const float *from, int64_t n);
void k_join(float *to, const uint16_t *bf16, const int16_t *low, int64_t n), k_part(uint16_t *bf16, int16_t *low, const float *from, int64_t n);
double k_sqnorm(const float *x, int64_t n);
void k_adamw(float *p, const float *g, float *m, float *v, int64_t n, const cpu_adamw *s);

/* Kernels that take 16-bit operands as they are (any mixture with fp32). */
void k_narrow_linear(const cpu_step *s), k_narrow_linear_bwd_x(const cpu_step *s), k_narrow_linear_bwd_w(const cpu_step *s);
void k_narrow_embedding(const cpu_step *s), k_narrow_embedding_bwd(const cpu_step *s), k_narrow_row_gather(const cpu_step *s);
size_t k_narrow_linear_scratch(const cpu *c, const co_plan *p, const co_step_op *op);
size_t k_narrow_embedding_scratch(const cpu *c, const co_plan *p, const co_step_op *op);

/* out[m, n] = op(a) op(b) + beta out, op by BLAS_N or BLAS_T, on all threads (product.c). */
void cpu_product(const cpu *c, int ta, int tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                 float beta, float *out, int64_t ldc);
/* y[n] = w[n, k] x[k] + beta y. */
void cpu_row_product(const cpu *c, int64_t n, int64_t k, const float *w, int64_t ldw, const float *x, float beta, float *y);

size_t k_norm_scratch(const cpu *c, const co_plan *p, const co_step_op *op);
size_t k_attention_scratch(const cpu *c, const co_plan *p, const co_step_op *op);
size_t k_classifier_scratch(const cpu *c, const co_plan *p, const co_step_op *op);
#endif
