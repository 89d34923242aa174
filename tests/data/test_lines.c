/* The index of lines, paragraphs and pieces: equal to a plain walk whatever the chunks and threads; kept, and never believed when
 * anything in it is wrong. */
#include "../check.h"
#include "fake_host.h"
#include "datasets/source/lines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static source source_of(const char *s, size_t len) { return (source){ .host = &fake_host, .path = (char *)(uintptr_t) "text", .data = (const uint8_t *)s, .len = len }; }

enum { MOST = 4096 };

/* The records by walking from the start. */
static int walk(const source *s, const lines_rules *r, line_span *out)
{
    int n = 0;
    size_t at = r->body;
    while (n < MOST && lines_next(s, r, at, &out[n])) at = out[n++].next;
    return n;
}

static void check_index(const source *s, const lines_rules *r)
{
    static line_span want[MOST];
    const int n = walk(s, r, want);
    for (size_t chunk = 1; chunk < s->len + 2; chunk += chunk < 12 ? 1 : 61)
        for (int threads = 1; threads <= 7; threads += 6) {
            points ps;
            int complete;
            CHECK(lines_scan(s, r, 0, chunk, threads, &ps, &complete) == CO_OK && complete);
            CHECK_MSG(ps.records == n, "form %d, max %zu, chunk %zu, %d threads: %lld records, not %d", r->form, r->max_bytes, chunk, threads, (long long)ps.records, n);
            for (int i = 0; i < n && ps.records == n; i++) {
                size_t from;
                const line_span got = lines_find(s, r, &ps, i, &from);
                CHECK(got.begin == want[i].begin && got.end == want[i].end && from <= got.begin);
            }
            points_close(&fake_host, &ps);
        }
}

static void expect(const char *text, lines_rules r, const char *records) /* joined by '|' */
{
    const source s = source_of(text, strlen(text));
    static line_span span[MOST];
    char got[1024] = "";
    const int n = walk(&s, &r, span);
    for (int i = 0; i < n; i++) snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.*s", i ? "|" : "", (int)(span[i].end - span[i].begin), text + span[i].begin);
    CHECK_MSG(strcmp(got, records) == 0, "%s", got);
}

static void test_meaning(void)
{
    const lines_rules each = { .form = LINES_EACH }, para = { .form = LINES_PARAGRAPHS }, whole = { .form = LINES_WHOLE };
    expect("one\n\n  two \r\n \t\nthree", each, "one|  two|three");
    expect("", each, "");
    expect(" \n\t\r\n", each, "");
    expect("a\nb\n\nc\r\n \r\n\r\n  d\ne", para, "a\nb|c|  d\ne");
    expect("\n\na\n\n\n", para, "a");
    expect("a\n\nb\n", whole, "a\n\nb\n");
    expect(" \n \n", whole, "");
    /* pieces: after a line if there is one, else between characters */
    expect("abcdefgh\nij", (lines_rules){ .form = LINES_EACH, .max_bytes = 3 }, "abc|def|gh|ij");
    expect("a\xe5\xa4\x8f\xe5\xa4\x8f", (lines_rules){ .form = LINES_EACH, .max_bytes = 6 }, "a\xe5\xa4\x8f|\xe5\xa4\x8f");
    expect("ab\ncd\nefg\n", (lines_rules){ .form = LINES_WHOLE, .max_bytes = 6 }, "ab\ncd\n|efg\n");
    expect("ab\ncd\nef\n\nx", (lines_rules){ .form = LINES_PARAGRAPHS, .max_bytes = 6 }, "ab\ncd\n|ef|x");
    expect("\x80\x80\x80\x80\x80\x80", (lines_rules){ .form = LINES_EACH, .max_bytes = 4 }, "\x80\x80\x80\x80|\x80\x80");
}

static void test_any_text(void)
{
    static const char *const words[] = { "a", "bc", "\n", "\n", "\n\n", " ", "\r\n", "\t", "\xe5\xa4\x8f", "\xf0\x9f\x98\x80", "          ", "\n \n", "xyzxyzxyzxyzxyz" };
    uint64_t x = 88172645463325252u;
    for (int round = 0; round < 24; round++) {
        char text[1200];
        size_t n = 0;
        while (n < (size_t)(round * 8 + 5)) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            const char *w = words[x % (sizeof words / sizeof *words)];
            memcpy(text + n, w, strlen(w));
            n += strlen(w);
        }
        const source s = source_of(text, n);
        for (int form = LINES_EACH; form <= LINES_WHOLE; form++)
            for (size_t max = 0; max < 30; max = max ? max * 3 : 4) {
                const lines_rules r = { .form = (lines_form)form, .max_bytes = max, .body = round % 7 == 3 ? 3 : 0 };
                check_index(&s, &r);
            }
    }
}

/* A text long enough for several points. */
static void test_limit(void)
{
    static char text[(1 << 16) + 1];
    const lines_rules r = { .form = LINES_EACH };
    points ps;
    int complete;
    for (size_t i = 0; i + 8 < sizeof text; i += 8) snprintf(text + i, 9, "%07zu\n", i / 8 % 10000000);
    const source s = source_of(text, sizeof text - 1);
    CHECK(lines_scan(&s, &r, 0, 5000, 2, &ps, &complete) == CO_OK && ps.records == 8192 && ps.n >= 13);
    points_close(&fake_host, &ps);
    CHECK(lines_scan(&s, &r, 1500, 5000, 1, &ps, &complete) == CO_OK && !complete && ps.records >= 1500 && ps.records < 2200); /* reads no further */
    points_close(&fake_host, &ps);
}

/* ---- the cache file ------------------------------------------------------------------------------------------------- */
static co_cache cache = { .struct_size = sizeof(co_cache), .may_write = 1, .folder = "test_lines_cache.tmp" };
static const void *extension(const co_host *h, const char *id) { return (void)h, strcmp(id, CO_CACHE_ID) == 0 ? &cache : NULL; }

static int load(const source *s, const char *path, const unsigned char *bytes, size_t n, uint64_t rules)
{
    points ps = { 0 };
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, n, f) == n && !fclose(f));
    const int rc = points_load_file(s, path, rules, &ps);
    if (rc == CO_OK) points_close(s->host, &ps);
    return rc;
}

static void test_cache(void)
{
    co_host h = fake_host;
    point at[] = { { 3, 0 }, { 5000, 70 }, { 10000, 90 } };
    const points ps = { .p = at, .n = 3, .records = 95, .note = { 1, 2 } };
    unsigned char bytes[1024];
    size_t n;
    FILE *f;
    h.extension = extension;
    source s = { .host = &h, .path = (char *)(uintptr_t) "large.jsonl", .key = { 20000, 1, 2 }, .data = (const uint8_t *)"", .len = 20000 };
    points got = { 0 };
    CHECK(points_load(&s, "lines", 7, &got) == CO_END);
    points_save(&s, "lines", 7, &ps);
    CHECK(points_load(&s, "lines", 7, &got) == CO_OK && got.n == 3 && got.records == 95 && got.note[1] == 2 && !memcmp(got.p, at, sizeof at));
    points_close(&h, &got);
    CHECK(points_load(&s, "lines", 8, &got) == CO_END); /* other rules */
    for (int i = 0; i < 3; i++) {                       /* another content */
        source other = s;
        (i == 0 ? &other.key.size : i == 1 ? &other.key.mtime_ns : &other.key.sampled)[0]++;
        CHECK(points_load(&other, "lines", 7, &got) == CO_END);
    }
    CHECK(!system("mv test_lines_cache.tmp/*.lines test_lines_cache.tmp/kept"));
    f = fopen("test_lines_cache.tmp/kept", "rb");
    n = f ? fread(bytes, 1, sizeof bytes, f) : 0;
    if (f) fclose(f);
    CHECK(n > 100 && load(&s, "test_lines_cache.tmp/x", bytes, n, 7) == CO_OK);
    for (size_t len = 0; len < n; len++) CHECK(load(&s, "test_lines_cache.tmp/x", bytes, len, 7) == CO_END);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        CHECK_MSG(load(&s, "test_lines_cache.tmp/x", bytes, n, 7) == CO_END, "bit %zu is believed", bit);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    /* whole, and yet impossible for the text */
    for (int i = 0; i < 5; i++) {
        point wrong[] = { at[0], at[1], at[2] };
        points lie = { .p = wrong, .n = 3, .records = 95 };
        if (i == 0) wrong[1].at = 2;
        if (i == 1) wrong[1].record = 0;
        if (i == 2) wrong[2].at = 20000;
        if (i == 3) lie.records = 90;
        if (i == 4) wrong[0].record = 1;
        points_save(&s, "lines", 7, &lie);
        CHECK_MSG(points_load(&s, "lines", 7, &got) == CO_END, "lie %d is believed", i);
    }
    CHECK(!system("rm -rf test_lines_cache.tmp"));
}

int main(void)
{
    test_meaning();
    test_any_text();
    test_limit();
    test_cache();
    return check_done();
}
