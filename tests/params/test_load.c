/* From files to parameters: what fits, what does not and whose fault it is; random starts. */
#include "fixture.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/params/half.h"

enum { L = 2 };
typedef struct edit { /* a deviation from the file that fits */
    const char *skip, *extra; /* a tensor left out; one added, [1] */
    const char *reshape;      /* this tensor has one row more */
    const char *prefix;       /* taken off names */
    int head, head_differs, transposed, nan, fp16;
} edit;

static float value(const char *name, int64_t i) { return (float)(strlen(name) % 7) + (float)i / 64; }

/* Writes a file for fake_model with values from value(), as edited. */
static void make_file(const char *path, const param_table *t, const edit *e)
{
    st_writer *w = NULL;
    int ok = st_write_begin(path, &w) == CO_OK;
    for (int pass = 0; pass < 2 && ok; pass++) {
        for (uint32_t i = 0; i < t->n_params; i++) {
            const co_param_slot *s = &t->slots[i];
            const char *name = s->name;
            int64_t ne[2] = {s->shape.ne[0], s->shape.ne[1]}, n = param_elements(s);
            if (e->skip && strcmp(name, e->skip) == 0) continue;
            if (s->owner != i && !e->head) continue;
            if (e->transposed && (s->flags & CO_PARAM_FILE_TRANSPOSED)) ne[0] = s->shape.ne[1], ne[1] = s->shape.ne[0];
            if (e->reshape && strcmp(name, e->reshape) == 0) n += n / ne[0], ne[0]++;
            size_t cut = e->prefix && strncmp(name, e->prefix, strlen(e->prefix)) == 0 ? strlen(e->prefix) : 0;
            if (pass == 0) ok = ok && st_write_declare(w, name + cut, e->fp16 ? CO_F16 : CO_F32, s->shape.ndim, ne) == CO_OK;
            for (int64_t k = 0; pass == 1 && k < n; k++) {
                int64_t at = e->transposed && (s->flags & CO_PARAM_FILE_TRANSPOSED) ? k % ne[1] * ne[0] + k / ne[1] : k;
                float v = value(t->slots[s->owner].name, at) + (s->owner != i && e->head_differs && k == n - 1);
                if (e->nan && i == 3 && k == 5) v = (float)NAN;
                uint16_t h = f16_from_f32(v);
                ok = ok && st_write_data(w, e->fp16 ? (void *)&h : (void *)&v, e->fp16 ? 2 : 4) == CO_OK;
            }
        }
        const int64_t one[1] = {1};
        float zero = 0;
        if (e->extra && pass == 0) ok = ok && st_write_declare(w, e->extra, CO_F32, 1, one) == CO_OK;
        if (e->extra && pass == 1) ok = ok && st_write_data(w, &zero, 4) == CO_OK;
    }
    CHECK(ok && st_write_finish(w) == CO_OK);
}

static int load(const edit *e, const param_table *t, store *s, params_load_report *r)
{
    static const char config[] = "{\"hidden_size\":4,\"vocab_size\":6,\"num_hidden_layers\":2,\"num_key_value_heads\":1}";
    const char *path = tmp_path("load.safetensors");
    hf_config *c;
    st_set *set;
    make_file(path, t, e);
    CHECK(hf_config_parse(config, strlen(config), "dir/config.json", &c) == CO_OK);
    CHECK(st_open_file(path, &set) == CO_OK);
    int rc = params_load(t, set, c, 7, s ? store_write : NULL, s, r);
    st_close(set);
    hf_config_close(c);
    return rc;
}

static param_table *table(int tied, int transposed)
{
    fake_model m = {.layers = L, .tied = tied, .transposed = transposed};
    param_table *t = NULL;
    CHECK(param_table_build(&fake_vt, &m, CO_F32, &t) == CO_OK);
    return t;
}

static void expect_values(const param_table *t, const store *s)
{
    for (uint32_t i = 0; i < t->n_params; i++) {
        int64_t n = param_elements(&t->slots[i]);
        CHECK(s->written[i] == (t->slots[i].owner == i ? n : 0));
        for (int64_t k = 0; k < n && t->slots[i].owner == i; k++)
            if (s->v[i][k] != value(t->slots[i].name, k)) CHECK_MSG(0, "%s[%d] is %g", t->slots[i].name, (int)k, (double)s->v[i][k]);
    }
}

static void count_line(void *ctx, int before) { *(int *)ctx += before; }

static void test_fits(void)
{
    static const edit edits[] = {{0}, {.head = 1}, {.transposed = 1}, {.fp16 = 1}, {.prefix = "model."},
                                 {.extra = "model.layers.0.self_attn.rotary_emb.inv_freq"}, {.extra = "gpt_neox.layers.1.attention.bias"},
                                 {.extra = "whatever"}};
    int warnings = 0;
    log_hook(count_line, &warnings);
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        param_table *t = table(1, edits[i].transposed);
        params_load_report r = {0};
        store s;
        store_open(&s, t);
        CHECK(load(&edits[i], t, &s, &r) == CO_OK);
        expect_values(t, &s);
        CHECK(r.n_loaded == t->n_params - 1 && r.n_initialised == 0 && r.n_ignored == (edits[i].extra != NULL));
        CHECK(r.n_bytes == t->n_elements * (edits[i].fp16 ? 2 : 4));
        CHECK(warnings == (edits[i].extra && strcmp(edits[i].extra, "whatever") == 0)); /* known buffers are nobody's loss */
        store_close(&s);
        param_table_free(t);
    }
    log_hook(NULL, NULL);
}

/* Only the head was saved: the embedding it is tied to takes it. */
static void test_tied_from_head(void)
{
    param_table *t = table(1, 0);
    store s;
    store_open(&s, t);
    edit e = {.skip = "model.embed.weight", .head = 1};
    CHECK(load(&e, t, &s, NULL) == CO_OK);
    expect_values(t, &s);
    store_close(&s);
    param_table_free(t);
}

/* A file by groups: each part is whole in the parameter. */
static void test_grouped(void)
{
    fake_model m = {.layers = L, .grouped = 1};
    param_table *t = NULL;
    store s;
    CHECK(param_table_build(&fake_vt, &m, CO_F32, &t) == CO_OK);
    if (!t) return;
    store_open(&s, t);
    edit e = {0};
    CHECK(load(&e, t, &s, NULL) == CO_OK);
    static const int64_t w[4] = {0, 2, 1, 3}, embed[6] = {0, 1, 3, 4, 2, 5};
    const uint32_t bias = param_find(t, "model.layers.1.bias"), weight = param_find(t, "model.layers.1.w.weight");
    for (int64_t k = 0; k < 20; k++) CHECK(s.v[weight][k] == value("model.layers.1.w.weight", w[k / 5] * 5 + k % 5));
    for (int64_t k = 0; k < 4; k++) CHECK(s.v[bias][k] == value("model.layers.1.bias", w[k]));
    for (int64_t k = 0; k < 24; k++) CHECK(s.v[0][k] == value("model.embed.weight", embed[k / 4] * 4 + k % 4));
    store_close(&s);
    param_table_free(t);
}

static void test_optional(void)
{
    param_table *t = table(1, 0);
    params_load_report r;
    store s;
    store_open(&s, t);
    edit e = {.skip = "model.layers.1.bias"};
    CHECK(load(&e, t, &s, &r) == CO_OK && r.n_initialised == 1);
    CHECK(s.v[param_find(t, "model.layers.1.bias")][0] == 0 && s.written[param_find(t, "model.layers.1.bias")] == 4);
    store_close(&s);
    param_table_free(t);
}

static void test_refused(void)
{
    static const struct { edit e; const char *says[4]; } cases[] = {
        {{.skip = "model.layers.0.k.weight"}, {"load.safetensors: tensor \"model.layers.0.k.weight\" missing"}},
        {{.reshape = "model.layers.0.k.weight"},
         {"has shape [3, 4]", "dir/config.json asks for [2, 4]", "load.safetensors"}},
        {{.reshape = "model.embed.weight"}, {"has shape [7, 4]", "asks for [6, 4]", "check vocab_size"}},
        {{.reshape = "model.norm.weight"}, {"has shape [5]", "asks for [4]", "check hidden_size"}},
        {{.extra = "model.layers.2.k.weight"}, {"of layer 2", "num_hidden_layers of dir/config.json says 2 layers"}},
        {{.head = 1, .head_differs = 1}, {"\"lm_head.weight\" differs from \"model.embed.weight\"", "tie_word_embeddings"}},
        {{.nan = 1}, {"model.layers.0.w.weight", "element 5 is nan"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        param_table *t = table(1, 0);
        store s;
        store_open(&s, t);
        CHECK(load(&cases[i].e, t, &s, NULL) == CO_E_FORMAT);
        for (int k = 0; k < 4 && cases[i].says[k]; k++) CHECK_HAS(error_message(), cases[i].says[k]);
        store_close(&s);
        param_table_free(t);
    }
}

/* A head of its own is demanded when nothing is tied. */
static void test_head_missing(void)
{
    param_table *t = table(0, 0);
    edit e = {.skip = "lm_head.weight"};
    CHECK(load(&e, t, NULL, NULL) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "\"lm_head.weight\" missing");
    param_table_free(t);
}

/* The configuration says more layers than the file has. */
static void test_too_few_layers(void)
{
    fake_model big = {.layers = 4, .tied = 1};
    param_table *t = table(1, 0), *four = NULL;
    edit e = {0};
    st_set *set;
    CHECK(param_table_build(&fake_vt, &big, CO_F32, &four) == CO_OK);
    make_file(tmp_path("load.safetensors"), t, &e);
    CHECK(st_open_file(tmp_path("load.safetensors"), &set) == CO_OK);
    CHECK(params_load(four, set, NULL, 1, NULL, NULL, NULL) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "\"model.layers.2.norm.weight\" and 5 more missing; the file has 2 layers");
    st_close(set);
    param_table_free(t);
    param_table_free(four);
}

static void test_sink_error(void)
{
    param_table *t = table(1, 0);
    store s;
    store_open(&s, t);
    s.fail_at = 3;
    edit e = {0};
    CHECK(load(&e, t, &s, NULL) == CO_E_DEVICE);
    CHECK(s.calls == 3);
    store_close(&s);
    param_table_free(t);
}

/* ---- tensors larger than a piece, one of them transposed: the piece borders must not show */
static int big_info(void *self, co_model_info *out)
{
    (void)self;
    out->n_layers = 1;
    return CO_OK;
}
static int big_params(void *self, void *sink, int (*add)(void *, const co_param *))
{
    co_param p = {sizeof p, CO_UNIT_BLOCK, "w", "h.{}.w", NULL, {3, PARAMS_PIECE + 5}, 2, CO_INIT_NORMAL,
                  CO_PARAM_FILE_TRANSPOSED, 0.02f};
    co_param q = {sizeof q, CO_UNIT_EMBED, "e", "e", NULL, {1500, 700}, 2, CO_INIT_NORMAL, CO_PARAM_FILE_TRANSPOSED, 0.02f};
    (void)self;
    int rc = add(sink, &q);
    return rc ? rc : add(sink, &p);
}

static void test_pieces(void)
{
    const co_model_vt vt = {.struct_size = sizeof vt, .info = big_info, .params = big_params};
    param_table *t = NULL;
    st_writer *w;
    st_set *set;
    store s;
    CHECK(param_table_build(&vt, NULL, CO_F32, &t) == CO_OK);
    if (!t) return;
    CHECK(st_write_begin(tmp_path("big.safetensors"), &w) == CO_OK);
    for (uint32_t i = 0; i < 2; i++) {
        const int64_t ne[2] = {t->slots[i].shape.ne[1], t->slots[i].shape.ne[0]};
        CHECK(st_write_declare(w, t->slots[i].name, CO_F32, 2, ne) == CO_OK);
    }
    for (uint32_t i = 0; i < 2; i++) {
        int64_t out = t->slots[i].shape.ne[0], in = t->slots[i].shape.ne[1];
        float *row = calloc((size_t)out, sizeof *row);
        for (int64_t k = 0; k < in; k++) {
            for (int64_t o = 0; o < out; o++) row[o] = (float)(o * in + k);
            if (st_write_data(w, row, (size_t)out * 4) != CO_OK) CHECK(0);
        }
        free(row);
    }
    CHECK(st_write_finish(w) == CO_OK);
    CHECK(st_open_file(tmp_path("big.safetensors"), &set) == CO_OK);
    store_open(&s, t);
    CHECK(params_load(t, set, NULL, 1, store_write, &s, NULL) == CO_OK);
    for (uint32_t i = 0; i < 2; i++) {
        int64_t wrong = 0, n = param_elements(&t->slots[i]);
        for (int64_t k = 0; k < n; k++) wrong += s.v[i][k] != (float)k;
        CHECK(wrong == 0 && s.written[i] == n);
    }
    store_close(&s);
    st_close(set);
    param_table_free(t);
}

/* However many cores draw a piece, each number is that of its place. */
static int expect_drawn(void *ctx, uint32_t slot, int64_t first, int64_t n, const float *v)
{
    int64_t *next = ctx, wrong = 0;
    CHECK(slot == 0 && first == *next);
    for (int64_t i = 0; i < n; i++) wrong += v[i] != (float)(0.5f * rng_normal(9, RNG_INIT, (uint64_t)(first + i)));
    CHECK_MSG(wrong == 0, "%lld of the %lld numbers from %lld on", (long long)wrong, (long long)n, (long long)first);
    *next += n;
    return CO_OK;
}
static void test_init_large(void)
{
    static const int64_t rows[] = {1, 2047, 2049, 70001}; /* of 4: less than a thread is worth, one thread, two, two pieces */
    float *buf = mem_alloc(PARAMS_PIECE * sizeof *buf, 64);
    param_table *t = table(1, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t next = 0;
        t->slots[0].shape.ne[0] = rows[i];
        CHECK(params_init_one(t, 0, 9, buf, expect_drawn, &next) == CO_OK && next == 4 * rows[i]);
    }
    param_table_free(t);
    mem_free(buf);
}

static void test_init(void)
{
    param_table *t = table(1, 0);
    store a, b, c;
    store_open(&a, t);
    store_open(&b, t);
    store_open(&c, t);
    CHECK(params_init(t, 42, store_write, &a) == CO_OK);
    CHECK(params_init(t, 42, store_write, &b) == CO_OK);
    CHECK(params_init(t, 43, store_write, &c) == CO_OK);
    double sum = 0;
    int other = 0;
    for (uint32_t i = 0; i < t->n_params; i++) {
        int64_t n = param_elements(&t->slots[i]);
        CHECK(a.written[i] == (t->slots[i].owner == i ? n : 0));
        CHECK(memcmp(a.v[i], b.v[i], (size_t)n * 4) == 0);
        other += memcmp(a.v[i], c.v[i], (size_t)n * 4) != 0;
    }
    for (int k = 0; k < 24; k++) sum += (double)a.v[0][k] * a.v[0][k];
    CHECK(sqrt(sum / 24) > 0.25 && sqrt(sum / 24) < 1.0); /* std 0.5 of 24 draws */
    CHECK(a.v[1][0] == 1 && a.v[4][0] == 0 && a.v[2][0] != a.v[6][0]);
    CHECK(other == 1 + 2 * L); /* embedding, and k and w of each block */
    store_close(&a);
    store_close(&b);
    store_close(&c);
    param_table_free(t);
}

int main(void)
{
    tmp_make();
    test_fits();
    test_tied_from_head();
    test_grouped();
    test_optional();
    test_refused();
    test_head_missing();
    test_too_few_layers();
    test_sink_error();
    test_pieces();
    test_init();
    test_init_large();
    tmp_remove();
    return check_done();
}
