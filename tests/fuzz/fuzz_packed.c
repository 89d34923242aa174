/* fuzz_packed.c: any bytes as a compressed file of JSON Lines, and, where they begin like one, as the cache's index of a text.
 *
 * Holds for every input: a file opens or is refused as CO_E_FORMAT with a message; what opens as gzip is what zlib's own reader
 * unpacks; its records read or are refused as those of any file. An index is believed or not; one that is believed gives records
 * within the text, whatever its numbers. Its hashes are put right first, so that the numbers are what is tried. */
#include "fields.h"
#include "../data/fake_host.h"
#include "datasets/json/file.h"
#include "datasets/source/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

enum { HEAD = 96, POINTS_HASH = 80, HEAD_HASH = 88, TEXT = 20000, MOST_RECORDS = 50 }; /* of points.c's file */

static int write_all(const char *name, const uint8_t *data, size_t size, char *path, size_t cap)
{
    const int fd = memfd_create(name, MFD_CLOEXEC);
    HOLDS(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, cap, "/proc/self/fd/%d", fd);
    return fd;
}

static void check_index(const uint8_t *data, size_t size)
{
    static char text[TEXT];
    const lines_rules r = { .form = LINES_EACH };
    source s = { .host = &fake_host, .path = (char *)(uintptr_t) "text", .key = { TEXT, 1, 2 }, .data = (const uint8_t *)text, .len = TEXT };
    points ps = { 0 };
    char path[64];
    uint8_t *right = malloc(size);
    if (!text[0])
        for (size_t i = 0; i < TEXT; i++) text[i] = i % 23 == 22 ? '\n' : i % 7 ? 'a' : ' ';
    HOLDS(right);
    memcpy(right, data, size);
    uint64_t h = hash_bytes(right + HEAD, size - HEAD, 0);
    memcpy(right + POINTS_HASH, &h, 8);
    h = hash_bytes(right, HEAD_HASH, 0);
    memcpy(right + HEAD_HASH, &h, 8);
    const int fd = write_all("index", right, size, path, sizeof path), rc = points_load_file(&s, path, 7, &ps);
    HOLDS(rc == CO_OK || rc == CO_END);
    for (int64_t i = 0; rc == CO_OK && i < ps.records && i < MOST_RECORDS; i++) {
        size_t from;
        const line_span span = lines_find(&s, &r, &ps, ps.records - 1 - i * (ps.records / MOST_RECORDS + 1) > 0 ? ps.records - 1 - i : i, &from);
        HOLDS(from < TEXT && span.begin <= span.end && span.end <= TEXT);
    }
    if (rc == CO_OK) points_close(&fake_host, &ps);
    close(fd);
    free(right);
}

/* The text that zlib's own file reader gives, or -1. */
static int64_t gzread_all(const char *path, uint8_t *out, size_t cap)
{
    gzFile g = gzopen(path, "rb");
    int n = g ? gzread(g, out, (unsigned)cap) : -1, err = 0;
    if (g) (void)gzerror(g, &err);
    if (g && gzclose(g) != Z_OK) n = -1;
    return err != Z_OK && err != Z_STREAM_END ? -1 : n;
}

static void check_file(const uint8_t *data, size_t size)
{
    static uint8_t text[1 << 20];
    char path[64];
    const int fd = write_all("packed", data, size, path, sizeof path);
    const co_dataset_common o = { path, 0 };
    void *self = NULL;
    const int rc = json_file_open(&fake_host, &o, JSON_FILE_LINES, &self);
    HOLDS(rc == CO_OK || rc == CO_E_FORMAT);
    if (rc == CO_OK) {
        const json_file *f = self;
        co_arena *a = arena_new(1 << 12);
        int64_t n = 0;
        if (f->src.packing == SOURCE_GZIP) {
            const int64_t len = gzread_all(path, text, sizeof text);
            HOLDS(len == (int64_t)f->src.len && !(len && memcmp(text, f->src.data, (size_t)len)));
        }
        HOLDS(json_file_count(self, &n) == CO_OK);
        for (int64_t i = 0; i < n && i < MOST_RECORDS; i++) {
            co_field *fields;
            uint32_t n_f;
            const int got = json_file_read(self, i, a, &fields, &n_f);
            HOLDS(got == CO_OK || got == CO_E_FORMAT);
            if (got == CO_OK) check_fields(fields, n_f);
        }
        arena_free(a);
        json_file_close(self);
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= HEAD && !memcmp(data, "coidx1", 6)) check_index(data, size);
    else check_file(data, size);
    return 0;
}
