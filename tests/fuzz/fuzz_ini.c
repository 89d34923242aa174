/* fuzz_ini.c: any bytes as train.ini, held against the host's own option tables. Built for libFuzzer with
 * -DCOATI_LIBFUZZER -fsanitize=fuzzer; otherwise a test of its own that runs the corpus and seeded mutations of it.
 *
 * Holds for every input: reading and binding give a known code, and a message that is one line; what is accepted prints as
 * an INI file that is accepted again and prints the same. */
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/config/config.h"
#include "core/train/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(cond)                                                                                           \
    do {                                                                                                      \
        if (!(cond)) fprintf(stderr, "%s:%d: does not hold: %s (%s)\n", __FILE__, __LINE__, #cond, error_message()), abort(); \
    } while (0)

/* The text a file's settings print as; NULL if it is refused. Paths are relative to /proc/self/fd, whatever the number. */
static char *read_back(const void *data, size_t size)
{
    char path[64], *text = NULL;
    options o;
    const int fd = memfd_create("fuzz_ini", MFD_CLOEXEC);
    HOLDS(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    config *c = config_new();
    HOLDS(c);
    (void)FAIL(CO_OK, "-");
    int r = config_read_file(c, path);
    HOLDS(r == CO_OK || (r == CO_E_CONFIG && strstr(error_message(), "/proc/self/fd/")));
    if (r == CO_OK) {
        r = options_bind(c, &o);
        if (r == CO_OK) r = config_finish(c);
        HOLDS(r == CO_OK || r == CO_E_CONFIG || r == CO_E_UNSUPPORTED);
        HOLDS(r == CO_OK || strchr(error_message(), '['));
    }
    HOLDS(r == CO_OK || !strchr(error_message(), '\n'));
    if (r == CO_OK) text = config_print(c);
    HOLDS(r || text);
    config_free(c);
    close(fd);
    return text;
}

static int has_long_line(const char *text)
{
    for (; *text; text += strcspn(text, "\n") + 1)
        if (strcspn(text, "\n") > 199) return 1;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *first = read_back(data, size), *second = NULL;
    if (first && !has_long_line(first)) { /* a path that is too long when made absolute fits no line */
        second = read_back(first, strlen(first));
        HOLDS(second);
        if (strcmp(first, second) != 0) fprintf(stderr, "printed as:\n%s\nand then as:\n%s\n", first, second);
        HOLDS(strcmp(first, second) == 0);
    }
    mem_free(second);
    mem_free(first);
    return 0;
}

#ifndef COATI_LIBFUZZER
enum { INPUT_CAP = 1 << 14, MUTATIONS = 1500 };

static uint64_t state = 88172645463325252u; /* xorshift64: the same mutations every time */

static size_t draw(size_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return n ? (size_t)(state % n) : 0;
}

static size_t mutate(char *d, size_t n)
{
    static const char *const words[] = {"[", "]", "=", ":", ";", " ;", "#", "\n", "\r\n", "\n  ", "\n\t#", "${", "}", "${HOME}", "[include]\npath = x\n", "[run]\n", "seed",
                                        "[dataset.eval]\n", "1e999", "-1", "GiB", "\xef\xbb\xbf", "\xc0", "\x01", " ", "                                                  ",
                                        "x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x"};
    size_t at = draw(n + 1), len;
    switch (draw(4)) {
    case 0:
        if (at < n) d[at] = (char)draw(256);
        return n;
    case 1:
        len = draw(n - at + 1) % 24;
        memmove(d + at, d + at + len, n - at - len);
        return n - len;
    default:
        len = 0;
        const char *w = words[draw(sizeof words / sizeof *words)];
        len = strlen(w);
        if (n + len > INPUT_CAP) return n;
        memmove(d + at + len, d + at, n - at);
        memcpy(d + at, w, len);
        return n + len;
    }
}

int main(void)
{
    static char input[INPUT_CAP];
    char **names;
    size_t n, files = 0, accepted = 0;
    if (fs_list(COATI_SOURCE_DIR "/tests/fuzz/ini", &names, &n) != CO_OK) return fprintf(stderr, "%s\n", error_message()), 1;
    for (size_t i = 0; i < n; i++) {
        char *seed, *path = fs_join(COATI_SOURCE_DIR "/tests/fuzz/ini", names[i]);
        size_t size;
        HOLDS(path && fs_read_all(path, &seed, &size, INPUT_CAP / 2) == CO_OK);
        char *text = read_back(seed, size);
        accepted += text != NULL;
        mem_free(text);
        LLVMFuzzerTestOneInput((const uint8_t *)seed, size);
        for (int k = 0; k < MUTATIONS; k++) {
            size_t len = size;
            memcpy(input, seed, size);
            for (size_t m = 1 + draw(5); m > 0; m--) len = mutate(input, len);
            LLVMFuzzerTestOneInput((const uint8_t *)input, len);
        }
        mem_free(seed);
        mem_free(path);
        files++;
    }
    fs_free_list(names, n);
    printf("%zu files, %zu of them accepted, %d mutations each\n", files, accepted, MUTATIONS);
    return files < 8 || accepted < 3; /* the corpus is not where it should be, or no longer worth much */
}
#endif
