/* table.h: every concrete parameter of one model instance, in the order strategies, checkpoints and the engine
 * know them: unit by unit, within a unit as the model declared them. Made once, before anything is allocated. */
#ifndef CORE_PARAMS_TABLE_H
#define CORE_PARAMS_TABLE_H
#include <coati/model.h>
#include <coati/strategy.h>

/* co_param_slot.group: bits, so that one number says how a flat buffer is treated. */
enum {
    PARAM_GROUP_NO_DECAY = 1u << 0, /* weight decay does not apply                      */
    PARAM_GROUP_FP32 = 1u << 1,     /* kept in fp32 although the table's dtype is lower */
    PARAM_GROUP_FROZEN = 1u << 2,   /* no gradient, no optimizer state                  */
    PARAM_GROUP_BF16 = 1u << 3,     /* held in bf16 beside fp32 computation             */
    PARAM_GROUP_F16 = 1u << 4,      /* likewise                                         */
    PARAM_GROUP_COUNT = 32
};

#define PARAM_ANY_LENGTH (1u << 30) /* info.max_seq of a model that says 0: no limit */

/* co_param.flags of parameters the host adds to a model (adapters): no model's file holds them. */
enum { PARAM_FLAG_ADDED = 1u << 15 };

typedef struct param_table {
    uint32_t n_units;            /* n_layers + 2: 0 embed, 1..n_layers blocks, n_layers+1 final            */
    uint32_t n_layers;
    uint32_t n_params;           /* length of slots, tied ones included                                    */
    co_dtype dtype;              /* compute dtype, of all slots without CO_PARAM_FP32, and of activations  */
    co_model_info info;          /* as the model gave it                                                   */
    co_param_slot *slots;        /* [n_params]; shape.row_stride filled, shape.data NULL                   */
    uint32_t *unit_first;        /* [n_units+1]; unit u holds slots unit_first[u] .. unit_first[u+1]-1     */
    const co_param *decls[3];    /* by co_unit: the declarations, in order; slot i of a unit is decls[kind][index] */
    uint32_t n_decls[3];
    int64_t n_elements;          /* tied parameters counted once */
    int64_t n_trainable;         /* of these, not frozen         */
    void *impl;
} param_table;

/* Asks the model for its info and parameters and expands them: {} in names becomes the layer number from 0,
 * tied_to becomes the owner's slot (chains followed; shapes must agree; the owner's group is taken).
 * CO_E_INVALID names the parameter: repeated names, empty or negative shapes, 2^40 elements or more, a tie to
 * nothing or to itself, {} where there is no layer and none where there are several.
 * Strings are copied: the table may outlive the model.
 * Gradients get their parameter's dtype, which is enough for one micro-step a step. */
int param_table_build(const co_model_vt *vt, void *model, co_dtype dtype, param_table **out);
/* All gradients in fp32: steps of several micro-steps add them up. Before the table is handed to an engine. */
void param_table_sum_fp32(param_table *t);
void param_table_free(param_table *t);

static inline co_unit param_unit_kind(const param_table *t, uint32_t unit)
{
    return unit == 0 ? CO_UNIT_EMBED : unit + 1 == t->n_units ? CO_UNIT_FINAL : CO_UNIT_BLOCK;
}
static inline uint32_t param_unit_count(const param_table *t, uint32_t unit)
{
    return t->unit_first[unit + 1] - t->unit_first[unit];
}
const co_param *param_decl(const param_table *t, uint32_t slot);
int64_t param_elements(const co_param_slot *s);
/* Stretches of elements that are contiguous in file and parameter both, in the file's order: one, or with
 * co_param.file_group one a part and group. Files with CO_PARAM_FILE_TRANSPOSED have none of these. */
typedef struct param_run { int64_t file, param, n; } param_run;
int64_t param_run_count(const param_table *t, uint32_t slot);
param_run param_run_at(const param_table *t, uint32_t slot, int64_t i);
/* Index within units of that kind, or CO_NONE. */
uint32_t param_find_local(const param_table *t, co_unit kind, const char *local_name);
/* Slot by file name (layer number in place), or CO_NONE. */
uint32_t param_find(const param_table *t, const char *name);
/* Holds a matrix (and whatever is tied to it) in bf16 or fp16 although the table computes in fp32. For parameters nobody
 * trains, on a backend that takes such (CO_BACKEND_STORED); others are left alone. Before the table is handed to an engine. */
void param_table_hold(param_table *t, uint32_t slot, co_dtype dtype);
/* Takes a parameter (and whatever is tied to it) out of training, or back in; groups and counts follow. Before
 * the table is handed to an engine. */
int param_table_freeze(param_table *t, uint32_t slot, int frozen);
#endif
