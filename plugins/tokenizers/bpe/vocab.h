/* vocab.h: the model's tokens, by text and by id. Byte-level vocabularies are kept as the bytes they stand for, so that
 * texts need no translation: "Ġthe" is kept as " the". A token that is no such translation (it cannot come from a text)
 * keeps its text and is marked; it is found by bpe_vocab_find_text only. */
#ifndef TOKENIZERS_BPE_VOCAB_H
#define TOKENIZERS_BPE_VOCAB_H
#include <string.h>
#include <coati/host.h>
#include "memory.h"

#define BPE_NO_ID UINT32_MAX

typedef struct bpe_token {
    uint32_t at, len; /* in bytes.data */
} bpe_token;

typedef struct bpe_vocab {
    const co_host *host;
    bpe_bytes bytes;
    bpe_token *tokens; /* by id */
    uint8_t *state;    /* by id: BPE_ABSENT, BPE_KEPT or BPE_AS_TEXT */
    uint32_t n_ids;    /* highest id + 1; ids may be missing below it */
    uint32_t n_tokens;
    uint64_t *slots; /* hash's upper half << 32 | id + 1; 0: free */
    uint64_t mask;
    int byte_level;
    uint16_t chars[256]; /* the character that stands for each byte */
} bpe_vocab;
enum { BPE_ABSENT, BPE_KEPT, BPE_AS_TEXT };

/* Room for n_tokens tokens with ids below n_ids, of `text` bytes in all; what is left over of those serves
 * bpe_vocab_find_text and _merge as work space, which are for loading only. */
int bpe_vocab_open(const co_host *h, bpe_vocab *v, uint32_t n_tokens, uint32_t n_ids, size_t text, int byte_level);
void bpe_vocab_close(bpe_vocab *v);
typedef enum bpe_vocab_added { BPE_ADDED, BPE_TEXT_TWICE, BPE_ID_TWICE } bpe_vocab_added;
/* Adds a token by its text as the file has it. */
bpe_vocab_added bpe_vocab_add(bpe_vocab *v, const char *text, size_t len, uint32_t id);
/* The id of a token by its text as files write it, or BPE_NO_ID. */
uint32_t bpe_vocab_find_text(const bpe_vocab *v, const char *text, size_t len);
/* What a merge of a and b, texts as files write them, is about: the ids of a, of b, and of a with b less its first `skip`
 * bytes; BPE_NO_ID where there is no such token. */
void bpe_vocab_find_merge(const bpe_vocab *v, const char *a, size_t a_len, const char *b, size_t b_len, size_t skip, uint32_t ids[3]);
/* The id of the token that is these bytes of a text, or BPE_NO_ID. */
uint32_t bpe_vocab_find(const bpe_vocab *v, const uint8_t *bytes, size_t len);
uint32_t bpe_vocab_find_hashed(const bpe_vocab *v, const uint8_t *bytes, size_t len, uint64_t hash);
static inline const char *bpe_vocab_bytes(const bpe_vocab *v, uint32_t id, size_t *len)
{
    *len = v->tokens[id].len;
    return v->bytes.data + v->tokens[id].at;
}

/* Byte-level text (each byte written as a printable character) to the bytes; 0 if some character stands for no byte.
 * `out` has room for len bytes. */
int bpe_bytes_of_text(const char *text, size_t len, char *out, size_t *n);

/* A word of up to 16 bytes as two numbers, which with its length say all about it. */
typedef struct bpe_key {
    uint64_t low, high;
} bpe_key;

static inline bpe_key bpe_key_of(const uint8_t *p, size_t n)
{
    bpe_key k = {0, 0};
    if (n >= 8) {
        memcpy(&k.low, p, 8);
        memcpy(&k.high, p + n - 8, 8);
    } else if (n >= 4) {
        uint32_t a, b;
        memcpy(&a, p, 4);
        memcpy(&b, p + n - 4, 4);
        k.low = (uint64_t)a << 32 | b;
    } else if (n) {
        k.low = (uint64_t)p[0] << 16 | (uint64_t)p[n >> 1] << 8 | p[n - 1];
    }
    return k;
}
static inline uint64_t bpe_mix(uint64_t a, uint64_t b)
{
    const unsigned __int128 m = (unsigned __int128)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}
static inline uint64_t bpe_hash_key(bpe_key k, uint64_t seed)
{
    return bpe_mix(seed ^ k.low ^ 0xA0761D6478BD642Fu, k.high ^ 0x8EBC6AF09C88C6E3u);
}
static inline uint64_t bpe_hash(const uint8_t *p, size_t n)
{
    uint64_t h = 0x9E3779B97F4A7C15u ^ n, a, b;
    for (; n > 16; p += 16, n -= 16) {
        memcpy(&a, p, 8);
        memcpy(&b, p + 8, 8);
        h = bpe_mix(h ^ a ^ 0xA0761D6478BD642Fu, b ^ 0xE7037ED1A0B428DBu);
    }
    return bpe_hash_key(bpe_key_of(p, n), h);
}
#endif
