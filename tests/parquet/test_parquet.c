/* The parquet dataset: the rows of our own files, one after another, in any order and by several threads; what fields a record
 * has; what is refused; and, where the shared data is, the hh-rlhf pairs and Apache's conformance files. */
#include "read.h"
#include "core/base/fs.h"
#include "datasets/json/file.h"
#include "datasets/parquet/text.h"

#include <pthread.h>
#include <zlib.h>

static const char dir[] = COATI_SOURCE_DIR "/tests/parquet/files";

static const char *path_of(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

/* A record as parquet_dump prints it; in the reader's arena. */
static const char *line_of(data *d, int64_t i)
{
    co_field *f;
    uint32_t n;
    pq_fault fault;
    pq_text t = { .host = &fake_host, .arena = d->arena, .fault = &fault };
    int rc = read_at(d, i, &f, &n);
    if (rc) return error_message();
    for (uint32_t k = 0; k < n && !rc; k++)
        rc = pq_text_char(&t, k ? ',' : '{') || pq_text_quoted(&t, f[k].name, strlen(f[k].name)) || pq_text_char(&t, ':') ||
             (f[k].type == CO_FIELD_STR ? pq_text_quoted(&t, f[k].data, f[k].len) : pq_text_add(&t, f[k].data, f[k].len));
    return pq_text_char(&t, '}') || rc ? "no memory" : t.at;
}

typedef struct lines {
    char *text, *at[1024];
    int64_t n;
} lines;

static void read_lines(const char *path, lines *l)
{
    size_t len;
    l->n = 0;
    CHECK(fs_read_all(path, &l->text, &len, 1 << 20) == CO_OK);
    for (char *p = l->text; p < l->text + len && l->n < 1024; p++) {
        l->at[l->n++] = p;
        p = memchr(p, '\n', (size_t)(l->text + len - p));
        *p = 0;
    }
}

typedef struct job {
    data d;
    const lines *want;
    int64_t step;
    int wrong;
} job;

/* Every row once, `step` (prime to the number of rows) apart. */
static void *read_scattered(void *arg)
{
    job *j = arg;
    for (int64_t k = 0, i = 0; k < j->d.n; k++, i = (i + j->step) % j->d.n) j->wrong += strcmp(line_of(&j->d, i), j->want->at[i]) != 0;
    return NULL;
}

static void test_file(const char *name)
{
    lines want;
    char other[256];
    job jobs[4];
    pthread_t threads[4];
    data d;
    co_field *f;
    uint32_t n;
    snprintf(other, sizeof other, "%.*sjsonl", (int)(strlen(name) - strlen("parquet")), name);
    read_lines(path_of(other), &want);
    CHECK_MSG(open_data(path_of(name), 0, &d) == CO_OK, "%s", error_message());
    CHECK_MSG(d.n == want.n, "%s: %d rows, want %d", name, (int)d.n, (int)want.n);
    for (int64_t i = 0; i < d.n && i < want.n; i++) CHECK_STR(line_of(&d, i), want.at[i]);
    CHECK(read_at(&d, d.n, &f, &n) == CO_END && read_at(&d, -1, &f, &n) == CO_E_INVALID);
    shut(&d);
    CHECK(open_data(path_of(name), 0, &d) == CO_OK); /* nothing is known yet of its pages */
    for (int k = 0; k < 4; k++) {
        jobs[k] = (job){ .want = &want, .step = k == 0 ? d.n - 1 : k == 1 ? 7 : k == 2 ? 41 : 1 };
        CHECK(pq_clone(d.self, &jobs[k].d.self) == CO_OK && pq_count(jobs[k].d.self, &jobs[k].d.n) == CO_OK);
        jobs[k].d.arena = arena_new(1 << 16);
    }
    shut(&d); /* clones outlive what they were cloned from */
    for (int k = 0; k < 4; k++) CHECK(!pthread_create(&threads[k], NULL, read_scattered, &jobs[k]));
    for (int k = 0; k < 4; k++) {
        CHECK(!pthread_join(threads[k], NULL));
        CHECK_MSG(!jobs[k].wrong, "%s: %d rows differ when read %d apart", name, jobs[k].wrong, (int)jobs[k].step);
        shut(&jobs[k].d);
    }
    mem_free(want.text);
}

static void test_own_files(void)
{
    char **names;
    size_t n, files = 0;
    CHECK(fs_list(dir, &names, &n) == CO_OK);
    for (size_t i = 0; i < n; i++) {
        if (!strstr(names[i], ".parquet")) continue;
        test_file(names[i]);
        files++;
    }
    CHECK(files > 20);
    fs_free_list(names, n);
}

static void expect(const co_field *f, const char *name, uint32_t type, const char *want)
{
    CHECK_STR(f->name, name);
    CHECK(f->type == type && f->len == strlen(want) && !f->data[f->len]);
    CHECK_STR(f->data, want);
}

static void test_fields(void)
{
    data d;
    co_field *f;
    uint32_t n;
    CHECK(open_data(path_of("text_zstd_v2.parquet"), 41, &d) == CO_OK && d.n == 41); /* into the second row group */
    CHECK(read_at(&d, 41, &f, &n) == CO_END);
    CHECK(read_at(&d, 40, &f, &n) == CO_OK && n == 4);
    expect(&f[3], "id", CO_FIELD_JSON, "40");
    CHECK(f[0].type == CO_FIELD_STR);
    shut(&d);
    CHECK(open_data(path_of("types.parquet"), 0, &d) == CO_OK && read_at(&d, 0, &f, &n) == CO_OK && n == 24);
    expect(&f[4], "i64", CO_FIELD_JSON, "-9223372036854775808");
    expect(&f[9], "f16", CO_FIELD_JSON, "0");
    expect(&f[10], "f32", CO_FIELD_JSON, "0.1");
    expect(&f[12], "dec32", CO_FIELD_JSON, "null");
    expect(&f[16], "date", CO_FIELD_STR, "0001-01-01");
    expect(&f[20], "ts_us", CO_FIELD_STR, "1653-02-10 06:13:20Z");
    CHECK(read_at(&d, 1, &f, &n) == CO_OK);
    expect(&f[8], "u64", CO_FIELD_JSON, "18446744073709551615");
    expect(&f[12], "dec32", CO_FIELD_JSON, "0.00");
    expect(&f[17], "time_ms", CO_FIELD_STR, "23:59:59.999");
    shut(&d);
}

static void expect_refused(const void *bytes, size_t len, const char *part)
{
    data d;
    CHECK(open_data(temp_file("bad.parquet", bytes, len), 0, &d) == CO_E_FORMAT);
    CHECK_HAS(error_message(), part);
    CHECK_HAS(error_message(), "bad.parquet");
}

static void test_refused(void)
{
    data d;
    char *file;
    size_t len;
    co_field *f;
    uint32_t n;
    expect_refused("", 0, "no Parquet file");
    expect_refused("{\"a\":1}\n{\"a\":2}\n", 16, "no Parquet file");
    expect_refused("PARE1234\1\0\0\0PARE", 16, "encrypted");
    expect_refused("PAR11234\377\0\0\0PAR1", 16, "claims a footer of 255 bytes");
    CHECK(open_data("there/is/none.parquet", 0, &d) == CO_E_IO);
    CHECK(open_data("", 0, &d) == CO_E_CONFIG);
    CHECK(fs_read_all(path_of("text_none_v1.parquet"), &file, &len, 1 << 20) == CO_OK);
    expect_refused(file, len - 1, "cut short");
    file[60] ^= 1; /* in the first page of the first column */
    CHECK(open_data(temp_file("flipped.parquet", file, len), 0, &d) == CO_OK);
    CHECK(read_at(&d, 3, &f, &n) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "flipped.parquet: row 4: row group 0: column prompt: page at byte 4: the page's checksum is ");
    CHECK_MSG(read_at(&d, 50, &f, &n) == CO_OK, "the other row group: %s", error_message());
    shut(&d);
    mem_free(file);
}

/* The records of an hh-rlhf file against those of the JSON Lines it was made from. */
static void compare_pairs(const char *path, json_file *want, int64_t *records)
{
    data d;
    co_arena *a = arena_new(1 << 16);
    CHECK_MSG(open_data(path, 0, &d) == CO_OK, "%s", error_message());
    for (int64_t i = 0; i < d.n; i++) {
        co_field *f, *g;
        uint32_t n, m;
        arena_reset(a);
        CHECK_MSG(read_at(&d, i, &f, &n) == CO_OK, "%s", error_message());
        if (!want) continue; /* read, and that is all */
        CHECK(json_file_read(want, i, a, &g, &m) == CO_OK && m == 2);
        for (uint32_t k = 0; k < 2; k++) {
            uint32_t c = 0;
            while (c < n && strcmp(f[c].name, g[k].name)) c++;
            CHECK_MSG(c < n && f[c].type == CO_FIELD_STR && f[c].len == g[k].len && !memcmp(f[c].data, g[k].data, g[k].len), "%s: row %d",
                      path, (int)i + 1);
        }
    }
    *records += d.n;
    shut(&d);
    arena_free(a);
}

static void test_pairs(const char *shared)
{
    char path[1024], **names;
    size_t n;
    int64_t records = 0;
    void *pairs;
    char *text = malloc(8 << 20);
    gzFile gz;
    int len;
    snprintf(path, sizeof path, "%s/data/preference/hh-rlhf_harmless-base_test.jsonl.gz", shared);
    gz = gzopen(path, "rb");
    len = gz ? gzread(gz, text, 8 << 20) : 0;
    CHECK(len > 0);
    gzclose(gz);
    co_dataset_common o = { temp_file("pairs.jsonl", text, (size_t)len), 0 };
    CHECK(json_file_open(&fake_host, &o, JSON_FILE_LINES, &pairs) == CO_OK);
    snprintf(path, sizeof path, "%s/data/parquet/hh-rlhf", shared);
    CHECK(fs_list(path, &names, &n) == CO_OK && n == 14);
    for (size_t i = 0; i < n; i++) {
        char *file = fs_join(path, names[i]);
        compare_pairs(file, strstr(names[i], "multi") ? NULL : pairs, &records);
        mem_free(file);
    }
    CHECK(records == 12 * 500 + 2312 + 7500);
    fs_free_list(names, n);
    json_file_close(pairs);
    free(text);
}

/* Whether all of a file can be read; the message stays. */
static int readable(const char *path)
{
    data d;
    co_field *f;
    uint32_t n;
    int rc = open_data(path, 0, &d);
    if (rc) {
        CHECK_MSG(rc == CO_E_FORMAT, "%s", error_message());
        return 0;
    }
    for (int64_t i = 0; i < d.n && !rc; i++) rc = read_at(&d, i, &f, &n);
    CHECK_MSG(!rc || rc == CO_E_FORMAT, "%s", error_message());
    shut(&d);
    return !rc;
}

/* Rows are held to other readers by tests/golden/compare_parquet.py; here: what is read and what is refused, and why. */
static void test_conformance(const char *shared)
{
    static const char *const refused[][2] = {
        { "datapage_v1-corrupt-checksum.parquet", "checksum" }, { "rle-dict-uncompressed-corrupt-checksum.parquet", "checksum" },
        { "large_string_map.brotli.parquet", "the page takes more than" }, { ".encrypted", "encrypted" },
        { "ARROW-GH-41317", "header is damaged" }, { "ARROW-GH-41321", "expected 3 levels or indices" }, { "ARROW-GH-45185", "begins within a row" },
        { "ARROW-GH-47662", "expected 100 values" }, { "6229-DICTHEADER", "beyond the file's data" }, { "6229-LEVELS", "expected 1 more values" },
        { "PARQUET-1481", "unknown physical type -7" },
    };
    size_t read = 0, not_read = 0;
    for (int bad = 0; bad < 2; bad++) {
        char path[1024], **names;
        size_t n;
        snprintf(path, sizeof path, "%s/data/parquet/parquet-testing/%s", shared, bad ? "bad_data" : "data");
        CHECK(fs_list(path, &names, &n) == CO_OK);
        for (size_t i = 0; i < n; i++) {
            const char *why = NULL;
            char *file = fs_join(path, names[i]);
            for (size_t k = 0; k < sizeof refused / sizeof *refused; k++)
                if (strstr(names[i], refused[k][0])) why = refused[k][1];
            if (strstr(names[i], ".parquet") && !strstr(names[i], ".json")) {
                const int ok = readable(file);
                CHECK_MSG(ok == !why, "%s: %s", names[i], ok ? "is read" : error_message());
                if (why && !ok) CHECK_HAS(error_message(), why);
                read += ok;
                not_read += !ok;
            }
            mem_free(file);
        }
        fs_free_list(names, n);
    }
    CHECK_MSG(read == 63 && not_read == 18, "%zu read, %zu refused", read, not_read);
}

int main(void)
{
    const char *shared = shared_dir();
    test_own_files();
    test_fields();
    test_refused();
    if (shared) {
        test_pairs(shared);
        test_conformance(shared);
    } else {
        printf("skipped: the hh-rlhf files and Apache's (no shared data)\n");
    }
    temp_clean();
    return check_done();
}
