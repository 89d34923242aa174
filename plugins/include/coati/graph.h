/* graph.h: how a model or a loss says what it computes. Handles are plain integers and errors are sticky: a
 * failing call returns 0, later calls given 0 return 0, and the host reports the first cause.
 *
 * Shapes: T tokens of the batch laid end to end, S sequences, d = d_model, V vocabulary. Weights of products
 * are [out, in] as in PyTorch's nn.Linear. */
#ifndef COATI_GRAPH_H
#define COATI_GRAPH_H
#include "types.h"

typedef struct co_graph co_graph;
typedef uint32_t co_val; /* handle to a value; 0: an earlier call failed */

/* Scaled dot-product attention over the sequences of the batch (never across them), Vaswani et al. 2017, 3.2.1.
 * q [T, n_heads*hd], k and v [T, n_kv_heads*hd] -> [T, n_heads*hd]. Query head i uses key head
 * i / (n_heads / n_kv_heads). ALiBi slopes as Press et al. 2022. */
typedef struct co_attn {
    uint32_t struct_size, n_heads, n_kv_heads;
    float scale; /* 0: 1/sqrt(head_dim) */
    int32_t causal, alibi;
    int32_t window; /* 0: unlimited; else a query sees itself and window-1 tokens before it */
    float dropout;
} co_attn;

/* Rotary position embedding (Su et al. 2021). x [T, n_heads*hd]; the first rotary_dims of each head turn.
 * neox: pairs are (i, i + rotary_dims/2), else (2i, 2i+1). Scaling llama3: as Meta's reference
 * (wavelengths above original_context/low_freq_factor are divided by factor, smooth between). */
typedef enum co_rope_scaling { CO_ROPE_NONE = 0, CO_ROPE_LINEAR, CO_ROPE_LLAMA3, CO_ROPE_YARN } co_rope_scaling;
typedef struct co_rope {
    uint32_t struct_size, n_heads, rotary_dims; /* rotary_dims 0: all */
    int32_t neox;
    uint32_t scaling; /* co_rope_scaling */
    float theta, factor, low_freq_factor, high_freq_factor;
    float beta_fast, beta_slow, attn_factor; /* yarn */
    int32_t original_context;
} co_rope;

typedef struct co_classifier { /* token_logprob; zero-filled is the plain case */
    uint32_t struct_size;
    float inv_temperature; /* 0: 1 */
    float softcap;         /* 0: none; else softcap*tanh(logits/softcap) */
    int32_t ignore_index;  /* above 0: that target too is ignored, as those below 0 always are; logprob and gradient 0 */
} co_classifier;

typedef struct co_graph_ops { /* every op has a derivative or says it has none (core/graph/ops.def) */
    uint32_t struct_size;
    co_val (*param)(co_graph *g, const char *local_name);
    co_val (*linear)(co_graph *g, co_val x, co_val w, co_val bias_or_0); /* x W^T + b; LoRA attaches here */
    co_val (*embedding)(co_graph *g, co_val ids, co_val w);              /* [T] i32, [V,d] -> [T,d] */
    co_val (*rmsnorm)(co_graph *g, co_val x, co_val w, float eps);       /* Zhang & Sennrich 2019 */
    co_val (*layernorm)(co_graph *g, co_val x, co_val w, co_val b_or_0, float eps);
    co_val (*rope)(co_graph *g, co_val x, co_val positions, const co_rope *r);
    co_val (*attention)(co_graph *g, co_val q, co_val k, co_val v, const co_attn *a);
    co_val (*swiglu)(co_graph *g, co_val gate, co_val up); /* silu(gate) * up, Shazeer 2020 */
    co_val (*gelu)(co_graph *g, co_val x, int tanh_approx);
    co_val (*silu)(co_graph *g, co_val x);
    co_val (*relu)(co_graph *g, co_val x);
    co_val (*row_gather)(co_graph *g, co_val x, co_val rows); /* [T,d], [R] i32 -> [R,d] */
    co_val (*dropout)(co_graph *g, co_val x, float p);
    co_val (*add)(co_graph *g, co_val a, co_val b);
    co_val (*sub)(co_graph *g, co_val a, co_val b);
    co_val (*mul)(co_graph *g, co_val a, co_val b);
    co_val (*scale)(co_graph *g, co_val x, float s);
    co_val (*exp)(co_graph *g, co_val x);
    co_val (*log_sigmoid)(co_graph *g, co_val x);
    co_val (*clamp)(co_graph *g, co_val x, float lo, float hi);
    co_val (*minimum)(co_graph *g, co_val a, co_val b);
    co_val (*maximum)(co_graph *g, co_val a, co_val b);
    /* log softmax(h W^T)[target] of each token: [T,d], [V,d], [T] i32 -> [T]; never stores [T,V].
     * `c` may be NULL. targets below 0 (-100) give 0 and no gradient. */
    co_val (*token_logprob)(co_graph *g, co_val hidden, co_val lm_head, co_val targets, const co_classifier *c);
    /* sum(x*mask) / D. D is the step's count of `mask` over all ranks and micro-steps, bound by the host as a
     * run-time scalar (co_live.inv_denom). x, mask [T] -> scalar [1]. */
    co_val (*masked_mean)(co_graph *g, co_val x, co_val mask);
    co_val (*masked_sum_rows)(co_graph *g, co_val x, co_val mask); /* per sequence: [T], [T] -> [S] */
    co_val (*stop_gradient)(co_graph *g, co_val x);
    int (*split)(co_graph *g, co_val x, uint32_t n, const int64_t *widths, co_val *out); /* by columns */
    co_val (*shift_ids)(co_graph *g, co_val ids, int32_t offset); /* ids + offset; no derivative */
    co_val (*custom)(co_graph *g, const char *op_id, uint32_t n, const co_val *in, const void *attrs,
                     size_t attrs_size);
    void (*name)(co_graph *g, co_val v, const char *label); /* for dumps */
} co_graph_ops;
#endif
