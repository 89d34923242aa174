/* model.h: byte pair encoding of one word, exactly as the merges prescribe: the pair of lowest rank first, of equal ranks
 * the leftmost. What a word becomes is remembered (see words.h). */
#ifndef TOKENIZERS_BPE_MODEL_H
#define TOKENIZERS_BPE_MODEL_H
#include "merges.h"
#include "vocab.h"
#include "words.h"

typedef struct bpe_model {
    const co_host *host;
    bpe_vocab vocab;
    bpe_merges merges;
    uint32_t unk;                       /* BPE_NO_ID: characters without a token are left out */
    int fuse_unk, ignore_merges;        /* ignore_merges: a word that is a token is that token */
    int byte_level;                     /* the symbols to begin with are bytes, not characters */
    int byte_fallback;                  /* characters without a token become their bytes' tokens */
    const char *prefix, *suffix;        /* continuing_subword_prefix, end_of_word_suffix; NULL: none */
    size_t prefix_len, suffix_len;
    uint32_t byte_id[256];              /* byte_level: of each byte; byte_fallback: of "<0xNN>"; else unset */
    uint32_t ascii_id[128];             /* of one-character tokens, characters as symbols */
    int cuts;                           /* words may be cut where merges.h says nothing is ever joined */
} bpe_model;

/* Fills the tables above once vocabulary, merges and settings are there. */
void bpe_model_prepare(bpe_model *m);
void bpe_model_close(bpe_model *m);
/* Appends the ids of one word (whole characters) to w->ids. CO_OK or CO_E_NOMEM. */
int bpe_encode_word(const bpe_model *m, bpe_words *w, const uint8_t *word, size_t len);
/* The same for a text that no pre-tokenizer has cut: cuts it where that changes nothing. */
int bpe_encode_text(const bpe_model *m, bpe_words *w, const uint8_t *text, size_t len);

/* Merges n symbols in place; the number that is left. `space` has room for n ranks. For short words: each step looks
 * at all ranks, which is quicker than any heap as long as they fit in a few cache lines. */
size_t bpe_merge_short(const bpe_merges *m, uint32_t *symbols, int32_t *space, size_t n);
/* The same for any length, in n log n; `work` is reused from call to call. */
int bpe_merge_long(const co_host *h, const bpe_merges *m, uint32_t *symbols, size_t n, bpe_bytes *work, size_t *left);
enum { BPE_SHORT = 160 }; /* symbols */
#endif
