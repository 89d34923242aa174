/* fuzz_json.c: any bytes as a dataset file. Built for libFuzzer with -DCOATI_LIBFUZZER -fsanitize=fuzzer; otherwise a
 * test of its own that runs the corpus and seeded mutations of it.
 *
 * Holds for every input: open, count and read return a known code; a record that is read is well formed down to its
 * fields, reads the same twice, and one that is not names its row; a file that is as a whole a strict array of
 * objects has no broken record. */
#include "fields.h"
#include "../data/fake_host.h"
#include "datasets/json/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Number of elements if the bytes are a strict array of objects, else -1. */
static int64_t strict_objects(const uint8_t *data, size_t size)
{
    json_cursor c = { data, data + size, NULL };
    int64_t n = 0;
    json_skip_space(&c);
    if (c.at == c.end || *c.at != '[' || json_check_text(&c)) return -1;
    c.at = memchr(data, '[', size);
    do {
        c.at++;
        json_skip_space(&c);
        if (*c.at == ']') return n;
        if (*c.at != '{') return -1;
        (void)json_skip_value(&c);
        json_skip_space(&c);
        n++;
    } while (*c.at == ',');
    return n;
}

static void check_form(const char *path, int form, int64_t objects)
{
    co_dataset_common o = { path, 0 };
    co_arena *a = arena_new(1 << 14);
    void *self = NULL;
    int64_t n = -1;
    int rc = json_file_open(&fake_host, &o, form, &self);
    HOLDS(rc == CO_OK || rc == CO_E_FORMAT);
    if (!rc) {
        HOLDS(json_file_count(self, &n) == CO_OK && n >= 0);
        if (form == JSON_FILE_ARRAY_OR_LINES && objects >= 0) HOLDS(n == objects);
        for (int64_t i = 0; i < n; i++) {
            co_field *f = NULL, *again = NULL;
            uint32_t n_f = 0, n_again = 0;
            char row[32];
            arena_reset(a);
            rc = json_file_read(self, i, a, &f, &n_f);
            HOLDS(rc == CO_OK || (rc == CO_E_FORMAT && objects < 0));
            snprintf(row, sizeof row, "row %lld ", (long long)i + 1);
            if (rc) HOLDS(strstr(error_message(), row));
            else check_fields(f, n_f);
            HOLDS(json_file_read(self, i, a, &again, &n_again) == rc && n_again == n_f);
            check_same(f, again, n_f);
        }
        json_file_close(self);
    }
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    int fd = memfd_create("fuzz_json", MFD_CLOEXEC);
    HOLDS(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    check_form(path, JSON_FILE_ARRAY_OR_LINES, strict_objects(data, size));
    check_form(path, JSON_FILE_LINES, -1);
    close(fd);
    return 0;
}

#ifndef COATI_LIBFUZZER
#include "mutate.h"

int main(void)
{
    static const char *const words[] = { "{", "}", "[", "]", ",", ":", "\"", "\\", "\n", "\r\n", "\\u", "\\uD834\\uDD1E", "null",
                                         "true", "-0.5e9", "{\"a\":\"b\"}", "\xef\xbb\xbf", "\xe5\xa4\x8f", "\xc0", "\x01", " " };
    return mutate_corpus(COATI_SOURCE_DIR "/tests/fuzz/json", words, sizeof words / sizeof *words, 8, NULL);
}
#endif
