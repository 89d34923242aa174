/* Small files with one byte changed, each in three ways, and cut short at each length: every one ends in an error or in rows, and
 * where a page's checksum covers the byte no row is read that differs. Files that claim more than they hold cost no memory. */
#include "read.h"
#include "core/base/fs.h"
#include "datasets/parquet/page.h"

enum { MOST_ROWS = 128 };

typedef struct rows {
    int64_t n;
    uint64_t hash[MOST_ROWS]; /* 0: not readable */
} rows;

static uint64_t fnv(uint64_t h, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++) h = (h ^ ((const uint8_t *)p)[i]) * 1099511628211u;
    return h;
}

/* Reads them all; the code is the last that was not CO_OK. */
static int read_rows(const uint8_t *bytes, size_t len, rows *out)
{
    static co_arena *a;
    void *self;
    int worst = pq_open_bytes(&fake_host, "file", bytes, len, 0, &self);
    if (!a) a = arena_new(1 << 16);
    memset(out, 0, sizeof *out);
    if (worst) return worst;
    CHECK(pq_count(self, &out->n) == CO_OK && out->n >= 0);
    for (int64_t i = 0; i < out->n && i < MOST_ROWS; i++) {
        co_field *f;
        uint32_t n;
        uint64_t h = 14695981039346656037u;
        int rc;
        arena_reset(a);
        rc = pq_read(self, i, a, &f, &n);
        if (rc) {
            worst = rc;
            continue;
        }
        for (uint32_t k = 0; k < n; k++) h = fnv(fnv(h, f[k].name, strlen(f[k].name) + 1), f[k].data, f[k].len + 1);
        out->hash[i] = h | 1;
    }
    pq_close(self);
    return worst;
}

/* Marks the bytes that a checksum covers: the pages stand one behind the other from byte 4 on. */
static size_t mark_covered(const uint8_t *file, size_t len, uint8_t *covered)
{
    size_t at = 4, n = 0;
    pq_header h;
    pq_fault fault;
    while (at < len && !pq_header_read(file + at, file + len - 8, &h, &fault)) {
        if (h.has_crc) memset(covered + (h.body - file), 1, h.stored), n += h.stored;
        at = (size_t)(h.body - file) + h.stored;
    }
    return n;
}

static void test_damage(const char *path)
{
    static const uint8_t flips[] = { 0x01, 0x80, 0xFF };
    static rows good, got;
    char *text;
    uint8_t *file, *covered;
    size_t len, n_covered, footer, silent = 0;
    CHECK(fs_read_all(path, &text, &len, 1 << 20) == CO_OK);
    file = malloc(len); /* of its own size, so that a sanitizer sees one byte too many */
    memcpy(file, text, len);
    covered = calloc(1, len);
    footer = len - 8 - pq_le32(file + len - 8);
    n_covered = mark_covered(file, len, covered);
    CHECK(read_rows(file, len, &good) == CO_OK && good.n > 0);
    for (size_t i = 0; i < len; i++) {
        for (size_t k = 0; k < sizeof flips; k++) {
            int rc, differ = 0;
            file[i] ^= flips[k];
            rc = read_rows(file, len, &got);
            file[i] ^= flips[k];
            CHECK_MSG(rc == CO_OK || rc == CO_E_FORMAT, "%s: byte %zu: %d: %s", path, i, rc, error_message());
            if (rc == CO_E_FORMAT) CHECK(strstr(error_message(), "file: ") == error_message() && strlen(error_message()) > 20);
            for (int64_t r = 0; r < good.n && r < MOST_ROWS; r++) differ += got.hash[r] && got.hash[r] != good.hash[r];
            if (covered[i]) CHECK_MSG(rc == CO_E_FORMAT && !differ, "%s: byte %zu, in a page with a checksum: rows differ", path, i);
            /* a page's header has none: these files' fields guard each other */
            if (n_covered && i < footer) CHECK_MSG(!differ, "%s: byte %zu, in a page's header: rows differ", path, i);
            silent += !rc && differ;
        }
    }
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *part = malloc(cut ? cut : 1);
        memcpy(part, file, cut);
        CHECK_MSG(read_rows(part, cut, &got) == CO_E_FORMAT, "%s: read after %zu of %zu bytes", path, cut, len);
        free(part);
    }
    printf("%s: %zu bytes, %zu under a checksum; %zu of %zu changes elsewhere give other rows\n", strrchr(path, '/') + 1, len, n_covered,
           silent, 3 * (len - n_covered));
    free(file);
    free(covered);
    mem_free(text);
}

/* Thrift's variable-length numbers, zigzag. */
static size_t put_number(uint8_t *p, int64_t v)
{
    uint64_t u = (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
    size_t n = 0;
    for (; u > 127; u >>= 7) p[n++] = (uint8_t)(u | 128);
    p[n++] = (uint8_t)u;
    return n;
}

/* A file of one column of required INT32 or text, one page of `values` values: its body is `body`, unpacked it claims `size`. */
static size_t put_file(uint8_t *p, int type, int codec, int encoding, int64_t values, int64_t size, const char *body, size_t body_len)
{
    size_t n = 4, footer;
    memcpy(p, "PAR1", 4);
    p[n++] = 0x15, p[n++] = 0; /* page type: data */
    p[n++] = 0x15, n += put_number(p + n, size);
    p[n++] = 0x15, n += put_number(p + n, (int64_t)body_len);
    p[n++] = 0x2C; /* data page header */
    p[n++] = 0x15, n += put_number(p + n, values);
    p[n++] = 0x15, n += put_number(p + n, encoding);
    p[n++] = 0x15, p[n++] = 6, p[n++] = 0x15, p[n++] = 6, p[n++] = 0, p[n++] = 0;
    memcpy(p + n, body, body_len);
    footer = n += body_len;
    memcpy(p + n, "\x15\x02\x19\x2C\x48\x01r\x15\x02\x00", 10), n += 10; /* version, schema: root of 1 */
    p[n++] = 0x15, n += put_number(p + n, type), memcpy(p + n, "\x25\x00\x18\x01v\x00", 6), n += 6;
    p[n++] = 0x16, n += put_number(p + n, values); /* rows */
    memcpy(p + n, "\x19\x1C\x19\x1C\x3C", 5), n += 5; /* one group, one chunk, its metadata */
    p[n++] = 0x15, n += put_number(p + n, type);
    p[n++] = 0x35, n += put_number(p + n, codec);
    p[n++] = 0x16, n += put_number(p + n, values);
    p[n++] = 0x26, n += put_number(p + n, (int64_t)(footer - 4));
    p[n++] = 0x26, n += put_number(p + n, 4), p[n++] = 0, p[n++] = 0;
    p[n++] = 0x26, n += put_number(p + n, values), p[n++] = 0, p[n++] = 0;
    for (size_t i = 0; i < 4; i++) p[n + i] = (uint8_t)((n - footer) >> 8 * i);
    memcpy(p + n + 4, "PAR1", 4);
    return n + 8;
}

enum { INT32 = 1, TEXT = 6, BOOLEAN = 0, PLAIN = 0, RLE = 3, DELTA = 5, PREFIXES = 7, NONE = 0, SNAPPY = 1, ZSTD = 6 };

static int first_row(const uint8_t *bytes, size_t len, char *out, size_t cap)
{
    void *self;
    co_arena *a = arena_new(1 << 12);
    co_field *f;
    uint32_t n;
    int rc = pq_open_bytes(&fake_host, "file", bytes, len, 0, &self);
    CHECK_MSG(rc == CO_OK, "%s", error_message());
    if (!rc) {
        rc = pq_read(self, 0, a, &f, &n);
        if (!rc) snprintf(out, cap, "%s", f[0].data);
        pq_close(self);
    }
    arena_free(a);
    return rc;
}

static void expect_claim(int type, int codec, int encoding, int64_t values, int64_t size, const char *body, size_t body_len, const char *part)
{
    static uint8_t file[32768];
    char row[64] = "";
    mem_counts before, after;
    const size_t len = put_file(file, type, codec, encoding, values, size, body, body_len);
    int rc;
    mem_count(&before);
    rc = first_row(file, len, row, sizeof row);
    mem_count(&after);
    CHECK_MSG(rc == CO_E_FORMAT, "%d: %s", rc, row);
    if (rc) CHECK_HAS(error_message(), part);
    CHECK(after.peak_bytes < before.peak_bytes + PQ_PAGE_BUDGET + (1 << 20) && after.live_bytes <= before.live_bytes);
}

static void test_claims(void)
{
    static uint8_t file[32768];
    static char bomb[32768];
    char row[64];
    CHECK(first_row(file, put_file(file, INT32, NONE, PLAIN, 1, 4, "\x07\0\0\0", 4), row, sizeof row) == CO_OK);
    CHECK_STR(row, "7"); /* the maker of these files is sound */
    expect_claim(INT32, NONE, PLAIN, INT32_MAX, 4, "\x07\0\0\0", 4, "expected 2147483647 values");
    expect_claim(INT32, SNAPPY, PLAIN, 1, INT32_MAX, "\x07\0\0\0", 4, "more than the 256 MiB");
    expect_claim(INT32, ZSTD, PLAIN, 1, 200 << 20, "\x07\0\0\0", 4, "zstd are damaged");
    expect_claim(TEXT, NONE, PLAIN, INT32_MAX, 4, "\0\0\0\0", 4, "more than the 256 MiB");
    expect_claim(BOOLEAN, NONE, RLE, INT32_MAX, 8, "\4\0\0\0\376\377\377\377", 8, "more than the 256 MiB");
    expect_claim(INT32, NONE, DELTA, INT32_MAX, 10, "\200\1\4\377\377\377\377\7\0\0", 10, "more than the 256 MiB");
    /* 30,000 strings, each all of the one before and a byte: 450 MB. */
    memcpy(bomb, "\200\200\2\4\260\352\1\0\2\0\0\0\0" "\200\200\2\4\260\352\1\2\0\0\0\0\0", 26);
    memset(bomb + 26, 'x', 30000);
    expect_claim(TEXT, NONE, PREFIXES, 30000, 30026, bomb, 30026, "more than the 256 MiB");
    CHECK(first_row(file, put_file(file, TEXT, NONE, PREFIXES, 30000, 30026, bomb, 30026), row, sizeof row) == CO_E_FORMAT);
    memcpy(bomb, "\200\200\2\4\20\0\2\0\0\0\0" "\200\200\2\4\20\2\0\0\0\0\0", 22); /* and 16 of them are sound */
    memset(bomb + 22, 'x', 16);
    CHECK(first_row(file, put_file(file, TEXT, NONE, PREFIXES, 16, 38, bomb, 38), row, sizeof row) == CO_OK);
    CHECK_STR(row, "x");
}

int main(void)
{
    static const char *const corpus[] = { "dictionary", "chat", "delta", "prefixes", "map", "text_snappy" };
    char path[1024];
    for (size_t i = 0; i < sizeof corpus / sizeof *corpus; i++) {
        snprintf(path, sizeof path, "%s/tests/fuzz/parquet/%s.parquet", COATI_SOURCE_DIR, corpus[i]);
        test_damage(path);
    }
    snprintf(path, sizeof path, "%s/tests/parquet/files/quickstart.parquet", COATI_SOURCE_DIR);
    test_damage(path);
    test_claims();
    return check_done();
}
