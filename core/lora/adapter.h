/* adapter.h: an adapter directory in PEFT's layout: adapter_config.json and adapter_model.safetensors, whose tensors are
 * called base_model.model.<module>.lora_A.weight [rank, in], .lora_B.weight [out, rank], and .bias; the bias of an adapted
 * module is called <module>.base_layer.bias. [main] */
#ifndef CORE_LORA_ADAPTER_H
#define CORE_LORA_ADAPTER_H
#include "core/lora/lora.h"
#include "core/params/export.h"
#include "core/params/load.h"

typedef struct adapter adapter;

/* CO_E_FORMAT names file, line or tensor: not LoRA, features that are not offered (DoRA, patterns, modules_to_save), an A
 * without its B, ranks that differ from "r". Nothing of the base is known yet. */
int adapter_open(const char *dir, adapter **out);
void adapter_close(adapter *a); /* NULL is fine */
const char *adapter_dir(const adapter *a);
/* What lora_open needs to hold this adapter. Strings live as long as the adapter. */
const lora_spec *adapter_spec(const adapter *a);
/* Holds every tensor against the base model's table: CO_E_FORMAT names the first that does not fit. */
int adapter_check(const adapter *a, const param_table *base, const char *base_name);
/* The model wrapped so that it holds each of the adapters in turn: the largest rank, all targets. Checks each against the base
 * first. CO_E_FORMAT names the adapter and what does not fit; CO_E_UNSUPPORTED if several carry biases. */
int adapter_wrap(const co_host *h, const co_model_vt *vt, void *model, const param_table *base, const char *base_name, adapter *const *list,
                 size_t n, lora **out);
/* Writes A, B and biases of a wrapped model's table; what the adapter lacks becomes zero. A smaller rank is padded, another
 * scale goes into B. */
int adapter_load(const adapter *a, const lora *l, const param_table *t, params_write_fn write, void *ctx);

typedef struct adapter_write_args {
    const char *dir;       /* replaced if it is an adapter directory or empty; refused otherwise */
    const lora *lora;
    const param_table *table;
    params_read_fn read;   /* asked for the adapter's parameters only, in ascending order of slot */
    void *ctx;
    const char *base_path; /* base_model_name_or_path */
    int32_t reads_only;    /* ranks above 0 */
} adapter_write_args;
int adapter_write(const adapter_write_args *a);
#endif
