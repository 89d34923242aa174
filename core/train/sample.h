/* sample.h: from logits to a token. */
#ifndef CORE_TRAIN_SAMPLE_H
#define CORE_TRAIN_SAMPLE_H
#include <stdint.h>

typedef struct sample_opts {
    double temperature; /* 0: the largest logit, the lowest id on a tie */
    int64_t top_k;      /* 0: off; values equal to the k-th largest are kept */
    double top_p;       /* 1: off; the smallest set whose probability reaches top_p, at least one */
    uint64_t seed;
} sample_opts;

typedef struct sample_space { float *p; int32_t *order; } sample_space; /* [n_vocab] each, the caller's */

/* Order: temperature, top-k, top-p, as Hugging Face's warpers. The draw depends on (seed, key, position) alone, so a
 * text is the same however sequences are batched. *logprob: of the token under the unmodified logits; may be NULL. */
int32_t sample_token(const float *logits, int64_t n_vocab, const sample_opts *o, uint64_t key, int64_t position,
                     sample_space *space, double *logprob);
#endif
