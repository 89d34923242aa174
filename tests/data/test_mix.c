/* Weighted sources: shares, that records are used up before one comes again, and that threads and resuming change nothing. */
#include "check.h"
#include "core/data/mix.h"
#include "fake_loader.h"

static void test_shares(void)
{
    mix_source s[] = { { .first = 0, .n = 700, .weight = 1 }, { .first = 700, .n = 200, .weight = 2 }, { .first = 900, .n = 101, .weight = 0.0001 } };
    mix m;
    mix_open(s, 3, 1001, &m);
    CHECK(s[0].share == 333 && s[1].share == 667 && s[2].share == 1); /* 333.66, 667.3, 0.03 and at least one */
    CHECK(s[1].before == 333 && s[2].before == 1000);
    mix_source even[] = { { .n = 3, .weight = 5 }, { .first = 3, .n = 4, .weight = 5 } };
    mix_open(even, 2, 7, &m);
    CHECK(even[0].share + even[1].share == 7 && even[0].share == 4);
    mix_source many[40];
    for (int i = 0; i < 40; i++) many[i] = (mix_source){ .first = i, .n = 1, .weight = i ? 1e-9 : 1 };
    mix_open(many, 40, 40, &m);
    for (int i = 0; i < 40; i++) CHECK(many[i].share == 1);
}

/* Whatever the pass, a source gives its share; over passes its records come round in turn. */
static void test_use(int shuffle)
{
    mix_source s[] = { { .first = 0, .n = 50, .weight = 1 }, { .first = 50, .n = 7, .weight = 3 }, { .first = 57, .n = 13, .weight = 0.5 } };
    static int64_t used[128];
    mix m;
    mix_open(s, 3, 70, &m);
    memset(used, 0, sizeof used);
    for (int64_t pass = 0; pass < 20; pass++) {
        int64_t of[3] = { 0 };
        for (int64_t pos = 0; pos < 70; pos++) {
            const int64_t at = mix_place(&m, 9, shuffle, pass, pos);
            CHECK(at >= 0 && at < 70);
            if (at < 0 || at >= 70) return;
            used[at]++;
            of[at < 50 ? 0 : at < 57 ? 1 : 2]++;
        }
        for (int i = 0; i < 3; i++) CHECK_MSG(of[i] == s[i].share, "source %d: %lld of %lld", i, (long long)of[i], (long long)s[i].share);
        for (int i = 0; i < 3; i++) {
            int64_t least = used[s[i].first], most = least;
            for (int64_t k = s[i].first; k < s[i].first + s[i].n; k++) {
                if (used[k] < least) least = used[k];
                if (used[k] > most) most = used[k];
            }
            CHECK_MSG(most - least <= 1, "source %d after pass %lld: used %lld to %lld times", i, (long long)pass, (long long)least, (long long)most);
        }
    }
}

/* In order: each source's records follow each other, and a run of any length holds about its share. */
static void test_spread(void)
{
    mix_source s[] = { { .first = 0, .n = 600, .weight = 6 }, { .first = 600, .n = 300, .weight = 3 }, { .first = 900, .n = 100, .weight = 1 } };
    int64_t next[3] = { 0, 600, 900 };
    mix m;
    mix_open(s, 3, 1000, &m);
    for (int64_t pos = 0; pos < 1000; pos++) {
        const int64_t at = mix_place(&m, 9, 0, 0, pos);
        const int i = at < 600 ? 0 : at < 900 ? 1 : 2;
        CHECK(at == next[i]++);
        for (int k = 0; k < 3; k++) CHECK(fabs((double)(next[k] - s[k].first) - (double)(pos + 1) * (double)s[k].share / 1000) <= 1.5);
    }
}

/* ---- through the loader -------------------------------------------------------------------------------------------- */
enum { MOST = 128 };

static int hashes(const loader_config *c, int64_t from, uint64_t *out)
{
    loader *l = NULL;
    const step_batch *s;
    int n = 0;
    CHECK_MSG(loader_open(c, &l) == CO_OK, "%s", error_message());
    if (!l) return 0;
    CHECK(loader_seek(l, from) == CO_OK);
    while (n < MOST && loader_next(l, &s) == CO_OK) out[n++] = step_hash(s);
    loader_release(l);
    return n;
}

static void test_loader(int tokens, double split, int a_sample)
{
    static const loader_source sources[] = { { .name = "a", .first = 0, .n = 40, .weight = 1 }, { .name = "b", .first = 40, .n = 17, .weight = 2 } };
    fake_data d = fake_records(57);
    loader_config c = fake_config(&d);
    uint64_t want[MOST], got[MOST];
    loader_source told;
    loader *l = NULL;
    c.sources = sources;
    c.n_sources = 2;
    c.tokens = tokens;
    c.split = split;
    if (a_sample) c.size = c.accumulation = 1; /* a step is a sample: resumed at each of them */
    c.n_threads = 0;
    const int n = hashes(&c, 0, want);
    CHECK(n > 5);
    for (int threads = 1; threads <= 7; threads += threads == 1 ? 1 : 5) {
        c.n_threads = threads;
        for (int64_t from = 0; from < n; from++) CHECK(hashes(&c, from, got) == n - from && !memcmp(got, want + from, (size_t)(n - from) * 8));
    }
    c.seed++;
    CHECK(hashes(&c, 0, got) != n || memcmp(got, want, (size_t)n * 8));
    CHECK(loader_open(&c, &l) == CO_OK);
    int64_t records = 0, samples = 0;
    for (int32_t i = 0; i < 2; i++) {
        CHECK(loader_source_at(l, i, &told) == CO_OK && strcmp(told.name, i ? "b" : "a") == 0);
        records += told.n;
        samples += told.share;
    }
    CHECK(loader_source_at(l, 2, &told) == CO_END && records == loader_n_records(l) && samples == records);
    if (split == 0) CHECK(told.n == 17 && told.share == 38);
    loader_release(l);
}

/* Without weights: each record once a pass. */
static void test_unweighted(void)
{
    static const loader_source sources[] = { { .name = "a", .first = 0, .n = 11 }, { .name = "b", .first = 11, .n = 4 } };
    fake_data d = fake_records(15);
    loader_config c = fake_config(&d), alone = c;
    uint64_t a[MOST], b[MOST];
    c.sources = sources;
    c.n_sources = 2;
    const int n = hashes(&c, 0, a);
    CHECK(hashes(&alone, 0, b) == n && !memcmp(a, b, (size_t)n * 8));
}

int main(void)
{
    test_shares();
    test_use(1);
    test_use(0);
    test_spread();
    test_loader(0, 0, 0);
    test_loader(0, 0, 1);
    test_loader(64, 0, 0);
    test_loader(0, 0.7, 0);
    test_unweighted();
    return check_done();
}
