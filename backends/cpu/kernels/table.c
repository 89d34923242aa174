/* table.c: op -> kernel, and what else this level has. The order of ops.def, by name. */
#include "kernels.h"

#define K(id, f) [CO_OP_##id] = {f, NULL}
#define KS(id, f, s) [CO_OP_##id] = {f, s}
static const cpu_kernel_entry ops[CO_OP_COUNT] = {
    K(LINEAR, k_linear), K(LINEAR_BWD_X, k_linear_bwd_x), K(LINEAR_BWD_W, k_linear_bwd_w), K(LINEAR_BWD_B, k_linear_bwd_b),
    K(EMBEDDING, k_embedding), K(EMBEDDING_BWD, k_embedding_bwd), K(ROW_GATHER, k_row_gather),
    K(ROW_GATHER_BWD, k_row_gather_bwd), K(SHIFT_IDS, k_shift_ids),
    K(RMSNORM, k_rmsnorm), KS(RMSNORM_BWD, k_rmsnorm_bwd, k_norm_scratch), K(LAYERNORM, k_layernorm),
    KS(LAYERNORM_BWD, k_layernorm_bwd, k_norm_scratch),
    K(ROPE, k_rope), K(ROPE_BWD, k_rope),
    KS(ATTENTION, k_attention, k_attention_scratch), KS(ATTENTION_BWD, k_attention_bwd, k_attention_scratch),
    KS(ATTENTION_CACHED, k_attention_cached, k_attention_scratch),
    K(SWIGLU, k_swiglu), K(SWIGLU_BWD, k_swiglu_bwd), K(SWIGLU_GRAD, k_swiglu_grad), K(GELU, k_unary), K(GELU_BWD, k_unary_bwd), K(SILU, k_unary),
    K(SILU_BWD, k_unary_bwd), K(RELU, k_unary), K(RELU_BWD, k_unary_bwd), K(EXP, k_unary), K(LOG_SIGMOID, k_unary),
    K(LOG_SIGMOID_BWD, k_unary_bwd), K(CLAMP, k_unary), K(CLAMP_BWD, k_unary_bwd), K(SCALE, k_unary),
    K(STOP_GRADIENT, k_unary), K(DROPOUT, k_dropout),
    K(ADD, k_binary), K(SUB, k_binary), K(MUL, k_binary), K(MINIMUM, k_binary), K(MAXIMUM, k_binary),
    K(MINIMUM_BWD, k_select_bwd), K(MAXIMUM_BWD, k_select_bwd), K(CONCAT, k_concat), K(SPLIT, k_split), K(FILL0, k_fill0),
    KS(TOKEN_LOGPROB, k_token_logprob, k_classifier_scratch), KS(TOKEN_LOGPROB_BWD, k_token_logprob_bwd, k_classifier_scratch),
    KS(TOKEN_LOGPROB_GRAD, k_token_logprob_grad, k_classifier_scratch),
    K(MASKED_MEAN, k_masked_mean), K(MASKED_MEAN_BWD, k_masked_mean_bwd), K(MASKED_SUM_ROWS, k_masked_sum_rows),
    K(MASKED_SUM_ROWS_BWD, k_masked_sum_rows_bwd), K(LOSS_SEED, k_loss_seed), KS(SAMPLE_TOKEN, k_sample_token, k_sample_scratch),
};

static const cpu_kernel_entry narrow_ops[CO_OP_COUNT] = {
    KS(LINEAR, k_narrow_linear, k_narrow_linear_scratch), KS(LINEAR_BWD_X, k_narrow_linear_bwd_x, k_narrow_linear_scratch),
    KS(LINEAR_BWD_W, k_narrow_linear_bwd_w, k_narrow_linear_scratch), K(EMBEDDING, k_narrow_embedding), K(ROW_GATHER, k_narrow_row_gather),
    KS(EMBEDDING_BWD, k_narrow_embedding_bwd, k_narrow_embedding_scratch),
};

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
const cpu_level CPU_JOIN(cpu, CPU_LEVEL) = {.name = TEXT(CPU_LEVEL), .ops = ops, .narrow_ops = narrow_ops, .widen = k_widen, .narrow = k_narrow,
                                            .join = k_join, .part = k_part, .sqnorm = k_sqnorm,
                                            .adamw = k_adamw};
