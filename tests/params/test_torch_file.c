/* test_torch_file.c: PyTorch's own files: what torch wrote, against the same tensors as safetensors; and what must be refused, by
 * what it says. The files are made by tests/golden/make_torch.py. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/params/torch_private.h"
#include <unistd.h>

static const char *const golden = COATI_SOURCE_DIR "/tests/golden/torch";
static const char *const corpus = COATI_SOURCE_DIR "/tests/fuzz/torch";

static void same(const st_set *got, const st_set *want)
{
    CHECK(st_count(got) == st_count(want));
    for (size_t i = 0; i < st_count(want); i++) {
        const st_tensor *w = st_at(want, i), *g = st_find(got, w->name);
        CHECK_MSG(g != NULL, "%s", w->name);
        if (!g) continue;
        CHECK_STR(g->dtype_name, w->dtype_name);
        CHECK_MSG(g->ndim == w->ndim && memcmp(g->ne, w->ne, w->ndim * sizeof *w->ne) == 0, "%s", w->name);
        CHECK_MSG(g->bytes == w->bytes && memcmp(g->data, w->data, w->bytes) == 0, "%s", w->name);
    }
}

static void test_state_dict(void)
{
    st_set *got = NULL, *want = NULL;
    char *path = mem_printf("%s/expect.safetensors", golden);
    CHECK(torch_is_there(golden));
    CHECK_MSG(torch_open_dir(golden, &got) == CO_OK, "%s", error_message());
    CHECK(st_open_file(path, &want) == CO_OK);
    if (got && want) {
        same(got, want);
        CHECK_STR(st_at(got, 0)->name, "0.weight"); /* in the dict's order */
        CHECK(st_find(got, "tied")->data == st_find(got, "0.weight")->data);
    }
    st_close(want);
    st_close(got);
    mem_free(path);
}

/* Two files and an index, as save_pretrained made them of large models. */
static void test_shards(void)
{
    char dir[] = "/tmp/coati-torch-XXXXXX";
    CHECK(mkdtemp(dir) != NULL);
    static const char *const names[] = {"pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"};
    char *from[2] = {mem_printf("%s/pytorch_model.bin", golden), mem_printf("%s/one", corpus)}, *data;
    size_t len;
    for (int i = 0; i < 2; i++) {
        char *to = mem_printf("%s/%s", dir, names[i]);
        CHECK(fs_read_all(from[i], &data, &len, 1 << 20) == CO_OK && fs_write_atomic(to, data, len) == CO_OK);
        mem_free(data);
        mem_free(to);
        mem_free(from[i]);
    }
    char *index = mem_printf("%s/pytorch_model.bin.index.json", dir);
    static const char map[] = "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {\"0.weight\": \"pytorch_model-00001-of-00002.bin\", "
                              "\"w\": \"pytorch_model-00002-of-00002.bin\", \"0.bias\": \"pytorch_model-00001-of-00002.bin\"}}";
    static const char out[] = "{\"weight_map\": {\"0.weight\": \"../pytorch_model.bin\"}}";
    st_set *s = NULL;
    CHECK(fs_write_atomic(index, map, sizeof map - 1) == CO_OK && torch_is_there(dir));
    CHECK_MSG(torch_open_dir(dir, &s) == CO_OK && s && st_find(s, "w") && st_find(s, "half") && st_find(s, "0.bias"), "%s", error_message());
    st_close(s);
    s = NULL;
    CHECK(fs_write_atomic(index, out, sizeof out - 1) == CO_OK);
    CHECK(torch_open_dir(dir, &s) == CO_E_FORMAT && !s);
    mem_free(index);
    CHECK(fs_remove_tree(dir) == CO_OK);
    CHECK(!torch_is_there(dir) && torch_open_dir(dir, &s) == CO_E_FORMAT);
}

static void test_values(void)
{
    static const unsigned char bytes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static const char *const good[] = {"one", "vector", "real", "protocol4"};
    for (size_t i = 0; i < 4; i++) {
        char *path = mem_printf("%s/%s", corpus, good[i]);
        st_set *s = NULL;
        CHECK_MSG(torch_open_file(path, &s) == CO_OK, "%s", error_message());
        const st_tensor *w = s ? st_find(s, "w") : NULL;
        CHECK(w != NULL && st_count(s) == 1);
        if (w && i < 2) CHECK(w->bytes == (i ? 12u : 16u) && memcmp(w->data, bytes + 4 * i, w->bytes) == 0);
        float v[2] = {0, 0};
        if (w && i >= 2) CHECK(st_read_f32(w, 0, 2, v) == CO_OK && v[0] == 1 && v[1] == 1);
        st_close(s);
        mem_free(path);
    }
}

static void test_refused(void)
{
    static const struct { const char *file, *text; } bad[] = {
        {"bad_transposed", "tensor \"w\": its elements do not lie side by side"},
        {"bad_beyond", "tensor \"w\": it reaches beyond its storage"},
        {"bad_stored", "tensor \"w\": its storage has another size"},
        {"bad_key", "tensor \"w\": its data is not in the archive"},
        {"bad_storage", "asks for \"torch QInt8Storage\""},
        {"bad_order", "big-endian"},
        {"bad_compressed", "\"a/data.pkl\" is compressed"},
        {"bad_evil", "asks for \"posix system\", which is no part of a state dict of tensors. Nothing was run"},
        {"bad_builtin", "asks for \"__builtin__ eval\""},
        {"bad_list", "is not used by a state dict"},
        {"bad_value", "\"epoch\" is no tensor"},
        {"bad_nested", "\"model\" is no tensor"},
        {"bad_stack", "its stack is empty"},
        {"bad_memo", "asks for what was never put away"},
        {"bad_end", "it ends in the middle"},
        {"bad_self", "a key that is no text"},
        {"bad_legacy", "before 1.6"},
        {"bad_zip", "no data.pkl"},
        {"bad_empty", "not a file of torch.save"},
        {"bad_cut", "no zip archive ends here"},
    };
    char **names;
    size_t n, listed = 0;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *path = mem_printf("%s/%s", corpus, bad[i].file);
        st_set *s = NULL;
        CHECK_MSG(torch_open_file(path, &s) == CO_E_FORMAT && !s, "%s", bad[i].file);
        CHECK_HAS(error_message(), path);
        CHECK_HAS(error_message(), bad[i].text);
        mem_free(path);
    }
    CHECK(fs_list(corpus, &names, &n) == CO_OK);
    for (size_t i = 0; i < n; i++) listed += strncmp(names[i], "bad_", 4) == 0;
    CHECK_MSG(listed == sizeof bad / sizeof *bad, "%zu bad files, %zu expectations", listed, sizeof bad / sizeof *bad);
    fs_free_list(names, n);
}

/* Each allocation fails once: CO_E_NOMEM, and nothing is left behind. */
static void test_out_of_memory(void)
{
    char *path = mem_printf("%s/pytorch_model.bin", golden);
    mem_counts before, after;
    st_set *s = NULL;
    int64_t n = 0;
    for (int r = CO_E_NOMEM; r == CO_E_NOMEM && n < 10000;) {
        mem_count(&before);
        mem_fail_after(++n);
        r = torch_open_file(path, &s);
        mem_fail_after(0);
        CHECK_MSG(r == CO_OK || r == CO_E_NOMEM, "allocation %lld: %s", (long long)n, error_message());
        if (r == CO_OK) break;
        mem_count(&after);
        CHECK_MSG(after.live_bytes == before.live_bytes, "allocation %lld leaks", (long long)n);
    }
    CHECK(n > 5);
    st_close(s);
    mem_free(path);
}

int main(void)
{
    test_state_dict();
    test_shards();
    test_values();
    test_refused();
    test_out_of_memory();
    return check_done();
}
