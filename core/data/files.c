#include "core/data/files.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/data/project.h"
#include "core/data/subset.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

#define MOST_RECORDS ((int64_t)1 << 48) /* more than any dataset has */
enum { MOST_FIELDS = 100000 };
#define MOST_BYTES ((size_t)1 << 31)

typedef struct part {
    const co_dataset_vt *vt;
    void *self;
    char *path;
    int64_t first, n; /* records before it, and its own */
} part;

typedef struct files {
    files_opener opener;
    part *parts;
    size_t n;
    int64_t max_records;
} files;

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

typedef struct list { char **at; size_t n, cap; } list;

static int list_add(list *l, const char *path)
{
    if (l->n == l->cap) {
        const size_t cap = l->cap ? 2 * l->cap : 16;
        char **grown = mem_grow(l->at, l->cap, cap, sizeof *grown);
        if (!grown) return CO_E_NOMEM;
        l->at = grown;
        l->cap = cap;
    }
    l->at[l->n] = mem_strdup(path);
    return l->at[l->n] ? (l->n++, CO_OK) : CO_E_NOMEM;
}

static int add_folder(list *l, const char *dir, int (*wanted)(void *, const char *), void *ctx)
{
    char **names;
    size_t n;
    int rc = fs_list(dir, &names, &n);
    if (rc) return rc;
    for (size_t i = 0; i < n && !rc; i++) {
        char *path = names[i][0] == '.' ? NULL : fs_join(dir, names[i]);
        if (path && fs_is_file(path) && (!wanted || wanted(ctx, path))) rc = list_add(l, path);
        else if (!path && names[i][0] != '.') rc = CO_E_NOMEM;
        mem_free(path);
    }
    fs_free_list(names, n);
    if (!rc && !l->n) return FAIL(CO_E_FORMAT, "folder '%s' holds no file whose ending a dataset plugin knows", dir);
    return rc;
}

static int add_glob(list *l, const char *pattern)
{
    glob_t g = { 0 };
    int rc = glob(pattern, GLOB_NOSORT | GLOB_ERR, NULL, &g);
    if (rc == GLOB_NOSPACE) return FAIL(CO_E_NOMEM, "no memory for the files of '%s'", pattern);
    if (rc == GLOB_ABORTED) return FAIL(CO_E_IO, "'%s': a folder on the way cannot be read", pattern);
    rc = CO_OK;
    for (size_t i = 0; i < g.gl_pathc && !rc; i++)
        if (fs_is_file(g.gl_pathv[i])) rc = list_add(l, g.gl_pathv[i]);
    globfree(&g);
    return rc;
}

int files_expand(const char *path, int (*wanted)(void *ctx, const char *path), void *ctx, char ***out, size_t *n)
{
    list l = { 0 };
    int rc;
    if (fs_is_file(path)) rc = list_add(&l, path); /* its name may hold a '*' */
    else if (fs_is_dir(path)) rc = add_folder(&l, path, wanted, ctx);
    else rc = add_glob(&l, path);
    if (!rc && !l.n)
        rc = FAIL(CO_E_FORMAT, strpbrk(path, "*?[") ? "no file matches '%s'" : "no file '%s'", path);
    if (rc) {
        fs_free_list(l.at, l.n);
        return rc;
    }
    qsort(l.at, l.n, sizeof *l.at, by_bytes);
    *out = l.at;
    *n = l.n;
    return CO_OK;
}

static void files_close(void *self)
{
    files *f = self;
    if (!f) return;
    for (size_t i = 0; i < f->n; i++) {
        if (f->parts[i].self) f->parts[i].vt->close(f->parts[i].self);
        mem_free(f->parts[i].path);
    }
    mem_free(f->parts);
    mem_free(f);
}

static int64_t room(const files *f, int64_t before) { return f->max_records > 0 ? f->max_records - before : 0; }

int files_open(const files_opener *o, char *const *paths, size_t n, int64_t max_records, void **self)
{
    files *f = mem_calloc(1, sizeof *f);
    int64_t before = 0;
    int rc = CO_OK;
    if (!f) return CO_E_NOMEM;
    *f = (files){ .opener = *o, .max_records = max_records, .parts = mem_calloc(n ? n : 1, sizeof *f->parts) };
    if (!f->parts) rc = CO_E_NOMEM;
    for (size_t i = 0; i < n && !rc; i++) {
        part *p = &f->parts[i];
        if (max_records > 0 && before >= max_records) break;
        p->first = before;
        p->path = mem_strdup(paths[i]);
        rc = p->path ? o->open(o->ctx, p->path, room(f, before), &p->vt, &p->self) : CO_E_NOMEM;
        f->n = i + 1;
        if (rc) p->self = NULL; /* whatever it left there */
        if (!rc) rc = PLUGIN("the dataset's count()", p->vt->count(p->self, &p->n));
        if (!rc && (p->n < 0 || p->n > MOST_RECORDS - before))
            rc = FAIL(CO_E_ABI, "%s: the dataset's count() says %lld records: the plugin is broken", p->path, (long long)p->n);
        if (rc) break;
        before += p->n;
    }
    if (rc) {
        files_close(f);
        return rc;
    }
    *self = f;
    return CO_OK;
}

static int files_clone(void *self, void **other)
{
    const files *f = self;
    files *c = mem_calloc(1, sizeof *c);
    int rc = CO_OK;
    if (!c) return CO_E_NOMEM;
    *c = (files){ .opener = f->opener, .max_records = f->max_records, .parts = mem_calloc(f->n ? f->n : 1, sizeof *c->parts) };
    if (!c->parts) rc = CO_E_NOMEM;
    for (size_t i = 0; i < f->n && !rc; i++) {
        const part *p = &f->parts[i];
        part *q = &c->parts[i];
        *q = (part){ .vt = p->vt, .first = p->first, .n = p->n, .path = mem_strdup(p->path) };
        c->n = i + 1;
        if (!q->path) rc = CO_E_NOMEM;
        else if (CO_HAS(co_dataset_vt, p->vt, clone)) rc = PLUGIN("the dataset's clone()", p->vt->clone(p->self, &q->self));
        else rc = f->opener.open(f->opener.ctx, q->path, room(f, q->first), &q->vt, &q->self);
        if (rc) q->self = NULL;
    }
    if (rc) {
        files_close(c);
        return rc;
    }
    *other = c;
    return CO_OK;
}

static const part *part_of(const files *f, int64_t index)
{
    size_t lo = 0, hi = f->n;
    while (hi - lo > 1) {
        const size_t mid = lo + (hi - lo) / 2;
        if (f->parts[mid].first <= index) lo = mid;
        else hi = mid;
    }
    return &f->parts[lo];
}

static int files_count(void *self, int64_t *n)
{
    const files *f = self;
    *n = f->n ? f->parts[f->n - 1].first + f->parts[f->n - 1].n : 0;
    return CO_OK;
}

/* A record is used only if every field is there. */
static int check_fields(const part *p, int64_t row, const co_field *f, uint32_t n)
{
    int wrong = (n && !f) || n > MOST_FIELDS;
    for (uint32_t i = 0; i < n && !wrong; i++)
        wrong = !f[i].name || !f[i].data || f[i].len > MOST_BYTES || f[i].data[f[i].len] || f[i].type > CO_FIELD_JSON;
    return wrong ? FAIL(CO_E_ABI, "%s: row %lld: the dataset's read() gives %u fields, not all of them whole: the plugin is broken", p->path,
                        (long long)row + 1, n) : CO_OK;
}

static int files_read(void *self, int64_t index, co_arena *a, co_field **fields, uint32_t *n)
{
    const files *f = self;
    const part *p;
    if (!f->n) return CO_END;
    p = part_of(f, index);
    *fields = NULL;
    *n = 0;
    error_mark();
    const int rc = p->vt->read(p->self, index - p->first, a, fields, n);
    if (rc == CO_END) return rc;
    return rc ? error_of_plugin(rc, "the dataset's read()") : check_fields(p, index - p->first, *fields, *n);
}

static int files_fingerprints(void *self, int64_t first, int64_t n, uint64_t *out)
{
    const files *f = self;
    while (n > 0 && f->n) {
        const part *p = part_of(f, first);
        const int64_t row = first - p->first, take = p->n - row < n ? p->n - row : n;
        int rc = CO_E_INVALID;
        if (take > 0 && CO_HAS(co_dataset_vt, p->vt, fingerprints)) rc = PLUGIN("the dataset's fingerprints()", p->vt->fingerprints(p->self, row, take, out));
        else if (take > 0) rc = subset_fingerprints(&files_dataset, self, first, take, out);
        if (rc) return rc;
        first += take;
        n -= take;
        out += take;
    }
    return CO_OK;
}

void files_locate(void *self, int64_t index, const char **file, int64_t *row)
{
    const files *f = self;
    const part *p = f->n ? part_of(f, index) : NULL;
    if (p && p->vt == &files_dataset) {
        files_locate(p->self, index - p->first, file, row);
        return;
    }
    if (p && p->vt == &project_dataset) {
        files_locate(project_files(p->self), index - p->first, file, row);
        return;
    }
    *file = p ? p->path : "dataset";
    *row = index - (p ? p->first : 0) + 1;
}

void files_part(void *self, size_t i, int64_t *first, int64_t *n)
{
    const files *f = self;
    *first = i < f->n ? f->parts[i].first : 0;
    *n = i < f->n ? f->parts[i].n : 0;
}

const co_dataset_vt files_dataset = {
    .struct_size = sizeof(co_dataset_vt), .close = files_close, .count = files_count, .read = files_read, .clone = files_clone,
    .fingerprints = files_fingerprints,
};
