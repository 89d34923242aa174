/* test_generation.c: each family generates 200 tokens, greedily, through the cache and by running the whole text again for each
 * token: the same choices, the same logits. */
#include "check.h"
#include "models/golden.h"
#include <unistd.h>

enum { NEW = 200, PROMPT = 5, TOTAL = NEW + PROMPT };

static const char *const configs[] = {
    "{\"model_type\":\"bloom\",\"hidden_size\":24,\"n_layer\":2,\"n_head\":3,\"vocab_size\":97,\"initializer_range\":0.4}",
    "{\"model_type\":\"gpt2\",\"n_embd\":24,\"n_layer\":2,\"n_head\":4,\"vocab_size\":97,\"n_positions\":205,\"initializer_range\":0.4,"
    "\"scale_attn_by_inverse_layer_idx\":true}",
    "{\"model_type\":\"gpt_neox\",\"hidden_size\":24,\"num_hidden_layers\":2,\"num_attention_heads\":3,\"intermediate_size\":50,\"vocab_size\":97,"
    "\"max_position_embeddings\":256,\"initializer_range\":0.4}",
    "{\"model_type\":\"gpt_neox\",\"hidden_size\":24,\"num_hidden_layers\":2,\"num_attention_heads\":2,\"intermediate_size\":50,\"vocab_size\":97,"
    "\"max_position_embeddings\":256,\"initializer_range\":0.4,\"use_parallel_residual\":false,\"rotary_pct\":1}",
    "{\"model_type\":\"opt\",\"hidden_size\":24,\"num_hidden_layers\":2,\"num_attention_heads\":3,\"ffn_dim\":50,\"vocab_size\":97,"
    "\"max_position_embeddings\":205,\"init_std\":0.4}",
    "{\"model_type\":\"opt\",\"hidden_size\":24,\"num_hidden_layers\":2,\"num_attention_heads\":2,\"ffn_dim\":50,\"vocab_size\":97,"
    "\"max_position_embeddings\":205,\"init_std\":0.4,\"word_embed_proj_dim\":10,\"do_layer_norm_before\":false}",
    "{\"model_type\":\"llama\",\"hidden_size\":24,\"num_hidden_layers\":2,\"num_attention_heads\":6,\"num_key_value_heads\":2,"
    "\"intermediate_size\":50,\"vocab_size\":97,\"max_position_embeddings\":256,\"initializer_range\":0.4}",
    "{\"model_type\":\"mistral\",\"hidden_size\":24,\"num_hidden_layers\":2,\"num_attention_heads\":6,\"num_key_value_heads\":3,"
    "\"intermediate_size\":50,\"vocab_size\":97,\"max_position_embeddings\":256,\"initializer_range\":0.4,\"sliding_window\":7}",
    "{\"model_type\":\"qwen2\",\"hidden_size\":24,\"num_hidden_layers\":2,\"num_attention_heads\":2,\"num_key_value_heads\":1,"
    "\"intermediate_size\":50,\"vocab_size\":97,\"max_position_embeddings\":256,\"initializer_range\":0.4,\"use_sliding_window\":true,"
    "\"sliding_window\":9,\"max_window_layers\":1}",
};

static int32_t best(const float *logits, int64_t n)
{
    int32_t at = 0;
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[at]) at = (int32_t)i;
    return at;
}

/* Logits of the last of n tokens, of which `past` are in the slot already. */
static const float *last(fixture *f, const int32_t *ids, int32_t past, int32_t n, int32_t slot)
{
    const int32_t start[2] = {0, n - past}, row = n - past - 1;
    const engine_pass p = {.n_tokens = n - past, .n_seqs = 1, .n_rows = 1, .ids = ids + past, .seq_start = start, .slot = &slot, .past_len = &past,
                           .rows = &row};
    const float *logits = NULL;
    CHECK_MSG(engine_generate(f->engine, &p, &logits) == CO_OK, "%s", error_message());
    return logits;
}

static void generate(const char *dir, const char *config)
{
    fixture f;
    const int r = fixture_open(&(fixture_args){.dir = dir, .random = 1, .slots = 2, .slot_len = TOTAL, .pass_tokens = TOTAL, .pass_rows = 1}, &f);
    CHECK(r == CO_OK);
    const int64_t v = r == CO_OK ? f.table->info.n_vocab : 0;
    int32_t ids[TOTAL + 1] = {11, 3, 70, 8, 25}, kinds = 0;
    float *cached = mem_calloc((size_t)v + 1, sizeof *cached);
    uint8_t seen[97] = {0};
    double worst = 0;
    for (int32_t n = PROMPT; n < TOTAL && r == CO_OK; n++) {
        const float *l = last(&f, ids, n == PROMPT ? 0 : n - 1, n, 0);
        if (!l) break;
        memcpy(cached, l, (size_t)v * sizeof *cached);
        const float *again = last(&f, ids, 0, n, 1);
        const int32_t id = best(cached, v), other = best(again, v);
        for (int64_t i = 0; i < v; i++) worst = fmax(worst, fabs((double)cached[i] - again[i]) / fabs((double)again[other]));
        /* A tie to rounding may fall either way. */
        CHECK_MSG(id == other || fabsf(again[id] - again[other]) <= 1e-5f * fabsf(again[other]), "%s: token %d is %d, without the cache %d", config, n, id, other);
        ids[n] = id;
        kinds += !seen[id];
        seen[id] = 1;
    }
    CHECK_MSG(worst < 1e-5, "%s: logits %.2g apart", config, worst);
    CHECK_MSG(kinds > 4, "%s: only %d different tokens: no test", config, kinds);
    mem_free(cached);
    fixture_close(&f);
}

int main(void)
{
    char scratch[] = "/tmp/coati-generation-XXXXXX";
    CHECK(mkdtemp(scratch) != NULL);
    char *path = mem_printf("%s/config.json", scratch);
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        CHECK(fs_write_atomic(path, configs[i], strlen(configs[i])) == CO_OK);
        generate(scratch, configs[i]);
    }
    mem_free(path);
    CHECK(fs_remove_tree(scratch) == CO_OK);
    return check_done();
}
