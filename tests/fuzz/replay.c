/* replay.c: a fuzzer as an ordinary test: each file of its corpus (FUZZ_CORPUS, a folder here), then each of them with one bit
 * flipped (any, or every FUZZ_BIT_STEP-th where an input takes long), cut short, and with bytes replaced by a fixed sequence of
 * random choices. */
#include <stdint.h>
#include "check.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/base/rng.h"

#ifndef FUZZ_BIT_STEP
#define FUZZ_BIT_STEP 1
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const char *data, size_t len)
{
    /* a block of its own size, so that a sanitizer sees one byte too many */
    uint8_t *copy = malloc(len ? len : 1);
    if (!copy) return;
    memcpy(copy, data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
    check_passed++;
}

static void run_variants(char *data, size_t len, uint64_t seed)
{
    static const char likely[] = "0123456789{}[]\",:- \\";
    uint64_t draw = 0;
    for (size_t cut = 0; cut <= len; cut++) run(data, cut);
    for (size_t bit = 0; bit < 8 * len; bit += FUZZ_BIT_STEP) {
        data[bit / 8] ^= (char)(1 << bit % 8);
        run(data, len);
        data[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (int i = 0; i < 500 && len > 8; i++) {
        size_t at[3];
        char old[3];
        for (int k = 0; k < 3; k++) {
            at[k] = 8 + rng_below(seed, 1, draw++, len - 8);
            old[k] = data[at[k]];
            data[at[k]] = likely[rng_below(seed, 1, draw++, sizeof likely - 1)];
        }
        run(data, len);
        for (int k = 2; k >= 0; k--) data[at[k]] = old[k];
    }
}

int main(void)
{
    static const char dir[] = COATI_SOURCE_DIR "/tests/fuzz/" FUZZ_CORPUS;
    char **names;
    size_t n, len;
    CHECK(fs_list(dir, &names, &n) == CO_OK && n > 10);
    for (size_t i = 0; i < n; i++) {
        char *data, *path = fs_join(dir, names[i]);
        CHECK(fs_read_all(path, &data, &len, 1 << 20) == CO_OK);
        run(data, len);
        run_variants(data, len, i);
        mem_free(data);
        mem_free(path);
    }
    fs_free_list(names, n);
    return check_done();
}
