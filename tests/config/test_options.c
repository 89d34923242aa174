/* Option tables: each type of value, right and wrong; unknown names; what is printed can be read again. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/config/config.h"
#include <unistd.h>

typedef struct values { int32_t yes, pick; int64_t whole, size; double real; const char *text, *path; } values;
static const char *const picks[] = {"cosine", "linear", "constant", NULL};
static const co_opt table[] = {
    {"yes", CO_OPT_BOOL, offsetof(values, yes), 0, "0", 0, 0, NULL, ""},
    {"pick", CO_OPT_ENUM, offsetof(values, pick), 0, "linear", 0, 0, picks, ""},
    {"whole", CO_OPT_INT, offsetof(values, whole), 0, "5", -10, 10, NULL, ""},
    {"size", CO_OPT_BYTES, offsetof(values, size), 0, "1KiB", 0, 0, NULL, ""},
    {"real", CO_OPT_FLOAT, offsetof(values, real), 0, "0.5", 0, 1, NULL, ""},
    {"text", CO_OPT_STR, offsetof(values, text), 0, "none", 0, 0, NULL, ""},
    {"path", CO_OPT_PATH, offsetof(values, path), 0, "", 0, 0, NULL, ""},
    CO_OPT_END};

static int bind(const char *key, const char *value, values *out)
{
    config *c = config_new();
    memset(out, 0, sizeof *out);
    if (key) CHECK(config_set(c, "s", key, value) == CO_OK);
    int r = config_bind(c, "s", table, sizeof(co_opt), "test", out);
    if (r == CO_OK) r = config_finish(c);
    config_free(c);
    return r;
}

static void test_values(void)
{
    static const char *const on[] = {"1", "yes", "True", "ON"}, *const off[] = {"0", "no", "FALSE", "off"};
    static const struct { const char *text; int64_t want; } sizes[] = {
        {"0", 0}, {"1024", 1024}, {"3B", 3}, {"2KB", 2000}, {"200MB", 200000000}, {"1.5KiB", 1536}, {"15GiB", 16106127360}, {"1 TiB", 1099511627776}, {"2gib", 2147483648}};
    values v;
    CHECK(bind(NULL, NULL, &v) == CO_OK);
    CHECK(v.yes == 0 && v.pick == 1 && v.whole == 5 && v.size == 1024 && v.real == 0.5);
    for (int i = 0; i < 4; i++) {
        CHECK(bind("yes", on[i], &v) == CO_OK && v.yes == 1);
        CHECK(bind("yes", off[i], &v) == CO_OK && v.yes == 0);
    }
    CHECK(bind("whole", "-10", &v) == CO_OK && v.whole == -10);
    CHECK(bind("real", "1e-3", &v) == CO_OK && v.real == 1e-3);
    CHECK(bind("pick", "constant", &v) == CO_OK && v.pick == 2);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) CHECK_MSG(bind("size", sizes[i].text, &v) == CO_OK && v.size == sizes[i].want, "%s", sizes[i].text);
}

static void test_wrong_values(void)
{
    static const struct { const char *key, *value, *says; } cases[] = {
        {"yes", "maybe", "expected 1 or 0"}, {"yes", "", "expected 1 or 0"}, {"yes", "2", "expected 1 or 0"},
        {"whole", "", "expected a whole number"}, {"whole", "five", "expected a whole number"}, {"whole", "1.5", "expected a whole number"},
        {"whole", "7 8", "expected a whole number"}, {"whole", "99999999999999999999", "expected a whole number"},
        {"whole", "11", "out of range, -10 to 10 is allowed"}, {"whole", "-11", "out of range"}, {"whole", "0x10", "expected a whole number"},
        {"real", "", "expected a number"}, {"real", "nan", "expected a number"}, {"real", "inf", "expected a number"}, {"real", "1e999", "expected a number"},
        {"real", "0x1p3", "expected a number"}, {"real", "0,5", "expected a number"}, {"real", "1.1", "out of range, 0 to 1 is allowed"},
        {"real", "-0.1", "out of range"}, {"size", "many", "expected a size like 15GiB"}, {"size", "5 PiB", "expected a size like"},
        {"size", "-1", "expected a size like"}, {"size", "9e99", "expected a size below"},
        {"pick", "", "not one of cosine, linear, constant"}, {"pick", "cosin", "did you mean \"cosine\"?"}, {"pick", "Cosine", "did you mean \"cosine\"?"},
        {"pick", "exponential", "not one of cosine, linear, constant"},
        {"rael", "1", "[s] rael: unknown key, did you mean \"real\"?"}, {"zzzzzz", "1", "[s] zzzzzz: unknown key"}};
    values v;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_MSG(bind(cases[i].key, cases[i].value, &v) == CO_E_CONFIG, "%s = %s", cases[i].key, cases[i].value);
        CHECK_HAS(error_message(), cases[i].says);
        CHECK_HAS(error_message(), cases[i].key);
    }
}

static void test_required_and_files(void)
{
    static const co_opt needed[] = {{"name", CO_OPT_STR, 0, CO_OPT_REQUIRED, NULL, 0, 0, NULL, "what it is for"}, CO_OPT_END};
    static const co_opt exists[] = {{"file", CO_OPT_PATH, 0, CO_OPT_FILE_EXISTS, "", 0, 0, NULL, ""}, CO_OPT_END};
    const char *s;
    config *c = config_new();
    CHECK(config_bind(c, "s", needed, sizeof(co_opt), "test", &s) == CO_E_CONFIG);
    CHECK_STR(error_message(), "[s] name: required, and not set (what it is for)");
    CHECK(config_set(c, "f", "file", "nowhere/at/all") == CO_OK);
    CHECK(config_bind(c, "f", exists, sizeof(co_opt), "test", &s) == CO_E_CONFIG);
    CHECK_HAS(error_message(), "[f] file: no file or folder '");
    config_free(c);
}

static void test_unknown_sections(void)
{
    values v;
    config *c = config_new();
    CHECK(config_override(c, "schedul.pick=linear") == CO_OK);
    CHECK(config_bind(c, "schedule", table, sizeof(co_opt), "test", &v) == CO_OK);
    CHECK(config_finish(c) == CO_E_CONFIG);
    CHECK_STR(error_message(), "command line: [schedul]: unknown section, did you mean [schedule]?");
    config_free(c);
}

/* Values of every length and with what a line could misread come back as they were. */
static void test_printing(void)
{
    char path[4096], value[512];
    snprintf(path, sizeof path, "%s/tests/printed-%d.ini", COATI_BINARY_DIR, (int)getpid());
    for (int kind = 0; kind < 4; kind++)
        for (size_t n = 1; n < 420; n += n < 180 || n > 210 ? 13 : 1) {
            static const char *const units[] = {"ab ", "a #b", "a ;", ";"};
            values v;
            for (size_t i = 0; i < n; i++) value[i] = units[kind][i % strlen(units[kind])];
            if (kind == 2) memset(value, ';', n); /* what " ;" would cut off stands without the space */
            if (kind == 1 || kind == 3) for (size_t i = 40; i < n; i += 40) value[i] = ' ', value[i - 1] = 'x', value[i + 1 < n ? i + 1 : i] = 'y';
            value[n] = 0;
            while (n && value[n - 1] == ' ') value[n - 1] = '.';
            if (n > 190 && kind == 2) continue; /* no space to cut at: such a value fits no INI file */
            config *c = config_new(), *again = config_new();
            CHECK(config_set(c, "s", "text", value) == CO_OK && config_bind(c, "s", table, sizeof(co_opt), "test", &v) == CO_OK);
            char *text = config_print(c), *second = NULL;
            CHECK(text && fs_write_atomic(path, text, strlen(text)) == CO_OK);
            CHECK_MSG(config_read_file(again, path) == CO_OK, "%zu: %s", n, error_message());
            CHECK(config_bind(again, "s", table, sizeof(co_opt), "test", &v) == CO_OK);
            CHECK_STR(v.text, value);
            second = config_print(again);
            CHECK_STR(second, text);
            mem_free(second);
            mem_free(text);
            config_free(again);
            config_free(c);
        }
    unlink(path);
}

static void test_suggestions(void)
{
    static const char *const names[] = {"lr", "betas", "weight_decay", "max_grad_norm"};
    static const struct { const char *word, *want; } cases[] = {
        {"lrr", "lr"}, {"l", "lr"}, {"beta", "betas"}, {"wieght_decay", "weight_decay"}, {"weight-decay", "weight_decay"}, {"maxgradnorm", "max_grad_norm"},
        {"learning_rate", NULL}, {"xyz", NULL}, {"", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = suggest_nearest(cases[i].word, names, 4);
        CHECK_STR(got ? got : "-", cases[i].want ? cases[i].want : "-");
    }
}

int main(void)
{
    test_values();
    test_wrong_values();
    test_required_and_files();
    test_unknown_sections();
    test_printing();
    test_suggestions();
    return check_done();
}
