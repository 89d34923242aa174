/* hf_config.h: config.json behind co_meta, and small JSON helpers over cJSON. */
#ifndef CORE_PARAMS_HF_CONFIG_H
#define CORE_PARAMS_HF_CONFIG_H
#include <coati/model.h>

typedef struct hf_config hf_config;
int hf_config_open(const char *dir, hf_config **out); /* dir/config.json; CO_E_FORMAT names line and column */
int hf_config_parse(const char *json, size_t len, const char *name, hf_config **out);
void hf_config_close(hf_config *c);
const co_meta *hf_config_meta(const hf_config *c);
const char *hf_config_model_type(const hf_config *c); /* "" if absent */
const char *hf_config_path(const hf_config *c);
char *hf_config_text(const hf_config *c);             /* as read, to be copied into model/ */
#endif
