/* bloom.c: BLOOM (BigScience 2022): LayerNorm, also after the embedding; ALiBi (Press et al. 2022) in place of positions;
 * q, k and v in one product, which files hold a head at a time; GELU. Heads, loss, cache, LoRA, checkpointing and
 * sharding are the host's. */
#include <coati/coati.h>
#include <coati/config.h>

typedef struct bloom {
    const co_host *host;
    int64_t d, layers, heads, head_dim, vocab;
    int64_t tied, residual_after_norm;
    double eps, init_std, dropout, attention_dropout;
} bloom;

static int read_config(bloom *m, const co_meta *c)
{
    co_config k = co_config_of(m->host, c);
    m->d = co_config_need(&k, "n_embed|hidden_size", 1, 1 << 20);
    m->layers = co_config_need(&k, "n_layer|num_hidden_layers", 1, 4096);
    m->heads = co_config_need(&k, "n_head|num_attention_heads", 1, 65536);
    m->vocab = co_config_need(&k, "vocab_size", 1, 1 << 27);
    m->eps = co_config_real(&k, "layer_norm_epsilon", 1e-5, 1e-30, 1);
    m->init_std = co_config_real(&k, "initializer_range", 0.02, 0, 1e3);
    m->dropout = co_config_real(&k, "hidden_dropout", 0, 0, 0.999);
    m->attention_dropout = co_config_real(&k, "attention_dropout", 0, 0, 0.999);
    m->tied = co_config_int(&k, "tie_word_embeddings", 1, 0, 1);
    m->residual_after_norm = co_config_int(&k, "apply_residual_connection_post_layernorm", 0, 0, 1);
    co_config_divides(&k, "hidden_size", m->d, "n_head", m->heads);
    m->head_dim = m->d / m->heads;
    return k.status;
}

static int bloom_open(const co_host *h, const void *opts, const co_meta *c, void **self)
{
    (void)opts;
    bloom *m = h->alloc(h, sizeof *m, _Alignof(bloom));
    if (!m) return CO_FAIL(h, CO_E_NOMEM, "bloom: no memory for the model's record");
    m->host = h;
    const int r = read_config(m, c);
    if (r) h->free(h, m);
    else *self = m;
    return r;
}

static void bloom_close(void *self)
{
    bloom *m = self;
    if (m) m->host->free(m->host, m);
}

static int bloom_info(void *self, co_model_info *out)
{
    const bloom *m = self;
    out->n_layers = (uint32_t)m->layers;
    out->d_model = (uint32_t)m->d;
    out->n_vocab = (uint32_t)m->vocab;
    out->max_seq = 0; /* distances have no table: any length runs */
    out->n_block_kinds = 1;
    out->n_kv_heads = (uint32_t)m->heads;
    out->head_dim = (uint32_t)m->head_dim;
    return CO_OK;
}

enum { MATRIX, BIAS, NORM, QKV, QKV_BIAS };

static int bloom_params(void *self, void *sink, int (*add)(void *sink, const co_param *p))
{
    const bloom *m = self;
    const struct { uint32_t unit; int kind; const char *local, *file; int64_t n0, n1; } table[] = {
        {CO_UNIT_EMBED, MATRIX, "tok", "transformer.word_embeddings.weight", m->vocab, m->d},
        {CO_UNIT_EMBED, NORM, "norm", "transformer.word_embeddings_layernorm.weight", m->d, 0},
        {CO_UNIT_EMBED, BIAS, "bnorm", "transformer.word_embeddings_layernorm.bias", m->d, 0},
        {CO_UNIT_BLOCK, NORM, "norm1", "transformer.h.{}.input_layernorm.weight", m->d, 0},
        {CO_UNIT_BLOCK, BIAS, "bnorm1", "transformer.h.{}.input_layernorm.bias", m->d, 0},
        {CO_UNIT_BLOCK, QKV, "qkv", "transformer.h.{}.self_attention.query_key_value.weight", 3 * m->d, m->d},
        {CO_UNIT_BLOCK, QKV_BIAS, "bqkv", "transformer.h.{}.self_attention.query_key_value.bias", 3 * m->d, 0},
        {CO_UNIT_BLOCK, MATRIX, "o", "transformer.h.{}.self_attention.dense.weight", m->d, m->d},
        {CO_UNIT_BLOCK, BIAS, "bo", "transformer.h.{}.self_attention.dense.bias", m->d, 0},
        {CO_UNIT_BLOCK, NORM, "norm2", "transformer.h.{}.post_attention_layernorm.weight", m->d, 0},
        {CO_UNIT_BLOCK, BIAS, "bnorm2", "transformer.h.{}.post_attention_layernorm.bias", m->d, 0},
        {CO_UNIT_BLOCK, MATRIX, "up", "transformer.h.{}.mlp.dense_h_to_4h.weight", 4 * m->d, m->d},
        {CO_UNIT_BLOCK, BIAS, "bup", "transformer.h.{}.mlp.dense_h_to_4h.bias", 4 * m->d, 0},
        {CO_UNIT_BLOCK, MATRIX, "down", "transformer.h.{}.mlp.dense_4h_to_h.weight", m->d, 4 * m->d},
        {CO_UNIT_BLOCK, BIAS, "bdown", "transformer.h.{}.mlp.dense_4h_to_h.bias", m->d, 0},
        {CO_UNIT_FINAL, NORM, "norm", "transformer.ln_f.weight", m->d, 0},
        {CO_UNIT_FINAL, BIAS, "bnorm", "transformer.ln_f.bias", m->d, 0},
        {CO_UNIT_FINAL, MATRIX, "lm_head", "lm_head.weight", m->vocab, m->d},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const int kind = table[i].kind, matrix = table[i].n1 != 0, head = strcmp(table[i].local, "lm_head") == 0;
        co_param p = {
            .struct_size = sizeof p, .unit = table[i].unit, .local_name = table[i].local, .file_name = table[i].file,
            .tied_to = head && m->tied ? "transformer.word_embeddings.weight" : NULL, .ne = {table[i].n0, table[i].n1},
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
    return op->linear(g, x, op->param(g, w), op->param(g, b));
}
static co_val norm(const bloom *m, const co_graph_ops *op, co_graph *g, co_val x, const char *w, const char *b)
{
    return op->layernorm(g, x, op->param(g, w), op->param(g, b), (float)m->eps);
}

static co_val block(const bloom *m, const co_graph_ops *op, co_graph *g, co_val x)
{
    const co_attn attn = {.struct_size = sizeof attn, .n_heads = (uint32_t)m->heads, .n_kv_heads = (uint32_t)m->heads, .causal = 1,
                          .alibi = 1, .dropout = (float)m->attention_dropout};
    const int64_t thirds[3] = {m->d, m->d, m->d};
    co_val qkv[3];

    co_val n = norm(m, op, g, x, "norm1", "bnorm1");
    op->split(g, product(op, g, n, "qkv", "bqkv"), 3, thirds, qkv);
    co_val a = product(op, g, op->attention(g, qkv[0], qkv[1], qkv[2], &attn), "o", "bo");
    x = op->add(g, m->residual_after_norm ? n : x, op->dropout(g, a, (float)m->dropout));

    n = norm(m, op, g, x, "norm2", "bnorm2");
    co_val h = product(op, g, op->gelu(g, product(op, g, n, "up", "bup"), 1), "down", "bdown");
    return op->add(g, m->residual_after_norm ? n : x, op->dropout(g, h, (float)m->dropout));
}

static co_val bloom_build(void *self, co_unit unit, uint32_t block_kind, const co_graph_ops *op, co_graph *g, const co_unit_in *in)
{
    const bloom *m = self;
    (void)block_kind;
    switch (unit) {
    case CO_UNIT_EMBED: return norm(m, op, g, op->embedding(g, in->token_ids, op->param(g, "tok")), "norm", "bnorm");
    case CO_UNIT_BLOCK: return block(m, op, g, in->x);
    case CO_UNIT_FINAL: return norm(m, op, g, in->x, "norm", "bnorm");
    }
    return 0;
}

static const char *const types[] = {"bloom", NULL};
static const co_model_vt bloom_vt = {.struct_size = sizeof bloom_vt, .model_types = types, .open = bloom_open, .close = bloom_close,
                                     .info = bloom_info, .params = bloom_params, .build = bloom_build};
static const char *const needs[] = {"op:layernorm", "op:attention", "op:gelu", "op:split", NULL};
static const co_feature bloom_feature = {.struct_size = sizeof bloom_feature, .kind = CO_KIND_MODEL, .name = "bloom",
                                         .summary = "BLOOM: LayerNorm, ALiBi, fused q, k and v, GELU", .needs = needs, .vt = &bloom_vt};
static const co_feature *const features[] = {&bloom_feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "coati-model-bloom",
                                 .vendor = "coati", .version = "0.1.0", .license = "Apache-2.0", .url = "", .features = features};
CO_PLUGIN(plugin);
