/* merge.h: W + scale * B A, read as if it were a parameter of the model without adapters: for export. */
#ifndef CORE_LORA_MERGE_H
#define CORE_LORA_MERGE_H
#include "core/lora/lora.h"
#include "core/params/export.h"

typedef struct lora_merge {
    const lora *lora;
    const param_table *base;  /* of the model itself: what params_export is given */
    const param_table *table; /* of the wrapped model: what `read` understands    */
    params_read_fn read;
    void *ctx;
    float *a, *b;             /* of the parameter at hand */
    double *row;
    uint32_t at;
} lora_merge;

int lora_merge_begin(lora_merge *m); /* the first five fields filled */
void lora_merge_end(lora_merge *m);
/* A params_read_fn over `base`; ctx is the lora_merge. The sum is made in double and rounded once. */
int lora_merge_read(void *ctx, uint32_t param, int64_t first, int64_t n, float *out);
#endif
