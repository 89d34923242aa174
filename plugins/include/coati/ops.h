/* ops.h: ids and attributes of the ops that plans are made of. */
#ifndef COATI_OPS_H
#define COATI_OPS_H
#include "graph.h"

typedef enum co_op {
#define OP(id, name, min_in, max_in, n_out, diff) CO_OP_##id,
#include "ops.def"
#undef OP
    CO_OP_COUNT
} co_op;

/* Attributes by op: co_rope (ROPE, ROPE_BWD), co_attn (ATTENTION*), co_classifier (TOKEN_LOGPROB*),
 * co_attr_dropout (DROPOUT; its backward is DROPOUT itself applied to dy),
 * co_attr_range (CLAMP*), co_attr_f32 (SCALE; the norms' eps, also in their backward),
 * co_attr_i32 (GELU* 1: tanh; SHIFT_IDS offset), co_attr_cached (ATTENTION_CACHED). */
typedef struct co_attr_f32 { float v; } co_attr_f32;
typedef struct co_attr_i32 { int32_t v; } co_attr_i32;
typedef struct co_attr_range { float lo, hi; } co_attr_range;
/* Inverted dropout (Srivastava et al. 2014): an element is kept with probability 1-p and then divided by 1-p.
 * Element c of the token at position i of the sequence with key q (co_live.seq_key; NULL: 0) is dropped if
 *   host->random(stream + unit*65536, mix(q + mix(step_key + mix(i))) + c) < (uint64)(p 2^64),
 * sums modulo 2^64, mix the finaliser of splitmix64 after adding 0x9E3779B97F4A7C15 (Steele et al. 2014).
 * Packing, ranks and threads do not change it, and the backward draws the same mask. 0 < p < 1. */
typedef struct co_attr_dropout {
    float p;
    uint32_t stream; /* one a call of dropout within a unit */
} co_attr_dropout;
/* SAMPLE_TOKEN draws a token of each row from u in [0, 1). All are fp32; z is a row of logits.
 * temperature 0: the lowest id of the largest logit. Else, in this order:
 *   K: the tokens fewer than top_k logits are larger than (ties are kept; top_k 0: all)
 *   w_v = floor(2^40 exp((z_v - max z) / temperature)) of those in K, whole numbers: sums do not depend on their order
 *   P: the first of K, by falling logit, then rising id, whose w sum to at least ceil(top_p sum_K w) (top_p 1: all of K)
 *   the token: the first of P at which the sum of w passes floor(u sum_P w)
 * logprob is that of the unmodified row: z_id - log sum_v exp(z_v). Temperature, top-k, top-p as Hugging Face orders them. */
#define CO_SAMPLE_ONE ((double)((uint64_t)1 << 40))
typedef struct co_attr_cached {
    co_attn attn;
    int32_t slot_len; /* positions a cache slot holds; slot c's rows start at c*slot_len */
    int32_t pad;
} co_attr_cached;
#endif
