/* beside.h: what lies beside a tokenizer.model: tokens beyond its pieces (added_tokens.json, added_tokens_decoder), names of
 * special tokens, whether BOS and EOS stand around a text. For C++. */
#ifndef TOKENIZERS_BESIDE_H
#define TOKENIZERS_BESIDE_H
#include <coati/host.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct beside beside;

/* Reads the files of `dir`. piece(ctx, id, &len) is the text of piece id, 0 <= id < n_pieces. CO_E_FORMAT names a file that is
 * damaged, or that gives a token an id which is another's. */
int beside_open(const co_host *h, const char *dir, int32_t n_pieces, const char *(*piece)(void *ctx, int32_t id, size_t *len), void *ctx,
                beside **out);
void beside_close(beside *b);
int32_t beside_n_vocab(const beside *b); /* pieces and tokens beyond them */
/* "bos", "eos", "unk", "pad": its id; -1: the files say there is none; -2: they say nothing. */
int32_t beside_role(const beside *b, const char *role);
/* Whether "bos" stands before a text, or "eos" behind it: 1, 0, or -1: the files say nothing. */
int beside_adds(const beside *b, const char *role);
/* The text of an id beyond the pieces, as it is decoded: empty for special tokens and for ids of no token. */
const char *beside_text(const beside *b, int32_t id, size_t *len);

/* The id of the special token beyond the pieces that is written so; -1: none. */
int32_t beside_special(const beside *b, const char *text, size_t len);

/* Walks over such tokens in text[0..len), special ones too unless no_special: start with {0}. 1: `id` was found behind text[gap_at .. + gap_len);
 * 0: no more, the gap is what is left. */
typedef struct beside_scan {
    size_t gap_at, gap_len;
    int32_t id;
    int no_special;
    size_t state[8];
} beside_scan;
int beside_next(const beside *b, const char *text, size_t len, beside_scan *s);
#ifdef __cplusplus
}
#endif
#endif
