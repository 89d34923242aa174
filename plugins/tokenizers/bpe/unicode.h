/* unicode.h: UTF-8, and what Unicode says about characters. The tables are Unicode 16, as the regular expression engine
 * of Hugging Face's tokenizers has them (tests/golden/make_unicode.py); Debian 12's PCRE2 and utf8proc know 14 and 15. */
#ifndef TOKENIZERS_BPE_UNICODE_H
#define TOKENIZERS_BPE_UNICODE_H
#include <coati/host.h>

/* The low five bits of a character's class: its general category. */
typedef enum bpe_category {
    BPE_CN, BPE_LU, BPE_LL, BPE_LT, BPE_LM, BPE_LO, BPE_MN, BPE_MC, BPE_ME, BPE_ND, BPE_NL, BPE_NO, BPE_PC, BPE_PD, BPE_PS,
    BPE_PE, BPE_PI, BPE_PF, BPE_PO, BPE_SM, BPE_SC, BPE_SK, BPE_SO, BPE_ZS, BPE_ZL, BPE_ZP, BPE_CC, BPE_CF, BPE_CO, BPE_CS,
    BPE_CATEGORIES
} bpe_category;
enum {
    BPE_SPACE = 0x20, /* \s */
    BPE_WORD = 0x40,  /* \w */
    BPE_PUNCT = 0x80  /* what the Punctuation pre-tokenizer means by it */
};
#define BPE_LETTERS (1u << BPE_LU | 1u << BPE_LL | 1u << BPE_LT | 1u << BPE_LM | 1u << BPE_LO)
#define BPE_MARKS (1u << BPE_MN | 1u << BPE_MC | 1u << BPE_ME)
#define BPE_NUMBERS (1u << BPE_ND | 1u << BPE_NL | 1u << BPE_NO)

typedef struct bpe_unicode {
    uint8_t *pages;         /* [n][256] classes */
    uint16_t page[0x1100];  /* of each 256 characters */
} bpe_unicode;

int bpe_unicode_open(const co_host *h, bpe_unicode *u);
void bpe_unicode_close(const co_host *h, bpe_unicode *u);
/* [first, last] of the next run of characters of one class at or after `from`; 0: there is none. For those who turn
 * classes into patterns. */
int bpe_unicode_run(size_t index, uint32_t *first, uint32_t *last, uint8_t *cls);

static inline uint8_t bpe_class(const bpe_unicode *u, uint32_t c) { return u->pages[(size_t)u->page[c >> 8] << 8 | (c & 255)]; }
static inline int bpe_in(uint8_t cls, uint32_t categories) { return (int)(categories >> (cls & 31) & 1); }

/* The character at *p, which is valid UTF-8; *p moves behind it. */
static inline uint32_t bpe_utf8_next(const uint8_t **p)
{
    const uint8_t *s = *p;
    if (s[0] < 0x80) return *p += 1, s[0];
    if (s[0] < 0xE0) return *p += 2, (uint32_t)(s[0] & 31) << 6 | (s[1] & 63);
    if (s[0] < 0xF0) return *p += 3, (uint32_t)(s[0] & 15) << 12 | (uint32_t)(s[1] & 63) << 6 | (s[2] & 63);
    return *p += 4, (uint32_t)(s[0] & 7) << 18 | (uint32_t)(s[1] & 63) << 12 | (uint32_t)(s[2] & 63) << 6 | (s[3] & 63);
}
/* Bytes of the character that starts with `first`. */
static inline size_t bpe_utf8_len(uint8_t first) { return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4; }
/* Writes the character; its number of bytes, at most 4. */
size_t bpe_utf8_put(uint32_t c, char *out);
/* Bytes at the start of s that are whole, valid characters. */
size_t bpe_utf8_valid(const char *s, size_t n);
/* After bpe_utf8_valid: bytes of s[0..n), n > 0, that together stand for one damaged character (the longest start of a
 * well-formed sequence, or one byte), to become one U+FFFD: what Unicode recommends, Python's errors="replace" does. */
size_t bpe_utf8_damage(const char *s, size_t n);
#endif
