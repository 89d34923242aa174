/* A model directory: what is in it, that it reads back, that it is there whole or not at all. */
#include "fixture.h"
#include "core/params/export.h"
#include "core/params/half.h"

static const char config_text[] =
    "{\n  \"model_type\": \"fake\",\n  \"sub\": {\"torch_dtype\": \"keep\"},\n  \"torch_dtype\": \"float64\",\n  \"eps\": 1e-05\n}\n";

typedef struct setup {
    param_table *t;
    store s;
    hf_config *c;
    params_export_args a;
} setup;

/* layout of the file: 0 plain, 1 transposed, 2 by groups (and with a head of its own) */
static void open_setup(setup *x, int layout, const char *config)
{
    fake_model m = {.layers = 2, .tied = layout < 2, .transposed = layout == 1, .grouped = layout == 2};
    memset(x, 0, sizeof *x);
    CHECK(param_table_build(&fake_vt, &m, CO_F32, &x->t) == CO_OK);
    store_open(&x->s, x->t);
    for (uint32_t i = 0; i < x->t->n_params; i++)
        for (int64_t k = 0; k < param_elements(&x->t->slots[i]); k++) x->s.v[i][k] = (float)(i + 1) + (float)k / 64;
    CHECK(hf_config_parse(config, strlen(config), "config.json", &x->c) == CO_OK);
    x->a = (params_export_args){.dir = tmp_path("model"), .table = x->t, .read = store_read, .ctx = &x->s, .config = x->c,
                                .tokenizer_dir = tmp_path("tok"), .dtype = CO_F32};
}

static void close_setup(setup *x)
{
    store_close(&x->s);
    param_table_free(x->t);
    hf_config_close(x->c);
    fs_remove_tree(tmp_path("model"));
}

/* Loads tmp/model and compares with what was exported. */
static void expect_same(setup *x)
{
    st_set *set;
    store got;
    int rc = st_open_dir(tmp_path("model"), &set);
    CHECK_MSG(rc == CO_OK, "%s", error_message());
    if (rc) return;
    CHECK_STR(st_metadata(set, "format"), "pt");
    CHECK((st_find(set, "lm_head.weight") == NULL) == (x->t->slots[x->t->n_params - 1].owner == 0));
    store_open(&got, x->t);
    rc = params_load(x->t, set, NULL, 0, store_write, &got, NULL);
    CHECK_MSG(rc == CO_OK, "%s", error_message());
    for (uint32_t i = 0; i < x->t->n_params; i++)
        if (x->t->slots[i].owner == i)
            CHECK(memcmp(got.v[i], x->s.v[i], (size_t)param_elements(&x->t->slots[i]) * 4) == 0);
    store_close(&got);
    st_close(set);
}

static void expect_text(const char *path, const char *want)
{
    char *got = NULL;
    size_t len;
    CHECK(fs_read_all(path, &got, &len, 1 << 20) == CO_OK);
    if (got) CHECK_STR(got, want);
    mem_free(got);
}

static void test_round_trip(void)
{
    static const co_dtype types[] = {CO_F32, CO_BF16, CO_F16}; /* the values are exact in all three */
    for (int layout = 0; layout < 3; layout++)
        for (size_t i = 0; i < 3; i++) {
            setup x;
            open_setup(&x, layout, config_text);
            for (uint32_t p = 0; p < x.t->n_params; p++)
                for (int64_t k = 0; k < param_elements(&x.t->slots[p]); k++) x.s.v[p][k] = (float)((int)p - (int)k);
            x.a.dtype = types[i];
            int rc = params_export(&x.a);
            CHECK_MSG(rc == CO_OK, "%s", error_message());
            expect_same(&x);
            close_setup(&x);
        }
}

static void test_files(void)
{
    setup x;
    fs_mkdirs(tmp_path("tok"));
    put_text(tmp_path("tok/tokenizer.model"), "T");
    put_text(tmp_path("tok/generation_config.json"), "{}");
    put_text(tmp_path("tok/secret.txt"), "no");
    open_setup(&x, 0, config_text);
    x.a.dtype = CO_BF16;
    CHECK(params_export(&x.a) == CO_OK);
    expect_text(tmp_path("model/config.json"),
                "{\n  \"model_type\": \"fake\",\n  \"sub\": {\"torch_dtype\": \"keep\"},\n  \"torch_dtype\": \"bfloat16\",\n  \"eps\": 1e-05\n}\n");
    expect_text(tmp_path("model/tokenizer.model"), "T");
    expect_text(tmp_path("model/generation_config.json"), "{}");
    CHECK(!fs_is_file(tmp_path("model/secret.txt")) && !fs_is_dir(tmp_path("model.tmp")));
    close_setup(&x);
    fs_remove_tree(tmp_path("tok"));
}

static void test_config_text(void)
{
    static const struct { const char *in, *out; } cases[] = {
        {"{\"a\":1}", "{\n  \"torch_dtype\": \"float32\",\"a\":1}"},
        {"{}", "{\n  \"torch_dtype\": \"float32\"\n}"},
        {"{\"dtype\":\"float16\"}", "{\"dtype\":\"float32\"}"},
        {"{\"torch_dtype\":null,\"a\":[]}", "{\"torch_dtype\":\"float32\",\"a\":[]}"}};
    for (size_t i = 0; i < 4; i++) {
        setup x;
        open_setup(&x, 0, cases[i].in);
        CHECK(params_export(&x.a) == CO_OK);
        expect_text(tmp_path("model/config.json"), cases[i].out);
        close_setup(&x);
    }
}

static void test_shards(void)
{
    setup x;
    open_setup(&x, 0, config_text);
    x.a.shard_bytes = 100;
    CHECK(params_export(&x.a) == CO_OK);
    CHECK(!fs_is_file(tmp_path("model/model.safetensors")) && fs_is_file(tmp_path("model/model.safetensors.index.json")));
    CHECK(fs_is_file(tmp_path("model/model-00001-of-00006.safetensors")));
    expect_same(&x);
    /* and back to one file: nothing of the old set stays */
    x.a.shard_bytes = 0;
    CHECK(params_export(&x.a) == CO_OK);
    CHECK(fs_is_file(tmp_path("model/model.safetensors")) && !fs_is_file(tmp_path("model/model.safetensors.index.json")));
    CHECK(!fs_is_dir(tmp_path("model.tmp")) && !fs_is_dir(tmp_path("model.old")));
    expect_same(&x);
    close_setup(&x);
}

static void test_foreign_target(void)
{
    setup x;
    open_setup(&x, 0, config_text);
    fs_mkdirs(tmp_path("model"));
    put_text(tmp_path("model/thesis.tex"), "years of work");
    CHECK(params_export(&x.a) == CO_E_CONFIG);
    CHECK_HAS(error_message(), "left alone");
    expect_text(tmp_path("model/thesis.tex"), "years of work");
    CHECK(!fs_is_dir(tmp_path("model.tmp")));
    close_setup(&x);
    open_setup(&x, 0, config_text);
    put_text(tmp_path("model"), "a file");
    CHECK(params_export(&x.a) == CO_E_CONFIG);
    expect_text(tmp_path("model"), "a file");
    unlink(tmp_path("model"));
    close_setup(&x);
}

/* fp16 that overflows: the export fails, every read still happens, the model that was there stays. */
static void test_failure_keeps_old(void)
{
    setup x;
    open_setup(&x, 0, config_text);
    CHECK(params_export(&x.a) == CO_OK);
    int calls = x.s.calls;
    x.s.v[0][3] = 1e6f;
    x.a.dtype = CO_F16;
    CHECK(params_export(&x.a) == CO_E_INVALID);
    CHECK_HAS(error_message(), "\"model.embed.weight\": element 3 is 1e+06");
    CHECK(x.s.calls == 2 * calls);
    x.s.v[0][3] = 1.0f + 3.0f / 64;
    CHECK(!fs_is_dir(tmp_path("model.tmp")));
    expect_same(&x);
    close_setup(&x);
}

static void test_reads_only(void)
{
    setup x;
    open_setup(&x, 1, config_text);
    x.a.reads_only = 1;
    CHECK(params_export(&x.a) == CO_OK);
    CHECK(x.s.calls == (int)x.t->n_params - 1 && !fs_is_dir(tmp_path("model")));
    close_setup(&x);
}

/* What a killed run left behind is no obstacle. */
static void test_leftover(void)
{
    setup x;
    open_setup(&x, 0, config_text);
    fs_mkdirs(tmp_path("model.tmp"));
    put_text(tmp_path("model.tmp/model.safetensors"), "half");
    CHECK(params_export(&x.a) == CO_OK);
    expect_same(&x);
    close_setup(&x);
}

static void test_out_of_memory(void)
{
    setup x;
    int rc = CO_E_NOMEM, n;
    open_setup(&x, 1, config_text);
    for (n = 1; n < 400 && rc; n++) {
        mem_counts before, after;
        mem_count(&before);
        mem_fail_after(n);
        rc = params_export(&x.a);
        mem_fail_after(0);
        mem_count(&after);
        CHECK(after.live_bytes == before.live_bytes);
        CHECK(rc == CO_OK || !fs_is_dir(tmp_path("model")));
    }
    CHECK(rc == CO_OK && n > 10);
    expect_same(&x);
    close_setup(&x);
}

int main(void)
{
    tmp_make();
    test_round_trip();
    test_files();
    test_config_text();
    test_shards();
    test_foreign_target();
    test_failure_keeps_old();
    test_reads_only();
    test_leftover();
    test_out_of_memory();
    tmp_remove();
    return check_done();
}
