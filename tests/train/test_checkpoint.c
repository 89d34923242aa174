/* test_checkpoint.c: checkpoints/step-N: what is written comes back to the bit, `keep` newest stay, a write that fails or
 * was interrupted leaves the earlier ones as they were, and nothing foreign is touched or taken. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/train/checkpoint.h"
#include "core/train/options.h"
#include "models/fixture.h"
#include <unistd.h>

static char root[] = "/tmp/coati-checkpoint-XXXXXX";
static fixture f;
static config *c;
static const char *const model = COATI_SOURCE_DIR "/tests/golden/llama/gqa_tied";

static char *in(const char *name) { return fs_join(root, name); }
static int there(const char *name)
{
    char *p = in(name);
    const int yes = fs_is_dir(p) || fs_is_file(p);
    mem_free(p);
    return yes;
}
static void clear(void)
{
    CHECK(fs_remove_tree(root) == CO_OK);
    CHECK(fs_mkdirs(root) == CO_OK);
}
/* The names in checkpoints/, separated by blanks. */
static const char *listing(void)
{
    static char text[400];
    char *dir = in("checkpoints"), **names;
    size_t n, at = 0;
    *text = 0;
    if (fs_list(dir, &names, &n) == CO_OK) {
        for (size_t i = 0; i < n; i++) at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", i ? " " : "", names[i]);
        fs_free_list(names, n);
    }
    mem_free(dir);
    return text;
}
static int64_t newest(void)
{
    int64_t step = -1;
    CHECK_MSG(checkpoint_newest(root, 1, &step) == CO_OK, "%s", error_message());
    return step;
}
static int save(int64_t step, int64_t keep) { return checkpoint_save(root, step, keep, f.engine, f.table, 2, c, NULL); }

/* Weights and states that tell parameter, state, element and round apart. */
static float mark(uint32_t p, uint32_t what, int64_t i, int round) { return (float)(round * 7 + (int)p * 3 + (int)what) + (float)i / 4096; }
static void set_all(int round)
{
    float x[4096];
    for (uint32_t p = 0; p < f.table->n_params; p++)
        for (uint32_t what = 0; what <= 2; what++) {
            const int64_t n = param_elements(&f.table->slots[p]);
            if (f.table->slots[p].owner != p) continue;
            CHECK(n <= 4096);
            for (int64_t i = 0; i < n; i++) x[i] = mark(p, what, i, round);
            CHECK(engine_write(f.engine, p, what, 0, n, x) == CO_OK);
        }
}
static int all_are(int round)
{
    float x[4096];
    int same = 1;
    for (uint32_t p = 0; p < f.table->n_params; p++)
        for (uint32_t what = 0; what <= 2; what++) {
            const int64_t n = param_elements(&f.table->slots[p]);
            const uint32_t owner = f.table->slots[p].owner;
            CHECK(engine_read(f.engine, p, what, 0, n, x) == CO_OK);
            for (int64_t i = 0; i < n; i++) same &= x[i] == mark(owner, what, i, round);
        }
    return same;
}

static void test_there_and_back(void)
{
    clear();
    CHECK(newest() == 0); /* no folder yet */
    set_all(1);
    CHECK_MSG(save(3, 2) == CO_OK, "%s", error_message());
    CHECK_STR(listing(), "step-3");
    static const char *const files[] = {"state.json", "config.ini", "weights.safetensors", "optimizer.safetensors"};
    for (int i = 0; i < 4; i++) {
        char name[64];
        snprintf(name, sizeof name, "checkpoints/step-3/%s", files[i]);
        CHECK_MSG(there(name), "%s", name);
    }
    set_all(2);
    CHECK(all_are(2) && !all_are(1));
    CHECK_MSG(checkpoint_load(root, 3, f.engine, f.table, 2) == CO_OK, "%s", error_message());
    CHECK(all_are(1));
    CHECK(newest() == 3);
    set_all(2);
    CHECK(save(3, 2) == CO_OK); /* it is there: left alone */
    CHECK(checkpoint_load(root, 3, f.engine, f.table, 2) == CO_OK && all_are(1));
}

static void test_keep_counts_by_number(void)
{
    static const int64_t steps[] = {8, 9, 10, 100, 99};
    clear();
    for (int i = 0; i < 5; i++) {
        set_all(i);
        CHECK(save(steps[i], 2) == CO_OK);
    }
    CHECK_STR(listing(), "step-100 step-99");
    CHECK(newest() == 100);
    CHECK(checkpoint_load(root, 100, f.engine, f.table, 2) == CO_OK && all_are(3));
    CHECK(save(101, 1) == CO_OK);
    CHECK_STR(listing(), "step-101");
}

static void make_dir(const char *name)
{
    char *p = in(name);
    CHECK(fs_mkdirs(p) == CO_OK);
    mem_free(p);
}
static void test_leftovers_and_strangers(void)
{
    clear();
    CHECK(save(2, 2) == CO_OK);
    make_dir("checkpoints/step-9.tmp/half"); /* killed while writing */
    make_dir("checkpoints/step-7x");
    make_dir("checkpoints/step-");
    make_dir("checkpoints/step--5");
    make_dir("checkpoints/my-notes");
    CHECK(newest() == 2);
    CHECK_STR(listing(), "my-notes step- step--5 step-2 step-7x"); /* the half one is gone, what is not ours stays */
    CHECK(save(3, 1) == CO_OK);
    CHECK_STR(listing(), "my-notes step- step--5 step-3 step-7x");
}

/* Each allocation of a write fails once: no half checkpoint, the earlier one as it was. */
static void test_a_write_that_fails(void)
{
    int failed = 0;
    clear();
    set_all(1);
    CHECK(save(1, 1) == CO_OK);
    set_all(2);
    for (int n = 1; n < 2000; n++) {
        mem_fail_after(n);
        const int r = save(2, 1);
        mem_fail_after(0);
        if (r == CO_OK) break;
        CHECK(r == CO_E_NOMEM);
        CHECK_STR(listing(), "step-1");
        failed++;
    }
    CHECK_MSG(failed > 20, "%d allocations", failed);
    CHECK(newest() == 2);
    CHECK(checkpoint_load(root, 2, f.engine, f.table, 2) == CO_OK && all_are(2));
    /* The last ones to fail were of clearing up: the new checkpoint counts, the old one may still be there. */
    clear();
    char *p = in("checkpoints");
    CHECK(fs_write_atomic(p, "a file where the folder should be", 3) == CO_OK);
    mem_free(p);
    CHECK(save(1, 1) == CO_E_IO);
    CHECK_HAS(error_message(), "checkpoint of step 1");
    CHECK_HAS(error_message(), "earlier checkpoints are as they were");
}

static void test_damage_is_named(void)
{
    char *weights = in("checkpoints/step-1/weights.safetensors");
    clear();
    CHECK(save(1, 1) == CO_OK);
    CHECK(truncate(weights, 3000) == 0);
    CHECK(checkpoint_load(root, 1, f.engine, f.table, 2) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "step-1/weights.safetensors");
    CHECK(unlink(weights) == 0);
    CHECK(checkpoint_load(root, 1, f.engine, f.table, 2) < 0);
    CHECK_HAS(error_message(), "step-1/weights.safetensors");
    mem_free(weights);
}

static void test_another_models_checkpoint(void)
{
    fixture other;
    clear();
    CHECK(save(1, 1) == CO_OK);
    CHECK(fixture_open(&(fixture_args){.dir = COATI_SOURCE_DIR "/tests/golden/llama/heads5", .max_tokens = 8, .max_seqs = 1}, &other) == CO_OK);
    CHECK(checkpoint_load(root, 1, other.engine, other.table, 2) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "not a checkpoint of this model");
    fixture_close(&other);
}

/* ---- the configuration it was written with ------------------------------------------------------------------- */
static config *config_of(const char *change)
{
    config *k = config_new();
    options o;
    CHECK(config_override(k, "run.output=/tmp/x") == CO_OK);
    CHECK(config_set(k, "model", "path", model) == CO_OK);
    CHECK(config_override(k, "dataset.path=data.json") == CO_OK);
    if (change) CHECK(config_override(k, change) == CO_OK);
    CHECK_MSG(options_bind(k, &o) == CO_OK, "%s", error_message());
    return k;
}
static void test_what_may_change(void)
{
    static const struct { const char *change, *names; } cases[] = {
        {NULL, NULL}, {"run.epochs=9", NULL}, {"run.max_steps=7", NULL}, {"run.stop_after=3", NULL}, {"log.every=5", NULL},
        {"checkpoint.keep=9", NULL}, {"checkpoint.every=never", NULL}, {"run.seed=43", "[run] seed was \"42\""},
        {"optimizer.lr=1", "[optimizer] lr was"}, {"batch.size=5", "[batch] size was \"4\""}, {"batch.accumulation=9", "[batch] accumulation"},
        {"dataset.max_len=100", "[dataset] max_len"}, {"schedule.name=linear", "[schedule] name was \"cosine\""},
        {"schedule.steps=9", "[schedule] steps"}, {"dataset.shuffle=0", "[dataset] shuffle"}, {"run.backend=ref", NULL}, {"run.output=/tmp/y", NULL},
        {"strategy.name=naive", NULL}, {"checkpoint.resume=always", NULL}, {"log.progress=off", NULL}, {"run.save_model=0", "[run] save_model was \"1\""},
        {"run.deterministic=1", "[run] deterministic"}, {"model.checkpointing=block", "[model] checkpointing was \"none\""}, {"eval.every=1", "[eval] every"},
        {"optimizer.max_grad_norm=2", "[optimizer] max_grad_norm"}, {"plugins.path=/x", "[plugins] path"}, {"lora.rank=2", "[lora] rank was \"0\""},
        {"dataset.path=other.json", "[dataset] path was"}, {"dataset.eval.path=held.json", "[dataset.eval] path was not there"},
        {"optimizer.lr=0.00002", NULL}, {"optimizer.lr=2.0e-05", NULL}, {"optimizer.lr=0.000021", "[optimizer] lr was \"2e-5\""}, {"run.seed=042", NULL}};
    clear();
    CHECK(save(4, 1) == CO_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        config *k = config_of(cases[i].change);
        const int r = checkpoint_check_config(root, 4, k, 1);
        CHECK_MSG(r == (cases[i].names ? CO_E_CONFIG : CO_OK), "%s: %d", cases[i].change ? cases[i].change : "no change", r);
        if (cases[i].names) CHECK_HAS(error_message(), cases[i].names);
        config_free(k);
    }
    config *held = config_of("dataset.eval.path=held.json"), *k = config_of(NULL);
    CHECK(checkpoint_save(root, 6, 2, f.engine, f.table, 2, held, NULL) == CO_OK);
    CHECK(checkpoint_check_config(root, 6, held, 1) == CO_OK);
    CHECK(checkpoint_check_config(root, 6, k, 1) == CO_E_CONFIG);
    CHECK_HAS(error_message(), "[dataset.eval] path was \"");
    CHECK_HAS(error_message(), "and is gone now");
    config_free(held);
    CHECK(checkpoint_check_config(root, 5, k, 1) == CO_E_IO); /* no such checkpoint */
    config_free(k);
}

int main(void)
{
    if (!mkdtemp(root)) return perror(root), 1;
    c = config_of(NULL);
    if (fixture_open(&(fixture_args){.dir = model, .max_tokens = 8, .max_seqs = 1}, &f) != CO_OK) return 1;
    test_there_and_back();
    test_keep_counts_by_number();
    test_leftovers_and_strangers();
    test_a_write_that_fails();
    test_damage_is_named();
    test_another_models_checkpoint();
    test_what_may_change();
    fixture_close(&f);
    config_free(c);
    CHECK(fs_remove_tree(root) == CO_OK);
    return check_done();
}
