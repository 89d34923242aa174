#include "text.h"

#include <stdio.h>
#include <string.h>

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

size_t pq_utf8_valid(const uint8_t *p, size_t n)
{
    size_t i = 0;
    while (i < n) {
        const uint8_t b = p[i];
        uint32_t c, more, least;
        if (n - i >= 32) { /* four words of ASCII at once */
            uint64_t w[4];
            memcpy(w, p + i, 32);
            if (!((w[0] | w[1] | w[2] | w[3]) & 0x8080808080808080u)) {
                i += 32;
                continue;
            }
        }
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
    }
    return n;
}
