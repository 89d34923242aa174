/* test_sample.c: from logits to tokens: which are kept, and that they come as often as they should: chi-square against
 * exact probabilities at fixed seeds. */
#include "check.h"
#include "core/base/error.h"
#include "core/host/host.h"
#include "core/train/sample.h"
#include <coati/coati.h>

#define V 12
#define DRAWS 60000
static const float logits[V] = {0.5f, 2.0f, -1.0f, 3.0f, 2.0f, -4.0f, 1.0f, 0.0f, 2.5f, -0.5f, 3.0f, -30.0f};

/* One row through the CPU backend's SAMPLE_TOKEN, its plan kept while the vocabulary's size stays. */
static const co_backend_vt *cpu;
static void *cpu_self;
static struct { float logits[64], how[4][64], logprob[64]; int32_t id[64]; char scratch[65536]; } mem; /* offsets: multiples of 256 */
static int32_t sample_token(const float *z, int64_t n_vocab, const sample_opts *o, uint64_t key, int64_t position, double *logprob)
{
    static co_plan_value values[7];
    static const uint32_t in[5] = {0, 1, 2, 3, 4}, out[2] = {5, 6};
    static const co_step_op op = {.op = CO_OP_SAMPLE_TOKEN, .n_in = 5, .n_out = 2, .in = in, .out = out};
    static const co_plan plan = {.struct_size = sizeof plan, .n_steps = 1, .n_values = 7, .label = "sample", .steps = &op, .values = values};
    static const co_live live = {.struct_size = sizeof live};
    static void *compiled;
    const co_binding b = {.struct_size = sizeof b, .host_live = &live, .dev_live = &live,
                          .base = {[CO_REGION_WORK] = &mem, [CO_REGION_SCRATCH] = mem.scratch}};
    const size_t at[7] = {0, offsetof(__typeof__(mem), how), sizeof mem.how[0], 2 * sizeof mem.how[0], 3 * sizeof mem.how[0],
                          offsetof(__typeof__(mem), id), offsetof(__typeof__(mem), logprob)};
    float row[4];
    if (values[0].shape.ne[1] != n_vocab) {
        size_t scratch = 0;
        for (int i = 0; i < 7; i++)
            values[i] = (co_plan_value){.shape = {.ne = {1, i ? 1 : n_vocab, 1, 1}, .row_stride = i ? 1 : n_vocab, .ndim = i ? 1 : 2, .dtype = i == 5 ? CO_I32 : CO_F32},
                                        .region = CO_REGION_WORK, .offset = at[i] + (i > 1 && i < 5 ? at[1] : 0)};
        if (compiled) cpu->discard(cpu_self, compiled);
        CHECK(cpu->workspace(cpu_self, &plan, &scratch) == CO_OK && scratch <= sizeof mem.scratch);
        CHECK(cpu->prepare(cpu_self, &plan, &compiled) == CO_OK);
    }
    sample_row(o, key, position, row);
    memcpy(mem.logits, z, (size_t)n_vocab * sizeof *z);
    for (int i = 0; i < 4; i++) mem.how[i][0] = row[i];
    CHECK(cpu->run(cpu_self, compiled, &b, NULL) == CO_OK);
    if (logprob) *logprob = mem.logprob[0];
    return mem.id[0];
}

/* The definition, in double: temperature, then the k largest and their equals, then the smallest set reaching p. */
static int exact(const sample_opts *o, double *p)
{
    double sum = 0, reached = 0;
    int rank[V], kept = V;
    for (int i = 0; i < V; i++) {
        rank[i] = 0;
        for (int j = 0; j < V; j++) rank[i] += logits[j] > logits[i] || (logits[j] == logits[i] && j < i);
    }
    int at[V];
    for (int i = 0; i < V; i++) at[rank[i]] = i;
    if (o->top_k > 0 && o->top_k < V)
        for (kept = (int)o->top_k; kept < V && logits[at[kept]] == logits[at[o->top_k - 1]]; kept++) {}
    for (int i = 0; i < V; i++) p[i] = 0;
    for (int r = 0; r < kept; r++) sum += p[at[r]] = exp(logits[at[r]] / o->temperature);
    for (int r = 0; r < kept; r++) p[at[r]] /= sum;
    int n = 0;
    for (; n < kept && reached < o->top_p; n++) reached += p[at[n]];
    if (n == 0) reached = p[at[0]], n = 1;
    for (int r = 0; r < V; r++) p[at[r]] = r < n ? p[at[r]] / reached : 0;
    return n;
}

static void test_distribution(void)
{
    static const struct { sample_opts o; int kept; } cases[] = {
        {{1, 0, 1, 42}, V}, {{0.7, 0, 1, 7}, V}, {{2, 0, 1, 1}, V}, {{1, 3, 1, 42}, 3}, {{1, 4, 1, 42}, 5}, /* 2.0 twice */
        {{1, 1, 1, 3}, 2},                                                                                   /* 3.0 twice */
        {{1, 0, 0.5, 42}, 2}, {{1, 0, 0.9, 42}, 0}, {{1.5, 6, 0.8, 9}, 0}, {{1, 0, 0, 5}, 1}, {{1, 100, 1, 8}, V}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const sample_opts *o = &cases[c].o;
        double p[V], chi = 0;
        int count[V] = {0}, cells = 0;
        const int kept = exact(o, p);
        if (cases[c].kept) CHECK_MSG(kept == cases[c].kept, "case %zu keeps %d", c, kept);
        for (int i = 0; i < DRAWS; i++) count[sample_token(logits, V, o, (uint64_t)(i / 100), i % 100, NULL)]++;
        for (int i = 0; i < V; i++) {
            const double want = p[i] * DRAWS;
            if (p[i] == 0) CHECK_MSG(count[i] == 0, "case %zu drew %d, which is cut off", c, i);
            if (want < 5) continue; /* too rare for the statistic */
            chi += (count[i] - want) * (count[i] - want) / want;
            cells++;
        }
        /* Wilson-Hilferty: beyond the bound once in 30000 draws of a true sampler. */
        const double k = cells > 1 ? cells - 1 : 1, z = 4, bound = k * pow(1 - 2 / (9 * k) + z * sqrt(2 / (9 * k)), 3);
        CHECK_MSG(chi < bound, "case %zu: chi-square %.1f with %d cells, bound %.1f", c, chi, cells, bound);
    }
}

/* A sampler that forgot the temperature would be seen by the statistic above. */
static void test_the_statistic_sees_a_wrong_temperature(void)
{
    const sample_opts right = {1, 0, 1, 42}, wrong = {1.05, 0, 1, 42};
    double p[V], chi = 0;
    int count[V] = {0};
    (void)exact(&right, p);
    for (int i = 0; i < DRAWS; i++) count[sample_token(logits, V, &wrong, (uint64_t)i, 0, NULL)]++;
    for (int i = 0; i < V - 1; i++) chi += (count[i] - p[i] * DRAWS) * (count[i] - p[i] * DRAWS) / (p[i] * DRAWS);
    CHECK_MSG(chi > 60, "chi-square %.1f", chi);
}

static void test_greedy(void)
{
    const sample_opts o = {0, 1, 0.1, 42};
    double logprob = 1, sum = 0;
    CHECK(sample_token(logits, V, &o, 0, 0, &logprob) == 3); /* the lower id of two equals */
    for (int i = 0; i < V; i++) sum += exp(logits[i]);
    CHECK(fabs(logprob - (3 - log(sum))) < 1e-6);
    const float one = -7;
    CHECK(sample_token(&one, 1, &o, 0, 0, &logprob) == 0 && fabs(logprob) < 1e-6);
}

/* The log-probability is the model's own, whatever is cut off. */
static void test_logprob_is_of_the_unmodified_logits(void)
{
    const sample_opts o = {0.3, 2, 0.4, 5};
    double logprob, sum = 0;
    const int32_t id = sample_token(logits, V, &o, 1, 2, &logprob);
    for (int i = 0; i < V; i++) sum += exp(logits[i]);
    CHECK(fabs(logprob - (logits[id] - log(sum))) < 1e-6);
    const float huge[3] = {3e38f, -3e38f, 1e38f};
    const sample_opts plain = {1, 0, 1, 1};
    CHECK(sample_token(huge, 3, &plain, 0, 0, &logprob) == 0 && logprob == 0);
}

static int differs(const sample_opts *a, const sample_opts *b, uint64_t key_b, int64_t shift)
{
    int n = 0;
    for (int i = 0; i < 200; i++)
        n += sample_token(logits, V, a, 0, i, NULL) != sample_token(logits, V, b, key_b, i + shift, NULL);
    return n;
}
static void test_what_a_draw_depends_on(void)
{
    const sample_opts a = {1, 0, 1, 42}, seed = {1, 0, 1, 43};
    CHECK(differs(&a, &a, 0, 0) == 0);
    CHECK(differs(&a, &seed, 0, 0) > 50);
    CHECK(differs(&a, &a, 1, 0) > 50);
    CHECK(differs(&a, &a, 0, 1) > 50);
}

int main(void)
{
    host *h = host_new(NULL);
    const co_feature *f;
    const int64_t opts[16] = {1}; /* one thread */
    const int opened = h && host_feature(h, CO_KIND_BACKEND, "cpu", &f) == CO_OK &&
                       (cpu = host_backend(h, f))->open(host_services(h), opts, &cpu_self) == CO_OK;
    CHECK_MSG(opened, "%s", error_message());
    if (!opened) return check_done();
    test_distribution();
    test_the_statistic_sees_a_wrong_temperature();
    test_greedy();
    test_logprob_is_of_the_unmodified_logits();
    test_what_a_draw_depends_on();
    cpu->close(cpu_self);
    host_free(h);
    return check_done();
}
