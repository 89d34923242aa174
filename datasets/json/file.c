/* file.c: opening, telling an array from lines, and reading one record into an arena. */
#include "file.h"
#include "scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define JSON_MAX_FIELDS 4096 /* bounds the search for keys that are there twice */

static int map_file(json_file *f)
{
    struct stat st;
    int rc = CO_OK, fd = open(f->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return CO_FAIL(f->host, CO_E_IO, "%s: cannot be opened: %s", f->path, strerror(errno));
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        rc = CO_FAIL(f->host, CO_E_IO, "%s: not a regular file", f->path);
    } else if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            rc = CO_FAIL(f->host, CO_E_IO, "%s: cannot be mapped: %s", f->path, strerror(errno));
        } else {
            f->data = p;
            f->len = (size_t)st.st_size;
        }
    }
    close(fd);
    return rc;
}

static const char *describe_byte(const json_file *f, size_t at, char *buf, size_t cap)
{
    if (at >= f->len) return "the end of the file";
    if (f->data[at] == '\n' || f->data[at] == '\r') return "the end of the line";
    if (f->data[at] > 0x20 && f->data[at] < 0x7F) snprintf(buf, cap, "'%c'", f->data[at]);
    else snprintf(buf, cap, "byte 0x%02x", f->data[at]);
    return buf;
}

static int64_t line_of(const json_file *f, size_t at)
{
    int64_t line = 1;
    const uint8_t *p = f->data, *end = f->data + at;
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
    char buf[16];
    return CO_FAIL(f->host, CO_E_FORMAT, "%s: row %lld (line %lld, byte %zu): expected %s, found %s", f->path,
                   (long long)row + 1, (long long)line_of(f, at), at, expected,
                   describe_byte(f, at, buf, sizeof buf));
}

static int begins(const json_file *f, const char *magic, size_t n)
{
    return f->len >= n && !memcmp(f->data, magic, n);
}

/* Decides between an array and lines, and refuses what is neither, with a hint. */
static int find_form(json_file *f, int form)
{
    json_cursor c;
    const uint8_t *first;
    if (begins(f, "\x1f\x8b", 2))
        return CO_FAIL(f->host, CO_E_FORMAT, "%s: is compressed (gzip); unpack it first", f->path);
    if (begins(f, "\xff\xfe", 2) || begins(f, "\xfe\xff", 2))
        return CO_FAIL(f->host, CO_E_FORMAT, "%s: is UTF-16; convert it to UTF-8 (iconv -t UTF-8)", f->path);
    f->body = begins(f, "\xef\xbb\xbf", 3) ? 3 : 0;
    f->lines = 1;
    c = (json_cursor){ f->data + f->body, f->data + f->len, NULL };
    json_skip_space(&c);
    if (c.at == c.end) return CO_OK; /* no records */
    first = c.at;
    if (form == JSON_FILE_LINES) {
        if (*first == '[')
            return CO_FAIL(f->host, CO_E_FORMAT,
                           "%s: expected one JSON object a line, found an array; use format = json", f->path);
        return CO_OK;
    }
    if (*first == '[') {
        f->lines = 0;
        return CO_OK;
    }
    if (*first != '{') {
        char buf[16];
        return CO_FAIL(f->host, CO_E_FORMAT,
                       "%s: line %lld, byte %zu: expected '[' of an array of objects or '{' of JSON Lines, found %s",
                       f->path, (long long)line_of(f, (size_t)(first - f->data)), (size_t)(first - f->data),
                       describe_byte(f, (size_t)(first - f->data), buf, sizeof buf));
    }
    if (!json_skip_value(&c) && memchr(first, '\n', (size_t)(c.at - first)))
        return CO_FAIL(f->host, CO_E_FORMAT,
                       "%s: expected an array of objects or one object a line, found an object over several lines",
                       f->path);
    return CO_OK;
}

int json_file_open(const co_host *h, const co_dataset_common *o, int form, void **self)
{
    json_file *f;
    size_t n;
    int rc;
    if (!o->path || !*o->path) return CO_FAIL(h, CO_E_CONFIG, "[dataset] path: no file given");
    f = h->alloc(h, sizeof *f, 16);
    if (!f) return CO_FAIL(h, CO_E_NOMEM, "no memory for dataset %s", o->path);
    f->host = h;
    atomic_init(&f->refs, 1);
    n = strlen(o->path) + 1;
    f->path = h->alloc(h, n, 1);
    if (!f->path) {
        rc = CO_FAIL(h, CO_E_NOMEM, "no memory for dataset %s", o->path);
        goto fail;
    }
    memcpy(f->path, o->path, n);
    rc = map_file(f);
    if (rc) goto fail;
    if (f->len) {
        rc = find_form(f, form);
        if (rc) goto fail;
        rc = json_index_build(f, o->max_records > 0 ? o->max_records : 0);
        if (rc) goto fail;
    }
    *self = f;
    return CO_OK;
fail:
    json_file_close(f);
    return rc;
}

void json_file_close(void *self)
{
    json_file *f = self;
    if (!f || atomic_fetch_sub(&f->refs, 1) > 1) return;
    if (f->data) munmap((void *)(uintptr_t)f->data, f->len);
    f->host->free(f->host, f->start);
    f->host->free(f->host, f->path);
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
            if (i == JSON_MAX_FIELDS) return fail_at(f, row, (size_t)(p - f->data), "at most 4096 keys in a record");
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
    return CO_FAIL(f->host, CO_E_NOMEM, "%s: row %lld: no memory for the record", f->path, (long long)row + 1);
}

int json_file_read(void *self, int64_t index, co_arena *a, co_field **fields, uint32_t *n)
{
    json_file *f = self;
    json_cursor c;
    const uint8_t *first;
    if (index < 0) return CO_FAIL(f->host, CO_E_INVALID, "%s: record %lld asked for", f->path, (long long)index);
    if (index >= f->n) return CO_END;
    if (f->tail_expected && index == f->n - 1) return fail_at(f, index, f->tail_at, f->tail_expected);
    c = (json_cursor){ f->data + f->start[index], f->data + f->start[index + 1] - !f->lines, NULL };
    while (f->lines && c.end > c.at && (c.end[-1] == '\n' || c.end[-1] == '\r' || c.end[-1] == ' ' || c.end[-1] == '\t'))
        c.end--;
    json_skip_space(&c);
    first = c.at;
    if (json_skip_value(&c)) return fail_at(f, index, (size_t)(c.at - f->data), c.expected);
    json_skip_space(&c);
    if (c.at != c.end)
        return fail_at(f, index, (size_t)(c.at - f->data),
                       f->lines ? "the end of the line after the record" : "',' or ']' after the record");
    if (*first != '{') return fail_at(f, index, (size_t)(first - f->data), "'{' of an object");
    c.at = first;
    return read_members(f, index, &c, a, fields, n);
}
