/* The json and jsonl datasets: forms of files, broken records and their neighbours, real files. */
#include "check.h"
#include "fake_host.h"
#include "files.h"
#include "datasets/json/file.h"

typedef struct data {
    void *self;
    co_arena *arena;
    int64_t n;
} data;

static int open_path(const char *path, int form, int64_t max, data *d)
{
    co_dataset_common o = { path, max };
    int rc = json_file_open(&fake_host, &o, form, &d->self);
    d->arena = NULL;
    d->n = -1;
    if (rc) return rc;
    d->arena = arena_new(4096);
    return json_file_count(d->self, &d->n);
}

static int open_text(const char *text, int form, data *d)
{
    return open_path(temp_file("t.json", text, strlen(text)), form, 0, d);
}

static void shut(data *d)
{
    json_file_close(d->self);
    arena_free(d->arena);
}

static int read_at(data *d, int64_t i, co_field **f, uint32_t *n)
{
    arena_reset(d->arena);
    return json_file_read(d->self, i, d->arena, f, n);
}

static void expect_field(data *d, int64_t i, const char *name, const char *want, uint32_t type)
{
    co_field *f;
    uint32_t n;
    int rc = read_at(d, i, &f, &n);
    CHECK_MSG(rc == CO_OK, "record %d: %s", (int)i, error_message());
    if (rc) return;
    for (uint32_t k = 0; k < n; k++) {
        if (strcmp(f[k].name, name)) continue;
        CHECK_STR(f[k].data, want);
        CHECK(f[k].len == strlen(want) && f[k].type == type);
        return;
    }
    CHECK_MSG(0, "record %d has no %s", (int)i, name);
}

static void expect_broken(data *d, int64_t i, const char *part)
{
    co_field *f;
    uint32_t n;
    int rc = read_at(d, i, &f, &n);
    CHECK_MSG(rc == CO_E_FORMAT, "record %d: %d", (int)i, rc);
    if (rc) CHECK_HAS(error_message(), part);
}

static void test_array(void)
{
    data d;
    co_field *f;
    uint32_t n;
    CHECK(open_text("\xef\xbb\xbf [ {\"a\":\"x\\n\\u00e9,]}\",\"n\":-1.5e3,\"o\":{\"k\":[1, 2]}} ,\n{\"a\":\"\",\"z\":null}]\n",
                    JSON_FILE_ARRAY_OR_LINES, &d) == CO_OK);
    CHECK(d.n == 2);
    expect_field(&d, 1, "a", "", CO_FIELD_STR);
    expect_field(&d, 0, "a", "x\n\xc3\xa9,]}", CO_FIELD_STR);
    expect_field(&d, 0, "n", "-1.5e3", CO_FIELD_JSON);
    expect_field(&d, 0, "o", "{\"k\":[1, 2]}", CO_FIELD_JSON);
    expect_field(&d, 1, "z", "null", CO_FIELD_JSON);
    CHECK(read_at(&d, 2, &f, &n) == CO_END);
    CHECK(read_at(&d, -1, &f, &n) == CO_E_INVALID);
    shut(&d);
}

static void test_lines(void)
{
    data d;
    const char text[] = "\xef\xbb\xbf\r\n\n{\"a\":\"1\"}\r\n\r\n  {\"a\":\"2\"}  \n\n\n{\"a\":\"3\"}";
    for (int form = JSON_FILE_ARRAY_OR_LINES; form <= JSON_FILE_LINES; form++) {
        CHECK(open_text(text, form, &d) == CO_OK && d.n == 3);
        expect_field(&d, 2, "a", "3", CO_FIELD_STR);
        expect_field(&d, 0, "a", "1", CO_FIELD_STR);
        expect_field(&d, 1, "a", "2", CO_FIELD_STR);
        shut(&d);
    }
}

static void test_empty(void)
{
    const char *none[] = { "", " \n\t\n", "[]", " [ ] \n", "\xef\xbb\xbf" };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        data d;
        CHECK_MSG(open_text(none[i], JSON_FILE_ARRAY_OR_LINES, &d) == CO_OK && d.n == 0, "text %d: %d", (int)i, (int)d.n);
        shut(&d);
    }
}

static void test_odd_keys(void)
{
    data d;
    co_field *f;
    uint32_t n;
    CHECK(open_text("[{\"a\":\"first\",\"b\":1,\"a\":\"last\"},{},{\"x\\u0000y\":1,\"\":\"e\"},{\"s\":\"p\\u0000q\"}]",
                    JSON_FILE_ARRAY_OR_LINES, &d) == CO_OK && d.n == 4);
    expect_field(&d, 0, "a", "last", CO_FIELD_STR);
    CHECK(read_at(&d, 0, &f, &n) == CO_OK && n == 2);
    CHECK(read_at(&d, 1, &f, &n) == CO_OK && n == 0);
    CHECK(read_at(&d, 2, &f, &n) == CO_OK && n == 1 && !strcmp(f[0].name, ""));
    CHECK(read_at(&d, 3, &f, &n) == CO_OK && f[0].len == 3 && !memcmp(f[0].data, "p\0q", 4));
    shut(&d);
}

static void test_broken_line(void)
{
    data d;
    CHECK(open_text("{\"a\":\"1\"}\n\n{\"a\" \"2\"}\n{\"a\":\"3\"}\n{\"a\":\"4\n{\"a\":\"5\"} x\n[1]\n{\"a\":\"7\"}\n", JSON_FILE_LINES,
                    &d) == CO_OK);
    CHECK(d.n == 7);
    expect_broken(&d, 1, "t.json: row 2 (line 3, byte 16): expected ':' after a key, found '\"'");
    expect_field(&d, 2, "a", "3", CO_FIELD_STR);
    expect_broken(&d, 3, "row 4 (line 5, byte 38): expected the closing quote of a string, found the end of the line");
    expect_broken(&d, 4, "row 5 (line 6, byte 49): expected the end of the line after the record, found 'x'");
    expect_broken(&d, 5, "row 6 (line 7, byte 51): expected '{' of an object, found '['");
    expect_field(&d, 6, "a", "7", CO_FIELD_STR);
    shut(&d);
}

static void test_broken_in_array(void)
{
    data d;
    CHECK(open_text("[{\"a\":\"1\"},\n{\"a\":\"\\q\"},\n{\"a\":}},\n{\"a\":1]],\n{\"a\":\"5\"}]", JSON_FILE_ARRAY_OR_LINES, &d) == CO_OK);
    expect_field(&d, 0, "a", "1", CO_FIELD_STR);
    expect_broken(&d, 1, "row 2 (line 2, byte 19): expected one of");
    expect_broken(&d, 2, "row 3 (line 3, byte 29): expected a value, found '}'");
    shut(&d);
    CHECK(open_text("[{\"a\":\"1\"} {\"a\":\"2\"}, {\"a\":\"3\"}]", JSON_FILE_ARRAY_OR_LINES, &d) == CO_OK && d.n == 2);
    expect_broken(&d, 0, "expected ',' or ']' after the record, found '{'");
    expect_field(&d, 1, "a", "3", CO_FIELD_STR);
    shut(&d);
    CHECK(open_text("[{\"a\":\"1\"},,{\"a\":\"3\"},]", JSON_FILE_ARRAY_OR_LINES, &d) == CO_OK && d.n == 4);
    expect_broken(&d, 1, "row 2 (line 1, byte 11): expected a value, found ','");
    expect_field(&d, 2, "a", "3", CO_FIELD_STR);
    expect_broken(&d, 3, "expected a value, found ']'");
    shut(&d);
    CHECK(open_text("[1,{\"a\":\"2\"}]", JSON_FILE_ARRAY_OR_LINES, &d) == CO_OK && d.n == 2);
    expect_broken(&d, 0, "expected '{' of an object, found '1'");
    expect_field(&d, 1, "a", "2", CO_FIELD_STR);
    shut(&d);
}

static void test_cut_off_array(void)
{
    const char whole[] = "[{\"a\":\"x\\\"y\"}, {\"a\":[1,{}]}]";
    data d;
    /* Cut anywhere, each file has one broken record, the last, and the ones before it are as they were. */
    for (size_t len = 1; len < sizeof whole - 1; len++) {
        CHECK(open_path(temp_file("cut.json", whole, len), JSON_FILE_ARRAY_OR_LINES, 0, &d) == CO_OK);
        CHECK_MSG(d.n == (len < 13 ? 1 : len < 27 ? 2 : 3), "cut at %d: %d", (int)len, (int)d.n);
        expect_broken(&d, d.n - 1, "the end of the file");
        if (d.n > 1) expect_field(&d, 0, "a", "x\"y", CO_FIELD_STR);
        shut(&d);
    }
    CHECK(open_text("[{\"a\":\"1\"}] tail", JSON_FILE_ARRAY_OR_LINES, &d) == CO_OK && d.n == 2);
    expect_field(&d, 0, "a", "1", CO_FIELD_STR);
    expect_broken(&d, 1, "row 2 (line 1, byte 12): expected nothing more after the array's ']', found 't'");
    shut(&d);
}

static void expect_refused(const char *text, int form, int code, const char *part)
{
    data d;
    int rc = open_text(text, form, &d);
    CHECK_MSG(rc == code, "%d for %s", rc, text);
    if (rc) CHECK_HAS(error_message(), part);
    else shut(&d);
}

static void test_refused_files(void)
{
    data d;
    expect_refused("\x1f\x8b\x08 whatever", JSON_FILE_LINES, CO_E_FORMAT, "the gzip stream is damaged");
    expect_refused("\xff\xfe[", JSON_FILE_ARRAY_OR_LINES, CO_E_FORMAT, "UTF-16");
    expect_refused("\nhello", JSON_FILE_ARRAY_OR_LINES, CO_E_FORMAT, "line 2, byte 1: expected '['");
    expect_refused("{\"data\":\n[]}", JSON_FILE_ARRAY_OR_LINES, CO_E_FORMAT, "an object over several lines");
    expect_refused("[{}]", JSON_FILE_LINES, CO_E_FORMAT, "use format = json");
    CHECK(open_path("no/such/file.json", JSON_FILE_LINES, 0, &d) == CO_E_IO);
    CHECK_HAS(error_message(), "no/such/file.json");
    CHECK(open_path(".", JSON_FILE_LINES, 0, &d) == CO_E_IO);
    CHECK(open_path(NULL, JSON_FILE_LINES, 0, &d) == CO_E_CONFIG);
}

static void test_max_records(void)
{
    const char *texts[] = { "[{\"a\":\"1\"},{\"a\":\"2\"},{\"a\":\"3\"}] junk", "{\"a\":\"1\"}\n{\"a\":\"2\"}\n{\"a\":\"3\"}\n" };
    for (int i = 0; i < 2; i++) {
        data d;
        CHECK(open_path(temp_file("m.json", texts[i], strlen(texts[i])), JSON_FILE_ARRAY_OR_LINES, 2, &d) == CO_OK && d.n == 2);
        expect_field(&d, 1, "a", "2", CO_FIELD_STR);
        shut(&d);
    }
}

/* The same record has the same fingerprint in an array and in lines, at any place and from any first record; broken ones too. */
static void test_fingerprints(void)
{
    const char *const texts[] = {"[ {\"a\":1} ,{\"a\":2},\n{\"a\":\"],\\\"\"}, {\"a\":1}]", "{\"a\":2}\n\n {\"a\":1}\r\n{\"a\":\"],\\\"\"}\n{\"a\":1\n{\"a\":1}",
                                 "[{\"a\":1},{\"a\":2 more"};
    const char *const want[] = {"abca", "bacda", "ae"}; /* a letter a record; e: broken off */
    uint64_t of[26] = {0}, got[8];
    for (int i = 0; i < 3; i++) {
        data d;
        CHECK(open_path(temp_file("p.json", texts[i], strlen(texts[i])), JSON_FILE_ARRAY_OR_LINES, 0, &d) == CO_OK);
        const int64_t n = (int64_t)strlen(want[i]);
        CHECK_MSG(d.n == n, "%lld records", (long long)d.n);
        for (int64_t first = 0; first < n; first++)
            for (int64_t k = 1; first + k <= n; k++) {
                CHECK(json_file_fingerprints(d.self, first, k, got) == CO_OK);
                for (int64_t j = 0; j < k; j++) {
                    uint64_t *known = &of[want[i][first + j] - 'a'];
                    if (!*known) *known = got[j];
                    CHECK(got[j] && got[j] == *known);
                }
            }
        CHECK(json_file_fingerprints(d.self, 1, n, got) == CO_E_INVALID);
        shut(&d);
    }
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < i; j++) CHECK(of[i] != of[j]);
    data d;
    CHECK(open_path(temp_file("p.json", "[{}] x", 6), JSON_FILE_ARRAY_OR_LINES, 0, &d) == CO_OK && d.n == 2);
    CHECK(json_file_fingerprints(d.self, 0, 2, got) == CO_OK && got[0] && !got[1]); /* what stands behind the array is no record */
    shut(&d);
}

static void test_clone(void)
{
    data d;
    void *other;
    CHECK(open_text("[{\"a\":\"1\"}]", JSON_FILE_ARRAY_OR_LINES, &d) == CO_OK);
    CHECK(json_file_clone(d.self, &other) == CO_OK);
    json_file_close(d.self);
    d.self = other; /* outlives the one it was made from */
    expect_field(&d, 0, "a", "1", CO_FIELD_STR);
    shut(&d);
}

static void test_real(const char *name, int form, int64_t records, int64_t broken, int64_t first_broken, const char *message)
{
    char path[1024];
    data d;
    co_field *f;
    uint32_t n;
    int64_t bad = 0, first = -1;
    snprintf(path, sizeof path, "%s/data/sft/%s", shared_dir(), name);
    CHECK_MSG(open_path(path, form, 0, &d) == CO_OK, "%s", error_message());
    CHECK_MSG(d.n == records, "%s: %d records", name, (int)d.n);
    for (int64_t i = 0; i < d.n; i++) {
        if (read_at(&d, i, &f, &n) == CO_OK) continue;
        if (!bad++) {
            first = i;
            CHECK_HAS(error_message(), message);
        }
    }
    CHECK_MSG(bad == broken && first == first_broken, "%s: %d broken, first %d", name, (int)bad, (int)first);
    shut(&d);
}

static void test_allocation_failures(void)
{
    const char text[] = "[{\"a\":\"1\"}]";
    char path[256];
    int64_t live;
    mem_counts before, after;
    snprintf(path, sizeof path, "%s", temp_file("f.json", text, sizeof text - 1));
    mem_count(&before);
    for (live = 1; live < 20; live++) {
        void *self = NULL;
        co_dataset_common o = { path, 0 };
        int rc;
        mem_fail_after(live);
        rc = json_file_open(&fake_host, &o, JSON_FILE_ARRAY_OR_LINES, &self);
        mem_fail_after(0);
        if (!rc) {
            json_file_close(self);
            break;
        }
        CHECK(rc == CO_E_NOMEM && !self);
    }
    mem_count(&after);
    CHECK(live > 2 && live < 20 && after.live_bytes == before.live_bytes);
}

int main(void)
{
    test_array();
    test_lines();
    test_empty();
    test_odd_keys();
    test_broken_line();
    test_broken_in_array();
    test_cut_off_array();
    test_refused_files();
    test_max_records();
    test_fingerprints();
    test_clone();
    test_allocation_failures();
    temp_clean();
    if (!shared_dir()) {
        printf("skipped: real files (no shared data)\n");
        return check_done();
    }
    test_real("BELLE_zh_seed_tasks.json", JSON_FILE_ARRAY_OR_LINES, 175, 0, -1, "");
    test_real("fastchat_dummy_conversation.json", JSON_FILE_ARRAY_OR_LINES, 500, 0, -1, "");
    test_real("llamafactory_alpaca_en_demo.json", JSON_FILE_ARRAY_OR_LINES, 999, 0, -1, "");
    test_real("llamafactory_alpaca_zh_demo.json", JSON_FILE_ARRAY_OR_LINES, 1000, 0, -1, "");
    test_real("stanford_alpaca_seed_tasks.jsonl", JSON_FILE_LINES, 175, 0, -1, "");
    test_real("instructionwild_seed_prompts_ch.jsonl", JSON_FILE_LINES, 429, 0, -1, "");
    test_real("instructionwild_user_2.jsonl", JSON_FILE_LINES, 248, 2, 133, "row 134 (line 134, byte ");
    test_real("instructionwild_user_3.jsonl", JSON_FILE_LINES, 201, 3, 9, "row 10 (line 10, byte ");
    return check_done();
}
