/* gpt2.c: GPT-2 (Radford et al. 2019): learnt positions, LayerNorm before each part, q, k and v in one product, GELU. Files
 * hold the matrices of products transposed (Conv1D). Heads, loss, cache, LoRA, checkpointing and sharding are the host's. */
#include "activation.h"
#include <coati/config.h>
#include <math.h>

typedef struct gpt2 {
    const co_host *host;
    int64_t d, ff, layers, heads, vocab, max_seq;
    int64_t tied, scaled, scaled_by_layer;
    int activation;
    double eps, init_std, embed_dropout, residual_dropout, attention_dropout;
} gpt2;

static int read_config(gpt2 *m, const co_meta *c)
{
    co_config k = co_config_of(m->host, c);
    m->d = co_config_need(&k, "n_embd|hidden_size", 1, 1 << 20);
    m->layers = co_config_need(&k, "n_layer|num_hidden_layers", 1, 4096);
    m->heads = co_config_need(&k, "n_head|num_attention_heads", 1, 65536);
    m->vocab = co_config_need(&k, "vocab_size", 1, 1 << 27);
    m->max_seq = co_config_need(&k, "n_positions|max_position_embeddings", 1, 1 << 27);
    m->ff = co_config_int(&k, "n_inner", 4 * m->d, 1, 1 << 24);
    m->eps = co_config_real(&k, "layer_norm_epsilon", 1e-5, 1e-30, 1);
    m->init_std = co_config_real(&k, "initializer_range", 0.02, 0, 1e3);
    m->embed_dropout = co_config_real(&k, "embd_pdrop", 0.1, 0, 0.999);
    m->residual_dropout = co_config_real(&k, "resid_pdrop", 0.1, 0, 0.999);
    m->attention_dropout = co_config_real(&k, "attn_pdrop", 0.1, 0, 0.999);
    m->tied = co_config_int(&k, "tie_word_embeddings", 1, 0, 1);
    m->scaled = co_config_int(&k, "scale_attn_weights", 1, 0, 1);
    m->scaled_by_layer = co_config_int(&k, "scale_attn_by_inverse_layer_idx", 0, 0, 1);
    m->activation = co_config_name(&k, "activation_function", ACTIVATION_NAMES, "gelu_new");
    co_config_only(&k, "add_cross_attention", 0, "only decoders that attend to themselves are offered");
    co_config_divides(&k, "n_embd", m->d, "n_head", m->heads);
    return k.status;
}

static int gpt2_open(const co_host *h, const void *opts, const co_meta *c, void **self)
{
    (void)opts;
    gpt2 *m = h->alloc(h, sizeof *m, _Alignof(gpt2));
    if (!m) return CO_FAIL(h, CO_E_NOMEM, "gpt2: no memory for the model's record");
    m->host = h;
    const int r = read_config(m, c);
    if (r) h->free(h, m);
    else *self = m;
    return r;
}

static void gpt2_close(void *self)
{
    gpt2 *m = self;
    if (m) m->host->free(m->host, m);
}

static int gpt2_info(void *self, co_model_info *out)
{
    const gpt2 *m = self;
    out->n_layers = (uint32_t)m->layers;
    out->d_model = (uint32_t)m->d;
    out->n_vocab = (uint32_t)m->vocab;
    out->max_seq = (uint32_t)m->max_seq;
    out->n_block_kinds = m->scaled_by_layer ? (uint32_t)m->layers : 1;
    out->n_kv_heads = (uint32_t)m->heads;
    out->head_dim = (uint32_t)(m->d / m->heads);
    return CO_OK;
}

static uint32_t gpt2_block_kind(void *self, uint32_t layer)
{
    const gpt2 *m = self;
    return m->scaled_by_layer ? layer : 0;
}

enum { TABLE, PRODUCT, RESIDUAL, BIAS, NORM };

static int gpt2_params(void *self, void *sink, int (*add)(void *sink, const co_param *p))
{
    const gpt2 *m = self;
    const struct { uint32_t unit; int kind; const char *local, *file; int64_t n0, n1; } table[] = {
        {CO_UNIT_EMBED, TABLE, "tok", "transformer.wte.weight", m->vocab, m->d},
        {CO_UNIT_EMBED, TABLE, "pos", "transformer.wpe.weight", m->max_seq, m->d},
        {CO_UNIT_BLOCK, NORM, "norm1", "transformer.h.{}.ln_1.weight", m->d, 0},
        {CO_UNIT_BLOCK, BIAS, "bnorm1", "transformer.h.{}.ln_1.bias", m->d, 0},
        {CO_UNIT_BLOCK, PRODUCT, "qkv", "transformer.h.{}.attn.c_attn.weight", 3 * m->d, m->d},
        {CO_UNIT_BLOCK, BIAS, "bqkv", "transformer.h.{}.attn.c_attn.bias", 3 * m->d, 0},
        {CO_UNIT_BLOCK, RESIDUAL, "o", "transformer.h.{}.attn.c_proj.weight", m->d, m->d},
        {CO_UNIT_BLOCK, BIAS, "bo", "transformer.h.{}.attn.c_proj.bias", m->d, 0},
        {CO_UNIT_BLOCK, NORM, "norm2", "transformer.h.{}.ln_2.weight", m->d, 0},
        {CO_UNIT_BLOCK, BIAS, "bnorm2", "transformer.h.{}.ln_2.bias", m->d, 0},
        {CO_UNIT_BLOCK, PRODUCT, "up", "transformer.h.{}.mlp.c_fc.weight", m->ff, m->d},
        {CO_UNIT_BLOCK, BIAS, "bup", "transformer.h.{}.mlp.c_fc.bias", m->ff, 0},
        {CO_UNIT_BLOCK, RESIDUAL, "down", "transformer.h.{}.mlp.c_proj.weight", m->d, m->ff},
        {CO_UNIT_BLOCK, BIAS, "bdown", "transformer.h.{}.mlp.c_proj.bias", m->d, 0},
        {CO_UNIT_FINAL, NORM, "norm", "transformer.ln_f.weight", m->d, 0},
        {CO_UNIT_FINAL, BIAS, "bnorm", "transformer.ln_f.bias", m->d, 0},
        {CO_UNIT_FINAL, TABLE, "lm_head", "lm_head.weight", m->vocab, m->d},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const int kind = table[i].kind, matrix = kind < BIAS, head = strcmp(table[i].local, "lm_head") == 0;
        const co_param p = {
            .struct_size = sizeof p, .unit = table[i].unit, .local_name = table[i].local, .file_name = table[i].file,
            .tied_to = head && m->tied ? "transformer.wte.weight" : NULL, .ne = {table[i].n0, table[i].n1}, .ndim = matrix ? 2 : 1,
            .init = matrix ? CO_INIT_NORMAL : kind == NORM ? CO_INIT_ONE : CO_INIT_ZERO,
            .init_std = (float)(m->init_std / (kind == RESIDUAL ? sqrt(2.0 * (double)m->layers) : 1)),
            .flags = (uint16_t)(kind == TABLE ? 0 : matrix ? CO_PARAM_FILE_TRANSPOSED
                                                           : CO_PARAM_NO_DECAY | (strstr(table[i].local, "norm") ? CO_PARAM_FP32 : 0)),
        };
        const int r = add(sink, &p);
        if (r != CO_OK) return r;
    }
    return CO_OK;
}

static co_val product(const co_graph_ops *op, co_graph *g, co_val x, const char *w, const char *b)
{
    return op->linear(g, x, op->param(g, w), op->param(g, b));
}
static co_val norm(const gpt2 *m, const co_graph_ops *op, co_graph *g, co_val x, const char *w, const char *b)
{
    return op->layernorm(g, x, op->param(g, w), op->param(g, b), (float)m->eps);
}

static co_val embed(const gpt2 *m, const co_graph_ops *op, co_graph *g, const co_unit_in *in)
{
    const co_val tokens = op->embedding(g, in->token_ids, op->param(g, "tok"));
    const co_val positions = op->embedding(g, in->positions, op->param(g, "pos"));
    return op->dropout(g, op->add(g, tokens, positions), (float)m->embed_dropout);
}

static co_val block(const gpt2 *m, const co_graph_ops *op, co_graph *g, co_val x, uint32_t layer)
{
    const double scale = m->scaled ? 1 / sqrt((double)(m->d / m->heads)) : 1;
    const co_attn attn = {.struct_size = sizeof attn, .n_heads = (uint32_t)m->heads, .n_kv_heads = (uint32_t)m->heads, .causal = 1,
                          .scale = (float)(m->scaled_by_layer ? scale / (layer + 1) : scale), .dropout = (float)m->attention_dropout};
    const int64_t thirds[3] = {m->d, m->d, m->d};
    const float drop = (float)m->residual_dropout;
    co_val qkv[3];

    co_val n = norm(m, op, g, x, "norm1", "bnorm1");
    op->split(g, product(op, g, n, "qkv", "bqkv"), 3, thirds, qkv);
    x = op->add(g, x, op->dropout(g, product(op, g, op->attention(g, qkv[0], qkv[1], qkv[2], &attn), "o", "bo"), drop));

    n = norm(m, op, g, x, "norm2", "bnorm2");
    co_val h = activation(op, g, product(op, g, n, "up", "bup"), m->activation);
    return op->add(g, x, op->dropout(g, product(op, g, h, "down", "bdown"), drop));
}

static co_val gpt2_build(void *self, co_unit unit, uint32_t block_kind, const co_graph_ops *op, co_graph *g, const co_unit_in *in)
{
    const gpt2 *m = self;
    switch (unit) {
    case CO_UNIT_EMBED: return embed(m, op, g, in);
    case CO_UNIT_BLOCK: return block(m, op, g, in->x, block_kind);
    case CO_UNIT_FINAL: return norm(m, op, g, in->x, "norm", "bnorm");
    }
    return 0;
}

static const char *const types[] = {"gpt2", NULL};
static const co_model_vt gpt2_vt = {.struct_size = sizeof gpt2_vt, .model_types = types, .open = gpt2_open, .close = gpt2_close,
                                    .info = gpt2_info, .params = gpt2_params, .build = gpt2_build, .block_kind = gpt2_block_kind};
static const char *const needs[] = {"op:layernorm", "op:attention", "op:gelu", "op:split", NULL};
static const co_feature gpt2_feature = {.struct_size = sizeof gpt2_feature, .kind = CO_KIND_MODEL, .name = "gpt2",
                                        .summary = "GPT-2: learnt positions, LayerNorm, fused q, k and v, GELU", .needs = needs, .vt = &gpt2_vt};
static const co_feature *const features[] = {&gpt2_feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "coati-model-gpt2",
                                 .vendor = "coati", .version = "0.1.0", .license = "Apache-2.0", .url = "", .features = features};
CO_PLUGIN(plugin);
