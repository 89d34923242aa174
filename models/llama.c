/* llama.c: LLaMA 1 to 3: RMSNorm, rotary positions, grouped-query attention, SwiGLU (Touvron et al. 2023; Grattafiori
 * et al. 2024). Heads, loss, cache, LoRA, checkpointing and sharding are the host's. */
#include <coati/coati.h>
#include <string.h>

typedef struct llama {
    const co_host *host;
    int64_t d, ff, layers, heads, kv_heads, head_dim, vocab, max_seq;
    int64_t tied, attention_bias, mlp_bias;
    double eps, init_std;
    co_rope rope;
} llama;

static int bad(const llama *m, const char *key, const char *what, int64_t value)
{
    return CO_FAIL(m->host, CO_E_FORMAT, "config.json: %s = %lld: %s", key, (long long)value, what);
}

static int optional_i64(const llama *m, const co_meta *c, const char *key, int64_t *to)
{
    int r = c->i64(c, key, to);
    return r == CO_E_FORMAT ? CO_FAIL(m->host, r, "config.json: %s is not a whole number", key) : CO_OK;
}
static int optional_f64(const llama *m, const co_meta *c, const char *key, double *to)
{
    int r = c->f64(c, key, to);
    return r == CO_E_FORMAT ? CO_FAIL(m->host, r, "config.json: %s is not a number", key) : CO_OK;
}

static int read_sizes(llama *m, const co_meta *c)
{
    const struct { const char *key; int64_t *to, most; } need[] = {
        {"hidden_size", &m->d, 1 << 20},        {"intermediate_size", &m->ff, 1 << 24},
        {"num_hidden_layers", &m->layers, 4096}, {"num_attention_heads", &m->heads, 65536},
        {"vocab_size", &m->vocab, 1 << 27},     {"max_position_embeddings", &m->max_seq, 1 << 30},
    };
    for (size_t i = 0; i < sizeof need / sizeof *need; i++) {
        int r = c->i64(c, need[i].key, need[i].to);
        if (r == CO_E_FORMAT) return CO_FAIL(m->host, r, "config.json: %s is not a whole number", need[i].key);
        if (r) return CO_FAIL(m->host, CO_E_FORMAT, "config.json lacks \"%s\"", need[i].key);
        if (*need[i].to < 1 || *need[i].to > need[i].most) return bad(m, need[i].key, "out of range", *need[i].to);
    }
    m->kv_heads = m->heads;
    m->head_dim = 0;
    m->eps = 1e-6;
    m->init_std = 0.02;
    int r = optional_i64(m, c, "num_key_value_heads", &m->kv_heads);
    if (r == CO_OK) r = optional_i64(m, c, "head_dim", &m->head_dim);
    if (r == CO_OK) r = optional_i64(m, c, "tie_word_embeddings", &m->tied);
    if (r == CO_OK) r = optional_i64(m, c, "attention_bias", &m->attention_bias);
    if (r == CO_OK) r = optional_i64(m, c, "mlp_bias", &m->mlp_bias);
    if (r == CO_OK) r = optional_f64(m, c, "rms_norm_eps", &m->eps);
    if (r == CO_OK) r = optional_f64(m, c, "initializer_range", &m->init_std);
    if (r) return r;
    if (m->kv_heads < 1 || m->heads % m->kv_heads)
        return bad(m, "num_key_value_heads", "must divide num_attention_heads", m->kv_heads);
    if (m->head_dim == 0) {
        if (m->d % m->heads) return bad(m, "hidden_size", "does not divide by num_attention_heads, and there is no head_dim", m->d);
        m->head_dim = m->d / m->heads;
    }
    if (m->head_dim < 2 || m->head_dim % 2) return bad(m, "head_dim", "rotary positions need an even one", m->head_dim);
    if (!(m->eps > 0 && m->eps < 1)) return CO_FAIL(m->host, CO_E_FORMAT, "config.json: rms_norm_eps = %g is not in (0, 1)", m->eps);
    const char *act = "silu";
    if (c->str(c, "hidden_act", &act) == CO_OK && strcmp(act, "silu") != 0)
        return CO_FAIL(m->host, CO_E_FORMAT, "config.json: hidden_act = %s: a LLaMA has \"silu\"", act);
    return CO_OK;
}

/* Three spellings: rope_theta with rope_scaling {type or rope_type}; rope_parameters since transformers 5. */
static int read_rope(llama *m, const co_meta *c)
{
    static const char *const where[] = {"rope_parameters", "rope_scaling"};
    const char *type = "default", *at = "rope_scaling";
    char key[64];
    double theta = 10000, v = 0;
    m->rope = (co_rope){.struct_size = sizeof m->rope, .neox = 1, .rotary_dims = (uint32_t)m->head_dim, .factor = 1};
    int r = optional_f64(m, c, "rope_theta", &theta);
    if (r == CO_OK) r = optional_f64(m, c, "rope_parameters.rope_theta", &theta);
    if (r) return r;
    if (!(theta > 0)) return CO_FAIL(m->host, CO_E_FORMAT, "config.json: rope_theta = %g must be above 0", theta);
    m->rope.theta = (float)theta;
    for (int i = 0; i < 4; i++) {
        const char *p = where[i / 2], *tail = i % 2 ? ".type" : ".rope_type";
        const size_t n = strlen(p);
        memcpy(key, p, n);
        memcpy(key + n, tail, strlen(tail) + 1);
        if (c->str(c, key, &type) != CO_OK) continue;
        at = p;
        break;
    }
    if (strcmp(type, "default") == 0) return CO_OK;
    const int llama3 = strcmp(type, "llama3") == 0;
    if (!llama3 && strcmp(type, "linear") != 0)
        return CO_FAIL(m->host, CO_E_UNSUPPORTED, "config.json: %s of type \"%s\"; default, linear and llama3 are offered", at, type);
    m->rope.scaling = llama3 ? CO_ROPE_LLAMA3 : CO_ROPE_LINEAR;
    const struct { const char *name; int needed; float *to; } field[] = {
        {".factor", 1, &m->rope.factor}, {".low_freq_factor", llama3, &m->rope.low_freq_factor},
        {".high_freq_factor", llama3, &m->rope.high_freq_factor}, {".original_max_position_embeddings", llama3, NULL}};
    for (size_t i = 0; i < sizeof field / sizeof *field; i++) {
        const size_t n = strlen(at);
        if (!field[i].needed) continue;
        memcpy(key, at, n);
        memcpy(key + n, field[i].name, strlen(field[i].name) + 1);
        if (c->f64(c, key, &v) != CO_OK || !(v > 0))
            return CO_FAIL(m->host, CO_E_FORMAT, "config.json: %s needs a number above 0 in %s", type, key);
        if (field[i].to) *field[i].to = (float)v;
        else m->rope.original_context = (int32_t)v;
    }
    if (llama3 && !(m->rope.high_freq_factor > m->rope.low_freq_factor))
        return CO_FAIL(m->host, CO_E_FORMAT, "config.json: %s.high_freq_factor must be above low_freq_factor", at);
    return CO_OK;
}

static int llama_open(const co_host *h, const void *opts, const co_meta *c, void **self)
{
    (void)opts;
    llama *m = h->alloc(h, sizeof *m, _Alignof(llama));
    if (!m) return CO_FAIL(h, CO_E_NOMEM, "llama: no memory for the model's record");
    m->host = h;
    int r = read_sizes(m, c);
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
    out->n_block_kinds = 1;
    out->n_kv_heads = (uint32_t)m->kv_heads;
    out->head_dim = (uint32_t)m->head_dim;
    return CO_OK;
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
        {CO_UNIT_BLOCK, "bq", "model.layers.{}.self_attn.q_proj.bias", q, 0, m->attention_bias != 0},
        {CO_UNIT_BLOCK, "bk", "model.layers.{}.self_attn.k_proj.bias", kv, 0, m->attention_bias != 0},
        {CO_UNIT_BLOCK, "bv", "model.layers.{}.self_attn.v_proj.bias", kv, 0, m->attention_bias != 0},
        {CO_UNIT_BLOCK, "bo", "model.layers.{}.self_attn.o_proj.bias", m->d, 0, m->attention_bias != 0},
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

static co_val llama_block(const llama *m, const co_graph_ops *op, co_graph *g, const co_unit_in *in)
{
    const co_attn attn = {.struct_size = sizeof attn, .n_heads = (uint32_t)m->heads, .n_kv_heads = (uint32_t)m->kv_heads, .causal = 1};
    co_rope qr = m->rope, kr = m->rope;
    qr.n_heads = attn.n_heads;
    kr.n_heads = attn.n_kv_heads;
    co_val x = in->x;

    co_val n = op->rmsnorm(g, x, op->param(g, "norm1"), (float)m->eps);
    co_val q = product(op, g, n, "q", "bq", m->attention_bias);
    co_val k = product(op, g, n, "k", "bk", m->attention_bias);
    co_val v = product(op, g, n, "v", "bv", m->attention_bias);
    q = op->rope(g, q, in->positions, &qr);
    k = op->rope(g, k, in->positions, &kr);
    co_val a = op->attention(g, q, k, v, &attn);
    x = op->add(g, x, product(op, g, a, "o", "bo", m->attention_bias));

    n = op->rmsnorm(g, x, op->param(g, "norm2"), (float)m->eps);
    co_val gate = product(op, g, n, "gate", "bgate", m->mlp_bias);
    co_val up = product(op, g, n, "up", "bup", m->mlp_bias);
    return op->add(g, x, product(op, g, op->swiglu(g, gate, up), "down", "bdown", m->mlp_bias));
}

static co_val llama_build(void *self, co_unit unit, uint32_t block_kind, const co_graph_ops *op, co_graph *g,
                          const co_unit_in *in)
{
    const llama *m = self;
    (void)block_kind;
    switch (unit) {
    case CO_UNIT_EMBED: return op->embedding(g, in->token_ids, op->param(g, "tok"));
    case CO_UNIT_BLOCK: return llama_block(m, op, g, in);
    case CO_UNIT_FINAL: return op->rmsnorm(g, in->x, op->param(g, "norm"), (float)m->eps);
    }
    return 0;
}

static const char *const types[] = {"llama", NULL};
static const co_model_vt llama_vt = {.struct_size = sizeof llama_vt, .model_types = types, .open = llama_open,
                                     .close = llama_close, .info = llama_info, .params = llama_params, .build = llama_build};
static const char *const needs[] = {"op:rope", "op:attention", "op:swiglu", NULL};
static const co_feature llama_feature = {.struct_size = sizeof llama_feature, .kind = CO_KIND_MODEL, .name = "llama",
                                         .summary = "LLaMA 1 to 3: RMSNorm, rotary positions, grouped heads, SwiGLU",
                                         .needs = needs, .vt = &llama_vt};
static const co_feature *const features[] = {&llama_feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "coati-model-llama",
                                 .vendor = "coati", .version = "0.1.0", .license = "Apache-2.0", .url = "", .features = features};
CO_PLUGIN(plugin);
