/* added.h: tokens that are found in the text itself before anything else happens to it (added_tokens), with the white
 * space around them if they say so. */
#ifndef TOKENIZERS_BPE_ADDED_H
#define TOKENIZERS_BPE_ADDED_H
#include "unicode.h"
#include "vocab.h"

typedef struct bpe_added_token {
    const char *text; /* of a file, which stays until loading is done; not looked at afterwards */
    size_t len;
    uint32_t id;
    uint32_t kept_at;               /* special ones, once loaded: their text in bpe_added.special_texts */
    uint32_t normal_at, normal_len; /* normalised ones: what they are looked for as, in bpe_added.normal_texts */
    int single_word, lstrip, rstrip, normalized, special;
} bpe_added_token;

typedef struct bpe_trie { /* node 0 is none */
    struct bpe_trie_node { uint32_t child, sibling; int32_t token; uint8_t byte; } *nodes;
    size_t n, cap;
    uint32_t first[256];
} bpe_trie;

typedef struct bpe_added {
    bpe_added_token *tokens;
    size_t n, cap;
    bpe_bytes normal_texts, special_texts;
    uint32_t *slots; /* by text: number + 1 */
    size_t n_slots;
    bpe_trie plain, normal; /* the latter holds normalised texts, and looks at normalised text */
} bpe_added;

/* Adds a token, which has its id already. One of the same text takes the place of the earlier. */
int bpe_added_put(const co_host *h, bpe_added *a, const bpe_added_token *t);
const bpe_added_token *bpe_added_find(const bpe_added *a, const char *text, size_t len);
/* Token number i is to be found as `text`, in normalised text or not. */
int bpe_added_watch(const co_host *h, bpe_added *a, int normalised, const char *text, size_t len, size_t i);
/* Keeps the text of token i beyond the loading, if it is special; then bpe_added_special finds its id. */
int bpe_added_keep(const co_host *h, bpe_added *a, size_t i);
int32_t bpe_added_special(const bpe_added *a, const char *text, size_t len); /* -1: none is written so */
void bpe_added_close(const co_host *h, bpe_added *a);

/* Walks over the matches in text[0..len), which may hold damaged UTF-8: start with {0}. 1: a match, `token` is set, and text[gap_at..gap_at + gap_len)
 * before it is free (gap_len may be 0); 0: no more, the gap is what is left. */
typedef struct bpe_added_scan {
    size_t at;      /* where to look on */
    size_t covered; /* up to here the text is spoken for */
    size_t gap_at, gap_len;
    const bpe_added_token *token;
    int no_special; /* pass over special tokens */
} bpe_added_scan;
int bpe_added_next(const bpe_added *a, const bpe_trie *t, const bpe_unicode *u, const char *text, size_t len, bpe_added_scan *s);
#endif
