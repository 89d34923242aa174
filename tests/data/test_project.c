/* Columns by other names and within columns; files of files. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/files.h"
#include "core/data/project.h"

/* A file of two records: "id" is the file's name and row, "doc" holds JSON, "out" a text. */
static int d_count(void *self, int64_t *n) { return (void)self, *n = 2, CO_OK; }
static void d_close(void *self) { mem_free(self); }
static const char *doc = "{\"a\":{\"b\":[{\"c\":\"deep \\u00e9\"},2,null]},\"m\":[{\"role\":\"user\"}],\"x.y\":1}";
static int d_read(void *self, int64_t i, co_arena *a, co_field **f, uint32_t *n)
{
    co_field *o = arena_push(a, 3 * sizeof *o, 16);
    if (i >= 2) return CO_END;
    if (!o) return CO_E_NOMEM;
    o[0] = (co_field){ .name = "id", .data = arena_printf(a, "%s%d", (char *)self, (int)i) };
    o[0].len = strlen(o[0].data);
    o[1] = (co_field){ .name = "doc", .data = doc, .len = strlen(doc), .type = CO_FIELD_JSON };
    o[2] = (co_field){ .name = "out", .data = "o", .len = 1 };
    *f = o;
    *n = 3;
    return CO_OK;
}
static const co_dataset_vt d_vt = { .struct_size = sizeof(co_dataset_vt), .count = d_count, .read = d_read, .close = d_close };
static int d_open(void *ctx, const char *path, int64_t max, const co_dataset_vt **vt, void **self)
{
    (void)ctx, (void)max;
    *vt = &d_vt;
    *self = mem_strdup(path);
    return *self ? CO_OK : CO_E_NOMEM;
}

static void *open_files(char *name)
{
    const files_opener o = { .open = d_open };
    void *self = NULL;
    CHECK(files_open(&o, &name, 1, 0, &self) == CO_OK);
    return self;
}

static void *open_map(char *file, char *from, char *to)
{
    const project_map m = { from, to };
    void *self = NULL;
    CHECK(project_open(open_files(file), &m, 1, &self) == CO_OK);
    return self;
}

/* The field `to` of the first record when `from` is mapped to it; "-" if there is none. */
static const char *mapped(const char *from, const char *to, uint32_t type, co_arena *a)
{
    void *self = open_map("f", (char *)(uintptr_t)from, (char *)(uintptr_t)to), *clone = NULL;
    const char *found = "-";
    co_field *f = NULL;
    uint32_t n = 0;
    CHECK(project_dataset.clone(self, &clone) == CO_OK);
    project_dataset.close(self);
    CHECK_MSG(project_dataset.read(clone, 0, a, &f, &n) == CO_OK, "%s", error_message());
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < i; k++) CHECK(strcmp(f[i].name, f[k].name) != 0);
        if (strcmp(f[i].name, to) != 0) continue;
        CHECK(f[i].type == type && f[i].data[f[i].len] == 0);
        found = arena_strndup(a, f[i].data, f[i].len);
    }
    project_dataset.close(clone);
    return found;
}

static int open_part(void *ctx, const char *path, int64_t max, const co_dataset_vt **vt, void **self)
{
    (void)ctx, (void)max;
    *vt = path[0] == 'p' ? &project_dataset : &files_dataset;
    *self = path[0] == 'p' ? open_map("inner-p", "id", "name") : open_files("inner-f");
    return CO_OK;
}

static void test_locate(void)
{
    char *names[] = { "files", "projected" };
    const files_opener o = { .open = open_part };
    void *self = NULL;
    const char *file;
    int64_t row, first, n;
    CHECK(files_open(&o, names, 2, 0, &self) == CO_OK);
    files_locate(self, 1, &file, &row);
    CHECK(strcmp(file, "inner-f") == 0 && row == 2);
    files_locate(self, 2, &file, &row);
    CHECK(strcmp(file, "inner-p") == 0 && row == 1);
    files_part(self, 1, &first, &n);
    CHECK(first == 2 && n == 2);
    files_dataset.close(self);
}

int main(void)
{
    co_arena *a = arena_new(1 << 14);
    CHECK_STR(mapped("id", "name", CO_FIELD_STR, a), "f0");
    CHECK_STR(mapped("id", "out", CO_FIELD_STR, a), "f0"); /* in the place of one that was there */
    CHECK_STR(mapped("gone", "name", CO_FIELD_STR, a), "-");
    CHECK_STR(mapped("doc.a.b.0.c", "text", CO_FIELD_STR, a), "deep \xc3\xa9");
    CHECK_STR(mapped("doc.a.b.1", "text", CO_FIELD_JSON, a), "2");
    CHECK_STR(mapped("doc.a.b.2", "text", CO_FIELD_JSON, a), "null");
    CHECK_STR(mapped("doc.a.b", "doc.a.b", CO_FIELD_JSON, a), "[{\"c\":\"deep \\u00e9\"},2,null]");
    CHECK_STR(mapped("doc.m", "messages", CO_FIELD_JSON, a), "[{\"role\":\"user\"}]");
    CHECK_STR(mapped("doc.a.b.3", "text", CO_FIELD_JSON, a), "-");
    CHECK_STR(mapped("doc.a.b.-1", "text", CO_FIELD_JSON, a), "-");
    CHECK_STR(mapped("doc.a.b.1.c", "text", CO_FIELD_JSON, a), "-");
    CHECK_STR(mapped("doc.q", "text", CO_FIELD_JSON, a), "-");
    CHECK_STR(mapped("out.q", "text", CO_FIELD_JSON, a), "-"); /* text has no members */
    doc = "{\"a\":{\"b\":";
    void *broken = open_map("f", "doc.a.b", "text");
    co_field *f;
    uint32_t n;
    CHECK(project_dataset.read(broken, 1, a, &f, &n) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "f: row 2: column");
    project_dataset.close(broken);
    test_locate();
    arena_free(a);
    return check_done();
}
