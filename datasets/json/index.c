/* index.c: where each record starts, found without judging it, so that a broken record costs only itself. */
#include "file.h"
#include "scan.h"

#include <string.h>

static int push_start(json_file *f, size_t at)
{
    if (f->n_start == f->cap_start) {
        int64_t cap = f->cap_start ? f->cap_start * 2 : 1024;
        size_t *grown;
        if ((uint64_t)cap > SIZE_MAX / sizeof *grown) return CO_FAIL(f->host, CO_E_NOMEM, "%s: too many records", f->path);
        grown = f->host->alloc(f->host, (size_t)cap * sizeof *grown, 16);
        if (!grown) return CO_FAIL(f->host, CO_E_NOMEM, "%s: no memory for an index of %lld records", f->path, (long long)cap);
        if (f->start) memcpy(grown, f->start, (size_t)f->n_start * sizeof *grown);
        f->host->free(f->host, f->start);
        f->start = grown;
        f->cap_start = cap;
    }
    f->start[f->n_start++] = at;
    return CO_OK;
}

static size_t skip_blank(const json_file *f, size_t at)
{
    json_cursor c = { f->data + at, f->data + f->len, NULL };
    json_skip_space(&c);
    return (size_t)(c.at - f->data);
}

static int index_lines(json_file *f, int64_t max)
{
    size_t at = skip_blank(f, f->body);
    while (at < f->len && (!max || f->n < max)) {
        const uint8_t *nl = memchr(f->data + at, '\n', f->len - at);
        int rc = push_start(f, at);
        if (rc) return rc;
        f->n++;
        at = nl ? skip_blank(f, (size_t)(nl - f->data) + 1) : f->len;
    }
    return push_start(f, at);
}

/* Behind the string that opens at `at`; SIZE_MAX if the file ends first. */
static size_t pass_string(const json_file *f, size_t at)
{
    for (at++; at < f->len; at++) {
        if (f->data[at] == '\\') at++;
        else if (f->data[at] == '"') return at + 1;
    }
    return SIZE_MAX;
}

/* The ',' or ']' that ends the record starting at `at`; f->len when the file ends first, *inside then says
 * whether within the record. Brackets are counted, not matched: a wrong one spoils its record, not the next. */
static size_t pass_record(const json_file *f, size_t at, int *inside)
{
    size_t depth = 0;
    *inside = 0;
    while (at < f->len) {
        switch (f->data[at]) {
        case '"':
            at = pass_string(f, at);
            if (at != SIZE_MAX) continue;
            *inside = 1;
            return f->len;
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
    return f->len;
}

static int index_array(json_file *f, int64_t max)
{
    size_t at = skip_blank(f, f->body) + 1, first = skip_blank(f, at), end;
    int rc, inside;
    rc = push_start(f, at);
    if (rc) return rc;
    if (first < f->len && f->data[first] == ']') {
        end = first;
    } else {
        for (;;) {
            if (max && f->n == max) return CO_OK;
            end = pass_record(f, at, &inside);
            if (end == f->len && skip_blank(f, at) == f->len && !f->n) break; /* a lone '[' */
            rc = push_start(f, end + 1);
            if (rc) return rc;
            f->n++;
            if (end == f->len || f->data[end] == ']') break;
            at = end + 1;
        }
        if (end == f->len && f->n && (inside || skip_blank(f, f->start[f->n - 1]) == f->len))
            return CO_OK; /* the last record is broken off and says so itself */
    }
    if (end == f->len) {
        f->tail_expected = "',' or ']' after the last record";
        f->tail_at = f->len;
    } else if (skip_blank(f, end + 1) < f->len) {
        f->tail_expected = "nothing more after the array's ']'";
        f->tail_at = skip_blank(f, end + 1);
    }
    if (f->tail_expected && (!max || f->n < max)) f->n++;
    else f->tail_expected = NULL;
    return CO_OK;
}

int json_index_build(json_file *f, int64_t max)
{
    return f->lines ? index_lines(f, max) : index_array(f, max);
}
