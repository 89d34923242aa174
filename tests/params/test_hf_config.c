/* config.json: typed look-ups, and what is refused. */
#include "check.h"
#include "core/base/error.h"
#include "core/params/hf_config.h"

static hf_config *parse(const char *text)
{
    hf_config *c = NULL;
    return hf_config_parse(text, strlen(text), "config.json", &c) == CO_OK ? c : NULL;
}

static void test_values(void)
{
    hf_config *c = parse("{\"model_type\":\"llama\",\"n\":32000,\"eps\":1e-05,\"yes\":true,\"no\":null,"
                         "\"rope_scaling\":{\"factor\":8.0,\"type\":\"llama3\"},\"big\":9007199254740992,"
                         "\"list\":[\"full\",null,{\"n\":7}]}");
    CHECK(c != NULL);
    if (!c) return;
    const co_meta *m = hf_config_meta(c);
    int64_t i;
    double f;
    const char *s;
    CHECK_STR(hf_config_model_type(c), "llama");
    CHECK(m->i64(m, "n", &i) == CO_OK && i == 32000);
    CHECK(m->f64(m, "eps", &f) == CO_OK && f == 1e-05);
    CHECK(m->f64(m, "n", &f) == CO_OK && f == 32000);
    CHECK(m->i64(m, "yes", &i) == CO_OK && i == 1);
    CHECK(m->i64(m, "rope_scaling.factor", &i) == CO_OK && i == 8);
    CHECK(m->str(m, "rope_scaling.type", &s) == CO_OK && strcmp(s, "llama3") == 0);
    CHECK(m->i64(m, "big", &i) == CO_OK && i == 9007199254740992);
    CHECK(m->i64(m, "no", &i) == CO_E_INVALID);
    CHECK(m->i64(m, "absent", &i) == CO_E_INVALID);
    CHECK_HAS(error_message(), "\"absent\" is missing");
    CHECK(m->i64(m, "rope_scaling.absent", &i) == CO_E_INVALID);
    CHECK(m->i64(m, "n.factor", &i) == CO_E_INVALID);
    CHECK(m->i64(m, "eps", &i) == CO_E_FORMAT);
    CHECK(m->i64(m, "model_type", &i) == CO_E_FORMAT);
    CHECK(m->str(m, "n", &s) == CO_E_FORMAT);
    CHECK(m->str(m, "list.0", &s) == CO_OK && strcmp(s, "full") == 0);
    CHECK(m->i64(m, "list.2.n", &i) == CO_OK && i == 7);
    CHECK(m->str(m, "list.1", &s) == CO_E_INVALID && m->str(m, "list.3", &s) == CO_E_INVALID && m->str(m, "list.0x", &s) == CO_E_INVALID);
    CHECK(m->has(m, "list.1") && m->has(m, "no") && m->has(m, "rope_scaling.type") && !m->has(m, "list.3") &&
          !m->has(m, "absent") && !m->has(m, "list.-1"));
    hf_config_close(c);
}

static void test_bounds(void)
{
    hf_config *c = parse("{\"a\":9007199254740994,\"b\":1e400,\"c\":0.5}");
    CHECK(c != NULL);
    if (!c) return;
    const co_meta *m = hf_config_meta(c);
    int64_t i;
    double f;
    CHECK(m->i64(m, "a", &i) == CO_E_FORMAT);
    CHECK(m->f64(m, "b", &f) == CO_E_FORMAT);
    CHECK(m->i64(m, "c", &i) == CO_E_FORMAT);
    CHECK_STR(hf_config_model_type(c), "");
    hf_config_close(c);
}

static void test_refused(void)
{
    static const struct { const char *text, *says; } cases[] = {
        {"{\"a\":1}x", "config.json:1:8"},
        {"{\"a\":1,\n\"a\":2}", "\"a\" is given twice"},
        {"{\"r\":[{\"b\":1,\"b\":1}]}", "\"b\" is given twice"},
        {"[1]", "a JSON object is expected"},
        {"", "ends in the middle"},
        {"{\"a\":NaN}", "config.json:1:6"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        hf_config *c = NULL;
        CHECK(hf_config_parse(cases[i].text, strlen(cases[i].text), "config.json", &c) == CO_E_FORMAT);
        CHECK_HAS(error_message(), cases[i].says);
        CHECK(c == NULL);
    }
}

static void test_missing(void)
{
    hf_config *c = NULL;
    CHECK(hf_config_open("/nowhere/at/all", &c) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "/nowhere/at/all/config.json");
}

int main(void)
{
    test_values();
    test_bounds();
    test_refused();
    test_missing();
    return check_done();
}
