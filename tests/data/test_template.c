/* Templates and columns: the texts, files of one's own, and what a record can lack. */
#include "check.h"
#include "files.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/template.h"

static co_arena *arena;

static co_field str(const char *name, const char *text) { return (co_field){ .name = name, .data = text, .len = strlen(text) }; }
static co_field json(const char *name, const char *text)
{
    co_field f = str(name, text);
    f.type = CO_FIELD_JSON;
    return f;
}

static void expect(const char *name, const char *columns, const co_field *f, uint32_t n, const char *prompt, const char *answer)
{
    data_template *t;
    template_text out;
    int rc = template_open(name, columns, &t);
    CHECK_MSG(rc == CO_OK, "%s", error_message());
    if (rc) return;
    rc = template_render(t, f, n, arena, &out);
    CHECK_MSG(rc == CO_OK, "%s", error_message());
    if (!rc) {
        CHECK_STR(out.prompt, prompt);
        CHECK_STR(out.answer, answer);
        CHECK(out.prompt_len == strlen(prompt) && out.answer_len == strlen(answer));
    }
    template_close(t);
}

static void expect_record_error(const char *columns, const co_field *f, uint32_t n, const char *part)
{
    data_template *t;
    template_text out;
    CHECK(template_open("alpaca", columns, &t) == CO_OK);
    CHECK(template_render(t, f, n, arena, &out) == CO_E_FORMAT);
    CHECK_HAS(error_message(), part);
    template_close(t);
}

static void expect_refused(const char *name, const char *columns, const char *part)
{
    data_template *t = NULL;
    CHECK_MSG(template_open(name, columns, &t) == CO_E_CONFIG && !t, "%s", part);
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
    data_template *t;
    template_text out;
    expect("alpaca", NULL, f, 2, plain, "3");
    expect("alpaca", "", f, 3, plain, "3");
    f[2] = json("input", "null");
    expect(NULL, NULL, f, 3, plain, "3");
    f[2] = str("input", "1 2");
    expect("alpaca", NULL, f, 3, with_input, "3");
    CHECK(template_open("alpaca", NULL, &t) == CO_OK);
    CHECK(template_prompt(t, "Add {input}.", "1 2", arena, &out) == CO_OK);
    CHECK_STR(out.prompt, with_input);
    CHECK(template_prompt(t, "Add {input}.", NULL, arena, &out) == CO_OK);
    CHECK_STR(out.prompt, plain);
    template_close(t);
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
    expect_refused(temp_file("t.txt", bad, sizeof bad - 1), NULL, "t.txt:2: unknown placeholder \"{answer}\"");
    expect_refused(temp_file("t.txt", twice, sizeof twice - 1), NULL, "t.txt:2: {output} stands there twice");
    expect_refused(temp_file("t.txt", behind, sizeof behind - 1), NULL, "{input} stands behind {output}");
    expect_refused(temp_file("t.txt", none, sizeof none - 1), NULL, "no {output}");
    expect_refused("no/such/template", NULL, "template is neither \"alpaca\" nor \"none\" nor a file");
}

static void test_columns(void)
{
    co_field f[] = { str("text", "a"), str("answer", "c"), json("list", "[1]"), json("nothing", "null") };
    expect_record_error(NULL, f, 2, "no column \"instruction\"; the record has \"text\", \"answer\" (");
    expect_record_error("instruction=text,output=result", f, 2, "no column \"result\"");
    expect_record_error("instruction=text,output=list", f, 4, "column \"list\": expected a string, found an array");
    expect_record_error("instruction=text,output=nothing", f, 4, "column \"nothing\": expected a string, found null");
    expect_record_error(NULL, f, 0, "the record has none");
    expect_refused("alpaca", "instruction=text,outptu=answer", "unknown part \"outptu\", expected instruction");
    expect_refused("alpaca", "instruction", "expected part=column, found \"instruction\"");
    expect_refused("alpaca", "instruction=", "no column behind \"instruction=\"");
    expect_refused("alpaca", "output=a,output=b", "output is given twice");
    expect_refused("alpaca", "output=answer", "needs instruction=");
    expect_refused("alpaca", "instruction=text", "no output=");
}

int main(void)
{
    arena = arena_new(1 << 16);
    test_alpaca();
    test_none();
    test_file();
    test_columns();
    temp_clean();
    arena_free(arena);
    return check_done();
}
