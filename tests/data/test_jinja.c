/* The small Jinja against the real one: pieces of the language, the chat templates that models publish, and what is refused. */
#include "golden_chat.h"
#include "core/data/templates/jinja/jinja.h"
#include "core/data/templates/match.h"
#include "files.h"

static void piece(const golden_chat *g, int row, co_arena *a)
{
    const jinja *j;
    const char *text = NULL;
    size_t len = 0;
    int rc = jinja_parse(g->name, strlen(g->name), a, &j);
    const jinja_input in = {.messages = g->m, .n = g->n, .add_generation_prompt = (int)g->prompt, .bos_token = g->bos, .eos_token = g->eos};
    if (rc == CO_OK) rc = jinja_run(j, &in, a, &text, &len);
    CHECK_MSG(rc == (g->raised ? CO_END : CO_OK), "row %d: %s: %s", row, g->name, error_message());
    if (g->raised) CHECK_HAS(error_message(), g->text);
    else if (rc == CO_OK) CHECK_MSG(len == g->text_len && memcmp(text, g->text, len) == 0, "row %d: %s: \"%s\", want \"%s\"", row, g->name, text, g->text);
}

static void known(const golden_chat *g, int row, co_arena *a)
{
    chat_format f;
    char *what = NULL;
    (void)a;
    const int rc = chat_match(g->name, strlen(g->name), *g->bos ? g->bos : NULL, g->eos, &f, &what);
    if (!*g->tokenizer || *g->tokenizer == '?') {
        CHECK_MSG(rc == CO_E_CONFIG, "row %d: taken for %s", row, what ? what : "?");
        CHECK_HAS(error_message(), "name a template instead");
        CHECK_HAS(error_message(), *g->tokenizer ? g->tokenizer + 1 : "none of the known");
    } else {
        CHECK_MSG(rc == CO_OK, "row %d: %s", row, error_message());
        if (rc == CO_OK) CHECK_STR(what, g->tokenizer);
    }
    if (rc == CO_OK) format_free(&f);
    mem_free(what);
}

static void refused(const char *text, int code, const char *part)
{
    co_arena *a = arena_new(1 << 16);
    const jinja *j;
    const char *out;
    size_t len;
    const chat_message m[] = {{.role = ROLE_USER, .text = "x", .len = 1}};
    int rc = jinja_parse(text, strlen(text), a, &j);
    if (rc == CO_OK) rc = jinja_run(j, &(jinja_input){.messages = m, .n = 1, .bos_token = "<s>"}, a, &out, &len);
    CHECK_MSG(rc == code, "%s: %d", text, rc);
    if (rc) CHECK_HAS(error_message(), part);
    arena_free(a);
}

static void test_refusals(void)
{
    refused("a\n{% macro f() %}{% endmacro %}", CO_E_UNSUPPORTED, "line 2: {% macro %} is not known here");
    refused("{% call x %}", CO_E_UNSUPPORTED, "{% call %}");
    refused("{{ messages | tojson }}", CO_E_UNSUPPORTED, "the filter \"tojson\" of a list");
    refused("{{ strftime_now('%d') }}", CO_E_UNSUPPORTED, "the function \"strftime_now\"");
    refused("{{ 'a'.zfill(3) }}", CO_E_UNSUPPORTED, "the method \"zfill\" of a string");
    refused("{{ 1 is divisibleby(3) }}", CO_E_UNSUPPORTED, "tests with arguments");
    refused("{{ 1.5 }}", CO_E_UNSUPPORTED, "whole ones");
    refused("{{ nothing.x }}", CO_E_UNSUPPORTED, "\"nothing\" is not defined here");
    refused("{{ 'a' + 1 }}", CO_E_UNSUPPORTED, "arithmetic of a number");
    refused("{{ 1 // 0 }}", CO_E_UNSUPPORTED, "division by zero");
    refused("{% if true %}a", CO_E_FORMAT, "ends before {% elif %}");
    refused("{{ 'a }}", CO_E_FORMAT, "is not closed");
    refused("{{ a", CO_E_FORMAT, "is not closed");
    refused("{% for i in range(10000000) %}{% for j in range(10000000) %}{% endfor %}{% endfor %}", CO_E_UNSUPPORTED, "runs on and on");
    refused("{{ ((((((((((((((((((((((((((((((((((((((((((((((((((1)))))))))))))))))))))))))))))))))))))))))))))))))) }}", CO_E_UNSUPPORTED, "nested deeper");
    refused("{{ messages }}", CO_E_UNSUPPORTED, "a list as text");
}

static void test_dirs(void)
{
    static const char chatml[] = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    char dir[4096], *what = NULL, *slash;
    chat_format f;
    snprintf(dir, sizeof dir, "%s", temp_file("tokenizer_config.json", "{}", 2));
    slash = strrchr(dir, '/');
    CHECK(slash != NULL);
    if (!slash) return;
    *slash = 0;
    CHECK(chat_match_dir(dir, &f, &what) == CO_E_CONFIG);
    CHECK_HAS(error_message(), "no chat template in");
    const char list[] = "{\"eos_token\": {\"content\": \"</s>\"}, \"chat_template\": [{\"name\": \"tool_use\", \"template\": \"{{ 1 }}\"}, "
                        "{\"name\": \"default\", \"template\": \"{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
                        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}\"}]}";
    temp_file("tokenizer_config.json", list, sizeof list - 1);
    CHECK_MSG(chat_match_dir(dir, &f, &what) == CO_OK, "%s", error_message());
    if (what) CHECK_STR(what, "chatml");
    format_free(&f);
    mem_free(what);
    const char others[] = "{\"chat_template\": [{\"name\": \"rag\", \"template\": \"x\"}]}", broken[] = "{\"chat_template\": 3}";
    temp_file("tokenizer_config.json", others, sizeof others - 1);
    CHECK(chat_match_dir(dir, &f, &what) == CO_E_CONFIG);
    CHECK_HAS(error_message(), "none called default");
    temp_file("chat_template.jinja", chatml, sizeof chatml - 1); /* goes before the configuration's */
    what = NULL;
    CHECK_MSG(chat_match_dir(dir, &f, &what) == CO_OK, "%s", error_message());
    if (what) CHECK_STR(what, "chatml");
    format_free(&f);
    mem_free(what);
    snprintf(dir + strlen(dir), sizeof dir - strlen(dir), "/chat_template.jinja");
    remove(dir);
    *slash = 0;
    temp_file("tokenizer_config.json", broken, sizeof broken - 1);
    CHECK(chat_match_dir(dir, &f, &what) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "tokenizer_config.json:1:");
}

/* Each allocation fails once: out of memory, and nothing kept. */
static void test_out_of_memory(void)
{
    static const char text[] = "{% set ns = namespace(n=0) %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.n = 1 %}{% endif %}{{ '<|im_start|>' + m.role + '\n' + m.content }}<|im_end|>\n"
                               "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    int rc = CO_E_NOMEM;
    for (int64_t n = 1; rc == CO_E_NOMEM && n < 100000; n += n < 200 ? 1 : 17) {
        mem_counts before, after;
        chat_format f;
        char *what = NULL;
        mem_count(&before);
        mem_fail_after(n);
        rc = chat_match(text, sizeof text - 1, "<s>", "</s>", &f, &what);
        mem_fail_after(0);
        if (rc == CO_OK) format_free(&f), mem_free(what);
        mem_count(&after);
        CHECK_MSG((rc == CO_OK || rc == CO_E_NOMEM) && after.live_bytes == before.live_bytes, "allocation %d: %d, %zu bytes kept", (int)n, rc,
                  after.live_bytes - before.live_bytes);
    }
    CHECK_MSG(rc == CO_OK, "%s", error_message());
}

int main(void)
{
    CHECK(golden_chats("jinja.jsonl", piece) > 80);
    CHECK(golden_chats("known.jsonl", known) > 10);
    test_refusals();
    test_dirs();
    test_out_of_memory();
    /* The real LLaMA 3 of the shared data. */
    const char *shared = shared_dir();
    char path[4096];
    snprintf(path, sizeof path, "%s/data/tokenizers/llama3", shared ? shared : "");
    if (shared && fs_is_dir(path)) {
        chat_format f;
        char *what = NULL;
        CHECK_MSG(chat_match_dir(path, &f, &what) == CO_OK, "%s", error_message());
        if (what) CHECK_STR(what, "llama3");
        format_free(&f);
        mem_free(what);
    }
    temp_clean();
    return check_done();
}
