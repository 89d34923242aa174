/* test_equal.c: 20 steps of every strategy on 1, 2 and 4 ranks are naive's: losses, norms and every tensor. */
#include "check.h"
#include "core/base/memory.h"
#include "strategies/rig.h"

#define LLAMA COATI_SOURCE_DIR "/tests/golden/llama/"
#define BLOOM COATI_SOURCE_DIR "/tests/golden/bloom/"
#define LORA COATI_SOURCE_DIR "/tests/golden/lora/"
static const struct { const char *name, *dir, *adapter, *zero; int checkpoint, accumulation; } models[] = {
    {"tied", LLAMA "gqa_tied", NULL, NULL, 0, 1},
    {"untied, accumulation 3", LLAMA "mha_untied", NULL, NULL, 0, 3},
    {"bloom, checkpointing", BLOOM "heads4", NULL, BLOOM "heads4/expect.json", 1, 1},
    {"lora, accumulation 3", LLAMA "gqa_tied", LORA "all_linear", NULL, 0, 3},
};
/* Buckets of one unit each, so that several are under way; and of the size they come in. */
static const char *const by_unit[] = {"bucket_mb", "0", NULL}, *const plain[] = {NULL}, *const on_cpu[] = {"placement", "cpu", NULL}, *const in_turn[] = {"bucket_mb", "0", "overlap", "0", NULL};
static const struct { const char *name; const char *const *options; } strategies[] = {
    {"ddp", by_unit}, {"ddp", plain}, {"ddp", in_turn},
    {"ddp", by_unit}, {"ddp", plain}, {"zero1", by_unit}, {"zero1", plain}, {"zero2", by_unit}, {"zero2", plain}, {"zero2_cpu", by_unit}, {"zero2_cpu", plain},
    {"zero3", plain}, {"zero3", in_turn}, {"gemini", plain}, {"gemini", on_cpu}};

int main(void)
{
    for (size_t m = 0; m < sizeof models / sizeof *models; m++)
        for (int32_t world = 1; world <= 4; world *= 2) {
            rig_case c = {.dir = models[m].dir, .adapter = models[m].adapter, .checkpoint_blocks = models[m].checkpoint, .strategy = "naive", .world = 1,
                          .accumulation = world * models[m].accumulation, .first_step = 1, .steps = 20, .max_norm = 1};
            rig_result want, got;
            CHECK(rig_run(&c, &want) == 0);
            c.world = world;
            c.accumulation = models[m].accumulation;
            for (size_t i = 0; i < sizeof strategies / sizeof *strategies; i++) {
                char *what = mem_printf("%s, %s (%s), %d ranks", models[m].name, strategies[i].name, strategies[i].options[0] ? "by unit" : "plain", world);
                c.strategy = strategies[i].name;
                c.options = strategies[i].options;
                CHECK_MSG(rig_run(&c, &got) == 0, "%s", what);
                CHECK_MSG(got.failed || rig_compare(what, &got, &want, 20, models[m].zero) == 0, "%s", what);
                rig_free(&got);
                mem_free(what);
            }
            rig_free(&want);
        }
    return check_done();
}
