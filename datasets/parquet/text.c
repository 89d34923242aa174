#include "text.h"

#include <stdio.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

static int reserve(pq_text *t, size_t more)
{
    size_t cap = t->cap ? t->cap : 256;
    char *p;
    if (more > PQ_RECORD_BUDGET - t->n)
        return pq_fail(t->fault, CO_E_FORMAT, "the value takes more than the %zu MiB of text a record may have", PQ_RECORD_BUDGET >> 20);
    if (t->n + more + 1 <= t->cap) return CO_OK;
    while (cap < t->n + more + 1) cap *= 2;
    p = t->host->arena_push(t->arena, cap, 1);
    if (!p) return pq_fail(t->fault, CO_E_NOMEM, "no memory for a value of %zu bytes", t->n + more);
    if (t->n) memcpy(p, t->at, t->n);
    t->at = p;
    t->cap = cap;
    return CO_OK;
}

int pq_text_add(pq_text *t, const void *p, size_t n)
{
    const int rc = reserve(t, n);
    if (rc) return rc;
    if (n) memcpy(t->at + t->n, p, n);
    t->n += n;
    t->at[t->n] = 0;
    return CO_OK;
}

int pq_text_char(pq_text *t, char c) { return pq_text_add(t, &c, 1); }

int pq_text_quoted(pq_text *t, const void *text, size_t n)
{
    static const char names[] = "btn\0fr"; /* of 8 to 13 */
    const uint8_t *p = text, *end = p + n;
    int rc = pq_text_char(t, '"');
    while (p < end && !rc) {
        const uint8_t *run = p;
        char esc[8];
        int len;
        while (p < end && *p >= 0x20 && *p != '"' && *p != '\\') p++;
        rc = pq_text_add(t, run, (size_t)(p - run));
        if (rc || p == end) break;
        if (*p == '"' || *p == '\\') len = snprintf(esc, sizeof esc, "\\%c", *p);
        else if (*p >= 8 && *p <= 13 && names[*p - 8]) len = snprintf(esc, sizeof esc, "\\%c", names[*p - 8]);
        else len = snprintf(esc, sizeof esc, "\\u%04x", *p);
        rc = pq_text_add(t, esc, (size_t)len);
        p++;
    }
    return rc ? rc : pq_text_char(t, '"');
}

int pq_text_escaped(pq_text *t, const uint8_t *p, size_t n)
{
    static const char hex[] = "0123456789ABCDEF";
    int rc = CO_OK;
    for (size_t i = 0; i < n && !rc; i++) {
        const char esc[4] = { '\\', 'x', hex[p[i] >> 4], hex[p[i] & 15] };
        if (p[i] >= 0x20 && p[i] < 0x7F && p[i] != '\\') rc = pq_text_char(t, (char)p[i]);
        else rc = pq_text_add(t, esc, 4);
    }
    return rc;
}

/* Behind those bytes from i on that are surely well formed: ASCII, and characters of three bytes as in Chinese, sixteen bytes at a time. Where
 * it stops is a character's first byte, and nothing is said about that. */
static size_t skip_common(const uint8_t *p, size_t i, size_t n)
{
#ifdef __x86_64__
    const __m128i bits = _mm_setr_epi8(-16, -64, -64, -16, -64, -64, -16, -64, -64, -16, -64, -64, -16, -64, -64, 0);
    const __m128i three = _mm_setr_epi8(-32, -128, -128, -32, -128, -128, -32, -128, -128, -32, -128, -128, -32, -128, -128, 0);
    const __m128i e0 = _mm_set1_epi8((char)0xE0), ed = _mm_set1_epi8((char)0xED); /* whose second byte matters */
    while (n - i >= 16) {
        const __m128i *q = (const __m128i *)(const void *)(p + i), v = _mm_loadu_si128(q);
        const unsigned high = (unsigned)_mm_movemask_epi8(v);
        if (!high) {
            for (i += 16; n - i >= 64; i += 64) {
                q = (const __m128i *)(const void *)(p + i);
                if (_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(_mm_loadu_si128(q), _mm_loadu_si128(q + 1)),
                                                   _mm_or_si128(_mm_loadu_si128(q + 2), _mm_loadu_si128(q + 3)))))
                    break;
            }
        } else if (!(high & 1)) {
            i += (size_t)__builtin_ctz(high);
        } else {
            const __m128i odd = _mm_or_si128(_mm_cmpeq_epi8(v, e0), _mm_cmpeq_epi8(v, ed));
            if (_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_and_si128(v, bits), three)) != 0xFFFF || (_mm_movemask_epi8(odd) & 0x1249)) break;
            i += 15;
        }
    }
    if (n >= 16 && n - i < 16) { /* the rest, with bytes before it that have been seen */
        const unsigned high = (unsigned)_mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + n - 16))) >> (16 - (n - i));
        i = high ? i + (size_t)__builtin_ctz(high) : n;
    }
#else
    for (; n - i >= 8; i += 8) {
        uint64_t w;
        memcpy(&w, p + i, 8);
        if (w & 0x8080808080808080u) break;
    }
#endif
    return i;
}

#ifdef __x86_64__
/* Keiser and Lemire, "Validating UTF-8 in less than one instruction per byte" (2021): each pair of neighbouring bytes looked up by
 * three half bytes; a bit that all three have is what is wrong with it. `carry` is right where a third or fourth byte must stand. */
enum { SHORT = 1, LONG = 2, OVERLONG_3 = 4, LARGE = 8, SURROGATE = 16, OVERLONG_2 = 32, LARGE_1000 = 64, OVERLONG_4 = 64, TWO = 128, CARRY = SHORT | LONG | TWO };
#define TWICE(...) _mm256_setr_epi8(__VA_ARGS__, __VA_ARGS__)
#define B(x) ((char)(x))

/* Bytes of v, `k` places before each. */
#define BEFORE(v, last, k) _mm256_alignr_epi8(v, _mm256_permute2x128_si256(last, v, 0x21), 16 - (k))

__attribute__((target("avx2"))) static __m256i wrong_in(__m256i v, __m256i last)
{
    const __m256i first_high = TWICE(LONG, LONG, LONG, LONG, LONG, LONG, LONG, LONG, B(TWO), B(TWO), B(TWO), B(TWO), SHORT | OVERLONG_2, SHORT,
                                     SHORT | OVERLONG_3 | SURROGATE, SHORT | LARGE | LARGE_1000);
    const __m256i first_low = TWICE(B(CARRY | OVERLONG_3 | OVERLONG_2 | OVERLONG_4), B(CARRY | OVERLONG_2), B(CARRY), B(CARRY), B(CARRY | LARGE), B(CARRY | LARGE | LARGE_1000),
                                    B(CARRY | LARGE | LARGE_1000), B(CARRY | LARGE | LARGE_1000), B(CARRY | LARGE | LARGE_1000), B(CARRY | LARGE | LARGE_1000),
                                    B(CARRY | LARGE | LARGE_1000), B(CARRY | LARGE | LARGE_1000), B(CARRY | LARGE | LARGE_1000), B(CARRY | LARGE | LARGE_1000 | SURROGATE),
                                    B(CARRY | LARGE | LARGE_1000), B(CARRY | LARGE | LARGE_1000));
    const __m256i second_high = TWICE(SHORT, SHORT, SHORT, SHORT, SHORT, SHORT, SHORT, SHORT, B(LONG | OVERLONG_2 | TWO | OVERLONG_3 | LARGE_1000 | OVERLONG_4),
                                      B(LONG | OVERLONG_2 | TWO | OVERLONG_3 | LARGE), B(LONG | OVERLONG_2 | TWO | SURROGATE | LARGE),
                                      B(LONG | OVERLONG_2 | TWO | SURROGATE | LARGE), SHORT, SHORT, SHORT, SHORT);
    const __m256i half = _mm256_set1_epi8(15), one = BEFORE(v, last, 1);
    const __m256i pair = _mm256_and_si256(_mm256_and_si256(_mm256_shuffle_epi8(first_high, _mm256_and_si256(_mm256_srli_epi16(one, 4), half)),
                                                           _mm256_shuffle_epi8(first_low, _mm256_and_si256(one, half))),
                                          _mm256_shuffle_epi8(second_high, _mm256_and_si256(_mm256_srli_epi16(v, 4), half)));
    const __m256i third = _mm256_subs_epu8(BEFORE(v, last, 2), _mm256_set1_epi8(0xE0 - 0x80)), fourth = _mm256_subs_epu8(BEFORE(v, last, 3), _mm256_set1_epi8(0xF0 - 0x80));
    return _mm256_xor_si256(_mm256_and_si256(_mm256_or_si256(third, fourth), _mm256_set1_epi8(B(0x80))), pair);
}

/* 1: [p, p + n) is UTF-8 throughout. */
__attribute__((target("avx2"))) static int all_valid(const uint8_t *p, size_t n)
{
    uint8_t rest[32] = { 0 };
    __m256i last = _mm256_setzero_si256(), wrong = last;
    size_t i = 0;
    int open = 0; /* `last` is not all ASCII */
    for (; n - i >= 32; i += 32) {
        const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(p + i));
        const int high = _mm256_movemask_epi8(v) != 0;
        if (high | open) wrong = _mm256_or_si256(wrong, wrong_in(v, last));
        last = v;
        open = high;
    }
    if (n > i) memcpy(rest, p + i, n - i);
    wrong = _mm256_or_si256(wrong, wrong_in(_mm256_loadu_si256((const __m256i *)(const void *)rest), last));
    if (n - i > 28) wrong = _mm256_or_si256(wrong, wrong_in(_mm256_setzero_si256(), _mm256_loadu_si256((const __m256i *)(const void *)rest)));
    return _mm256_testz_si256(wrong, wrong);
}
#endif

size_t pq_utf8_valid(const uint8_t *p, size_t n)
{
#ifdef __x86_64__
    if (n >= 32 && __builtin_cpu_supports("avx2") && all_valid(p, n)) return n;
#endif
    size_t i = skip_common(p, 0, n);
    while (i < n) {
        const uint8_t b = p[i];
        uint32_t c, more, least;
        if (b < 0x80) {
            i++;
            continue;
        }
        if (b >= 0xC2 && b < 0xE0) more = 1, c = b & 0x1Fu, least = 0x80;
        else if (b >= 0xE0 && b < 0xF0) more = 2, c = b & 0x0Fu, least = 0x800;
        else if (b >= 0xF0 && b < 0xF5) more = 3, c = b & 0x07u, least = 0x10000;
        else return i;
        if (n - i <= more) return i;
        for (uint32_t k = 1; k <= more; k++) {
            if ((p[i + k] & 0xC0) != 0x80) return i;
            c = c << 6 | (p[i + k] & 0x3Fu);
        }
        if (c < least || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return i;
        i += 1 + more;
        i = skip_common(p, i, n);
    }
    return n;
}
