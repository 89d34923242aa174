/* golden_lora.c: the stored cases of tests/golden/lora against peft in float64: logits, loss, the count of trainable
 * parameters, every trainable parameter's gradient, 20 AdamW steps; with and without block checkpointing; loss and gradients in 16 bits. */
#include "check.h"
#include "models/golden.h"

static void check_count(const golden *g, const fixture_args *a)
{
    fixture f;
    fixture_args small = *a;
    small.max_tokens = small.max_seqs = 4;
    CHECK(fixture_open(&small, &f) == CO_OK);
    if (f.table) {
        const long want = strtol(golden_json(g, "trainable"), NULL, 10);
        CHECK_MSG(f.table->n_trainable == want, "%s: %lld train, peft says %ld", g->name, (long long)f.table->n_trainable, want);
    }
    fixture_close(&f);
}

int main(void)
{
    char **names;
    size_t n;
    const char *root = COATI_SOURCE_DIR "/tests/golden/lora";
    CHECK(fs_list(root, &names, &n) == CO_OK && n > 0);
    for (size_t i = 0; i < n; i++) {
        char *dir = fs_join(root, names[i]), base[128] = "";
        golden g;
        if (golden_open(&g, dir, names[i])) {
            CHECK(sscanf(golden_json(&g, "base"), " \"%100[^\"]", base) == 1);
            char *model = mem_printf("%s/tests/golden/%s", COATI_SOURCE_DIR, base);
            const fixture_args plain = {.dir = model, .adapter = dir}, blocks = {.dir = model, .adapter = dir, .checkpoint_blocks = 1};
            check_count(&g, &plain);
            CHECK(golden_check_logits(&g, plain, 0) == 0);
            CHECK(golden_check_logits(&g, plain, 1) == 0);
            CHECK(golden_check_training(&g, plain, 0) == 0);
            CHECK(golden_check_training(&g, blocks, 0) == 0);
            CHECK(golden_check_training(&g, plain, 1) == 0);
            for (int k = 0; k < 2; k++) { /* the base in 16 bits */
                const fixture_args narrow = {.dir = model, .adapter = dir, .dtype = k ? CO_F16 : CO_BF16, .checkpoint_blocks = k};
                CHECK(golden_check_narrow(&g, narrow) == 0);
            }
            mem_free(model);
        }
        golden_close(&g);
        mem_free(dir);
    }
    fs_free_list(names, n);
    return check_done();
}
