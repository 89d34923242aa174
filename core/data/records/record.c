#include "core/data/records/record.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include <string.h>

typedef struct view { const char *p; size_t n; } view;
typedef struct source { const record_columns *c; const co_field *f; uint32_t n; co_arena *a; } source;

static const char *const kinds[N_RECORDS] = {"messages", "sharegpt", "pairs", "dialogues", "completion", "instruction", "text", "prompts"};

const char *record_kind_name(record_kind k) { return kinds[k]; }

static const co_field *find(const source *s, int p) { return columns_find(s->c, p, s->f, s->n); }

static int is_list(const co_field *f) { return f->type == CO_FIELD_JSON && f->len && (*f->data == '[' || *f->data == '{'); }

static int is_null(const co_field *f) { return f->type == CO_FIELD_JSON && f->len && *f->data == 'n'; }

static int fail_missing(const source *s, int p)
{
    char there[256];
    return FAIL(CO_E_FORMAT, "no column \"%s\"; the record has %s (say which is which with [dataset] columns)", s->c->name[p] ? s->c->name[p] : part_name(p),
                columns_there(s->f, s->n, there, sizeof there));
}

/* A text column. Optional ones may be missing or null. */
static int text_of(const source *s, int p, int optional, view *out)
{
    const co_field *f = find(s, p);
    *out = (view){"", 0};
    if (!f || (optional && is_null(f))) return optional ? CO_OK : fail_missing(s, p);
    if (is_list(f) || is_null(f))
        return FAIL(CO_E_FORMAT, "column \"%s\": expected a string, found %s", f->name, is_null(f) ? "null" : *f->data == '{' ? "an object" : "an array");
    *out = (view){f->data, f->len};
    return CO_OK;
}

static int list_of(const source *s, int p, chat_message **m, size_t *n)
{
    const co_field *f = find(s, p);
    if (!f || is_null(f)) return fail_missing(s, p);
    if (!is_list(f)) return FAIL(CO_E_FORMAT, "column \"%s\": expected a list of messages, found a text", f->name);
    return messages_read(f->name, f->data, f->len, s->a, m, n);
}

/* A text, which is a message of `role`, or messages. */
static int messages_of(const source *s, int p, int role, chat_message **m, size_t *n)
{
    const co_field *f = find(s, p);
    view v;
    if (f && is_list(f)) return messages_read(f->name, f->data, f->len, s->a, m, n);
    const int rc = text_of(s, p, 0, &v);
    if (rc) return rc;
    *m = arena_push(s->a, sizeof **m, 8);
    if (!*m) return CO_E_NOMEM;
    **m = (chat_message){.role = role, .text = v.p, .len = v.n};
    *n = 1;
    return CO_OK;
}

/* Puts the system column, if it says anything, before the messages. */
static int with_system(const source *s, chat_message **m, size_t *n)
{
    view v;
    const int rc = text_of(s, PART_SYSTEM, 1, &v);
    if (rc || !v.n) return rc;
    if (*n && (*m)[0].role == ROLE_SYSTEM) return FAIL(CO_E_FORMAT, "a system message stands in column \"%s\" and among the messages too", s->c->name[PART_SYSTEM]);
    chat_message *all = arena_push(s->a, (*n + 1) * sizeof *all, 8);
    if (!all) return CO_E_NOMEM;
    all[0] = (chat_message){.role = ROLE_SYSTEM, .text = v.p, .len = v.n};
    memcpy(all + 1, *m, *n * sizeof *all);
    *m = all;
    ++*n;
    return CO_OK;
}

static int join(const source *s, const chat_message *a, size_t na, const chat_message *b, size_t nb, record *out)
{
    out->messages = arena_push(s->a, (na + nb + 1) * sizeof *out->messages, 8);
    if (!out->messages) return CO_E_NOMEM;
    if (na) memcpy(out->messages, a, na * sizeof *a);
    if (nb) memcpy(out->messages + na, b, nb * sizeof *b);
    out->n = na + nb;
    return CO_OK;
}

static int read_instruction(const source *s, int answer, record *out)
{
    view instruction, input, output = {"", 0};
    /* Where the configuration leaves the instruction out, it is empty. */
    int rc = text_of(s, PART_INSTRUCTION, s->c->given && !s->c->name[PART_INSTRUCTION], &instruction);
    if (rc == CO_OK) rc = text_of(s, PART_INPUT, 1, &input);
    if (rc == CO_OK && answer) rc = text_of(s, PART_OUTPUT, 0, &output);
    if (rc) return rc;
    out->messages = arena_push(s->a, 2 * sizeof *out->messages, 8);
    if (!out->messages) return CO_E_NOMEM;
    out->messages[0] = (chat_message){.role = ROLE_USER, .text = instruction.p, .len = instruction.n, .input = input.p, .input_len = input.n};
    out->messages[1] = (chat_message){.role = ROLE_ASSISTANT, .text = output.p, .len = output.n};
    out->n = answer ? 2 : 1;
    return with_system(s, &out->messages, &out->n);
}

static int same(const chat_message *a, const chat_message *b)
{
    return a->role == b->role && a->len == b->len && (!a->len || memcmp(a->text, b->text, a->len) == 0);
}

/* Splits two conversations behind the messages they share; what is left of each must end in an answer. */
static int split(const chat_message *c, size_t nc, const chat_message *r, size_t nr, record *out)
{
    size_t k = 0;
    while (k < nc && k < nr && same(&c[k], &r[k])) k++;
    while (k && c[k - 1].role != ROLE_USER) k--; /* the prompt ends where somebody is to answer */
    if (!k || k == nc || k == nr) return FAIL(CO_E_FORMAT, "chosen and rejected share no prompt that ends in the user's turn with an answer behind it");
    out->messages = (chat_message *)(uintptr_t)c;
    out->n = k;
    out->chosen = c + k, out->n_chosen = nc - k;
    out->rejected = r + k, out->n_rejected = nr - k;
    return CO_OK;
}

static int check_answers(const record *r)
{
    if (!r->n || r->messages[r->n - 1].role != ROLE_USER) return FAIL(CO_E_FORMAT, "the prompt does not end in the user's turn");
    if (!r->n_chosen || r->chosen[r->n_chosen - 1].role != ROLE_ASSISTANT) return FAIL(CO_E_FORMAT, "chosen does not end in the assistant's turn");
    if (!r->n_rejected || r->rejected[r->n_rejected - 1].role != ROLE_ASSISTANT) return FAIL(CO_E_FORMAT, "rejected does not end in the assistant's turn");
    return CO_OK;
}

static int read_pair(const source *s, record *out)
{
    const co_field *prompt = find(s, PART_PROMPT);
    chat_message *p, *c, *r;
    size_t np = 0, nc = 0, nr = 0;
    int rc = messages_of(s, PART_CHOSEN, ROLE_ASSISTANT, &c, &nc);
    if (rc == CO_OK) rc = messages_of(s, PART_REJECTED, ROLE_ASSISTANT, &r, &nr);
    if (rc) return rc;
    if (find(s, PART_CONVERSATIONS)) rc = list_of(s, PART_CONVERSATIONS, &p, &np);
    else if (prompt && !is_list(prompt) && dialogue_read(prompt->data, prompt->len, s->a, &p, &np) == CO_OK) rc = CO_OK;
    else if (prompt && nc > 1 && c[nc - 1].role == ROLE_ASSISTANT && !is_list(prompt)) rc = split(c, nc, r, nr, out); /* the lists hold it, too */
    else if (prompt) rc = messages_of(s, PART_PROMPT, ROLE_USER, &p, &np);
    else rc = split(c, nc, r, nr, out);
    if (rc == CO_OK && !out->n) {
        if (np > 1 && p[np - 1].role == ROLE_ASSISTANT && !p[np - 1].len) np--; /* "…\n\nAssistant:" */
        rc = join(s, p, np, NULL, 0, out);
        out->chosen = c, out->n_chosen = nc;
        out->rejected = r, out->n_rejected = nr;
    }
    if (rc == CO_OK) rc = with_system(s, &out->messages, &out->n);
    return rc ? rc : check_answers(out);
}

static int read_dialogues(const source *s, record *out)
{
    static const int parts[2] = {PART_CHOSEN, PART_REJECTED};
    chat_message *m[2];
    size_t n[2];
    for (int i = 0; i < 2; i++) {
        view v;
        int rc = text_of(s, parts[i], 0, &v);
        if (rc == CO_OK) rc = dialogue_read(v.p, v.n, s->a, &m[i], &n[i]);
        if (rc == CO_END) return FAIL(CO_E_FORMAT, "column \"%s\": expected a dialogue that begins with \"\\n\\nHuman:\"", s->c->name[parts[i]]);
        if (rc) return rc;
    }
    const int rc = split(m[0], n[0], m[1], n[1], out);
    return rc ? rc : check_answers(out);
}

static int read_prompt(const source *s, record *out)
{
    const co_field *turns = find(s, PART_TURNS);
    if (find(s, PART_PROMPT)) {
        const int rc = messages_of(s, PART_PROMPT, ROLE_USER, &out->messages, &out->n);
        return rc ? rc : with_system(s, &out->messages, &out->n);
    }
    if (!turns || find(s, PART_INSTRUCTION)) return read_instruction(s, 0, out);
    chat_message *m = out->messages = arena_push(s->a, sizeof *m, 8);
    if (!m) return CO_E_NOMEM;
    *m = (chat_message){.role = ROLE_USER};
    out->n = 1;
    return turns_read(turns->name, turns->data, turns->len, s->a, &m->text, &m->len);
}

/* A part that the configuration names and the record lacks, else all that it has. */
static int fail_unknown(const source *s)
{
    char there[256];
    for (int p = 0; p < N_PARTS && s->c->given; p++)
        if (s->c->name[p] && !find(s, p) && p != PART_INPUT && p != PART_SYSTEM) return fail_missing(s, p);
    return FAIL(CO_E_FORMAT, "no format that is known has these columns: the record has %s. Known: instruction, input, output; messages; conversations; "
                "prompt, completion; prompt, chosen, rejected; chosen, rejected; text; prompt. Say which is which with [dataset] columns = "
                "instruction=…,output=…", columns_there(s->f, s->n, there, sizeof there));
}

int record_recognise(const record_columns *c, const co_field *f, uint32_t n, record_kind *out)
{
    const source s = {c, f, n, NULL};
    const co_field *chosen = find(&s, PART_CHOSEN);
    const int pair = chosen && find(&s, PART_REJECTED);
    if (find(&s, PART_MESSAGES)) *out = RECORD_MESSAGES;
    else if (pair && (find(&s, PART_PROMPT) || find(&s, PART_CONVERSATIONS) || is_list(chosen))) *out = RECORD_PAIRS;
    else if (pair) *out = RECORD_DIALOGUES;
    else if (find(&s, PART_CONVERSATIONS)) *out = RECORD_SHAREGPT;
    else if (find(&s, PART_PROMPT) && find(&s, PART_COMPLETION)) *out = RECORD_COMPLETION;
    else if (find(&s, PART_OUTPUT) && (find(&s, PART_INSTRUCTION) || (c->given && !c->name[PART_INSTRUCTION]))) *out = RECORD_INSTRUCTION;
    else if (find(&s, PART_TEXT)) *out = RECORD_TEXT;
    else if (find(&s, PART_PROMPT) || find(&s, PART_INSTRUCTION) || find(&s, PART_TURNS)) *out = RECORD_PROMPTS;
    else return fail_unknown(&s);
    return CO_OK;
}

int record_read(const record_columns *c, record_kind kind, const co_field *f, uint32_t n, co_arena *a, record *out)
{
    const source s = {c, f, n, a};
    record r = {.kind = kind};
    view v;
    int rc;
    switch (kind) {
    case RECORD_MESSAGES:
    case RECORD_SHAREGPT:
        rc = list_of(&s, kind == RECORD_MESSAGES ? PART_MESSAGES : PART_CONVERSATIONS, &r.messages, &r.n);
        if (rc == CO_OK) rc = with_system(&s, &r.messages, &r.n);
        break;
    case RECORD_PAIRS: rc = read_pair(&s, &r); break;
    case RECORD_DIALOGUES: rc = read_dialogues(&s, &r); break;
    case RECORD_COMPLETION: {
        chat_message *p, *q;
        size_t np, nq;
        rc = messages_of(&s, PART_PROMPT, ROLE_USER, &p, &np);
        if (rc == CO_OK) rc = messages_of(&s, PART_COMPLETION, ROLE_ASSISTANT, &q, &nq);
        if (rc == CO_OK) rc = join(&s, p, np, q, nq, &r);
        if (rc == CO_OK) rc = with_system(&s, &r.messages, &r.n);
        break;
    }
    case RECORD_INSTRUCTION: rc = read_instruction(&s, 1, &r); break;
    case RECORD_TEXT:
        rc = text_of(&s, PART_TEXT, 0, &v);
        r.text = v.p, r.len = v.n;
        break;
    default: rc = read_prompt(&s, &r); break;
    }
    if (rc == CO_OK) *out = r;
    return rc;
}
