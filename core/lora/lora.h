/* lora.h: low-rank adapters (Hu et al. 2021) under any model plugin. A product x W^T of the model becomes
 *
 *     x W^T + scale * dropout(x) A^T B^T      A [rank, in], B [out, rank], scale = alpha / rank
 *
 * (alpha / sqrt(rank) with rsLoRA, Kalajdzievski 2023). The wrapper is itself a model: it hands on everything to the
 * model within, adds the declarations of A and B after the model's own, and adds the two small products wherever the
 * model calls linear() with a weight that is a target. No plugin knows. [main] */
#ifndef CORE_LORA_LORA_H
#define CORE_LORA_LORA_H
#include "core/params/table.h"

typedef enum lora_bias { LORA_BIAS_NONE = 0, LORA_BIAS_ALL, LORA_BIAS_ONLY } lora_bias; /* as PEFT: none, all, lora_only */

typedef struct lora_spec {
    int64_t rank;
    double alpha, dropout;
    int32_t rslora, bias; /* bias: lora_bias */
    int32_t wide;         /* the rank may be above a layer's width: room for adapters of several ranks */
    /* "all-linear", or comma-separated names as PEFT's target_modules: "q_proj" matches every module whose path is
     * that or ends in ".q_proj". The output head is never a target. */
    const char *targets;
} lora_spec;

typedef struct lora_target { /* one adapted weight of one kind of unit */
    uint32_t unit, base, a, b; /* co_unit; indices of declarations within it: W, A, B */
    uint32_t bias;             /* of the product's own bias, or CO_NONE */
    int64_t in, out;
    int64_t file_group[4]; /* of W: B's rows are W's, and so is their order in files */
    const char *module;        /* file name of W without ".weight": "model.layers.{}.self_attn.q_proj" */
} lora_target;

typedef struct lora lora;

/* The model is lent and must outlive the wrapper. Finds the products by recording each unit once. CO_E_CONFIG names a
 * target that matches nothing (and what there is), or a rank above a layer's width. spec->targets is copied. */
int lora_open(const co_host *h, const co_model_vt *vt, void *model, const lora_spec *spec, lora **out);
void lora_close(lora *l); /* NULL is fine */
const co_model_vt *lora_model(const lora *l); /* its self is the lora */
double lora_scale(const lora *l);
const lora_spec *lora_spec_of(const lora *l);
const lora_target *lora_targets(const lora *l, uint32_t *n);
/* Freezes all of a table built from lora_model() but A, B and what `bias` says. */
int lora_freeze(const lora *l, param_table *t);
/* Writes A and B of every layer: A uniform in +-1/sqrt(in), B zero, as PEFT does; numbers depend on (seed, slot, element). */
int lora_init(const lora *l, const param_table *t, uint64_t seed,
              int (*write)(void *ctx, uint32_t param, int64_t first, int64_t n, const float *values), void *ctx);
#endif
