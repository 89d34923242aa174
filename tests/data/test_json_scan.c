/* The strict scanner: what it accepts, what it refuses and where it says the fault is; JSONTestSuite. */
#include "check.h"
#include "files.h"
#include "datasets/json/scan.h"

#include <dirent.h>

static int accepts(const char *text, size_t len)
{
    json_cursor c = { (const uint8_t *)text, (const uint8_t *)text + len, NULL };
    return !json_check_text(&c);
}

static void expect_fault(const char *text, size_t at, const char *expected)
{
    json_cursor c = { (const uint8_t *)text, (const uint8_t *)text + strlen(text), NULL };
    int rc = json_check_text(&c);
    CHECK_MSG(rc != 0, "accepted: %s", text);
    if (!rc) return;
    CHECK_MSG((size_t)(c.at - (const uint8_t *)text) == at, "%s: fault at %zu, want %zu", text,
              (size_t)(c.at - (const uint8_t *)text), at);
    CHECK_HAS(c.expected, expected);
}

static void test_faults(void)
{
    expect_fault("", 0, "a value");
    expect_fault("{\"a\" 1}", 5, "':' after a key");
    expect_fault("{\"a\":1,}", 7, "a key in double quotes");
    expect_fault("[1 2]", 3, "',' or ']'");
    expect_fault("{\"a\":1]", 6, "',' or '}'");
    expect_fault("[1,]", 3, "a value");
    expect_fault("[01]", 2, "no digit after a leading 0");
    expect_fault("[1.]", 3, "a digit after '.'");
    expect_fault("[1e+]", 4, "a digit in the exponent");
    expect_fault("[-]", 2, "a digit after '-'");
    expect_fault("[+1]", 1, "a value");
    expect_fault("[NaN]", 1, "a value");
    expect_fault("\"a\nb\"", 2, "raw control character");
    expect_fault("\"a", 2, "closing quote");
    expect_fault("\"\\x\"", 2, "after a backslash");
    expect_fault("\"\\u12G4\"", 5, "four hexadecimal digits");
    expect_fault("\"\\uD800\"", 7, "low surrogate");
    expect_fault("\"\\uD800\\u0041\"", 7, "low surrogate");
    expect_fault("\"\\uDC00\"", 1, "high surrogate");
    expect_fault("\"\xc0\x80\"", 1, "UTF-8");
    expect_fault("\"\xed\xa0\x80\"", 1, "UTF-8");
    expect_fault("\"\xf4\x90\x80\x80\"", 1, "UTF-8");
    expect_fault("\"\xe2\x82\"", 1, "UTF-8");
    expect_fault("1 2", 2, "nothing more");
}

static void test_depth(void)
{
    static char deep[2 * 513 + 1];
    memset(deep, '[', 513);
    memset(deep + 513, ']', 513);
    CHECK(accepts(deep + 1, 2 * 512));
    CHECK(!accepts(deep, 2 * 513));
}

static void expect_text(const char *json, const char *want, size_t want_len)
{
    char out[64];
    size_t n = json_decode_string((const uint8_t *)json, strlen(json), out);
    CHECK(accepts(json, strlen(json)));
    CHECK_MSG(n == want_len && !memcmp(out, want, n), "%s: %zu bytes, want %zu", json, n, want_len);
}

static void test_decode(void)
{
    expect_text("\"\"", "", 0);
    expect_text("\"plain\"", "plain", 5);
    expect_text("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8);
    expect_text("\"a\\u0000b\"", "a\0b", 3);
    expect_text("\"\\u00e9\\u20AC\"", "\xc3\xa9\xe2\x82\xac", 5);
    expect_text("\"x\\uD834\\uDD1Ey\"", "x\xf0\x9d\x84\x9ey", 6);
    expect_text("\"\\uDBFF\\uDFFF\"", "\xf4\x8f\xbf\xbf", 4);
    expect_text("\"\xe5\xa4\x8f\"", "\xe5\xa4\x8f", 3);
}

static size_t slurp(const char *path, char *buf, size_t cap)
{
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(buf, 1, cap, f) : 0;
    if (f) fclose(f);
    return n;
}

static void test_suite(void)
{
    static char buf[1 << 20];
    char path[1024];
    int n = 0;
    const char *shared = shared_dir();
    struct dirent *e;
    DIR *d;
    snprintf(path, sizeof path, "%s/data/json/JSONTestSuite/test_parsing", shared ? shared : "");
    d = shared ? opendir(path) : NULL;
    if (!d) {
        printf("skipped: JSONTestSuite (no shared data)\n");
        return;
    }
    while ((e = readdir(d)) != NULL) {
        size_t len;
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/data/json/JSONTestSuite/test_parsing/%s", shared, e->d_name);
        len = slurp(path, buf, sizeof buf);
        if (e->d_name[0] == 'y') CHECK_MSG(accepts(buf, len), "refused: %s", e->d_name);
        if (e->d_name[0] == 'n') CHECK_MSG(!accepts(buf, len), "accepted: %s", e->d_name);
        if (e->d_name[0] == 'i') (void)accepts(buf, len);
        n++;
    }
    closedir(d);
    CHECK_MSG(n == 318, "%d files", n);
}

int main(void)
{
    test_faults();
    test_depth();
    test_decode();
    test_suite();
    return check_done();
}
