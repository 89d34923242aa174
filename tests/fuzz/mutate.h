/* mutate.h: a fuzzer of a text format as an ordinary test: each file of its corpus, and seeded mutations of it with words of the
 * format. replay.c does the same with bits and bytes, for formats without words. */
#ifndef TESTS_FUZZ_MUTATE_H
#define TESTS_FUZZ_MUTATE_H
#include "fuzz.h"
#include "core/base/fs.h"
#include "core/base/memory.h"

#include <string.h>

enum { MUTATE_CAP = 1 << 16, MUTATE_INPUTS = 1500 };

typedef struct mutator { const char *const *words; size_t n_words; uint64_t state; } mutator;

static inline size_t mutate_draw(mutator *m, size_t n) /* xorshift64: the same every time */
{
    m->state ^= m->state << 13;
    m->state ^= m->state >> 7;
    m->state ^= m->state << 17;
    return n ? (size_t)(m->state % n) : 0;
}

/* A byte changed, a piece taken out, or (every other time) a word put in. */
static inline size_t mutate_once(mutator *m, uint8_t *d, size_t n)
{
    const size_t at = mutate_draw(m, n + 1), kind = mutate_draw(m, 4);
    if (kind == 0) {
        if (at < n) d[at] = (uint8_t)mutate_draw(m, 256);
        return n;
    }
    if (kind == 1) {
        const size_t len = mutate_draw(m, n - at + 1) % 24;
        memmove(d + at, d + at + len, n - at - len);
        return n - len;
    }
    const char *w = m->words[mutate_draw(m, m->n_words)];
    const size_t len = strlen(w);
    if (n + len > MUTATE_CAP) return n;
    memmove(d + at + len, d + at, n - at);
    memcpy(d + at, w, len);
    return n + len;
}

/* Main's result. seen: NULL, or told each file of the corpus as it is. */
static inline int mutate_corpus(const char *dir, const char *const *words, size_t n_words, size_t least_files, void (*seen)(const uint8_t *, size_t))
{
    static uint8_t input[MUTATE_CAP];
    mutator m = { words, n_words, 88172645463325252u };
    char **names, *seed;
    size_t n, size;
    if (fs_list(dir, &names, &n) != CO_OK) return fprintf(stderr, "%s\n", error_message()), 1;
    for (size_t i = 0; i < n; i++) {
        char *path = fs_join(dir, names[i]);
        HOLDS(path && fs_read_all(path, &seed, &size, MUTATE_CAP / 2) == CO_OK);
        if (seen) seen((const uint8_t *)seed, size);
        LLVMFuzzerTestOneInput((const uint8_t *)seed, size);
        for (int k = 0; k < MUTATE_INPUTS; k++) {
            size_t len = size;
            memcpy(input, seed, size);
            for (size_t times = 1 + mutate_draw(&m, 6); times > 0; times--) len = mutate_once(&m, input, len);
            LLVMFuzzerTestOneInput(input, len);
        }
        mem_free(seed);
        mem_free(path);
    }
    fs_free_list(names, n);
    printf("%zu files, %d mutations each\n", n, MUTATE_INPUTS);
    return n < least_files; /* the corpus is not where it should be */
}
#endif
