/* test_adapter.c: adapter directories written and read again, merged, and refused. */
#include "check.h"
#include "core/lora/adapter_impl.h"
#include "core/lora/merge.h"
#include "models/golden.h"
#include <ctype.h>
#include <unistd.h>

static const char *const root = COATI_SOURCE_DIR "/tests/golden";
static char *scratch;

static char *at(const char *name) { return mem_printf("%s/%s", scratch, name); }
static char *golden_path(const char *name) { return mem_printf("%s/%s", root, name); }

static void write_text(const char *dir, const char *name, const char *text)
{
    char *path = mem_printf("%s/%s", dir, name);
    CHECK(fs_mkdirs(dir) == CO_OK && fs_write_atomic(path, text, strlen(text)) == CO_OK);
    mem_free(path);
}

static int read_param(void *ctx, uint32_t param, int64_t first, int64_t n, float *out) { return engine_gather(ctx, param, first, n, out); }

static int open_with(fixture *f, const char *base, const char *dir_of_adapter, double dropout, int blocks)
{
    char *dir = golden_path(base);
    const int r = fixture_open(&(fixture_args){.dir = dir, .adapter = dir_of_adapter, .max_tokens = 64, .max_seqs = 8, .slots = 2, .slot_len = 40,
                                               .pass_tokens = 40, .pass_rows = 40, .lora_dropout = dropout, .checkpoint_blocks = blocks}, f);
    mem_free(dir);
    CHECK(r == CO_OK);
    return r;
}

/* Logits of a fixed sequence; copied. */
static float *logits_of(fixture *f, int64_t *n)
{
    static int32_t ids[12] = {1, 9, 4, 30, 2, 17, 5, 5, 21, 33, 8, 12}, rows[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    static const int32_t start[2] = {0, 12}, zero = 0;
    const engine_pass p = {.n_tokens = 12, .n_seqs = 1, .n_rows = 12, .ids = ids, .seq_start = start, .slot = &zero, .past_len = &zero, .rows = rows};
    const float *l = NULL;
    CHECK(engine_generate(f->engine, &p, &l) == CO_OK);
    *n = 12 * (int64_t)f->table->info.n_vocab;
    float *copy = mem_calloc((size_t)*n, sizeof *copy);
    if (l) memcpy(copy, l, (size_t)*n * sizeof *copy);
    return copy;
}

static double distance(const float *a, const float *b, int64_t n)
{
    double diff = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) diff += ((double)a[i] - b[i]) * ((double)a[i] - b[i]), norm += (double)b[i] * b[i];
    return sqrt(diff / norm);
}

static int write_from(const fixture *f, const char *dir)
{
    const adapter_write_args w = {.dir = dir, .lora = f->lora, .table = f->table, .read = read_param, .ctx = f->engine, .base_path = "base"};
    return adapter_write(&w);
}

/* The same tensors under the same names with the same values as in peft's own file. */
static void check_tensors(const char *dir, const char *other)
{
    char *a = mem_printf("%s/" ADAPTER_WEIGHTS, dir), *b = mem_printf("%s/" ADAPTER_WEIGHTS, other);
    st_set *x = NULL, *y = NULL;
    CHECK(st_open_file(a, &x) == CO_OK && st_open_file(b, &y) == CO_OK);
    CHECK(st_count(x) == st_count(y));
    for (size_t i = 0; x && y && i < st_count(x); i++) {
        const st_tensor *p = st_at(x, i), *q = st_find(y, p->name);
        CHECK_MSG(q && p->bytes == q->bytes && p->ne[0] == q->ne[0] && memcmp(p->data, q->data, p->bytes) == 0, "%s", p->name);
    }
    st_close(x);
    st_close(y);
    mem_free(a);
    mem_free(b);
}

/* target_modules, as PEFT matches names, stand for the adapted products and for no other. */
static void check_targets(const fixture *f, const char *dir)
{
    char *path = mem_printf("%s/" ADAPTER_CONFIG, dir), *text = NULL, names[400] = "";
    size_t len, at = 0;
    CHECK(fs_read_all(path, &text, &len, 1 << 20) == CO_OK);
    const char *p = text ? strstr(text, "\"target_modules\": [") : NULL, *end = p ? strchr(p, ']') : NULL;
    CHECK(p && end);
    for (p = p ? strchr(p, '[') : NULL; p && p < end && at < sizeof names - 1; p++)
        if (*p == ',' || *p == '.' || *p == '_' || isalnum((unsigned char)*p)) names[at++] = *p;
    const lora_spec spec = {.rank = 1, .alpha = 1, .targets = names};
    lora *l = NULL;
    uint32_t n = 0, m = 0;
    CHECK_MSG(lora_open(host_services(f->host), f->model, f->model_self, &spec, &l) == CO_OK, "%s", error_message());
    const lora_target *want = lora_targets(f->lora, &n), *got = l ? lora_targets(l, &m) : NULL;
    CHECK_MSG(n == m, "%s: %u targets from \"%s\", %u adapted", dir, m, names, n);
    for (uint32_t i = 0; i < n && i < m; i++) CHECK_STR(got[i].module, want[i].module);
    lora_close(l);
    mem_free(text);
    mem_free(path);
}

/* Written, and read again: the same logits to the bit. */
static void test_round_trip(const char *from, const char *base)
{
    fixture f, g;
    char *to = at("again");
    int64_t n;
    if (open_with(&f, base, from, 0, 0) == CO_OK) {
        CHECK_MSG(write_from(&f, to) == CO_OK, "%s", error_message());
        CHECK_MSG(write_from(&f, to) == CO_OK, "over its own: %s", error_message());
        check_tensors(from, to);
        check_targets(&f, to);
        float *a = logits_of(&f, &n);
        if (open_with(&g, base, to, 0, 0) == CO_OK) {
            float *b = logits_of(&g, &n);
            CHECK_MSG(memcmp(a, b, (size_t)n * sizeof *a) == 0, "%s: %g apart", from, distance(a, b, n));
            mem_free(b);
        }
        fixture_close(&g);
        mem_free(a);
    }
    fixture_close(&f);
    mem_free(to);
}

/* W + s B A as a model of its own gives the logits of model and adapter. */
static void test_merge(const char *from, const char *base_model)
{
    fixture f, g;
    char *to = at("merged");
    int64_t n;
    if (open_with(&f, base_model, from, 0, 0) == CO_OK) {
        param_table *base = NULL;
        CHECK(param_table_build(f.model, f.model_self, CO_F32, &base) == CO_OK);
        lora_merge m = {.lora = f.lora, .base = base, .table = f.table, .read = read_param, .ctx = f.engine};
        CHECK(lora_merge_begin(&m) == CO_OK);
        const params_export_args x = {.dir = to, .table = base, .read = lora_merge_read, .ctx = &m, .config = f.config, .dtype = CO_F32};
        CHECK_MSG(params_export(&x) == CO_OK, "%s", error_message());
        lora_merge_end(&m);
        param_table_free(base);
        float *a = logits_of(&f, &n);
        CHECK(fixture_open(&(fixture_args){.dir = to, .slots = 2, .slot_len = 40, .pass_tokens = 40, .pass_rows = 40}, &g) == CO_OK);
        float *b = logits_of(&g, &n);
        CHECK_MSG(distance(a, b, n) < 2e-6, "%s: %g", from, distance(a, b, n));
        mem_free(b);
        fixture_close(&g);
        mem_free(a);
    }
    fixture_close(&f);
    mem_free(to);
}

/* Every stored adapter: all models, all kinds of targets. */
static void test_stored(void)
{
    char **names, base[128] = "", *dir = golden_path("lora");
    size_t n = 0;
    CHECK(fs_list(dir, &names, &n) == CO_OK && n > 0);
    for (size_t i = 0; i < n; i++) {
        char *from = fs_join(dir, names[i]);
        golden g;
        if (golden_open(&g, from, names[i])) {
            CHECK(sscanf(golden_json(&g, "base"), " \"%100[^\"]", base) == 1);
            test_round_trip(from, base);
            test_merge(from, base);
        }
        golden_close(&g);
        mem_free(from);
    }
    if (n) fs_free_list(names, n);
    mem_free(dir);
}

/* Two adapters in turn over one base: the second's smaller rank leaves nothing of the first behind. */
static int put(void *ctx, uint32_t param, int64_t first, int64_t n, const float *v) { return engine_write(ctx, param, 0, first, n, v); }
static void test_two_in_turn(void)
{
    fixture f, alone;
    char *big = golden_path("lora/all_linear"), *small = at("small");
    int64_t n;
    adapter *a = NULL;
    if (open_with(&f, "llama/gqa_tied", big, 0, 0) == CO_OK) {
        const lora_spec spec = {.rank = 2, .alpha = 7, .targets = "q_proj"};
        lora *l = NULL;
        param_table *t = NULL;
        CHECK(lora_open(host_services(f.host), f.model, f.model_self, &spec, &l) == CO_OK);
        CHECK(param_table_build(lora_model(l), l, CO_F32, &t) == CO_OK && lora_freeze(l, t) == CO_OK);
        const adapter_write_args w = {.dir = small, .lora = l, .table = t, .read = read_param, .ctx = f.engine, .base_path = ""};
        /* Slots of the narrower table do not match the engine's: values do not matter, only that they are not zero. */
        CHECK_MSG(adapter_write(&w) == CO_OK, "%s", error_message());
        param_table_free(t);
        lora_close(l);
        CHECK_MSG(adapter_open(small, &a) == CO_OK, "%s", error_message());
        adapter *both[2] = {a, f.adapter};
        lora *common = NULL;
        param_table *base = NULL;
        uint32_t targets = 0;
        CHECK(param_table_build(f.model, f.model_self, CO_F32, &base) == CO_OK);
        CHECK(adapter_wrap(host_services(f.host), f.model, f.model_self, base, "base", both, 2, &common) == CO_OK);
        if (common) (void)lora_targets(common, &targets);
        CHECK(common && lora_spec_of(common)->rank == 4 && targets == 7);
        lora_close(common);
        param_table_free(base);
        CHECK(adapter_load(a, f.lora, f.table, put, f.engine) == CO_OK);
        float *x = logits_of(&f, &n);
        if (open_with(&alone, "llama/gqa_tied", small, 0, 0) == CO_OK) {
            float *y = logits_of(&alone, &n);
            CHECK_MSG(distance(x, y, n) < 2e-6, "%g", distance(x, y, n));
            mem_free(y);
        }
        fixture_close(&alone);
        mem_free(x);
        adapter_close(a);
    }
    fixture_close(&f);
    mem_free(small);
    mem_free(big);
}

/* Dropout draws the same when a block is run again for its backward. */
static void test_dropout_checkpointing(void)
{
    static int32_t ids[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, pos[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    static const int32_t start[2] = {0, 10}, labels[10] = {2, 3, 4, 5, 6, 7, 8, 9, 10, -100};
    static const float mask[10] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 0};
    static const uint64_t key[1] = {77};
    char *from = golden_path("lora/all_linear");
    double loss[2][2];
    for (int blocks = 0; blocks < 2; blocks++) {
        fixture f;
        if (open_with(&f, "llama/gqa_tied", from, 0.25, blocks) == CO_OK) {
            const void *columns[2] = {labels, mask};
            const engine_batch b = {.n_tokens = 10, .n_seqs = 1, .ids = ids, .positions = pos, .seq_start = start, .seq_key = key, .columns = columns};
            engine_result r;
            co_step_stats stats;
            for (int step = 1; step <= 2; step++) {
                CHECK(engine_micro_step(f.engine, &b, 1.0 / 9, 1, step, 1, &r) == CO_OK);
                CHECK(engine_step(f.engine, step, 1e-2, 0, &stats) == CO_OK);
                loss[blocks][step - 1] = r.loss;
            }
            CHECK(engine_evaluate(f.engine, &b, 1.0 / 9, &r) == CO_OK);
            CHECK_MSG(r.loss != loss[blocks][1], "dropout seems to do nothing");
        }
        fixture_close(&f);
    }
    CHECK(loss[0][0] == loss[1][0] && loss[0][1] == loss[1][1]);
    mem_free(from);
}

/* ---- refused ---------------------------------------------------------------------------------------------------- */
static void refused(const char *dir, const char *base, int code, const char *text)
{
    adapter *a = NULL;
    int r = adapter_open(dir, &a);
    if (r == CO_OK && base) {
        fixture f;
        char *model = golden_path(base);
        CHECK(fixture_open(&(fixture_args){.dir = model, .max_tokens = 4, .max_seqs = 2}, &f) == CO_OK);
        r = adapter_check(a, f.table, model);
        fixture_close(&f);
        mem_free(model);
    }
    CHECK_MSG(r == code, "%d instead of %d for \"%s\"", r, code, text);
    CHECK_HAS(error_message(), text);
    adapter_close(a);
}

static void test_refused(void)
{
    char *all = golden_path("lora/all_linear"), *none = at("none"), *bad = at("bad"), *weights = mem_printf("%s/" ADAPTER_WEIGHTS, bad);
    static const struct { const char *config, *text; } configs[] = {
        {"{\"peft_type\": \"IA3\"}", "only LORA"},
        {"{\"peft_type\": \"LORA\", \"r\": 4, \"use_dora\": true}", "\"use_dora\" is not offered"},
        {"{\"peft_type\": \"LORA\", \"r\": 4, \"rank_pattern\": {\"q_proj\": 8}}", "\"rank_pattern\" is not offered"},
        {"{\"peft_type\": \"LORA\", \"r\": 4, \"modules_to_save\": [\"lm_head\"]}", "\"modules_to_save\" is not offered"},
        {"{\"peft_type\": \"LORA\", \"r\": 4, \"alpha_pattern\": {\"q_proj\": 8}}", "\"alpha_pattern\" is not offered"},
        {"{\"peft_type\": \"LORA\", \"r\": 4, \"layer_replication\": [[0, 2]]}", "\"layer_replication\" is not offered"},
        {"{\"peft_type\": \"LORA\", \"r\": 4, \"target_parameters\": [\"w\"]}", "\"target_parameters\" is not offered"},
        {"{\"peft_type\": \"LORA\", \"r\": 4, \"init_lora_weights\": \"pissa_niter_4\"}", "\"pissa_niter_4\" is not offered: it changes the base"},
        {"{\"peft_type\": \"LORA\", \"r\": 0}", "\"r\" is 0"},
        {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": -1}", "\"lora_alpha\" is -1"},
        {"{\"peft_type\": \"LORA\", \"r\": \"x\"}", "1:28"},
        {"{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 1}", "is not of rank 3"},
        {"[]", "expected an object"},
        {"{\"r\": 4", "adapter_config.json:1:"},
    };
    refused(none, NULL, CO_E_FORMAT, "adapter_config.json: no such file");
    refused(all, "llama/heads3_kv1", CO_E_FORMAT, "the adapter is for another model");
    refused(all, "llama/mha_untied", CO_E_FORMAT, "layers.0.mlp.down_proj.lora_A");
    write_text(bad, ADAPTER_CONFIG, "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8}");
    refused(bad, NULL, CO_E_FORMAT, "adapter_model.bin is not read");
    char *good = mem_printf("%s/" ADAPTER_WEIGHTS, all), *bytes;
    size_t n;
    CHECK(fs_read_all(good, &bytes, &n, 1 << 20) == CO_OK && fs_write_atomic(weights, bytes, n) == CO_OK);
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        write_text(bad, ADAPTER_CONFIG, configs[i].config);
        refused(bad, NULL, CO_E_FORMAT, configs[i].text);
    }
    /* One B renamed away. */
    char *b = memmem(bytes, n, "lora_B", 6);
    CHECK(b != NULL);
    if (b) b[5] = 'C';
    write_text(bad, ADAPTER_CONFIG, configs[0].config);
    write_text(bad, ADAPTER_CONFIG, "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8}");
    CHECK(fs_write_atomic(weights, bytes, n) == CO_OK);
    refused(bad, NULL, CO_E_FORMAT, "lora_");
    mem_free(bytes);
    mem_free(good);
    mem_free(weights);
    mem_free(bad);
    mem_free(none);
    mem_free(all);
}

static void test_targets(void)
{
    static const struct { lora_spec spec; const char *text; } wrong[] = {
        {{.rank = 4, .alpha = 8, .targets = "q_porj"}, "\"q_porj\" matches no product of the model; there are q_proj, k_proj, v_proj"},
        {{.rank = 4, .alpha = 8, .targets = "q_proj,proj"}, "\"proj\" matches no product"},
        {{.rank = 4, .alpha = 8, .targets = "lm_head"}, "\"lm_head\" matches no product"},
        {{.rank = 4, .alpha = 8, .targets = ""}, "matches no product"},
        {{.rank = 9, .alpha = 8, .targets = "q_proj,k_proj"}, "rank = 9 is above the width of model.layers.{}.self_attn.k_proj, which takes 24 to 8: at most 8"},
        {{.rank = 99, .alpha = 8, .targets = "all-linear"}, "is above the width of model.layers.{}.self_attn.k_proj, which takes 24 to 8: at most 8"},
        {{.rank = 0, .alpha = 8, .targets = "all-linear"}, "rank = 0"},
        {{.rank = 4, .alpha = 0, .targets = "all-linear"}, "alpha = 0"},
        {{.rank = 4, .alpha = 8, .dropout = 1, .targets = "all-linear"}, "dropout = 1"},
    };
    fixture f;
    char *dir = golden_path("llama/gqa_tied");
    CHECK(fixture_open(&(fixture_args){.dir = dir, .max_tokens = 4, .max_seqs = 2}, &f) == CO_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        lora *l = NULL;
        CHECK(lora_open(host_services(f.host), f.model, f.model_self, &wrong[i].spec, &l) == CO_E_CONFIG && !l);
        CHECK_HAS(error_message(), wrong[i].text);
    }
    lora *l = NULL;
    const lora_spec path = {.rank = 2, .alpha = 8, .targets = "self_attn.q_proj, mlp.down_proj"};
    uint32_t n = 0;
    CHECK(lora_open(host_services(f.host), f.model, f.model_self, &path, &l) == CO_OK);
    if (l) (void)lora_targets(l, &n);
    CHECK(n == 2);
    lora_close(l);
    fixture_close(&f);
    mem_free(dir);
}

/* ---- adapters made here, tensor by tensor ----------------------------------------------------------------------- */
typedef struct made { const char *name; int64_t rows, cols; } made;
static void make_adapter(const char *dir, const char *config, const made *list, size_t n)
{
    st_writer *w = NULL;
    char *path = mem_printf("%s/" ADAPTER_WEIGHTS, dir);
    write_text(dir, ADAPTER_CONFIG, config);
    CHECK(st_write_begin(path, &w) == CO_OK);
    for (size_t i = 0; i < n; i++) CHECK(st_write_declare(w, list[i].name, CO_F32, 2, (int64_t[]){list[i].rows, list[i].cols}) == CO_OK);
    for (size_t i = 0; i < n; i++)
        for (int64_t k = 0; k < list[i].rows * list[i].cols; k++) CHECK(st_write_data(w, &(float){0.01f * (float)(k % 13) - 0.05f}, sizeof(float)) == CO_OK);
    CHECK(st_write_finish(w) == CO_OK);
    mem_free(path);
}

static int wrap(const fixture *f, const char *const *dirs, size_t n, lora **out)
{
    adapter *list[3] = {NULL};
    int r = CO_OK;
    for (size_t i = 0; i < n && r == CO_OK; i++) r = adapter_open(dirs[i], &list[i]);
    if (r == CO_OK) r = adapter_wrap(host_services(f->host), f->model, f->model_self, f->table, "the base", list, n, out);
    for (size_t i = 0; i < n; i++) adapter_close(list[i]);
    return r;
}

/* PEFT lets one adapt the head and choose any rank; what is not offered here is named, with the adapter. */
static void test_not_for_this_base(void)
{
    static const char config[] = "{\"peft_type\": \"LORA\", \"r\": 9, \"lora_alpha\": 9}", config2[] = "{\"peft_type\": \"LORA\", \"r\": 2}";
    static const made wide[] = {{"base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight", 9, 24}, {"base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight", 8, 9}};
    static const made head[] = {{"base_model.model.lm_head.lora_A.weight", 2, 24}, {"base_model.model.lm_head.lora_B.weight", 61, 2}};
    static const made big[] = {{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", 9, 24}, {"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", 24, 9}};
    static const made small[] = {{"base_model.model.model.layers.1.self_attn.k_proj.lora_A.weight", 2, 24}, {"base_model.model.model.layers.1.self_attn.k_proj.lora_B.weight", 8, 2}};
    char *dir = golden_path("llama/gqa_tied"), *a = at("wide"), *b = at("head"), *c = at("big"), *d = at("narrow");
    fixture f;
    lora *l = NULL;
    CHECK(fixture_open(&(fixture_args){.dir = dir, .max_tokens = 4, .max_seqs = 2}, &f) == CO_OK);
    made head_here[2] = {head[0], head[1]};
    head_here[1].rows = f.table->info.n_vocab;
    make_adapter(a, config, wide, 2);
    make_adapter(b, config2, head_here, 2);
    make_adapter(c, config, big, 2);
    make_adapter(d, config2, small, 2);
    CHECK(wrap(&f, (const char *const[]){a}, 1, &l) == CO_E_FORMAT && !l);
    CHECK_HAS(error_message(), "k_proj.lora_A.weight\": rank 9 is above the layer's width, 8");
    CHECK(wrap(&f, (const char *const[]){d, b}, 2, &l) == CO_E_FORMAT && !l);
    CHECK_HAS(error_message(), b); /* which of the two */
    CHECK_HAS(error_message(), "\"lm_head\" matches no product");
    /* The larger rank of one is no reason to refuse the other, whose layer is narrower than that. */
    CHECK_MSG(wrap(&f, (const char *const[]){c, d}, 2, &l) == CO_OK && l && lora_spec_of(l)->rank == 9, "%s", error_message());
    lora_close(l);
    fixture_close(&f);
    mem_free(d);
    mem_free(c);
    mem_free(b);
    mem_free(a);
    mem_free(dir);
}

/* layers_to_transform: PEFT saves those layers only; the others stay as they are. */
static void test_some_layers(void)
{
    static const made one[] = {{"base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight", 2, 24}, {"base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight", 24, 2}};
    char *dir = at("some");
    fixture f;
    make_adapter(dir, "{\"peft_type\": \"LORA\", \"r\": 2, \"layers_to_transform\": [1], \"layers_pattern\": \"layers\"}", one, 2);
    if (open_with(&f, "llama/gqa_tied", dir, 0, 0) == CO_OK) {
        double sum[2] = {0, 0};
        float b[48];
        for (uint32_t u = 1; u <= 2; u++) {
            uint32_t n = 0;
            const lora_target *t = lora_targets(f.lora, &n);
            CHECK(n == 1 && engine_read(f.engine, f.table->unit_first[u] + t->b, 0, 0, 48, b) == CO_OK);
            for (int i = 0; i < 48; i++) sum[u - 1] += fabs((double)b[i]);
        }
        CHECK(sum[0] == 0 && sum[1] > 0);
    }
    fixture_close(&f);
    mem_free(dir);
}

int main(void)
{
    char name[] = "/tmp/coati-lora-XXXXXX";
    scratch = mkdtemp(name);
    CHECK(scratch != NULL);
    test_stored();
    test_two_in_turn();
    test_dropout_checkpointing();
    test_refused();
    test_targets();
    test_not_for_this_base();
    test_some_layers();
    CHECK(fs_remove_tree(scratch) == CO_OK);
    return check_done();
}
