/* generate.h: a model directory opened for generation, and text from prompts through the key/value cache. Up to
 * `slots` sequences run at once; a waiting prompt takes the place of one that ends. */
#ifndef CORE_TRAIN_GENERATE_H
#define CORE_TRAIN_GENERATE_H
#include "core/graph/engine.h"
#include "core/params/tokenizer.h"
#include "core/train/sample.h"

typedef struct generator generator;

typedef struct generator_args {
    const char *model_dir, *backend, *plugin_path; /* plugin_path may be NULL */
    int64_t slots;      /* sequences at once */
    int64_t max_len;    /* positions a sequence, prompt included; 0: the model's most, at most 4096 */
    const char *threads; /* NULL: the backend's choice */
    const char *const *adapters; /* directories in PEFT's layout, all open at once; the first is in use */
    size_t n_adapters;
} generator_args;

int generator_open(const generator_args *a, generator **out);
void generator_close(generator *g);
/* Which adapter answers from now on. The base weights stay where they are; only A and B are written. */
int generator_use_adapter(generator *g, size_t i);
const tokenizer *generator_tokenizer(const generator *g);
int64_t generator_max_len(const generator *g);

typedef enum generate_finish { FINISH_EOS = 0, FINISH_LENGTH } generate_finish;
typedef struct generate_job {
    const int32_t *prompt; /* ids, BOS included; at least one */
    int64_t n_prompt, max_new;
    uint64_t key;          /* keys the random draws */
    int32_t *ids;          /* [max_new] made here */
    double *logprobs;      /* [max_new] or NULL */
    int64_t n_ids;         /* made, EOS left out */
    generate_finish finish;
    /* Optional: called for each token as it is made. */
    int (*on_token)(void *ctx, struct generate_job *job, int32_t id);
    void *ctx;
} generate_job;

/* Runs all jobs. CO_E_INVALID if a prompt and its new tokens do not fit max_len. */
int generate(generator *g, generate_job *jobs, size_t n, const sample_opts *o);
#endif
