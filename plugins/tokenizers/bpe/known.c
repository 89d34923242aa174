#include "known.h"
#include <string.h>

const char bpe_gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char llama3_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
                                     "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char bpe_qwen2_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
                                 "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
/* Oniguruma, whose syntax this is, nests classes: one class of white space, "(", "|", ")" and the punctuation. */
static const char bloom_pattern[] = " ?[^(\\s|[.,!?\xE2\x80\xA6\xE3\x80\x82\xEF\xBC\x8C\xE3\x80\x81\xE0\xA5\xA4\xDB\x94\xD8\x8C])]+";

enum { LETTER = 1, NUMBER = 2, SPACE = 4, OTHER = 8, LINE = 16 /* CR or LF, with SPACE */ };

static const uint8_t ascii[128] = {
    8, 8, 8, 8, 8, 8, 8, 8, 8, 4, 20, 4, 4, 20, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8,
    4, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 8, 8, 8, 8, 8, 8,
    8, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 8, 8, 8, 8, 8,
    8, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 8, 8, 8, 8, 8};

/* Class of the character at p, 0 at the end; *next: behind it. */
static inline uint8_t look(const bpe_unicode *u, const uint8_t *p, const uint8_t *end, const uint8_t **next)
{
    *next = p;
    if (p == end) return 0;
    if (*p < 0x80) {
        *next = p + 1;
        return ascii[*p];
    }
    const uint8_t c = bpe_class(u, bpe_utf8_next(next));
    return c & BPE_SPACE ? SPACE : bpe_in(c, BPE_LETTERS) ? LETTER : bpe_in(c, BPE_NUMBERS) ? NUMBER : OTHER;
}

/* Behind the run of characters of the kinds `kinds` that starts at p. */
static inline const uint8_t *run(const bpe_unicode *u, const uint8_t *p, const uint8_t *end, uint8_t kinds)
{
    const uint8_t *next;
    while (look(u, p, end, &next) & kinds) p = next;
    return p;
}

/* 's 't 're 've 'm 'll 'd: bytes, or 0. U+017F, the long s, is an s to those who fold case. */
static inline size_t contraction(const uint8_t *p, const uint8_t *end, int fold)
{
    if (end - p < 2 || *p != '\'') return 0;
    const uint8_t fold_bit = fold ? 0x20 : 0, a = p[1] | fold_bit, b = end - p > 2 ? (uint8_t)(p[2] | fold_bit) : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
    return fold && p[1] == 0xC5 && end - p > 2 && p[2] == 0xBF ? 3 : 0;
}

/* \s*[\r\n]+ (with `lines`), \s+(?!\S), \s+ */
static inline size_t spaces(const bpe_unicode *u, const uint8_t *p, const uint8_t *end, int lines)
{
    const uint8_t *at = p, *next, *last = p, *behind_line = NULL;
    for (uint8_t k; (k = look(u, at, end, &next)) & SPACE; at = next) {
        last = at;
        if (k & LINE) behind_line = next;
    }
    if (lines && behind_line) return (size_t)(behind_line - p);
    return (size_t)((at == end || last == p ? at : last) - p); /* the last one is left to the word behind it */
}

static inline size_t gpt4(const bpe_unicode *u, const uint8_t *p, const uint8_t *end, int digits)
{
    const uint8_t *next, *after;
    const uint8_t k = look(u, p, end, &next);
    if (k == LETTER) return (size_t)(run(u, next, end, LETTER) - p);
    if (k == NUMBER) {
        for (int i = 1; i < digits && look(u, next, end, &after) == NUMBER; i++) next = after;
        return (size_t)(next - p);
    }
    if (*p == '\'') {
        const size_t n = contraction(p, end, 1);
        if (n) return n;
    }
    const uint8_t k2 = look(u, next, end, &after);
    if (k2 == LETTER && !(k & LINE)) return (size_t)(run(u, after, end, LETTER) - p);
    if (k == OTHER || (*p == ' ' && k2 == OTHER)) {
        const uint8_t *q = run(u, next, end, OTHER);
        while (q < end && (*q == '\r' || *q == '\n')) q++;
        return (size_t)(q - p);
    }
    return spaces(u, p, end, 1);
}

static size_t cut_llama3(const bpe_unicode *u, const uint8_t *p, const uint8_t *end, int *match)
{
    *match = 1;
    return gpt4(u, p, end, 3);
}

static size_t cut_qwen2(const bpe_unicode *u, const uint8_t *p, const uint8_t *end, int *match)
{
    *match = 1;
    return gpt4(u, p, end, 1);
}

static size_t cut_gpt2(const bpe_unicode *u, const uint8_t *p, const uint8_t *end, int *match)
{
    const uint8_t *next;
    const size_t n = contraction(p, end, 0);
    *match = 1;
    if (n) return n;
    uint8_t k = look(u, p, end, &next);
    if (*p == ' ') {
        const uint8_t k2 = look(u, next, end, &next);
        if (k2 & (LETTER | NUMBER | OTHER)) k = k2;
        else next = p;
    }
    if (k & SPACE) return spaces(u, p, end, 0);
    return (size_t)(run(u, next, end, k) - p);
}

/* What BLOOM's class excludes. */
static inline int is_bloom_stop(const bpe_unicode *u, uint32_t c)
{
    if (c < 0x80) return c == '(' || c == ')' || c == '|' || c == '.' || c == ',' || c == '!' || c == '?' || (ascii[c] & SPACE);
    return c == 0x2026 || c == 0x3002 || c == 0xFF0C || c == 0x3001 || c == 0x964 || c == 0x6D4 || c == 0x60C || (bpe_class(u, c) & BPE_SPACE);
}

static size_t cut_bloom(const bpe_unicode *u, const uint8_t *p, const uint8_t *end, int *match)
{
    const uint8_t *at = p, *next = p;
    if (*p == ' ') at++;
    const uint8_t *word = at;
    for (; at < end; at = next) {
        next = at;
        const uint32_t c = bpe_utf8_next(&next);
        if (is_bloom_stop(u, c)) break;
    }
    *match = at > word;
    if (*match) return (size_t)(at - p);
    /* a gap: up to a word, or to the space that belongs to one */
    const uint8_t *space = NULL;
    for (at = p; at < end; at = next) {
        next = at;
        const uint32_t c = bpe_utf8_next(&next);
        if (!is_bloom_stop(u, c)) return (size_t)((space ? space : at) - p);
        space = c == ' ' ? at : NULL;
    }
    return (size_t)(end - p);
}

bpe_known bpe_known_pattern(const char *pattern, size_t len)
{
    static const struct { const char *pattern; bpe_known cut; } all[] = {
        {bpe_gpt2_pattern, cut_gpt2}, {llama3_pattern, cut_llama3}, {bpe_qwen2_pattern, cut_qwen2}, {bloom_pattern, cut_bloom}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (strlen(all[i].pattern) == len && memcmp(all[i].pattern, pattern, len) == 0) return all[i].cut;
    return NULL;
}

bpe_known bpe_known_gpt2(void) { return cut_gpt2; }
