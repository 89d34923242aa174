/* fuzz_ini.c: any bytes as train.ini, held against the host's own option tables. Built for libFuzzer with
 * -DCOATI_LIBFUZZER -fsanitize=fuzzer; otherwise a test of its own that runs the corpus and seeded mutations of it.
 *
 * Holds for every input: reading and binding give a known code, and a message that is one line; what is accepted prints as
 * an INI file that is accepted again and prints the same. */
#include "fuzz.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/config/config.h"
#include "core/train/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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
#include "mutate.h"

static size_t accepted;

static void count_accepted(const uint8_t *data, size_t size)
{
    char *text = read_back(data, size);
    accepted += text != NULL;
    mem_free(text);
}

int main(void)
{
    static const char *const words[] = {"[", "]", "=", ":", ";", " ;", "#", "\n", "\r\n", "\n  ", "\n\t#", "${", "}", "${HOME}", "[include]\npath = x\n", "[run]\n", "seed",
                                        "[dataset.eval]\n", "1e999", "-1", "GiB", "\xef\xbb\xbf", "\xc0", "\x01", " ", "                                                  ",
                                        "x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x"};
    const int r = mutate_corpus(COATI_SOURCE_DIR "/tests/fuzz/ini", words, sizeof words / sizeof *words, 8, count_accepted);
    return r || accepted < 3; /* the corpus is no longer worth much */
}
#endif
