/* around.h: what the post-processor puts before and after a text: one token each at most. */
#ifndef TOKENIZERS_BPE_AROUND_H
#define TOKENIZERS_BPE_AROUND_H
#include "json.h"

typedef struct bpe_around {
    int32_t before, after; /* ids; -1: none */
    int said;              /* the file says what stands there, be it nothing */
} bpe_around;

/* Reads the "post_processor" of a tokenizer.json; `a` NULL: there is none. */
int bpe_around_read(const bpe_at *a, bpe_around *out);
#endif
