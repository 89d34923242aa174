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
        {"bloom/heads4", "\"bloom\"", "\"bloomz9\"", CO_E_FORMAT, "model_type \"bloomz9\" is served by no installed model plugin; they serve: bloom, gpt2, gpt_neox, llama, mistral, qwen2, opt"},
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
        {"gpt_neox/heads4", "\"gelu\"", "\"mish\"", CO_E_UNSUPPORTED, "hidden_act = \"mish\" is not offered; possible: gelu_new|"},
        {"gpt_neox/heads4", "\"rotary_pct\": 0.25", "\"rotary_pct\": 0.2", CO_E_FORMAT, "rotary_pct = 0.2 of a head of 8 turns 1 dimensions"},
        {"gpt_neox/heads4", "\"use_cache\"", "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0}, \"use_cache\"", CO_E_UNSUPPORTED,
         "rope_scaling.type = \"dynamic\" is not offered; possible: default|linear"},
        {"gpt_neox/heads4", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", CO_E_FORMAT, "the file has 2 layers, and num_hidden_layers"},
        {"opt/heads4", "\"layerdrop\": 0.0", "\"layerdrop\": 0.1", CO_E_UNSUPPORTED, "layerdrop is set to something else than 0"},
        {"opt/heads4", "\"use_cache\"", "\"layer_norm_elementwise_affine\": false, \"use_cache\"", CO_E_UNSUPPORTED, "layer_norm_elementwise_affine"},
        {"opt/350m", "\"word_embed_proj_dim\": 9", "\"word_embed_proj_dim\": 14", CO_E_FORMAT, "embed_tokens.weight\" has shape [40, 9]"},
        {"opt/heads4", "\"ffn_dim\": 40,", "", CO_E_FORMAT, "config.json lacks \"ffn_dim\""},
        {"mistral/window", "\"use_cache\"", "\"attention_bias\": true, \"use_cache\"", CO_E_UNSUPPORTED, "attention_bias is set"},
        {"mistral/window", "\"use_cache\"", "\"layer_types\": [\"sliding_attention\", \"full_attention\"], \"use_cache\"", CO_E_UNSUPPORTED,
         "layer_types.1 disagrees with sliding_window"},
        {"mistral/window", "\"sliding_window\": 5", "\"sliding_window\": 0", CO_E_FORMAT, "sliding_window = 0 is out of range"},
        {"mistral/window", "\"num_key_value_heads\": 2,", "", CO_E_FORMAT, "num_attention_heads = 4 does not divide by num_key_value_heads = 8"},
        {"qwen2/full", "\"use_cache\"", "\"layer_types\": [\"full_attention\", \"chunked_attention\"], \"use_cache\"", CO_E_UNSUPPORTED,
         "layer_types.1 = \"chunked_attention\" is not offered"},
        {"qwen2/full", "\"use_cache\"", "\"layer_types\": [\"full_attention\", \"sliding_attention\"], \"use_cache\"", CO_E_UNSUPPORTED,
         "layer_types.1 disagrees"},
        {"qwen2/full", "\"silu\"", "\"gelu\"", CO_E_UNSUPPORTED, "hidden_act = \"gelu\" is not offered; possible: silu"},
        {"llama/gqa_tied", "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0}", CO_E_UNSUPPORTED,
         "rope_scaling.type = \"dynamic\" is not offered; possible: default|linear|llama3"},
        {"llama/gqa_tied", "\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"linear\"}", CO_E_FORMAT, "config.json lacks \"rope_parameters.factor\""},
        {"llama/gqa_tied", "\"rope_scaling\": null", "\"partial_rotary_factor\": 0.5", CO_E_UNSUPPORTED, "partial_rotary_factor is set"},
        {"llama/gqa_tied", "\"num_attention_heads\": 6", "\"num_attention_heads\": 8", CO_E_FORMAT, "head_dim = 3: rotary positions need an even one"},
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

/* A table of positions is never read beyond its end. */
static void test_positions(void)
{
    char *dir = mem_printf("%s/tests/golden/gpt2/heads4", COATI_SOURCE_DIR);
    fixture f;
    CHECK(fixture_open(&(fixture_args){.dir = dir, .slots = 1, .slot_len = 65, .pass_tokens = 65, .pass_rows = 1}, &f) == CO_E_CONFIG);
    CHECK_HAS(error_message(), "65 positions are asked for; the model has 64");
    fixture_close(&f);
    static const int32_t ids[2] = {1, 2}, start[2] = {0, 2}, position[2] = {0, 64}, labels[2] = {2, -100};
    static const float mask[2] = {1, 0};
    static const uint64_t key = 0;
    const void *const columns[2] = {labels, mask};
    const engine_batch b = {.n_tokens = 2, .n_seqs = 1, .ids = ids, .positions = position, .seq_start = start, .seq_key = &key, .columns = columns};
    engine_result res;
    CHECK(fixture_open(&(fixture_args){.dir = dir, .max_tokens = 4, .max_seqs = 1}, &f) == CO_OK);
    CHECK(engine_evaluate(f.engine, &b, 1, &res) == CO_E_CONFIG);
    CHECK_HAS(error_message(), "position 64; the model has 64");
    fixture_close(&f);
    mem_free(dir);
}

int main(void)
{
    char name[] = "/tmp/coati-models-XXXXXX";
    scratch = mkdtemp(name);
    CHECK(scratch != NULL);
    test_refused();
    test_dropout();
    test_positions();
    CHECK(fs_remove_tree(scratch) == CO_OK);
    return check_done();
}
