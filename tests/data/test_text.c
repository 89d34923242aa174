/* Plain text as records: files, lines, paragraphs; pieces; gzip; what is not UTF-8. */
#include "../check.h"
#include "fake_host.h"
#include "files.h"
#include "packed.h"
#include "datasets/source/lines.h"
#include "datasets/text/file.h"

static void *open_text(const char *path, int form, int64_t bytes, int64_t max, int want)
{
    const text_opts o = { { path, max }, form, bytes };
    void *self = NULL;
    const int rc = text_file_open(&fake_host, &o, &self);
    CHECK_MSG(rc == want, "%d: %s", rc, error_message());
    return rc ? NULL : self;
}

/* All records joined by '|', with the bytes a reader would get. */
static void expect(const void *data, size_t len, int form, int64_t bytes, const char *want)
{
    void *self = open_text(temp_file("t.txt", data, len), form, bytes, 0, CO_OK), *clone = NULL;
    co_arena *a = arena_new(1 << 12);
    char got[512] = "";
    int64_t n = 0;
    if (!self) return;
    CHECK(text_file_count(self, &n) == CO_OK && text_file_clone(self, &clone) == CO_OK);
    for (int64_t i = 0; i < n; i++) {
        co_field *f;
        uint32_t n_f;
        CHECK_MSG(text_file_read(clone, i, a, &f, &n_f) == CO_OK, "%s", error_message());
        CHECK(n_f == 1 && strcmp(f->name, "text") == 0 && f->type == CO_FIELD_STR && f->data[f->len] == 0);
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i ? "|" : "", f->data);
    }
    CHECK_STR(got, want);
    CHECK(text_file_read(self, n, a, NULL, NULL) == CO_END);
    text_file_close(clone);
    text_file_close(self);
    arena_free(a);
}

#define EXPECT(text, form, bytes, want) expect(text, sizeof text - 1, form, bytes, want)

static void test_not_utf8(void)
{
    static const char *const bad[] = { "\x80", "\xc0\xaf", "\xe5\xa4", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xc3(" };
    co_arena *a = arena_new(1 << 12);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[64];
        co_field *f;
        uint32_t n;
        const int len = snprintf(text, sizeof text, "good line of text\nand here %s\nfine \xe5\xa4\x8f\n", bad[i]);
        void *self = open_text(temp_file("bad.txt", text, (size_t)len), LINES_EACH, 100, 0, CO_OK);
        CHECK(text_file_read(self, 0, a, &f, &n) == CO_OK && text_file_read(self, 2, a, &f, &n) == CO_OK);
        CHECK(text_file_read(self, 1, a, &f, &n) == CO_E_FORMAT);
        CHECK_HAS(error_message(), "bad.txt: row 2 (byte 27): expected UTF-8, found byte 0x");
        text_file_close(self);
    }
    arena_free(a);
}

/* A file in pieces is the file. */
static void test_pieces(void)
{
    static char text[300000], back[300001];
    co_arena *a = arena_new(1 << 12);
    size_t n = 0;
    int64_t records = 0;
    while (n + 100 < sizeof text) n += (size_t)sprintf(text + n, "%zu: \xe5\xa4\x8f\xe5\xa4\xa9 summer%s", n, n % 7 ? " " : "\n");
    packed p = pack_gzip(text, n);
    void *self = open_text(temp_file("pieces.txt.gz", p.data, p.len), LINES_WHOLE, 5000, 0, CO_OK);
    size_t at = 0;
    CHECK(text_file_count(self, &records) == CO_OK && records > 60 && records < 80);
    for (int64_t i = 0; i < records; i++) {
        co_field *f;
        uint32_t n_f;
        arena_reset(a);
        CHECK(text_file_read(self, i, a, &f, &n_f) == CO_OK && f->len <= 5000 && f->len > 0);
        if (at + f->len <= n) memcpy(back + at, f->data, f->len);
        at += f->len;
    }
    CHECK(at == n && memcmp(back, text, n) == 0);
    text_file_close(self);
    self = open_text(temp_file("pieces.txt.gz", p.data, p.len), LINES_WHOLE, 5000, 3, CO_OK); /* max_records */
    CHECK(text_file_count(self, &records) == CO_OK && records == 3);
    text_file_close(self);
    free(p.data);
    arena_free(a);
}

int main(void)
{
    EXPECT("one\r\n\n two\n", LINES_EACH, 100, "one| two");
    EXPECT("one\ntwo\n\n\nthree", LINES_PARAGRAPHS, 100, "one\ntwo|three");
    EXPECT("\xef\xbb\xbfone\ntwo\n\n", LINES_WHOLE, 100, "one\ntwo\n\n");
    EXPECT("", LINES_WHOLE, 100, "");
    EXPECT("\n \n", LINES_WHOLE, 100, "");
    EXPECT("ab\ncd\nefgh\n", LINES_WHOLE, 6, "ab\ncd\n|efgh\n");
    test_not_utf8();
    test_pieces();
    open_text(temp_file("wide.txt", "\xff\xfeh\0i\0", 6), LINES_WHOLE, 100, 0, CO_E_FORMAT);
    CHECK_HAS(error_message(), "UTF-16");
    open_text("no-such-file.txt", LINES_WHOLE, 100, 0, CO_E_IO);
    temp_clean();
    return check_done();
}
