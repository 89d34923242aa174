/* Templates and columns: the texts, files of one's own, and what a record can lack. */
#include "check.h"
#include "files.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/records/record.h"
#include "core/data/template.h"

static co_arena *arena;

static co_field str(const char *name, const char *text) { return (co_field){ .name = name, .data = text, .len = strlen(text) }; }
static co_field json(const char *name, const char *text)
{
    co_field f = str(name, text);
    f.type = CO_FIELD_JSON;
    return f;
}

enum { BOS = 1, EOS = 2 };

/* The marks of BOS and EOS as "^" and "$" in the text. */
static const char *marked(const chat_text *c)
{
    char *out = arena_push(arena, c->len + c->n_marks + 1, 1), *o = out;
    size_t m = 0;
    for (size_t i = 0; i <= c->len; i++) {
        while (m < c->n_marks && c->marks[m].at == i) *o++ = c->marks[m++].id == BOS ? '^' : '$';
        if (i < c->len) *o++ = c->text[i];
    }
    *o = 0;
    return out;
}

static int open_named(const char *name, data_template **t)
{
    return template_open(&(template_args){ .name = name, .bos = BOS, .eos = EOS, .before = BOS }, t);
}

/* An instruction record through a template: the whole text, and what of it is learnt. */
static void expect(const char *name, const char *columns, const co_field *f, uint32_t n, const char *prompt, const char *answer)
{
    data_template *t = NULL;
    record_columns c;
    record_kind kind = N_RECORDS;
    record r;
    chat_text out;
    int rc = open_named(name, &t);
    CHECK_MSG(rc == CO_OK, "%s", error_message());
    if (rc) return;
    CHECK(columns_parse(columns, &c) == CO_OK);
    CHECK(record_recognise(&c, f, n, &kind) == CO_OK && kind == RECORD_INSTRUCTION);
    rc = record_read(&c, kind, f, n, arena, &r);
    if (!rc) rc = template_render(t, r.messages, r.n, 0, arena, &out);
    CHECK_MSG(rc == CO_OK, "%s", error_message());
    if (!rc) {
        const char *whole = marked(&out);
        CHECK_STR(whole, arena_printf(arena, "^%s%s$", prompt, answer));
        CHECK(out.n_spans == 1 && out.spans[0].from.at == strlen(prompt) && out.spans[0].to.at == out.len && out.spans[0].to.marks == 2);
        CHECK(out.n_cuts == 1 && out.cuts[0].at == strlen(prompt)); /* prompt and answer are encoded apart */
    }
    columns_free(&c);
    template_close(t);
}

static void expect_record_error(const char *columns, const co_field *f, uint32_t n, const char *part)
{
    record_columns c;
    record_kind kind;
    record r;
    CHECK(columns_parse(columns, &c) == CO_OK);
    int rc = record_recognise(&c, f, n, &kind);
    if (!rc) rc = record_read(&c, RECORD_INSTRUCTION, f, n, arena, &r);
    CHECK(rc == CO_E_FORMAT);
    CHECK_HAS(error_message(), part);
    columns_free(&c);
}

static void expect_refused(const char *name, const char *part)
{
    data_template *t = NULL;
    CHECK_MSG(open_named(name, &t) == CO_E_CONFIG && !t, "%s", part);
    CHECK_HAS(error_message(), part);
    template_close(t);
}

static void expect_bad_columns(const char *columns, const char *part)
{
    record_columns c;
    CHECK_MSG(columns_parse(columns, &c) == CO_E_CONFIG, "%s", part);
    CHECK_HAS(error_message(), part);
}

static void test_alpaca(void)
{
    const char plain[] =
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd {input}.\n\n### Response:";
    const char with_input[] =
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\nAdd {input}.\n\n### Input:\n1 2\n\n"
        "### Response:";
    co_field f[] = { str("instruction", "Add {input}."), str("output", "3"), str("input", "") };
    expect("alpaca", NULL, f, 2, plain, "3");
    expect("alpaca", "", f, 3, plain, "3");
    f[2] = json("input", "null");
    expect(NULL, NULL, f, 3, plain, "3");
    f[2] = str("input", "1 2");
    expect("alpaca", NULL, f, 3, with_input, "3");
}

static void test_none(void)
{
    co_field f[] = { str("instruction", "a"), str("input", "b"), str("output", "c"), json("n", "12") };
    expect("none", NULL, f, 3, "ab", "c");
    expect("none", "output=output", f, 3, "", "c");
    expect("none", " instruction = output , output = n ", f, 4, "c", "12");
}

static void test_file(void)
{
    const char text[] = "Q: {instruction} {{x} {a b}\nI: {input}\nA: {output} END\r\n";
    const char bad[] = "one\n{answer}{output}", twice[] = "{output}\n{output}", behind[] = "{output}{input}", none[] = "{input}\n";
    co_field f[] = { str("instruction", "a"), str("output", "c") };
    expect(temp_file("t.txt", text, sizeof text - 1), NULL, f, 2, "Q: a {x} {a b}\nI: \nA: ", "c END");
    expect_refused(temp_file("t.txt", bad, sizeof bad - 1), "t.txt:2: unknown placeholder \"{answer}\"");
    expect_refused(temp_file("t.txt", twice, sizeof twice - 1), "t.txt:2: {output} stands there twice");
    expect_refused(temp_file("t.txt", behind, sizeof behind - 1), "{input} stands behind {output}");
    expect_refused(temp_file("t.txt", none, sizeof none - 1), "no {output}");
    expect_refused("no/such/template", "is neither of alpaca, vicuna, llama2");
}

static void test_columns(void)
{
    co_field f[] = { str("text", "a"), str("answer", "c"), json("list", "[1]"), json("nothing", "null") };
    expect_record_error(NULL, f, 2, "no column \"instruction\"; the record has \"text\", \"answer\" (");
    expect_record_error(NULL, f + 1, 1, "no format that is known has these columns: the record has \"answer\"");
    expect_record_error("instruction=text,output=result", f, 2, "no column \"result\"");
    expect_record_error("instruction=text,output=list", f, 4, "column \"list\": expected a string, found an array");
    expect_record_error("instruction=text,output=nothing", f, 4, "column \"nothing\": expected a string, found null");
    expect_record_error(NULL, f, 0, "the record has none");
    expect_bad_columns("instruction=text,outptu=answer", "unknown part \"outptu\", expected one of instruction");
    expect_bad_columns("instruction", "expected part=column, found \"instruction\"");
    expect_bad_columns("instruction=", "no column behind \"instruction=\"");
    expect_bad_columns("output=a,output=b", "output is given twice");
}

static const chat_message turns[] = {
    { .role = ROLE_SYSTEM, .text = " S ", .len = 3 }, { .role = ROLE_USER, .text = "a", .len = 1 }, { .role = ROLE_ASSISTANT, .text = " b\n", .len = 3 },
    { .role = ROLE_USER, .text = " c ", .len = 3 },   { .role = ROLE_ASSISTANT, .text = "", .len = 0 } };

/* Conversation `m` and what of it is learnt, in brackets. */
static void expect_chat(const char *name, const chat_message *m, size_t n, int prompt, const char *want)
{
    data_template *t = NULL;
    chat_text out;
    CHECK_MSG(open_named(name, &t) == CO_OK, "%s", error_message());
    if (!t) return;
    const int rc = template_render(t, m, n, prompt, arena, &out);
    CHECK_MSG(rc == CO_OK, "%s: %s", name, error_message());
    if (!rc) {
        char *text = arena_push(arena, out.len + out.n_marks + 2 * out.n_spans + 1, 1), *o = text;
        size_t k = 0, s = 0;
        for (size_t i = 0; i <= out.len; i++) {
            for (;;) { /* spans and marks at this byte, in their order */
                if (s < 2 * out.n_spans) {
                    const text_place p = s % 2 ? out.spans[s / 2].to : out.spans[s / 2].from;
                    if (p.at == i && p.marks == k) {
                        *o++ = s++ % 2 ? '>' : '<';
                        continue;
                    }
                }
                if (k == out.n_marks || out.marks[k].at != i) break;
                *o++ = out.marks[k++].id == BOS ? '^' : '$';
            }
            if (i < out.len) *o++ = out.text[i];
        }
        *o = 0;
        CHECK_STR(text, want);
    }
    template_close(t);
}

static void test_chats(void)
{
    expect_chat("llama2", turns, 5, 0, "^[INST] <<SYS>>\n S \n<</SYS>>\n\na [/INST]< b $>^[INST] c [/INST]<  $>");
    expect_chat("llama2", turns + 1, 3, 1, "^[INST] a [/INST]< b $>^[INST] c [/INST]");
    expect_chat("zephyr", turns, 3, 0, "<|system|>\n S $\n<|user|>\na$\n<|assistant|>\n< b\n$>\n");
    expect_chat("zephyr", turns, 2, 1, "<|system|>\n S $\n<|user|>\na$\n<|assistant|>\n");
    expect_chat("vicuna", turns, 4, 1, "^ S  USER: a ASSISTANT:<  b\n$>USER:  c  ASSISTANT:");
    expect_chat("hh", turns + 1, 4, 0, "^\n\nHuman: a\n\nAssistant:<  b\n>\n\nHuman:  c \n\nAssistant:< $>"); /* EOS once, at the end */
    expect_chat("mistral", turns + 1, 2, 0, "^[INST] a [/INST]< b\n$>");
    expect_chat("alpaca", turns, 3, 0, "^ S \n\n### Instruction:\na\n\n### Response:< b\n$>");
    expect_chat("none", turns + 1, 4, 0, "^a< b\n$> c <$>");
}

static void test_chat_refusals(void)
{
    const chat_message twice[] = { turns[1], turns[1] };
    chat_text out;
    data_template *t;
    CHECK(open_named("llama2", &t) == CO_OK);
    CHECK(template_render(t, twice, 2, 1, arena, &out) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "message 2 is the user's");
    CHECK(template_render(t, turns, 3, 1, arena, &out) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "nothing to answer");
    template_close(t);
    CHECK(open_named("hh", &t) == CO_OK);
    CHECK(template_render(t, turns, 3, 0, arena, &out) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "no place for a system message");
    template_close(t);
    /* Without a tokenizer that has them, tokens are missing. */
    expect_refused("chatml", "needs the special token \"<|im_start|>\"");
    expect_refused("llama3", "needs the special token \"<|start_header_id|>\"");
}

static void test_chat_file(void)
{
    const char text[] = "; mine\n[options]\nsystem = Be\\sbrief.\nstop = \\nQ:\n[begin]\n{before}\n[system]\n{content|trim}\n\n[user]\nQ: {content}\n"
                        "[assistant]\nA:{learn} {content|ltrim}{eos}{/learn}\\n\n";
    const char no_user[] = "[assistant]\n{content}", unknown[] = "[user]\n{content}\n[assistant]\n{contents}", early[] = "x\n[assistant]\n{content}",
               none[] = "[user]\nQ\n[assistant]\n{content}", option[] = "[options]\nstopp = x\n[assistant]\n{content}",
               learn[] = "[user]\n{content}\n[assistant]\n{content}{learn}", place[] = "[user]\n{content}{learn}\n[assistant]\n{content}",
               homeless[] = "[options]\nsystem = x\n[user]\n{content}\n[assistant]\n{content}", again[] = "[user]\n{content}\n[user]\n{content}\n[assistant]\n{content}";
    data_template *t;
    expect_chat(temp_file("c.txt", text, sizeof text - 1), turns + 1, 3, 1, "^Be brief.\nQ: aA:< b\n$>\nQ:  c A:");
    CHECK(open_named(temp_file("c.txt", text, sizeof text - 1), &t) == CO_OK);
    CHECK_STR(template_stop_texts(t)[0], "\nQ:");
    CHECK(!template_stop_texts(t)[1] && template_stop_id(t) == EOS);
    template_close(t);
    expect_refused(temp_file("c.txt", no_user, sizeof no_user - 1), "no [user]");
    expect_refused(temp_file("c.txt", unknown, sizeof unknown - 1), "c.txt:4: unknown placeholder \"{contents}\"");
    expect_refused(temp_file("c.txt", early, sizeof early - 1), "c.txt:1: text before the first header");
    expect_refused(temp_file("c.txt", none, sizeof none - 1), "[user] needs one {content}, it has 0");
    expect_refused(temp_file("c.txt", option, sizeof option - 1), "c.txt:2: \"stopp\": unknown");
    expect_refused(temp_file("c.txt", learn, sizeof learn - 1), "needs {learn} before {content}");
    expect_refused(temp_file("c.txt", place, sizeof place - 1), "{learn} cannot stand in [user]");
    expect_refused(temp_file("c.txt", homeless, sizeof homeless - 1), "neither [system] nor [first user]");
    expect_refused(temp_file("c.txt", again, sizeof again - 1), "c.txt:3: [user] stands there twice");
}

int main(void)
{
    arena = arena_new(1 << 16);
    test_alpaca();
    test_none();
    test_file();
    test_columns();
    test_chats();
    test_chat_refusals();
    test_chat_file();
    temp_clean();
    arena_free(arena);
    return check_done();
}
