/* dataset.c: opening a file, finding a record's row group, and telling where something is wrong. */
#include "dataset.h"
#include "cache.h"
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct handle { /* one loader thread's */
    pq_file *file;
    int64_t n; /* records, after max_records */
    pq_reader reader;
} handle;

/* The host's message: file, row (from 1; 0: none), and what of row group, column and page is known. */
static int tell(const co_host *h, const char *path, int64_t row, const pq_fault *f)
{
    char place[320] = "";
    size_t n = 0;
    if (row) n += (size_t)snprintf(place, sizeof place, "row %lld: ", (long long)row);
    if (f->row_group >= 0) n += (size_t)snprintf(place + n, sizeof place - n, "row group %d: ", f->row_group);
    if (f->column[0]) n += (size_t)snprintf(place + n, sizeof place - n, "column %s: ", f->column);
    if (f->page_at >= 0) snprintf(place + n, sizeof place - n, "page at byte %lld: ", (long long)f->page_at);
    return CO_FAIL(h, f->code, "%s: %s%s", path, place, f->what);
}

static int map_file(pq_file *f)
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
            f->mapped = 1;
        }
    }
    close(fd);
    return rc;
}

static void close_file(pq_file *f)
{
    const co_host *h = f->host;
    if (atomic_fetch_sub(&f->refs, 1) > 1) return;
    for (size_t i = 0; f->chunk && i < (size_t)f->n_groups * f->schema.n_leaves; i++) {
        pq_pages *p = atomic_load(&f->chunk[i].pages);
        if (!p) continue;
        pq_cache_drop(&p->dictionary);
        for (uint32_t k = 0; k < p->n; k++) pq_cache_drop(&p->slot[k]);
        h->free(h, p);
    }
    if (f->mapped) munmap((void *)(uintptr_t)f->data, f->len);
    pq_schema_free(h, &f->schema);
    h->free(h, f->group);
    h->free(h, f->chunk);
    h->free(h, f->path);
    h->free(h, f);
}

static int new_handle(pq_file *f, int64_t n, void **self)
{
    const co_host *host = f->host;
    handle *h = host->alloc(host, sizeof *h, 16);
    if (h) h->reader.cursors = host->alloc(host, f->schema.n_leaves * sizeof *h->reader.cursors, 16);
    if (!h || !h->reader.cursors) {
        host->free(host, h);
        return CO_FAIL(host, CO_E_NOMEM, "no memory for dataset %s", f->path);
    }
    h->file = f;
    h->n = n;
    atomic_fetch_add(&f->refs, 1);
    *self = h;
    return CO_OK;
}

/* bytes: NULL to map the file */
static int open_file(const co_host *h, const char *path, const void *bytes, size_t len, int64_t max_records, void **self)
{
    pq_fault fault = { .row_group = -1, .page_at = -1 };
    pq_file *f = h->alloc(h, sizeof *f, 16);
    const size_t n = strlen(path) + 1;
    int rc = CO_OK;
    if (!f) return CO_FAIL(h, CO_E_NOMEM, "no memory for dataset %s", path);
    f->host = h;
    f->data = bytes;
    f->len = len;
    atomic_init(&f->refs, 1);
    f->path = h->alloc(h, n, 1);
    if (f->path) memcpy(f->path, path, n);
    else rc = CO_FAIL(h, CO_E_NOMEM, "no memory for dataset %s", path);
    if (!rc && !bytes) rc = map_file(f);
    if (!rc) {
        rc = pq_meta_read(f, &fault);
        if (rc) rc = tell(h, f->path, 0, &fault);
    }
    if (!rc) rc = new_handle(f, max_records > 0 && max_records < f->n_rows ? max_records : f->n_rows, self);
    close_file(f); /* the handle has it now */
    return rc;
}

int pq_open(const co_host *h, const void *opts, void **self)
{
    const co_dataset_common *o = opts;
    if (!o->path || !*o->path) return CO_FAIL(h, CO_E_CONFIG, "[dataset] path: no file given");
    return open_file(h, o->path, NULL, 0, o->max_records, self);
}

int pq_open_bytes(const co_host *h, const char *path, const void *bytes, size_t len, int64_t max_records, void **self)
{
    return open_file(h, path, bytes, len, max_records, self);
}

void pq_close(void *self)
{
    handle *h = self;
    const co_host *host;
    if (!h) return;
    host = h->file->host;
    for (uint32_t i = 0; i < h->file->schema.n_leaves; i++) pq_cursor_close(&h->reader.cursors[i]);
    host->free(host, h->reader.cursors);
    close_file(h->file);
    host->free(host, h);
}

int pq_clone(void *self, void **other)
{
    const handle *h = self;
    return new_handle(h->file, h->n, other);
}

int pq_count(void *self, int64_t *n)
{
    *n = ((handle *)self)->n;
    return CO_OK;
}

int pq_read(void *self, int64_t index, co_arena *a, co_field **fields, uint32_t *n)
{
    handle *h = self;
    const pq_file *f = h->file;
    pq_fault fault;
    uint32_t lo = 0, hi = f->n_groups;
    co_field *out;
    pq_fault_clear(&fault);
    if (index < 0) return CO_FAIL(f->host, CO_E_INVALID, "%s: record %lld asked for", f->path, (long long)index);
    if (index >= h->n) return CO_END;
    while (hi - lo > 1) { /* the last group that begins with the row or before it: not an empty one */
        const uint32_t mid = lo + (hi - lo) / 2;
        if (f->group[mid].first_row <= index) lo = mid;
        else hi = mid;
    }
    out = f->host->arena_push(a, f->schema.n_columns * sizeof *out, 16);
    if (!out) return CO_FAIL(f->host, CO_E_NOMEM, "%s: row %lld: no memory for the record", f->path, (long long)index + 1);
    for (uint32_t i = 0; i < f->schema.n_columns; i++) {
        const int rc = pq_record_field(f, &h->reader, lo, index - f->group[lo].first_row, i, a, &out[i], &fault);
        if (!rc) continue;
        fault.row_group = (int)lo;
        if (!fault.column[0]) pq_schema_path(&f->schema, f->schema.column[i], fault.column, sizeof fault.column);
        return tell(f->host, f->path, index + 1, &fault);
    }
    *fields = out;
    *n = f->schema.n_columns;
    return CO_OK;
}
