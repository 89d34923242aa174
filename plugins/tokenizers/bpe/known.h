/* known.h: the patterns of well-known model families, cut by hand: many times quicker than a regular expression, and
 * held to PCRE2 on a million random texts (tests/tokenizers/test_known.c). */
#ifndef TOKENIZERS_BPE_KNOWN_H
#define TOKENIZERS_BPE_KNOWN_H
#include "unicode.h"

/* Bytes of the next piece of p..end (p < end), which is a match of the pattern, or what lies before the next match:
 * `match` says which. Pieces need no look behind them, so each starts where the last ended. */
typedef size_t (*bpe_known)(const bpe_unicode *u, const uint8_t *p, const uint8_t *end, int *match);

/* The cutter of a pattern written exactly like this, or NULL. */
bpe_known bpe_known_pattern(const char *pattern, size_t len);
bpe_known bpe_known_gpt2(void); /* of ByteLevel's own pattern */
extern const char bpe_gpt2_pattern[];
extern const char bpe_qwen2_pattern[];
#endif
