#include "core/params/blame.h"
#include <stdio.h>
#include <string.h>

/* Sizes by the names that LLaMA, BLOOM and GPT-2 give them. Heads count in units of the head size. */
static const struct {
    const char *key;
    int heads;
} keys[] = {{"vocab_size", 0},     {"intermediate_size", 0},   {"ffn_dim", 0},  {"n_inner", 0},
            {"num_key_value_heads", 1}, {"num_attention_heads", 1}, {"n_head", 1},   {"hidden_size", 0},
            {"n_embed", 0},        {"n_embd", 0},              {"n_positions", 0}, {"max_position_embeddings", 0}};

static int get(const hf_config *config, const char *key, int64_t *v)
{
    const co_meta *m = hf_config_meta(config);
    return m->i64(m, key, v) == CO_OK;
}

void blame_size(const param_table *t, const hf_config *config, int64_t expected, int64_t found, char *buf, size_t cap)
{
    size_t at = 0;
    int64_t head = t->info.head_dim, v;
    buf[0] = 0;
    if (!config) return;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        int n;
        if (!get(config, keys[i].key, &v)) continue;
        if (keys[i].heads && head > 0 && v == expected / head && expected % head == 0 && found % head == 0)
            n = snprintf(buf + at, cap - at, "%s%s (%lld) x head size (%lld)", at ? " or " : "", keys[i].key,
                         (long long)v, (long long)head);
        else if (!keys[i].heads && v == expected)
            n = snprintf(buf + at, cap - at, "%s%s", at ? " or " : "", keys[i].key);
        else
            continue;
        if (n < 0 || (size_t)n >= cap - at) break;
        at += (size_t)n;
    }
    buf[at] = 0;
}

const char *blame_layers(const hf_config *config)
{
    static const char *const names[] = {"num_hidden_layers", "n_layer", "n_layers", "num_layers"};
    int64_t v;
    for (size_t i = 0; config && i < sizeof names / sizeof names[0]; i++)
        if (get(config, names[i], &v)) return names[i];
    return "";
}
