#include "core/data/project.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/files.h"
#include "core/params/json.h"

#include <stdlib.h>
#include <string.h>

typedef struct projection {
    void *files;
    project_map *maps;
    size_t n;
} projection;

static void project_close(void *self)
{
    projection *p = self;
    if (!p) return;
    if (p->files) files_dataset.close(p->files);
    for (size_t i = 0; p->maps && i < p->n; i++) {
        mem_free(p->maps[i].from);
        mem_free(p->maps[i].to);
    }
    mem_free(p->maps);
    mem_free(p);
}

int project_open(void *files, const project_map *maps, size_t n, void **out)
{
    projection *p = mem_calloc(1, sizeof *p);
    int rc = CO_OK;
    if (!p) return CO_E_NOMEM;
    *p = (projection){ .n = n, .maps = mem_calloc(n ? n : 1, sizeof *p->maps) };
    if (!p->maps) rc = CO_E_NOMEM;
    for (size_t i = 0; i < n && !rc; i++) {
        p->maps[i] = (project_map){ mem_strdup(maps[i].from), mem_strdup(maps[i].to) };
        if (!p->maps[i].from || !p->maps[i].to) rc = CO_E_NOMEM;
    }
    if (rc) {
        project_close(p);
        return rc;
    }
    p->files = files;
    *out = p;
    return CO_OK;
}

void *project_files(void *self) { return ((projection *)self)->files; }

static int project_count(void *self, int64_t *n) { return files_dataset.count(((projection *)self)->files, n); }

static int project_clone(void *self, void **other)
{
    const projection *p = self;
    void *files;
    int rc = files_dataset.clone(p->files, &files);
    if (rc) return rc;
    rc = project_open(files, p->maps, p->n, other);
    if (rc) files_dataset.close(files);
    return rc;
}

/* The member or element of the value at the reader, whose first token is t, named by the first n bytes of `step`; its first token,
 * JSON_END if there is none. */
static int enter(json_reader *r, int t, const char *step, size_t n)
{
    char *end;
    long left = t == JSON_ARRAY ? strtol(step, &end, 10) : 0;
    if (t == JSON_ARRAY && (end != step + n || left < 0)) return JSON_END;
    if (t != JSON_OBJECT && t != JSON_ARRAY) return JSON_END;
    const int object = t == JSON_OBJECT;
    for (t = json_next(r); t > 0 && t != JSON_OBJECT_END && t != JSON_ARRAY_END; t = json_next(r)) {
        const int hit = object ? r->str_len == n && !memcmp(r->str, step, n) : left-- == 0;
        if (object) t = json_next(r);
        if (hit || t < 0) return t;
        t = json_skip(r, t);
        if (t < 0) return t;
    }
    return t < 0 ? t : JSON_END;
}

/* The value at `path` within a JSON text as a field; *there = 0 if there is none, or a step leads nowhere. */
static int find_within(const co_field *in, const char *path, co_arena *a, co_field *out, int *there)
{
    json_reader r;
    json_init(&r, in->name, in->data, in->len);
    int t = json_next(&r), rc = CO_OK;
    while (t > 0 && *path) {
        const size_t n = strcspn(path, ".");
        t = enter(&r, t, path, n);
        path += n + (path[n] == '.');
    }
    *there = t > 0;
    if (t == JSON_STRING) {
        *out = (co_field){ .type = CO_FIELD_STR, .len = r.str_len, .data = arena_strndup(a, r.str, r.str_len) };
    } else if (t > 0) {
        const size_t begin = r.token_at;
        rc = json_skip(&r, t);
        *out = (co_field){ .type = CO_FIELD_JSON, .len = r.pos - begin, .data = rc ? NULL : arena_strndup(a, in->data + begin, r.pos - begin) };
    }
    if (t < 0) rc = t;
    if (!rc && *there && !out->data) rc = CO_E_NOMEM;
    json_close(&r);
    return rc == CO_E_FORMAT ? error_prefix(rc, "column") : rc;
}

/* The column `from`: of that very name, or within the one its first steps name. */
static int find(const co_field *f, uint32_t n, const char *from, co_arena *a, co_field *out, int *there)
{
    *there = 0;
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(f[i].name, from) == 0) return *out = f[i], *there = 1, CO_OK;
    for (uint32_t i = 0; i < n; i++) {
        const size_t k = strlen(f[i].name);
        if (f[i].type != CO_FIELD_JSON || strncmp(from, f[i].name, k) != 0 || from[k] != '.') continue;
        const int rc = find_within(&f[i], from + k + 1, a, out, there);
        if (rc || *there) return rc;
    }
    return CO_OK;
}

static int project_read(void *self, int64_t index, co_arena *a, co_field **fields, uint32_t *n)
{
    const projection *p = self;
    co_field *in = NULL, *out;
    uint32_t n_in = 0, n_out = 0;
    int rc = files_dataset.read(p->files, index, a, &in, &n_in);
    if (rc) return rc;
    out = arena_push(a, (n_in + p->n) * sizeof *out + 1, 16);
    if (!out) return CO_E_NOMEM;
    for (size_t i = 0; i < p->n; i++) {
        int there;
        rc = find(in, n_in, p->maps[i].from, a, &out[n_out], &there);
        if (rc) {
            const char *file;
            int64_t row;
            files_locate(p->files, index, &file, &row);
            return error_prefix(rc, "%s: row %lld", file, (long long)row);
        }
        if (there) out[n_out++].name = p->maps[i].to;
    }
    const uint32_t mapped = n_out;
    for (uint32_t k = 0; k < n_in; k++) {
        int gives_way = 0;
        for (uint32_t i = 0; i < mapped; i++) gives_way |= strcmp(out[i].name, in[k].name) == 0;
        for (size_t i = 0; i < p->n; i++) gives_way |= strcmp(p->maps[i].from, in[k].name) == 0; /* it has its new name */
        if (!gives_way) out[n_out++] = in[k];
    }
    *fields = out;
    *n = n_out;
    return CO_OK;
}

/* Of the records as they are in the file: other names are no other records. */
static int project_fingerprints(void *self, int64_t first, int64_t n, uint64_t *out)
{
    return files_dataset.fingerprints(((projection *)self)->files, first, n, out);
}

const co_dataset_vt project_dataset = {
    .struct_size = sizeof(co_dataset_vt), .close = project_close, .count = project_count, .read = project_read, .clone = project_clone,
    .fingerprints = project_fingerprints,
};
