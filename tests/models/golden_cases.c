/* golden_cases.c: every stored case of tests/golden/FAMILY, each with and without block checkpointing. argv[1]: the family,
 * else llama. */
#include "check.h"
#include "models/golden.h"

int main(int argc, char **argv)
{
    char **names, root[300];
    size_t n = 0;
    snprintf(root, sizeof root, COATI_SOURCE_DIR "/tests/golden/%s", argc > 1 ? argv[1] : "llama");
    CHECK(fs_list(root, &names, &n) == CO_OK && n > 0);
    for (size_t i = 0; i < n; i++) {
        char *dir = fs_join(root, names[i]);
        golden g;
        if (golden_open(&g, dir, names[i])) {
            const fixture_args plain = {.dir = dir}, blocks = {.dir = dir, .checkpoint_blocks = 1};
            CHECK(golden_check_logits(&g, plain, 0) == 0);
            CHECK(golden_check_logits(&g, plain, 1) == 0);
            const fixture_args held = {.dir = dir, .hold_stored = 1}; /* weights in the 16 bits of the file, where it has them */
            CHECK(golden_check_logits(&g, held, 0) == 0);
            CHECK(golden_check_logits(&g, held, 1) == 0);
            CHECK(golden_check_training(&g, plain, 0) == 0);
            CHECK(golden_check_training(&g, blocks, 0) == 0);
            CHECK(golden_check_training(&g, plain, 1) == 0);
            for (int k = 0; k < 4; k++) {
                const fixture_args narrow = {.dir = dir, .dtype = k < 3 ? CO_BF16 : CO_F16, .sum_fp32 = k == 1, .checkpoint_blocks = k == 2};
                CHECK(golden_check_narrow(&g, narrow) == 0);
            }
        } else {
            CHECK_MSG(0, "%s has no expect.json", dir);
        }
        golden_close(&g);
        mem_free(dir);
    }
    if (n) fs_free_list(names, n);
    return check_done();
}
