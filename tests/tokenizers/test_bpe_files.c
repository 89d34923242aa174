/* What the bpe plugin makes of files it cannot honour, of damaged ones, and of what lies beside them. */
#include <coati/plugin.h>
#include <sys/stat.h>
#include <unistd.h>
#include "golden.h"

extern const co_plugin *coati_plugin_v1_test_bpe(void);
static const co_tokenizer_vt *vt;
static char dir[4096];
static co_arena *arena;

static void put(const char *name, const char *data, size_t n)
{
    char path[4400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(data, 1, n, f) == n && fclose(f) == 0);
}

static void drop(const char *name)
{
    char path[4400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

static int open_dir(void **t)
{
    const co_tokenizer_common o = {dir};
    return vt->open(&fake_host, &o, t);
}

static const char model[] = "{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"<s>\":3,\"</s>\":4},\"merges\":[\"a b\"]}";

/* Opens {"model": …, PARTS}. */
static int open_parts(const char *parts, void **t)
{
    char text[4096];
    const int n = snprintf(text, sizeof text, "{%s%s\"model\":%s}", parts, *parts ? "," : "", model);
    put("tokenizer.json", text, (size_t)n);
    return open_dir(t);
}

static void test_refusals(void)
{
    static const struct { const char *parts; int code; const char *says; } cases[] = {
        {"\"normalizer\":{\"type\":\"BertNormalizer\"}", CO_E_UNSUPPORTED, "tokenizer.json: normalizer.type: \"BertNormalizer\" is not offered; NFC"},
        {"\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"\"}]}",
         CO_E_UNSUPPORTED, "normalizer.normalizers[1].type: \"Precompiled\" is not offered"},
        {"\"normalizer\":{\"type\":\"NFC\",\"strength\":2}", CO_E_UNSUPPORTED, "normalizer.strength: unknown setting"},
        {"\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\\\\h\"},\"content\":\"\"}", CO_E_UNSUPPORTED,
         "normalizer.pattern.Regex: an escape that is not offered"},
        {"\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"x\"}", CO_E_UNSUPPORTED, "normalizer.pattern: an empty text"},
        {"\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}", CO_E_UNSUPPORTED, "pre_tokenizer.type: \"BertPreTokenizer\" is not offered"},
        {"\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[[:alpha:]]\"},\"behavior\":\"Isolated\"}]}",
         CO_E_UNSUPPORTED, "pre_tokenizer.pretokenizers[0].pattern.Regex: a POSIX class"},
        {"\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"x\"},\"behavior\":\"Doubled\"}", CO_E_UNSUPPORTED, "pre_tokenizer.behavior: \"Doubled\""},
        {"\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Glob\":\"x\"},\"behavior\":\"Isolated\"}", CO_E_UNSUPPORTED, "pre_tokenizer.pattern.Glob: unknown"},
        {"\"pre_tokenizer\":{\"type\":\"Digits\"}", CO_E_FORMAT, "pre_tokenizer: \"individual_digits\" is missing"},
        {"\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":\"Digits\",\"individual_digits\":true}]}",
         CO_E_UNSUPPORTED, "pre_tokenizer.pretokenizers[1]: a step after ByteLevel"},
        {"\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\",\"prepend_scheme\":\"last\"}", CO_E_UNSUPPORTED, "prepend_scheme: \"last\""},
        {"\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"<s>\","
         "\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[3],\"tokens\":[\"<s>\"]}}}",
         CO_E_UNSUPPORTED, "post_processor.single[1].SpecialToken: more than one token"},
        {"\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<x>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\"}}],"
         "\"pair\":[],\"special_tokens\":{}}", CO_E_FORMAT, "post_processor.special_tokens: \"<x>\" is missing"},
        {"\"post_processor\":{\"type\":\"RobertaProcessing\",\"sep\":[\"</s>\",4],\"cls\":[\"<s>\",99]}", CO_E_FORMAT, "an id beyond the vocabulary's 5"},
        {"\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true}", CO_E_UNSUPPORTED, "decoder.type: \"WordPiece\" is not offered"},
        {"\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":0,\"stop\":1}]}", CO_E_UNSUPPORTED,
         "decoder.decoders[1].stop: stripping the end of a text"},
        {"\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteFallback\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\"x\"},\"content\":\"\"}]}",
         CO_E_UNSUPPORTED, "decoder.decoders[1].type: \"Replace\" between ByteFallback and Fuse"},
        {"\"added_tokens\":[{\"id\":7,\"content\":\"<x>\"}]", CO_E_FORMAT, "added_tokens[0]: \"<x>\" has id 7 here; by the tokens before it, it is 5"},
        {"\"added_tokens\":[{\"id\":5,\"content\":\"<x>\",\"stripped\":true}]", CO_E_UNSUPPORTED, "added_tokens[0].stripped: unknown setting"},
        {"\"version\":\"2.0\"", CO_E_UNSUPPORTED, "version \"2.0\"; 1.0 is read"},
        {"\"chunker\":{}", CO_E_UNSUPPORTED, "tokenizer.json: chunker: unknown setting"},
        {"\"normalizer\":null,\"normalizer\":null", CO_E_FORMAT, "normalizer: stands here twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        void *t = NULL;
        const int rc = open_parts(cases[i].parts, &t);
        CHECK_MSG(rc == cases[i].code, "%s: %d: %s", cases[i].parts, rc, rc ? error_message() : "opened");
        if (rc) CHECK_HAS(error_message(), cases[i].says);
        else vt->close(t);
    }
}

static void test_models(void)
{
    static const struct { const char *model; int code; const char *says; } cases[] = {
        {"{\"type\":\"Unigram\",\"vocab\":[]}", CO_E_UNSUPPORTED, "model.type: \"Unigram\" is not offered, BPE is"},
        {"{\"type\":\"BPE\",\"merges\":[]}", CO_E_FORMAT, "model: \"vocab\" is missing"},
        {"{\"vocab\":{\"a\":0}}", CO_E_FORMAT, "model: \"merges\" is missing"},
        {"{\"vocab\":{},\"merges\":[]}", CO_E_FORMAT, "model.vocab: no tokens"},
        {"{\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}", CO_E_FORMAT, "model.vocab.a: this token stands here twice"},
        {"{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}", CO_E_FORMAT, "model.vocab.b: id 0 is another token's already"},
        {"{\"vocab\":{\"a\":-1},\"merges\":[]}", CO_E_FORMAT, "model.vocab.a: -1 is not a whole number"},
        {"{\"vocab\":{\"a\":4000000000},\"merges\":[]}", CO_E_FORMAT, "model.vocab.a: 4000000000: at most"},
        {"{\"vocab\":{\"a\":0},\"merges\":[\"a\"]}", CO_E_FORMAT, "model.merges[0]: \"a\": two tokens with one space between"},
        {"{\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}", CO_E_FORMAT, "model.merges[0]: \"a\", \"a\" or what they make is not in the vocabulary"},
        {"{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}", CO_E_FORMAT, "model.merges[0]: two tokens were expected"},
        {"{\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"<unk>\"}", CO_E_FORMAT, "model: unk_token \"<unk>\" is not in the vocabulary"},
        {"{\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}", CO_E_UNSUPPORTED, "model.dropout: dropout makes ids random"},
        {"{\"vocab\":{\"a\":0},\"merges\":[],\"fuse\":true}", CO_E_UNSUPPORTED, "model.fuse: unknown setting"},
        {"{\"vocab\":{\"a\":0},\"merges\":[],\"fuse_unk\":1}", CO_E_FORMAT, "model.fuse_unk: true or false was expected, found a number"},
        {"[]", CO_E_FORMAT, "model: an object was expected, found an array"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[4096];
        void *t = NULL;
        put("tokenizer.json", text, (size_t)snprintf(text, sizeof text, "{\"model\":%s}", cases[i].model));
        const int rc = open_dir(&t);
        CHECK_MSG(rc == cases[i].code, "%s: %d: %s", cases[i].model, rc, rc ? error_message() : "opened");
        if (rc) CHECK_HAS(error_message(), cases[i].says);
        else vt->close(t);
    }
}

/* Steps that no family uses, by what tokenizers gives. */
static void test_steps(void)
{
    static const struct { const char *parts, *text; int n, ids[8]; } cases[] = {
        {"\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x*\"},\"behavior\":\"Isolated\",\"invert\":false}", "abxxab", 4, {0, 1, 0, 1}},
        {"\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"\"},\"behavior\":\"Isolated\"}", "ab", 2, {0, 1}},
        {"\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Removed\",\"invert\":true}", "abab", 2, {0, 0}},
        {"\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"MergedWithPrevious\"}", "aabab", 5, {0, 0, 1, 0, 1}},
        {"\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"MergedWithNext\"}", "aabab", 3, {0, 2, 2}},
        {"\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"}", "a b ab", 3, {0, 1, 2}},
        {"\"pre_tokenizer\":{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"-\"}", "a-b-ab", 3, {0, 1, 2}},
        {"\"normalizer\":{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":false}", "  ab", 1, {2}},
        {"\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x+\"},\"content\":\"b\"}", "axxab", 2, {2, 2}},
        {"\"normalizer\":{\"type\":\"Lowercase\"},\"added_tokens\":[{\"id\":5,\"content\":\"AB\",\"normalized\":true}]", "abAB", 2, {5, 5}},
        {"\"added_tokens\":[{\"id\":5,\"content\":\"<x>\",\"rstrip\":true},{\"id\":6,\"content\":\" <y>\"}]", "a<x>  <y>b", 4, {0, 5, 6, 1}},
        {"\"added_tokens\":[{\"id\":2,\"content\":\"ab\",\"single_word\":true}]", "aab ab\xC2\xB2 ab\xE2\x80\x8D", 4, {0, 2, 2, 2}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        void *t = NULL;
        int32_t *ids;
        size_t n;
        const int rc = open_parts(cases[i].parts, &t);
        CHECK_MSG(rc == CO_OK, "%s: %s", cases[i].parts, error_message());
        if (rc) continue;
        CHECK(vt->encode(t, cases[i].text, strlen(cases[i].text), arena, &ids, &n) == CO_OK);
        CHECK_MSG(n == (size_t)cases[i].n && memcmp(ids, cases[i].ids, n * sizeof *ids) == 0, "case %zu: %zu ids, first %d", i, n, n ? ids[0] : -1);
        vt->close(t);
    }
}

static int32_t role(const char *name)
{
    void *t = NULL;
    const int rc = open_dir(&t);
    CHECK_MSG(rc == CO_OK, "%s", error_message());
    if (rc) return -2;
    const int32_t id = vt->special(t, name);
    vt->close(t);
    return id;
}

/* Whatever the class is called, and whether special_tokens_map.json is there, empty, or says something. */
static void test_beside(void)
{
    void *t = NULL;
    CHECK(open_parts("", &t) == CO_OK);
    vt->close(t);
    static const char *const classes[] = {"LLaMATokenizer", "LlamaTokenizer", "LlamaTokenizerFast", "SomethingElse"};
    static const char *const maps[] = {NULL, "", " \n", "{}", "{\"eos_token\":\"</s>\",\"bos_token\":{\"content\":\"<s>\",\"lstrip\":false}}"};
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 5; k++) {
            char text[200];
            put("tokenizer_config.json", text, (size_t)snprintf(text, sizeof text, "{\"tokenizer_class\":\"%s\"}", classes[i]));
            if (maps[k]) put("special_tokens_map.json", maps[k], strlen(maps[k]));
            CHECK(role("bos") == 3 && role("eos") == 4 && role("pad") == -1 && role("before") == -1 && role("after") == -1);
            drop("special_tokens_map.json");
        }
    static const struct { const char *config, *name; int32_t id; } cases[] = {
        {"{\"bos_token\":null}", "bos", -1}, {"{\"bos_token\":\"a\"}", "bos", 0}, {"{\"eos_token\":{\"content\":\"ab\"}}", "eos", 2},
        {"{\"pad_token\":\"nowhere\"}", "pad", -1}, {"{\"add_bos_token\":true}", "before", 3}, {"{\"add_eos_token\":true}", "after", 4},
        {"{\"add_bos_token\":false}", "before", -1}, {"{\"unk_token\":\"b\"}", "unk", 1}, {"", "bos", 3},
        {"{\"added_tokens_decoder\":{\"9\":{\"content\":\"<x>\",\"special\":true}},\"pad_token\":\"<x>\"}", "pad", 9}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put("tokenizer_config.json", cases[i].config, strlen(cases[i].config));
        CHECK_MSG(role(cases[i].name) == cases[i].id, "%s: %s", cases[i].config, cases[i].name);
    }
    static const char wrong_id[] = "{\"added_tokens_decoder\":{\"1\":{\"content\":\"<x>\"}}}";
    put("tokenizer_config.json", wrong_id, sizeof wrong_id - 1);
    CHECK(open_dir(&t) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "tokenizer_config.json: added_tokens_decoder.1: \"<x>\" and id 1 do not belong together");
    drop("tokenizer_config.json");
    put("added_tokens.json", "{\"<y>\":6,\"<x>\":5}", 17);
    int32_t *ids;
    size_t n;
    CHECK(open_dir(&t) == CO_OK && vt->encode(t, "a<y><x>", 7, arena, &ids, &n) == CO_OK && n == 3 && ids[1] == 6 && ids[2] == 5);
    vt->close(t);
    drop("added_tokens.json");
    put("tokenizer_config.json", "{\"bos_token\"", 12);
    CHECK(open_dir(&t) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "tokenizer_config.json:1:13: not JSON: \":\" was expected");
    drop("tokenizer_config.json");
}

/* vocab.json and merges.txt: what is wrong with them, and classes that cut differently. */
static void test_vocab_files(void)
{
    static const struct { const char *vocab, *merges, *config; int code; const char *says; } cases[] = {
        {"{\"a\":0,\"b\":1,\"ab\":2}", "#version: 0.2\na b\n", "", CO_OK, ""},
        {"{\"a\":0,\"b\":1,\"ab\":2}", "a b\r\n\r\n", "{\"tokenizer_class\":\"Qwen2Tokenizer\"}", CO_OK, ""},
        {"{\"a\":0,\"b\":1,\"ab\":2}", "a b", "{\"tokenizer_class\":\"CLIPTokenizer\"}", CO_E_UNSUPPORTED, "tokenizer_config.json: tokenizer_class: vocab.json and"},
        {"{\"a\":0,\"b\":1}", "a b\n", "", CO_E_FORMAT, "merges.txt:1: \"a b\": two tokens of the vocabulary"},
        {"{\"a\":0,\"b\":1,\"ab\":2}", "a b\nab\n", "", CO_E_FORMAT, "merges.txt:2: \"ab\""},
        {"{\"a\":0,\"b\":1,\"ab\":2}", "a \xFF\n", "", CO_E_FORMAT, "merges.txt: byte 2 is not UTF-8"},
        {"[]", "a b\n", "", CO_E_FORMAT, "vocab.json: an object was expected"},
        {"{\"a\":0", "a b\n", "", CO_E_FORMAT, "vocab.json:1:7: not JSON"},
    };
    drop("tokenizer.json");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        void *t = NULL;
        put("vocab.json", cases[i].vocab, strlen(cases[i].vocab));
        put("merges.txt", cases[i].merges, strlen(cases[i].merges));
        put("tokenizer_config.json", cases[i].config, strlen(cases[i].config));
        const int rc = open_dir(&t);
        CHECK_MSG(rc == cases[i].code, "case %zu: %d: %s", i, rc, rc ? error_message() : "opened");
        if (rc) CHECK_HAS(error_message(), cases[i].says);
        else vt->close(t);
    }
    void *t = NULL;
    drop("merges.txt");
    put("vocab.json", cases[0].vocab, strlen(cases[0].vocab));
    CHECK(open_dir(&t) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "merges.txt: cannot be opened");
    drop("vocab.json");
    CHECK(open_dir(&t) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "tokenizer.json: cannot be opened");
    drop("tokenizer_config.json");
}

/* A fixture cut short and with bytes flipped: an error that names the file, or a tokenizer that works. */
static void test_damaged(void)
{
    char *data;
    size_t len, ok = 0, bad = 0;
    CHECK(fs_read_all(COATI_SOURCE_DIR "/tests/tokenizers/llama2/tokenizer.json", &data, &len, 1 << 20) == CO_OK);
    for (size_t i = 0; i < 2 * (len / 61); i++) {
        void *t = NULL;
        const size_t at = i / 2 * 61 + i % 7;
        char old = data[at];
        if (i % 2) data[at] ^= (char)(1 << i % 8);
        put("tokenizer.json", data, i % 2 ? len : at);
        data[at] = old;
        const int rc = open_dir(&t);
        CHECK(rc == CO_OK || rc == CO_E_FORMAT || rc == CO_E_UNSUPPORTED);
        CHECK(rc == CO_OK || strstr(error_message(), "tokenizer.json"));
        CHECK(i % 2 || rc != CO_OK); /* no shorter file is a whole one */
        if (rc == CO_OK) {
            int32_t *ids;
            size_t n;
            CHECK(vt->encode(t, "The coati eats \xF0\x9F\xA6\x99", 19, arena, &ids, &n) == CO_OK);
            arena_reset(arena);
            vt->close(t);
        }
        rc == CO_OK ? ok++ : bad++;
    }
    CHECK_MSG(ok > 10 && bad > 200, "%zu opened, %zu did not", ok, bad);
    mem_free(data);
}

/* Damaged UTF-8: the longest start of a character, or else a byte, is one U+FFFD, as with Python's errors="replace". */
static void test_invalid_utf8(void)
{
    static const struct { const char *bytes, *read_as; } cases[] = {
        {"\xFF", "\xEF\xBF\xBD"}, {"a\xC3", "a\xEF\xBF\xBD"}, {"\xE4\xBD" "a", "\xEF\xBF\xBD" "a"}, {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xF0\x9F\xA6", "\xEF\xBF\xBD"}, {"\xC0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD"}, {"\xF5\x80", "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, {"\xE0\x9F\xBF x", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD x"}};
    static const char *const names[] = {"llama2", "gpt2", "mistral", "qwen2"};
    for (size_t k = 0; k < 4; k++) {
        char path[4096];
        void *t = NULL;
        snprintf(path, sizeof path, "%s/tests/tokenizers/%s", COATI_SOURCE_DIR, names[k]);
        const co_tokenizer_common o = {path};
        CHECK(vt->open(&fake_host, &o, &t) == CO_OK);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            int32_t *a, *b;
            size_t n, m;
            CHECK(vt->encode(t, cases[i].bytes, strlen(cases[i].bytes), arena, &a, &n) == CO_OK);
            CHECK(vt->encode(t, cases[i].read_as, strlen(cases[i].read_as), arena, &b, &m) == CO_OK);
            CHECK_MSG(n == m && n > 0 && memcmp(a, b, n * sizeof *a) == 0, "%s, case %zu", names[k], i);
        }
        vt->close(t);
    }
}

/* A long text's buffers are not kept; a word of megabytes and a text of as many words come out whole. */
static void test_long_texts(void)
{
    enum { N = 4 << 20 };
    const co_tokenizer_common o = {COATI_SOURCE_DIR "/tests/tokenizers/llama3"};
    char *text = mem_alloc(N, 1), *back;
    mem_counts before, after;
    void *t = NULL;
    int32_t *ids;
    size_t n, len;
    CHECK(vt->open(&fake_host, &o, &t) == CO_OK);
    CHECK(vt->encode(t, "a b", 3, arena, &ids, &n) == CO_OK);
    mem_count(&before);
    for (int spaced = 0; spaced < 2; spaced++) {
        co_arena *a = arena_new(1 << 16);
        for (size_t i = 0; i < N; i++) text[i] = spaced && i % 3 == 2 ? ' ' : 'e';
        CHECK(vt->encode(t, text, N, a, &ids, &n) == CO_OK && n > N / 64);
        CHECK(vt->decode(t, ids, n, 0, a, &back, &len) == CO_OK && len == N && memcmp(back, text, N) == 0);
        arena_free(a);
    }
    mem_count(&after);
    CHECK_MSG(after.live_bytes < before.live_bytes + (18u << 20), "%zu bytes are kept", after.live_bytes - before.live_bytes);
    vt->close(t);
    mem_free(text);
}

/* Out of memory at each allocation in turn: an error, nothing lost, and no trace of it in the next call. */
static void test_no_memory(void)
{
    int failed = 0;
    for (int64_t i = 1; i < 400; i++) {
        void *t = NULL;
        int32_t *ids;
        size_t n;
        const co_tokenizer_common o = {COATI_SOURCE_DIR "/tests/tokenizers/odd_words"};
        mem_fail_after(i);
        int rc = vt->open(&fake_host, &o, &t);
        if (rc == CO_OK) {
            rc = vt->encode(t, "Hello, hello 12", 15, arena, &ids, &n);
            mem_fail_after(0);
            CHECK(vt->encode(t, "Hello, hello 12", 15, arena, &ids, &n) == CO_OK && n > 3);
            vt->close(t);
        }
        mem_fail_after(0);
        CHECK(rc == CO_OK || rc == CO_E_NOMEM);
        failed += rc != CO_OK;
    }
    CHECK_MSG(failed > 60, "%d", failed);
}

int main(void)
{
    vt = coati_plugin_v1_test_bpe()->features[0]->vt;
    arena = arena_new(1 << 16);
    snprintf(dir, sizeof dir, "%s/tests/bpe-files-%d", COATI_BINARY_DIR, (int)getpid());
    CHECK(mkdir(dir, 0777) == 0);
    test_refusals();
    test_models();
    test_steps();
    test_beside();
    test_vocab_files();
    test_damaged();
    test_invalid_utf8();
    test_long_texts();
    test_no_memory();
    drop("tokenizer.json");
    rmdir(dir);
    arena_free(arena);
    return check_done();
}
