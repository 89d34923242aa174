/* test_packing.c: several samples end to end give the losses of the same samples run one by one: attention, ALiBi, windows and
 * positions start again with each. Every stored case of every family. And BLOOM's vocabulary, which no small case has. */
#include "check.h"
#include "models/golden.h"
#include <unistd.h>

static const char *const families[] = {"bloom", "gpt2", "gpt_neox", "llama", "mistral", "opt", "qwen2"};

/* Loss of the sequences from..to, all their labels but those of `only`'s neighbours masked; only < 0: none masked. */
static double loss_of(const golden *g, fixture *f, int32_t from, int32_t to, int32_t only)
{
    int32_t start[64];
    float mask[512];
    const int32_t t0 = g->seq_start[from], n = g->seq_start[to] - t0;
    double labels = 0;
    for (int32_t s = from; s <= to; s++) start[s - from] = g->seq_start[s] - t0;
    for (int32_t s = from; s < to; s++)
        for (int32_t i = g->seq_start[s]; i < g->seq_start[s + 1]; i++) labels += mask[i - t0] = s == only ? g->mask[i] : 0;
    const void *const columns[2] = {g->labels + t0, mask};
    const engine_batch b = {.n_tokens = n, .n_seqs = to - from, .ids = g->ids + t0, .positions = g->positions + t0, .seq_start = start,
                            .seq_key = g->key, .columns = columns};
    engine_result r = {0};
    if (labels > 0) CHECK_MSG(engine_evaluate(f->engine, &b, 1 / labels, &r) == CO_OK, "%s", error_message());
    return r.loss;
}

static int check_case(const char *dir, const char *name)
{
    golden g;
    fixture f;
    if (!golden_open(&g, dir, name)) return golden_close(&g), 0;
    const int r = fixture_open(&(fixture_args){.dir = dir, .max_tokens = g.n_tokens, .max_seqs = g.n_seqs}, &f);
    CHECK(r == CO_OK && g.n_seqs < 64 && g.n_tokens <= 512);
    for (int32_t s = 0; s < g.n_seqs && r == CO_OK; s++) {
        const double packed = loss_of(&g, &f, 0, g.n_seqs, s), alone = loss_of(&g, &f, s, s + 1, s);
        CHECK_MSG(fabs(packed - alone) <= 1e-6 * fabs(alone), "%s, sequence %d: %.9g in the batch, %.9g alone", dir, s, packed, alone);
    }
    fixture_close(&f);
    golden_close(&g);
    return 1;
}

static void test_packed(void)
{
    for (size_t k = 0; k < sizeof families / sizeof *families; k++) {
        char **names = NULL, *root = mem_printf("%s/tests/golden/%s", COATI_SOURCE_DIR, families[k]);
        size_t n = 0;
        int cases = 0;
        CHECK(fs_list(root, &names, &n) == CO_OK);
        for (size_t i = 0; i < n; i++) {
            char *dir = fs_join(root, names[i]);
            cases += check_case(dir, names[i]);
            mem_free(dir);
        }
        CHECK_MSG(cases > 3, "%s: %d cases", families[k], cases);
        fs_free_list(names, n);
        mem_free(root);
    }
}

/* 250,880 tokens and a tied head: the loss is that of the logits, and a step makes it smaller. */
static void test_large_vocabulary(void)
{
    static const char config[] = "{\"model_type\":\"bloom\",\"hidden_size\":8,\"n_layer\":1,\"n_head\":2,\"vocab_size\":250880,\"initializer_range\":0.3}";
    static const int32_t ids[6] = {250879, 5, 131072, 250000, 77, 1}, start[2] = {0, 6}, zero = 0, rows[6] = {0, 1, 2, 3, 4, 5}, position[6] = {0, 1, 2, 3, 4, 5};
    static const int32_t labels[6] = {5, 131072, 250879, 77, 1, -100};
    static const float mask[6] = {1, 1, 1, 1, 1, 0};
    static const uint64_t key = 1;
    char scratch[] = "/tmp/coati-vocabulary-XXXXXX";
    CHECK(mkdtemp(scratch) != NULL);
    char *path = mem_printf("%s/config.json", scratch);
    CHECK(fs_write_atomic(path, config, strlen(config)) == CO_OK);
    fixture f;
    const int r = fixture_open(&(fixture_args){.dir = scratch, .random = 1, .max_tokens = 6, .max_seqs = 1, .slots = 1, .slot_len = 6, .pass_tokens = 6,
                                               .pass_rows = 6}, &f);
    CHECK(r == CO_OK);
    if (r == CO_OK) {
        const engine_pass p = {.n_tokens = 6, .n_seqs = 1, .n_rows = 6, .ids = ids, .seq_start = start, .slot = &zero, .past_len = &zero, .rows = rows};
        const float *logits = NULL;
        const void *const columns[2] = {labels, mask};
        const engine_batch b = {.n_tokens = 6, .n_seqs = 1, .ids = ids, .positions = position, .seq_start = start, .seq_key = &key, .columns = columns};
        engine_result first = {0}, second = {0};
        co_step_stats stats;
        double want = 0;
        CHECK(engine_generate(f.engine, &p, &logits) == CO_OK && logits);
        for (int t = 0; t < 5; t++) {
            double sum = 0, max = -1e30;
            const float *l = logits + (size_t)t * 250880;
            for (int v = 0; v < 250880; v++) max = fmax(max, l[v]);
            for (int v = 0; v < 250880; v++) sum += exp(l[v] - max);
            want += (max + log(sum) - l[labels[t]]) / 5;
        }
        CHECK(engine_micro_step(f.engine, &b, 1.0 / 5, 1, 1, 1, &first) == CO_OK);
        CHECK_MSG(fabs(first.loss - want) <= 1e-6 * want, "loss %.9g, from the logits %.9g", first.loss, want);
        CHECK(engine_step(f.engine, 1, 1e-2, 0, &stats) == CO_OK && stats.grad_norm > 0);
        CHECK(engine_evaluate(f.engine, &b, 1.0 / 5, &second) == CO_OK);
        CHECK_MSG(second.loss < first.loss, "%g after %g", second.loss, first.loss);
    }
    fixture_close(&f);
    mem_free(path);
    CHECK(fs_remove_tree(scratch) == CO_OK);
}

int main(void)
{
    test_packed();
    test_large_vocabulary();
    return check_done();
}
