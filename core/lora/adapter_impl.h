/* adapter_impl.h: an opened adapter; shared by adapter.c, adapter_config.c and adapter_wrap.c. */
#ifndef CORE_LORA_ADAPTER_IMPL_H
#define CORE_LORA_ADAPTER_IMPL_H
#include "core/lora/adapter.h"
#include "core/params/safetensors.h"

#define ADAPTER_PREFIX "base_model.model."
#define ADAPTER_CONFIG "adapter_config.json"
#define ADAPTER_WEIGHTS "adapter_model.safetensors"

struct adapter {
    char *dir, *targets;
    lora_spec spec;
    st_set *file;
    int has_bias;
};

/* Puts a name into a comma-separated list that lacks it. */
int adapter_add_target(char **list, const char *name);
/* Fills a->spec but for its targets. */
int adapter_read_config(adapter *a, const char *path);
#endif
