#include "core/data/template.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/data/templates/match.h"
#include <stdio.h>
#include <string.h>

enum { MAX_TEMPLATE = 1 << 20, MAX_TOKEN = 64 };

struct data_template {
    chat_format f;
    char *name;
    template_args a;
    render_tokens tokens;
    const char *stops[FORMAT_STOPS + 1];
    int32_t stop_id;
};

static int32_t token_id(const template_args *a, const char *text, size_t len)
{
    return a->tokenizer && CO_HAS(co_tokenizer_vt, a->tokenizer, token) ? a->tokenizer->token(a->tokenizer_self, text, len) : -1;
}

/* Special tokens in a literal become pieces of their own; the longest goes first. */
static int split_piece(const template_args *a, const format_piece *p, format_body *out)
{
    size_t from = 0, i = 0;
    int rc = CO_OK;
    while (i < p->len && rc == CO_OK) {
        size_t n = p->len - i < MAX_TOKEN ? p->len - i : MAX_TOKEN;
        int32_t id = -1;
        while (n && (id = token_id(a, p->text + i, n)) < 0) n--;
        if (id < 0) {
            i++;
            continue;
        }
        if (i > from) rc = format_add(out, &(format_piece){.kind = PIECE_TEXT, .text = p->text + from, .len = i - from});
        if (rc == CO_OK) rc = format_add(out, &(format_piece){.kind = PIECE_MARK, .id = id, .text = p->text + i, .len = n});
        from = i += n;
    }
    if (rc == CO_OK && p->len > from) rc = format_add(out, &(format_piece){.kind = PIECE_TEXT, .text = p->text + from, .len = p->len - from});
    return rc;
}

static int bind_body(const template_args *a, format_body *b)
{
    format_body out = {.there = b->there};
    int rc = CO_OK;
    for (int i = 0; i < b->n && rc == CO_OK; i++)
        rc = b->p[i].kind == PIECE_TEXT ? split_piece(a, &b->p[i], &out) : format_add(&out, &b->p[i]);
    if (rc) {
        mem_free(out.p);
        return rc;
    }
    mem_free(b->p);
    *b = out;
    return CO_OK;
}

static int check_tokens(const data_template *t)
{
    for (const char *p = t->f.tokens; p && *p;) {
        const size_t n = strcspn(p, " ");
        if (n && token_id(&t->a, p, n) < 0)
            return FAIL(CO_E_CONFIG, "template %s needs the special token \"%.*s\", which the model's tokenizer does not have: choose another template "
                        "(vicuna, llama2, zephyr, alpaca and hh need none), or add the token to the tokenizer and extend the model's embeddings",
                        t->name, (int)n, p);
        p += n + (p[n] == ' ');
    }
    return CO_OK;
}

static void find_stop(data_template *t)
{
    const format_body *b = &t->f.body[BODY_ASSISTANT];
    int behind = 0;
    t->stop_id = -1;
    for (int i = 0; i < b->n && t->stop_id < 0; i++) {
        behind |= b->p[i].kind == PIECE_CONTENT;
        if (behind && b->p[i].kind == PIECE_MARK) t->stop_id = b->p[i].id;
        if (behind && (b->p[i].kind == PIECE_EOS || b->p[i].kind == PIECE_END)) t->stop_id = t->a.eos;
    }
    for (int i = 0; i < t->f.n_stop; i++) t->stops[i] = t->f.stop[i];
}

static const char *known(char *out, size_t cap)
{
    size_t at = 0;
    for (const char *const *n = format_names(); *n && at < cap; n++) at += (size_t)snprintf(out + at, cap - at, "%s%s", at ? ", " : "", *n);
    return out;
}

static int from_file(data_template *t)
{
    char *text, names[200], why[300];
    size_t len;
    int rc = fs_read_all(t->name, &text, &len, MAX_TEMPLATE);
    if (rc) {
        error_take(why, sizeof why);
        return FAIL(CO_E_CONFIG, "template \"%s\" is neither of %s, chat nor a file that can be read: %s", t->name, known(names, sizeof names), why);
    }
    rc = format_parse(t->name, text, len, &t->f);
    mem_free(text);
    return rc;
}

static int from_model(data_template *t)
{
    char *what = NULL;
    if (!t->a.model_dir) return FAIL(CO_E_CONFIG, "template = chat: there is no model's directory to take its chat template from");
    const int rc = chat_match_dir(t->a.model_dir, &t->f, &what);
    if (rc) return rc;
    char *name = mem_printf("chat: %s", what);
    mem_free(what);
    if (!name) return CO_E_NOMEM;
    mem_free(t->name);
    t->name = name;
    return CO_OK;
}

int template_open(const template_args *a, data_template **out)
{
    data_template *t = mem_calloc(1, sizeof *t);
    if (!t) return CO_E_NOMEM;
    t->a = *a;
    t->name = mem_strdup(a->name && *a->name ? a->name : "alpaca");
    t->tokens = (render_tokens){.bos = a->bos, .eos = a->eos, .before = a->before, .bos_text = "", .eos_text = "", .before_text = ""};
    int rc = t->name ? format_builtin(t->name, &t->f) : CO_E_NOMEM;
    if (rc == CO_END) rc = strcmp(t->name, "chat") == 0 ? from_model(t) : from_file(t);
    if (rc == CO_OK) rc = check_tokens(t);
    for (int i = 0; i < N_BODIES && rc == CO_OK; i++) rc = bind_body(a, &t->f.body[i]);
    if (rc) {
        template_close(t);
        return rc;
    }
    find_stop(t);
    t->a.name = t->a.model_dir = NULL; /* not kept */
    *out = t;
    return CO_OK;
}

void template_close(data_template *t)
{
    if (!t) return;
    format_free(&t->f);
    mem_free(t->name);
    mem_free(t);
}

const char *template_name(const data_template *t) { return t->name; }
int template_simple(const data_template *t) { return t->f.simple || strcmp(t->name, "none") == 0; }
int32_t template_stop_id(const data_template *t) { return t->stop_id; }
const char *const *template_stop_texts(const data_template *t) { return t->stops; }

int template_render(const data_template *t, const chat_message *m, size_t n, int prompt, co_arena *a, chat_text *out)
{
    return chat_render(&t->f, &t->tokens, m, n, prompt, a, out);
}

int template_encode(const data_template *t, const chat_message *m, size_t n, int prompt, size_t most, co_arena *a, chat_ids *out)
{
    chat_text text;
    while (!prompt && n && m[n - 1].role != ROLE_ASSISTANT) n--; /* nobody answers it */
    if (!prompt && !n) return FAIL(CO_E_FORMAT, "no answer in it: there is nothing to learn");
    const int rc = template_render(t, m, n, prompt, a, &text);
    return rc ? rc : chat_encode(t->a.tokenizer, t->a.tokenizer_self, &text, most, a, out);
}

int template_plain(const data_template *t, const char *text, size_t len, int before, int eos, co_arena *a, chat_ids *out)
{
    int32_t *ids = NULL;
    size_t n = 0, at = 0;
    int rc = len ? chat_encode_marked(t->a.tokenizer, t->a.tokenizer_self, text, len, NULL, 0, a, &ids, &n) : CO_OK;
    if (rc) return rc;
    *out = (chat_ids){.ids = arena_push(a, (n + 2) * sizeof *ids, 4), .learn = arena_push(a, n + 2, 1)};
    if (!out->ids || !out->learn) return CO_E_NOMEM;
    if (before && t->tokens.before >= 0) out->ids[at++] = t->tokens.before;
    if (n) memcpy(out->ids + at, ids, n * sizeof *ids);
    at += n;
    if (eos && t->tokens.eos >= 0) out->ids[at++] = t->tokens.eos;
    memset(out->learn, 1, at);
    if (at) out->learn[0] = 0;
    out->n = at;
    out->n_learn = at ? at - 1 : 0;
    return CO_OK;
}

void template_answer(const data_template *t, const char **text, size_t *len)
{
    const format_body *b = &t->f.body[BODY_ASSISTANT];
    int learn = 0, content = 0;
    for (int i = 0; i < b->n; i++) {
        const format_piece *p = &b->p[i];
        learn |= p->kind == PIECE_LEARN;
        content |= p->kind == PIECE_CONTENT;
        if (p->kind != PIECE_TEXT || !learn || p->len > *len) continue;
        if (!content && memcmp(*text, p->text, p->len) == 0) *text += p->len, *len -= p->len;
        else if (content && memcmp(*text + *len - p->len, p->text, p->len) == 0) {
            *len -= p->len;
            break;
        }
    }
}

const char *template_token_text(const data_template *t, int32_t id, size_t *len)
{
    *len = 5;
    for (int k = 0; k < N_BODIES && id >= 0; k++)
        for (int i = 0; i < t->f.body[k].n; i++) {
            const format_piece *p = &t->f.body[k].p[i];
            if (p->kind != PIECE_MARK || p->id != id) continue;
            *len = p->len;
            return p->text;
        }
    return id < 0 ? NULL : id == t->a.bos || id == t->a.before ? "<bos>" : id == t->a.eos ? "<eos>" : NULL;
}
