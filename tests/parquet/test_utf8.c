/* pq_utf8_valid against Unicode's table 3-7 written down: every pair and triple of first bytes, fours at the borders, at every place of
 * texts around the widths that are looked at together, and texts of all kinds with a byte changed. */
#include "../check.h"
#include "datasets/parquet/text.h"

#include <stdlib.h>
#include <string.h>

/* Length of the well-formed character at p, 0: there is none. */
static size_t character(const uint8_t *p, size_t left)
{
    static const struct { uint8_t first, last, low, high; size_t n; } table[] = {
        { 0x00, 0x7F, 0, 0, 1 },       { 0xC2, 0xDF, 0x80, 0xBF, 2 }, { 0xE0, 0xE0, 0xA0, 0xBF, 3 }, { 0xE1, 0xEC, 0x80, 0xBF, 3 }, { 0xED, 0xED, 0x80, 0x9F, 3 },
        { 0xEE, 0xEF, 0x80, 0xBF, 3 }, { 0xF0, 0xF0, 0x90, 0xBF, 4 }, { 0xF1, 0xF3, 0x80, 0xBF, 4 }, { 0xF4, 0xF4, 0x80, 0x8F, 4 } };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (p[0] < table[i].first || p[0] > table[i].last) continue;
        if (left < table[i].n || (table[i].n > 1 && (p[1] < table[i].low || p[1] > table[i].high))) return 0;
        for (size_t k = 2; k < table[i].n; k++)
            if (p[k] < 0x80 || p[k] > 0xBF) return 0;
        return table[i].n;
    }
    return 0;
}

static size_t valid(const uint8_t *p, size_t n)
{
    size_t i = 0;
    while (i < n) {
        const size_t k = character(p + i, n - i);
        if (!k) break;
        i += k;
    }
    return i;
}

static int wrong;
static void compare(const uint8_t *p, size_t n)
{
    if (pq_utf8_valid(p, n) == valid(p, n)) return;
    if (!wrong++) CHECK_MSG(0, "%zu bytes: %zu, not %zu", n, pq_utf8_valid(p, n), valid(p, n));
}

static void at_every_place(const uint8_t *bytes, size_t k)
{
    static const size_t lengths[] = { 4, 32, 33, 67 };
    uint8_t text[80];
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
        for (size_t at = 0; at + k <= lengths[l]; at += at < 26 || at > 32 ? 3 : 1) {
            memset(text, 'a', sizeof text);
            memcpy(text + at, bytes, k);
            compare(text, lengths[l]);
        }
}

static void test_all(void)
{
    static const uint8_t border[] = { 0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xED, 0xF0, 0xF4, 0xF5, 0xFF };
    uint8_t b[4];
    for (int i = 0x7E00; i < 256 * 256; i++) at_every_place((b[0] = (uint8_t)(i >> 8), b[1] = (uint8_t)i, b), 2);
    for (int first = 0xC0; first < 256; first++)
        for (int k = 0; k < 16 * 16 * 16; k++) {
            b[0] = (uint8_t)first;
            b[1] = border[k & 15];
            b[2] = border[k >> 4 & 15];
            b[3] = border[k >> 8];
            uint8_t text[40];
            const size_t at = (size_t)(k % 37);
            memset(text, 'a', sizeof text);
            memcpy(text + at, b, 40 - at < 4 ? 40 - at : 4);
            compare(text, 40);
            at_every_place(b, 4 * (size_t)(k % 16 == 9));
        }
}

static void test_texts(void)
{
    static const char *const letters[] = { "a", "\xC3\xA9", "\xE4\xB8\xAD", "\xE2\x80\x99", "\xF0\x9F\x98\x8A", "\xED\x9F\xBF", "\xEF\xBF\xBF", "\xF4\x8F\xBF\xBF" };
    srand(1);
    for (int round = 0; round < 60000; round++) {
        uint8_t text[160];
        size_t n = 0;
        const size_t want = (size_t)(rand() % 150);
        const int kinds = 1 + rand() % 8;
        while (n < want) {
            const char *c = letters[rand() % kinds];
            memcpy(text + n, c, strlen(c));
            n += strlen(c);
        }
        compare(text, n);
        if (n) compare(text, n - (size_t)rand() % 4 % n); /* cut */
        for (int k = 0; n && k < 3; k++) text[(size_t)rand() % n] = (uint8_t)rand();
        compare(text, n);
    }
}

int main(void)
{
    test_all();
    test_texts();
    CHECK_MSG(!wrong, "%d texts judged otherwise", wrong);
    return check_done();
}
