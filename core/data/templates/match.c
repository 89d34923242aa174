#include "core/data/templates/match.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/templates/jinja/jinja.h"
#include "core/data/templates/white.h"
#include <stdio.h>
#include <string.h>

#define SYSTEM(t) {.role = ROLE_SYSTEM, .text = t, .len = sizeof t - 1}
#define USER(t) {.role = ROLE_USER, .text = t, .len = sizeof t - 1}
#define ASSISTANT(t) {.role = ROLE_ASSISTANT, .text = t, .len = sizeof t - 1}
enum { MAX_PROBE = 7, MAX_SYSTEM = 1 << 16 };

typedef struct probe { int prompt; size_t n; chat_message m[MAX_PROBE]; } probe;
static const probe probes[] = {
    {1, 1, {USER("Why is the sky blue?")}},
    {1, 2, {SYSTEM("Be brief."), USER("Why?")}},
    {0, 2, {USER("Hello"), ASSISTANT("Hi! How can I help?")}},
    {1, 3, {USER(" one\n"), ASSISTANT("\ntwo  "), USER("\t three ")}},
    {1, 6, {SYSTEM(" Speak\n\nplainly. "), USER("a"), ASSISTANT("b"), USER("c\n\nd"), ASSISTANT("  e"), USER("f ")}},
    {0, 5, {SYSTEM("\xE4\xBD\xA0\xE5\xA5\xBD"), USER("\xE3\x80\x80wide\xC2\xA0"), ASSISTANT("\xF0\x9F\x98\x80"), USER("assistant: {{ x }}"), ASSISTANT("end\n")}},
    {1, 7, {USER("1"), ASSISTANT("2"), USER("3"), ASSISTANT("4"), USER("5"), ASSISTANT("6"), USER("7")}},
    {1, 1, {USER("")}}};
enum { N_PROBES = sizeof probes / sizeof *probes };

typedef struct given { const char *text; size_t len; int refused; } given; /* what a template makes of a probe */

typedef struct matcher {
    const char *bos, *eos; /* "" if there is none */
    given of[N_PROBES];
    co_arena *a;
} matcher;

static int ours(const matcher *m, const chat_format *f, const chat_message *messages, size_t n, int prompt, given *out)
{
    const render_tokens t = {.bos = *m->bos ? 0 : -1, .before = *m->bos ? 0 : -1, .eos = *m->eos ? 1 : -1, .bos_text = m->bos, .before_text = m->bos, .eos_text = m->eos};
    chat_text text;
    const int rc = chat_render(f, &t, messages, n, prompt, m->a, &text);
    *out = (given){.refused = rc == CO_E_FORMAT};
    if (rc == CO_OK) out->text = text.text, out->len = text.len;
    return rc == CO_E_FORMAT ? CO_OK : rc;
}

static int same(const given *a, const given *b)
{
    return a->refused == b->refused && (a->refused || (a->len == b->len && memcmp(a->text, b->text, a->len) == 0));
}

/* All probes; *yes, or the first that differs. */
static int try_format(const matcher *m, const chat_format *f, int *yes)
{
    *yes = 0;
    for (size_t i = 0; i < N_PROBES; i++) {
        const probe *p = &probes[i];
        given got;
        int rc = ours(m, f, p->m, p->n, p->prompt, &got);
        if (rc) return rc;
        if (same(&got, &m->of[i])) continue;
        if (p->prompt || got.refused || m->of[i].refused) return CO_OK;
        /* Some templates go on to the next answer whatever they are asked for (LLaMA 3's first did). */
        const chat_message next = USER("x");
        chat_message more[MAX_PROBE + 1];
        given longer, without;
        memcpy(more, p->m, p->n * sizeof *more);
        more[p->n] = next;
        rc = ours(m, f, more, p->n + 1, 1, &longer);
        if (rc == CO_OK) rc = ours(m, f, more, p->n + 1, 0, &without);
        if (rc) return rc;
        const size_t opening = longer.len - without.len;
        if (longer.refused || without.refused || m->of[i].len != got.len + opening || memcmp(m->of[i].text, got.text, got.len) != 0 ||
            memcmp(m->of[i].text + got.len, longer.text + without.len, opening) != 0) return CO_OK;
    }
    *yes = 1;
    return CO_OK;
}

static void set_trim(chat_format *f, int trim)
{
    for (int k = 0; k < N_BODIES; k++)
        for (int i = 0; i < f->body[k].n; i++)
            if (f->body[k].p[i].kind == PIECE_CONTENT || f->body[k].p[i].kind == PIECE_SYSTEM) f->body[k].p[i].trim = trim;
}

/* BOS, if there is one, at the start of the text, or nowhere. Templates with one before each turn stay as they are. */
static int set_bos(chat_format *f, int there)
{
    for (int i = 0; i < f->body[BODY_USER].n; i++)
        if (f->body[BODY_USER].p[i].kind == PIECE_BOS) return CO_OK;
    f->body[BODY_BEGIN].n = 0;
    f->body[BODY_BEGIN].there = 1;
    return there ? format_add(&f->body[BODY_BEGIN], &(format_piece){.kind = PIECE_BOS}) : CO_OK;
}

static int set_system(chat_format *f, const char *text, size_t len)
{
    char *copy = text ? mem_alloc(len + 1, 1) : NULL;
    if (text && !copy) return CO_E_NOMEM;
    if (len) memcpy(copy, text, len);
    mem_free(f->system);
    mem_free(f->system_input);
    f->system = copy;
    f->system_input = NULL;
    return CO_OK;
}

/* The system message that the template shows where the conversation has none: what stands in our text's place for one. */
static int find_system(const matcher *m, chat_format *f, int *found)
{
    static const char mark[] = "\x01";
    const chat_message with[] = {SYSTEM("\x01"), probes[0].m[0]};
    const given *shown = &m->of[0];
    given got;
    *found = 0;
    if (shown->refused || memchr(shown->text, 0, shown->len)) return CO_OK;
    const int rc = ours(m, f, with, 2, 1, &got);
    if (rc || got.refused) return rc;
    const char *at = memchr(got.text, *mark, got.len);
    if (!at) return CO_OK; /* cut as white space */
    const size_t before = (size_t)(at - got.text), after = got.len - before - 1;
    if (shown->len < before + after || shown->len - before - after > MAX_SYSTEM || memcmp(shown->text, got.text, before) != 0 ||
        memcmp(shown->text + shown->len - after, at + 1, after) != 0) return CO_OK;
    *found = 1;
    return set_system(f, shown->text + before, shown->len - before - after);
}

enum { SYSTEM_AS_IS = 0, SYSTEM_NONE, SYSTEM_SHOWN, N_SYSTEMS };
static const int trims[] = {-1, TRIM_NONE, TRIM_BOTH}; /* -1: as the template has it */

static int try_variant(const matcher *m, const char *name, int trim, int bos, int system, chat_format *out, int *usual, int *yes)
{
    chat_format f = {0};
    int found = 1, rc = format_builtin(name, &f);
    *yes = 0;
    *usual = f.body[BODY_BEGIN].n != 0; /* has a BOS at its start */
    if (rc == CO_OK && trims[trim] >= 0) set_trim(&f, trims[trim]);
    if (rc == CO_OK) rc = set_bos(&f, bos);
    if (rc == CO_OK && system == SYSTEM_NONE) rc = set_system(&f, NULL, 0);
    if (rc == CO_OK && system == SYSTEM_SHOWN) rc = find_system(m, &f, &found);
    if (rc == CO_OK && found) rc = try_format(m, &f, yes);
    if (rc == CO_OK && *yes) *out = f;
    else format_free(&f);
    return rc;
}

static int find_match(const matcher *m, chat_format *out, char **what)
{
    for (const char *const *name = format_names(); *name; name++) {
        if (strcmp(*name, "none") == 0) continue;
        for (int system = 0; system < N_SYSTEMS; system++)
            for (int trim = 0; trim < 3; trim++)
                for (int bos = 0; bos < 2; bos++) { /* none first: where the model has no BOS both are alike */
                    int yes, usual;
                    const int rc = try_variant(m, *name, trim, bos, system, out, &usual, &yes);
                    if (rc) return rc;
                    if (!yes) continue;
                    *what = mem_printf("%s%s%s%s", *name, system == SYSTEM_SHOWN ? ", its own system message" : system == SYSTEM_NONE ? ", no system message of its own" : "",
                                       trim == 1 ? ", white space as it is" : trim == 2 ? ", white space cut" : "",
                                       bos == usual || !*m->bos ? "" : bos ? ", BOS first" : ", no BOS first");
                    if (*what) return CO_OK;
                    format_free(out);
                    return CO_E_NOMEM;
                }
    }
    return CO_END;
}

#define ADVICE "name a template instead: [dataset] template = alpaca, vicuna, llama2, llama3, llama3.1, chatml, zephyr, mistral, hh, none, or a file " \
               "(core/data/templates/TEMPLATES.md)"

int chat_match(const char *text, size_t len, const char *bos_token, const char *eos_token, chat_format *out, char **what)
{
    matcher m = {.bos = bos_token ? bos_token : "", .eos = eos_token ? eos_token : "", .a = arena_new(1 << 16)};
    const jinja *j;
    int rc = m.a ? jinja_parse(text, len, m.a, &j) : CO_E_NOMEM;
    for (size_t i = 0; i < N_PROBES && rc == CO_OK; i++) {
        const jinja_input in = {.messages = probes[i].m, .n = probes[i].n, .add_generation_prompt = probes[i].prompt, .bos_token = bos_token, .eos_token = eos_token};
        rc = jinja_run(j, &in, m.a, &m.of[i].text, &m.of[i].len);
        if (rc == CO_END) m.of[i].refused = 1, rc = CO_OK;
    }
    if (rc == CO_E_UNSUPPORTED || rc == CO_E_FORMAT) {
        char why[300];
        error_take(why, sizeof why);
        rc = FAIL(CO_E_CONFIG, "the model's chat template cannot be told (%s): " ADVICE, why);
    }
    if (rc == CO_OK) {
        rc = find_match(&m, out, what);
        if (rc == CO_END) rc = FAIL(CO_E_CONFIG, "the model's chat template is none of the known ones: " ADVICE);
    }
    if (m.a) arena_free(m.a);
    return rc;
}
