/* test_options.c: settings of config.json, one changed at a time in a stored case: refused by name if they change what a model
 * computes and are not offered, and dropout, which applies only when it is asked for. */
#include "check.h"
#include "models/golden.h"
#include <unistd.h>

static char *scratch;

/* A copy of tests/golden/CASE whose config.json has `from` replaced by `to`. Free with mem_free. */
static char *edited(const char *name, const char *from, const char *to)
{
    char *dir = mem_printf("%s/%s", scratch, "edited"), *path = mem_printf("%s/tests/golden/%s/config.json", COATI_SOURCE_DIR, name), *text;
    size_t len;
    CHECK(fs_remove_tree(dir) == CO_OK && fs_mkdirs(dir) == CO_OK && fs_read_all(path, &text, &len, 1 << 20) == CO_OK);
    const char *at = strstr(text, from);
    CHECK_MSG(at != NULL, "%s lacks %s", name, from);
    char *config = mem_printf("%.*s%s%s", (int)(at ? at - text : 0), text, to, at ? at + strlen(from) : "");
    char *target = mem_printf("%s/config.json", dir);
    CHECK(fs_write_atomic(target, config, strlen(config)) == CO_OK);
    mem_free(target);
    char *weights = mem_printf("%s/tests/golden/%s/model.safetensors", COATI_SOURCE_DIR, name);
    target = mem_printf("%s/model.safetensors", dir);
    CHECK(symlink(weights, target) == 0);
    mem_free(target);
    mem_free(weights);
    mem_free(config);
    mem_free(text);
    mem_free(path);
    return dir;
}

static void refuses(const char *name, const char *from, const char *to, int code, const char *says)
{
    char *dir = edited(name, from, to);
    fixture f;
    fflush(stderr);
    const int r = fixture_open(&(fixture_args){.dir = dir, .max_tokens = 8, .max_seqs = 2}, &f);
    CHECK_MSG(r == code, "%s with %s: status %d, expected %d", name, to, r, code);
    CHECK_HAS(error_message(), says);
    fixture_close(&f);
    mem_free(dir);
}

static void test_refused(void)
{
    static const struct { const char *name, *from, *to; int code; const char *says; } cases[] = {
        {"bloom/heads4", "\"bloom\"", "\"bloomz9\"", CO_E_FORMAT, "model_type \"bloomz9\" is served by no installed model plugin; they serve: bloom, gpt2"},
        {"bloom/heads4", "\"model_type\"", "\"type\"", CO_E_FORMAT, "no \"model_type\""},
        {"bloom/heads4", "\"n_embed\": 16", "\"n_embed\": 18", CO_E_FORMAT, "hidden_size = 18 does not divide by n_head = 4"},
        {"bloom/heads4", "\"n_embed\": 16", "\"n_embed\": 16.5", CO_E_FORMAT, "n_embed is not a whole number"},
        {"bloom/heads4", "\"n_embed\": 16,", "", CO_E_FORMAT, "config.json lacks \"n_embed\""},
        {"bloom/heads4", "\"n_layer\": 2", "\"n_layer\": 0", CO_E_FORMAT, "n_layer = 0 is out of range; from 1 to 4096"},
        {"bloom/heads4", "\"layer_norm_epsilon\": 1e-05", "\"layer_norm_epsilon\": \"small\"", CO_E_FORMAT, "layer_norm_epsilon is not a number"},
        {"bloom/heads4", "\"hidden_dropout\": 0.0", "\"hidden_dropout\": 1.5", CO_E_FORMAT, "hidden_dropout = 1.5; from 0 to 0.999"},
        {"bloom/heads4", "\"n_layer\": 2", "\"n_layer\": 3", CO_E_FORMAT, "the file has 2 layers, and n_layer"},
        {"gpt2/heads4", "\"gelu_new\"", "\"mish\"", CO_E_UNSUPPORTED, "activation_function = \"mish\" is not offered; possible: gelu_new|"},
        {"gpt2/heads4", "\"gelu_new\"", "7", CO_E_FORMAT, "activation_function is not a text"},
        {"gpt2/heads4", "\"n_embd\"", "\"add_cross_attention\": true, \"n_embd\"", CO_E_UNSUPPORTED, "add_cross_attention is set"},
        {"gpt2/heads4", "\"n_positions\": 64", "\"n_positions\": 32", CO_E_FORMAT, "check n_positions"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuses(cases[i].name, cases[i].from, cases[i].to, cases[i].code, cases[i].says);
}

/* Losses of two steps over the stored batch. */
static int train(const char *dir, int dropout, int blocks, double loss[2], double *off)
{
    fixture f;
    golden g;
    char *path = mem_printf("%s/tests/golden/gpt2/heads4", COATI_SOURCE_DIR);
    CHECK(golden_open(&g, path, "heads4"));
    const int r = fixture_open(&(fixture_args){.dir = dir, .max_tokens = g.n_tokens, .max_seqs = g.n_seqs, .dropout = dropout,
                                               .checkpoint_blocks = blocks}, &f);
    const void *columns[2];
    const engine_batch b = golden_batch(&g, columns);
    for (int step = 1; step <= 2 && r == CO_OK; step++) {
        engine_result res;
        co_step_stats stats;
        CHECK(engine_micro_step(f.engine, &b, 1 / g.n_labels, 1, step, 1, &res) == CO_OK);
        CHECK(engine_step(f.engine, step, 1e-3, 0, &stats) == CO_OK);
        loss[step - 1] = res.loss;
    }
    if (r == CO_OK) *off = engine_dropout_off(f.engine);
    fixture_close(&f);
    golden_close(&g);
    mem_free(path);
    return r;
}

static void test_dropout(void)
{
    char *plain = edited("gpt2/heads4", "\"attn_pdrop\": 0.1", "\"attn_pdrop\": 0");
    double left_out[2], applied[2], blocks[2], off = -1;
    CHECK(train(plain, 0, 0, left_out, &off) == CO_OK && off > 0.0999 && off < 0.1001);
    CHECK(train(plain, 1, 0, applied, &off) == CO_OK && off == 0);
    CHECK(train(plain, 1, 1, blocks, &off) == CO_OK);
    CHECK_MSG(fabs(left_out[0] - applied[0]) > 1e-3, "dropout seems to do nothing: %g", left_out[0] - applied[0]);
    CHECK(applied[0] == blocks[0] && applied[1] == blocks[1]); /* a block run again draws the same */
    mem_free(plain);
    char *attention = edited("gpt2/heads4", "\"resid_pdrop\": 0.1", "\"resid_pdrop\": 0");
    CHECK(train(attention, 1, 0, applied, &off) == CO_E_UNSUPPORTED);
    CHECK_HAS(error_message(), "dropout inside attention is not offered");
    mem_free(attention);
}

int main(void)
{
    char name[] = "/tmp/coati-models-XXXXXX";
    scratch = mkdtemp(name);
    CHECK(scratch != NULL);
    test_refused();
    test_dropout();
    CHECK(fs_remove_tree(scratch) == CO_OK);
    return check_done();
}
