/* index.c: where each record starts, found without judging it, so that a broken record costs only itself. */
#include "file.h"
#include "scan.h"

#include <string.h>

static size_t skip_blank(const json_file *f, size_t at)
{
    json_cursor c = { f->src.data + at, f->src.data + f->src.len, NULL };
    json_skip_space(&c);
    return (size_t)(c.at - f->src.data);
}

/* Behind the string that opens at `at`; SIZE_MAX if the file ends first. */
static size_t pass_string(const json_file *f, size_t at)
{
    const size_t len = f->src.len;
    size_t from = ++at;
    while (at < len) {
        const uint8_t *quote = memchr(f->src.data + at, '"', len - at);
        size_t end = quote ? (size_t)(quote - f->src.data) : len, slashes = 0;
        if (end == len) return SIZE_MAX;
        while (end - slashes > from && f->src.data[end - slashes - 1] == '\\') slashes++;
        if (slashes % 2 == 0) return end + 1;
        at = from = end + 1; /* an escaped quote: backslashes behind it count anew */
    }
    return SIZE_MAX;
}

/* The ',' or ']' that ends the record starting at `at`; f->src.len when the file ends first, *inside then says
 * whether within the record. Brackets are counted, not matched: a wrong one spoils its record, not the next. */
static size_t pass_record(const json_file *f, size_t at, int *inside)
{
    size_t depth = 0;
    *inside = 0;
    while (at < f->src.len) {
        switch (f->src.data[at]) {
        case '"':
            at = pass_string(f, at);
            if (at != SIZE_MAX) continue;
            *inside = 1;
            return f->src.len;
        case '{':
        case '[': depth++; break;
        case '}':
            if (depth) depth--;
            break;
        case ']':
            if (!depth) return at;
            depth--;
            break;
        case ',':
            if (!depth) return at;
            break;
        default: break;
        }
        at++;
    }
    *inside = depth > 0;
    return f->src.len;
}

/* A point where one is due for the record that starts at `at`. */
static int note_start(json_file *f, size_t at)
{
    points *ps = &f->index;
    if (ps->n && at - ps->p[ps->n - 1].at < POINTS_EVERY) return CO_OK;
    return points_add(f->host, ps, at, ps->records);
}

/* *complete: the array was walked to its end. */
static int index_array(json_file *f, int64_t max, int *complete)
{
    size_t at = skip_blank(f, f->body) + 1, first = skip_blank(f, at), end, last = at;
    int rc, inside = 0;
    *complete = 0;
    if (first < f->src.len && f->src.data[first] == ']') {
        end = first;
    } else {
        for (;;) {
            if (max && f->index.records == max) return CO_OK;
            end = pass_record(f, at, &inside);
            if (end == f->src.len && skip_blank(f, at) == f->src.len && !f->index.records) break; /* a lone '[' */
            rc = note_start(f, at);
            if (rc) return rc;
            f->index.records++;
            last = at;
            if (end == f->src.len || f->src.data[end] == ']') break;
            at = end + 1;
        }
    }
    *complete = 1;
    if (end == f->src.len) {
        if (f->index.records && (inside || skip_blank(f, last) == f->src.len)) return CO_OK; /* the last record is broken off and says so itself */
        f->index.note[0] = JSON_TAIL_OPEN;
        f->index.note[1] = f->src.len;
    } else if (skip_blank(f, end + 1) < f->src.len) {
        f->index.note[0] = JSON_TAIL_MORE;
        f->index.note[1] = skip_blank(f, end + 1);
    }
    return CO_OK;
}

static int open_array(json_file *f, int64_t max)
{
    const uint64_t rules = POINTS_EVERY;
    int complete, rc = points_load(&f->src, "array", rules, &f->index);
    if (rc == CO_END) {
        rc = index_array(f, max, &complete);
        if (!rc && complete) points_save(&f->src, "array", rules, &f->index);
    }
    if (rc) return rc;
    f->n = f->index.records;
    if (f->index.note[0] == JSON_TAIL_NONE || (max && f->n >= max)) return CO_OK;
    f->tail = (json_tail)f->index.note[0];
    f->tail_at = (size_t)f->index.note[1] < f->src.len ? (size_t)f->index.note[1] : f->src.len;
    f->n++;
    return CO_OK;
}

static lines_rules rules_of(const json_file *f) { return (lines_rules){ .form = LINES_EACH, .body = f->body }; }

int json_index_open(json_file *f, int64_t max)
{
    const lines_rules r = rules_of(f);
    const int rc = f->lines ? lines_index(&f->src, &r, "lines", max, &f->index) : open_array(f, max);
    if (f->lines) f->n = f->index.records;
    if (max && f->n > max) f->n = max;
    return rc;
}

void json_index_find(const json_file *f, int64_t record, size_t *begin, size_t *end, size_t *walked_from)
{
    if (f->lines) {
        const lines_rules r = rules_of(f);
        const line_span span = lines_find(&f->src, &r, &f->index, record, walked_from);
        *begin = span.begin;
        *end = span.end;
    } else {
        const point p = points_find(&f->index, record);
        int inside;
        *begin = *walked_from = (size_t)p.at;
        for (int64_t i = p.record;; i++) {
            *end = pass_record(f, *begin, &inside);
            if (i == record) return;
            *begin = *end < f->src.len ? *end + 1 : f->src.len;
        }
    }
}

int json_index_fingerprints(const json_file *f, int64_t first, int64_t n, uint64_t *out)
{
    const lines_rules r = rules_of(f);
    const int64_t n_text = f->tail && first + n == f->n ? n - 1 : n;
    size_t begin, end, from;
    int inside;
    if (n_text < n) out[n - 1] = 0;
    if (f->lines) return lines_fingerprints(&f->src, &r, &f->index, first, n, out);
    for (int64_t i = 0; i < n_text; i++) {
        if (!i) {
            json_index_find(f, first, &begin, &end, &from);
        } else {
            begin = end < f->src.len ? end + 1 : end;
            end = pass_record(f, begin, &inside);
        }
        const int rc = source_check(&f->src, i ? begin : from, end);
        if (rc) return rc;
        out[i] = lines_fingerprint(&f->src, begin, end);
    }
    return CO_OK;
}
