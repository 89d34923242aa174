/* test_step.c: what <coati/step.h> makes of a step's gradients: the loss scale by the reference's golden sequence and at its
 * limits, clipping, skipping; and every backend's step_factor does the same. */
#include "check.h"
#include "train/parts.h"

static const co_scaler golden = {.growth_factor = 2, .backoff_factor = 0.5f, .growth_interval = 4, .hysteresis = 2};

static void test_golden_sequence(void)
{
    static const int flags[] = {1, 1, 1, 0, 0, 0, 0, 1, 1};
    static const float want[] = {65536, 32768, 16384, 16384, 16384, 16384, 32768, 32768, 16384};
    co_step_state s = {.loss_scale = 65536};
    for (int i = 0; i < 9; i++) {
        co_scaler_update(&golden, flags[i], &s);
        CHECK_MSG(s.loss_scale == want[i], "after flag %d: scale %g, want %g", i + 1, (double)s.loss_scale, (double)want[i]);
    }
}

static void test_limits(void)
{
    co_scaler r = golden;
    co_step_state s = {.loss_scale = 8};
    r.hysteresis = 0; /* falls at once */
    r.growth_interval = 1;
    co_scaler_update(&r, 1, &s);
    CHECK(s.loss_scale == 4);
    r.min_scale = 3, r.max_scale = 5;
    co_scaler_update(&r, 1, &s);
    CHECK(s.loss_scale == 3);
    co_scaler_update(&r, 0, &s);
    CHECK(s.loss_scale == 5);
    r.min_scale = r.max_scale = 0; /* none */
    for (int i = 0; i < 60; i++) co_scaler_update(&r, 1, &s);
    CHECK(s.loss_scale > 0 && s.loss_scale < 1e-15f);
    /* An overflow begins the count of clean steps anew; a back-off does not forgive the overflows before it, growth does. */
    s = (co_step_state){.loss_scale = 64};
    static const int flags[] = {0, 0, 0, 1, 0, 0, 0, 0, 1, 1};
    static const float want[] = {64, 64, 64, 64, 64, 64, 64, 128, 128, 64};
    for (int i = 0; i < 10; i++) {
        co_scaler_update(&golden, flags[i], &s);
        CHECK_MSG(s.loss_scale == want[i], "step %d: scale %g, want %g", i, (double)s.loss_scale, (double)want[i]);
    }
}

static void judge(const parts *t, const co_step_rule *r, double squares, co_step_state *s)
{
    if (!t) co_step_judge(r, squares, s);
    else CHECK(t->backend->step_factor(t->backend_self, r, (const double[]){squares / 4, squares / 2, squares / 4}, 3, s, NULL) == CO_OK);
}

/* The divisor is the scale that the gradients carried, also when the scale grows in this very step. */
static void test_judging(const parts *t)
{
    co_step_rule r = {.struct_size = sizeof r, .scaling = 1, .scaler = golden};
    co_step_state s = {.loss_scale = 8};
    r.scaler.growth_interval = 1;
    judge(t, &r, 64 * 9, &s); /* scaled by 8, the norm is 3 */
    CHECK(s.norm == 3 && s.factor == 0.125f && s.skip == 0 && s.used_scale == 8 && s.loss_scale == 16 && s.updates == 1);
    r.max_norm = 1.5f;
    judge(t, &r, 256 * 9, &s);
    CHECK(fabs(s.factor * 16 - 1.5 / 3) < 1e-6 && s.norm == 3 && s.used_scale == 16 && s.updates == 2);
    judge(t, &r, INFINITY, &s);
    CHECK(s.skip && s.factor == 0 && s.updates == 2 && s.used_scale == 32 && s.loss_scale == 32 && !s.stuck);
    judge(t, &r, NAN, &s);
    CHECK(s.skip && s.loss_scale == 16);
    judge(t, &r, 0, &s);
    CHECK(!s.skip && s.updates == 3 && s.norm == 0);
    double loss = INFINITY;
    r.loss = &loss;
    judge(t, &r, 1, &s);
    CHECK(s.skip);

    r = (co_step_rule){.struct_size = sizeof r, .loss = &loss}; /* without scaling the first bad step is the last */
    s = (co_step_state){.loss_scale = 1};
    loss = 2;
    judge(t, &r, 4, &s);
    CHECK(s.norm == 2 && s.factor == 1 && !s.skip && s.loss_scale == 1 && s.updates == 1);
    loss = NAN;
    judge(t, &r, 4, &s);
    CHECK(s.skip && s.stuck && s.updates == 1);
    loss = 2;
    judge(t, &r, 4, &s);
    CHECK(s.skip && s.updates == 1);
}

/* Bias correction counts updates, not steps. */
static void test_update_count(const parts *t)
{
    float master[2][3] = {{1, 2, 3}, {1, 2, 3}}, m[2][3] = {{0}}, v[2][3] = {{0}};
    const float grad[3] = {0.5f, -1, 2};
    const int64_t first = 1;
    for (int k = 0; k < 2; k++) {
        const co_optim_slice s = {.struct_size = sizeof s, .n = 3, .step = k ? 7 : 1, .dev_step = k ? &first : NULL, .master = master[k], .grad = grad,
                                  .state = {m[k], v[k]}, .lr = 0.1f, .grad_scale = 1};
        CHECK(t->optim->update(t->optim_self, t->backend, t->backend_self, &s, NULL) == CO_OK);
    }
    CHECK(memcmp(master[0], master[1], sizeof master[0]) == 0 && master[0][0] != 1);
}

int main(void)
{
    static const char *const backends[] = {"cpu", "ref"};
    test_golden_sequence();
    test_limits();
    test_judging(NULL);
    for (int i = 0; i < 2; i++) {
        parts t;
        parts_open(&t, backends[i], NULL);
        test_judging(&t);
        test_update_count(&t);
        parts_close(&t);
    }
    return check_done();
}
