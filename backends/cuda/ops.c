/* ops.c: the table of launchers, by op. */
#include "cuda.h"

#define LINE(id) [CO_OP_##id] = {.run = cuda_run_##id}
#define WITH(id, bytes) [CO_OP_##id] = {.run = cuda_run_##id, .scratch = bytes}
#define NORM(id, bytes) [CO_OP_##id] = {.run = cuda_run_##id, .scratch = bytes, .refuses = cuda_norm_refuses}
#define ATTENTION(id, bytes) [CO_OP_##id] = {.run = cuda_run_##id, .scratch = bytes, .refuses = cuda_attention_refuses}
#define ROPE(id) [CO_OP_##id] = {.run = cuda_run_##id, .refuses = cuda_rope_refuses}

const cuda_op cuda_ops[CO_OP_COUNT] = {
    WITH(LINEAR, cuda_linear_scratch), LINE(EMBEDDING), NORM(RMSNORM, 0), NORM(LAYERNORM, 0), ROPE(ROPE),
    ATTENTION(ATTENTION, cuda_attention_scratch), ATTENTION(ATTENTION_CACHED, cuda_attention_scratch), LINE(SWIGLU), LINE(GELU), LINE(SILU),
    LINE(RELU), LINE(ROW_GATHER), LINE(DROPOUT), LINE(ADD), LINE(SUB), LINE(MUL), LINE(SCALE), LINE(EXP), LINE(LOG_SIGMOID), LINE(CLAMP),
    LINE(MINIMUM), LINE(MAXIMUM), WITH(TOKEN_LOGPROB, cuda_classifier_scratch), LINE(MASKED_MEAN), LINE(MASKED_SUM_ROWS), LINE(STOP_GRADIENT),
    LINE(SPLIT), LINE(SHIFT_IDS), WITH(LINEAR_BWD_X, cuda_linear_scratch), WITH(LINEAR_BWD_W, cuda_linear_scratch),
    WITH(LINEAR_BWD_B, cuda_bias_scratch), WITH(EMBEDDING_BWD, cuda_embedding_bwd_scratch), NORM(RMSNORM_BWD, cuda_norm_bwd_scratch),
    NORM(LAYERNORM_BWD, cuda_norm_bwd_scratch), ROPE(ROPE_BWD), ATTENTION(ATTENTION_BWD, cuda_attention_scratch), LINE(SWIGLU_BWD),
    LINE(GELU_BWD), LINE(SILU_BWD), LINE(RELU_BWD), LINE(ROW_GATHER_BWD), LINE(LOG_SIGMOID_BWD), LINE(CLAMP_BWD), LINE(MINIMUM_BWD),
    LINE(MAXIMUM_BWD), WITH(TOKEN_LOGPROB_BWD, cuda_classifier_scratch), WITH(TOKEN_LOGPROB_GRAD, cuda_classifier_scratch),
    LINE(MASKED_MEAN_BWD), LINE(MASKED_SUM_ROWS_BWD), LINE(CONCAT), LINE(LOSS_SEED), LINE(FILL0), LINE(SWIGLU_GRAD), LINE(SAMPLE_TOKEN)};
