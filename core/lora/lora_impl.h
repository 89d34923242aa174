/* lora_impl.h: the wrapper's inside, shared by lora.c and targets.c. */
#ifndef CORE_LORA_LORA_IMPL_H
#define CORE_LORA_LORA_IMPL_H
#include "core/base/memory.h"
#include "core/lora/lora.h"

struct lora {
    const co_host *host;
    co_model_vt vt;            /* the wrapper's table: members the model lacks stay NULL */
    const co_model_vt *inner;
    void *inner_self;
    lora_spec spec;
    char *target_text;
    co_arena *names;
    lora_target *targets;
    uint32_t n_targets;
    uint32_t n_base[3];        /* declarations of the model itself, by co_unit */
};

/* Fills targets, n_targets and n_base from the model's own table. */
int lora_find_targets(lora *l, const param_table *base);
#endif
