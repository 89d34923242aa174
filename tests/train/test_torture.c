/* torture.c: a tiny run in which one allocation fails, over and over: each time it ends with CO_E_NOMEM (or does without), says
 * so, gives back all it took, and leaves an output that the next run can use. A run from nothing, one that resumes, one with
 * LoRA, one whose strategy keeps weights and states in host memory; opening, planning, training, evaluating, writing checkpoints, results and report.
 *   COATI_TORTURE=1    every allocation of each; otherwise all of the first run (about 100 in a sanitized build), and about 100
 *                      of the others */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/train/sft.h"
#include <signal.h>
#include <unistd.h>

static char root[4096];
static int64_t now_failing;

static void on_crash(int n)
{
    char text[80];
    const int len = snprintf(text, sizeof text, "signal %d: allocation %lld failed before\n", n, (long long)now_failing);
    (void)!write(2, text, (size_t)len);
    _exit(128 + n);
}

static char *in(const char *name) { return fs_join(root, name); }
static void put(const char *name, const char *text, size_t len)
{
    char *path = in(name);
    CHECK(fs_write_atomic(path, text, len) == CO_OK);
    mem_free(path);
}
static void forget(const char *name)
{
    char *path = in(name);
    CHECK(fs_remove_tree(path) == CO_OK);
    mem_free(path);
}

static int whole_run(const char *ini, const char *stop_after)
{
    static const volatile int stop;
    sft_flags flags = {.stop = &stop};
    char path[4200];
    run r = {0};
    snprintf(path, sizeof path, "%s/%s", root, ini);
    config *c = config_new();
    int s = c ? config_read_file(c, path) : CO_E_NOMEM;
    if (s == CO_OK && stop_after) s = config_set(c, "run", "stop_after", stop_after);
    if (s == CO_OK) s = run_open(c, &r);
    if (s == CO_OK) s = sft_run(&r, &flags);
    run_close(&r);
    config_free(c);
    return s;
}

static int64_t allocations(const char *ini, const char *stop_after)
{
    mem_counts before, after;
    mem_count(&before);
    CHECK_MSG(whole_run(ini, stop_after) == CO_OK, "%s: %s", ini, error_message());
    mem_count(&after);
    CHECK_MSG(after.live_bytes == before.live_bytes, "%s keeps %zu bytes", ini, after.live_bytes - before.live_bytes);
    return (int64_t)(after.allocs - before.allocs);
}

static void fail_each(const char *ini, const char *const *forget_first, int64_t total, int64_t tries)
{
    const int64_t stride = getenv("COATI_TORTURE") || total < 2 * tries ? 1 : total / tries;
    int failed = 0, clean = 0;
    for (int64_t n = 1; n <= total; n += stride + (stride > 1 && n % 2)) {
        mem_counts before, after;
        for (const char *const *f = forget_first; *f; f++) forget(*f);
        (void)FAIL(CO_OK, "-");
        mem_count(&before);
        now_failing = n;
        mem_fail_after(n);
        const int s = whole_run(ini, NULL);
        mem_fail_after(0);
        mem_count(&after);
        CHECK_MSG(s == CO_OK || s == CO_E_NOMEM, "%s: allocation %lld: status %d: %s", ini, (long long)n, s, error_message());
        if (s == CO_E_NOMEM) CHECK_MSG(strstr(error_message(), "memory") || strstr(error_message(), "not to be had"), "%s: allocation %lld: \"%s\"", ini, (long long)n, error_message());
        CHECK_MSG(after.live_bytes == before.live_bytes, "%s: allocation %lld leaks %lld bytes", ini, (long long)n,
                  (long long)(after.live_bytes - before.live_bytes));
        failed += s != CO_OK;
        clean += s == CO_OK;
        if (s == CO_OK && getenv("COATI_TORTURE")) printf("%s: does without allocation %lld\n", ini, (long long)n);
    }
    printf("%s: %lld allocations; %d runs that failed, %d that did without\n", ini, (long long)total, failed, clean);
    CHECK(failed > 60 && failed > 10 * clean);
    CHECK_MSG(whole_run(ini, NULL) == CO_OK, "%s at last: %s", ini, error_message());
}

static void same_file(const char *a, const char *b)
{
    char *pa = in(a), *pb = in(b), *x = NULL, *y = NULL;
    size_t n = 0, m = 0;
    CHECK(fs_read_all(pa, &x, &n, 1 << 24) == CO_OK && fs_read_all(pb, &y, &m, 1 << 24) == CO_OK);
    CHECK_MSG(n == m && n && memcmp(x, y, n) == 0, "%s and %s differ", a, b);
    mem_free(x), mem_free(y), mem_free(pa), mem_free(pb);
}

#define INI(output, more)                                                                                             \
    "[run]\noutput = " output "\nmax_steps = 2\n[model]\npath = model\ninit = random\n[dataset]\npath = data.jsonl\n" \
    "template = none\nmax_len = 24\n[dataset.eval]\npath = data.jsonl\ntemplate = none\nmax_len = 24\n[eval]\n"       \
    "batches = 1\n[batch]\nsize = 2\naccumulation = 2\n[backend]\nthreads = 1\n[checkpoint]\nevery = 1\n[log]\n"      \
    "progress = off\n" more

int main(void)
{
    static const char *const all[] = {"out", NULL}, *const adapted[] = {"lora", NULL}, *const parted[] = {"gemini", NULL};
    static const char *const late[] = {"resumed/checkpoints/step-2", "resumed/model", "resumed/report.html", NULL};
    static const char data[] = "{\"instruction\":\"1 + 1 =\",\"output\":\"2\"}\n{\"instruction\":\"1 + 2 =\",\"output\":\"3\"}\n"
                               "{\"instruction\":\"2 + 2 =\",\"output\":\"4\"}\n{\"instruction\":\"2 + 3 =\",\"output\":\"5\"}\n"
                               "{\"instruction\":\"3 + 3 =\",\"output\":\"6\"}\n";
    static const char shape[] = "{\"model_type\":\"llama\",\"hidden_size\":16,\"intermediate_size\":24,\"num_hidden_layers\":2,"
                                "\"num_attention_heads\":2,\"vocab_size\":297,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5}";
    char *vocabulary = NULL;
    size_t len;
    /* In memory where that can be: hundreds of runs, each with its fsyncs. */
    snprintf(root, sizeof root, "%s/torture-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : COATI_BINARY_DIR "/tests");
    if (!mkdtemp(root)) return perror(root), 1;
    signal(SIGSEGV, on_crash);
    signal(SIGABRT, on_crash);
    log_level_set(CO_LOG_ERROR);
    char *model = in("model");
    CHECK(fs_mkdirs(model) == CO_OK);
    mem_free(model);
    CHECK(fs_read_all(COATI_SOURCE_DIR "/tools/quickstart/model/tokenizer.model", &vocabulary, &len, 1 << 20) == CO_OK);
    put("model/tokenizer.model", vocabulary, len);
    mem_free(vocabulary);
    put("model/config.json", shape, sizeof shape - 1);
    put("data.jsonl", data, sizeof data - 1);
    put("out.ini", INI("out", ""), sizeof INI("out", "") - 1);
    put("resumed.ini", INI("resumed", ""), sizeof INI("resumed", "") - 1);
    put("lora.ini", INI("lora", "[lora]\nrank = 2\nmerge = 1\n"), sizeof INI("lora", "[lora]\nrank = 2\nmerge = 1\n") - 1);

    put("gemini.ini", INI("gemini", "[strategy]\nname = gemini\nplacement = cpu\n"), sizeof INI("gemini", "[strategy]\nname = gemini\nplacement = cpu\n") - 1);
    (void)allocations("out.ini", NULL); /* what is made once, is made now */
    forget("out");
    fail_each("out.ini", all, allocations("out.ini", NULL), TORTURE_TRIES);

    CHECK(whole_run("resumed.ini", "1") == CO_OK);
    fail_each("resumed.ini", late, allocations("resumed.ini", NULL), 100);
    same_file("resumed/model/model.safetensors", "out/model/model.safetensors");

    fail_each("lora.ini", adapted, allocations("lora.ini", NULL), 100);
    fail_each("gemini.ini", parted, allocations("gemini.ini", NULL), 100);
    fs_remove_tree(root);
    return check_done();
}
