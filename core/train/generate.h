/* generate.h: a model directory opened for generation, with adapters or without. Up to `slots` sequences run at once. */
#ifndef CORE_TRAIN_GENERATE_H
#define CORE_TRAIN_GENERATE_H
#include "core/params/tokenizer.h"
#include "core/train/decode.h"

typedef struct generator generator;

typedef struct generator_args {
    const char *model_dir, *backend, *plugin_path; /* plugin_path may be NULL */
    int64_t slots;      /* sequences at once */
    int64_t max_len;    /* positions a sequence, prompt included; 0: the model's most, at most 4096 */
    const char *threads; /* NULL: the backend's choice */
    const char *dtype;   /* fp32, bf16, fp16; NULL or auto: on a device what the weights are stored in, else fp32 */
    const char *const *adapters; /* directories in PEFT's layout, all open at once; the first is in use */
    size_t n_adapters;
} generator_args;

int generator_open(const generator_args *a, generator **out);
void generator_close(generator *g);
/* Which adapter answers from now on. The base weights stay where they are; only A and B are written. */
int generator_use_adapter(generator *g, size_t i);
const tokenizer *generator_tokenizer(const generator *g);
int64_t generator_max_len(const generator *g);

/* As decode: CO_E_CONFIG if a prompt and its new tokens do not fit max_len. */
int generate(generator *g, decode_job *jobs, size_t n, const sample_opts *o);
#endif
