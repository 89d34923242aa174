/* sequences.c: what one line on its own does not show: a cache filled in pieces equals attention on the whole;
 * dropout's mask follows the sequence, not its place in the batch, and is the same for the backward. On `ref` and
 * $COATI_TEST_BACKEND (default cpu). */
#include "ops/cases.h"
#include "check.h"
#include "core/base/error.h"

static void copy_rows(arg *to, int64_t r, const arg *from, int64_t q, int64_t n)
{
    memcpy(to->v + r * to->cols, from->v + q * from->cols, (size_t)(n * to->cols) * sizeof(double));
}

/* Sequences of 9 and 5 tokens in slots 3 and 1: 6 and 2 at once, then the rest one by one. */
static void cached_equals_whole(const device *d, int variant)
{
    static const int whole[] = {9, 5}, first[] = {6, 2}, one[] = {1, 1};
    lives l, part;
    kase k, c, m;
    lives_set(&l, 2, whole);
    if (!kase_make(&k, CO_OP_ATTENTION, &l, variant)) return;
    if (!((const co_attn *)(const void *)k.attrs)->causal) {
        kase_free(&k);
        return;
    }
    kase_run(d, &k);
    lives_set(&part, 2, whole);
    CHECK(kase_make(&m, CO_OP_ATTENTION_CACHED, &part, variant)); /* its cache goes from call to call */
    for (int step = 0; step < 4; step++) {
        lives now;
        lives_set(&now, 2, step ? one : first);
        now.slot[0] = 3, now.slot[1] = 1;
        for (int q = 0; q < 2; q++) now.past[q] = step ? first[q] + step - 1 : 0;
        CHECK(kase_make(&c, CO_OP_ATTENTION_CACHED, &now, variant));
        for (int i = 3; i < 5; i++) {
            if (step == 0)
                for (int64_t e = 0; e < m.in[i].n * m.in[i].cols; e++) m.in[i].v[e] = NAN; /* nothing there is read */
            copy_rows(&c.in[i], 0, &m.in[i], 0, m.in[i].n);
        }
        for (int i = 0; i < 3; i++)
            for (int q = 0; q < 2; q++)
                copy_rows(&c.in[i], now.seq_start[q], &k.in[i], l.seq_start[q] + now.past[q], step ? 1 : first[q]);
        kase_run(d, &c);
        for (int i = 3; i < 5; i++) copy_rows(&m.in[i], 0, &c.in[i], 0, m.in[i].n);
        arg want = arg_copy(&c.out[0]);
        for (int q = 0; q < 2; q++) copy_rows(&want, now.seq_start[q], &k.out[0], l.seq_start[q] + now.past[q], step ? 1 : first[q]);
        arg_compare(&c, step ? "decoded" : "prefilled", &c.out[0], &want, 1e-5);
        free(want.v);
        kase_free(&c);
    }
    kase_free(&m);
    kase_free(&k);
}

/* Dropout of ones, [tokens, 64]: a kept element is 1/(1-p). */
static void drop(const device *d, const lives *l, double value, kase *k)
{
    CHECK(kase_make(k, CO_OP_DROPOUT, l, 8));
    for (int64_t i = 0; i < k->in[0].n * k->in[0].cols; i++) k->in[0].v[i] = value;
    kase_run(d, k);
}
static int same_rows(const kase *a, int64_t r, const kase *b, int64_t q, int64_t n)
{
    const int64_t cols = a->out[0].cols;
    return memcmp(a->out[0].v + r * cols, b->out[0].v + q * cols, (size_t)(n * cols) * sizeof(double)) == 0;
}

static void dropout_mask(const device *d)
{
    static const int packed[] = {40, 0, 60}, alone[] = {60};
    lives l, m;
    kase a, b;
    lives_set(&l, 3, packed);
    drop(d, &l, 1, &a);
    double mean = 0;
    const int64_t n = a.out[0].n * a.out[0].cols;
    for (int64_t i = 0; i < n; i++) mean += a.out[0].v[i] / (double)n;
    /* p = 1/4: the mean is 1 with standard deviation sqrt(p/(1-p)/n) = 0.007; five of them */
    CHECK_MSG(fabs(mean - 1) < 5 * sqrt(0.25 / 0.75 / (double)n), "%s: mean %.4f", d->name, mean);

    lives_set(&m, 1, alone);
    m.key[0] = l.key[2];
    drop(d, &m, 1, &b);
    CHECK_MSG(same_rows(&a, 40, &b, 0, 60), "%s: packing changed the mask", d->name);
    kase_free(&b);
    drop(d, &m, 2, &b); /* the backward: the same op on another tensor */
    int same = 1;
    for (int64_t i = 0; i < b.out[0].n * b.out[0].cols; i++) same &= (b.out[0].v[i] == 0) == (a.out[0].v[40 * b.out[0].cols + i] == 0);
    CHECK_MSG(same, "%s: the backward drew another mask", d->name);
    kase_free(&b);

    lives other = m;
    for (int what = 0; what < 3; what++) { /* each part of the key counts */
        other = m;
        other.live.seq_key = other.key, other.live.seq_start = other.seq_start;
        if (what == 0) other.key[0]++;
        if (what == 1) other.live.step_key++;
        if (what == 2) other.live.unit++;
        drop(d, &other, 1, &b);
        CHECK_MSG(!same_rows(&a, 40, &b, 0, 60), "%s: key part %d does not change the mask", d->name, what);
        kase_free(&b);
    }
    CHECK_MSG(!same_rows(&a, 0, &a, 40, 40), "%s: two sequences share a mask", d->name);
    kase_free(&a);
}

/* A zero-filled co_classifier is the plain case: target 0 counts. An ignore_index above 0 takes that target out. */
static void ignored_targets(const device *d)
{
    static const struct { int variant; int32_t ignore_index; } cases[] = {{1, 0}, {9, 2}, {10, -100}};
    static const int all[] = {60};
    for (int c = 0; c < 3; c++) {
        lives l;
        kase k;
        int64_t zeros = 0, ignored = 0;
        lives_set(&l, 1, all);
        CHECK(kase_make(&k, CO_OP_TOKEN_LOGPROB, &l, cases[c].variant));
        CHECK(((const co_classifier *)(const void *)k.attrs)->ignore_index == cases[c].ignore_index);
        for (int64_t t = 0; t < k.in[2].n; t += 4) k.in[2].v[t] = 0;
        kase_run(d, &k);
        for (int64_t t = 0; t < k.in[2].n; t++) {
            const int out = cases[c].ignore_index > 0 && (int32_t)k.in[2].v[t] == cases[c].ignore_index;
            zeros += k.in[2].v[t] == 0;
            ignored += out;
            CHECK_MSG((k.out[0].v[t] == 0) == out, "%s: target %g with ignore_index %d", d->name, k.in[2].v[t], cases[c].ignore_index);
        }
        CHECK(zeros > 0 && (ignored > 0) == (cases[c].ignore_index > 0));
        kase_free(&k);
    }
}

/* Helpers over flat buffers, against the reference's. */
/* A copy of host memory where the backend's helpers work, and back. */
static void *lend(const device *b, const void *from, size_t bytes)
{
    void *p = NULL;
    CHECK(b->vt->alloc(b->self, CO_MEM_DEVICE, bytes, &p) == CO_OK && b->vt->copy(b->self, p, from, bytes, NULL) == CO_OK);
    return p;
}
static void take_back(const device *b, void *p, void *to, size_t bytes)
{
    CHECK(b->vt->stream_sync(b->self, NULL) == CO_OK && b->vt->copy(b->self, to, p, bytes, NULL) == CO_OK);
    b->vt->free(b->self, CO_MEM_DEVICE, p);
}
static void cast(const device *b, void *to, co_dtype tt, const void *from, co_dtype ft, int64_t n)
{
    const size_t to_bytes = (size_t)n * co_dtype_bytes(tt), from_bytes = (size_t)n * co_dtype_bytes(ft);
    void *x = lend(b, from, from_bytes), *y = lend(b, to, to_bytes);
    CHECK(b->vt->flat_cast(b->self, y, tt, x, ft, n, NULL) == CO_OK);
    take_back(b, y, to, to_bytes);
    b->vt->free(b->self, CO_MEM_DEVICE, x);
}

static void flat(const device *ref, const device *d)
{
    enum { N = 20001 };
    static float x[N], y[2][N], p[2][N], g[N], m[2][N], v[2][N];
    double norm[2] = {0};
    for (int i = 0; i < N; i++) {
        x[i] = (float)sin(i * 0.7) * (i % 7 == 0 ? 1e-3f : 3.0f);
        y[0][i] = y[1][i] = g[i] = (float)cos(i * 1.3);
        p[0][i] = p[1][i] = x[i];
    }
    const device *both[2] = {ref, d};
    for (int k = 0; k < 2; k++) {
        const device *b = both[k];
        float *dx = lend(b, x, sizeof x), *dy = lend(b, y[k], sizeof x), *dp = lend(b, p[k], sizeof x), *dg = lend(b, g, sizeof x);
        float *dm = lend(b, m[k], sizeof x), *dv = lend(b, v[k], sizeof x);
        double *dn = lend(b, &norm[k], sizeof *norm);
        CHECK(b->vt->flat_axpy(b->self, dy, dx, CO_F32, 0.3f, N, NULL) == CO_OK);
        CHECK(b->vt->flat_sqnorm(b->self, dx, CO_F32, N, dn, NULL) == CO_OK);
        for (int step = 1; step <= 3; step++) {
            const co_optim_slice s = {.struct_size = sizeof s, .n = N, .step = step, .master = dp, .grad = dg, .grad_dtype = CO_F32,
                                      .state = {dm, dv}, .lr = 1e-2f, .grad_scale = 0.5f};
            CHECK(b->vt->flat_adamw(b->self, &s, 0.9f, 0.999f, 1e-8f, 0.1f, NULL) == CO_OK);
        }
        take_back(b, dy, y[k], sizeof x);
        take_back(b, dp, p[k], sizeof x);
        take_back(b, dn, &norm[k], sizeof *norm);
        float *const rest[] = {dx, dg, dm, dv};
        for (int i = 0; i < 4; i++) b->vt->free(b->self, CO_MEM_DEVICE, rest[i]);
    }
    double worst_y = 0, worst_p = 0;
    for (int i = 0; i < N; i++) {
        worst_y = fmax(worst_y, fabs(y[0][i] - y[1][i]));
        worst_p = fmax(worst_p, fabs(p[0][i] - p[1][i]));
    }
    CHECK_MSG(worst_y <= 4e-7, "axpy differs by %.3g", worst_y);
    CHECK_MSG(worst_p <= 2e-6, "AdamW differs by %.3g", worst_p);
    CHECK_MSG(fabs(norm[0] - norm[1]) <= 1e-12 * norm[0], "norms %.17g and %.17g", norm[0], norm[1]);

    static const co_dtype small[] = {CO_BF16, CO_F16};
    static uint16_t h[2][65536];
    static float wide[2][65536];
    for (int t = 0; t < 2; t++) {
        for (int i = 0; i < 65536; i++) h[0][i] = (uint16_t)i;
        for (int k = 0; k < 2; k++) cast(both[k], wide[k], CO_F32, h[0], small[t], 65536); /* every value out, then numbers between them back in */
        int bad = 0;
        for (int i = 0; i < 65536; i++) bad += !(wide[0][i] == wide[1][i] || (isnan(wide[0][i]) && isnan(wide[1][i])));
        CHECK_MSG(bad == 0, "%d of 65536 values of type %d differ", bad, small[t]);
        for (int i = 0; i < 65535; i++) {
            const float mid = wide[0][i] / 2 + wide[0][i + 1] / 2; /* halfway: ties */
            wide[1][i] = isfinite(mid) ? mid : 1.0f + (float)i * 1e-4f;
        }
        wide[1][65535] = 65519.99f;
        for (int k = 0; k < 2; k++) cast(both[k], h[k], small[t], wide[1], CO_F32, 65536);
        for (int i = bad = 0; i < 65536; i++) bad += h[0][i] != h[1][i];
        CHECK_MSG(bad == 0, "%d of 65536 roundings to type %d differ", bad, small[t]);
    }
}

/* The largest absolute value is exact in every type, negative or not, in the vectors or the rest behind them; an infinity is it, a NaN
 * stays one. Then the step's rule makes of several what it makes of one: the largest or the sum. */
static void largest(const device *d)
{
    enum { N = 4103 }; /* more than a block's share on a device, and no multiple of a vector */
    static const co_dtype types[] = {CO_F32, CO_BF16, CO_F16};
    static const int places[] = {0, 1777, N - 1};
    static float x[N], special[] = {-7.5f, INFINITY, -INFINITY, NAN};
    static unsigned char stored[N * sizeof(float)];
    for (int t = 0; t < 3; t++)
        for (int p = 0; p < 3; p++)
            for (int s = 0; s < 4; s++)
                for (int from = 0; from < 2; from++) { /* an odd start: not aligned */
                    double got = -1;
                    for (int i = 0; i < N; i++) x[i] = (float)sin(i * 0.7);
                    x[places[p]] = special[s];
                    cast(d, stored, types[t], x, CO_F32, N);
                    char *v = lend(d, stored, N * co_dtype_bytes(types[t]));
                    double *out = lend(d, &got, sizeof got);
                    const int without = from > places[p]; /* the special element is left out */
                    CHECK(d->vt->flat_absmax(d->self, v + (size_t)from * co_dtype_bytes(types[t]), types[t], N - from, out, NULL) == CO_OK);
                    take_back(d, out, &got, sizeof got);
                    d->vt->free(d->self, CO_MEM_DEVICE, v);
                    const double want = fabs((double)special[s]);
                    CHECK_MSG(without ? got <= 1 && got > 0.99 : got == want || (isnan(got) && isnan(want)), "%s: type %d, element %d is %g: absmax from %d is %g",
                              d->name, types[t], places[p], (double)special[s], from, got);
                }
    static const double parts[] = {3, 9, 4};
    for (uint32_t type = CO_NORM_2; type <= CO_NORM_INF; type++) {
        const co_step_rule how = {.struct_size = sizeof how, .norm_type = type};
        co_step_state state = {.loss_scale = 1};
        double *sums = lend(d, parts, sizeof parts);
        co_step_state *on = lend(d, &state, sizeof state);
        CHECK(d->vt->step_factor(d->self, &how, sums, 3, on, NULL) == CO_OK);
        take_back(d, on, &state, sizeof state);
        d->vt->free(d->self, CO_MEM_DEVICE, sums);
        CHECK_MSG(state.norm == (type == CO_NORM_INF ? 9 : 4) && state.updates == 1, "%s: norm type %u of several parts is %g", d->name, type, state.norm);
    }
}

int main(void)
{
    const char *name = getenv("COATI_TEST_BACKEND");
    host *h = host_new(NULL);
    device d[2];
    const int opened = h && device_open(h, "ref", &d[0]) == CO_OK && device_open(h, name ? name : "cpu", &d[1]) == CO_OK;
    if (!opened && name && strcmp(name, "cuda") == 0) return printf("skipped: %s\n", error_message()), 77;
    CHECK_MSG(opened, "%s", error_message());
    if (!opened) return check_done();
    for (int i = 0; i < 2; i++) {
        for (int v = 0; v < 10; v++) cached_equals_whole(&d[i], v);
        dropout_mask(&d[i]);
    }
    for (int i = 0; i < 2; i++) ignored_targets(&d[i]);
    flat(&d[0], &d[1]);
    for (int i = 0; i < 2; i++) largest(&d[i]);
    device_close(&d[1]);
    device_close(&d[0]);
    host_free(h);
    return check_done() | harness_done();
}
