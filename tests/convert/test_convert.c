/* test_convert.c: what coati-convert writes, tensor by tensor. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/params/half.h"
#include "core/params/load.h"
#include "core/params/safetensors.h"
#include <sys/wait.h>
#include <unistd.h>

static const char *const root = COATI_SOURCE_DIR "/tests/golden";
static char out[] = "/tmp/coati-convert-XXXXXX/out";

/* The program's exit code. */
static int convert(const char *options, const char *input)
{
    const char *bin = getenv("COATI_BIN");
    char *command = mem_printf("'%s/coati-convert' %s '%s' '%s' >/dev/null", bin ? bin : ".", options, input, out);
    const int status = system(command);
    mem_free(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static st_set *open_dir(const char *dir)
{
    st_set *s = NULL;
    CHECK_MSG(st_open_dir(dir, &s) == CO_OK, "%s", error_message());
    return s;
}

static int identical(const st_tensor *a, const st_tensor *b)
{
    return a && b && strcmp(a->dtype_name, b->dtype_name) == 0 && a->ndim == b->ndim && memcmp(a->ne, b->ne, a->ndim * sizeof *a->ne) == 0 &&
           a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0;
}

static double distance(const st_tensor *a, const st_tensor *b)
{
    const int64_t n = (int64_t)(b->bytes / (b->dtype == CO_F32 ? 4 : 2));
    float *x = mem_calloc((size_t)n, 4), *y = mem_calloc((size_t)n, 4);
    double diff = 0, norm = 0;
    CHECK(st_read_f32(a, 0, n, x) == CO_OK && st_read_f32(b, 0, n, y) == CO_OK);
    for (int64_t i = 0; i < n; i++) diff += ((double)x[i] - y[i]) * ((double)x[i] - y[i]), norm += (double)y[i] * y[i];
    mem_free(x);
    mem_free(y);
    return sqrt(diff / norm);
}

/* Weights that peft's merge changes are as it makes them; the others are the base's own, bit by bit where the type stays. */
static void test_merge(const char *name, const char *base)
{
    char *dir = mem_printf("%s/%s", root, base), *adapter = mem_printf("--dtype fp32 --adapter '%s/lora/%s'", root, name);
    char *want_path = mem_printf("%s/lora/%s/merged.safetensors", root, name);
    st_set *want = NULL;
    CHECK_MSG(convert(adapter, dir) == 0, "%s", name);
    st_set *got = open_dir(out), *from = open_dir(dir);
    CHECK(st_open_file(want_path, &want) == CO_OK);
    if (got && from && want) {
        CHECK(st_count(got) == st_count(from) && st_count(want) > 0);
        for (size_t i = 0; i < st_count(from); i++) {
            const st_tensor *f = st_at(from, i), *w = params_find_tensor(want, f->name), *g = st_find(got, f->name);
            CHECK_MSG(g != NULL, "%s", f->name);
            if (g && w) CHECK_MSG(distance(g, w) < 2e-7, "%s: %s is %.3g off", name, f->name, distance(g, w));
            else if (g && f->dtype == CO_F32) CHECK_MSG(identical(f, g), "%s: %s", name, f->name);
            else if (g) CHECK_MSG(distance(g, f) == 0, "%s: %s", name, f->name);
        }
    }
    st_close(want);
    st_close(from);
    st_close(got);
    mem_free(want_path);
    mem_free(adapter);
    mem_free(dir);
}

/* Each directory as it is, in other shards: the same bits. */
static void test_copy(const char *name, const char *options)
{
    char *dir = mem_printf("%s/%s", root, name);
    CHECK(convert(options, dir) == 0);
    st_set *a = open_dir(dir), *b = open_dir(out);
    if (a && b) {
        CHECK(st_count(a) == st_count(b));
        for (size_t i = 0; i < st_count(a); i++) CHECK_MSG(identical(st_at(a, i), st_find(b, st_at(a, i)->name)), "%s: %s", name, st_at(a, i)->name);
    }
    st_close(b);
    st_close(a);
    mem_free(dir);
}

static void test_dtype(const char *option, uint32_t dtype)
{
    char *dir = mem_printf("%s/llama/gqa_tied", root);
    CHECK(convert(option, dir) == 0);
    st_set *a = open_dir(dir), *b = open_dir(out);
    for (size_t i = 0; a && b && i < st_count(a); i++) {
        const st_tensor *x = st_at(a, i), *y = st_find(b, x->name);
        const int64_t n = (int64_t)(x->bytes / 4);
        float *v = mem_calloc((size_t)n, 4);
        int64_t wrong = 0;
        CHECK_MSG(y && y->dtype == dtype && y->bytes == x->bytes / 2 && st_read_f32(x, 0, n, v) == CO_OK, "%s", x->name);
        for (int64_t k = 0; y && k < n; k++) {
            uint16_t h;
            memcpy(&h, (const char *)y->data + 2 * k, 2);
            wrong += h != (dtype == CO_BF16 ? bf16_from_f32(v[k]) : f16_from_f32(v[k]));
        }
        CHECK(wrong == 0);
        mem_free(v);
    }
    st_close(b);
    st_close(a);
    mem_free(dir);
}

/* Tensors with a row a token get `n - vocab` more, each the mean of the old ones; every other bit stays. */
static void test_extend(const char *name, const char *options, int64_t vocab, int64_t n, int longer)
{
    char *dir = mem_printf("%s/%s", root, name), *config, *path = mem_printf("%s/config.json", out), *entry = mem_printf("\"vocab_size\": %lld", (long long)n);
    size_t len;
    CHECK_MSG(convert(options, dir) == 0, "%s", name);
    st_set *a = open_dir(dir), *b = open_dir(out);
    int found = 0;
    for (size_t i = 0; a && b && i < st_count(a); i++) {
        const st_tensor *x = st_at(a, i), *y = st_find(b, x->name);
        CHECK_MSG(y != NULL, "%s: %s", name, x->name);
        if (!y || identical(x, y)) continue;
        const int64_t w = x->ndim > 1 ? x->ne[1] : 1;
        double off = 0;
        found++;
        CHECK_MSG(x->ne[0] == vocab && y->ne[0] == n && x->ndim == y->ndim && strcmp(x->dtype_name, y->dtype_name) == 0 && memcmp(x->data, y->data, x->bytes) == 0, "%s: %s", name, x->name);
        for (int64_t c = 0; c < w; c++) {
            double mean = 0;
            float v;
            for (int64_t r = 0; r < vocab; r++) {
                CHECK(st_read_f32(x, r * w + c, 1, &v) == CO_OK);
                mean += v;
            }
            mean /= (double)vocab;
            for (int64_t r = vocab; r < n; r++) {
                CHECK(st_read_f32(y, r * w + c, 1, &v) == CO_OK);
                if (fabs(v - mean) > off) off = fabs(v - mean);
            }
        }
        CHECK_MSG(off < (x->dtype == CO_F32 ? 1e-7 : 2e-3), "%s: %s: new rows are %g off the mean", name, x->name, off);
    }
    CHECK_MSG(found == longer, "%s: %d tensors are longer", name, found);
    CHECK(fs_read_all(path, &config, &len, 1 << 20) == CO_OK);
    CHECK_HAS(config, entry);
    mem_free(config);
    mem_free(entry);
    mem_free(path);
    st_close(b);
    st_close(a);
    mem_free(dir);
}

int main(void)
{
    char *slash = strrchr(out, '/');
    *slash = 0;
    CHECK(mkdtemp(out) != NULL);
    char *scratch = mem_strdup(out);
    *slash = '/';
    test_extend("llama/gqa_tied", "--extend 50", 43, 50, 1);
    test_extend("llama/mha_untied", "--extend 49 --pad-to 8", 48, 56, 2);
    test_extend("gpt2/heads3_untied", "--extend 42", 41, 42, 2);
    test_extend("bloom/heads4", "--extend 64", 48, 64, 1);
    test_extend("opt/projections_bf16", "--extend 40", 38, 40, 1);
    test_extend("opt/heads3_untied", "--extend 47 --max-shard-size 4KB", 41, 47, 2);
    test_merge("all_linear", "llama/gqa_tied");
    test_merge("two_names", "llama/heads3_kv1");
    test_merge("rslora", "llama/mha_untied");
    test_merge("bias_all", "llama/biases");
    test_merge("bias_lora_only", "llama/biases");
    test_merge("rank_1", "llama/bf16");
    test_merge("bloom_all_linear", "bloom/heads3_untied");
    test_merge("bloom_bias_all", "bloom/heads5_bf16");
    test_merge("bloom_qkv", "bloom/heads4");
    test_merge("gpt2_all_linear", "gpt2/heads3_untied");
    test_merge("gpt2_one_c_proj", "gpt2/heads4");
    test_merge("gpt2_bias_lora_only", "gpt2/heads7_bf16");
    test_merge("gpt_neox_all_linear", "gpt_neox/heads3_tied");
    test_merge("gpt_neox_bias_all", "gpt_neox/heads7_bf16");
    test_merge("opt_all_linear", "opt/350m");
    test_merge("opt_bias_all", "opt/heads3_untied");
    test_merge("mistral_all_linear", "mistral/window");
    test_merge("qwen2_bias_lora_only", "qwen2/window_above");
    test_copy("bloom/heads7", "");
    test_copy("gpt2/heads4", "--max-shard-size 8KB");
    test_copy("llama/gqa_tied", "");
    test_copy("llama/gqa_tied", "--max-shard-size 5KB");
    test_copy("llama/sharded", "--max-shard-size 1GB");
    test_copy("llama/sharded_mixed", "--dtype keep --max-shard-size 4KiB");
    test_dtype("--dtype bf16", CO_BF16);
    test_dtype("--dtype fp16", CO_F16);
    CHECK(fs_remove_tree(scratch) == CO_OK);
    mem_free(scratch);
    return check_done();
}
