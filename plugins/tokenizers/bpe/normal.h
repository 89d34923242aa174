/* normal.h: the normalizer: what becomes of a text before it is cut. */
#ifndef TOKENIZERS_BPE_NORMAL_H
#define TOKENIZERS_BPE_NORMAL_H
#include "json.h"
#include "regex.h"
#include "unicode.h"
#include "words.h"

typedef enum bpe_normal_kind {
    BPE_NFC, BPE_NFD, BPE_NFKC, BPE_NFKD, BPE_LOWERCASE, BPE_STRIP_ACCENTS, BPE_PREPEND, BPE_REPLACE, BPE_STRIP
} bpe_normal_kind;

typedef struct bpe_normal_step {
    bpe_normal_kind kind;
    char *from; /* BPE_REPLACE: what to look for, unless regex is set */
    size_t from_len;
    bpe_regex *regex;
    char *to; /* BPE_REPLACE, BPE_PREPEND */
    size_t to_len;
    int left, right; /* BPE_STRIP */
} bpe_normal_step;

enum { BPE_MAX_NORMAL = 16 };
typedef struct bpe_normal {
    bpe_normal_step step[BPE_MAX_NORMAL];
    size_t n;
} bpe_normal;

/* Reads the "normalizer" of a tokenizer.json; `a` NULL: there is none. */
int bpe_normal_read(const bpe_at *a, bpe_normal *out);
void bpe_normal_close(const co_host *h, bpe_normal *n);
/* *text[0..*len) becomes the normalised text, which lies in w->normal or is the one that came in. *at_start becomes 0 if
 * something was stripped from its beginning. */
int bpe_normal_run(const bpe_normal *n, const bpe_unicode *u, bpe_words *w, const char **text, size_t *len, int *at_start);
#endif
