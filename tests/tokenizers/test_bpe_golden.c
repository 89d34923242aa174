/* The bpe plugin against what Hugging Face's tokenizers gave: small vocabularies with the parts that each family's files
 * use, and LLaMA 2's and 3's where they are there. */
#include <coati/plugin.h>
#include "golden.h"

extern const co_plugin *coati_plugin_v1_test_bpe(void);
static const co_tokenizer_vt *vt;

static void *open_at(const char *path)
{
    const co_tokenizer_common o = {path};
    void *t = NULL;
    CHECK_MSG(vt->open(&fake_host, &o, &t) == CO_OK, "%s", error_message());
    return t;
}

static void test_fixture(const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/tokenizers/%s", COATI_SOURCE_DIR, name);
    void *t = open_at(path);
    if (t) golden_run(vt, t, name);
    if (t) vt->close(t);
}

static uint64_t fnv(const int32_t *ids, size_t n)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++)
        for (int b = 0; b < 4; b++) h = (h ^ ((uint32_t)ids[i] >> 8 * b & 255)) * 0x100000001B3u;
    return h;
}

/* Whole files of the shared data: number of ids and their hash. */
static void test_files(void *t, const char *model)
{
    static const char *const folders[] = {"sft", "pretrain", "preference", "prompts"};
    char *golden, path[4400], name[200], which[40];
    size_t len, n_ids;
    unsigned long long hash;
    int seen = 0, used;
    co_arena *a = arena_new(1 << 22);
    CHECK(fs_read_all(COATI_SOURCE_DIR "/tests/golden/tokenizers/shared_files.txt", &golden, &len, 1 << 20) == CO_OK);
    for (const char *line = golden; sscanf(line, "%39s %199s %zu %llx%n", which, name, &n_ids, &hash, &used) == 4; line += used) {
        char *text;
        int32_t *ids;
        size_t n;
        if (strcmp(which, model) != 0) continue;
        for (int i = 0; i < 4; i++) {
            snprintf(path, sizeof path, "%s/data/%s/%s", shared_dir(), folders[i], name);
            if (fs_is_file(path)) break;
        }
        CHECK_MSG(fs_read_all(path, &text, &len, 1 << 26) == CO_OK, "%s", error_message());
        CHECK(vt->encode(t, text, len, a, &ids, &n) == CO_OK);
        CHECK_MSG(n == n_ids && fnv(ids, n) == hash, "%s %s: %zu ids, want %zu, or others", model, name, n, n_ids);
        mem_free(text);
        arena_reset(a);
        seen++;
    }
    CHECK_MSG(seen > 15, "%d files", seen);
    mem_free(golden);
    arena_free(a);
}

static void test_vectors(void *t, const char *kind)
{
    char path[4400], *texts, *ids_text, *line, *at;
    size_t len;
    int n_vectors = 0;
    static const char separator[] = "\n__ggml_vocab_test__\n";
    co_arena *a = arena_new(1 << 16);
    snprintf(path, sizeof path, "%s/data/tokenizers/vectors/ggml-vocab-llama-%s.gguf.inp", shared_dir(), kind);
    CHECK(fs_read_all(path, &texts, &len, 1 << 20) == CO_OK);
    snprintf(path, sizeof path, "%s/data/tokenizers/vectors/ggml-vocab-llama-%s.gguf.out", shared_dir(), kind);
    CHECK(fs_read_all(path, &ids_text, &len, 1 << 20) == CO_OK);
    for (at = texts, line = ids_text; at; n_vectors++) {
        char *end = strstr(at, separator), *next = end ? end + strlen(separator) : NULL;
        int32_t want[GOLDEN_IDS], *got;
        size_t n;
        if (end) *end = 0;
        const char *p = line;
        char *eol = strchr(line, '\n');
        if (eol) *eol = 0;
        const size_t n_want = golden_ids(&p, 0, want);
        CHECK(vt->encode(t, at, strlen(at), a, &got, &n) == CO_OK);
        CHECK_MSG(n == n_want && memcmp(got, want, n * sizeof *got) == 0, "vector %d (\"%s\")", n_vectors, at);
        golden_decode(vt, t, got, n, at, strlen(at), a);
        at = next;
        line = eol ? eol + 1 : line + strlen(line);
    }
    CHECK_MSG(n_vectors == 47, "%d vectors", n_vectors);
    mem_free(texts);
    mem_free(ids_text);
    arena_free(a);
}

static void test_shared(const char *model, const char *golden, const char *kind, int64_t n_vocab)
{
    char path[4400];
    int64_t n = 0;
    snprintf(path, sizeof path, "%s/data/tokenizers/%s", shared_dir(), model);
    if (!fs_is_dir(path)) {
        printf("skipped: %s is not there\n", path);
        return;
    }
    void *t = open_at(path);
    if (!t) return;
    CHECK(vt->n_vocab(t, &n) == CO_OK && n == n_vocab);
    golden_run(vt, t, golden);
    test_vectors(t, kind);
    test_files(t, model);
    vt->close(t);
}

int main(void)
{
    static const char *const fixtures[] = {"bloom", "gpt2", "gpt2_files", "llama2", "llama3", "mistral", "nemo", "odd_marks", "odd_words",
                                           "opt_files", "qwen2", "roberta"};
    vt = coati_plugin_v1_test_bpe()->features[0]->vt;
    for (size_t i = 0; i < sizeof fixtures / sizeof fixtures[0]; i++) test_fixture(fixtures[i]);
    test_shared("llama2/hf", "shared_llama2", "spm", 32000);
    test_shared("llama3", "shared_llama3", "bpe", 128256);
    return check_done();
}
