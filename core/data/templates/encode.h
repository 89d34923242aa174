/* encode.h: a rendered text to ids, and which of them are learnt. */
#ifndef CORE_DATA_TEMPLATES_ENCODE_H
#define CORE_DATA_TEMPLATES_ENCODE_H
#include "core/data/templates/render.h"

typedef struct chat_ids { /* in the arena */
    int32_t *ids;
    uint8_t *learn;     /* [n] 1: to be predicted. The first id never is: nothing stands before it */
    size_t n, n_learn;
    size_t last_answer; /* ids before the last span that is learnt; n: none */
} chat_ids;

/* Text between cuts is encoded as one, special tokens at the marks alone. A span begins behind the ids that the text before it
 * has on its own, so that what stands before an answer in training is the prompt of generation, and ends likewise. `most`: ids
 * beyond it matter to nobody and may carry no label. */
int chat_encode(const co_tokenizer_vt *vt, void *self, const chat_text *t, size_t most, co_arena *a, chat_ids *out);
/* encode_marked, or what comes nearest for a tokenizer without it. */
int chat_encode_marked(const co_tokenizer_vt *vt, void *self, const char *text, size_t len, const co_text_mark *marks, size_t n_marks, co_arena *a,
                       int32_t **ids, size_t *n);
#endif
