/* test_rng.c: Philox 4x32-10 against the known answers published with Random123 (kat_vectors), and what is made of it. */
#include "check.h"
#include "core/base/rng.h"

typedef struct answer { uint64_t seed, stream, counter; uint32_t x[4]; } answer;

/* Random123 lists counter words c0..c3 and key words k0, k1: counter = c1:c0, stream = c3:c2, seed = k1:k0. */
static const answer known[] = {
    {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

static void test_known_answers(void)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const answer *k = &known[i];
        const uint64_t a = (uint64_t)k->x[1] << 32 | k->x[0], b = (uint64_t)k->x[3] << 32 | k->x[2];
        CHECK(rng_u64(k->seed, k->stream, k->counter) == a);
        CHECK(rng_uniform(k->seed, k->stream, k->counter) == ldexp((double)(a >> 11), -53));
        /* Box-Muller takes all four words. */
        const double u = ldexp((double)(a >> 11) + 0.5, -53), v = ldexp((double)(b >> 11), -53);
        const double want = sqrt(-2 * log(u)) * cos(2 * 3.14159265358979323846 * v);
        CHECK(fabs(rng_normal(k->seed, k->stream, k->counter) - want) <= 1e-12 * (1 + fabs(want)));
    }
}

static void test_every_argument_counts(void)
{
    const uint64_t x = rng_u64(1, 2, 3);
    CHECK(x == rng_u64(1, 2, 3));
    for (int bit = 0; bit < 64; bit++) {
        const uint64_t m = (uint64_t)1 << bit;
        CHECK(x != rng_u64(1 ^ m, 2, 3));
        CHECK(x != rng_u64(1, 2 ^ m, 3));
        CHECK(x != rng_u64(1, 2, 3 ^ m));
    }
}

static void test_uniform(void)
{
    enum { N = 200000, CELLS = 64 };
    int count[CELLS] = {0};
    double chi = 0;
    for (uint64_t i = 0; i < N; i++) {
        const double u = rng_uniform(5, RNG_SHUFFLE, i);
        if (u >= 0 && u < 1) count[(int)(u * CELLS)]++;
    }
    int sum = 0;
    for (int i = 0; i < CELLS; i++) {
        const double want = (double)N / CELLS, d = count[i] - want;
        chi += d * d / want;
        sum += count[i];
    }
    CHECK(sum == N);
    CHECK_MSG(chi < 110, "chi-square %.1f of 63 degrees of freedom", chi); /* beyond 110: 1 in 4000 */
}

static void test_normal(void)
{
    enum { N = 200000 };
    double m[5] = {0};
    for (uint64_t i = 0; i < N; i++) {
        const double x = rng_normal(9, RNG_INIT, i);
        for (int k = 1; k <= 4; k++) m[k] += pow(x, k) / N;
    }
    const double s = sqrt(1.0 / N); /* standard errors of the moments: 1, sqrt 2, sqrt 15, sqrt 96 times this */
    CHECK_MSG(fabs(m[1]) < 4 * s, "mean %g", m[1]);
    CHECK_MSG(fabs(m[2] - 1) < 4 * sqrt(2) * s, "variance %g", m[2]);
    CHECK_MSG(fabs(m[3]) < 4 * sqrt(15) * s, "third moment %g", m[3]);
    CHECK_MSG(fabs(m[4] - 3) < 4 * sqrt(96) * s, "fourth moment %g", m[4]);
}

static void test_below(void)
{
    enum { N = 70000 };
    int count[7] = {0};
    double chi = 0;
    for (uint64_t i = 0; i < N; i++) {
        const uint64_t k = rng_below(3, RNG_SHUFFLE, i, 7);
        CHECK(k < 7);
        if (k < 7) count[k]++;
    }
    for (int k = 0; k < 7; k++) chi += (count[k] - N / 7.0) * (count[k] - N / 7.0) / (N / 7.0);
    CHECK_MSG(chi < 24, "chi-square %.1f of 6 degrees of freedom", chi); /* beyond 24: 1 in 2000 */
    CHECK(rng_below(3, 1, 4, 0) == 0);
    CHECK(rng_below(3, 1, 4, 1) == 0);
    CHECK(rng_below(3, 1, 4, UINT64_MAX) < UINT64_MAX);
}

int main(void)
{
    test_known_answers();
    test_every_argument_counts();
    test_uniform();
    test_normal();
    test_below();
    return check_done();
}
