/* file.c: opening, telling an array from lines, and reading one record into an arena. */
#include "file.h"
#include "scan.h"

#include <stdio.h>
#include <string.h>

#define JSON_MAX_FIELDS 4096 /* bounds the search for keys that are there twice */

static const char *describe_byte(const json_file *f, size_t at, char *buf, size_t cap)
{
    if (at >= f->src.len) return "the end of the file";
    if (f->src.data[at] == '\n' || f->src.data[at] == '\r') return "the end of the line";
    if (f->src.data[at] > 0x20 && f->src.data[at] < 0x7F) snprintf(buf, cap, "'%c'", f->src.data[at]);
    else snprintf(buf, cap, "byte 0x%02x", f->src.data[at]);
    return buf;
}

static int64_t line_of(const json_file *f, size_t at)
{
    int64_t line = 1;
    const uint8_t *p = f->src.data, *end = f->src.data + at;
    while (p < end) {
        p = memchr(p, '\n', (size_t)(end - p));
        if (!p) break;
        p++;
        line++;
    }
    return line;
}

static int fail_at(const json_file *f, int64_t row, size_t at, const char *expected)
{
    char buf[16], place[64];
    return CO_FAIL(f->host, CO_E_FORMAT, "%s: row %lld (line %lld, %s): expected %s, found %s", f->src.path, (long long)row + 1,
                   (long long)line_of(f, at), source_place(&f->src, at, place, sizeof place), expected,
                   describe_byte(f, at, buf, sizeof buf));
}

static int begins(const json_file *f, const char *magic, size_t n)
{
    return f->src.len >= n && !memcmp(f->src.data, magic, n);
}

/* Decides between an array and lines, and refuses what is neither, with a hint. */
static int find_form(json_file *f, int form)
{
    json_cursor c;
    const uint8_t *first;
    if (begins(f, "\xff\xfe", 2) || begins(f, "\xfe\xff", 2))
        return CO_FAIL(f->host, CO_E_FORMAT, "%s: is UTF-16; convert it to UTF-8 (iconv -t UTF-8)", f->src.path);
    f->body = begins(f, "\xef\xbb\xbf", 3) ? 3 : 0;
    f->lines = 1;
    c = (json_cursor){ f->src.data + f->body, f->src.data + f->src.len, NULL };
    json_skip_space(&c);
    if (c.at == c.end) return CO_OK; /* no records */
    first = c.at;
    if (form == JSON_FILE_LINES) {
        if (*first == '[')
            return CO_FAIL(f->host, CO_E_FORMAT,
                           "%s: expected one JSON object a line, found an array; use format = json", f->src.path);
        return CO_OK;
    }
    if (*first == '[') {
        f->lines = 0;
        return CO_OK;
    }
    if (*first != '{') {
        const size_t at = (size_t)(first - f->src.data);
        char buf[16], place[64];
        return CO_FAIL(f->host, CO_E_FORMAT, "%s: line %lld, %s: expected '[' of an array of objects or '{' of JSON Lines, found %s", f->src.path,
                       (long long)line_of(f, at), source_place(&f->src, at, place, sizeof place), describe_byte(f, at, buf, sizeof buf));
    }
    if (!json_skip_value(&c) && memchr(first, '\n', (size_t)(c.at - first)))
        return CO_FAIL(f->host, CO_E_FORMAT,
                       "%s: expected an array of objects or one object a line, found an object over several lines",
                       f->src.path);
    return CO_OK;
}

int json_file_open(const co_host *h, const co_dataset_common *o, int form, void **self)
{
    json_file *f;
    int rc;
    if (!o->path || !*o->path) return CO_FAIL(h, CO_E_CONFIG, "[dataset] path: no file given");
    f = h->alloc(h, sizeof *f, 16);
    if (!f) return CO_FAIL(h, CO_E_NOMEM, "no memory for dataset %s", o->path);
    f->host = h;
    atomic_init(&f->refs, 1);
    rc = source_open(h, o->path, &f->src);
    if (!rc && f->src.len) rc = find_form(f, form);
    if (!rc && f->src.len) rc = json_index_open(f, o->max_records > 0 ? o->max_records : 0);
    if (rc) {
        json_file_close(f);
        return rc;
    }
    *self = f;
    return CO_OK;
}

void json_file_close(void *self)
{
    json_file *f = self;
    if (!f || atomic_fetch_sub(&f->refs, 1) > 1) return;
    points_close(f->host, &f->index);
    source_close(&f->src);
    f->host->free(f->host, f);
}

int json_file_clone(void *self, void **other)
{
    json_file *f = self;
    atomic_fetch_add(&f->refs, 1);
    *other = f;
    return CO_OK;
}

int json_file_count(void *self, int64_t *n)
{
    *n = ((json_file *)self)->n;
    return CO_OK;
}

int json_file_fingerprints(void *self, int64_t first, int64_t n, uint64_t *out)
{
    const json_file *f = self;
    if (first < 0 || n > f->n - first) return CO_FAIL(f->host, CO_E_INVALID, "%s: record %lld asked for", f->src.path, (long long)first);
    return json_index_fingerprints(f, first, n, out);
}

static char *arena_bytes_copy(const json_file *f, co_arena *a, const uint8_t *p, size_t len, int decode, size_t *out_len)
{
    char *s = f->host->arena_push(a, len + 1, 1);
    if (!s) return NULL;
    if (decode) {
        len = json_decode_string(p, len, s);
    } else {
        memcpy(s, p, len);
    }
    s[len] = 0;
    *out_len = len;
    return s;
}

/* The members of an object that has passed json_skip_value; a key that is there twice has its last value. A key
 * with "\u0000" in it has no name as a C string and is left out. */
static int read_members(const json_file *f, int64_t row, json_cursor *c, co_arena *a, co_field **out, uint32_t *n_out)
{
    co_field *fields = NULL;
    uint32_t n = 0, cap = 0;
    c->at++;
    json_skip_space(c);
    while (*c->at != '}') {
        const uint8_t *p = c->at;
        size_t key_len;
        uint32_t i = 0;
        char *key;
        co_field *fd;
        (void)json_skip_string(c);
        key = arena_bytes_copy(f, a, p, (size_t)(c->at - p), 1, &key_len);
        if (!key) goto nomem;
        json_skip_space(c);
        c->at++; /* ':' */
        json_skip_space(c);
        p = c->at;
        (void)json_skip_value(c);
        if (strlen(key) == key_len) {
            while (i < n && strcmp(fields[i].name, key)) i++;
            if (i == JSON_MAX_FIELDS) return fail_at(f, row, (size_t)(p - f->src.data), "at most 4096 keys in a record");
            if (i == cap) {
                co_field *grown = f->host->arena_push(a, (size_t)(cap ? cap * 2 : 8) * sizeof *grown, 16);
                if (!grown) goto nomem;
                if (n) memcpy(grown, fields, n * sizeof *grown);
                fields = grown;
                cap = cap ? cap * 2 : 8;
            }
            fd = &fields[i];
            memset(fd, 0, sizeof *fd);
            fd->name = key;
            fd->type = *p == '"' ? CO_FIELD_STR : CO_FIELD_JSON;
            fd->data = arena_bytes_copy(f, a, p, (size_t)(c->at - p), *p == '"', &fd->len);
            if (!fd->data) goto nomem;
            if (i == n) n++;
        }
        json_skip_space(c);
        if (*c->at == ',') c->at++;
        json_skip_space(c);
    }
    *out = fields;
    *n_out = n;
    return CO_OK;
nomem:
    return CO_FAIL(f->host, CO_E_NOMEM, "%s: row %lld: no memory for the record", f->src.path, (long long)row + 1);
}

int json_file_read(void *self, int64_t index, co_arena *a, co_field **fields, uint32_t *n)
{
    json_file *f = self;
    json_cursor c;
    const uint8_t *first;
    size_t begin, end, walked_from;
    int rc;
    if (index < 0) return CO_FAIL(f->host, CO_E_INVALID, "%s: record %lld asked for", f->src.path, (long long)index);
    if (index >= f->n) return CO_END;
    if (f->tail && index == f->n - 1)
        return fail_at(f, index, f->tail_at, f->tail == JSON_TAIL_OPEN ? "',' or ']' after the last record" : "nothing more after the array's ']'");
    json_index_find(f, index, &begin, &end, &walked_from);
    rc = source_check(&f->src, walked_from, end);
    if (rc) return rc;
    c = (json_cursor){ f->src.data + begin, f->src.data + end, NULL };
    while (f->lines && c.end > c.at && (c.end[-1] == '\r' || c.end[-1] == ' ' || c.end[-1] == '\t')) c.end--;
    json_skip_space(&c);
    first = c.at;
    if (json_skip_value(&c)) return fail_at(f, index, (size_t)(c.at - f->src.data), c.expected);
    json_skip_space(&c);
    if (c.at != c.end)
        return fail_at(f, index, (size_t)(c.at - f->src.data),
                       f->lines ? "the end of the line after the record" : "',' or ']' after the record");
    if (*first != '{') return fail_at(f, index, (size_t)(first - f->src.data), "'{' of an object");
    c.at = first;
    return read_members(f, index, &c, a, fields, n);
}
