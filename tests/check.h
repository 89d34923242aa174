/* check.h: the whole test framework. CHECK counts and goes on; check_done() prints the sum and is main's result. */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_passed, check_failed;

#define CHECK(cond)                                                                                           \
    do {                                                                                                      \
        if (cond) check_passed++;                                                                             \
        else check_failed++, fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #cond);               \
    } while (0)
#define CHECK_MSG(cond, ...)                                                                                  \
    do {                                                                                                      \
        if (cond) check_passed++;                                                                             \
        else check_failed++, fprintf(stderr, "%s:%d: failed: %s: ", __FILE__, __LINE__, #cond),               \
            fprintf(stderr, __VA_ARGS__), fputc('\n', stderr);                                                \
    } while (0)
#define CHECK_STR(got, want) CHECK_MSG(strcmp((got), (want)) == 0, "got \"%s\", want \"%s\"", (got), (want))
#define CHECK_HAS(text, part) CHECK_MSG(strstr((text), (part)) != NULL, "\"%s\" lacks \"%s\"", (text), (part))

static inline int check_done(void)
{
    printf("%d passed, %d failed\n", check_passed, check_failed);
    return check_failed || !check_passed;
}
#endif
