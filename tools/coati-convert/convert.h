/* convert.h: what the parts of coati-convert share. */
#ifndef TOOLS_COATI_CONVERT_H
#define TOOLS_COATI_CONVERT_H
#include "core/params/export.h"
#include "core/params/hf_config.h"
#include "core/params/safetensors.h"

enum { DTYPE_KEEP = -1 };

typedef struct convert_args {
    const char *input, *output, *adapter, *base, *backend, *threads, *plugins;
    int dtype;           /* co_dtype, or DTYPE_KEEP */
    const char *extend;  /* a tokenizer's directory, or a number of tokens; NULL: the vocabulary stays */
    int pieces;          /* new rows from those of the pieces a token was before, else from all */
    int64_t pad_to;      /* the vocabulary becomes a multiple of it; 0 or 1: as it is */
    int64_t shard_bytes; /* 0: 5 GB */
    double bound;        /* below 0: by dtype */
} convert_args;

/* Safetensors, or pytorch_model.bin where there are none. */
int weights_open(const char *dir, st_set **out);
const char *dtype_name(int dtype); /* "bf16"; "as stored" */

/* Values that replace a tensor's own: asked for in order, in pieces, in the tensor's own layout. */
typedef struct replacement {
    int (*wanted)(void *ctx, const st_tensor *t);
    int (*read)(void *ctx, const st_tensor *t, int64_t first, int64_t n, float *out);
    int64_t (*rows)(void *ctx, const st_tensor *t); /* may be NULL; of a wanted tensor: its new first dimension */
    const char *config;  /* text of config.json instead of the one that was read; NULL: that one */
    void *ctx;
} replacement;

typedef struct files_report { size_t tensors, shards, skipped; int64_t bytes; } files_report;
/* Fills a folder (of export_begin) with config.json, shards and the tokenizer's files. with: may be NULL. */
int files_write(const convert_args *a, const char *tmp, const st_set *from, const hf_config *config, const char *tokenizer_dir,
                const replacement *with, files_report *out);

int convert_plain(const convert_args *a);
int convert_merge(const convert_args *a);
int convert_extend(const convert_args *a);
double default_bound(const convert_args *a, const st_set *base); /* of logits, by the coarsest type */
int convert_checkpoint(const convert_args *a);
int parse_count(const char *option, const char *text, int64_t *out); /* a number of tokens, above 0 */
int is_checkpoint(const char *dir);
#endif
