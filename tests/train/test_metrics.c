/* test_metrics.c: metrics.jsonl: every line one JSON object with the promised keys, numbers that read back to the bit,
 * and what is cut off when a run goes on from an earlier step. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/params/json.h"
#include "core/train/metrics.h"

static char root[] = "/tmp/coati-metrics-XXXXXX";
static char path[64];
static const metrics_named none;

static char *content(void)
{
    char *text = NULL;
    size_t n;
    CHECK(fs_read_all(path, &text, &n, 1 << 20) == CO_OK);
    return text;
}
static void expect(const char *want)
{
    char *text = content();
    CHECK_STR(text ? text : "", want);
    mem_free(text);
}
static void put(const char *text)
{
    CHECK(fs_write_atomic(path, text, strlen(text)) == CO_OK);
}
static void reopen(int64_t keep)
{
    metrics *m = NULL;
    CHECK_MSG(metrics_open(root, keep, 0, &m) == CO_OK, "%s", error_message());
    metrics_close(m);
}

/* Value of a key in a line, as text up to the next comma or brace. */
static const char *value(const char *line, const char *key, char *out, size_t cap)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(line, quoted);
    *out = 0;
    if (at) snprintf(out, cap, "%.*s", (int)strcspn(at + strlen(quoted), ",}\n"), at + strlen(quoted));
    return out;
}

static void test_a_step_line(void)
{
    static const char *const keys[] = {"step", "epoch", "loss", "lr", "grad_norm", "tokens", "samples", "tokens_per_s", "step_s",
                                       "mem_device_bytes", "mem_host_bytes"};
    const metrics_step s = {.step = 7, .tokens = 1234, .samples = 5, .epoch = 1.0 / 3, .loss = 2.3456789012345678, .lr = 1.7e-5,
                            .grad_norm = 0.1, .tokens_per_s = 4321.06, .step_s = 0.2856, .mem_device_bytes = 5000000000, .mem_host_bytes = 1};
    metrics *m = NULL;
    char v[64];
    CHECK(metrics_open(root, 0, 0, &m) == CO_OK);
    CHECK(metrics_train(m, &s) == CO_OK);
    char *text = content(); /* on disk when the call returns */
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) CHECK_MSG(value(text, keys[i], v, sizeof v)[0], "no key %s in %s", keys[i], text);
    CHECK(strtod(value(text, "loss", v, sizeof v), NULL) == s.loss); /* to the bit */
    CHECK(strtod(value(text, "epoch", v, sizeof v), NULL) == s.epoch);
    CHECK(strtod(value(text, "lr", v, sizeof v), NULL) == s.lr);
    CHECK_STR(value(text, "step", v, sizeof v), "7");
    CHECK_STR(value(text, "tokens", v, sizeof v), "1234");
    CHECK_STR(value(text, "mem_device_bytes", v, sizeof v), "5000000000");
    CHECK_MSG(json_check("line", text, strlen(text)) == CO_OK, "%s", error_message());
    CHECK(text[strlen(text) - 1] == '\n' && strchr(text, '\n') == text + strlen(text) - 1);
    mem_free(text);
    metrics_close(m);
    CHECK(fs_remove_tree(path) == CO_OK);
}

/* JSON has no NaN: a step without labels has no loss. */
static void test_no_number(void)
{
    const metrics_step s = {.step = 1, .loss = NAN, .grad_norm = INFINITY, .lr = -INFINITY};
    metrics *m = NULL;
    char v[64];
    CHECK(metrics_open(root, 0, 0, &m) == CO_OK);
    CHECK(metrics_train(m, &s) == CO_OK);
    metrics_close(m);
    char *text = content();
    CHECK_STR(value(text, "loss", v, sizeof v), "null");
    CHECK_STR(value(text, "grad_norm", v, sizeof v), "null");
    CHECK_STR(value(text, "lr", v, sizeof v), "null");
    CHECK_MSG(json_check("line", text, strlen(text)) == CO_OK, "%s", error_message());
    mem_free(text);
    CHECK(fs_remove_tree(path) == CO_OK);
}

static void test_an_evaluation_line(void)
{
    metrics *m = NULL;
    char v[64];
    CHECK(metrics_open(root, 0, 0, &m) == CO_OK);
    CHECK(metrics_eval(m, 12, 0.5, 2, &none, 300, 4) == CO_OK);
    metrics_close(m);
    char *text = content();
    CHECK_STR(value(text, "step", v, sizeof v), "12");
    CHECK_STR(value(text, "eval_loss", v, sizeof v), "2");
    CHECK(fabs(strtod(value(text, "eval_perplexity", v, sizeof v), NULL) - 7.38905609893065) < 1e-12);
    CHECK_STR(value(text, "eval_tokens", v, sizeof v), "300");
    CHECK_STR(value(text, "eval_samples", v, sizeof v), "4");
    CHECK(!strstr(text, "\"loss\""));
    mem_free(text);
    CHECK(fs_remove_tree(path) == CO_OK);
}

/* What a loss names has columns of its own. */
static void test_named(void)
{
    metrics *m = NULL;
    char v[64];
    metrics_step s = {.step = 3, .loss = 1, .named = {2, {"reward", "kl"}, {1.0 / 3, NAN}}};
    CHECK(metrics_check_names(&s.named) == CO_OK);
    CHECK(metrics_open(root, 0, 0, &m) == CO_OK);
    CHECK(metrics_train(m, &s) == CO_OK && metrics_eval(m, 3, 1, 1, &s.named, 1, 1) == CO_OK);
    metrics_close(m);
    char *text = content(), *second = strchr(text, '\n');
    CHECK(strtod(value(text, "reward", v, sizeof v), NULL) == 1.0 / 3);
    CHECK_STR(value(text, "kl", v, sizeof v), "null");
    CHECK(second && strtod(value(second, "eval_reward", v, sizeof v), NULL) == 1.0 / 3 && !strstr(second, "\"reward\""));
    mem_free(text);
    static const char *const taken[] = {"step", "loss", "eval_kl", "mem_host_bytes"};
    for (int i = 0; i < 4; i++) {
        s.named.name[1] = taken[i];
        CHECK(metrics_check_names(&s.named) == CO_E_CONFIG);
        CHECK_HAS(error_message(), taken[i]);
    }
    CHECK(fs_remove_tree(path) == CO_OK);
}

static void test_going_on_from_an_earlier_step(void)
{
    put("{\"step\":1,\"loss\":4}\n{\"step\":2,\"loss\":3}\n{\"step\":2,\"eval_loss\":3}\n{\"step\":3,\"loss\":2}\n");
    reopen(2);
    expect("{\"step\":1,\"loss\":4}\n{\"step\":2,\"loss\":3}\n{\"step\":2,\"eval_loss\":3}\n");
    metrics *m = NULL;
    CHECK(metrics_open(root, 2, 0, &m) == CO_OK);
    CHECK(metrics_eval(m, 3, 1, 0, &none, 1, 1) == CO_OK);
    metrics_close(m);
    char *text = content();
    CHECK_HAS(text, "\"eval_loss\":3}\n{\"step\":3,\"epoch\":1,\"eval_loss\":0,"); /* appended, nothing lost */
    mem_free(text);
    reopen(0);
    expect("");
}

static void test_a_half_line(void)
{
    put("{\"step\":1,\"loss\":4}\n{\"step\":2,\"lo");
    reopen(5);
    expect("{\"step\":1,\"loss\":4}\n");
    put("{\"step\":1,\"loss\":4}\n{\"st");
    reopen(5);
    expect("{\"step\":1,\"loss\":4}\n");
    put("rubbish\n{\"step\":1}\n");
    reopen(5);
    expect("");
}

static void test_output_that_cannot_be(void)
{
    metrics *m = NULL;
    CHECK(metrics_open("/proc/nowhere", 0, 0, &m) == CO_E_IO && m == NULL);
    CHECK_HAS(error_message(), "/proc/nowhere/metrics.jsonl");
    for (int n = 1; n <= 2; n++) {
        mem_fail_after(n);
        CHECK(metrics_open(root, 0, 0, &m) == CO_E_NOMEM && m == NULL);
    }
    mem_fail_after(0);
}

int main(void)
{
    if (!mkdtemp(root)) return perror(root), 1;
    snprintf(path, sizeof path, "%s/metrics.jsonl", root);
    test_a_step_line();
    test_no_number();
    test_an_evaluation_line();
    test_named();
    test_going_on_from_an_earlier_step();
    test_a_half_line();
    test_output_that_cannot_be();
    CHECK(fs_remove_tree(root) == CO_OK);
    return check_done();
}
