/* test_lr.c: learning rates against transformers' schedules (tests/golden/train/lr.txt), and the end of ours. */
#include "check.h"
#include "core/train/lr.h"

static void test_stored_values(void)
{
    FILE *f = fopen(COATI_SOURCE_DIR "/tests/golden/train/lr.txt", "r");
    char shape[16];
    long long total, step;
    double ratio, want;
    int n = 0;
    CHECK(f != NULL);
    while (f && fscanf(f, "%15s %lld %lf %lld %lf", shape, &total, &ratio, &step, &want) == 5) {
        const lr_shape s = shape[1] == 'i' ? LR_LINEAR : shape[2] == 's' ? LR_COSINE : LR_CONSTANT;
        const double got = lr_factor(s, step, total, ratio, 0);
        CHECK_MSG(fabs(got - want) <= 1e-15, "%s, %lld steps, warm-up %g, step %lld: %.17g, want %.17g", shape, total, ratio, step, got, want);
        n++;
    }
    if (f) fclose(f);
    CHECK_MSG(n > 200, "%d values read", n);
}

/* The cosine of the ColossalChat reference: 100 steps, 3 of them warm-up. */
static void test_known_cosine(void)
{
    static const struct { int step; double factor; } want[] = {{0, 0}, {1, .333333}, {2, .666667}, {3, 1}, {10, .987205},
                                                               {50, .524281}, {99, .000262}, {100, 0}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        CHECK(fabs(lr_factor(LR_COSINE, want[i].step, 100, 0.03, 0) - want[i].factor) < 1e-6);
}

static void test_min_ratio(void)
{
    for (lr_shape s = LR_COSINE; s <= LR_LINEAR; s++) {
        CHECK(lr_factor(s, 0, 100, 0, 0.1) == 1);
        CHECK(fabs(lr_factor(s, 50, 100, 0, 0.1) - 0.55) < 1e-15);
        CHECK(fabs(lr_factor(s, 100, 100, 0, 0.1) - 0.1) < 1e-15);
        CHECK(lr_factor(s, 1, 100, 0.04, 0.1) == 0.25); /* warm-up starts from 0 */
    }
    CHECK(lr_factor(LR_CONSTANT, 100, 100, 0, 0.1) == 1);
}

/* [schedule] steps may be shorter than the run: the rate stays at its end. */
static void test_beyond_the_end(void)
{
    CHECK(lr_factor(LR_COSINE, 150, 100, 0.03, 0.2) == 0.2);
    CHECK(lr_factor(LR_LINEAR, 1000, 100, 0.03, 0) == 0);
    CHECK(lr_factor(LR_CONSTANT, 1000, 100, 0.03, 0) == 1);
}

int main(void)
{
    test_stored_values();
    test_known_cosine();
    test_min_ratio();
    test_beyond_the_end();
    return check_done();
}
