/* words.h: what one encoding at a time works with: its buffers, and the words that were seen before. A bpe_words serves
 * one call after another, never two at once; see pool.h. */
#ifndef TOKENIZERS_BPE_WORDS_H
#define TOKENIZERS_BPE_WORDS_H
#include "memory.h"

enum {
    BPE_SMALL_WORD = 16, BPE_SMALL_IDS = 3, BPE_SMALL_SLOTS = 1 << 14, /* 512 KiB, one cache line holds two */
    BPE_LARGE_WORD = 255, BPE_LARGE_SLOTS = 1 << 12, BPE_LARGE_POOL = 1 << 20,
    BPE_KEEP_BYTES = 16 << 20
};

typedef struct bpe_small { /* words of up to 16 bytes that are up to 3 ids: nearly all */
    uint64_t low, high;    /* first 8 bytes and last 8 */
    uint8_t len, n;        /* len 0: free */
    uint32_t ids[BPE_SMALL_IDS];
} bpe_small;

typedef struct bpe_large {
    uint64_t hash;
    uint32_t at; /* in the pool: the word's bytes, then, aligned, its ids */
    uint16_t len, n;
} bpe_large;

typedef struct bpe_words {
    const co_host *host;
    struct bpe_words *next; /* in the pool of idle ones */
    uint32_t *ids;          /* the result so far */
    size_t n_ids, cap_ids;
    uint32_t *symbols;
    size_t cap_symbols;
    bpe_bytes merge;        /* work space of bpe_merge_long */
    bpe_bytes repaired, normal[2], step_text[2]; /* the text at each stage; two to go back and forth between */
    struct bpe_piece *pieces[2];
    size_t n_pieces, cap_pieces[2];
    void *match;            /* pcre2_match_data, see regex.h */
    bpe_small *small;
    bpe_large *large;
    char *pool;
    size_t pool_at;
} bpe_words;

bpe_words *bpe_words_new(const co_host *h);
int bpe_words_ready(bpe_words *w); /* before words are encoded: its tables */
void bpe_words_free(bpe_words *w);
void bpe_words_trim(bpe_words *w); /* gives back buffers that one long text made large */
int bpe_words_grow_ids(bpe_words *w, size_t more);
static inline int bpe_words_room(bpe_words *w, size_t more)
{
    return w->n_ids + more <= w->cap_ids ? CO_OK : bpe_words_grow_ids(w, more);
}
/* For words of more than BPE_SMALL_WORD bytes or BPE_SMALL_IDS ids, at most BPE_LARGE_WORD bytes: 1 and the ids appended
 * if it is known (room for len ids must be there). */
int bpe_words_recall(bpe_words *w, uint64_t hash, const uint8_t *word, size_t len);
void bpe_words_remember(bpe_words *w, uint64_t hash, const uint8_t *word, size_t len, const uint32_t *ids, size_t n);
#endif
