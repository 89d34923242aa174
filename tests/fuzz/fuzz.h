/* fuzz.h: what a fuzzer claims, checked so that a breach ends the program where it is. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H
#include "core/base/error.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(cond)                                                                                           \
    do {                                                                                                      \
        if (!(cond)) fprintf(stderr, "%s:%d: does not hold: %s (%s)\n", __FILE__, __LINE__, #cond, error_message()), abort(); \
    } while (0)
#endif
