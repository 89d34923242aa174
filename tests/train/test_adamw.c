/* test_adamw.c: the optimizer plugin on the CPU and on the reference backend against torch.optim.AdamW in float64
 * (tests/golden/train/adamw.txt). */
#include "check.h"
#include <coati/halves.h>
#include "core/base/error.h"
#include "core/base/memory.h"
#include "train/parts.h"

#define MAX_N 64

static int read_row(FILE *f, double *x, int n)
{
    for (int i = 0; i < n; i++)
        if (fscanf(f, "%lf", &x[i]) != 1) return 0;
    return 1;
}
static void to_float(const double *x, float *y, int n)
{
    for (int i = 0; i < n; i++) y[i] = (float)x[i];
}

/* fp32 rounds each update of a weight. The second moment is off by up to 1.3e-5 of itself because b2 crosses the plugin
 * boundary as a float: 1 - (float)0.999 is not 0.001. The update divides that out again by 1 - b2^t. */
static void compare(const char *where, const char *what, const float *got, const double *want, int n, double relative, double absolute)
{
    for (int i = 0; i < n; i++)
        CHECK_MSG(fabs(got[i] - want[i]) <= relative * fabs(want[i]) + absolute, "%s: %s[%d] is %.9g, want %.9g", where, what, i, got[i], want[i]);
}

static void run_case(FILE *f, const char *backend, int with_flag)
{
    char name[32], betas[80], eps[40], decay[40], where[80];
    double lr, b1, b2, e, wd, scale, x[MAX_N], p_want[MAX_N], m_want[MAX_N], v_want[MAX_N];
    float p[MAX_N], g[MAX_N], m[MAX_N] = {0}, v[MAX_N] = {0};
    int steps, n;
    parts t;
    if (fscanf(f, " case %31s %lf %lf %lf %lf %lf %lf %d %d", name, &lr, &b1, &b2, &e, &wd, &scale, &steps, &n) != 9 || n > MAX_N) {
        CHECK(!"the file is whole");
        return;
    }
    snprintf(betas, sizeof betas, "%.17g,%.17g", b1, b2);
    snprintf(eps, sizeof eps, "%.17g", e);
    snprintf(decay, sizeof decay, "%.17g", wd);
    snprintf(where, sizeof where, "%s on %s%s", name, backend, with_flag ? ", decay spared" : "");
    parts_open(&t, backend, (const char *const[]){"betas", betas, "eps", eps, "weight_decay", decay, NULL});
    CHECK(t.optim->n_state == 2 && (t.optim->flags & CO_OPTIM_ELEMENTWISE));
    CHECK(read_row(f, x, n));
    to_float(x, p, n);
    for (int s = 1; s <= steps; s++) {
        CHECK(read_row(f, x, n));
        to_float(x, g, n);
        for (int half = 0; half < 2; half++) { /* elementwise: two slices do what one does */
            const int at = half ? n / 3 : 0, len = half ? n - n / 3 : n / 3;
            const co_optim_slice slice = {.struct_size = sizeof slice, .flags = with_flag ? CO_SLICE_NO_DECAY : 0, .n = len, .step = s,
                                          .master = p + at, .grad = g + at, .grad_dtype = CO_F32, .out_dtype = CO_F32,
                                          .state = {m + at, v + at}, .lr = (float)lr, .grad_scale = (float)scale};
            CHECK(t.optim->update(t.optim_self, t.backend, t.backend_self, &slice, NULL) == CO_OK);
        }
    }
    CHECK(read_row(f, p_want, n) && read_row(f, m_want, n) && read_row(f, v_want, n));
    const double gradient = fabs(m_want[0]) + 1e-12;
    compare(where, "m", m, m_want, n, 1e-5, 1e-7 * gradient);
    compare(where, "v", v, v_want, n, 2e-5, 0);
    if (!with_flag || wd == 0) {
        compare(where, "p", p, p_want, n, 1e-6, 2e-7 * steps);
    } else {
        int moved = 0;
        for (int i = 0; i < n; i++) moved += fabs(p[i] - p_want[i]) > 1e-4 * fabs(p_want[i]);
        CHECK_MSG(moved > n / 2, "%s: only %d of %d weights differ from those with decay", where, moved, n);
    }
    parts_close(&t);
}

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* Every upper half there is with lower halves around the middle: the bf16 one is the nearest, ties to even, and what is joined again is
 * the value, but for ties that go down: there it is one unit less. */
static void test_halves(void)
{
    static const uint32_t lower[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
    int bad = 0;
    for (uint32_t upper = 0; upper < 65536; upper++)
        for (size_t k = 0; k < sizeof lower / sizeof *lower; k++) {
            const uint32_t u = upper << 16 | lower[k], up = lower[k] > 0x8000 || (lower[k] == 0x8000 && upper & 1);
            float x;
            uint16_t half;
            int16_t low;
            memcpy(&x, &u, sizeof x);
            co_halves_split(x, &half, &low);
            const float back = co_halves_join(half, low);
            if (x != x) bad += back == back;
            else bad += half != (uint16_t)(upper + up) || bits_of(back) != u - (lower[k] == 0x8000 && !up);
        }
    CHECK_MSG(bad == 0, "%d values", bad);
}

/* An update of a master in two halves is that of a whole one. */
static void test_update_of_halves(void)
{
    enum { N = 5000, STEPS = 5 };
    static float master[N], m[2][N], v[2][N];
    static uint16_t grad[N], out[2][N];
    static int16_t low[N];
    parts t;
    int differ = 0, off = 0;
    parts_open(&t, "cpu", (const char *const[]){"weight_decay", "0.1", NULL});
    CHECK(t.backend->flags & CO_BACKEND_HALVES && t.optim->flags & CO_OPTIM_HALVES);
    for (int i = 0; i < N; i++) master[i] = (float)sin(i * 0.7) * 0.02f, co_halves_split(master[i], &out[1][i], &low[i]);
    for (int s = 1; s <= STEPS; s++) {
        for (int i = 0; i < N; i++) {
            int16_t rest;
            co_halves_split((float)cos(i * 1.3 + s) * 1e-3f, &grad[i], &rest);
        }
        for (int k = 0; k < 2; k++) {
            const co_optim_slice slice = {.struct_size = sizeof slice, .n = N, .step = s, .master = k ? NULL : master, .grad = grad, .grad_dtype = CO_BF16,
                                          .out = out[k], .out_dtype = CO_BF16, .low = k ? low : NULL, .state = {m[k], v[k]}, .lr = 1e-3f, .grad_scale = 1};
            CHECK(t.optim->update(t.optim_self, t.backend, t.backend_self, &slice, NULL) == CO_OK);
        }
    }
    for (int i = 0; i < N; i++) {
        const float joined = co_halves_join(out[1][i], low[i]);
        differ += out[0][i] != out[1][i] || m[0][i] != m[1][i] || v[0][i] != v[1][i];
        off += fabsf(joined - master[i]) > 2 * STEPS * 0x1p-24f * fabsf(master[i]);
    }
    CHECK_MSG(differ <= 1 && off == 0, "%d differ, %d masters", differ, off); /* a tie on the way may move a rounding */
    const co_optim_slice neither = {.struct_size = sizeof neither, .n = N, .step = 1, .grad = grad, .grad_dtype = CO_BF16, .out = out[0], .out_dtype = CO_BF16, .state = {m[0], v[0]}};
    CHECK(t.optim->update(t.optim_self, t.backend, t.backend_self, &neither, NULL) != CO_OK);
    parts_close(&t);
}

static void test_stored_values(const char *backend, int with_flag)
{
    FILE *f = fopen(COATI_SOURCE_DIR "/tests/golden/train/adamw.txt", "r");
    int n = 0;
    CHECK(f != NULL);
    if (!f) return;
    for (int c; (c = fgetc(f)) != EOF;) {
        if (c == '\n') continue;
        ungetc(c, f);
        run_case(f, backend, with_flag);
        n++;
    }
    fclose(f);
    CHECK_MSG(n == 6, "%d cases", n);
}

static void test_bad_betas(void)
{
    static const char *const bad[] = {"0.9", "0.9,1", "1,0.9", "-0.1,0.9", "0.9,0.99x", "a,b", "0.9;0.99", ""};
    parts t;
    parts_open(&t, "cpu", NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct { const char *betas; double eps, weight_decay; } opts = {bad[i], 1e-8, 0};
        void *self = NULL;
        CHECK_MSG(t.optim->open(host_services(t.host), &opts, &self) == CO_E_CONFIG && !self, "betas = %s", bad[i]);
        CHECK_HAS(error_message(), "[optimizer] betas");
    }
    parts_close(&t);
}

int main(void)
{
    test_halves();
    test_update_of_halves();
    for (int flag = 0; flag < 2; flag++) {
        test_stored_values("cpu", flag);
        test_stored_values("ref", flag);
    }
    test_bad_betas();
    return check_done();
}
