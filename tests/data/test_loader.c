/* The loader by count: what a step holds, on how many threads, ranks and micro-steps soever. */
#include "check.h"
#include "fake_loader.h"

enum { MAX_STEPS = 64, MAX_KEYS = 4096 };

typedef struct trace { /* one loader run to its end */
    int n;
    uint64_t hash[MAX_STEPS];
    int64_t labels[MAX_STEPS];
    int n_keys[MAX_STEPS + 1]; /* keys of steps before s */
    uint64_t keys[MAX_KEYS];
    loader_totals totals;
} trace;

static void run(const loader_config *c, int64_t from, trace *t)
{
    loader *l = NULL;
    const step_batch *s;
    int rc = loader_open(c, &l);
    memset(t, 0, sizeof *t);
    CHECK_MSG(rc == CO_OK, "%s", error_message());
    if (rc) return;
    if (from) CHECK(loader_seek(l, from) == CO_OK);
    while ((rc = loader_next(l, &s)) == CO_OK && t->n < MAX_STEPS) {
        int k = t->n_keys[t->n];
        for (int32_t m = 0; m < s->n_micro; m++)
            for (int32_t q = 0; q < s->micro[m].n_seqs; q++) t->keys[k++] = s->micro[m].seq_key[q];
        CHECK(s->step == from + t->n);
        t->hash[t->n] = step_hash(s);
        t->labels[t->n++] = s->n_labels;
        t->n_keys[t->n] = k;
    }
    CHECK_MSG(rc == CO_END, "%d: %s", rc, error_message());
    loader_stats(l, &t->totals);
    loader_release(l);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The same samples in each step, in whatever order. */
static int same_sets(trace *a, trace *b)
{
    if (a->n != b->n) return 0;
    for (int s = 0; s < a->n; s++) {
        int k = a->n_keys[s], n = a->n_keys[s + 1] - k;
        if (k != b->n_keys[s] || n != b->n_keys[s + 1] - k) return 0;
        qsort(a->keys + k, (size_t)n, sizeof *a->keys, by_value);
        qsort(b->keys + k, (size_t)n, sizeof *b->keys, by_value);
        if (memcmp(a->keys + k, b->keys + k, (size_t)n * sizeof *a->keys)) return 0;
    }
    return 1;
}

static trace one, two, part[2];

static void test_threads(void)
{
    fake_data d = fake_records(45);
    loader_config c = fake_config(&d);
    c.n_threads = 0;
    run(&c, 0, &one);
    CHECK(one.n == 16 && one.n_keys[16] == 90);
    for (int threads = 1; threads <= 4; threads++) {
        for (int ahead = 1; ahead <= 3; ahead += 2) {
            c.n_threads = threads;
            c.ahead = ahead;
            run(&c, 0, &two);
            CHECK_MSG(two.n == one.n && !memcmp(one.hash, two.hash, sizeof one.hash), "%d threads", threads);
        }
    }
    CHECK(d.clones == 0);
    c.dataset = &fake_dataset_alone;
    run(&c, 0, &two);
    CHECK(!memcmp(one.hash, two.hash, sizeof one.hash));
}

static void test_each_record_once(void)
{
    fake_data d = fake_records(45);
    loader_config c = fake_config(&d);
    run(&c, 0, &one);
    for (int e = 0; e < 2; e++) {
        qsort(one.keys + e * 45, 45, sizeof *one.keys, by_value);
        for (int i = 0; i < 45; i++) CHECK(one.keys[e * 45 + i] == (uint64_t)i);
    }
}

static void test_spread(void)
{
    const int shape[][2] = { { 8, 1 }, { 1, 8 }, { 4, 2 }, { 2, 4 } };
    fake_data d = fake_records(45);
    loader_config c = fake_config(&d);
    c.size = 8;
    c.accumulation = 1;
    run(&c, 0, &one);
    for (int i = 1; i < 4; i++) {
        c.size = shape[i][0];
        c.accumulation = shape[i][1];
        run(&c, 0, &two);
        CHECK_MSG(same_sets(&one, &two), "%d x %d", c.size, c.accumulation);
        CHECK(!memcmp(one.labels, two.labels, sizeof one.labels));
    }
}

static void test_ranks(void)
{
    fake_data d = fake_records(45);
    loader_config c = fake_config(&d);
    c.size = 4;
    run(&c, 0, &one);
    c.size = 2;
    c.world = 2;
    for (c.rank = 0; c.rank < 2; c.rank++) run(&c, 0, &part[c.rank]);
    memset(&two, 0, sizeof two);
    for (two.n = 0; two.n < part[0].n; two.n++) {
        int k = two.n_keys[two.n];
        for (int r = 0; r < 2; r++) {
            int from = part[r].n_keys[two.n], n = part[r].n_keys[two.n + 1] - from;
            memcpy(two.keys + k, part[r].keys + from, (size_t)n * sizeof *two.keys);
            k += n;
        }
        two.n_keys[two.n + 1] = k;
    }
    CHECK(part[0].n == part[1].n && same_sets(&one, &two));
    CHECK(!memcmp(one.labels, part[0].labels, sizeof one.labels)); /* labels are of all ranks */
    CHECK(!memcmp(one.labels, part[1].labels, sizeof one.labels));
}

static void test_seek(void)
{
    fake_data d = fake_records(45);
    loader_config c = fake_config(&d);
    loader *l;
    const step_batch *s;
    run(&c, 0, &one);
    for (int from = 0; from <= one.n; from++) {
        run(&c, from, &two);
        CHECK_MSG(two.n == one.n - from && !memcmp(one.hash + from, two.hash, (size_t)two.n * sizeof *two.hash), "from %d", from);
    }
    CHECK(loader_open(&c, &l) == CO_OK);
    for (int i = 0; i < 5; i++) CHECK(loader_next(l, &s) == CO_OK);
    CHECK(loader_seek(l, 1) == CO_OK); /* while readers are at work further on */
    for (int i = 1; i < one.n; i++) CHECK(loader_next(l, &s) == CO_OK && step_hash(s) == one.hash[i]);
    CHECK(loader_next(l, &s) == CO_END);
    CHECK(loader_seek(l, one.n + 1) == CO_E_INVALID);
    loader_release(l);
}

static void test_order(void)
{
    fake_data d = fake_records(45);
    loader_config c = fake_config(&d);
    c.size = 45;
    c.accumulation = 1;
    c.max_steps = 3; /* overrides epochs and cycles */
    run(&c, 0, &one);
    CHECK(one.n == 3 && memcmp(one.keys, one.keys + 45, 45 * 8) && memcmp(one.keys + 45, one.keys + 90, 45 * 8));
    c.seed = 43;
    run(&c, 0, &two);
    CHECK(memcmp(one.keys, two.keys, 45 * 8));
    c.shuffle = 0;
    run(&c, 0, &two);
    for (uint64_t i = 0; i < 135; i++) CHECK(two.keys[i] == i % 45);
}

static int long_output(int64_t i) { return i == 5 ? 100 : i == 6 ? 28 : 3; }

static void test_sequence(void)
{
    fake_data d = fake_records(8);
    loader_config c = fake_config(&d);
    loader *l;
    const step_batch *s;
    const batch *b;
    d.out_len = long_output;
    c.shuffle = 0;
    c.size = 8;
    c.accumulation = 1;
    CHECK(loader_open(&c, &l) == CO_OK && loader_next(l, &s) == CO_OK && s->n_micro == 1);
    b = s->micro;
    {   /* BOS i 0 a a a EOS: the answer and EOS are learnt, each at the place before it */
        const int32_t ids[] = { 1, 'i' + 3, '0' + 3, 'a' + 3, 'a' + 3, 'a' + 3, 2 };
        const int32_t labels[] = { -100, -100, 'a' + 3, 'a' + 3, 'a' + 3, 2, -100 };
        CHECK(b->n_seqs == 8 && b->seq_start[0] == 0 && b->seq_start[1] == 7 && b->seq_start[8] == b->n_tokens);
        CHECK(!memcmp(b->ids, ids, sizeof ids) && !memcmp(b->labels, labels, sizeof labels));
        for (int t = 0; t < 7; t++) CHECK(b->positions[t] == t && b->mask[t] == (labels[t] >= 0 ? 1.0f : 0.0f));
        CHECK(b->ids[7] == 1 && b->positions[7] == 0 && b->seq_key[3] == 3);
    }
    CHECK(b->seq_start[6] - b->seq_start[5] == 32 && b->ids[b->seq_start[6] - 1] == 'f' + 3); /* cut: no EOS left */
    CHECK(b->labels[b->seq_start[6] - 1] == -100 && b->labels[b->seq_start[6] - 2] == 'f' + 3);
    CHECK(b->seq_start[7] - b->seq_start[6] == 32 && b->ids[b->seq_start[7] - 1] == 2); /* just fits */
    CHECK(s->n_cut == 1 && s->n_dropped == 0 && s->n_samples == 8);
    CHECK(s->n_labels == 6 * 4 + 29 + 29 && b->n_labels == s->n_labels && s->epoch == 1.0);
    loader_release(l);
}

static void test_no_special_tokens(void)
{
    fake_data d = fake_records(1);
    loader_config c = fake_config(&d);
    loader *l;
    const step_batch *s;
    c.bos = c.eos = c.before = -1;
    c.columns = "output=output";
    d.out_len = long_output;
    CHECK(loader_open(&c, &l) == CO_OK && loader_next(l, &s) == CO_OK);
    CHECK(s->micro[0].n_tokens == 3 && s->n_labels == 2 && s->micro[0].labels[2] == -100); /* the first has no past */
    loader_release(l);
}

static void test_dropped(void)
{
    fake_data d = fake_records(8);
    loader_config c = fake_config(&d);
    loader *l;
    const step_batch *s;
    int steps = 0;
    c.templ = "alpaca"; /* its prompt alone is longer than max_len */
    c.shuffle = 0;
    CHECK(loader_open(&c, &l) == CO_OK);
    CHECK(loader_total_steps(l) == 4);
    CHECK(loader_next(l, &s) == CO_OK && s->n_dropped == 6 && s->n_cut == 6 && !s->n_labels && !s->n_samples);
    CHECK(s->n_micro == 3 && s->micro[0].n_tokens == 0 && s->micro[2].n_seqs == 0);
    CHECK(loader_next(l, &s) == CO_E_FORMAT); /* a whole pass without a sample */
    CHECK_HAS(error_message(), "fake.json: none of the 8 records can be used");
    loader_release(l);
    c.max_len = 192;
    d.out_len = long_output;
    CHECK(loader_open(&c, &l) == CO_OK);
    while (loader_next(l, &s) == CO_OK) steps++;
    CHECK(steps == 4);
    loader_release(l);
}

static void test_hole(void)
{
    fake_data d = fake_records(20);
    loader_config c = fake_config(&d);
    d.bad[0] = 7;
    d.bad[1] = 8;
    run((c.skip_bad = 1, &c), 0, &one);
    CHECK(one.n == 8 && one.n_keys[8] == 36 && one.totals.bad == 2 && one.totals.samples == 36);
    d.bad[0] = d.bad[1] = -1;
    run(&c, 0, &two);
    CHECK(two.n == 8);
    /* The others stay in their steps. */
    for (int s = 0; s < 8; s++)
        for (int k = one.n_keys[s]; k < one.n_keys[s + 1]; k++) {
            int found = 0;
            for (int q = two.n_keys[s]; q < two.n_keys[s + 1]; q++) found |= two.keys[q] == one.keys[k];
            CHECK(found);
        }
}

static void test_stop_at_bad(void)
{
    for (int threads = 0; threads <= 4; threads++) {
        fake_data d = fake_records(45);
        loader_config c = fake_config(&d);
        loader *l;
        const step_batch *s;
        c.shuffle = 0;
        c.n_threads = threads;
        d.bad[0] = 16;
        d.bad[1] = 14; /* the earlier one is named, whoever came first */
        d.bad[2] = 19;
        CHECK(loader_open(&c, &l) == CO_OK);
        CHECK(loader_next(l, &s) == CO_OK && loader_next(l, &s) == CO_OK); /* records 0 to 11 */
        for (int again = 0; again < 2; again++) {
            CHECK(loader_next(l, &s) == CO_E_FORMAT && !s);
            CHECK_STR(error_message(), "fake.json: row 15: broken");
        }
        CHECK(loader_seek(l, 4) == CO_OK && loader_next(l, &s) == CO_OK && s->step == 4);
        loader_release(l);
    }
}

static void expect_refused(const loader_config *c, int code, const char *why)
{
    loader *l = NULL;
    int rc = loader_open(c, &l);
    CHECK_MSG(rc == code && !l, "%d, want %d (%s)", rc, code, why);
    if (rc) CHECK_HAS(error_message(), why);
    loader_release(l);
}

static void test_refused(void)
{
    fake_data d = fake_records(0);
    loader_config c = fake_config(&d);
    expect_refused(&c, CO_E_FORMAT, "fake.json: the dataset is empty");
    d = fake_records(5);
    expect_refused((c.max_len = 1, &c), CO_E_CONFIG, "max_len = 1");
    c = fake_config(&d);
    expect_refused((c.size = 0, &c), CO_E_CONFIG, "size = 0");
    c = fake_config(&d);
    expect_refused((c.accumulation = 0, &c), CO_E_CONFIG, "accumulation = 0");
    c = fake_config(&d);
    expect_refused((c.epochs = 0, &c), CO_E_CONFIG, "epochs = 0");
    c = fake_config(&d);
    expect_refused((c.tokens = 16, &c), CO_E_CONFIG, "tokens = 16 is less than [dataset] max_len = 32");
    c = fake_config(&d);
    expect_refused((c.size = c.accumulation = 1 << 20, &c), CO_E_CONFIG, "2^30");
    c = fake_config(&d);
    expect_refused((c.rank = 1, &c), CO_E_INVALID, "rank 1 of 1");
    d = fake_records(1);
    c = fake_config(&d);
    c.split = 1e-9;
    expect_refused(&c, CO_E_CONFIG, "split = 1e-09 leaves none of the 1 records to train on");
}

static void test_allocations(void)
{
    fake_data d = fake_records(45);
    loader_config c = fake_config(&d);
    mem_counts before, first, last, after;
    const step_batch *s;
    loader *l;
    int failed = 0;
    mem_count(&before);
    CHECK(loader_open(&c, &l) == CO_OK && loader_next(l, &s) == CO_OK);
    mem_count(&first);
    while (loader_next(l, &s) == CO_OK) {}
    mem_count(&last);
    CHECK(first.allocs == last.allocs && first.live_bytes == last.live_bytes);
    loader_release(l);
    for (int64_t n = 1; n < 200; n++, failed++) { /* each allocation of open fails once */
        int rc;
        l = NULL;
        mem_fail_after(n);
        rc = loader_open(&c, &l);
        mem_fail_after(0);
        loader_release(l);
        if (!rc) break;
        CHECK(rc == CO_E_NOMEM);
    }
    mem_count(&after);
    CHECK_MSG(failed > 20 && failed < 199, "%d", failed);
    CHECK(before.live_bytes == after.live_bytes && d.clones == 0);
}

static void test_split(void)
{
    static int held[200];
    fake_data d = fake_records(100);
    loader_config c = fake_config(&d);
    int n = 0;
    d.bad[0] = 50; /* belongs to training */
    c.skip_bad = 1;
    c.size = 8;
    c.epochs = 1;
    c.split = 0.8;
    memset(held, 0, sizeof held);
    run(&c, 0, &one);
    c.held_out = 1;
    run(&c, 0, &two);
    loader *training = NULL; /* told from the training part's loader, or made anew: the same */
    c.held_out = 0;
    CHECK(loader_open(&c, &training) == CO_OK);
    c.held_out = 1;
    c.beside = training;
    run(&c, 0, &part[0]);
    c.beside = NULL;
    loader_release(training);
    CHECK(part[0].n_keys[part[0].n] == two.n_keys[two.n] && !memcmp(part[0].keys, two.keys, (size_t)two.n_keys[two.n] * sizeof *two.keys));
    for (int i = 0; i < two.n_keys[two.n]; i++) held[two.keys[i]] = 1;
    for (int i = 0; i < one.n_keys[one.n]; i++) CHECK(!held[one.keys[i]]++);
    for (int i = 0; i < 100; i++) n += held[i];
    CHECK(n == 99 && !held[50]);
    n = two.n_keys[two.n];
    CHECK_MSG(n > 8 && n < 35, "%d of 100 held out", n);
    d.n = 200; /* more records move none of the old ones */
    d.bad[0] = -1;
    c.shuffle = 0;
    run(&c, 0, &part[0]);
    for (int i = 0; i < part[0].n_keys[part[0].n]; i++) n -= part[0].keys[i] < 100;
    CHECK(n == 0);
    c.tokens = 64;
    run(&c, 0, &two); /* by tokens the same part */
    qsort(two.keys, (size_t)two.n_keys[two.n], sizeof *two.keys, by_value);
    CHECK(two.n_keys[two.n] == part[0].n_keys[part[0].n]);
    CHECK(!memcmp(two.keys, part[0].keys, (size_t)two.n_keys[two.n] * sizeof *two.keys));
}

/* Any record, in the order of the file, while readers are at work; the split's part only. */
static void test_peek(void)
{
    for (int alone = 0; alone < 2; alone++) {
        fake_data d = fake_records(45);
        loader_config c = fake_config(&d);
        loader *l = NULL;
        co_arena *a = arena_new(4096);
        const int32_t *ids = NULL;
        int32_t n = 0, n_prompt = 0;
        d.bad[0] = 9;
        c.skip_bad = 1;
        c.max_len = 6; /* BOS, "i12", then 2 of the answer */
        if (alone) c.dataset = &fake_dataset_alone;
        CHECK(loader_open(&c, &l) == CO_OK);
        CHECK_MSG(loader_peek(l, 12, a, &ids, &n, &n_prompt) == CO_OK, "%s", error_message());
        CHECK(n == 6 && n_prompt == 4 && ids[0] == FAKE_BOS && ids[1] == 'i' + FAKE_BYTE && ids[3] == '2' + FAKE_BYTE);
        CHECK(ids[4] == 'm' + FAKE_BYTE); /* 'a' + 12 */
        CHECK(loader_peek(l, 0, a, &ids, &n, &n_prompt) == CO_OK && n == 5 && n_prompt == 3 && ids[4] == FAKE_EOS);
        CHECK(loader_peek(l, 9, a, &ids, &n, &n_prompt) == CO_E_FORMAT);
        CHECK(loader_peek(l, 45, a, &ids, &n, &n_prompt) == CO_END && loader_peek(l, -1, a, &ids, &n, &n_prompt) == CO_END);
        loader_release(l);
        CHECK(d.clones == 0);
        c.split = 0.5;
        c.held_out = 1;
        CHECK(loader_open(&c, &l) == CO_OK);
        const int64_t part_n = loader_n_records(l);
        CHECK(loader_peek(l, part_n - 1, a, &ids, &n, &n_prompt) == CO_OK && loader_peek(l, part_n, a, &ids, &n, &n_prompt) == CO_END);
        loader_release(l);
        arena_free(a);
    }
}

int main(void)
{
    test_threads();
    test_each_record_once();
    test_peek();
    test_spread();
    test_ranks();
    test_seek();
    test_order();
    test_sequence();
    test_no_special_tokens();
    test_dropped();
    test_hole();
    test_stop_at_bad();
    test_refused();
    test_allocations();
    test_split();
    return check_done();
}
