/* opt.c: OPT (Zhang et al. 2022): learnt positions whose table starts at 2, LayerNorm before each part or, in the 350m, after
 * it, ReLU; embeddings may be narrower than the rest, with a product in and out. Heads, loss, cache, LoRA, checkpointing and
 * sharding are the host's. */
#include "activation.h"
#include <coati/config.h>

#define FIRST_POSITION 2

typedef struct opt {
    const co_host *host;
    int64_t d, embed_d, ff, layers, heads, vocab, max_seq;
    int64_t tied, biased, norm_before, final_norm;
    int activation;
    double init_std, dropout, attention_dropout;
} opt;

static int read_config(opt *m, const co_meta *c)
{
    co_config k = co_config_of(m->host, c);
    m->d = co_config_need(&k, "hidden_size", 1, 1 << 20);
    m->layers = co_config_need(&k, "num_hidden_layers", 1, 4096);
    m->heads = co_config_need(&k, "num_attention_heads", 1, 65536);
    m->ff = co_config_need(&k, "ffn_dim", 1, 1 << 24);
    m->vocab = co_config_need(&k, "vocab_size", 1, 1 << 27);
    m->max_seq = co_config_need(&k, "max_position_embeddings", 1, 1 << 27);
    m->embed_d = co_config_int(&k, "word_embed_proj_dim", m->d, 1, 1 << 20);
    m->init_std = co_config_real(&k, "init_std", 0.02, 0, 1e3);
    m->dropout = co_config_real(&k, "dropout", 0.1, 0, 0.999);
    m->attention_dropout = co_config_real(&k, "attention_dropout", 0, 0, 0.999);
    m->tied = co_config_int(&k, "tie_word_embeddings", 1, 0, 1);
    m->biased = co_config_int(&k, "enable_bias", 1, 0, 1);
    m->norm_before = co_config_int(&k, "do_layer_norm_before", 1, 0, 1);
    m->final_norm = m->norm_before && !co_config_int(&k, "_remove_final_layer_norm", 0, 0, 1);
    m->activation = co_config_name(&k, "activation_function", ACTIVATION_NAMES, "relu");
    co_config_only(&k, "layer_norm_elementwise_affine", 1, "norms have weights here");
    co_config_only(&k, "layerdrop", 0, "layers are never left out");
    co_config_divides(&k, "hidden_size", m->d, "num_attention_heads", m->heads);
    return k.status;
}

static int opt_open(const co_host *h, const void *opts, const co_meta *c, void **self)
{
    (void)opts;
    opt *m = h->alloc(h, sizeof *m, _Alignof(opt));
    if (!m) return CO_FAIL(h, CO_E_NOMEM, "opt: no memory for the model's record");
    m->host = h;
    const int r = read_config(m, c);
    if (r) h->free(h, m);
    else *self = m;
    return r;
}

static void opt_close(void *self)
{
    opt *m = self;
    if (m) m->host->free(m->host, m);
}

static int opt_info(void *self, co_model_info *out)
{
    const opt *m = self;
    out->n_layers = (uint32_t)m->layers;
    out->d_model = (uint32_t)m->d;
    out->n_vocab = (uint32_t)m->vocab;
    out->max_seq = (uint32_t)m->max_seq;
    out->n_block_kinds = 1;
    out->n_kv_heads = (uint32_t)m->heads;
    out->head_dim = (uint32_t)(m->d / m->heads);
    return CO_OK;
}

enum { MATRIX, BIAS, NORM };

static int opt_params(void *self, void *sink, int (*add)(void *sink, const co_param *p))
{
    const opt *m = self;
    const int narrow = m->embed_d != m->d;
    const struct { uint32_t unit; int kind, there; const char *local, *file; int64_t n0, n1; } table[] = {
        {CO_UNIT_EMBED, MATRIX, 1, "tok", "model.decoder.embed_tokens.weight", m->vocab, m->embed_d},
        {CO_UNIT_EMBED, MATRIX, 1, "pos", "model.decoder.embed_positions.weight", m->max_seq + FIRST_POSITION, m->d},
        {CO_UNIT_EMBED, MATRIX, narrow, "project_in", "model.decoder.project_in.weight", m->d, m->embed_d},
        {CO_UNIT_BLOCK, MATRIX, 1, "q", "model.decoder.layers.{}.self_attn.q_proj.weight", m->d, m->d},
        {CO_UNIT_BLOCK, MATRIX, 1, "k", "model.decoder.layers.{}.self_attn.k_proj.weight", m->d, m->d},
        {CO_UNIT_BLOCK, MATRIX, 1, "v", "model.decoder.layers.{}.self_attn.v_proj.weight", m->d, m->d},
        {CO_UNIT_BLOCK, MATRIX, 1, "o", "model.decoder.layers.{}.self_attn.out_proj.weight", m->d, m->d},
        {CO_UNIT_BLOCK, BIAS, m->biased != 0, "bq", "model.decoder.layers.{}.self_attn.q_proj.bias", m->d, 0},
        {CO_UNIT_BLOCK, BIAS, m->biased != 0, "bk", "model.decoder.layers.{}.self_attn.k_proj.bias", m->d, 0},
        {CO_UNIT_BLOCK, BIAS, m->biased != 0, "bv", "model.decoder.layers.{}.self_attn.v_proj.bias", m->d, 0},
        {CO_UNIT_BLOCK, BIAS, m->biased != 0, "bo", "model.decoder.layers.{}.self_attn.out_proj.bias", m->d, 0},
        {CO_UNIT_BLOCK, NORM, 1, "norm1", "model.decoder.layers.{}.self_attn_layer_norm.weight", m->d, 0},
        {CO_UNIT_BLOCK, BIAS, 1, "bnorm1", "model.decoder.layers.{}.self_attn_layer_norm.bias", m->d, 0},
        {CO_UNIT_BLOCK, MATRIX, 1, "up", "model.decoder.layers.{}.fc1.weight", m->ff, m->d},
        {CO_UNIT_BLOCK, BIAS, m->biased != 0, "bup", "model.decoder.layers.{}.fc1.bias", m->ff, 0},
        {CO_UNIT_BLOCK, MATRIX, 1, "down", "model.decoder.layers.{}.fc2.weight", m->d, m->ff},
        {CO_UNIT_BLOCK, BIAS, m->biased != 0, "bdown", "model.decoder.layers.{}.fc2.bias", m->d, 0},
        {CO_UNIT_BLOCK, NORM, 1, "norm2", "model.decoder.layers.{}.final_layer_norm.weight", m->d, 0},
        {CO_UNIT_BLOCK, BIAS, 1, "bnorm2", "model.decoder.layers.{}.final_layer_norm.bias", m->d, 0},
        {CO_UNIT_FINAL, NORM, m->final_norm != 0, "norm", "model.decoder.final_layer_norm.weight", m->d, 0},
        {CO_UNIT_FINAL, BIAS, m->final_norm != 0, "bnorm", "model.decoder.final_layer_norm.bias", m->d, 0},
        {CO_UNIT_FINAL, MATRIX, narrow, "project_out", "model.decoder.project_out.weight", m->embed_d, m->d},
        {CO_UNIT_FINAL, MATRIX, 1, "lm_head", "lm_head.weight", m->vocab, m->embed_d},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const int kind = table[i].kind, head = strcmp(table[i].local, "lm_head") == 0;
        if (!table[i].there) continue;
        const co_param p = {
            .struct_size = sizeof p, .unit = table[i].unit, .local_name = table[i].local, .file_name = table[i].file,
            .tied_to = head && m->tied ? "model.decoder.embed_tokens.weight" : NULL, .ne = {table[i].n0, table[i].n1},
            .ndim = kind == MATRIX ? 2 : 1, .init = kind == MATRIX ? CO_INIT_NORMAL : kind == NORM ? CO_INIT_ONE : CO_INIT_ZERO,
            .init_std = (float)m->init_std,
            .flags = (uint16_t)(kind == MATRIX ? 0 : CO_PARAM_NO_DECAY | (strstr(table[i].local, "norm") ? CO_PARAM_FP32 : 0)),
        };
        const int r = add(sink, &p);
        if (r != CO_OK) return r;
    }
    return CO_OK;
}

static co_val product(const opt *m, const co_graph_ops *op, co_graph *g, co_val x, const char *w, const char *b)
{
    return op->linear(g, x, op->param(g, w), m->biased ? op->param(g, b) : 0);
}
static co_val norm(const co_graph_ops *op, co_graph *g, co_val x, const char *w, const char *b)
{
    return op->layernorm(g, x, op->param(g, w), op->param(g, b), 1e-5f);
}

static co_val embed(const opt *m, const co_graph_ops *op, co_graph *g, const co_unit_in *in)
{
    co_val x = op->embedding(g, in->token_ids, op->param(g, "tok"));
    if (m->embed_d != m->d) x = op->linear(g, x, op->param(g, "project_in"), 0);
    return op->add(g, x, op->embedding(g, op->shift_ids(g, in->positions, FIRST_POSITION), op->param(g, "pos")));
}

static co_val block(const opt *m, const co_graph_ops *op, co_graph *g, co_val x)
{
    const co_attn attn = {.struct_size = sizeof attn, .n_heads = (uint32_t)m->heads, .n_kv_heads = (uint32_t)m->heads, .causal = 1,
                          .dropout = (float)m->attention_dropout};
    co_val n = m->norm_before ? norm(op, g, x, "norm1", "bnorm1") : x;
    const co_val q = product(m, op, g, n, "q", "bq");
    const co_val k = product(m, op, g, n, "k", "bk");
    const co_val v = product(m, op, g, n, "v", "bv");
    const co_val a = product(m, op, g, op->attention(g, q, k, v, &attn), "o", "bo");
    x = op->add(g, x, op->dropout(g, a, (float)m->dropout));
    if (!m->norm_before) x = norm(op, g, x, "norm1", "bnorm1");

    n = m->norm_before ? norm(op, g, x, "norm2", "bnorm2") : x;
    const co_val h = activation(op, g, product(m, op, g, n, "up", "bup"), m->activation);
    x = op->add(g, x, op->dropout(g, product(m, op, g, h, "down", "bdown"), (float)m->dropout));
    return m->norm_before ? x : norm(op, g, x, "norm2", "bnorm2");
}

static co_val finish(const opt *m, const co_graph_ops *op, co_graph *g, co_val x)
{
    if (m->final_norm) x = norm(op, g, x, "norm", "bnorm");
    return m->embed_d == m->d ? x : op->linear(g, x, op->param(g, "project_out"), 0);
}

static co_val opt_build(void *self, co_unit unit, uint32_t block_kind, const co_graph_ops *op, co_graph *g, const co_unit_in *in)
{
    const opt *m = self;
    (void)block_kind;
    switch (unit) {
    case CO_UNIT_EMBED: return embed(m, op, g, in);
    case CO_UNIT_BLOCK: return block(m, op, g, in->x);
    case CO_UNIT_FINAL: return finish(m, op, g, in->x);
    }
    return 0;
}

static const char *const types[] = {"opt", NULL};
static const co_model_vt opt_vt = {.struct_size = sizeof opt_vt, .model_types = types, .open = opt_open, .close = opt_close,
                                   .info = opt_info, .params = opt_params, .build = opt_build};
static const char *const needs[] = {"op:layernorm", "op:attention", "op:shift_ids", "op:relu", NULL};
static const co_feature opt_feature = {.struct_size = sizeof opt_feature, .kind = CO_KIND_MODEL, .name = "opt",
                                       .summary = "OPT: learnt positions, LayerNorm before or after, ReLU", .needs = needs, .vt = &opt_vt};
static const co_feature *const features[] = {&opt_feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "coati-model-opt",
                                 .vendor = "coati", .version = "0.1.0", .license = "Apache-2.0", .url = "", .features = features};
CO_PLUGIN(plugin);
