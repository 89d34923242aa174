/* fuzz_json.c: any bytes as a dataset file. Built for libFuzzer with -DCOATI_LIBFUZZER -fsanitize=fuzzer; otherwise a
 * test of its own that runs the corpus and seeded mutations of it.
 *
 * Holds for every input: open, count and read return a known code; a record that is read is well formed down to its
 * fields, reads the same twice, and one that is not names its row; a file that is as a whole a strict array of
 * objects has no broken record. */
#include "../data/fake_host.h"
#include "datasets/json/file.h"
#include "datasets/json/scan.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(cond)                                                                                           \
    do {                                                                                                      \
        if (!(cond)) fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #cond), abort();       \
    } while (0)

static void check_fields(const co_field *f, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        HOLDS(f[i].data[f[i].len] == 0);
        for (uint32_t k = 0; k < i; k++) HOLDS(strcmp(f[i].name, f[k].name));
        if (f[i].type == CO_FIELD_JSON) {
            json_cursor c = { (const uint8_t *)f[i].data, (const uint8_t *)f[i].data + f[i].len, NULL };
            HOLDS(f[i].len && f[i].data[0] != '"' && !json_check_text(&c));
        }
    }
}

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
            for (uint32_t k = 0; k < n_f; k++)
                HOLDS(f[k].len == again[k].len && !memcmp(f[k].data, again[k].data, f[k].len));
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
enum { INPUT_CAP = 1 << 16, MUTATIONS = 1500 };

static uint64_t state = 88172645463325252u; /* xorshift64: the same mutations every time */

static size_t draw(size_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return n ? (size_t)(state % n) : 0;
}

static size_t mutate(uint8_t *d, size_t n)
{
    static const char *const words[] = { "{", "}", "[", "]", ",", ":", "\"", "\\", "\n", "\r\n", "\\u", "\\uD834\\uDD1E", "null",
                                         "true", "-0.5e9", "{\"a\":\"b\"}", "\xef\xbb\xbf", "\xe5\xa4\x8f", "\xc0", "\x01", " " };
    size_t at = draw(n + 1), len;
    switch (draw(4)) {
    case 0:
        if (at < n) d[at] = (uint8_t)draw(256);
        break;
    case 1:
        len = draw(n - at + 1) % 16;
        memmove(d + at, d + at + len, n - at - len);
        return n - len;
    default: {
        const char *w = words[draw(sizeof words / sizeof *words)];
        len = strlen(w);
        if (n + len > INPUT_CAP) break;
        memmove(d + at + len, d + at, n - at);
        memcpy(d + at, w, len);
        return n + len;
    }
    }
    return n;
}

int main(int argc, char **argv)
{
    static uint8_t seed[INPUT_CAP], input[INPUT_CAP];
    const char *dir = argc > 1 ? argv[1] : COATI_SOURCE_DIR "/tests/fuzz/json";
    struct dirent *e;
    int files = 0;
    DIR *d = opendir(dir);
    if (!d) return fprintf(stderr, "%s: cannot be opened\n", dir), 1;
    while ((e = readdir(d)) != NULL) {
        char path[4096];
        FILE *f;
        size_t n;
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        f = fopen(path, "rb");
        if (!f) continue;
        n = fread(seed, 1, sizeof seed / 2, f);
        fclose(f);
        LLVMFuzzerTestOneInput(seed, n);
        for (int i = 0; i < MUTATIONS; i++) {
            size_t len = n;
            memcpy(input, seed, n);
            for (size_t k = 1 + draw(6); k > 0; k--) len = mutate(input, len);
            LLVMFuzzerTestOneInput(input, len);
        }
        files++;
    }
    closedir(d);
    printf("%d files, %d inputs each\n", files, MUTATIONS + 1);
    return files < 5; /* the corpus is not where it should be */
}
#endif
