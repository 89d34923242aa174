/* model.h: a model plugin describes three kinds of unit (embedding, block, final norm) and names its
 * parameters. It contains no backward pass, no allocation of tensors, no LoRA branch, no cache, no heads. */
#ifndef COATI_MODEL_H
#define COATI_MODEL_H
#include "graph.h"
#include "host.h"

typedef enum co_unit { CO_UNIT_EMBED = 0, CO_UNIT_BLOCK, CO_UNIT_FINAL } co_unit;
typedef enum co_init { CO_INIT_NORMAL = 0, CO_INIT_ZERO, CO_INIT_ONE } co_init;
enum {
    CO_PARAM_NO_DECAY = 1u << 0,
    CO_PARAM_FP32 = 1u << 1,           /* kept in fp32 whatever [precision] dtype says */
    CO_PARAM_OPTIONAL = 1u << 2,       /* may be absent from the file; then initialised */
    CO_PARAM_FILE_TRANSPOSED = 1u << 3 /* the file holds [in, out] (GPT-2's Conv1D) */
};

/* One parameter of one kind of unit. Declare parameters whose products read the same input next to each
 * other (q, k, v; gate, up): the host may then run them as one product. */
typedef struct co_param {
    uint32_t struct_size;
    uint32_t unit;          /* co_unit                                               */
    const char *local_name; /* what build() asks for: "q"; the output head of the final unit is "lm_head" */
    const char *file_name;  /* in safetensors; {} is the layer: "h.{}.attn.q.weight" */
    const char *tied_to;    /* file_name of the owner, or NULL                       */
    int64_t ne[CO_MAX_DIMS];
    uint8_t ndim, init;
    uint16_t flags;
    float init_std;
    /* A file whose rows are interleaved by group (BLOOM: q, k and v of one head, then of the next): rows that each part
     * has in a group, ended by 0, such as {hd, hd, hd}. In memory each part stands whole, one after the other, so that
     * split() by columns gives q, k and v. Also for a bias. All 0: the file's order is the parameter's. */
    int64_t file_group[4];
} co_param;

typedef struct co_model_info {
    /* max_seq: positions there are, 0: any number; the host lets no sequence be longer */
    uint32_t struct_size, n_layers, d_model, n_vocab, max_seq, n_block_kinds;
    uint32_t n_kv_heads, head_dim; /* the host sizes the generation cache from these */
} co_model_info;

typedef struct co_meta { /* read-only view of config.json, lent by the host; path "a.b" goes down, "a.3" into a list */
    uint32_t struct_size;
    void *impl;
    /* CO_OK, or CO_E_INVALID if absent or null, CO_E_FORMAT if of another type; booleans read as 1 and 0 */
    int (*i64)(const struct co_meta *m, const char *path, int64_t *out);
    int (*f64)(const struct co_meta *m, const char *path, double *out);
    int (*str)(const struct co_meta *m, const char *path, const char **out);
    int (*has)(const struct co_meta *m, const char *path); /* 1 if it is there, null included; else 0 */
} co_meta;

/* x: hidden states [T, d] (0 for the embedding unit); token_ids, positions: [T] i32. */
typedef struct co_unit_in {
    uint32_t struct_size;
    co_val x, token_ids, positions;
} co_unit_in;

typedef struct co_model_vt {
    uint32_t struct_size;
    /* Bits [model] arch = auto compares: config.json's model_type values this plugin serves, NULL-terminated. */
    const char *const *model_types;
    int (*open)(const co_host *h, const void *opts, const co_meta *config, void **self);
    void (*close)(void *self);
    int (*info)(void *self, co_model_info *out);
    /* [main] Calls add() once per parameter, in file order. Pointers need to live until close(). */
    int (*params)(void *self, void *sink, int (*add)(void *sink, const co_param *p));
    /* [main] Describes one unit. Runs once per (unit, block kind, mode), never per step.
     * Result: hidden states [T, d]; of the final unit, as wide as lm_head. Dropout is declared as the model was pretrained,
     * with op->dropout and co_attn.dropout: the host applies it in training, and only if [model] dropout = config. */
    co_val (*build)(void *self, co_unit unit, uint32_t block_kind, const co_graph_ops *op, co_graph *g,
                    const co_unit_in *in);
    uint32_t (*block_kind)(void *self, uint32_t layer);   /* optional; absent: all blocks alike */
    const void *(*extension)(void *self, const char *id); /* optional */
} co_model_vt;
#endif
