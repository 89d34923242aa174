/* export.h: parameters -> a Hugging Face directory that transformers opens: config.json, model.safetensors (or
 * shards with an index), the tokenizer's files. Complete or absent: written beside the target, then swapped in. */
#ifndef CORE_PARAMS_EXPORT_H
#define CORE_PARAMS_EXPORT_H
#include "core/params/hf_config.h"
#include "core/params/table.h"

typedef int (*params_read_fn)(void *ctx, uint32_t param, int64_t first, int64_t n, float *out);

typedef struct params_export_args {
    const char *dir; /* replaced if it is a model directory already or empty; refused otherwise */
    const param_table *table;
    params_read_fn read; /* asked for owners only, in ascending order of slot, the same way on every rank: collective gathers fit */
    void *ctx;
    const hf_config *config;
    const char *tokenizer_dir; /* where to copy tokenizer files from; NULL: none */
    co_dtype dtype;            /* CO_F32, CO_BF16 or CO_F16 */
    int64_t shard_bytes;       /* largest shard; 0: 5 GB, as transformers does */
    int32_t reads_only;        /* ranks above 0: take part in `read`, write nothing */
} params_export_args;

/* After a failed write the reads still go on to the end, so that ranks stay in step; the first error is returned
 * and the target is as it was. */
int params_export(const params_export_args *a);
#endif
