/* The header is written once the first data arrives, when all sizes are known; data then only streams through. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/params/json_write.h"
#include "core/params/st_private.h"

typedef struct declared {
    char *name;
    const char *dtype;
    uint32_t ndim;
    int64_t ne[8];
    uint64_t bytes, at; /* at: from the start of the data */
} declared;

struct st_writer {
    char *path;
    int fd;
    int failed; /* first error of a write: later calls repeat it */
    int header_done;
    int joined;      /* the file is another's: it is neither emptied nor removed */
    int placed;
    uint64_t data_at; /* placed: where the data begins */
    json_text meta;
    declared *d;
    size_t n, cap;
    uint64_t total, written; /* data bytes */
};

static void writer_free(st_writer *w)
{
    if (w->fd >= 0) close(w->fd);
    for (size_t i = 0; i < w->n; i++) mem_free(w->d[i].name);
    mem_free(w->d);
    json_text_free(&w->meta);
    mem_free(w->path);
    mem_free(w);
}

static int writer_open(const char *path, int joined, st_writer **out)
{
    st_writer *w = mem_calloc(1, sizeof *w);
    if (!w) return CO_E_NOMEM;
    w->fd = -1;
    w->joined = joined;
    w->path = mem_strdup(path);
    if (!w->path) {
        writer_free(w);
        return CO_E_NOMEM;
    }
    w->fd = open(path, joined ? O_RDWR | O_CLOEXEC : O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0) {
        int full = errno == ENOSPC || errno == EDQUOT;
        int rc = FAIL(full ? CO_E_NOMEM : CO_E_IO, "%s: cannot be %s: %s", path, joined ? "opened" : "created", strerror(errno));
        writer_free(w);
        return rc;
    }
    *out = w;
    return CO_OK;
}

int st_write_begin(const char *path, st_writer **out) { return writer_open(path, 0, out); }
int st_write_join(const char *path, st_writer **out) { return writer_open(path, 1, out); }

int st_write_meta(st_writer *w, const char *key, const char *value)
{
    if (w->header_done) return FAIL(CO_E_STATE, "%s: metadata after the first data", w->path);
    if (w->meta.len) json_text_put(&w->meta, ",");
    json_text_string(&w->meta, key);
    json_text_put(&w->meta, ":");
    json_text_string(&w->meta, value);
    return w->meta.failed ? CO_E_NOMEM : CO_OK;
}

static const char *dtype_file_name(co_dtype t)
{
    switch (t) {
    case CO_F32: return "F32";
    case CO_BF16: return "BF16";
    case CO_F16: return "F16";
    case CO_I32: return "I32";
    case CO_U8: return "U8";
    case CO_I64: return "I64";
    case CO_F64: return "F64";
    }
    return NULL;
}

int st_write_declare(st_writer *w, const char *name, co_dtype t, uint32_t ndim, const int64_t *ne)
{
    declared d = {.dtype = dtype_file_name(t), .ndim = ndim};
    uint32_t co;
    if (w->header_done) return FAIL(CO_E_STATE, "%s: tensor \"%.200s\" declared after the first data", w->path, name);
    if (!d.dtype || ndim > 8 || strcmp(name, "__metadata__") == 0)
        return FAIL(CO_E_INVALID, "%s: tensor \"%.200s\": element type %d with %u dimensions cannot be written", w->path,
                    name, (int)t, ndim);
    d.bytes = st_dtype(d.dtype, &co);
    for (uint32_t i = 0; i < ndim; i++) {
        d.ne[i] = ne[i];
        if (ne[i] < 0 || __builtin_mul_overflow(d.bytes, (uint64_t)ne[i], &d.bytes))
            return FAIL(CO_E_INVALID, "%s: tensor \"%.200s\": bad shape", w->path, name);
    }
    uint64_t total;
    if (__builtin_add_overflow(w->total, d.bytes, &total) || total > INT64_MAX)
        return FAIL(CO_E_INVALID, "%s: more than 2^63 bytes", w->path);
    if (w->n == w->cap) {
        size_t cap = w->cap ? 2 * w->cap : 64;
        declared *grown = mem_grow(w->d, w->cap, cap, sizeof *grown);
        if (!grown) return CO_E_NOMEM;
        w->d = grown;
        w->cap = cap;
    }
    d.name = mem_strdup(name);
    if (!d.name) return CO_E_NOMEM;
    d.at = w->total;
    w->d[w->n++] = d;
    w->total = total;
    return CO_OK;
}

static int by_name(const void *a, const void *b, void *ctx)
{
    const declared *d = ctx;
    return strcmp(d[*(const size_t *)a].name, d[*(const size_t *)b].name);
}

static int check_names(const st_writer *w)
{
    int rc = CO_OK;
    size_t *order = mem_calloc(w->n + 1, sizeof *order);
    if (!order) return CO_E_NOMEM;
    for (size_t i = 0; i < w->n; i++) order[i] = i;
    qsort_r(order, w->n, sizeof *order, by_name, w->d);
    for (size_t i = 1; i < w->n && rc == CO_OK; i++)
        if (strcmp(w->d[order[i]].name, w->d[order[i - 1]].name) == 0)
            rc = FAIL(CO_E_INVALID, "%s: tensor \"%.200s\" is declared twice", w->path, w->d[order[i]].name);
    mem_free(order);
    return rc;
}

/* 8 bytes of length and the JSON, as they stand in the file. */
static int header_text(st_writer *w, json_text *out)
{
    json_text t = {0};
    uint64_t at = 0;
    const char *separator = "";
    int rc = check_names(w);
    if (rc) return rc;
    json_text_put(&t, "{");
    if (w->meta.len) {
        json_text_put(&t, "\"__metadata__\":{");
        json_text_put(&t, w->meta.text);
        json_text_put(&t, "}");
        separator = ",";
    }
    for (size_t i = 0; i < w->n; i++) {
        const declared *d = &w->d[i];
        json_text_put(&t, separator);
        separator = ",";
        json_text_string(&t, d->name);
        json_text_printf(&t, ":{\"dtype\":\"%s\",\"shape\":[", d->dtype);
        for (uint32_t k = 0; k < d->ndim; k++) json_text_printf(&t, "%s%lld", k ? "," : "", (long long)d->ne[k]);
        json_text_printf(&t, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
                         (unsigned long long)(at + d->bytes));
        at += d->bytes;
    }
    json_text_put(&t, "}");
    while (t.len % 8 && !t.failed) json_text_put(&t, " ");
    rc = t.failed ? CO_E_NOMEM : CO_OK;
    if (rc == CO_OK && t.len > ST_MAX_HEADER)
        rc = FAIL(CO_E_INVALID, "%s: a header of %zu bytes is beyond the format's limit", w->path, t.len);
    if (rc) json_text_free(&t);
    else *out = t;
    return rc;
}

static void put_length(uint64_t n, unsigned char length[8])
{
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)(n >> (8 * i));
}

static int write_header(st_writer *w)
{
    json_text t = {0};
    unsigned char length[8];
    int rc = header_text(w, &t);
    if (rc) return rc;
    put_length(t.len, length);
    rc = fs_write_all(w->fd, w->path, length, 8);
    if (rc == CO_OK) rc = fs_write_all(w->fd, w->path, t.text, t.len);
    w->data_at = 8 + t.len;
    json_text_free(&t);
    w->header_done = 1;
    return rc;
}

/* Is what stands there what this writer would have written? */
static int compare_header(st_writer *w)
{
    json_text t = {0};
    unsigned char length[8], there[8];
    int rc = header_text(w, &t);
    if (rc) return rc;
    char *text = mem_alloc(t.len + 1, 0);
    put_length(t.len, length);
    if (!text) rc = CO_E_NOMEM;
    else if (pread(w->fd, there, 8, 0) != 8 || memcmp(there, length, 8) != 0 || pread(w->fd, text, t.len, 8) != (ssize_t)t.len || memcmp(text, t.text, t.len) != 0)
        rc = FAIL(CO_E_IO, "%s: begun by another process and not with the same header", w->path);
    w->data_at = 8 + t.len;
    mem_free(text);
    json_text_free(&t);
    w->header_done = 1;
    return rc;
}

int st_write_place(st_writer *w)
{
    if (w->header_done) return FAIL(CO_E_STATE, "%s: placed after the first data", w->path);
    w->failed = w->joined ? compare_header(w) : write_header(w);
    w->placed = 1;
    if (w->failed == CO_OK && !w->joined && ftruncate(w->fd, (off_t)(w->data_at + w->total)) != 0) {
        int full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
        w->failed = FAIL(full ? CO_E_NOMEM : CO_E_IO, "%s: cannot be made %llu bytes long: %s", w->path, (unsigned long long)(w->data_at + w->total), strerror(errno));
    }
    return w->failed;
}

int st_write_at(st_writer *w, size_t tensor, uint64_t byte, const void *data, size_t bytes)
{
    uint64_t at = w->data_at + byte;
    if (w->failed) return w->failed;
    if (!w->placed || tensor >= w->n || byte > w->d[tensor].bytes || bytes > w->d[tensor].bytes - byte)
        return w->failed = FAIL(CO_E_STATE, "%s: %zu bytes from byte %llu of tensor %zu: not a place in this file", w->path, bytes, (unsigned long long)byte, tensor);
    return w->failed = fs_write_at(w->fd, w->path, data, bytes, at + w->d[tensor].at);
}

int st_write_data(st_writer *w, const void *data, size_t bytes)
{
    if (w->failed) return w->failed;
    if (!w->header_done) w->failed = write_header(w);
    if (w->failed) return w->failed;
    if (bytes > w->total - w->written)
        return w->failed = FAIL(CO_E_STATE, "%s: %llu bytes of data declared, more given", w->path,
                                (unsigned long long)w->total);
    w->failed = fs_write_all(w->fd, w->path, data, bytes);
    w->written += bytes;
    return w->failed;
}

int st_write_finish(st_writer *w)
{
    int rc = w->failed;
    if (rc == CO_OK && !w->header_done) rc = write_header(w);
    if (rc == CO_OK && !w->placed && w->written != w->total)
        rc = FAIL(CO_E_STATE, "%s: %llu bytes of data declared, %llu given", w->path, (unsigned long long)w->total,
                  (unsigned long long)w->written);
    if (rc == CO_OK && fsync(w->fd) != 0) {
        int full = errno == ENOSPC || errno == EDQUOT;
        rc = FAIL(full ? CO_E_NOMEM : CO_E_IO, "%s: cannot be written out: %s", w->path, strerror(errno));
    }
    if (rc && !w->joined) unlink(w->path);
    writer_free(w);
    return rc;
}

void st_write_abort(st_writer *w)
{
    if (!w) return;
    if (!w->joined) unlink(w->path);
    writer_free(w);
}
