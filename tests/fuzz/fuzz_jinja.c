/* fuzz_jinja.c: any bytes as a chat template and as a template file.
 *
 * Holds for every input: a known code, with a message; what is parsed runs within its bounds, twice alike; a template file that is
 * accepted renders a conversation, its marks and spans in order and inside the text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fuzz.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/templates/jinja/jinja.h"

static const chat_message talk[] = {{.role = ROLE_SYSTEM, .text = " s", .len = 2}, {.role = ROLE_USER, .text = "a\n", .len = 2, .input = "i", .input_len = 1},
                                    {.role = ROLE_ASSISTANT, .text = "b", .len = 1}, {.role = ROLE_USER, .text = "", .len = 0}};

static void run_jinja(const char *text, size_t size, co_arena *a)
{
    const jinja *j;
    const char *out[2] = {NULL, NULL};
    size_t len[2];
    int rc = jinja_parse(text, size, a, &j), again;
    HOLDS(rc == CO_OK || ((rc == CO_E_FORMAT || rc == CO_E_UNSUPPORTED) && *error_message()));
    if (rc) return;
    const jinja_input in = {.messages = talk, .n = 4, .add_generation_prompt = 1, .bos_token = "<s>", .eos_token = "</s>"};
    rc = jinja_run(j, &in, a, &out[0], &len[0]);
    HOLDS(rc == CO_OK || ((rc == CO_END || rc == CO_E_UNSUPPORTED) && *error_message()));
    again = jinja_run(j, &in, a, &out[1], &len[1]);
    HOLDS(rc == again && (rc || (len[0] == len[1] && memcmp(out[0], out[1], len[0]) == 0 && out[0][len[0]] == 0)));
}

static void run_format(const char *text, size_t size, co_arena *a)
{
    static const render_tokens tokens = {.bos = 1, .eos = 2, .before = 1, .bos_text = "<s>", .eos_text = "", .before_text = ""};
    chat_format f;
    chat_text t;
    int rc = format_parse("fuzz", text, size, &f);
    HOLDS(rc == CO_OK || (rc == CO_E_CONFIG && *error_message()));
    if (rc) return;
    for (size_t n = 0; n <= 4; n++)
        for (int prompt = 0; prompt < 2; prompt++) {
            rc = chat_render(&f, &tokens, talk, n, prompt, a, &t);
            HOLDS(rc == CO_OK || rc == CO_E_FORMAT);
            if (rc) continue;
            HOLDS(t.text[t.len] == 0);
            for (size_t i = 0, at = 0; i < t.n_marks; at = t.marks[i].at + t.marks[i].len, i++) HOLDS(t.marks[i].at >= at && t.marks[i].at + t.marks[i].len <= t.len);
            for (size_t i = 0; i < t.n_spans; i++) HOLDS(t.spans[i].from.at <= t.spans[i].to.at && t.spans[i].to.at <= t.len && t.spans[i].to.marks <= t.n_marks);
        }
    format_free(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    co_arena *a = arena_new(1 << 14);
    HOLDS(a != NULL);
    run_jinja((const char *)data, size, a);
    run_format((const char *)data, size, a);
    arena_free(a);
    return 0;
}
