/* Stage pretrain's samples: texts as one run of ids, cut into equal blocks, whatever the threads, ranks and order. */
#include "check.h"
#include "fake_loader.h"

enum { LONG = 140000 }; /* bytes of record 3: several pieces */
static char long_text[LONG + 1];

static int text_of(int64_t i, const char **text)
{
    static const char *const texts[] = {"ab", "", "cdefg", "i j", "h"};
    *text = i == 3 ? long_text : texts[i % 5];
    return (int)strlen(*text);
}

static int read_text(void *self, int64_t i, co_arena *a, co_field **fields, uint32_t *n)
{
    fake_data *d = self;
    co_field *f = arena_push(a, sizeof *f, 16);
    if (!f) return CO_E_NOMEM;
    if (i >= d->n) return CO_END;
    for (int k = 0; k < 4; k++)
        if (d->bad[k] == i) return FAIL(CO_E_FORMAT, "fake.json: row %d: broken", (int)i + 1);
    *f = (co_field){.name = "text"};
    f->len = (size_t)text_of(i, &f->data);
    *fields = f;
    *n = 1;
    return CO_OK;
}

static const co_dataset_vt texts = {.struct_size = sizeof texts, .count = fake_count, .read = read_text, .clone = fake_clone, .close = fake_close};

static loader_config config_for(fake_data *d)
{
    loader_config c = fake_config(d);
    c.dataset = &texts;
    c.texts = 1;
    c.templ = NULL;
    c.max_len = 7;
    c.shuffle = 0;
    c.epochs = 1;
    return c;
}

/* The ids of all blocks in the loader's order. */
static size_t gather(const loader_config *c, int32_t *out, size_t cap, int64_t *blocks)
{
    loader *l = NULL;
    const step_batch *s;
    size_t n = 0, wrong = 0;
    *blocks = 0;
    CHECK_MSG(loader_open(c, &l) == CO_OK, "%s", error_message());
    while (l && loader_next(l, &s) == CO_OK)
        for (int32_t m = 0; m < s->n_micro; m++) {
            const batch *b = &s->micro[m];
            for (int32_t q = 0; q < b->n_seqs; q++, ++*blocks)
                for (int32_t t = b->seq_start[q]; t < b->seq_start[q + 1]; t++) {
                    const int last = t + 1 == b->seq_start[q + 1];
                    wrong += b->labels[t] != (last ? DATA_NO_LABEL : b->ids[t + 1]) || b->positions[t] != t - b->seq_start[q];
                    if (n < cap) out[n++] = b->ids[t];
                }
        }
    loader_release(l);
    CHECK(wrong == 0);
    return n;
}

static size_t expected(const fake_data *d, int32_t *out)
{
    size_t n = 0;
    for (int64_t i = 0; i < d->n; i++) {
        const char *text;
        const int len = text_of(i, &text);
        if (i == d->bad[0]) continue;
        out[n++] = FAKE_BOS;
        for (int k = 0; k < len; k++) out[n++] = (unsigned char)text[k] + FAKE_BYTE;
        out[n++] = FAKE_EOS;
    }
    return n;
}

static int32_t got[2 * LONG], want[2 * LONG];

static void test_run_of_ids(void)
{
    fake_data d = fake_records(12);
    loader_config c = config_for(&d);
    int64_t blocks;
    const size_t n_want = expected(&d, want), n = gather(&c, got, 2 * LONG, &blocks);
    CHECK_MSG(n == n_want && memcmp(got, want, n * sizeof *got) == 0, "%zu ids, want %zu, or others", n, n_want);
    CHECK(blocks == (int64_t)((n_want + 6) / 7));
    c.n_threads = 0;
    CHECK(gather(&c, got, 2 * LONG, &blocks) == n_want && memcmp(got, want, n_want * sizeof *got) == 0);
    c.dataset = &texts;
    c.tokens = 64; /* filled by tokens: nine blocks a micro-batch */
    CHECK(gather(&c, got, 2 * LONG, &blocks) == n_want && memcmp(got, want, n_want * sizeof *got) == 0);
}

static void test_broken_and_wrong(void)
{
    fake_data d = fake_records(12);
    loader_config c = config_for(&d);
    loader *l = NULL;
    int64_t blocks;
    d.bad[0] = 4;
    CHECK(loader_open(&c, &l) == CO_E_FORMAT && !l);
    CHECK_HAS(error_message(), "fake.json: row 5: broken");
    c.skip_bad = 1;
    const size_t n_want = expected(&d, want);
    CHECK(gather(&c, got, 2 * LONG, &blocks) == n_want && memcmp(got, want, n_want * sizeof *got) == 0);
    d = fake_records(4); /* instructions */
    c = fake_config(&d);
    c.texts = 1;
    CHECK(loader_open(&c, &l) == CO_E_FORMAT && !l);
    CHECK_HAS(error_message(), "these are instruction records; stage pretrain learns plain texts");
}

static void test_split_and_describe(void)
{
    fake_data d = fake_records(12);
    loader_config c = config_for(&d);
    int64_t blocks, n[2];
    c.split = 0.5;
    for (c.held_out = 0; c.held_out < 2; c.held_out++) n[c.held_out] = (int64_t)gather(&c, got, 2 * LONG, &blocks);
    /* Texts, not blocks, are held out. A last block of one id has nothing to learn and is not given. */
    const int64_t left = (int64_t)expected(&d, want) - n[0] - n[1];
    CHECK(n[0] > 0 && n[1] > 0 && left >= 0 && left <= 2);
    c.split = 0;
    c.held_out = 0;
    loader *l = NULL;
    char *text = NULL;
    CHECK(loader_open(&c, &l) == CO_OK && loader_describe(l, &text) == CO_OK);
    if (text) CHECK_HAS(text, "tokens in blocks of 7, every token learnt");
    mem_free(text);
    loader_release(l);
}

/* Each allocation fails once: out of memory, and nothing kept. */
static void test_out_of_memory(void)
{
    fake_data d = fake_records(3); /* the long text is not among them */
    loader_config c = config_for(&d);
    const step_batch *s;
    int rc = CO_E_NOMEM;
    c.n_threads = 0;
    c.tokens = 64;
    c.split = 0.5;
    for (int64_t n = 1; rc == CO_E_NOMEM && n < 1000; n++) {
        mem_counts before, after;
        loader *l = NULL;
        char *text = NULL;
        mem_count(&before);
        mem_fail_after(n);
        rc = loader_open(&c, &l);
        if (rc == CO_OK) rc = loader_next(l, &s);
        if (rc == CO_OK) rc = loader_describe(l, &text);
        mem_fail_after(0);
        mem_free(text);
        loader_release(l);
        mem_count(&after);
        CHECK_MSG((rc == CO_OK || rc == CO_E_NOMEM) && after.live_bytes == before.live_bytes, "allocation %d: %d, %zu bytes kept", (int)n, rc,
                  after.live_bytes - before.live_bytes);
    }
    CHECK_MSG(rc == CO_OK, "%s", error_message());
}

int main(void)
{
    for (int i = 0; i < LONG; i++) long_text[i] = i % 97 == 96 ? '\n' : i % 11 == 10 ? ' ' : (char)('a' + i % 26);
    test_run_of_ids();
    test_broken_and_wrong();
    test_split_and_describe();
    test_out_of_memory();
    return check_done();
}
