#include "file.h"
#include "../source/lines.h"

#include <string.h>

typedef struct text_file {
    const co_host *host;
    source src;
    lines_rules rules;
    points index;
    int64_t n;
    atomic_int refs;
} text_file;

const char *const text_forms[] = { "line", "paragraph", "file", NULL };

static int begins(const text_file *f, const char *magic, size_t n)
{
    return f->src.len >= n && !memcmp(f->src.data, magic, n);
}

int text_file_open(const co_host *h, const void *opts, void **self)
{
    const text_opts *o = opts;
    text_file *f;
    int rc;
    if (!o->common.path || !*o->common.path) return CO_FAIL(h, CO_E_CONFIG, "[dataset] path: no file given");
    f = h->alloc(h, sizeof *f, 16);
    if (!f) return CO_FAIL(h, CO_E_NOMEM, "no memory for dataset %s", o->common.path);
    f->host = h;
    atomic_init(&f->refs, 1);
    rc = source_open(h, o->common.path, &f->src);
    if (!rc && (begins(f, "\xff\xfe", 2) || begins(f, "\xfe\xff", 2)))
        rc = CO_FAIL(h, CO_E_FORMAT, "%s: is UTF-16; convert it to UTF-8 (iconv -t UTF-8)", f->src.path);
    f->rules = (lines_rules){ .form = (lines_form)o->records, .max_bytes = (size_t)o->record_bytes, .body = begins(f, "\xef\xbb\xbf", 3) ? 3 : 0 };
    if (!rc) rc = lines_index(&f->src, &f->rules, text_forms[o->records], o->common.max_records > 0 ? o->common.max_records : 0, &f->index);
    if (rc) {
        text_file_close(f);
        return rc;
    }
    f->n = f->index.records;
    if (o->common.max_records > 0 && f->n > o->common.max_records) f->n = o->common.max_records;
    *self = f;
    return CO_OK;
}

void text_file_close(void *self)
{
    text_file *f = self;
    if (!f || atomic_fetch_sub(&f->refs, 1) > 1) return;
    points_close(f->host, &f->index);
    source_close(&f->src);
    f->host->free(f->host, f);
}

int text_file_clone(void *self, void **other)
{
    text_file *f = self;
    atomic_fetch_add(&f->refs, 1);
    *other = f;
    return CO_OK;
}

int text_file_count(void *self, int64_t *n)
{
    *n = ((text_file *)self)->n;
    return CO_OK;
}

int text_file_fingerprints(void *self, int64_t first, int64_t n, uint64_t *out)
{
    const text_file *f = self;
    if (first < 0 || n > f->n - first) return CO_FAIL(f->host, CO_E_INVALID, "%s: record %lld asked for", f->src.path, (long long)first);
    return lines_fingerprints(&f->src, &f->rules, &f->index, first, n, out);
}

/* Length of the well-formed character at p (Unicode 15, table 3-7), 0 if there is none. */
static size_t character(const uint8_t *p, size_t left)
{
    const size_t n = *p < 0x80 ? 1 : *p < 0xC2 ? 0 : *p < 0xE0 ? 2 : *p < 0xF0 ? 3 : *p < 0xF5 ? 4 : 0;
    if (!n || n > left) return 0;
    if (n > 1 && (p[1] < (*p == 0xE0 ? 0xA0 : *p == 0xF0 ? 0x90 : 0x80) || p[1] > (*p == 0xED ? 0x9F : *p == 0xF4 ? 0x8F : 0xBF))) return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    return n;
}

/* The first byte that is not UTF-8, or `len`. */
static size_t check_utf8(const uint8_t *p, size_t len)
{
    size_t at = 0;
    while (at < len) {
        uint64_t eight;
        size_t n;
        if (len - at >= 8 && (memcpy(&eight, p + at, 8), !(eight & 0x8080808080808080u))) {
            at += 8;
            continue;
        }
        n = character(p + at, len - at);
        if (!n) return at;
        at += n;
    }
    return len;
}

int text_file_read(void *self, int64_t index, co_arena *a, co_field **fields, uint32_t *n)
{
    text_file *f = self;
    line_span span;
    size_t from, len, wrong;
    co_field *out;
    char *text;
    int rc;
    if (index < 0) return CO_FAIL(f->host, CO_E_INVALID, "%s: record %lld asked for", f->src.path, (long long)index);
    if (index >= f->n) return CO_END;
    span = lines_find(&f->src, &f->rules, &f->index, index, &from);
    rc = source_check(&f->src, from, span.end);
    if (rc) return rc;
    len = span.end - span.begin;
    wrong = check_utf8(f->src.data + span.begin, len);
    if (wrong < len) {
        char place[64];
        return CO_FAIL(f->host, CO_E_FORMAT, "%s: row %lld (%s): expected UTF-8, found byte 0x%02x", f->src.path, (long long)index + 1,
                       source_place(&f->src, span.begin + wrong, place, sizeof place), f->src.data[span.begin + wrong]);
    }
    out = f->host->arena_push(a, sizeof *out, 16);
    text = f->host->arena_push(a, len + 1, 1);
    if (!out || !text) return CO_FAIL(f->host, CO_E_NOMEM, "%s: row %lld: no memory for the record", f->src.path, (long long)index + 1);
    if (len) memcpy(text, f->src.data + span.begin, len);
    text[len] = 0;
    *out = (co_field){ .name = "text", .data = text, .len = len, .type = CO_FIELD_STR };
    *fields = out;
    *n = 1;
    return CO_OK;
}
