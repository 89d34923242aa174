/* blame.h: which keys of config.json a wrong size probably comes from. */
#ifndef CORE_PARAMS_BLAME_H
#define CORE_PARAMS_BLAME_H
#include "core/params/hf_config.h"
#include "core/params/table.h"

/* Writes "num_key_value_heads (8) x head size (8) or hidden_size": keys that give the size which
 * the model expected where the file says otherwise. "" if nothing fits or config is NULL. */
void blame_size(const param_table *t, const hf_config *config, int64_t expected, int64_t found, char *buf, size_t cap);
/* The key that counts layers, "" if none is known. */
const char *blame_layers(const hf_config *config);
#endif
