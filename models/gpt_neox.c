/* gpt_neox.c: GPT-NeoX and Pythia (Black et al. 2022; Biderman et al. 2023): attention and MLP side by side on one residual, or
 * one after the other; rotary positions on a part of each head; q, k and v in one product, which files hold a head at a time. */
#include "activation.h"
#include <coati/config.h>

typedef struct gpt_neox {
    const co_host *host;
    int64_t d, ff, layers, heads, head_dim, vocab, max_seq;
    int64_t tied, bias, parallel;
    int activation;
    double eps, init_std, dropout, attention_dropout;
    co_rope rope;
} gpt_neox;

static int read_config(gpt_neox *m, const co_meta *c)
{
    co_config k = co_config_of(m->host, c);
    m->d = co_config_need(&k, "hidden_size", 1, 1 << 20);
    m->ff = co_config_need(&k, "intermediate_size", 1, 1 << 24);
    m->layers = co_config_need(&k, "num_hidden_layers", 1, 4096);
    m->heads = co_config_need(&k, "num_attention_heads", 1, 65536);
    m->vocab = co_config_need(&k, "vocab_size", 1, 1 << 27);
    m->max_seq = co_config_int(&k, "max_position_embeddings", 2048, 1, 1 << 30);
    m->eps = co_config_real(&k, "layer_norm_eps", 1e-5, 1e-30, 1);
    m->init_std = co_config_real(&k, "initializer_range", 0.02, 0, 1e3);
    m->dropout = co_config_real(&k, "hidden_dropout", 0, 0, 0.999);
    m->attention_dropout = co_config_real(&k, "attention_dropout", 0, 0, 0.999);
    m->tied = co_config_int(&k, "tie_word_embeddings", 0, 0, 1);
    m->bias = co_config_int(&k, "attention_bias", 1, 0, 1);
    m->parallel = co_config_int(&k, "use_parallel_residual", 1, 0, 1);
    m->activation = co_config_name(&k, "hidden_act", ACTIVATION_NAMES, "gelu");
    co_config_divides(&k, "hidden_size", m->d, "num_attention_heads", m->heads);
    m->head_dim = m->d / m->heads;

    /* Keys of their own before transformers 5, rope_parameters since; of rope_scaling only a factor is offered. */
    const double share = co_config_real(&k, "rope_parameters.partial_rotary_factor|rotary_pct", 0.25, 0, 1);
    const int64_t dims = (int64_t)((double)m->head_dim * share);
    m->rope = (co_rope){.struct_size = sizeof m->rope, .n_heads = (uint32_t)m->heads, .rotary_dims = (uint32_t)dims, .neox = 1, .factor = 1};
    m->rope.theta = (float)co_config_real(&k, "rope_parameters.rope_theta|rotary_emb_base", 10000, 1e-6, 1e30);
    if (co_config_name(&k, "rope_parameters.rope_type|rope_scaling.rope_type|rope_scaling.type", "default|linear", "default")) {
        m->rope.scaling = CO_ROPE_LINEAR;
        m->rope.factor = (float)co_config_need_real(&k, "rope_parameters.factor|rope_scaling.factor", 1e-6, 1e6);
    }
    if (k.status == CO_OK && (dims < 2 || dims % 2))
        k.status = CO_FAIL(m->host, CO_E_FORMAT, "config.json: rotary_pct = %g of a head of %lld turns %lld dimensions; it must be an even "
                           "number, at least 2", share, (long long)m->head_dim, (long long)dims);
    return k.status;
}

static int gpt_neox_open(const co_host *h, const void *opts, const co_meta *c, void **self)
{
    (void)opts;
    gpt_neox *m = h->alloc(h, sizeof *m, _Alignof(gpt_neox));
    if (!m) return CO_FAIL(h, CO_E_NOMEM, "gpt_neox: no memory for the model's record");
    m->host = h;
    const int r = read_config(m, c);
    if (r) h->free(h, m);
    else *self = m;
    return r;
}

static void gpt_neox_close(void *self)
{
    gpt_neox *m = self;
    if (m) m->host->free(m->host, m);
}

static int gpt_neox_info(void *self, co_model_info *out)
{
    const gpt_neox *m = self;
    out->n_layers = (uint32_t)m->layers;
    out->d_model = (uint32_t)m->d;
    out->n_vocab = (uint32_t)m->vocab;
    out->max_seq = (uint32_t)m->max_seq;
    out->n_block_kinds = 1;
    out->n_kv_heads = (uint32_t)m->heads;
    out->head_dim = (uint32_t)m->head_dim;
    return CO_OK;
}

enum { MATRIX, BIAS, NORM, QKV, QKV_BIAS };

static int gpt_neox_params(void *self, void *sink, int (*add)(void *sink, const co_param *p))
{
    const gpt_neox *m = self;
    const struct { uint32_t unit; int kind; const char *local, *file; int64_t n0, n1; int absent; } table[] = {
        {CO_UNIT_EMBED, MATRIX, "tok", "gpt_neox.embed_in.weight", m->vocab, m->d, 0},
        {CO_UNIT_BLOCK, NORM, "norm1", "gpt_neox.layers.{}.input_layernorm.weight", m->d, 0, 0},
        {CO_UNIT_BLOCK, BIAS, "bnorm1", "gpt_neox.layers.{}.input_layernorm.bias", m->d, 0, 0},
        {CO_UNIT_BLOCK, NORM, "norm2", "gpt_neox.layers.{}.post_attention_layernorm.weight", m->d, 0, 0},
        {CO_UNIT_BLOCK, BIAS, "bnorm2", "gpt_neox.layers.{}.post_attention_layernorm.bias", m->d, 0, 0},
        {CO_UNIT_BLOCK, QKV, "qkv", "gpt_neox.layers.{}.attention.query_key_value.weight", 3 * m->d, m->d, 0},
        {CO_UNIT_BLOCK, QKV_BIAS, "bqkv", "gpt_neox.layers.{}.attention.query_key_value.bias", 3 * m->d, 0, !m->bias},
        {CO_UNIT_BLOCK, MATRIX, "o", "gpt_neox.layers.{}.attention.dense.weight", m->d, m->d, 0},
        {CO_UNIT_BLOCK, BIAS, "bo", "gpt_neox.layers.{}.attention.dense.bias", m->d, 0, !m->bias},
        {CO_UNIT_BLOCK, MATRIX, "up", "gpt_neox.layers.{}.mlp.dense_h_to_4h.weight", m->ff, m->d, 0},
        {CO_UNIT_BLOCK, BIAS, "bup", "gpt_neox.layers.{}.mlp.dense_h_to_4h.bias", m->ff, 0, 0},
        {CO_UNIT_BLOCK, MATRIX, "down", "gpt_neox.layers.{}.mlp.dense_4h_to_h.weight", m->d, m->ff, 0},
        {CO_UNIT_BLOCK, BIAS, "bdown", "gpt_neox.layers.{}.mlp.dense_4h_to_h.bias", m->d, 0, 0},
        {CO_UNIT_FINAL, NORM, "norm", "gpt_neox.final_layer_norm.weight", m->d, 0, 0},
        {CO_UNIT_FINAL, BIAS, "bnorm", "gpt_neox.final_layer_norm.bias", m->d, 0, 0},
        {CO_UNIT_FINAL, MATRIX, "lm_head", "embed_out.weight", m->vocab, m->d, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const int kind = table[i].kind, matrix = table[i].n1 != 0, head = strcmp(table[i].local, "lm_head") == 0;
        if (table[i].absent) continue;
        co_param p = {
            .struct_size = sizeof p, .unit = table[i].unit, .local_name = table[i].local, .file_name = table[i].file,
            .tied_to = head && m->tied ? "gpt_neox.embed_in.weight" : NULL, .ne = {table[i].n0, table[i].n1},
            .ndim = matrix ? 2 : 1, .init = matrix ? CO_INIT_NORMAL : kind == NORM ? CO_INIT_ONE : CO_INIT_ZERO,
            .init_std = (float)m->init_std,
            .flags = (uint16_t)(matrix ? 0 : CO_PARAM_NO_DECAY | (strstr(table[i].local, "norm") ? CO_PARAM_FP32 : 0)),
        };
        if (kind == QKV || kind == QKV_BIAS) /* the file goes head by head: its q rows, its k rows, its v rows */
            for (int part = 0; part < 3; part++) p.file_group[part] = m->head_dim;
        const int r = add(sink, &p);
        if (r != CO_OK) return r;
    }
    return CO_OK;
}

static co_val product(const co_graph_ops *op, co_graph *g, co_val x, const char *w, const char *b)
{
    return op->linear(g, x, op->param(g, w), b ? op->param(g, b) : 0);
}
static co_val norm(const gpt_neox *m, const co_graph_ops *op, co_graph *g, co_val x, const char *w, const char *b)
{
    return op->layernorm(g, x, op->param(g, w), op->param(g, b), (float)m->eps);
}

static co_val block(const gpt_neox *m, const co_graph_ops *op, co_graph *g, const co_unit_in *in)
{
    const co_attn attn = {.struct_size = sizeof attn, .n_heads = (uint32_t)m->heads, .n_kv_heads = (uint32_t)m->heads, .causal = 1,
                          .dropout = (float)m->attention_dropout};
    const int64_t thirds[3] = {m->d, m->d, m->d};
    const float drop = (float)m->dropout;
    co_val qkv[3], x = in->x;

    op->split(g, product(op, g, norm(m, op, g, x, "norm1", "bnorm1"), "qkv", m->bias ? "bqkv" : NULL), 3, thirds, qkv);
    for (int i = 0; i < 2; i++) qkv[i] = op->rope(g, qkv[i], in->positions, &m->rope);
    const co_val a = op->dropout(g, product(op, g, op->attention(g, qkv[0], qkv[1], qkv[2], &attn), "o", m->bias ? "bo" : NULL), drop);
    if (!m->parallel) x = op->add(g, x, a);

    const co_val h = activation(op, g, product(op, g, norm(m, op, g, x, "norm2", "bnorm2"), "up", "bup"), m->activation);
    x = op->add(g, x, op->dropout(g, product(op, g, h, "down", "bdown"), drop));
    return m->parallel ? op->add(g, x, a) : x;
}

static co_val gpt_neox_build(void *self, co_unit unit, uint32_t block_kind, const co_graph_ops *op, co_graph *g, const co_unit_in *in)
{
    const gpt_neox *m = self;
    (void)block_kind;
    switch (unit) {
    case CO_UNIT_EMBED: return op->dropout(g, op->embedding(g, in->token_ids, op->param(g, "tok")), (float)m->dropout);
    case CO_UNIT_BLOCK: return block(m, op, g, in);
    case CO_UNIT_FINAL: return norm(m, op, g, in->x, "norm", "bnorm");
    }
    return 0;
}

static const char *const types[] = {"gpt_neox", NULL};
static const co_model_vt gpt_neox_vt = {.struct_size = sizeof gpt_neox_vt, .model_types = types, .open = gpt_neox_open,
                                        .close = gpt_neox_close, .info = gpt_neox_info, .params = gpt_neox_params, .build = gpt_neox_build};
CO_PLUGIN_ONE(CO_KIND_MODEL, "gpt_neox", "GPT-NeoX, Pythia: parallel residual, rotary positions on a part of a head, GELU", NULL, char,
              gpt_neox_vt, "coati", "0.1.0", "Apache-2.0");
