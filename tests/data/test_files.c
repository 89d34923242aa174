/* Several files as one dataset: which files, in which order, which row of which file; handles that come and go. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/data/files.h"
#include "files.h"

enum { MAX = 8 };
static const int64_t counts[MAX] = { 3, 0, 2, 0 }; /* by the digit a path ends in */
static int open_handles, opened;
static int64_t asked[MAX];

typedef struct part { int64_t n; int number; } part;

static int part_open(void *ctx, const char *path, int64_t max_records, const co_dataset_vt **vt, void **self)
{
    const int number = path[strlen(path) - 1] - '0';
    part *p;
    *vt = ctx;
    if (number < 0 || number > 3) return FAIL(CO_E_FORMAT, "%s: broken", path);
    p = mem_calloc(1, sizeof *p);
    if (!p) return CO_E_NOMEM;
    asked[opened++ % MAX] = max_records;
    p->number = number;
    p->n = max_records && max_records < counts[number] ? max_records : counts[number];
    open_handles++;
    *self = p;
    return CO_OK;
}

static void part_close(void *self)
{
    open_handles--;
    mem_free(self);
}

static int part_count(void *self, int64_t *n)
{
    *n = ((part *)self)->n;
    return CO_OK;
}

static int part_read(void *self, int64_t i, co_arena *a, co_field **fields, uint32_t *n)
{
    const part *p = self;
    if (i >= p->n) return CO_END;
    *fields = arena_push(a, sizeof **fields, 16);
    if (!*fields) return CO_E_NOMEM;
    **fields = (co_field){ .name = "id", .data = arena_printf(a, "%d.%d", p->number, (int)i) };
    (*fields)->len = strlen((*fields)->data);
    *n = 1;
    return CO_OK;
}

static const co_dataset_vt part_vt = { .struct_size = sizeof(co_dataset_vt), .close = part_close, .count = part_count, .read = part_read };
static int part_fingerprints(void *self, int64_t first, int64_t n, uint64_t *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = 1000u + 10u * (unsigned)((part *)self)->number + (unsigned)(first + i);
    return CO_OK;
}
static const co_dataset_vt marked_vt = { .struct_size = sizeof(co_dataset_vt), .close = part_close, .count = part_count, .read = part_read,
                                         .fingerprints = part_fingerprints };
static const files_opener opener = { .open = part_open, .ctx = (void *)(uintptr_t)&part_vt };

static void expect_records(void *self, const char *want)
{
    char got[200] = "";
    co_arena *a = arena_new(1 << 12);
    int64_t n = -1;
    CHECK(files_dataset.count(self, &n) == CO_OK);
    for (int64_t i = 0; i < n; i++) {
        co_field *f;
        uint32_t nf;
        const char *file;
        int64_t row;
        CHECK(files_dataset.read(self, i, a, &f, &nf) == CO_OK && nf == 1);
        files_locate(self, i, &file, &row);
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s=%s:%d ", f->data, file, (int)row);
    }
    CHECK_STR(got, want);
    CHECK(files_dataset.read(self, n, a, &(co_field *){ 0 }, &(uint32_t){ 0 }) == CO_END);
    arena_free(a);
}

static void test_together(void)
{
    static char *paths[] = { "p0", "p1", "p2", "p3" };
    void *self, *other;
    CHECK(files_open(&opener, paths, 4, 0, &self) == CO_OK);
    expect_records(self, "0.0=p0:1 0.1=p0:2 0.2=p0:3 2.0=p2:1 2.1=p2:2 ");
    CHECK(files_dataset.clone(self, &other) == CO_OK && open_handles == 8);
    files_dataset.close(self);
    expect_records(other, "0.0=p0:1 0.1=p0:2 0.2=p0:3 2.0=p2:1 2.1=p2:2 ");
    files_dataset.close(other);
    CHECK(open_handles == 0);
    opened = 0;
    CHECK(files_open(&opener, paths, 4, 4, &self) == CO_OK && open_handles == 3 && asked[0] == 4 && asked[2] == 1);
    CHECK(files_dataset.clone(self, &other) == CO_OK && asked[5] == 1);
    files_dataset.close(other);
    expect_records(self, "0.0=p0:1 0.1=p0:2 0.2=p0:3 2.0=p2:1 ");
    files_dataset.close(self);
    paths[2] = "pX";
    CHECK(files_open(&opener, paths, 4, 0, &self) == CO_E_FORMAT && open_handles == 0);
}

/* Each file's own fingerprints, or those of its fields, whatever range is asked for. */
static void test_fingerprints(void)
{
    static char *paths[] = { "p0", "p1", "p2" };
    const files_opener marked = { .open = part_open, .ctx = (void *)(uintptr_t)&marked_vt };
    uint64_t all[5], some[5];
    void *self;
    CHECK(files_open(&marked, paths, 3, 0, &self) == CO_OK && files_dataset.fingerprints(self, 1, 4, all) == CO_OK);
    CHECK(all[0] == 1001 && all[1] == 1002 && all[2] == 1020 && all[3] == 1021);
    files_dataset.close(self);
    CHECK(files_open(&opener, paths, 3, 0, &self) == CO_OK && files_dataset.fingerprints(self, 0, 5, all) == CO_OK);
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < i; k++) CHECK(all[i] && all[i] != all[k]);
        CHECK(files_dataset.fingerprints(self, i, 5 - i, some) == CO_OK && !memcmp(some, all + i, (size_t)(5 - i) * sizeof *all));
    }
    CHECK(files_dataset.fingerprints(self, 3, 3, some) == CO_E_INVALID); /* behind the last */
    files_dataset.close(self);
}

static void test_memory(void)
{
    static char *paths[] = { "p0", "p2" };
    mem_counts before, after;
    mem_count(&before);
    for (int64_t k = 1;; k++) {
        void *self, *other = NULL;
        mem_fail_after(k);
        int rc = files_open(&opener, paths, 2, 0, &self);
        if (!rc) {
            rc = files_dataset.clone(self, &other);
            files_dataset.close(self);
            if (!rc) files_dataset.close(other);
        }
        mem_fail_after(0);
        CHECK(rc == CO_OK || rc == CO_E_NOMEM);
        CHECK(open_handles == 0);
        if (!rc) break;
    }
    mem_count(&after);
    CHECK(before.live_bytes == after.live_bytes);
}

static int ends_in_x(void *ctx, const char *path)
{
    (void)ctx;
    return path[strlen(path) - 1] == 'x';
}

static void expect_paths(const char *path, const char *want)
{
    char got[400] = "", **paths;
    size_t n;
    int rc = files_expand(path, ends_in_x, NULL, &paths, &n);
    CHECK_MSG(rc == CO_OK, "%s", error_message());
    if (rc) return;
    for (size_t i = 0; i < n; i++) snprintf(got + strlen(got), sizeof got - strlen(got), "%s ", fs_basename(paths[i]));
    CHECK_STR(got, want);
    fs_free_list(paths, n);
}

static void test_paths(void)
{
    char **paths, *dir = fs_dirname(temp_file("b.x", "", 0)), *inner = fs_join(dir, "inner.x"), pattern[200];
    size_t n;
    temp_file("a.x", "", 0);
    temp_file("B.x", "", 0);
    temp_file("c.y", "", 0);
    temp_file("[a].x", "", 0);
    temp_file(".d.x", "", 0);
    CHECK(fs_mkdirs(inner) == CO_OK);
    expect_paths(dir, "B.x [a].x a.x b.x ");
    snprintf(pattern, sizeof pattern, "%s/[ab].x", dir);
    expect_paths(pattern, "a.x b.x ");
    snprintf(pattern, sizeof pattern, "%s/[a].x", dir); /* a file of this name is there */
    expect_paths(pattern, "[a].x ");
    snprintf(pattern, sizeof pattern, "%s/*", dir);
    expect_paths(pattern, "B.x [a].x a.x b.x c.y ");
    CHECK(files_expand(inner, ends_in_x, NULL, &paths, &n) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "no file whose ending");
    CHECK(files_expand("nowhere.x", ends_in_x, NULL, &paths, &n) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "no file 'nowhere.x'");
    mem_free(dir);
    mem_free(inner);
    temp_clean();
}

int main(void)
{
    test_together();
    test_fingerprints();
    test_memory();
    test_paths();
    return check_done();
}
