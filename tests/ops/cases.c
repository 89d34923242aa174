/* cases.c: makers of cases, rules of gradients, and the table by op. */
#include "ops/cases.h"
#include "check.h"
#include "core/base/rng.h"

static const int64_t widths[] = {1, 3, 7, 17, 64, 65, 257};
enum { N_WIDTHS = sizeof widths / sizeof *widths };

static arg tokens(const lives *l, int64_t cols, uint64_t seed)
{
    arg a = arg_new(l, CO_ROWS_TOKENS, 0, cols);
    arg_fill(&a, seed);
    return a;
}
static arg fixed(const lives *l, int64_t n, int64_t cols, uint64_t seed)
{
    arg a = arg_new(l, CO_ROWS_FIXED, n, cols);
    arg_fill(&a, seed);
    return a;
}
static arg ids(const lives *l, uint32_t rows, int64_t below, uint64_t seed)
{
    arg a = arg_new(l, rows, 0, 0);
    arg_fill_ids(&a, seed, below);
    return a;
}
/* Every second variant sees its 2-d token values as columns of something wider. */
static void stride(kase *k, int v)
{
    for (uint32_t i = 0; v % 2 && i < 8; i++) {
        if (k->in[i].ndim == 2 && k->in[i].rows != CO_ROWS_FIXED) k->in[i].gap = 5;
        if (k->out[i].ndim == 2 && k->out[i].rows != CO_ROWS_FIXED) k->out[i].gap = 3;
    }
}

static int make_linear(kase *k, const lives *l, int v)
{
    if (v >= 2 * N_WIDTHS) return 0;
    const int64_t kk = widths[v / 2], n = widths[(v / 2 * 3 + 1) % N_WIDTHS];
    k->n_in = v % 4 < 3 ? 3 : 2; /* no bias: the input is CO_NONE, or not there */
    k->in[0] = tokens(l, kk, 1);
    k->in[1] = fixed(l, n, kk, 2);
    if (v % 4 < 2) k->in[2] = fixed(l, n, 0, 3);
    k->in[2].wide = v % 4 == 1;
    k->out[0] = arg_new(l, CO_ROWS_TOKENS, 0, n);
    k->out[0].wide = v % 4 == 3; /* as logits are */
    return 1;
}
static int make_embedding(kase *k, const lives *l, int v)
{
    if (v >= N_WIDTHS) return 0;
    k->n_in = 2;
    k->in[0] = ids(l, CO_ROWS_TOKENS, 13, 1);
    k->in[1] = fixed(l, 13, widths[v], 2);
    k->out[0] = arg_new(l, CO_ROWS_TOKENS, 0, widths[v]);
    return 1;
}
static int make_norm(kase *k, const lives *l, int v)
{
    if (v >= 2 * N_WIDTHS) return 0;
    const co_attr_f32 eps = {1e-5f};
    const int64_t d = widths[v / 2]; /* never 2: there a LayerNorm's dx is all cancellation, fp32 keeps 4 digits of it */
    kase_attrs(k, &eps, sizeof eps);
    k->n_in = k->op == CO_OP_LAYERNORM && v % 4 < 3 ? 3 : 2;
    k->in[0] = tokens(l, d, 1);
    k->in[1] = fixed(l, d, 0, 2);
    if (k->op == CO_OP_LAYERNORM && v % 4 < 2) k->in[2] = fixed(l, d, 0, 3);
    k->in[1].wide = k->in[2].wide = v % 2 == 0;
    k->out[0] = arg_new(l, CO_ROWS_TOKENS, 0, d);
    k->noise = d < 4 ? 2e-6 : 0; /* a narrow row's gradient nearly vanishes */
    return 1;
}
static int make_rope(kase *k, const lives *l, int v)
{
    static const int64_t hds[] = {2, 8, 48, 64, 80, 128, 9};
    if (v >= 14) return 0;
    const int64_t hd = hds[v / 2];
    co_rope a = {.struct_size = sizeof a, .n_heads = v % 3 + 1, .rotary_dims = hd == 80 ? 32 : hd == 9 ? 6 : (uint32_t)hd, .neox = v % 2,
                 .scaling = hd == 64 ? CO_ROPE_LLAMA3 : hd == 48 ? CO_ROPE_LINEAR : CO_ROPE_NONE, .theta = 10000, .factor = 8,
                 .low_freq_factor = 1, .high_freq_factor = 4, .original_context = 8192};
    kase_attrs(k, &a, sizeof a);
    k->n_in = 2;
    k->in[0] = tokens(l, a.n_heads * hd, 1);
    k->in[1] = arg_new(l, CO_ROWS_TOKENS, 0, 0);
    k->in[1].ids = 1;
    for (int64_t t = 0; t < k->in[1].n; t++) k->in[1].v[t] = t % 5 == 4 ? 8190.0 + (double)t : (double)(t * 7);
    k->out[0] = arg_new(l, CO_ROWS_TOKENS, 0, a.n_heads * hd);
    k->noise = 1e-6;
    return 1;
}
static int make_attention(kase *k, const lives *l, int v)
{
    static const struct { uint32_t h, kv; int hd, causal, window, alibi; float scale; } s[] = {
        {1, 1, 1, 1, 0, 0, 1}, {2, 1, 8, 1, 0, 0, 0.3f}, {6, 2, 7, 1, 0, 1, 0.4f}, {3, 3, 48, 0, 0, 0, 0.144f},
        {4, 2, 64, 1, 5, 0, 0.125f}, {2, 2, 80, 1, 1, 0, 0.1118f}, {2, 1, 128, 1, 0, 0, 0.0884f}, {12, 4, 5, 1, 70, 1, 0.447f},
        {2, 1, 17, 0, 3, 0, 0.2f}, {8, 1, 3, 1, 0, 1, 0.5f}};
    if (v >= (int)(sizeof s / sizeof *s)) return 0;
    const co_attn a = {.struct_size = sizeof a, .n_heads = s[v].h, .n_kv_heads = s[v].kv, .scale = s[v].scale, .causal = s[v].causal,
                       .alibi = s[v].alibi, .window = s[v].window};
    kase_attrs(k, &a, sizeof a);
    k->n_in = 3;
    k->n_out = 2;
    k->in[0] = tokens(l, s[v].h * s[v].hd, 1);
    k->in[1] = tokens(l, s[v].kv * s[v].hd, 2);
    k->in[2] = tokens(l, s[v].kv * s[v].hd, 3);
    k->out[0] = arg_new(l, CO_ROWS_TOKENS, 0, s[v].h * s[v].hd);
    k->out[1] = arg_new(l, CO_ROWS_TOKENS, 0, s[v].h);
    k->out[1].wide = 1;
    k->noise = 2e-6; /* P (dP - D) cancels where a query sees one key */
    return 1;
}
static int make_cached(kase *k, const lives *l, int v)
{
    if (!make_attention(k, l, v)) return 0;
    co_attr_cached c = {.slot_len = 300};
    memcpy(&c.attn, k->attrs, sizeof c.attn);
    if (!c.attn.causal) c.attn.causal = 1;
    kase_attrs(k, &c, sizeof c);
    free(k->out[1].v);
    k->out[1] = (arg){0};
    k->n_in = 5;
    k->n_out = 1;
    for (int i = 3; i < 5; i++) {
        k->in[i] = fixed(l, 300 * LIVE_MAX_SEQS, k->in[1].cols, (uint64_t)i + 1);
        k->in[i].written = 1;
    }
    return 1;
}
static int elementwise(kase *k, const lives *l, int v, uint32_t n_in)
{
    if (v >= 2 * N_WIDTHS) return 0;
    const int64_t d = v == 0 ? 0 : widths[v / 2]; /* the first is [T] */
    k->n_in = n_in;
    for (uint32_t i = 0; i < n_in; i++) k->in[i] = tokens(l, d, 1 + i);
    k->out[0] = arg_new(l, CO_ROWS_TOKENS, 0, d);
    return 1;
}
static int make_two(kase *k, const lives *l, int v) { return elementwise(k, l, v, 2); }
static int make_one(kase *k, const lives *l, int v)
{
    const co_attr_i32 tanh_approx = {v / 2 % 2};
    const co_attr_range range = {-0.5f, 1.0f};
    const co_attr_f32 factor = {-1.75f};
    const co_attr_dropout drop = {0.25f, 18};
    if (k->op == CO_OP_GELU) kase_attrs(k, &tanh_approx, sizeof tanh_approx);
    if (k->op == CO_OP_CLAMP) kase_attrs(k, &range, sizeof range);
    if (k->op == CO_OP_SCALE) kase_attrs(k, &factor, sizeof factor);
    if (k->op == CO_OP_DROPOUT) kase_attrs(k, &drop, sizeof drop);
    k->noise = k->op == CO_OP_LOG_SIGMOID || k->op == CO_OP_GELU || k->op == CO_OP_SILU ? 1e-7 : 0;
    if (!elementwise(k, l, v, 1)) return 0;
    k->in[0].wide = k->op == CO_OP_SCALE && v % 3 == 1; /* it converts */
    k->out[0].wide = k->op == CO_OP_SCALE && v % 3 == 2;
    return 1;
}
static int make_gather(kase *k, const lives *l, int v)
{
    if (v >= N_WIDTHS) return 0;
    k->n_in = 2;
    k->in[0] = tokens(l, widths[v], 1);
    k->in[1] = ids(l, CO_ROWS_GATHERED, l->live.n_tokens > 2 ? l->live.n_tokens - 1 : 1, 2); /* repeats; the last never */
    k->out[0] = arg_new(l, CO_ROWS_GATHERED, 0, widths[v]);
    return 1;
}
static int make_logprob(kase *k, const lives *l, int v)
{
    static const struct { int64_t d, vocab; float inv_t, cap; int ignored, ignore_index; } s[] = {
        {7, 3, 1, 0, 1}, {17, 65, 1, 0, 0}, {65, 257, 1, 0, 1}, {8, 31, 0.5f, 0, 1}, {8, 31, 1, 2, 1}, {16, 33, 2, 3, 0},
        {3, 5, 1, 0, 2}, {3, 1, 1, 0, 0}, {3, 65551, 1, 0, 0}, {4, 3, 1, 0, 0, 2}, {4, 2, 0, 0, 0, -100}};
    if (v >= (int)(sizeof s / sizeof *s)) return 0;
    if (s[v].vocab > 1000 && l->live.n_tokens != 257) return 0; /* many: more rows than a chunk, more columns than a tile */
    const co_classifier a = {.struct_size = sizeof a, .inv_temperature = s[v].inv_t, .softcap = s[v].cap, .ignore_index = s[v].ignore_index};
    kase_attrs(k, &a, sizeof a);
    k->n_in = 3;
    k->n_out = 2;
    k->in[0] = tokens(l, s[v].d, 1);
    k->in[1] = fixed(l, s[v].vocab, s[v].d, 2);
    k->in[2] = ids(l, CO_ROWS_TOKENS, s[v].vocab, 3);
    for (int64_t t = 0; t < k->in[2].n; t++) /* some, none or all without a target */
        if (s[v].ignored == 2 || (s[v].ignored && t % 3 == 1)) k->in[2].v[t] = t % 2 ? -100 : -1;
    k->out[0] = arg_new(l, CO_ROWS_TOKENS, 0, 0);
    k->out[1] = arg_new(l, CO_ROWS_TOKENS, 0, 0);
    k->out[0].wide = k->out[1].wide = 1;
    k->noise = 1e-6;
    return 1;
}
static int make_masked(kase *k, const lives *l, int v)
{
    if (v >= 2) return 0;
    k->n_in = 2;
    k->in[0] = tokens(l, 0, 1);
    k->in[1] = tokens(l, 0, 2);
    for (int64_t t = 0; v == 0 && t < k->in[1].n; t++) k->in[1].v[t] = t % 3 != 1;
    k->out[0] = k->op == CO_OP_MASKED_MEAN ? arg_new(l, CO_ROWS_FIXED, 1, 0) : arg_new(l, CO_ROWS_SEQS, 0, 0);
    k->in[0].wide = k->in[1].wide = k->out[0].wide = 1; /* losses are fp32 */
    k->noise = 1e-6;
    return 1;
}
static int make_split(kase *k, const lives *l, int v)
{
    if (v >= 4) return 0;
    const int64_t d = widths[v + 1];
    k->n_in = 1;
    k->n_out = 3;
    k->in[0] = tokens(l, d + 1 + 2 * d, 1);
    k->out[0] = arg_new(l, CO_ROWS_TOKENS, 0, d);
    k->out[1] = arg_new(l, CO_ROWS_TOKENS, 0, 1);
    k->out[2] = arg_new(l, CO_ROWS_TOKENS, 0, 2 * d);
    return 1;
}
static int make_concat(kase *k, const lives *l, int v)
{
    if (v >= 4) return 0;
    const int64_t d = widths[v + 1];
    k->n_in = 3;
    k->in[0] = tokens(l, d, 1);
    k->in[1] = tokens(l, 1, 2);
    k->in[2] = tokens(l, 2 * d, 3);
    k->out[0] = arg_new(l, CO_ROWS_TOKENS, 0, 3 * d + 1);
    return 1;
}
static int make_shift(kase *k, const lives *l, int v)
{
    const co_attr_i32 by = {-3};
    if (v) return 0;
    kase_attrs(k, &by, sizeof by);
    k->n_in = 1;
    k->in[0] = ids(l, CO_ROWS_TOKENS, 50, 1);
    k->out[0] = arg_new(l, CO_ROWS_TOKENS, 0, 0);
    k->out[0].ids = 1;
    return 1;
}
/* Greedy and drawn rows with ties among the logits; more rows than one, each with its own settings. */
static int make_sample(kase *k, const lives *l, int v)
{
    static const int64_t vocab[] = {1, 7, 257, 5000};
    static const double how[][3] = {{0, 0, 1}, {1, 0, 1}, {0.7, 5, 1}, {1.3, 0, 0.6}, {2, 40, 0.9}, {0.2, 1, 0.5}, {0.01, 0, 0.999}};
    if (v >= 8) return 0;
    k->n_in = 5;
    k->n_out = 2;
    for (int i = 0; i < 5; i++) {
        k->in[i] = arg_new(l, CO_ROWS_GATHERED, 0, i ? 0 : vocab[v / 2]);
        k->in[i].wide = 1;
    }
    arg_fill(&k->in[0], 1);
    for (int64_t i = 0; i < k->in[0].n * k->in[0].cols; i++)
        k->in[0].v[i] = v % 2 ? rint(2 * k->in[0].v[i]) / 2 : (double)(float)(4 * k->in[0].v[i]);
    for (int64_t r = 0; r < k->in[1].n; r++) {
        for (int c = 0; c < 3; c++) k->in[1 + c].v[r] = (double)(float)how[r % 7][c];
        k->in[4].v[r] = (double)(float)rint(rng_uniform(7, 903, (uint64_t)r) * 1048575) / 1048576;
    }
    k->out[0] = arg_new(l, CO_ROWS_GATHERED, 0, 0);
    k->out[0].ids = 1;
    k->out[1] = arg_new(l, CO_ROWS_GATHERED, 0, 0);
    k->out[1].wide = 1;
    k->noise = 1e-6;
    return 1;
}
static int make_none(kase *k, const lives *l, int v)
{
    if (v >= (k->op == CO_OP_FILL0 ? 2 : 1)) return 0;
    k->out[0] = k->op == CO_OP_FILL0 ? arg_new(l, CO_ROWS_TOKENS, 0, 7) : arg_new(l, CO_ROWS_FIXED, 1, 0);
    k->out[0].wide = k->op == CO_OP_LOSS_SEED;
    return 1;
}

#define IN(i) (FROM_IN + (i))
#define DY FROM_DY
#define RULES(name, ...) static const rule name[] = {__VA_ARGS__, {.n_in = 0}}
RULES(r_linear, {CO_OP_LINEAR_BWD_X, 2, {DY, IN(1)}, 1, {0}}, {CO_OP_LINEAR_BWD_W, 2, {IN(0), DY}, 1, {1}},
      {CO_OP_LINEAR_BWD_B, 1, {DY}, 1, {2}});
RULES(r_embedding, {CO_OP_EMBEDDING_BWD, 2, {IN(0), DY}, 1, {1}});
RULES(r_rmsnorm, {CO_OP_RMSNORM_BWD, 3, {IN(0), IN(1), DY}, 2, {0, 1}, 0, 3},
      {CO_OP_RMSNORM_BWD, 4, {IN(0), IN(1), DY, FROM_RES}, 2, {0, 1}, 0, 4});
RULES(r_layernorm, {CO_OP_LAYERNORM_BWD, 3, {IN(0), IN(1), DY}, 3, {0, 1, 2}, 0, 3},
      {CO_OP_LAYERNORM_BWD, 4, {IN(0), IN(1), DY, FROM_RES}, 3, {0, 1, 2}, 0, 4});
RULES(r_rope, {CO_OP_ROPE_BWD, 2, {DY, IN(1)}, 1, {0}, 0, 1});
RULES(r_attention, {CO_OP_ATTENTION_BWD, 6, {IN(0), IN(1), IN(2), FROM_OUT, FROM_OUT + 1, DY}, 3, {0, 1, 2}});
RULES(r_swiglu, {CO_OP_SWIGLU_BWD, 3, {IN(0), IN(1), DY}, 2, {0, 1}, 0, 3}, {CO_OP_SWIGLU_BWD, 3, {IN(0), IN(1), DY}, 2, {0, 1}, .twins = 2},
      {CO_OP_SWIGLU_GRAD, 3, {IN(0), IN(1), DY}, 3, {10, 0, 1}, 0, 3, 2});
RULES(r_gelu, {CO_OP_GELU_BWD, 2, {IN(0), DY}, 1, {0}, 0, 2});
RULES(r_silu, {CO_OP_SILU_BWD, 2, {IN(0), DY}, 1, {0}, 0, 2});
RULES(r_relu, {CO_OP_RELU_BWD, 2, {IN(0), DY}, 1, {0}, 0, 2});
RULES(r_gather, {CO_OP_ROW_GATHER_BWD, 2, {DY, IN(1)}, 1, {0}});
RULES(r_dropout, {CO_OP_DROPOUT, 1, {DY}, 1, {0}, 0, 1});
RULES(r_add, {CO_OP_SCALE, 1, {DY}, 1, {0}, ATTRS_ONE}, {CO_OP_SCALE, 1, {DY}, 1, {1}, ATTRS_ONE});
RULES(r_sub, {CO_OP_SCALE, 1, {DY}, 1, {0}, ATTRS_ONE}, {CO_OP_SCALE, 1, {DY}, 1, {1}, ATTRS_MINUS_ONE});
RULES(r_mul, {CO_OP_MUL, 2, {DY, IN(1)}, 1, {0}}, {CO_OP_MUL, 2, {DY, IN(0)}, 1, {1}});
RULES(r_scale, {CO_OP_SCALE, 1, {DY}, 1, {0}});
RULES(r_exp, {CO_OP_MUL, 2, {DY, FROM_OUT}, 1, {0}});
RULES(r_log_sigmoid, {CO_OP_LOG_SIGMOID_BWD, 2, {IN(0), DY}, 1, {0}, 0, 2});
RULES(r_clamp, {CO_OP_CLAMP_BWD, 2, {IN(0), DY}, 1, {0}, 0, 2});
RULES(r_minimum, {CO_OP_MINIMUM_BWD, 3, {IN(0), IN(1), DY}, 2, {0, 1}, 0, 3});
RULES(r_maximum, {CO_OP_MAXIMUM_BWD, 3, {IN(0), IN(1), DY}, 2, {0, 1}, 0, 3});
RULES(r_logprob, {CO_OP_TOKEN_LOGPROB_BWD, 5, {IN(0), IN(1), IN(2), FROM_OUT + 1, DY}, 2, {0, 1}},
      {CO_OP_TOKEN_LOGPROB_GRAD, 4, {IN(0), IN(1), IN(2), DY}, 3, {10, 0, 1}});
RULES(r_mean, {CO_OP_MASKED_MEAN_BWD, 2, {IN(1), DY}, 1, {0}});
RULES(r_rows, {CO_OP_MASKED_SUM_ROWS_BWD, 2, {IN(1), DY}, 1, {0}});
RULES(r_split, {CO_OP_CONCAT, 3, {DY, DY + 1, DY + 2}, 1, {0}});

#define FORWARD(id, m, r) [CO_OP_##id] = {.make = m, .rules = r}
#define PLAIN(id, m) [CO_OP_##id] = {.make = m}
#define BACKWARD(id, forward) [CO_OP_##id] = {.of = CO_OP_##forward}
/* Designated by op without a size: a new op at the end of ops.def fails the assertion below until it has a row. */
static const entry rows[] = {
    FORWARD(LINEAR, make_linear, r_linear), FORWARD(EMBEDDING, make_embedding, r_embedding),
    FORWARD(RMSNORM, make_norm, r_rmsnorm), FORWARD(LAYERNORM, make_norm, r_layernorm), FORWARD(ROPE, make_rope, r_rope),
    FORWARD(ATTENTION, make_attention, r_attention), PLAIN(ATTENTION_CACHED, make_cached),
    FORWARD(SWIGLU, make_two, r_swiglu), FORWARD(GELU, make_one, r_gelu), FORWARD(SILU, make_one, r_silu),
    FORWARD(RELU, make_one, r_relu), FORWARD(ROW_GATHER, make_gather, r_gather), FORWARD(DROPOUT, make_one, r_dropout),
    FORWARD(ADD, make_two, r_add), FORWARD(SUB, make_two, r_sub), FORWARD(MUL, make_two, r_mul),
    FORWARD(SCALE, make_one, r_scale), FORWARD(EXP, make_one, r_exp), FORWARD(LOG_SIGMOID, make_one, r_log_sigmoid),
    FORWARD(CLAMP, make_one, r_clamp), FORWARD(MINIMUM, make_two, r_minimum), FORWARD(MAXIMUM, make_two, r_maximum),
    FORWARD(TOKEN_LOGPROB, make_logprob, r_logprob), FORWARD(MASKED_MEAN, make_masked, r_mean),
    FORWARD(MASKED_SUM_ROWS, make_masked, r_rows), PLAIN(STOP_GRADIENT, make_one), FORWARD(SPLIT, make_split, r_split),
    PLAIN(SHIFT_IDS, make_shift), BACKWARD(LINEAR_BWD_X, LINEAR), BACKWARD(LINEAR_BWD_W, LINEAR),
    BACKWARD(LINEAR_BWD_B, LINEAR), BACKWARD(EMBEDDING_BWD, EMBEDDING), BACKWARD(RMSNORM_BWD, RMSNORM),
    BACKWARD(LAYERNORM_BWD, LAYERNORM), BACKWARD(ROPE_BWD, ROPE), BACKWARD(ATTENTION_BWD, ATTENTION),
    BACKWARD(SWIGLU_BWD, SWIGLU), BACKWARD(GELU_BWD, GELU), BACKWARD(SILU_BWD, SILU), BACKWARD(RELU_BWD, RELU),
    BACKWARD(ROW_GATHER_BWD, ROW_GATHER), BACKWARD(LOG_SIGMOID_BWD, LOG_SIGMOID), BACKWARD(CLAMP_BWD, CLAMP),
    BACKWARD(MINIMUM_BWD, MINIMUM), BACKWARD(MAXIMUM_BWD, MAXIMUM), BACKWARD(TOKEN_LOGPROB_BWD, TOKEN_LOGPROB),
    BACKWARD(TOKEN_LOGPROB_GRAD, TOKEN_LOGPROB), BACKWARD(MASKED_MEAN_BWD, MASKED_MEAN),
    BACKWARD(MASKED_SUM_ROWS_BWD, MASKED_SUM_ROWS), PLAIN(CONCAT, make_concat), PLAIN(LOSS_SEED, make_none),
    PLAIN(FILL0, make_none), BACKWARD(SWIGLU_GRAD, SWIGLU), PLAIN(SAMPLE_TOKEN, make_sample)};
_Static_assert(sizeof rows / sizeof *rows == CO_OP_COUNT, "an op of ops.def has no row here");

const entry *entry_of(uint32_t op) { return &rows[op]; }

int kase_make(kase *k, uint32_t op, const lives *l, int v)
{
    *k = (kase){.op = op, .n_out = 1, .batch = l};
    snprintf(k->label, sizeof k->label, "%s, variant %d, %d tokens in %d sequences%s", op_text(op), v, l->live.n_tokens,
             l->live.n_seqs, harness_coarse ? ", coarse" : "");
    if (!rows[op].make(k, l, v)) {
        kase_free(k);
        return 0;
    }
    stride(k, v);
    return 1;
}

static arg source(int from, const kase *f, const arg *dy, const arg *res)
{
    if (from >= FROM_RES) return arg_copy(res);
    if (from >= FROM_DY) return arg_copy(&dy[from - FROM_DY]);
    return from >= FROM_OUT ? arg_copy(&f->out[from - FROM_OUT]) : arg_copy(&f->in[from]);
}

void rule_apply(const rule *r, const kase *f, const arg *dy, const arg *res, int accumulate, int sum_fp32, kase *b)
{
    const co_attr_f32 factor = {r->attrs == ATTRS_MINUS_ONE ? -1.0f : 1.0f};
    *b = (kase){.op = r->op, .n_in = (uint32_t)r->n_in, .n_out = (uint32_t)r->n_out, .batch = f->batch, .noise = f->noise};
    memcpy(b->label, f->label, sizeof b->label);
    kase_attrs(b, f->attrs, f->attrs_size);
    if (r->attrs) kase_attrs(b, &factor, sizeof factor);
    for (int i = 0; i < r->n_in; i++) {
        b->in[i] = source(r->in[i], f, dy, res);
        b->in[i].grad = b->in[i].share = 0;
    }
    for (int i = 0; i < r->n_out; i++) {
        const arg *like = r->out[i] >= 10 ? &f->out[r->out[i] - 10] : &f->in[r->out[i]];
        if (!like->used) continue; /* no bias, no gradient of it */
        b->out[i] = arg_copy(like);
        if (like->rows != CO_ROWS_FIXED || r->out[i] >= 10) continue;
        b->out[i].grad = 1; /* a parameter: gradients have its type, or sum up in fp32 */
        b->out[i].wide |= sum_fp32 != 0;
        b->out[i].accumulate = (uint8_t)accumulate;
        arg_fill(&b->out[i], 55);
    }
}
