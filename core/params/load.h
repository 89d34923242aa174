/* load.h: from a file, or from nothing, to parameters. Values go to the strategy through a callback, as fp32 in
 * pieces of at most PARAMS_PIECE, in the parameter's own layout ([out, in], rows dense, parts whole), whatever the file's. */
#ifndef CORE_PARAMS_LOAD_H
#define CORE_PARAMS_LOAD_H
#include "core/params/hf_config.h"
#include "core/params/safetensors.h"
#include "core/params/table.h"

#define PARAMS_PIECE (1 << 18) /* elements: 1 MiB of fp32 */

/* `param` is always an owner: tied parameters are not written themselves. */
typedef int (*params_write_fn)(void *ctx, uint32_t param, int64_t first, int64_t n, const float *values);

typedef struct params_load_report {
    uint32_t n_loaded;      /* parameters taken from the file                         */
    uint32_t n_initialised; /* CO_PARAM_OPTIONAL ones that the file lacks             */
    uint32_t n_ignored;     /* tensors nobody asked for (logged, unless known to be harmless) */
    int64_t n_bytes;        /* read from the file                                     */
} params_load_report;

/* Checks names, shapes and types of all tensors first, then streams them; `config` (may be NULL) is used to say
 * which key is likely at fault. Names are also found without their first part, as base models have them ("transformer.h.0..." as
 * "h.0..."), and with "model." or "transformer." put before.
 * CO_E_FORMAT: missing tensors, other shapes, types we do not compute with, more layers than configured, values
 * that are not finite, a tied tensor that differs from its owner. write == NULL: the checks only (--check).
 * seed: for optional parameters that the file lacks. report may be NULL. */
int params_load(const param_table *t, const st_set *file, const hf_config *config, uint64_t seed,
                params_write_fn write, void *ctx, params_load_report *report);

/* The tensor of a parameter: files of base models lack the head's prefix, and the other way round. NULL if absent. */
const st_tensor *params_find_tensor(const st_set *file, const char *name);

/* Parameters that nobody trains (all: those of a table for inference) are held as the file has them, where that is 16 bits:
 * param_table_hold. Values stay exactly the file's. */
void params_hold_stored(param_table *t, const st_set *file, int all);

/* Random start as co_param.init says. Each number depends on (seed, slot, element) alone, so ranks may ask for
 * the whole and keep their part. */
int params_init(const param_table *t, uint64_t seed, params_write_fn write, void *ctx);
/* One parameter of it. buf: PARAMS_PIECE elements. */
int params_init_one(const param_table *t, uint32_t slot, uint64_t seed, float *buf, params_write_fn write, void *ctx);
#endif
