/* test_late.c: strategies on a backend that works late (lazy.h) give the CPU's bits, whether copies and messages run ahead of the
 * computation or behind it: nothing is read, overwritten or handed to the CPU's thread before its time. */
#include "check.h"
#include "graph/lazy.h"
#include "strategies/rig.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STEPS = 6 };

/* Streams: the computation, batches, messages and copies in, copies out. */
static void copies(const co_backend_vt **vt, void **self) { lazy_wrap(vt, self, LAZY_COPIES); }
static void none(const co_backend_vt **vt, void **self) { lazy_wrap(vt, self, LAZY_NONE); }
static void all_but_out(const co_backend_vt **vt, void **self) { lazy_wrap(vt, self, 7); }
static void out_alone(const co_backend_vt **vt, void **self) { lazy_wrap(vt, self, 8); }
static const struct { const char *name; void (*wrap)(const co_backend_vt **vt, void **self); } ahead[] = {
    {"copies", copies}, {"nothing", none}, {"all but copies out", all_but_out}, {"copies out", out_alone}};

static void compare(const char *what, const rig_result *got, const rig_result *want)
{
    for (int64_t s = 1; s <= STEPS; s++)
        CHECK_MSG(got->loss[s] == want->loss[s] && got->norm[s] == want->norm[s], "%s: step %d: loss %.9g, norm %.9g; want %.9g, %.9g", what, (int)s,
                  got->loss[s], got->norm[s], want->loss[s], want->norm[s]);
    for (uint32_t p = 0; p < want->n_params; p++)
        for (uint32_t k = 0; k < want->n_what; k++)
            CHECK_MSG(got->n[p] == want->n[p] && memcmp(got->state[k][p], want->state[k][p], (size_t)want->n[p] * sizeof(float)) == 0, "%s: '%s', %u", what,
                      want->names[p], k);
}

/* What units hand on waits in host memory: the bits of a run that keeps it, on the CPU and on a backend that works late. */
static void test_offload(const char *dir, const char *strategy, const char *const *options, int32_t accumulation, int checkpoint)
{
    rig_case c = {.dir = dir, .strategy = strategy, .options = options, .world = 1, .accumulation = accumulation, .checkpoint_blocks = checkpoint,
                  .random = 1, .first_step = 1, .steps = STEPS, .max_norm = 0.5, .eval = 1};
    rig_result want, got;
    CHECK(rig_run(&c, &want) == 0);
    c.offload_activations = 1;
    for (size_t k = 0; k <= sizeof ahead / sizeof *ahead && !want.failed; k++) {
        char what[200];
        snprintf(what, sizeof what, "%s, accumulation %d, checkpointing %d, offloaded, ahead: %s", strategy, accumulation, checkpoint, k ? ahead[k - 1].name : "on the CPU");
        c.wrap = k ? ahead[k - 1].wrap : NULL;
        CHECK_MSG(rig_run(&c, &got) == 0, "%s", what);
        if (!got.failed) compare(what, &got, &want);
        rig_free(&got);
    }
    rig_free(&want);
}

/* A model of more blocks than there are places on the device. */
static void test_offloads(void)
{
    char dir[] = "/tmp/coati_late_XXXXXX", path[64];
    if (!mkdtemp(dir)) {
        CHECK(!"a folder");
        return;
    }
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "w");
    CHECK(f != NULL);
    if (f) {
        fputs("{\"model_type\":\"llama\",\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":7,\"num_attention_heads\":2,\"vocab_size\":60,"
              "\"max_position_embeddings\":32,\"tie_word_embeddings\":true}", f);
        fclose(f);
        static const char *const on_host[] = {"placement", "cpu", NULL};
        for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
            test_offload(dir, "naive", NULL, 2, checkpoint);
            test_offload(dir, "gemini", on_host, 1, checkpoint);
        }
    }
    remove(path);
    rmdir(dir);
}

static void test(const char *strategy, const char *const *options, int32_t accumulation, co_dtype dtype, int checkpoint)
{
    rig_case c = {.dir = COATI_SOURCE_DIR "/tests/golden/llama/gqa_tied", .strategy = strategy, .options = options, .world = 1, .accumulation = accumulation,
                  .checkpoint_blocks = checkpoint, .dtype = dtype, .first_step = 1, .steps = STEPS, .max_norm = 0.5, .eval = 1};
    rig_result want, got;
    CHECK(rig_run(&c, &want) == 0);
    for (size_t k = 0; k < sizeof ahead / sizeof *ahead && !want.failed; k++) {
        char what[200];
        snprintf(what, sizeof what, "%s, %s, accumulation %d, type %d, ahead: %s", strategy, options ? options[1] : "", accumulation, (int)dtype, ahead[k].name);
        c.wrap = ahead[k].wrap;
        lazy_reset();
        CHECK_MSG(rig_run(&c, &got) == 0, "%s", what);
        if (!got.failed) compare(what, &got, &want);
        rig_free(&got);
    }
    rig_free(&want);
}

int main(void)
{
    static const char *const on_host[] = {"placement", "cpu", NULL}, *const on_device[] = {"placement", "cuda", NULL};
    static const char *const whole[] = {"zero1", "zero2", "zero3", "zero2_cpu"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        test(whole[i], NULL, 1, CO_F32, 0);
        test(whole[i], NULL, 3, CO_F32, 1);
        test(whole[i], NULL, 1, CO_BF16, 1);
    }
    for (int32_t accumulation = 1; accumulation <= 3; accumulation += 2) {
        test("gemini", on_host, accumulation, CO_F32, 0);
        test("gemini", on_device, accumulation, CO_F32, 0);
        test("gemini", on_host, accumulation, CO_BF16, 1);
    }
    rig_case c = {.dir = COATI_SOURCE_DIR "/tests/golden/llama/gqa_tied", .strategy = "gemini", .world = 1, .accumulation = 3, .first_step = 1, .steps = STEPS, .max_norm = 0.5};
    const long least = rig_least(&c);
    CHECK(least > 0);
    for (int k = 0; k < 4; k++) { /* from where every chunk moves to where half of them stay */
        char memory[32];
        const char *const tight[] = {"device_memory", memory, NULL};
        snprintf(memory, sizeof memory, "%ld", least * (8 + k) / 8 + 65536 + 200000 * k);
        test("gemini", tight, 3, CO_F32, k & 1);
    }
    test_offloads();
    return check_done();
}
