#include "core/data/templates/render.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/templates/white.h"
#include <string.h>

typedef struct view { const char *p; size_t n; } view;

typedef struct builder {
    const chat_format *f;
    const render_tokens *t;
    char *text;
    size_t len;
    co_text_mark *marks;
    text_span *spans;
    text_place *cuts;
    size_t n_marks, n_spans, n_cuts;
} builder;

const char *chat_role_name(int role) { return role == ROLE_SYSTEM ? "system" : role == ROLE_USER ? "user" : "assistant"; }

static void put(builder *b, view v, int trim)
{
    if (trim) white_trim(&v.p, &v.n, trim);
    if (v.n) memcpy(b->text + b->len, v.p, v.n);
    b->len += v.n;
}

static void mark(builder *b, int32_t id, const char *text, size_t len)
{
    if (id < 0) return;
    b->marks[b->n_marks++] = (co_text_mark){.at = b->len, .len = len, .id = id};
    put(b, (view){text, len}, 0);
}

/* Puts a body; a prompt's ends at {learn}. */
static void put_body(builder *b, int which, view content, view input, view system, int last, int prompt)
{
    const format_body *body = &b->f->body[which];
    for (int i = 0; i < body->n; i++) {
        const format_piece *p = &body->p[i];
        const text_place here = {b->len, b->n_marks};
        switch (p->kind) {
        case PIECE_TEXT: put(b, (view){p->text, p->len}, 0); break;
        case PIECE_MARK: mark(b, p->id, p->text, p->len); break;
        case PIECE_CONTENT: put(b, content, p->trim); break;
        case PIECE_INPUT: put(b, input, p->trim); break;
        case PIECE_SYSTEM: put(b, system, p->trim); break;
        case PIECE_BOS: mark(b, b->t->bos, b->t->bos_text, strlen(b->t->bos_text)); break;
        case PIECE_BEFORE: mark(b, b->t->before, b->t->before_text, strlen(b->t->before_text)); break;
        case PIECE_END:
            if (!last) break;
            /* fall through */
        case PIECE_EOS: mark(b, b->t->eos, b->t->eos_text, strlen(b->t->eos_text)); break;
        case PIECE_LEARN:
            if (b->f->cut) b->cuts[b->n_cuts++] = here;
            if (prompt) return;
            b->spans[b->n_spans].from = here;
            break;
        case PIECE_STOP: b->spans[b->n_spans++].to = here; break;
        default: break;
        }
    }
}

static int has_input(const chat_format *f)
{
    for (int i = 0; i < f->body[BODY_USER].n; i++)
        if (f->body[BODY_USER].p[i].kind == PIECE_INPUT) return 1;
    return 0;
}

/* Most bytes and marks a text can have. */
static int make_room(builder *b, const chat_message *m, size_t n, co_arena *a)
{
    const chat_format *f = b->f;
    size_t bytes = 0, pieces = 0, all = 64 + (f->system ? strlen(f->system) : 0) + (f->system_input ? strlen(f->system_input) : 0);
    const size_t token = strlen(b->t->bos_text) + strlen(b->t->eos_text) + strlen(b->t->before_text);
    for (int k = 0; k < N_BODIES; k++) {
        size_t own = 0;
        for (int i = 0; i < f->body[k].n; i++) own += f->body[k].p[i].len + token;
        bytes = own > bytes ? own : bytes;
        pieces = (size_t)f->body[k].n > pieces ? (size_t)f->body[k].n : pieces;
    }
    for (size_t i = 0; i < n; i++) all += m[i].len + m[i].input_len + 1;
    if (__builtin_mul_overflow(bytes, n + 3, &bytes) || __builtin_add_overflow(all, bytes, &all)) return FAIL(CO_E_NOMEM, "a conversation of %zu messages", n);
    b->text = arena_push(a, all + 1, 1);
    b->marks = arena_push(a, (pieces * (n + 3) + 1) * sizeof *b->marks, 8);
    b->spans = arena_push(a, (n + 2) * sizeof *b->spans, 8);
    b->cuts = arena_push(a, (n + 2) * sizeof *b->cuts, 8);
    return b->text && b->marks && b->spans && b->cuts ? CO_OK : CO_E_NOMEM;
}

static int check_turn(const builder *b, const chat_message *m, size_t i, size_t first)
{
    const int role = m[i].role;
    if (role == ROLE_SYSTEM && (b->f->alternate || !b->f->body[BODY_SYSTEM].there))
        return FAIL(CO_E_FORMAT, "message %zu: the template has no place for a system message there", i + 1);
    if (!b->f->alternate || role == ((i - first) % 2 ? ROLE_ASSISTANT : ROLE_USER)) return CO_OK;
    return FAIL(CO_E_FORMAT, "message %zu is the %s's: with this template user and assistant must take turns, the user first", i + 1, chat_role_name(role));
}

/* Content and input where the template has no place for an input: two lines. */
static int join_input(const chat_message *m, co_arena *a, view *out)
{
    char *p = arena_push(a, m->len + m->input_len + 1, 1);
    if (!p) return CO_E_NOMEM;
    if (m->len) memcpy(p, m->text, m->len);
    p[m->len] = '\n';
    memcpy(p + m->len + 1, m->input, m->input_len);
    *out = (view){p, m->len + m->input_len + 1};
    return CO_OK;
}

int chat_render(const chat_format *f, const render_tokens *t, const chat_message *m, size_t n, int prompt, co_arena *a, chat_text *out)
{
    builder b = {.f = f, .t = t};
    const view none = {"", 0};
    view system = none;
    int has_system = 0;
    size_t first = 0;
    int rc = make_room(&b, m, n, a);
    if (rc) return rc;
    if (n && m[0].role == ROLE_SYSTEM) {
        system = (view){m[0].text, m[0].len};
        has_system = first = 1;
        if (!f->body[BODY_SYSTEM].there && !f->body[BODY_USER_FIRST].there)
            return FAIL(CO_E_FORMAT, "the template has no place for a system message");
    } else if (f->system) {
        const char *s = f->system_input && n && m[0].input_len ? f->system_input : f->system;
        system = (view){s, strlen(s)};
        has_system = 1;
    }
    if (prompt && (n <= first || m[n - 1].role != ROLE_USER)) return FAIL(CO_E_FORMAT, "the last message is not the user's: there is nothing to answer");
    put_body(&b, BODY_BEGIN, none, none, none, 0, 0);
    const int in_user = has_system && f->body[BODY_USER_FIRST].there;
    if (has_system && !in_user) put_body(&b, BODY_SYSTEM, system, none, none, 0, 0);
    for (size_t i = first; i < n; i++) {
        view content = {m[i].text, m[i].len}, input = {m[i].input, m[i].input_len};
        rc = check_turn(&b, m, i, first);
        if (rc) return rc;
        int which = m[i].role == ROLE_ASSISTANT ? BODY_ASSISTANT : m[i].role == ROLE_SYSTEM ? BODY_SYSTEM : BODY_USER;
        if (which == BODY_USER && in_user && i == first) which = BODY_USER_FIRST;
        else if (which == BODY_USER && input.n && f->body[BODY_USER_INPUT].there) which = BODY_USER_INPUT;
        if (input.n && which != BODY_USER_INPUT && !(which == BODY_USER && has_input(f))) rc = join_input(&m[i], a, &content);
        if (rc) return rc;
        put_body(&b, which, content, input, system, i + 1 == n, 0);
    }
    if (prompt) put_body(&b, BODY_ASSISTANT, none, none, none, 0, 1);
    b.text[b.len] = 0;
    *out = (chat_text){.text = b.text, .len = b.len, .marks = b.marks, .n_marks = b.n_marks, .spans = b.spans, .n_spans = b.n_spans,
                       .cuts = b.cuts, .n_cuts = b.n_cuts, .ends_answer = !prompt && n && m[n - 1].role == ROLE_ASSISTANT};
    return CO_OK;
}
