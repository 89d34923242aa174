/* test_state.c: what a strategy leaves is any other's to go on with: 5 steps under each on some number of ranks, 5 more under
 * each on another, are naive's 10. Evaluations in between change nothing. 16 bits: masters carry the small updates. */
#include "check.h"
#include "core/base/memory.h"
#include "strategies/rig.h"

static const char *const names[] = {"naive", "ddp", "zero1", "zero2", "zero2_cpu", "zero3", "gemini"};
static const char *const options[] = {"bucket_mb", "0", "placement", "cpu", NULL};
enum { N = sizeof names / sizeof *names };

static rig_case case_of(size_t i, int32_t world)
{
    const int32_t ranks = i ? world : 1;
    return (rig_case){.dir = COATI_SOURCE_DIR "/tests/golden/llama/gqa_tied", .strategy = names[i], .options = i ? options : NULL, .world = ranks,
                      .accumulation = 4 / ranks, .first_step = 1, .steps = 5, .max_norm = 1, .eval = 0};
}

static void test_resume(void)
{
    rig_result want, from, got;
    rig_case c = case_of(0, 1);
    c.steps = 10;
    CHECK(rig_run(&c, &want) == 0);
    for (size_t i = 0; i < N; i++) {
        c = case_of(i, 1 << i % 3);
        CHECK(rig_run(&c, &from) == 0);
        for (size_t k = 0; k < N; k++) {
            char *what = mem_printf("%s, then %s", names[i], names[k]);
            c = case_of(k, 4 >> (i + k) % 3);
            c.first_step = 6;
            c.resume = &from;
            CHECK_MSG(rig_run(&c, &got) == 0, "%s", what);
            memcpy(got.loss, from.loss, 6 * sizeof *got.loss);
            memcpy(got.norm, from.norm, 6 * sizeof *got.norm);
            CHECK_MSG(got.failed || rig_compare(what, &got, &want, 10, NULL) == 0, "%s", what);
            rig_free(&got);
            mem_free(what);
        }
        rig_free(&from);
    }
    rig_free(&want);
}

/* With the other norm, for a change. */
static void test_evaluation(void)
{
    rig_result want, got;
    rig_case c = case_of(0, 1);
    c.norm_type = CO_NORM_INF;
    c.max_norm = 0.05; /* clipped */
    CHECK(rig_run(&c, &want) == 0 && want.norm[1] > 0.05);
    for (size_t k = 1; k < N; k++) {
        double worst = 0;
        c = case_of(k, 2);
        c.norm_type = CO_NORM_INF;
        c.max_norm = 0.05;
        c.eval = 1;
        CHECK_MSG(rig_run(&c, &got) == 0 && rig_compare(names[k], &got, &want, 5, NULL) == 0, "%s", names[k]);
        for (int s = 2; s <= 5; s++) worst = fmax(worst, fabs(got.eval[s] - got.eval[1]));
        CHECK_MSG(got.eval[1] > 0 && worst > 0, "%s: evaluations say %g", names[k], got.eval[1]);
        rig_free(&got);
    }
    rig_free(&want);
}

/* Rounding to 16 bits is another one on every rank; sums of gradients are fp32 here (accumulation 2), in 16 bits else. */
static void test_sixteen_bits(void)
{
    for (int type = 0; type < 2; type++)
        for (int narrow = 0; narrow < 2; narrow++) {
            rig_result want, got;
            rig_case c = case_of(0, 1);
            c.dtype = type ? CO_F16 : CO_BF16;
            c.accumulation = narrow ? 2 : 4;
            CHECK(rig_run(&c, &want) == 0);
            for (size_t k = 1; k < N; k++) {
                rig_case d = case_of(k, 2);
                d.dtype = c.dtype;
                d.accumulation = narrow ? 1 : 2;
                CHECK(rig_run(&d, &got) == 0);
                for (int s = 1; s <= 5; s++)
                    CHECK_MSG(fabs(got.loss[s] - want.loss[s]) < (type ? 2e-3 : 2e-2) * want.loss[s], "%s, %s: loss %.6g, want %.6g", names[k], type ? "fp16" : "bf16",
                              got.loss[s], want.loss[s]);
                rig_free(&got);
            }
            rig_free(&want);
        }
}

/* The same micro-batches, on one rank one after the other or on four at once: the same bits, as sums go in their order. */
static void test_bits(void)
{
    for (size_t k = 3; k < N; k++) { /* from zero2 on: the others add in place */
        rig_result one, four;
        rig_case c = case_of(k, 1);
        c.max_norm = 0; /* the norm is summed shard by shard */
        CHECK(rig_run(&c, &one) == 0);
        c.world = 4, c.accumulation = 1;
        CHECK(rig_run(&c, &four) == 0);
        for (uint32_t p = 0; p < one.n_params && !four.failed; p++)
            for (uint32_t what = 0; what < one.n_what; what++)
                CHECK_MSG(memcmp(one.state[what][p], four.state[what][p], (size_t)one.n[p] * sizeof(float)) == 0, "%s: '%s', %u", names[k], one.names[p], what);
        rig_free(&one);
        rig_free(&four);
    }
}

int main(void)
{
    test_bits();
    test_resume();
    test_evaluation();
    test_sixteen_bits();
    return check_done();
}
