/* llama.c: LLaMA 1 to 3: RMSNorm, rotary positions, grouped-query attention, SwiGLU (Touvron et al. 2023; Grattafiori
 * et al. 2024). Mistral (Jiang et al. 2023) adds a sliding window, Qwen2 (Yang et al. 2024) biases for q, k and v and a window
 * in some layers. Heads, loss, cache, LoRA, checkpointing and sharding are the host's. */
#include <coati/coati.h>
#include <coati/config.h>
#include <stdio.h>

/* The families: one model with other settings. */
enum { LLAMA, MISTRAL, QWEN2 };
#define FAMILIES "llama|mistral|qwen2"
#define MAX_LAYERS 4096

typedef struct llama {
    const co_host *host;
    int family;
    int64_t d, ff, layers, heads, kv_heads, head_dim, vocab, max_seq;
    int64_t tied, qkv_bias, o_bias, mlp_bias, window;
    double eps, init_std, attention_dropout;
    co_rope rope;
    int mixed;                     /* some layers have the window and some have not */
    uint8_t windowed[MAX_LAYERS];
} llama;

/* transformers' classes differ in what a missing key means; null means as many as heads in all. */
static int64_t default_kv_heads(const llama *m, const co_meta *c)
{
    if (m->family == LLAMA || c->has(c, "num_key_value_heads")) return m->heads;
    return m->family == MISTRAL ? 8 : 32;
}

static int read_sizes(llama *m, const co_meta *c)
{
    co_config k = co_config_of(m->host, c);
    m->family = co_config_name(&k, "model_type", FAMILIES, "llama");
    m->d = co_config_need(&k, "hidden_size", 1, 1 << 20);
    m->ff = co_config_need(&k, "intermediate_size", 1, 1 << 24);
    m->layers = co_config_need(&k, "num_hidden_layers", 1, MAX_LAYERS);
    m->heads = co_config_need(&k, "num_attention_heads", 1, 65536);
    m->vocab = co_config_need(&k, "vocab_size", 1, 1 << 27);
    m->max_seq = co_config_need(&k, "max_position_embeddings", 1, 1 << 30);
    m->kv_heads = co_config_int(&k, "num_key_value_heads", default_kv_heads(m, c), 1, 65536);
    m->head_dim = co_config_int(&k, "head_dim", 0, 1, 1 << 16);
    m->eps = co_config_real(&k, "rms_norm_eps", 1e-6, 1e-30, 1);
    m->init_std = co_config_real(&k, "initializer_range", 0.02, 0, 1e3);
    m->attention_dropout = co_config_real(&k, "attention_dropout", 0, 0, 0.999);
    m->tied = co_config_int(&k, "tie_word_embeddings", 0, 0, 1);
    (void)co_config_name(&k, "hidden_act", "silu", "silu");
    if (m->family == LLAMA) {
        m->qkv_bias = m->o_bias = co_config_int(&k, "attention_bias", 0, 0, 1);
        m->mlp_bias = co_config_int(&k, "mlp_bias", 0, 0, 1);
    } else {
        m->qkv_bias = m->family == QWEN2;
        co_config_only(&k, "attention_bias", m->family == QWEN2, "the family settles which products have a bias");
        co_config_only(&k, "mlp_bias", 0, "the family has none");
    }
    co_config_divides(&k, "num_attention_heads", m->heads, "num_key_value_heads", m->kv_heads);
    if (m->head_dim == 0) co_config_divides(&k, "hidden_size", m->d, "num_attention_heads", m->heads);
    if (m->head_dim == 0) m->head_dim = m->d / m->heads;
    if (k.status == CO_OK && m->head_dim % 2)
        k.status = CO_FAIL(m->host, CO_E_FORMAT, "config.json: head_dim = %lld: rotary positions need an even one", (long long)m->head_dim);
    return k.status;
}

/* Which layers see a window only. layer_types, where it is, must say the same as the older keys for all but qwen2. */
static int read_window(llama *m, const co_meta *c)
{
    co_config k = co_config_of(m->host, c);
    const int missing = m->family == MISTRAL && !c->has(c, "sliding_window"); /* transformers takes 4096 then */
    int64_t from = 0;
    if (m->family != LLAMA) m->window = co_config_int(&k, "sliding_window", missing ? 4096 : 0, 1, 1 << 30);
    if (m->family == QWEN2) {
        if (!co_config_int(&k, "use_sliding_window", 0, 0, 1)) m->window = 0;
        from = co_config_int(&k, "max_window_layers", 28, 0, 1 << 30);
    }
    for (int64_t i = 0; i < m->layers && k.status == CO_OK; i++) {
        char key[32];
        snprintf(key, sizeof key, "layer_types.%lld", (long long)i);
        const int by_size = m->window > 0 && i >= from;
        const int by_type = co_config_name(&k, key, "full_attention|sliding_attention", by_size ? "sliding_attention" : "full_attention");
        if (k.status == CO_OK && ((m->family != QWEN2 && by_type != by_size) || (by_type && !m->window)))
            k.status = CO_FAIL(m->host, CO_E_UNSUPPORTED, "config.json: %s disagrees with sliding_window", key);
        m->windowed[i] = (uint8_t)by_type;
        m->mixed |= m->windowed[i] != m->windowed[0];
    }
    return k.status;
}

/* Three spellings: rope_theta with rope_scaling {type or rope_type}; rope_parameters since transformers 5. */
#define EITHER(name) "rope_parameters." name "|rope_scaling." name

static int read_rope(llama *m, const co_meta *c)
{
    co_config k = co_config_of(m->host, c);
    co_rope *r = &m->rope;
    *r = (co_rope){.struct_size = sizeof *r, .neox = 1, .rotary_dims = (uint32_t)m->head_dim, .factor = 1};
    r->theta = (float)co_config_real(&k, "rope_parameters.rope_theta|rope_theta", 10000, 1e-6, 1e30);
    const int type = co_config_name(&k, EITHER("rope_type") "|" EITHER("type"), "default|linear|llama3", "default");
    r->scaling = type == 0 ? CO_ROPE_NONE : type == 1 ? CO_ROPE_LINEAR : CO_ROPE_LLAMA3;
    co_config_only(&k, "partial_rotary_factor|" EITHER("partial_rotary_factor"), 1, "heads turn as a whole");
    if (type > 0) r->factor = (float)co_config_need_real(&k, EITHER("factor"), 1e-6, 1e6);
    if (type < 2) return k.status;
    r->low_freq_factor = (float)co_config_need_real(&k, EITHER("low_freq_factor"), 1e-6, 1e6);
    r->high_freq_factor = (float)co_config_need_real(&k, EITHER("high_freq_factor"), 1e-6, 1e6);
    r->original_context = (int32_t)co_config_need(&k, EITHER("original_max_position_embeddings"), 1, 1 << 30);
    if (k.status == CO_OK && !(r->high_freq_factor > r->low_freq_factor))
        k.status = CO_FAIL(m->host, CO_E_FORMAT, "config.json: high_freq_factor must be above low_freq_factor");
    return k.status;
}

static int llama_open(const co_host *h, const void *opts, const co_meta *c, void **self)
{
    (void)opts;
    llama *m = h->alloc(h, sizeof *m, _Alignof(llama));
    if (!m) return CO_FAIL(h, CO_E_NOMEM, "llama: no memory for the model's record");
    m->host = h;
    int r = read_sizes(m, c);
    if (r == CO_OK) r = read_window(m, c);
    if (r == CO_OK) r = read_rope(m, c);
    if (r) h->free(h, m);
    else *self = m;
    return r;
}

static void llama_close(void *self)
{
    llama *m = self;
    if (m) m->host->free(m->host, m);
}

static int llama_info(void *self, co_model_info *out)
{
    const llama *m = self;
    out->n_layers = (uint32_t)m->layers;
    out->d_model = (uint32_t)m->d;
    out->n_vocab = (uint32_t)m->vocab;
    out->max_seq = (uint32_t)m->max_seq;
    out->n_block_kinds = m->mixed ? 2 : 1;
    out->n_kv_heads = (uint32_t)m->kv_heads;
    out->head_dim = (uint32_t)m->head_dim;
    return CO_OK;
}

/* With both kinds of layers: 0 those that see everything, 1 those with a window. */
static uint32_t llama_block_kind(void *self, uint32_t layer)
{
    const llama *m = self;
    return m->mixed ? m->windowed[layer] : 0;
}

static int llama_params(void *self, void *sink, int (*add)(void *sink, const co_param *p))
{
    const llama *m = self;
    const int64_t q = m->heads * m->head_dim, kv = m->kv_heads * m->head_dim;
    const struct { uint32_t unit; const char *local, *file; int64_t n0, n1; int there; } table[] = {
        {CO_UNIT_EMBED, "tok", "model.embed_tokens.weight", m->vocab, m->d, 1},
        {CO_UNIT_BLOCK, "norm1", "model.layers.{}.input_layernorm.weight", m->d, 0, 1},
        {CO_UNIT_BLOCK, "q", "model.layers.{}.self_attn.q_proj.weight", q, m->d, 1},
        {CO_UNIT_BLOCK, "k", "model.layers.{}.self_attn.k_proj.weight", kv, m->d, 1},
        {CO_UNIT_BLOCK, "v", "model.layers.{}.self_attn.v_proj.weight", kv, m->d, 1},
        {CO_UNIT_BLOCK, "o", "model.layers.{}.self_attn.o_proj.weight", m->d, q, 1},
        {CO_UNIT_BLOCK, "bq", "model.layers.{}.self_attn.q_proj.bias", q, 0, m->qkv_bias != 0},
        {CO_UNIT_BLOCK, "bk", "model.layers.{}.self_attn.k_proj.bias", kv, 0, m->qkv_bias != 0},
        {CO_UNIT_BLOCK, "bv", "model.layers.{}.self_attn.v_proj.bias", kv, 0, m->qkv_bias != 0},
        {CO_UNIT_BLOCK, "bo", "model.layers.{}.self_attn.o_proj.bias", m->d, 0, m->o_bias != 0},
        {CO_UNIT_BLOCK, "norm2", "model.layers.{}.post_attention_layernorm.weight", m->d, 0, 1},
        {CO_UNIT_BLOCK, "gate", "model.layers.{}.mlp.gate_proj.weight", m->ff, m->d, 1},
        {CO_UNIT_BLOCK, "up", "model.layers.{}.mlp.up_proj.weight", m->ff, m->d, 1},
        {CO_UNIT_BLOCK, "down", "model.layers.{}.mlp.down_proj.weight", m->d, m->ff, 1},
        {CO_UNIT_BLOCK, "bgate", "model.layers.{}.mlp.gate_proj.bias", m->ff, 0, m->mlp_bias != 0},
        {CO_UNIT_BLOCK, "bup", "model.layers.{}.mlp.up_proj.bias", m->ff, 0, m->mlp_bias != 0},
        {CO_UNIT_BLOCK, "bdown", "model.layers.{}.mlp.down_proj.bias", m->d, 0, m->mlp_bias != 0},
        {CO_UNIT_FINAL, "norm", "model.norm.weight", m->d, 0, 1},
        {CO_UNIT_FINAL, "lm_head", "lm_head.weight", m->vocab, m->d, 1},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const int matrix = table[i].n1 != 0, norm = strncmp(table[i].local, "norm", 4) == 0;
        const int head = strcmp(table[i].local, "lm_head") == 0;
        if (!table[i].there) continue;
        const co_param p = {
            .struct_size = sizeof p, .unit = table[i].unit, .local_name = table[i].local, .file_name = table[i].file,
            .tied_to = head && m->tied ? "model.embed_tokens.weight" : NULL,
            .ne = {table[i].n0, table[i].n1}, .ndim = matrix ? 2 : 1,
            .init = matrix ? CO_INIT_NORMAL : norm ? CO_INIT_ONE : CO_INIT_ZERO, .init_std = (float)m->init_std,
            .flags = (uint16_t)(matrix ? 0 : CO_PARAM_NO_DECAY | (norm ? CO_PARAM_FP32 : 0)),
        };
        int r = add(sink, &p);
        if (r != CO_OK) return r;
    }
    return CO_OK;
}

static co_val product(const co_graph_ops *op, co_graph *g, co_val x, const char *w, const char *bias, int64_t with_bias)
{
    return op->linear(g, x, op->param(g, w), with_bias ? op->param(g, bias) : 0);
}

static co_val llama_block(const llama *m, const co_graph_ops *op, co_graph *g, const co_unit_in *in, int windowed)
{
    const co_attn attn = {.struct_size = sizeof attn, .n_heads = (uint32_t)m->heads, .n_kv_heads = (uint32_t)m->kv_heads, .causal = 1,
                          .window = windowed ? (int32_t)m->window : 0, .dropout = (float)m->attention_dropout};
    co_rope qr = m->rope, kr = m->rope;
    qr.n_heads = attn.n_heads;
    kr.n_heads = attn.n_kv_heads;
    co_val x = in->x;

    co_val n = op->rmsnorm(g, x, op->param(g, "norm1"), (float)m->eps);
    co_val q = product(op, g, n, "q", "bq", m->qkv_bias);
    co_val k = product(op, g, n, "k", "bk", m->qkv_bias);
    co_val v = product(op, g, n, "v", "bv", m->qkv_bias);
    q = op->rope(g, q, in->positions, &qr);
    k = op->rope(g, k, in->positions, &kr);
    co_val a = op->attention(g, q, k, v, &attn);
    x = op->add(g, x, product(op, g, a, "o", "bo", m->o_bias));

    n = op->rmsnorm(g, x, op->param(g, "norm2"), (float)m->eps);
    co_val gate = product(op, g, n, "gate", "bgate", m->mlp_bias);
    co_val up = product(op, g, n, "up", "bup", m->mlp_bias);
    return op->add(g, x, product(op, g, op->swiglu(g, gate, up), "down", "bdown", m->mlp_bias));
}

static co_val llama_build(void *self, co_unit unit, uint32_t block_kind, const co_graph_ops *op, co_graph *g,
                          const co_unit_in *in)
{
    const llama *m = self;
    switch (unit) {
    case CO_UNIT_EMBED: return op->embedding(g, in->token_ids, op->param(g, "tok"));
    case CO_UNIT_BLOCK: return llama_block(m, op, g, in, m->mixed ? (int)block_kind : m->windowed[0]);
    case CO_UNIT_FINAL: return op->rmsnorm(g, in->x, op->param(g, "norm"), (float)m->eps);
    }
    return 0;
}

static const char *const types[] = {"llama", "mistral", "qwen2", NULL};
static const co_model_vt llama_vt = {.struct_size = sizeof llama_vt, .model_types = types, .open = llama_open,
                                     .close = llama_close, .info = llama_info, .params = llama_params, .build = llama_build,
                                     .block_kind = llama_block_kind};
static const char *const needs[] = {"op:rope", "op:attention", "op:swiglu", NULL};
static const co_feature llama_feature = {.struct_size = sizeof llama_feature, .kind = CO_KIND_MODEL, .name = "llama",
                                         .summary = "LLaMA 1 to 3, Mistral, Qwen2: RMSNorm, rotary positions, grouped heads, SwiGLU",
                                         .needs = needs, .vt = &llama_vt};
static const co_feature *const features[] = {&llama_feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "coati-model-llama",
                                 .vendor = "coati", .version = "0.1.0", .license = "Apache-2.0", .url = "", .features = features};
CO_PLUGIN(plugin);
