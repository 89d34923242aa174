/* The strict JSON reader: what it takes, what it refuses and where. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/params/json.h"
#include "core/params/json_write.h"

static int check(const char *text) { return json_check("x", text, strlen(text)); }

static void test_accepts(void)
{
    static const char *const good[] = {"{}", "[]", " [ ] ", "1", "-0.5e+3", "true", "\"\"", "null",
                                       "{\"a\":[1,2,{\"b\":null}],\"c\":\"\\u00e9\\n\\ud83d\\ude00\"}", "\"\xC3\xA9\""};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        CHECK_MSG(check(good[i]) == CO_OK, "%s: %s", good[i], error_message());
}

static void test_refuses(void)
{
    static const char *const bad[] = {
        "", "{", "[1,]", "{\"a\":1,}", "{a:1}", "{\"a\" 1}", "[1 2]", "01", "1.", ".5", "+1", "1e", "nul", "NaN", "Infinity",
        "\"", "\"\\x\"", "\"\\u12\"", "\"\\u0000\"", "\"\\ud800\"", "\"\\udc00x\"", "\"\xff\"", "\"\xC0\xAF\"",
        "\"\xED\xA0\x80\"", "\"\t\"", "{}{}", "[1]x", "]", "[}", "{\"a\":]", "// no", "'a'"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) CHECK_MSG(check(bad[i]) == CO_E_FORMAT, "%s", bad[i]);
    CHECK(json_check("x", "1\0", 2) == CO_E_FORMAT);
}

static void test_depth(void)
{
    char deep[2 * JSON_MAX_DEPTH + 3];
    memset(deep, '[', sizeof deep);
    memset(deep + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
    CHECK(json_check("x", deep, 2 * JSON_MAX_DEPTH) == CO_OK);
    memset(deep, '[', JSON_MAX_DEPTH + 1);
    CHECK(json_check("x", deep, 2 * JSON_MAX_DEPTH) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "64 levels");
}

static void test_position(void)
{
    CHECK(check("{\n  \"a\": 1,\n  \"b\" 2}") == CO_E_FORMAT);
    CHECK_HAS(error_message(), "x:3:7: ':' is expected");
}

static void test_int(void)
{
    static const struct { const char *text; int ok; int64_t v; } cases[] = {
        {"0", 1, 0}, {"-7", 1, -7}, {"9223372036854775807", 1, INT64_MAX}, {"-9223372036854775808", 1, INT64_MIN},
        {"9223372036854775808", 0, 0}, {"99999999999999999999", 0, 0}, {"1.0", 0, 0}, {"1e3", 0, 0}, {"\"1\"", 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_reader r;
        int64_t v = -1;
        json_init(&r, "x", cases[i].text, strlen(cases[i].text));
        int rc = json_int(&r, json_next(&r), &v);
        CHECK_MSG(cases[i].ok ? rc == CO_OK && v == cases[i].v : rc == CO_E_FORMAT, "%s", cases[i].text);
        json_close(&r);
    }
}

static void test_string_round_trip(void)
{
    const char *text = "a\"b\\c\n\x01 \xC3\xA9";
    json_text t = {0};
    json_reader r;
    json_text_string(&t, text);
    json_init(&r, "x", t.text, t.len);
    CHECK(json_next(&r) == JSON_STRING);
    CHECK_STR(r.str, text);
    json_close(&r);
    json_text_free(&t);
}

/* y_: must be taken, n_: must be refused, i_: ours to decide. Deep nesting and lone surrogates are refused. */
static void test_suite(void)
{
    const char *shared = getenv("COATI_SHARED");
    char dir[4096];
    char **names;
    size_t n, seen = 0;
    snprintf(dir, sizeof dir, "%s/data/json/JSONTestSuite/test_parsing", shared ? shared : COATI_SOURCE_DIR "/../shared");
    if (!fs_is_dir(dir) || fs_list(dir, &names, &n) != CO_OK) {
        printf("skipped: %s is not there\n", dir);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        char *data, *path = fs_join(dir, names[i]);
        size_t len;
        if (fs_read_all(path, &data, &len, 1 << 24) == CO_OK) {
            int rc = json_check(names[i], data, len);
            /* \u0000 is sound JSON, but no C string can hold it */
            int nul = strstr(names[i], "null_escape") || strstr(names[i], "escaped_null") || strstr(names[i], "u+0000");
            if (names[i][0] == 'y' && !nul) CHECK_MSG(rc == CO_OK, "%s: %s", names[i], error_message());
            if (names[i][0] == 'n') CHECK_MSG(rc == CO_E_FORMAT, "%s", names[i]);
            seen++;
            mem_free(data);
        }
        mem_free(path);
    }
    fs_free_list(names, n);
    CHECK(seen > 300);
}

int main(void)
{
    test_accepts();
    test_refuses();
    test_depth();
    test_position();
    test_int();
    test_string_round_trip();
    test_suite();
    return check_done();
}
