/* The sentencepiece plugin against its own round trip, the llama-spm vectors and damaged models. The plugin's source
 * is compiled in (see CMakeLists.txt), so that this needs no loader. */
#include <coati/plugin.h>
#include <coati/tokenizer.h>
#include <unistd.h>
#include "golden.h"

extern const co_plugin *coati_plugin_v1_test_sentencepiece(void);

static const co_tokenizer_vt *vt;
static co_arena *arena;
static char shared[4096];

static int open_at(const char *path, void **self)
{
    co_tokenizer_common o = {path};
    return vt->open(&fake_host, &o, self);
}

static void *open_tiny(void)
{
    void *t = NULL;
    int rc = open_at(COATI_SOURCE_DIR "/tests/tokenizers/tiny", &t);
    CHECK_MSG(rc == CO_OK, "%s", error_message());
    return t;
}

/* Decodes at once, and id by id as a stream; both must give `want`. */
static void expect_text(void *t, const int32_t *ids, size_t n, const char *want)
{
    char *text, stream[65536];
    size_t len, at = 0;
    CHECK(vt->decode(t, ids, n, 0, arena, &text, &len) == CO_OK);
    CHECK_MSG(len == strlen(want) && memcmp(text, want, len) == 0, "got \"%s\", want \"%s\"", text, want);
    CHECK(text[len] == 0);
    for (size_t i = 0; i < n; i++) {
        CHECK(vt->decode(t, ids + i, 1, i > 0, arena, &text, &len) == CO_OK);
        memcpy(stream + at, text, len);
        at += len;
    }
    stream[at] = 0;
    CHECK_STR(stream, want);
}

static void test_round_trip(void)
{
    static const char *const texts[] = {"", "a", "The coati is a small animal.", " leading", "  two", "trailing ", "\n", "\n\n x",
                                        "tab\there", "über 🦙 山", "\xE2\x96\x81", "1234567", "What do coatis eat?"};
    void *t = open_tiny();
    if (!t) return;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int32_t *ids;
        size_t n;
        CHECK(vt->encode(t, texts[i], strlen(texts[i]), arena, &ids, &n) == CO_OK);
        CHECK(n == 0 || (ids[0] != vt->special(t, "bos") && ids[n - 1] != vt->special(t, "eos")));
        /* U+2581 is how the format writes a space, so it comes back as one */
        expect_text(t, ids, n, strcmp(texts[i], "\xE2\x96\x81") == 0 ? " " : texts[i]);
    }
    vt->close(t);
}

static void test_special(void)
{
    void *t = open_tiny();
    int64_t n = 0;
    if (!t) return;
    CHECK(vt->n_vocab(t, &n) == CO_OK && n == 420);
    CHECK(vt->special(t, "unk") == 0 && vt->special(t, "bos") == 1 && vt->special(t, "eos") == 2);
    CHECK(vt->special(t, "pad") < 0 && vt->special(t, "nonsense") < 0);
    int32_t *ids, all[64] = {1};
    size_t k;
    CHECK(vt->encode(t, "eat fruit", 9, arena, &ids, &k) == CO_OK && k < 60);
    memcpy(all + 1, ids, k * sizeof *ids);
    all[k + 1] = 2;
    all[k + 2] = 0;
    char *text;
    size_t len;
    CHECK(vt->decode(t, all, k + 3, 0, arena, &text, &len) == CO_OK);
    CHECK_STR(text, "eat fruit"); /* the space dropped is that of the first piece with a text, not of BOS */
    CHECK(vt->decode(t, ids, k, 1, arena, &text, &len) == CO_OK);
    CHECK_STR(text, " eat fruit");
    const int32_t out_of_range[] = {420, -1};
    for (int i = 0; i < 2; i++) CHECK(vt->decode(t, out_of_range + i, 1, 0, arena, &text, &len) == CO_E_INVALID);
    CHECK_HAS(error_message(), "token id -1: the tokenizer has 420");
    vt->close(t);
}

static void test_two_instances(void)
{
    void *a = open_tiny(), *b = open_tiny();
    int64_t n = 0;
    if (!a || !b) return;
    vt->close(a);
    CHECK(vt->n_vocab(b, &n) == CO_OK && n == 420);
    vt->close(b);
}

static void put(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(data, 1, n, f) == n && fclose(f) == 0);
}

static void test_bad_files(void)
{
    char path[4096], *data;
    void *t = NULL;
    size_t len;
    CHECK(open_at("/nowhere/at/all", &t) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "/nowhere/at/all");
    CHECK(open_at(COATI_SOURCE_DIR "/tests", &t) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "/tests/tokenizer.model");
    CHECK(open_at("", &t) == CO_E_CONFIG);
    snprintf(path, sizeof path, "%s/tests/tokenizer-%d.model", COATI_BINARY_DIR, (int)getpid());
    put(path, "", 0);
    CHECK(open_at(path, &t) == CO_E_FORMAT);
    CHECK_HAS(error_message(), path);
    put(path, "{\"version\": \"1.0\"}", 18);
    CHECK(open_at(path, &t) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "not a SentencePiece model, or damaged (18 bytes)");
    put(path, "IQ== 0\nIg== 1\n", 14);
    CHECK(open_at(path, &t) == CO_E_UNSUPPORTED);
    CHECK_HAS(error_message(), "a tiktoken file, not a SentencePiece model");
    CHECK(fs_read_all(COATI_SOURCE_DIR "/tests/tokenizers/tiny/tokenizer.model", &data, &len, 1 << 20) == CO_OK);
    for (size_t cut = 1; cut < len; cut += 97) { /* a cut between two pieces is a smaller model, elsewhere an error */
        put(path, data, cut);
        int rc = open_at(path, &t);
        CHECK(rc == CO_OK || rc == CO_E_FORMAT);
        if (rc == CO_OK) vt->close(t);
        else CHECK_HAS(error_message(), path);
    }
    unlink(path);
    mem_free(data);
}

/* Bytes flipped all over a model with a table of replaced characters: an error that names the file, or a tokenizer. */
static void test_flipped(void)
{
    char path[4096], *data;
    size_t len, tables = 0, opened = 0;
    snprintf(path, sizeof path, "%s/tests/flipped-%d.model", COATI_BINARY_DIR, (int)getpid());
    CHECK(fs_read_all(COATI_SOURCE_DIR "/tests/tokenizers/unigram/tokenizer.model", &data, &len, 1 << 20) == CO_OK);
    for (size_t at = 3; at < len; at += len / 400) {
        void *t = NULL;
        int32_t *ids;
        size_t n;
        data[at] ^= (char)(1 << at % 8);
        put(path, data, len);
        data[at] ^= (char)(1 << at % 8);
        if (open_at(path, &t) == CO_OK) {
            CHECK(vt->encode(t, "It\xE2\x80\x99s \xEF\xBC\xA1 \xE2\x85\xA7 \xC3\xA9", 16, arena, &ids, &n) == CO_OK);
            vt->close(t);
            opened++;
        } else {
            CHECK_HAS(error_message(), path);
            tables += strstr(error_message(), "its table of replaced characters is damaged") != NULL;
        }
        arena_reset(arena);
    }
    CHECK_MSG(tables > 0 && opened > 0, "%zu tables refused, %zu opened", tables, opened);
    unlink(path);
    mem_free(data);
}

/* Encodes and compares with the ids of the parts, an id below 0 standing for the next part. */
static void expect_parts(void *t, const char *text, const char *const *parts, const int32_t *between, size_t n_between)
{
    int32_t *ids, *part;
    size_t n, n_part, at = 0;
    CHECK(vt->encode(t, text, strlen(text), arena, &ids, &n) == CO_OK);
    for (size_t i = 0; i < n_between; i++) {
        if (between[i] >= 0) {
            CHECK_MSG(at < n && ids[at] == between[i], "\"%s\": id %zu", text, at);
            at++;
            continue;
        }
        CHECK(vt->encode(t, *parts, strlen(*parts), arena, &part, &n_part) == CO_OK);
        CHECK_MSG(at + n_part <= n && memcmp(ids + at, part, n_part * sizeof *part) == 0, "\"%s\": \"%s\"", text, *parts);
        at += n_part;
        parts++;
    }
    CHECK_MSG(at == n, "\"%s\": %zu ids, want %zu", text, n, at);
}

/* Tokens beyond the pieces, roles, BOS and EOS as the files beside the model say; pieces stay what they are to the library. */
static void test_beside(void)
{
    static const char added[] = "{\"[PAD]\": 420, \"<tool>\": 421}";
    static const char config[] = "{\"pad_token\": \"[PAD]\", \"eos_token\": {\"content\": \"<end>\"}, \"add_bos_token\": false, \"add_eos_token\": true,"
                                 "\"tokenizer_class\": \"LLaMATokenizer\", \"added_tokens_decoder\": {\"1\": {\"content\": \"<s>\", \"special\": true},"
                                 "\"423\": {\"content\": \"<end>\", \"special\": true, \"lstrip\": true, \"rstrip\": true, \"single_word\": true}}}";
    char dir[4096], path[4400], *model, *text;
    size_t len;
    int64_t n = 0;
    void *t = NULL;
    snprintf(dir, sizeof dir, "%s/tests/beside-%d", COATI_BINARY_DIR, (int)getpid());
    CHECK(fs_mkdirs(dir) == CO_OK);
    CHECK(fs_read_all(COATI_SOURCE_DIR "/tests/tokenizers/tiny/tokenizer.model", &model, &len, 1 << 20) == CO_OK);
    const struct { const char *name, *data; size_t len; } files[] = {
        {"tokenizer.model", model, len}, {"added_tokens.json", added, sizeof added - 1}, {"tokenizer_config.json", config, sizeof config - 1},
        {"special_tokens_map.json", "", 0}};
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i].name);
        put(path, files[i].data, files[i].len);
    }
    CHECK_MSG(open_at(dir, &t) == CO_OK, "%s", error_message());
    if (t) {
        CHECK(vt->n_vocab(t, &n) == CO_OK && n == 424);
        CHECK(vt->special(t, "bos") == 1 && vt->special(t, "eos") == 423 && vt->special(t, "pad") == 420 && vt->special(t, "unk") == 0);
        CHECK(vt->special(t, "before") == -1 && vt->special(t, "after") == 423);
        expect_parts(t, "The coati[PAD]eats<tool>", (const char *const[]){"The coati", "eats"}, (const int32_t[]){-1, 420, -1, 421}, 4);
        expect_parts(t, "a  <end>  b <end>c", (const char *const[]){"a", "b <end>c"}, (const int32_t[]){-1, 423, -1}, 3);
        const int32_t ids[] = {420, 421, 422, 423};
        CHECK(vt->decode(t, ids, 4, 0, arena, &text, &len) == CO_OK);
        CHECK_STR(text, "[PAD]<tool>");
        const int32_t beyond = 424;
        CHECK(vt->decode(t, &beyond, 1, 0, arena, &text, &len) == CO_E_INVALID);
        CHECK_HAS(error_message(), "token id 424: the tokenizer has 424");
        static const char *const damaged[] = {"\x80\x80<end>\x80", "\xF0<end>\xF0", "\xF7\xBF\xBF\xBF<end>\xF7\xBF\xBF\xBF", "\xE3\x80<end>\xE3\x80"};
        for (size_t i = 0; i < 4; i++) {
            int32_t *got;
            size_t k;
            CHECK(vt->encode(t, damaged[i], strlen(damaged[i]), arena, &got, &k) == CO_OK && k > 1);
        }
        vt->close(t);
    }
    snprintf(path, sizeof path, "%s/added_tokens.json", dir);
    put(path, "{\"[PAD]\": 7}", 12);
    CHECK(open_at(dir, &t) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "added_tokens.json: [PAD]: \"[PAD]\" and id 7 do not belong together");
    CHECK(fs_remove_tree(dir) == CO_OK);
    mem_free(model);
}

/* Vectors: texts separated by a line of their own, a line of ids for each; the last text is empty. */
static void test_vectors(const char *model, const char *inp, const char *out, int want)
{
    char path[4400], *texts, *ids_text, *at, *line;
    size_t len;
    void *t;
    int n_vectors = 0;
    static const char separator[] = "\n__ggml_vocab_test__\n";
    snprintf(path, sizeof path, "%s/%s", shared, model);
    if (!fs_is_dir(path) && !fs_is_file(path)) {
        printf("skipped: %s is not there\n", path);
        return;
    }
    CHECK(open_at(path, &t) == CO_OK);
    snprintf(path, sizeof path, "%s/%s", shared, inp);
    CHECK(fs_read_all(path, &texts, &len, 1 << 20) == CO_OK);
    snprintf(path, sizeof path, "%s/%s", shared, out);
    CHECK(fs_read_all(path, &ids_text, &len, 1 << 20) == CO_OK);
    line = ids_text;
    for (at = texts; at;) {
        char *end = strstr(at, separator), *next = end ? end + strlen(separator) : NULL, *eol = strchr(line, '\n');
        int32_t *ids;
        size_t n, k = 0;
        if (end) *end = 0;
        if (eol) *eol = 0;
        CHECK(vt->encode(t, at, strlen(at), arena, &ids, &n) == CO_OK);
        char *p = line;
        for (;; k++) {
            char *stop;
            long v = strtol(p, &stop, 10);
            if (stop == p) break;
            CHECK_MSG(k < n && ids[k] == v, "vector %d (\"%s\"), id %zu", n_vectors, at, k);
            p = stop;
        }
        CHECK_MSG(k == n, "vector %d (\"%s\"): %zu ids, want %zu", n_vectors, at, n, k);
        expect_text(t, ids, n, at);
        n_vectors++;
        at = next;
        line = eol ? eol + 1 : line + strlen(line);
    }
    CHECK_MSG(n_vectors == want, "%d vectors", n_vectors);
    mem_free(texts);
    mem_free(ids_text);
    vt->close(t);
}

/* Unigram and BPE against sentencepiece itself. */
static void test_golden(const char *name)
{
    char path[4096];
    void *t = NULL;
    snprintf(path, sizeof path, "%s/tests/tokenizers/%s", COATI_SOURCE_DIR, name);
    CHECK_MSG(open_at(path, &t) == CO_OK, "%s", error_message());
    if (t) golden_run(vt, t, name);
    if (t) vt->close(t);
}

static void test_shared_golden(void)
{
    char path[4400];
    void *t;
    snprintf(path, sizeof path, "%s/data/tokenizers/llama2", shared);
    if (!fs_is_dir(path)) return; /* test_vectors says so */
    CHECK(open_at(path, &t) == CO_OK);
    golden_run(vt, t, "shared_llama2_model");
    vt->close(t);
}

static void test_stories(void)
{
    static const int32_t want[] = {403, 407, 261, 378}; /* " Once upon a time" */
    char path[4400];
    void *t;
    int32_t *ids;
    size_t n;
    int64_t vocab;
    snprintf(path, sizeof path, "%s/data/models/stories260K", shared);
    if (!fs_is_dir(path)) {
        printf("skipped: %s is not there\n", path);
        return;
    }
    CHECK(open_at(path, &t) == CO_OK);
    CHECK(vt->n_vocab(t, &vocab) == CO_OK && vocab == 512);
    CHECK(vt->encode(t, "Once upon a time", 16, arena, &ids, &n) == CO_OK);
    CHECK(n == 4 && memcmp(ids, want, sizeof want) == 0);
    expect_text(t, ids, n, "Once upon a time");
    vt->close(t);
}

int main(void)
{
    const char *env = getenv("COATI_SHARED");
    const co_plugin *p = coati_plugin_v1_test_sentencepiece();
    snprintf(shared, sizeof shared, "%s", env ? env : COATI_SOURCE_DIR "/../shared");
    CHECK(p->magic.magic == CO_MAGIC && p->features[0] && !p->features[1]);
    vt = p->features[0]->vt;
    arena = arena_new(65536);
    test_round_trip();
    test_special();
    test_two_instances();
    test_bad_files();
    test_flipped();
    test_beside();
    test_vectors("data/tokenizers/llama2", "data/tokenizers/vectors/ggml-vocab-llama-spm.gguf.inp",
                 "data/tokenizers/vectors/ggml-vocab-llama-spm.gguf.out", 47);
    test_golden("tiny");
    test_golden("unigram");
    test_shared_golden();
    test_stories();
    arena_free(arena);
    return check_done();
}
