/* Compressed files: the same records as the text itself; what is cut or damaged is told; copies kept in the cache are checked. */
#include "../check.h"
#include "fake_host.h"
#include "files.h"
#include "packed.h"
#include "datasets/json/file.h"
#include "datasets/source/cache.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utime.h>

static const char text[] = "{\"a\":\"one\"}\n\n{\"a\":\"two \\u590f\"}\r\n{\"a\":3, \"b\":[1,{\"c\":2}]}\n";
enum { TEXT_LEN = sizeof text - 1 };

static int open_bytes(const co_host *h, const char *name, packed p, void **self)
{
    const co_dataset_common o = { temp_file(name, p.data, p.len), 0 };
    *self = NULL;
    return json_file_open(h, &o, JSON_FILE_LINES, self);
}

static void check_three(void *self)
{
    static const char *const want[] = { "one", "two \xe5\xa4\x8f", "3" };
    co_arena *a = arena_new(1 << 12);
    int64_t n = 0;
    CHECK(json_file_count(self, &n) == CO_OK && n == 3);
    for (int64_t i = 0; i < 3 && i < n; i++) {
        co_field *f;
        uint32_t n_f;
        CHECK_MSG(json_file_read(self, i, a, &f, &n_f) == CO_OK, "%s", error_message());
        CHECK(n_f >= 1 && strcmp(f[0].name, "a") == 0 && strcmp(f[0].data, want[i]) == 0);
    }
    arena_free(a);
    json_file_close(self);
}

static void test_read(packed p)
{
    void *self;
    CHECK_MSG(open_bytes(&fake_host, "plain-name.jsonl", p, &self) == CO_OK, "%s", error_message()); /* told by content */
    if (self) check_three(self);
    free(p.data);
}

/* Cut at any length: an error that says so; never fewer records. */
static void test_cut(packed p, const char *what)
{
    for (size_t n = 6; n < p.len; n++) {
        void *self;
        CHECK_MSG(open_bytes(&fake_host, "cut.gz", (packed){ p.data, n }, &self) == CO_E_FORMAT, "%s cut at %zu", what, n);
        CHECK(strstr(error_message(), "cut short") && strstr(error_message(), what));
        if (self) json_file_close(self);
    }
    free(p.data);
}

/* Any byte changed: an error, or the same text (a gzip header has bytes that mean nothing to us). */
static void test_damage(packed p, const char *what)
{
    int refused = 0;
    for (size_t i = 0; i < p.len; i++) {
        void *self;
        p.data[i] ^= 0x10;
        const int rc = open_bytes(&fake_host, "damaged.jsonl", p, &self);
        CHECK_MSG(rc == CO_OK || rc == CO_E_FORMAT, "%s byte %zu: %d %s", what, i, rc, error_message());
        if (rc == CO_OK && i >= 10) check_three(self);
        else if (self) json_file_close(self);
        refused += rc != CO_OK;
        p.data[i] ^= 0x10;
    }
    CHECK_MSG(refused > (int)p.len - 12, "%s: %d of %zu refused", what, refused, p.len);
    free(p.data);
}

static void expect(packed p, const char *message)
{
    void *self;
    CHECK(open_bytes(&fake_host, "bad.jsonl", p, &self) == CO_E_FORMAT);
    CHECK_MSG(strstr(error_message(), message), "%s", error_message());
    free(p.data);
}

static void test_places(void)
{
    static const char broken[] = "{\"a\":1}\n{\"a\":}\n";
    packed p = pack_gzip(broken, sizeof broken - 1);
    co_arena *a = arena_new(1 << 12);
    co_field *f;
    uint32_t n;
    void *self;
    CHECK(open_bytes(&fake_host, "b.jsonl.gz", p, &self) == CO_OK);
    CHECK(json_file_read(self, 1, a, &f, &n) == CO_E_FORMAT);
    CHECK_MSG(strstr(error_message(), "row 2 (line 2, byte 13 of the unpacked text): expected a value, found '}'"), "%s", error_message());
    json_file_close(self);
    arena_free(a);
    free(p.data);
}

/* ---- the cache folder ---------------------------------------------------------------------------------------------- */
static co_cache cache = { .struct_size = sizeof(co_cache), .may_write = 1, .folder = NULL };
static const void *cached_extension(const co_host *h, const char *id) { return (void)h, strcmp(id, CO_CACHE_ID) == 0 ? &cache : NULL; }

/* Over SOURCE_CACHE_FROM also when it is packed. */
static char *large(size_t *len)
{
    const size_t want = 12 << 20;
    char *s = malloc(want + 256);
    uint64_t x = 88172645463325252u;
    if (!s) abort();
    for (*len = 0; *len < want;) {
        *len += (size_t)sprintf(s + *len, "{\"n\":%zu,\"t\":\"", *len);
        for (int i = 0; i < 60; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            s[(*len)++] = (char)(' ' + 1 + x % 90 + (x % 90 == 1) + (x % 90 == 59)); /* no '"', no '\\' */
        }
        *len += (size_t)sprintf(s + *len, "\"}\n");
    }
    return s;
}

static int64_t count(const co_host *h, const char *path, void **self)
{
    const co_dataset_common o = { path, 0 };
    int64_t n = -1;
    CHECK_MSG(json_file_open(h, &o, JSON_FILE_LINES, self) == CO_OK, "%s", error_message());
    CHECK(json_file_count(*self, &n) == CO_OK);
    return n;
}

static int read_at(void *self, int64_t i)
{
    co_arena *a = arena_new(1 << 12);
    co_field *f;
    uint32_t n;
    const int rc = json_file_read(self, i, a, &f, &n);
    arena_free(a);
    return rc;
}

static void flip(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    int c;
    CHECK(f && !fseek(f, at, SEEK_SET) && (c = fgetc(f)) != EOF && !fseek(f, at, SEEK_SET) && fputc(c ^ 1, f) != EOF);
    if (f) fclose(f);
}

/* Ranks of a run open one file at the same time: each gets all of it, and one copy is left, without anything half written. */
static void test_together(const co_host *h, const char *path, int64_t n)
{
    enum { RANKS = 4 };
    pid_t child[RANKS];
    struct dirent *e;
    int files = 0, halves = 0;
    DIR *d;
    CHECK(!system("rm -rf test_source_cache.tmp"));
    for (int i = 0; i < RANKS; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            void *self;
            check_failed = 0;
            const int64_t got = count(h, path, &self);
            const int rc = got == n ? read_at(self, n - 1) : -1;
            json_file_close(self);
            _exit(rc || check_failed);
        }
    }
    for (int i = 0; i < RANKS; i++) {
        int status = 1;
        CHECK(child[i] > 0 && waitpid(child[i], &status, 0) == child[i] && status == 0);
    }
    d = opendir(cache.folder);
    CHECK(d);
    while (d && (e = readdir(d))) {
        files += strstr(e->d_name, ".text") != NULL;
        halves += strstr(e->d_name, ".tmp") != NULL;
    }
    if (d) closedir(d);
    CHECK_MSG(files == 1 && halves == 0, "%d copies, %d half written", files, halves);
}

static void test_copies(int zstd)
{
    co_host h = fake_host;
    size_t len;
    char *s = large(&len), path[256], *kept;
    packed p = zstd ? pack_zstd(s, len) : pack_gzip(s, len);
    struct stat first, second;
    void *self;
    int64_t n, again;
    h.extension = cached_extension;
    snprintf(path, sizeof path, "%s", temp_file("large.jsonl.gz", p.data, p.len));
    CHECK(p.len > SOURCE_CACHE_FROM);
    cache.folder = "test_source_cache.tmp/a/b";
    n = count(&fake_host, path, &self); /* no folder: unnamed */
    json_file_close(self);
    CHECK(n > 100000);

    cache.may_write = 0; /* a look leaves nothing behind */
    CHECK(count(&h, path, &self) == n && !((json_file *)self)->src.sums && access(cache.folder, F_OK) != 0);
    json_file_close(self);
    cache.may_write = 1;

    CHECK(count(&h, path, &self) == n); /* made, and used at once */
    CHECK(((json_file *)self)->src.sums);
    kept = strdup(((json_file *)self)->src.copy);
    CHECK(!stat(kept, &first));
    json_file_close(self);
    CHECK(count(&h, path, &self) == n && !stat(kept, &second) && first.st_ino == second.st_ino);
    CHECK(((json_file *)self)->index.mapped); /* and the index is the kept one too */
    for (int64_t i = 0; i < n; i += 997) CHECK_MSG(read_at(self, i) == CO_OK, "%s", error_message());
    json_file_close(self);

    flip(kept, 100); /* text: found when it is read, and gone at the next start */
    again = count(&h, path, &self);
    CHECK(again == n && read_at(self, n - 1) == CO_OK && read_at(self, 1) == CO_E_IO && strstr(error_message(), "start again"));
    json_file_close(self);
    CHECK(access(kept, F_OK) != 0);
    CHECK(count(&h, path, &self) == n && read_at(self, 1) == CO_OK);
    json_file_close(self);

    CHECK(!stat(kept, &first));
    for (int k = 0; k < 3; k++) { /* sums, end, cut: made anew */
        if (k == 2) CHECK(!truncate(kept, (off_t)len - 5));
        else flip(kept, k ? (long)first.st_size - 20 : (long)len + 3);
        CHECK(count(&h, path, &self) == n && read_at(self, 1) == CO_OK && !stat(kept, &second) && second.st_size == first.st_size);
        json_file_close(self);
    }

    struct utimbuf t = { 1000, 1000 }; /* changed since: made anew */
    CHECK(!stat(kept, &first) && !utime(path, &t) && count(&h, path, &self) == n && !stat(kept, &second) && first.st_ino != second.st_ino);
    json_file_close(self);
    test_together(&h, path, n);
    free(kept);
    free(p.data);
    free(s);
    CHECK(!system("rm -rf test_source_cache.tmp"));
}

/* A frame of one raw block, whose window is 2^log bytes. */
static packed pack_window(int log)
{
    packed p = { malloc(9 + TEXT_LEN), 9 + TEXT_LEN };
    const unsigned block = TEXT_LEN << 3 | 1;
    const unsigned char head[] = { 0x28, 0xb5, 0x2f, 0xfd, 0, (unsigned char)((log - 10) << 3), (unsigned char)block, (unsigned char)(block >> 8), 0 };
    if (!p.data) abort();
    memcpy(p.data, head, sizeof head);
    memcpy(p.data + sizeof head, text, TEXT_LEN);
    return p;
}

int main(void)
{
    test_read(pack_gzip(text, TEXT_LEN));
    test_read(pack_zstd(text, TEXT_LEN));
    test_read(pack_join(pack_gzip(text, 20), pack_gzip(text + 20, TEXT_LEN - 20))); /* members and frames behind each other */
    test_read(pack_join(pack_zstd(text, 20), pack_zstd(text + 20, TEXT_LEN - 20)));
    packed zeros = { calloc(1, 700), 700 };
    test_read(pack_join(pack_gzip(text, TEXT_LEN), zeros));
    packed skippable = { malloc(12), 12 };
    memcpy(skippable.data, "\x51\x2a\x4d\x18\x04\0\0\0abcd", 12);
    test_read(pack_join(skippable, pack_zstd(text, TEXT_LEN)));
    test_read(pack_window(28)); /* zstd --long=28: above what zstd takes unasked */
    test_read(pack_window(31));
    expect(pack_window(32), "above 2^31 bytes, the most that is read; pack it again with --long=31 or less");
    test_cut(pack_gzip(text, TEXT_LEN), "gzip");
    test_cut(pack_zstd(text, TEXT_LEN), "zstd");
    test_damage(pack_gzip(text, TEXT_LEN), "gzip");
    test_damage(pack_zstd(text, TEXT_LEN), "zstd");
    packed more = { malloc(5), 5 };
    memcpy(more.data, "hello", 5);
    expect(pack_join(pack_gzip(text, TEXT_LEN), more), "the gzip stream is damaged");
    packed bz = { malloc(8), 8 };
    memcpy(bz.data, "BZh91AY&", 8);
    expect(bz, "compressed (bzip2)");
    test_places();
    test_copies(0);
    test_copies(1);
    temp_clean();
    return check_done();
}
