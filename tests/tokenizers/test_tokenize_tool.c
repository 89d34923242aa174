/* coati-tokenize as a user runs it, and the helpers under it. */
#include <sys/wait.h>
#include <unistd.h>
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/params/tokenizer.h"

static char out[65536]; /* standard output and error of the last run */
static size_t in_len;   /* bytes of the next run's input, if it holds NULs */

/* Exit code of `bin/PROGRAM ARGS`, with `input` on standard input. */
static int run_program(const char *program, const char *args, const char *input)
{
    const char *bin = getenv("COATI_BIN");
    char command[8192], in_path[4096];
    snprintf(in_path, sizeof in_path, "%s/tests/tokenize-%d.txt", COATI_BINARY_DIR, (int)getpid());
    FILE *in = fopen(in_path, "wb");
    const size_t n_in = in_len ? in_len : strlen(input);
    in_len = 0;
    CHECK(in && fwrite(input, 1, n_in, in) == n_in && fclose(in) == 0);
    snprintf(command, sizeof command, "'%s/%s' %s < '%s' 2>&1", bin ? bin : COATI_BINARY_DIR "/bin", program, args, in_path);
    FILE *p = popen(command, "r");
    size_t n = p ? fread(out, 1, sizeof out - 1, p) : 0;
    out[n] = 0;
    int status = p ? pclose(p) : -1;
    unlink(in_path);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int run(const char *args, const char *input) { return run_program("coati-tokenize", args, input); }

#define TINY "--model '" COATI_SOURCE_DIR "/tests/tokenizers/tiny'"

static void test_there_and_back(void)
{
    static const char text[] = "The coati\n\n  eats 🦙 fruit\n";
    char ids[65536];
    CHECK(run(TINY " --no-bos", text) == 0);
    memcpy(ids, out, sizeof ids);
    CHECK(run(TINY " --decode", ids) == 0);
    CHECK_STR(out, text);
    CHECK(run(TINY, "") == 0);
    CHECK_STR(out, "");
}

static void test_bos(void)
{
    CHECK(run(TINY, "\n") == 0);
    CHECK_STR(out, "1\n");
    CHECK(run(TINY " --no-bos", "\n") == 0);
    CHECK_STR(out, "\n");
}

static void test_file(void)
{
    char args[4096], lines[65536];
    snprintf(args, sizeof args, "%s --no-bos --file '%s/tests/tokenizers/tiny.txt'", TINY, COATI_SOURCE_DIR);
    CHECK(run(args, "") == 0);
    memcpy(lines, out, sizeof lines);
    CHECK(strchr(lines, '\n') == lines + strlen(lines) - 1); /* one line for the whole file */
    CHECK(run(TINY " --decode", lines) == 0);
    CHECK_HAS(out, "eat fruit.\nA band of coatis");
}

/* Texts that end in NUL may hold new lines; ids come and go on lines all the same. */
static void test_null(void)
{
    char ids[65536];
    in_len = 14;
    CHECK(run(TINY " --no-bos --null", "one\ntwo\0\nthree") == 0);
    CHECK(strchr(out, '\n') && strchr(strchr(out, '\n') + 1, '\n') == out + strlen(out) - 1);
    memcpy(ids, out, sizeof ids);
    CHECK(run(TINY " --decode -0", ids) == 0);
    CHECK(memcmp(out, "one\ntwo\0\nthree\0", 15) == 0);
}

/* What stands around a text comes from the files: nothing with GPT-2's, BOS and EOS with this one of Mistral's kind. The
 * files that are there decide which plugin reads them. */
static void test_around(void)
{
    static const struct { const char *model, *ids; } cases[] = {{"gpt2", ""}, {"llama2", "1"}, {"mistral", "1 2"}, {"roberta", "0 2"}, {"opt_files", "2"}, {"unigram", "1"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char args[4096], want[32];
        snprintf(args, sizeof args, "--model '%s/tests/tokenizers/%s'", COATI_SOURCE_DIR, cases[i].model);
        snprintf(want, sizeof want, "%s\n", cases[i].ids);
        CHECK(run(args, "\n") == 0);
        CHECK_STR(out, want);
        strcat(args, " --no-bos");
        CHECK(run(args, "\n") == 0);
        CHECK_STR(out, "\n");
    }
}

/* Where several files are, tokenizer.json is read; [tokenizer] name asks for another. */
static void test_choice(void)
{
    static const char *const names[] = {"tokenizer.model", "tokenizer.json", "vocab.json", "merges.txt"},
                      *const from[] = {"tiny", "gpt2", "opt_files", "opt_files"}, *const best[] = {"tiny", "gpt2", "gpt2", "gpt2"};
    char dir[4096], args[8192], want[65536], *data;
    size_t len;
    snprintf(dir, sizeof dir, "%s/tests/choice-%d", COATI_BINARY_DIR, (int)getpid());
    CHECK(fs_mkdirs(dir) == CO_OK);
    for (int i = 0; i < 4; i++) {
        char path[8192];
        snprintf(path, sizeof path, "%s/tests/tokenizers/%s/%s", COATI_SOURCE_DIR, from[i], names[i]);
        CHECK(fs_read_all(path, &data, &len, 1 << 20) == CO_OK);
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        CHECK(fs_write_atomic(path, data, len) == CO_OK);
        mem_free(data);
        snprintf(args, sizeof args, "--model '%s/tests/tokenizers/%s'", COATI_SOURCE_DIR, best[i]);
        CHECK(run(args, "The coati eats fruit\n") == 0);
        memcpy(want, out, sizeof want);
        snprintf(args, sizeof args, "--model '%s'", dir);
        CHECK(run(args, "The coati eats fruit\n") == 0);
        CHECK_STR(out, want);
    }
    snprintf(args, sizeof args, "--model '%s/tests/tokenizers/tiny'", COATI_SOURCE_DIR);
    CHECK(run(args, "The coati eats fruit\n") == 0);
    memcpy(want, out, sizeof want);
    snprintf(args, sizeof args, "--model '%s' --tokenizer sentencepiece", dir);
    CHECK(run(args, "The coati eats fruit\n") == 0);
    CHECK_STR(out, want);
    CHECK(fs_remove_tree(dir) == CO_OK);
}

static void test_wrong_use(void)
{
    static const struct { const char *args, *input; int code; const char *says; } cases[] = {
        {"", "", 2, "--model is missing"},
        {"--modle x", "", 2, "--modle: unknown option"},
        {"--model", "", 2, "--model needs a value"},
        {TINY " extra", "", 2, "extra: text is read from"},
        {"--model /nowhere/at/all", "", 3, "/nowhere/at/all: no such file or folder"},
        {"--model '" COATI_SOURCE_DIR "/tests'", "", 3, "looked for: "},
        {"--model '" COATI_SOURCE_DIR "/tests'", "", 3, "tokenizer.model"},
        {"--model '" COATI_SOURCE_DIR "/tests'", "", 3, "tokenizer.json"},
        {TINY " --tokenizer nonsense", "", 2, "nonsense"},
        {TINY " --decode", "1 2\n3 x4 5\n", 3, "standard input:2:3: \"x4\" is not a token id"},
        {TINY " --decode", "7 99999", 3, "standard input:1:3: token id 99999: the tokenizer has 420"},
        {TINY " --file /nowhere/at/all", "", 1, "/nowhere/at/all"},
        {"--help", "", 0, "usage: coati-tokenize"},
        {"--version", "", 0, "coati-tokenize 0."},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int code = run(cases[i].args, cases[i].input);
        CHECK_MSG(code == cases[i].code, "%s: exit code %d: %s", cases[i].args, code, out);
        CHECK_HAS(out, cases[i].says);
    }
}

/* coati-bench --tokenize: the whole text is encoded, and the line says with what. */
static void test_bench(void)
{
    static const char gpt2[] = "--tokenize '" COATI_SOURCE_DIR "/tests/tokenizers/gpt2' --steps 2";
    char args[4096];
    snprintf(args, sizeof args, "%s '%s/tests/tokenizers/tiny.txt'", gpt2, COATI_SOURCE_DIR);
    CHECK(run_program("coati-bench", args, "") == 0);
    CHECK_HAS(out, "{\"case\":\"tokenize\",\"tokenizer\":\"bpe\"");
    CHECK_HAS(out, "\"texts\":1,");
    CHECK_HAS(out, "\"rounds\":2,");
    CHECK(run_program("coati-bench", gpt2, "") == 2);
    CHECK_HAS(out, "--tokenize needs files");
    snprintf(args, sizeof args, "%s /nowhere/at/all", gpt2);
    CHECK(run_program("coati-bench", args, "") == 1);
    CHECK_HAS(out, "/nowhere/at/all");
}

static void test_utf8_whole(void)
{
    static const struct { const char *s; size_t whole; } cases[] = {
        {"", 0}, {"abc", 3}, {"a\xC3", 1}, {"a\xC3\xA9", 3}, {"\xF0", 0}, {"\xF0\x9F\xA6", 0}, {"\xF0\x9F\xA6\x99", 4},
        {"x\xE2\x96", 1}, {"\xFF", 1}, {"\x80\x80\x80\x80", 4}, {"\xC0", 1}, {"a\xE2\x96\x81\xE2", 4}, {"\xC3\xA9\xA9", 3}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CHECK_MSG(utf8_whole(cases[i].s, strlen(cases[i].s)) == cases[i].whole, "case %zu", i);
}

static void test_fit(void)
{
    const tokenizer t = {.n_vocab = 420};
    CHECK(tokenizer_check_fit(&t, 420, "tok", "model") == CO_OK && tokenizer_check_fit(&t, 512, "tok", "model") == CO_OK);
    CHECK(tokenizer_check_fit(&t, 419, "tok", "model") == CO_E_FORMAT);
    CHECK_HAS(error_message(), "420 ids, the model in model only 419");
}

int main(void)
{
    test_there_and_back();
    test_bos();
    test_file();
    test_null();
    test_around();
    test_choice();
    test_wrong_use();
    test_bench();
    test_utf8_whole();
    test_fit();
    return check_done();
}
