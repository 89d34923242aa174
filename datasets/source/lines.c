/* lines.c: what a record is. */
#include "lines.h"
#include "hash.h"

#include <string.h>

static int is_blank(uint8_t b) { return b == ' ' || b == '\t' || b == '\r'; }

static size_t find_newline(const source *s, size_t at, size_t limit)
{
    const uint8_t *p = at < limit ? memchr(s->data + at, '\n', limit - at) : NULL;
    return p ? (size_t)(p - s->data) : limit;
}

/* The start of the first line that is not blank, from `from` on: `from` itself in the middle of such a line. len: none. */
static size_t skip_blank_lines(const source *s, size_t from)
{
    size_t line = from, at = from;
    for (; at < s->len && (is_blank(s->data[at]) || s->data[at] == '\n'); at++)
        if (s->data[at] == '\n') line = at + 1;
    return at < s->len ? line : s->len;
}

/* Behind the last line of a paragraph, its line end not included; `limit` if it does not end before. */
static size_t paragraph_end(const source *s, size_t from, size_t limit)
{
    size_t end = find_newline(s, from, limit);
    while (end < limit) {
        size_t at = end + 1;
        while (at < s->len && is_blank(s->data[at])) at++;
        if (at == s->len || s->data[at] == '\n') return end;
        end = find_newline(s, at < limit ? at : limit, limit);
    }
    return end;
}

/* Where a record longer than the rules allow is cut. */
static size_t cut(const source *s, size_t begin, size_t limit)
{
    const uint8_t *line = memrchr(s->data + begin, '\n', limit - begin);
    size_t at = limit;
    if (line) return (size_t)(line - s->data) + 1;
    while (limit - at < 3 && (s->data[at] & 0xC0) == 0x80) at--;
    return (s->data[at] & 0xC0) == 0x80 ? limit : at; /* not UTF-8: anywhere */
}

int lines_next(const source *s, const lines_rules *r, size_t from, line_span *out)
{
    const size_t first = skip_blank_lines(s, from);
    size_t limit;
    if (first >= s->len) return 0;
    out->begin = r->form == LINES_WHOLE ? from : first;
    limit = r->max_bytes && s->len - out->begin > r->max_bytes ? out->begin + r->max_bytes + 1 : s->len; /* further on it is cut anyway */
    if (r->form == LINES_WHOLE) out->end = limit;
    else out->end = r->form == LINES_EACH ? find_newline(s, out->begin, limit) : paragraph_end(s, out->begin, limit);
    if (r->max_bytes && out->end - out->begin > r->max_bytes) {
        out->end = out->next = cut(s, out->begin, out->begin + r->max_bytes);
        return 1;
    }
    out->next = out->end;
    if (r->form != LINES_WHOLE)
        while (out->end > out->begin && is_blank(s->data[out->end - 1])) out->end--;
    return 1;
}

line_span lines_find(const source *s, const lines_rules *r, const points *ps, int64_t record, size_t *walked_from)
{
    const point p = points_find(ps, record);
    line_span span = { .next = (size_t)p.at };
    *walked_from = (size_t)p.at;
    for (int64_t i = p.record; i <= record; i++)
        if (!lines_next(s, r, span.next, &span)) return (line_span){ s->len, s->len, s->len };
    return span;
}

uint64_t lines_fingerprint(const source *s, size_t begin, size_t end)
{
    while (begin < end && (is_blank(s->data[begin]) || s->data[begin] == '\n')) begin++;
    while (end > begin && (is_blank(s->data[end - 1]) || s->data[end - 1] == '\n')) end--;
    const uint64_t h = hash_bytes(s->data + begin, end - begin, 0);
    return h ? h : 1;
}

int lines_fingerprints(const source *s, const lines_rules *r, const points *ps, int64_t first, int64_t n, uint64_t *out)
{
    size_t from;
    line_span span = lines_find(s, r, ps, first, &from);
    for (int64_t i = 0; i < n; i++) {
        if (i && !lines_next(s, r, span.next, &span)) span = (line_span){ s->len, s->len, s->len };
        const int rc = source_check(s, from, span.end);
        if (rc) return rc;
        out[i] = lines_fingerprint(s, span.begin, span.end);
        from = span.end;
    }
    return CO_OK;
}
