/* golden.h: stored results of transformers in float64 (tests/golden) held against a model opened here: logits, loss, every
 * parameter's gradient, 20 AdamW steps. Failures are counted in the file that calls. */
#ifndef TESTS_MODELS_GOLDEN_H
#define TESTS_MODELS_GOLDEN_H
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "models/fixture.h"

typedef struct golden {
    const char *name;
    int32_t n_tokens, n_seqs;
    const int32_t *ids, *labels, *seq_start;
    int32_t *positions;
    float *mask;
    uint64_t *key;
    double n_labels;
    st_set *file;
    char *json;
} golden;

/* dir/expect.safetensors and expect.json; 0: there is no such case. */
int golden_open(golden *g, const char *dir, const char *name);
void golden_close(golden *g);
/* The rest of expect.json after "key":; the file is our own and flat. */
const char *golden_json(const golden *g, const char *key);
engine_batch golden_batch(const golden *g, const void *columns[2]);

/* Each returns the number of checks that failed; messages are printed. `a` gives the directory and its variant; capacities
 * are filled in. clipped: with the norm limited to 0.5. */
int golden_check_training(const golden *g, fixture_args a, int clipped);
int golden_check_narrow(const golden *g, fixture_args a); /* a.dtype bf16 or fp16: loss and gradients against the fp64 ones */
int golden_check_logits(const golden *g, fixture_args a, int one_by_one); /* through the cache */
#endif
