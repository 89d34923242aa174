#include "unicode.h"
#include <string.h>

/* Runs of one class, in order, the last byte of each entry: the class; above it: the run's first character. */
static const uint32_t runs[] = {
#include "unicode.def"
};
enum { N_RUNS = sizeof runs / sizeof runs[0], N_PAGES = 0x1100 };

static uint32_t last_of(size_t run) { return run + 1 < N_RUNS ? (runs[run + 1] >> 8) - 1 : 0x10FFFF; }

int bpe_unicode_run(size_t index, uint32_t *first, uint32_t *last, uint8_t *cls)
{
    if (index >= N_RUNS) return 0;
    *first = runs[index] >> 8;
    *last = last_of(index);
    *cls = (uint8_t)runs[index];
    return 1;
}

/* Most pages are one class from end to end, and found again by it; each of the others is kept. */
int bpe_unicode_open(const co_host *h, bpe_unicode *u)
{
    uint16_t uniform[256], n = 0;
    size_t run = 0, mixed = 0;
    uint32_t last = N_PAGES;
    memset(uniform, 0xFF, sizeof uniform);
    for (size_t i = 0; i < N_RUNS; i++) {
        if ((runs[i] >> 8 & 255) == 0 || runs[i] >> 16 == last) continue;
        last = runs[i] >> 16;
        mixed++;
    }
    u->pages = h->alloc(h, (mixed + 256) * 256, 64); /* and at most one uniform page a class */
    if (!u->pages) return CO_E_NOMEM;
    for (uint32_t p = 0; p < N_PAGES; p++) {
        const uint32_t first = p << 8, end = first + 256;
        uint8_t *page = u->pages + (size_t)n * 256;
        while (last_of(run) < first) run++;
        const int one = last_of(run) >= end - 1;
        const uint8_t cls = (uint8_t)runs[run];
        if (one && uniform[cls] != 0xFFFF) {
            u->page[p] = uniform[cls];
            continue;
        }
        for (uint32_t c = first; c < end; run += c < end) {
            const uint32_t stop = last_of(run) + 1 < end ? last_of(run) + 1 : end;
            memset(page + (c - first), (uint8_t)runs[run], stop - c);
            c = stop;
        }
        if (one) uniform[cls] = n;
        u->page[p] = n++;
    }
    return CO_OK;
}

void bpe_unicode_close(const co_host *h, bpe_unicode *u)
{
    h->free(h, u->pages);
    u->pages = NULL;
}

size_t bpe_utf8_put(uint32_t c, char *out)
{
    if (c < 0x80) return out[0] = (char)c, 1;
    if (c < 0x800) return out[0] = (char)(0xC0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12), out[1] = (char)(0x80 | (c >> 6 & 63)), out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18), out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63)), out[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* Bytes of the well-formed sequence that begins at s, or 0; *good: bytes that were right. */
static size_t sequence(const uint8_t *s, size_t n, size_t *good)
{
    const uint8_t a = s[0];
    uint8_t low = 0x80, high = 0xBF;
    const size_t need = a < 0x80 ? 1 : a < 0xC2 ? 0 : a < 0xE0 ? 2 : a < 0xF0 ? 3 : a < 0xF5 ? 4 : 0;
    if (a == 0xE0) low = 0xA0;
    else if (a == 0xED) high = 0x9F;
    else if (a == 0xF0) low = 0x90;
    else if (a == 0xF4) high = 0x8F;
    *good = 1;
    if (need == 0) return 0;
    for (; *good < need; ++*good) {
        if (*good >= n || s[*good] < low || s[*good] > high) return 0;
        low = 0x80, high = 0xBF;
    }
    return need;
}

size_t bpe_utf8_valid(const char *s, size_t n)
{
    const uint8_t *p = (const uint8_t *)s;
    size_t i = 0, good;
    while (i < n) {
        uint64_t eight;
        while (i + 8 <= n && (memcpy(&eight, p + i, 8), !(eight & 0x8080808080808080u))) i += 8;
        if (i == n) break;
        const size_t len = sequence(p + i, n - i, &good);
        if (!len) break;
        i += len;
    }
    return i;
}

size_t bpe_utf8_damage(const char *s, size_t n)
{
    size_t good;
    sequence((const uint8_t *)s, n, &good);
    return good;
}
