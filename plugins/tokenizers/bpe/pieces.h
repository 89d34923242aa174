/* pieces.h: ids to text. What each id adds to a text is worked out when the file is read; decoding copies. */
#ifndef TOKENIZERS_BPE_PIECES_H
#define TOKENIZERS_BPE_PIECES_H
#include "added.h"
#include "json.h"
#include "vocab.h"

typedef struct bpe_pieces {
    bpe_bytes text, first_text;   /* first_text: where the first id's differs (Metaspace), else empty */
    uint32_t *at, *first_at;      /* [n + 1] */
    uint8_t *skip;                /* [n]: special, or no token at all */
    uint32_t n;
    int spaced;                   /* no decoder: tokens are put side by side with a space between */
    char strip[4];                /* a character that the whole text may begin with … */
    size_t strip_len;
    uint32_t strip_most;          /* … and loses, this often at most */
} bpe_pieces;

/* Works out all pieces from the "decoder" of a tokenizer.json (NULL: it has none). */
int bpe_pieces_read(const co_host *h, const bpe_at *decoder, const bpe_vocab *v, const bpe_added *a, bpe_pieces *out);
void bpe_pieces_close(const co_host *h, bpe_pieces *p);
/* Bytes that decoding may need, and the decoding: returns the bytes written. Ids must be below n. */
size_t bpe_pieces_room(const bpe_pieces *p, const int32_t *ids, size_t n);
size_t bpe_pieces_join(const bpe_pieces *p, const int32_t *ids, size_t n, int continuation, char *out);
#endif
