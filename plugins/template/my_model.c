/* my_model.c: a model plugin, whole: a decoder of pre-norm blocks with LayerNorm, rotary positions and an MLP. Take it, rename it,
 * and change what it computes. It says what its parameters are called and how they are used; derivatives, memory, LoRA, the
 * generation cache, checkpoints and the loss are the host's. */
#include <coati/coati.h>
#include <string.h>

/* ---- options: section [model] of an INI file, next to the host's own keys ------------------------------------------------- */
typedef struct my_opts { double dropout; } my_opts;
static const co_opt opts[] = {
    {"mlp_dropout", CO_OPT_FLOAT, offsetof(my_opts, dropout), 0, "0", 0, 0.9, NULL, "share of the MLP's outputs dropped in training"},
    CO_OPT_END};

/* ---- one instance: everything lives here, nothing in globals, so that several models can be open at once ------------------ */
typedef struct my_model {
    const co_host *host;
    int64_t layers, d, heads, ff, vocab, max_seq;
    int32_t relu;
    float dropout;
} my_model;

/* Reads config.json. Whatever is wrong with a file is CO_E_FORMAT, and the message names the key. */
static int read_config(my_model *m, const co_meta *c)
{
    const struct { const char *key; int64_t *to, most; } need[] = {
        {"num_hidden_layers", &m->layers, 4096},      {"hidden_size", &m->d, 1 << 20},     {"num_attention_heads", &m->heads, 65536},
        {"intermediate_size", &m->ff, 1 << 24},       {"vocab_size", &m->vocab, 1 << 27},  {"max_position_embeddings", &m->max_seq, 1 << 30}};
    for (size_t i = 0; i < sizeof need / sizeof *need; i++) {
        if (c->i64(c, need[i].key, need[i].to) != CO_OK)
            return CO_FAIL(m->host, CO_E_FORMAT, "config.json: \"%s\" is missing or no whole number", need[i].key);
        if (*need[i].to < 1 || *need[i].to > need[i].most)
            return CO_FAIL(m->host, CO_E_FORMAT, "config.json: %s = %lld: 1 to %lld are possible", need[i].key,
                           (long long)*need[i].to, (long long)need[i].most);
    }
    if (m->d % m->heads || m->d / m->heads % 2)
        return CO_FAIL(m->host, CO_E_FORMAT, "config.json: hidden_size = %lld must be an even multiple of num_attention_heads = %lld",
                       (long long)m->d, (long long)m->heads);
    const char *act = "gelu"; /* what decides the results belongs into config.json, not into an option */
    const int r = c->str(c, "hidden_act", &act);
    m->relu = strcmp(act, "relu") == 0;
    if (r == CO_E_FORMAT || (!m->relu && strcmp(act, "gelu") != 0))
        return CO_FAIL(m->host, CO_E_FORMAT, "config.json: hidden_act must be \"gelu\" or \"relu\"");
    return CO_OK;
}

static int my_open(const co_host *h, const void *options, const co_meta *config, void **self)
{
    my_model *m = h->alloc(h, sizeof *m, 16);
    if (!m) return CO_FAIL(h, CO_E_NOMEM, "my_model: out of memory");
    m->host = h;
    m->dropout = (float)((const my_opts *)options)->dropout;
    const int r = read_config(m, config);
    if (r) h->free(h, m);
    else *self = m;
    return r;
}

static void my_close(void *self)
{
    my_model *m = self;
    m->host->free(m->host, m);
}

static int my_info(void *self, co_model_info *out)
{
    const my_model *m = self;
    out->n_layers = (uint32_t)m->layers;
    out->d_model = (uint32_t)m->d;
    out->n_vocab = (uint32_t)m->vocab;
    out->max_seq = (uint32_t)m->max_seq;
    out->n_block_kinds = 1;
    out->n_kv_heads = (uint32_t)m->heads;
    out->head_dim = (uint32_t)(m->d / m->heads);
    return CO_OK;
}

/* ---- parameters: what build() calls them, what the file calls them ({} is the layer), [out, in] as in nn.Linear, or a vector.
 * Those that read the same input stand together (q, k, v), so that the host may run them as one product ------------------- */
static int my_params(void *self, void *sink, int (*add)(void *sink, const co_param *p))
{
    const my_model *m = self;
    enum { E = CO_UNIT_EMBED, B = CO_UNIT_BLOCK, F = CO_UNIT_FINAL, ZERO = CO_INIT_ZERO, ONE = CO_INIT_ONE };
    const struct { uint32_t unit; const char *name, *file; int64_t rows, cols; uint8_t init; const char *tied_to; } list[] = {
        {E, "tokens", "embed.weight", m->vocab, m->d, CO_INIT_NORMAL, NULL},
        {B, "norm1", "layers.{}.norm1.weight", m->d, 0, ONE, NULL},  {B, "norm1_b", "layers.{}.norm1.bias", m->d, 0, ZERO, NULL},
        {B, "q", "layers.{}.attn.q.weight", m->d, m->d, 0, NULL},    {B, "k", "layers.{}.attn.k.weight", m->d, m->d, 0, NULL},
        {B, "v", "layers.{}.attn.v.weight", m->d, m->d, 0, NULL},    {B, "o", "layers.{}.attn.o.weight", m->d, m->d, 0, NULL},
        {B, "norm2", "layers.{}.norm2.weight", m->d, 0, ONE, NULL},  {B, "norm2_b", "layers.{}.norm2.bias", m->d, 0, ZERO, NULL},
        {B, "up", "layers.{}.mlp.up.weight", m->ff, m->d, 0, NULL},  {B, "up_b", "layers.{}.mlp.up.bias", m->ff, 0, ZERO, NULL},
        {B, "down", "layers.{}.mlp.down.weight", m->d, m->ff, 0, NULL},
        {F, "norm", "norm.weight", m->d, 0, ONE, NULL},
        {F, "lm_head", "lm_head.weight", m->vocab, m->d, 0, "embed.weight"}, /* the output head: always "lm_head"; here tied */
    };
    int r = CO_OK;
    for (size_t i = 0; i < sizeof list / sizeof *list && r == CO_OK; i++) {
        const int matrix = list[i].cols > 0;
        const co_param p = {.struct_size = sizeof p, .unit = list[i].unit, .local_name = list[i].name, .file_name = list[i].file,
                            .tied_to = list[i].tied_to, .ne = {list[i].rows, list[i].cols}, .ndim = matrix ? 2 : 1,
                            .init = list[i].init, .flags = matrix ? 0 : CO_PARAM_NO_DECAY, .init_std = 0.02f};
        r = add(sink, &p);
    }
    return r;
}

/* ---- what a unit computes. A failed call returns 0 and makes the later ones return 0: no check is needed in between ----------- */
static co_val block(const my_model *m, const co_graph_ops *op, co_graph *g, const co_unit_in *in)
{
    const uint32_t heads = (uint32_t)m->heads;
    const co_rope rope = {.struct_size = sizeof rope, .n_heads = heads, .neox = 1, .theta = 10000};
    const co_attn attn = {.struct_size = sizeof attn, .n_heads = heads, .n_kv_heads = heads, .causal = 1};
    co_val h = op->layernorm(g, in->x, op->param(g, "norm1"), op->param(g, "norm1_b"), 1e-5f);
    const co_val q = op->rope(g, op->linear(g, h, op->param(g, "q"), 0), in->positions, &rope);
    const co_val k = op->rope(g, op->linear(g, h, op->param(g, "k"), 0), in->positions, &rope);
    const co_val v = op->linear(g, h, op->param(g, "v"), 0);
    const co_val x = op->add(g, in->x, op->linear(g, op->attention(g, q, k, v, &attn), op->param(g, "o"), 0));
    h = op->layernorm(g, x, op->param(g, "norm2"), op->param(g, "norm2_b"), 1e-5f);
    h = op->linear(g, h, op->param(g, "up"), op->param(g, "up_b"));
    h = m->relu ? op->relu(g, h) : op->gelu(g, h, 1);
    return op->add(g, x, op->dropout(g, op->linear(g, h, op->param(g, "down"), 0), m->dropout));
}

static co_val my_build(void *self, co_unit unit, uint32_t block_kind, const co_graph_ops *op, co_graph *g, const co_unit_in *in)
{
    (void)block_kind;
    switch (unit) {
    case CO_UNIT_EMBED: return op->embedding(g, in->token_ids, op->param(g, "tokens"));
    case CO_UNIT_BLOCK: return block(self, op, g, in);
    case CO_UNIT_FINAL: return op->layernorm(g, in->x, op->param(g, "norm"), 0, 1e-5f);
    }
    return 0;
}

/* ---- the plugin ------------- */
static const char *const model_types[] = {"my_model", NULL}; /* of config.json: [model] arch = auto finds this plugin by it */
static const co_model_vt vt = {.struct_size = sizeof vt, .model_types = model_types, .open = my_open, .close = my_close,
                               .info = my_info, .params = my_params, .build = my_build};
static const co_feature model = {.struct_size = sizeof model, .kind = CO_KIND_MODEL, .name = "my_model",
                                 .summary = "a small decoder to start from", .opts = opts, .opts_size = sizeof(my_opts), .vt = &vt};
static const co_feature *const features[] = {&model, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "my-model", .vendor = "me",
                                 .version = "0.1", .license = "Apache-2.0", .url = "", .features = features};
CO_PLUGIN(plugin);
