/* Record formats: what each is recognised by, what its parts become, and what is said of one that does not fit. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/records/pair.h"
#include "core/data/show.h"
#include "core/base/fs.h"
#include "core/params/json.h"
#include "fake_loader.h"
#include "files.h"

static co_arena *arena;

static co_field str(const char *name, const char *text) { return (co_field){ .name = name, .data = text, .len = strlen(text) }; }
static co_field json(const char *name, const char *text)
{
    co_field f = str(name, text);
    f.type = CO_FIELD_JSON;
    return f;
}

/* "system: x|user: y / z|assistant: …" */
static const char *told(const chat_message *m, size_t n)
{
    char *out = arena_push(arena, 4096, 1);
    size_t at = 0;
    out[0] = 0;
    for (size_t i = 0; i < n && at < 4000; i++)
        at += (size_t)snprintf(out + at, 4096 - at, "%s%s: %.*s%s%.*s", i ? "|" : "", chat_role_name(m[i].role), (int)m[i].len, m[i].text,
                               m[i].input_len ? " / " : "", (int)m[i].input_len, m[i].input_len ? m[i].input : "");
    return out;
}

static int read_with(const char *columns, const co_field *f, uint32_t n, record_kind want, record *r)
{
    record_columns c;
    record_kind kind = N_RECORDS;
    CHECK(columns_parse(columns, &c) == CO_OK);
    int rc = record_recognise(&c, f, n, &kind);
    if (!rc) CHECK_MSG(kind == want, "taken for %s", record_kind_name(kind));
    if (!rc) rc = record_read(&c, kind, f, n, arena, r);
    columns_free(&c);
    return rc;
}

static void expect(const char *columns, const co_field *f, uint32_t n, record_kind kind, const char *messages)
{
    record r;
    const int rc = read_with(columns, f, n, kind, &r);
    CHECK_MSG(rc == CO_OK, "%s", error_message());
    if (!rc) CHECK_STR(told(r.messages, r.n), messages);
}

static void expect_pair(const co_field *f, uint32_t n, record_kind kind, const char *prompt, const char *chosen, const char *rejected)
{
    record r;
    const int rc = read_with(NULL, f, n, kind, &r);
    CHECK_MSG(rc == CO_OK, "%s", error_message());
    if (rc) return;
    CHECK_STR(told(r.messages, r.n), prompt);
    CHECK_STR(told(r.chosen, r.n_chosen), chosen);
    CHECK_STR(told(r.rejected, r.n_rejected), rejected);
}

static void expect_error(const co_field *f, uint32_t n, record_kind kind, const char *part)
{
    record r;
    CHECK_MSG(read_with(NULL, f, n, kind, &r) == CO_E_FORMAT, "%s", part);
    CHECK_HAS(error_message(), part);
}

static void test_conversations(void)
{
    const char messages[] = "[{\"role\":\"user\",\"content\":\"a\"},{\"content\":\"b\\n\",\"role\":\"assistant\",\"tool_calls\":[{\"x\":1}]}]";
    const char share[] = "[{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"gpt\",\"value\":\"b\"}]";
    expect(NULL, (co_field[]){ json("messages", messages), str("id", "7") }, 2, RECORD_MESSAGES, "user: a|assistant: b\n");
    expect(NULL, (co_field[]){ str("system", "s"), json("conversations", share) }, 2, RECORD_SHAREGPT, "system: s|user: a|assistant: b");
    expect(NULL, (co_field[]){ json("system", "null"), json("conversations", share) }, 2, RECORD_SHAREGPT, "user: a|assistant: b");
    expect("messages=chat", (co_field[]){ json("chat", share), str("text", "t") }, 2, RECORD_MESSAGES, "user: a|assistant: b");
    expect(NULL, (co_field[]){ str("prompt", "a"), str("completion", "b") }, 2, RECORD_COMPLETION, "user: a|assistant: b");
    expect(NULL, (co_field[]){ json("prompt", messages), json("completion", share) }, 2, RECORD_COMPLETION, "user: a|assistant: b\n|user: a|assistant: b");
    expect(NULL, (co_field[]){ str("instruction", "a"), str("input", "i"), str("output", "b"), str("system", "s") }, 4, RECORD_INSTRUCTION,
           "system: s|user: a / i|assistant: b");
}

static void test_prompts_and_texts(void)
{
    record r;
    expect(NULL, (co_field[]){ str("prompt", "a") }, 1, RECORD_PROMPTS, "user: a");
    expect(NULL, (co_field[]){ str("instruction", "a"), str("input", "i") }, 2, RECORD_PROMPTS, "user: a / i");
    expect(NULL, (co_field[]){ json("turns", "[\"a\", \"b\"]"), str("category", "x") }, 2, RECORD_PROMPTS, "user: a");
    CHECK(read_with(NULL, (co_field[]){ str("text", "t\n"), str("url", "u") }, 2, RECORD_TEXT, &r) == CO_OK);
    CHECK(r.len == 2 && memcmp(r.text, "t\n", 2) == 0);
}

static void test_pairs(void)
{
    const char prompt[] = "[{\"from\":\"human\",\"value\":\"a\"}]", c[] = "{\"from\":\"gpt\",\"value\":\"good\"}", bad[] = "{\"from\":\"gpt\",\"value\":\"bad\"}";
    const char whole_c[] = "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"good\"}]";
    const char whole_r[] = "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"bad\"}]";
    expect_pair((co_field[]){ str("prompt", "a"), str("chosen", "good"), str("rejected", "bad"), str("response", "r") }, 4, RECORD_PAIRS, "user: a", "assistant: good",
                "assistant: bad");
    expect_pair((co_field[]){ json("conversations", prompt), json("chosen", c), json("rejected", bad) }, 3, RECORD_PAIRS, "user: a", "assistant: good", "assistant: bad");
    expect_pair((co_field[]){ json("chosen", whole_c), json("rejected", whole_r) }, 2, RECORD_PAIRS, "user: a", "assistant: good", "assistant: bad");
    expect_pair((co_field[]){ str("prompt", "a"), json("chosen", whole_c), json("rejected", whole_r) }, 3, RECORD_PAIRS, "user: a", "assistant: good", "assistant: bad");
    /* hh-rlhf: split at the last turn of the assistant that both have reached alike. */
    expect_pair((co_field[]){ str("chosen", "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: good"),
                              str("rejected", "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: bad\n\nAssistant: x") }, 2, RECORD_DIALOGUES,
                "user: a|assistant: b|user: c", "assistant: good", "assistant: bad|assistant: x");
    expect_pair((co_field[]){ str("prompt", "\n\nHuman: a\n\nAssistant:"), str("chosen", " good"), str("rejected", " bad") }, 3, RECORD_PAIRS, "user: a", "assistant:  good",
                "assistant:  bad");
    expect_error((co_field[]){ str("chosen", "Human: a"), str("rejected", "b") }, 2, RECORD_DIALOGUES, "column \"chosen\": expected a dialogue");
    expect_error((co_field[]){ str("chosen", "\n\nHuman: a\n\nAssistant: b"), str("rejected", "\n\nHuman: z\n\nAssistant: b") }, 2, RECORD_DIALOGUES, "share no prompt");
    expect_error((co_field[]){ str("chosen", "\n\nHuman: a"), str("rejected", "\n\nHuman: a\n\nAssistant: b") }, 2, RECORD_DIALOGUES, "share no prompt");
}

static void test_misfits(void)
{
    expect_error((co_field[]){ json("messages", "[{\"role\":\"tool\",\"content\":\"a\"}]") }, 1, RECORD_MESSAGES, "column: messages:1:");
    expect_error((co_field[]){ json("messages", "[{\"role\":\"tool\",\"content\":\"a\"}]") }, 1, RECORD_MESSAGES, "role \"tool\" is not known");
    expect_error((co_field[]){ json("messages", "[{\"role\":\"user\"}]") }, 1, RECORD_MESSAGES, "a message without content");
    expect_error((co_field[]){ json("messages", "[{\"role\":\"user\",\"content\":[1]}]") }, 1, RECORD_MESSAGES, "content is not a string");
    expect_error((co_field[]){ json("messages", "[{\"role\":\"user\",\"content\":\"a\",\"value\":\"b\"}]") }, 1, RECORD_MESSAGES, "twice");
    expect_error((co_field[]){ json("messages", "[]") }, 1, RECORD_MESSAGES, "no message in it");
    expect_error((co_field[]){ json("messages", "[3]") }, 1, RECORD_MESSAGES, "expected a message");
    expect_error((co_field[]){ str("messages", "hello") }, 1, RECORD_MESSAGES, "expected a list of messages, found a text");
    expect_error((co_field[]){ str("system", "s"), json("messages", "[{\"role\":\"system\",\"content\":\"a\"}]") }, 2, RECORD_MESSAGES, "among the messages too");
    expect_error((co_field[]){ json("turns", "[1]") }, 1, RECORD_PROMPTS, "expected a list of strings");
    expect_error((co_field[]){ str("question", "a"), str("answer", "b") }, 2, N_RECORDS, "the record has \"question\", \"answer\"");
}

/* What a reward model is trained on: the ids of both, the shared prompt, the answers marked. */
static void test_pair_ids(void)
{
    const co_field f[] = { str("chosen", "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: good"), str("rejected", "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: gold!") };
    const char prompt[] = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:";
    data_template *t;
    record r;
    pair_ids p;
    CHECK(template_open(&(template_args){ .name = "hh", .tokenizer = &fake_tokenizer, .bos = FAKE_BOS, .eos = FAKE_EOS, .before = FAKE_BOS }, &t) == CO_OK);
    CHECK(read_with(NULL, f, 2, RECORD_DIALOGUES, &r) == CO_OK);
    CHECK_MSG(pair_encode(t, &r, 1000, arena, &p) == CO_OK, "%s", error_message());
    CHECK(p.n_prompt == strlen(prompt) + 1 && p.chosen.n == p.n_prompt + 6 && p.rejected.n == p.n_prompt + 7);
    CHECK(p.chosen.ids[0] == FAKE_BOS && p.chosen.ids[p.chosen.n - 1] == FAKE_EOS);
    for (size_t i = 0; i < p.n_prompt; i++) CHECK(p.chosen.ids[i] == p.rejected.ids[i] && !p.chosen.learn[i] && !p.rejected.learn[i]);
    for (size_t i = p.n_prompt; i < p.chosen.n; i++) CHECK(p.chosen.learn[i]); /* " good" and EOS */
    CHECK(p.chosen.n_learn == 6 && p.rejected.n_learn == 7 && p.rejected.ids[p.n_prompt + 1] == 'g' + FAKE_BYTE);
    template_close(t);
}

static int decode_byte(void *self, const int32_t *ids, size_t n, int continuation, co_arena *a, char **text, size_t *len)
{
    (void)self, (void)continuation;
    *text = arena_push(a, n + 1, 1);
    if (!*text) return CO_E_NOMEM;
    for (size_t i = 0; i < n; i++) (*text)[i] = (char)(ids[i] - FAKE_BYTE);
    *len = *ids >= FAKE_BYTE ? n : 0;
    return CO_OK;
}

static void test_show(void)
{
    co_tokenizer_vt vt = fake_tokenizer;
    const char seen[] = "a|\n\x1b\\", long_text[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\xc2";
    const chat_message m[] = { { .role = ROLE_USER, .text = seen, .len = sizeof seen - 1 }, { .role = ROLE_ASSISTANT, .text = long_text, .len = sizeof long_text - 1 } };
    data_template *t;
    chat_ids c;
    vt.decode = decode_byte;
    CHECK(template_open(&(template_args){ .name = "none", .tokenizer = &vt, .bos = FAKE_BOS, .eos = FAKE_EOS, .before = FAKE_BOS }, &t) == CO_OK);
    CHECK(template_encode(t, m, 2, 0, 1000, arena, &c) == CO_OK);
    char *text = sample_show(t, &vt, NULL, &(sample){ .ids = c.ids, .learn = c.learn, .n = (int32_t)c.n });
    CHECK_HAS(text, "  - <bos>|a|\\||\\n|\\x1b|\\\\|\n  + b|b|");
    CHECK_HAS(text, " tokens … "); /* bounded */
    CHECK_HAS(text, "\\xc2|<eos>|\n");
    mem_free(text);
    template_close(t);
}

/* A file of pairs, [{…}, …]: every record has a prompt, and two answers that go on behind the same ids. */
static void test_real_pairs(const char *path, const char *templ)
{
    char *text;
    size_t len;
    json_reader r;
    record_columns c;
    data_template *t;
    int token, n = 0;
    if (fs_read_all(path, &text, &len, 1 << 26)) {
        printf("%s is left out: %s\n", path, error_message());
        return;
    }
    CHECK(columns_parse("", &c) == CO_OK);
    CHECK(template_open(&(template_args){ .name = templ, .tokenizer = &fake_tokenizer, .bos = FAKE_BOS, .eos = FAKE_EOS, .before = FAKE_BOS }, &t) == CO_OK);
    json_init(&r, "pairs", text, len);
    CHECK(json_next(&r) == JSON_ARRAY);
    for (; (token = json_next(&r)) == JSON_OBJECT; n++) {
        co_field f[8];
        uint32_t k = 0;
        record_kind kind;
        record one;
        pair_ids p;
        arena_reset(arena);
        for (; (token = json_next(&r)) == JSON_KEY && k < 8; k++) {
            f[k] = (co_field){ .name = arena_strndup(arena, r.str, r.str_len) };
            token = json_next(&r);
            const size_t from = r.token_at;
            if (token == JSON_STRING) f[k].data = arena_strndup(arena, r.str, r.str_len), f[k].len = r.str_len;
            CHECK(json_skip(&r, token) == CO_OK);
            if (token != JSON_STRING) f[k].data = text + from, f[k].len = r.pos - from, f[k].type = CO_FIELD_JSON;
        }
        int rc = record_recognise(&c, f, k, &kind);
        if (!rc) rc = record_read(&c, kind, f, k, arena, &one);
        if (!rc) rc = pair_encode(t, &one, 1 << 20, arena, &p);
        CHECK_MSG(!rc && (kind == RECORD_PAIRS || kind == RECORD_DIALOGUES), "%s: record %d: %s", path, n + 1, rc ? error_message() : "another kind");
        if (rc) continue;
        CHECK(p.n_prompt >= 2 && p.n_prompt < p.chosen.n && p.n_prompt < p.rejected.n && p.chosen.n_learn > 0 && p.rejected.n_learn > 0);
        if (kind != RECORD_DIALOGUES) continue;
        /* Put together again, a dialogue is what it was. */
        const co_field *whole = columns_find(&c, PART_CHOSEN, f, k);
        int same = p.chosen.n == whole->len + 2;
        for (size_t i = 0; i < whole->len && same; i++) same = p.chosen.ids[i + 1] == (unsigned char)whole->data[i] + FAKE_BYTE;
        CHECK_MSG(same, "%s: record %d: another text", path, n + 1);
    }
    CHECK(n > 0);
    json_close(&r);
    template_close(t);
    columns_free(&c);
    mem_free(text);
}

/* Each allocation fails once: out of memory, and nothing kept. */
static void test_out_of_memory(void)
{
    const co_field chat[] = { str("system", "s"), json("messages", "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]") };
    const co_field pair[] = { str("chosen", "\n\nHuman: a\n\nAssistant: good"), str("rejected", "\n\nHuman: a\n\nAssistant: bad") };
    int rc = CO_E_NOMEM;
    for (int64_t n = 1; rc == CO_E_NOMEM && n < 1000; n++) {
        mem_counts before, after;
        record_columns c;
        record r;
        record_kind kind;
        pair_ids p;
        chat_ids ids;
        data_template *t = NULL;
        mem_count(&before);
        mem_fail_after(n);
        co_arena *a = arena_new(64);
        rc = a ? columns_parse("", &c) : CO_E_NOMEM;
        const int have = rc == CO_OK;
        if (rc == CO_OK) rc = template_open(&(template_args){ .name = "vicuna", .tokenizer = &fake_tokenizer, .bos = FAKE_BOS, .eos = FAKE_EOS, .before = FAKE_BOS }, &t);
        if (rc == CO_OK) rc = record_recognise(&c, chat, 2, &kind);
        if (rc == CO_OK) rc = record_read(&c, kind, chat, 2, a, &r);
        if (rc == CO_OK) rc = template_encode(t, r.messages, r.n, 0, 1000, a, &ids);
        if (rc == CO_OK) rc = record_recognise(&c, pair, 2, &kind);
        if (rc == CO_OK) rc = record_read(&c, kind, pair, 2, a, &r);
        if (rc == CO_OK) rc = pair_encode(t, &r, 1000, a, &p);
        mem_fail_after(0);
        template_close(t);
        if (have) columns_free(&c);
        if (a) arena_free(a);
        mem_count(&after);
        CHECK_MSG((rc == CO_OK || rc == CO_E_NOMEM) && after.live_bytes == before.live_bytes, "allocation %d: %d, %zu bytes kept", (int)n, rc,
                  after.live_bytes - before.live_bytes);
    }
    CHECK_MSG(rc == CO_OK, "%s", error_message());
}

int main(void)
{
    arena = arena_new(1 << 16);
    test_conversations();
    test_prompts_and_texts();
    test_pairs();
    test_misfits();
    test_pair_ids();
    test_show();
    test_out_of_memory();
    char path[4096];
    snprintf(path, sizeof path, "%s/data/preference/llamafactory_dpo_en_demo.json", shared_dir() ? shared_dir() : ".");
    test_real_pairs(path, "vicuna");
    if (getenv("COATI_PAIRS")) test_real_pairs(getenv("COATI_PAIRS"), "hh"); /* another file, as of hh-rlhf, unpacked into an array */
    arena_free(arena);
    return check_done();
}
