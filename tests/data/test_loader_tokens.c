/* The loader filled by tokens: budget, cut, ranks, seeking, what the scan reports. */
#include "check.h"
#include "fake_loader.h"

static int mixed_output(int64_t i) { return 1 + (int)(i * 7919 % 40); }

static loader_config token_config(fake_data *d)
{
    loader_config c = fake_config(d);
    d->out_len = mixed_output;
    c.tokens = 64;
    c.accumulation = 2;
    return c;
}

/* Tokens of record i with fake_config's rules. */
static int tokens_of(const fake_data *d, int64_t i, int max_len)
{
    char text[32];
    int n = 2 + snprintf(text, sizeof text, "i%d", (int)i) + d->out_len(i);
    return n < max_len ? n : max_len;
}

typedef struct seen { /* keys of one step, by micro-batch, and its sums */
    int n_micro, n;
    uint64_t keys[256];
    int micro_of[256];
    int64_t labels, tokens;
} seen;

static void note(const step_batch *s, seen *out)
{
    memset(out, 0, sizeof *out);
    out->n_micro = s->n_micro;
    out->labels = s->n_labels;
    out->tokens = s->n_tokens;
    for (int32_t m = 0; m < s->n_micro; m++)
        for (int32_t q = 0; q < s->micro[m].n_seqs && out->n < 256; q++) {
            out->keys[out->n] = s->micro[m].seq_key[q];
            out->micro_of[out->n++] = m;
        }
}

static void test_budget(void)
{
    fake_data d = fake_records(100);
    loader_config c = token_config(&d);
    loader *l;
    const step_batch *s;
    int32_t cap_tokens, cap_seqs;
    int64_t steps = 0, samples = 0, smallest = 1 << 20;
    CHECK(loader_open(&c, &l) == CO_OK);
    loader_capacity(l, &cap_tokens, &cap_seqs);
    CHECK(cap_tokens == 64 && cap_seqs == 32);
    while (loader_next(l, &s) == CO_OK) {
        int64_t tokens = 0, labels = 0;
        for (int32_t m = 0; m < s->n_micro; m++) {
            CHECK(s->micro[m].n_tokens <= 64 && s->micro[m].n_seqs > 0);
            tokens += s->micro[m].n_tokens;
            labels += s->micro[m].n_labels;
            for (int32_t q = 0; q < s->micro[m].n_seqs; q++)
                CHECK(s->micro[m].seq_start[q + 1] - s->micro[m].seq_start[q] ==
                      tokens_of(&d, (int64_t)s->micro[m].seq_key[q], c.max_len));
        }
        CHECK(tokens == s->n_tokens && labels == s->n_labels && tokens <= 128);
        if (steps + 1 < loader_steps_per_epoch(l, 0) && tokens < smallest) smallest = tokens;
        samples += s->n_samples;
        steps++;
    }
    CHECK(smallest > 128 - 32); /* full but for the sample that did not fit */
    CHECK(samples == 200);
    CHECK(steps == loader_total_steps(l) && steps == loader_steps_per_epoch(l, 0) + loader_steps_per_epoch(l, 1));
    loader_release(l);
}

/* One rank's micro-batches are the ranks' micro-batches in turn. */
static void test_ranks(void)
{
    static seen alone, ranks[2];
    fake_data d = fake_records(100);
    loader_config c = token_config(&d);
    loader *l, *r[2];
    const step_batch *s;
    c.accumulation = 4;
    CHECK(loader_open(&c, &l) == CO_OK);
    c.accumulation = 2;
    c.world = 2;
    for (c.rank = 0; c.rank < 2; c.rank++) CHECK(loader_open(&c, &r[c.rank]) == CO_OK);
    while (loader_next(l, &s) == CO_OK) {
        int k[2] = { 0, 0 };
        note(s, &alone);
        for (int i = 0; i < 2; i++) {
            CHECK(loader_next(r[i], &s) == CO_OK);
            note(s, &ranks[i]);
            CHECK(s->n_labels == alone.labels && s->n_tokens == alone.tokens && s->n_micro == (alone.n_micro + 1) / 2);
        }
        for (int i = 0; i < alone.n; i++) {
            int rank = alone.micro_of[i] % 2, at = k[rank]++;
            CHECK(ranks[rank].keys[at] == alone.keys[i] && ranks[rank].micro_of[at] == alone.micro_of[i] / 2);
        }
        CHECK(k[0] == ranks[0].n && k[1] == ranks[1].n);
    }
    for (int i = 0; i < 2; i++) {
        CHECK(loader_next(r[i], &s) == CO_END);
        loader_release(r[i]);
    }
    loader_release(l);
}

static void test_seek_and_threads(void)
{
    static uint64_t hash[256];
    fake_data d = fake_records(100);
    loader_config c = token_config(&d);
    loader *l;
    const step_batch *s;
    int n = 0;
    c.n_threads = 0;
    CHECK(loader_open(&c, &l) == CO_OK);
    while (n < 256 && loader_next(l, &s) == CO_OK) hash[n++] = step_hash(s);
    loader_release(l);
    for (int threads = 1; threads <= 4; threads += 3) {
        c.n_threads = threads;
        CHECK(loader_open(&c, &l) == CO_OK);
        for (int from = n; from >= 0; from -= 5) {
            CHECK(loader_seek(l, from) == CO_OK);
            for (int k = from; k < n && k < from + 7; k++) CHECK(loader_next(l, &s) == CO_OK && step_hash(s) == hash[k]);
        }
        loader_release(l);
    }
}

static void test_unusable(void)
{
    fake_data d = fake_records(100);
    loader_config c = token_config(&d);
    loader *l = NULL;
    loader_totals t;
    const step_batch *s;
    int cut = 0;
    d.bad[0] = 70;
    d.bad[1] = 3;
    for (c.n_threads = 0; c.n_threads <= 4; c.n_threads++) {
        CHECK(loader_open(&c, &l) == CO_E_FORMAT && !l);
        CHECK_STR(error_message(), "fake.json: row 4: broken");
    }
    c.n_threads = 2;
    c.skip_bad = 1;
    CHECK(loader_open(&c, &l) == CO_OK);
    while (loader_next(l, &s) == CO_OK) CHECK(s->n_samples > 0 && s->n_labels > 0);
    loader_stats(l, &t);
    for (int i = 0; i < 100; i++) cut += i != 70 && i != 3 && tokens_of(&d, i, 1000) > c.max_len;
    CHECK(cut > 10 && t.cut == cut);
    CHECK(t.bad == 2 && t.samples == 196 && t.dropped == 0);
    loader_release(l);
    c.templ = "alpaca";
    l = NULL;
    CHECK(loader_open(&c, &l) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "none of the 100 records can be used: 2 are broken");
}

/* With max_steps lengths are found as steps are planned: the same steps, without a scan, wherever they begin. */
static void test_given_steps(void)
{
    static uint64_t hash[256];
    fake_data d = fake_records(100);
    loader_config c = token_config(&d);
    loader *l = NULL;
    loader_totals scanned, t;
    const step_batch *s;
    int n = 0;
    d.bad[0] = 70;
    c.skip_bad = 1;
    CHECK(loader_open(&c, &l) == CO_OK);
    while (n < 256 && loader_next(l, &s) == CO_OK) hash[n++] = step_hash(s);
    loader_stats(l, &scanned);
    loader_release(l);
    c.max_steps = n; /* two passes */
    for (int alone = 0; alone < 2; alone++)
        for (c.n_threads = 0; c.n_threads <= 4; c.n_threads += 2) {
            c.dataset = alone ? &fake_dataset_alone : &fake_dataset;
            CHECK(loader_open(&c, &l) == CO_OK && loader_total_steps(l) == n);
            for (int k = 0; k < n; k++) CHECK(loader_next(l, &s) == CO_OK && step_hash(s) == hash[k]);
            CHECK(loader_next(l, &s) == CO_END);
            loader_stats(l, &t);
            CHECK(t.bad == 1 && t.cut == scanned.cut && t.dropped == scanned.dropped && t.samples == scanned.samples);
            for (int from = n; from >= 0; from -= 7) {
                CHECK(loader_seek(l, from) == CO_OK);
                for (int k = from; k < n && k < from + 4; k++) CHECK(loader_next(l, &s) == CO_OK && step_hash(s) == hash[k]);
            }
            loader_release(l);
            CHECK(d.clones == 0);
        }
    c.dataset = &fake_dataset;
    c.skip_bad = 0; /* a broken record stops its own step */
    c.shuffle = 0;
    CHECK(loader_open(&c, &l) == CO_OK);
    int64_t before = 0;
    int rc;
    while ((rc = loader_next(l, &s)) == CO_OK) before += s->n_samples;
    CHECK(rc == CO_E_FORMAT && before > 50 && before <= 70);
    CHECK_STR(error_message(), "fake.json: row 71: broken");
    CHECK(loader_next(l, &s) == CO_E_FORMAT && loader_seek(l, 0) == CO_OK && loader_next(l, &s) == CO_OK);
    loader_release(l);
    d = fake_records(100000);
    d.out_len = mixed_output;
    c.shuffle = 1;
    fake_reads = 0;
    CHECK(loader_open(&c, &l) == CO_OK && loader_next(l, &s) == CO_OK);
    loader_release(l);
    CHECK_MSG(fake_reads < 500, "%lld records read for a batch", (long long)fake_reads);
}

static void test_nothing_usable(void)
{
    fake_data d = fake_records(60);
    loader_config c = token_config(&d);
    loader *l = NULL;
    const step_batch *s;
    c.templ = "alpaca"; /* longer than max_len before the answer begins */
    c.max_steps = 5;
    CHECK(loader_open(&c, &l) == CO_OK && loader_next(l, &s) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "none of the 60 records can be used");
    loader_release(l);
}

int main(void)
{
    test_given_steps();
    test_nothing_usable();
    test_budget();
    test_ranks();
    test_seek_and_threads();
    test_unusable();
    return check_done();
}
