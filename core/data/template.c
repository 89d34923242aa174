/* template.c: templates are parsed into pieces once, rendering is two passes of measuring and copying. */
#include "core/data/template.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"

#include <stdio.h>
#include <string.h>

enum { PART_INSTRUCTION = 0, PART_INPUT, PART_OUTPUT, N_PARTS, LITERAL };
enum { MAX_PIECES = 64, MAX_TEMPLATE = 1 << 20 };

static const char *const part_names[N_PARTS] = { "instruction", "input", "output" };

typedef struct piece {
    int kind; /* a part, or LITERAL */
    const char *text;
    size_t len;
} piece;

typedef struct layout {
    piece pieces[MAX_PIECES];
    int n, answer; /* pieces before `answer` are the prompt */
} layout;

struct data_template {
    char *text[2];             /* unescaped bytes the literal pieces point into */
    layout plain, with_input;  /* without and with a non-empty input */
    char *column[N_PARTS];     /* NULL: the part is always empty */
};

typedef struct view { const char *p; size_t n; } view;

static const char alpaca_plain[] =
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    "\n\n### Instruction:\n{instruction}\n\n### Response:{output}";
static const char alpaca_with_input[] =
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}"
    "\n\n### Response:{output}";
static const char no_template[] = "{instruction}{input}{output}";

static int line_at(const char *text, const char *at)
{
    int line = 1;
    for (; text < at; text++) line += *text == '\n';
    return line;
}

/* The part that "{name}" at p stands for; LITERAL if it is not of that form; -1: an unknown name. */
static int placeholder(const char *p, const char *end, size_t *len)
{
    const char *q = p + 1;
    while (q < end && ((*q >= 'a' && *q <= 'z') || (*q >= 'A' && *q <= 'Z') || *q == '_')) q++;
    if (q == p + 1 || q == end || *q != '}') return LITERAL;
    *len = (size_t)(q + 1 - p);
    for (int i = 0; i < N_PARTS; i++)
        if (strlen(part_names[i]) == *len - 2 && !memcmp(part_names[i], p + 1, *len - 2)) return i;
    return -1;
}

static int add_piece(layout *l, const char *name, int kind, const char *text, size_t len)
{
    if (!len && kind == LITERAL) return CO_OK;
    if (l->n == MAX_PIECES)
        return FAIL(CO_E_CONFIG, "template %s: more than %d placeholders and texts between them", name, MAX_PIECES);
    l->pieces[l->n++] = (piece){ kind, text, len };
    return CO_OK;
}

/* `store` receives the literal text, at most `len` bytes. */
static int parse_layout(layout *l, const char *name, const char *text, size_t len, char *store)
{
    const char *p = text, *end = text + len;
    char *lit = store, *o = store;
    int rc;
    l->answer = -1;
    while (p < end) {
        size_t n = 0;
        int kind = LITERAL;
        if (*p == '{' && end - p > 1 && p[1] == '{') p++;
        else if (*p == '{') kind = placeholder(p, end, &n);
        if (kind == LITERAL) {
            *o++ = *p++;
            continue;
        }
        if (kind < 0)
            return FAIL(CO_E_CONFIG, "template %s:%d: unknown placeholder \"%.*s\", expected {instruction}, {input} or "
                        "{output} (\"{{\" is a literal brace)", name, line_at(text, p), (int)(n < 40 ? n : 40), p);
        if (kind == PART_OUTPUT && l->answer >= 0)
            return FAIL(CO_E_CONFIG, "template %s:%d: {output} stands there twice", name, line_at(text, p));
        if (kind != PART_OUTPUT && l->answer >= 0)
            return FAIL(CO_E_CONFIG, "template %s:%d: %.*s stands behind {output}, which is the answer to learn", name,
                        line_at(text, p), (int)n, p);
        rc = add_piece(l, name, LITERAL, lit, (size_t)(o - lit));
        if (rc) return rc;
        lit = o;
        if (kind == PART_OUTPUT) l->answer = l->n;
        rc = add_piece(l, name, kind, NULL, 1);
        if (rc) return rc;
        p += n;
    }
    if (l->answer < 0) return FAIL(CO_E_CONFIG, "template %s: no {output}, so there is nothing to learn", name);
    return add_piece(l, name, LITERAL, lit, (size_t)(o - lit));
}

static int parse_text(data_template *t, int which, layout *l, const char *name, const char *text, size_t len)
{
    t->text[which] = mem_alloc(len + 1, 1);
    if (!t->text[which]) return CO_E_NOMEM;
    return parse_layout(l, name, text, len, t->text[which]);
}

static int parse_file(data_template *t, const char *path)
{
    char *text;
    size_t len;
    int rc = fs_read_all(path, &text, &len, MAX_TEMPLATE);
    if (rc)
        return error_prefix(CO_E_CONFIG, "[dataset] template is neither \"alpaca\" nor \"none\" nor a file that can be "
                            "read");
    if (len && text[len - 1] == '\n') len--;
    if (len && text[len - 1] == '\r') len--;
    rc = parse_text(t, 0, &t->plain, path, text, len);
    if (!rc) t->with_input = t->plain;
    mem_free(text);
    return rc;
}

static view trim(view v)
{
    while (v.n && (*v.p == ' ' || *v.p == '\t')) v.p++, v.n--;
    while (v.n && (v.p[v.n - 1] == ' ' || v.p[v.n - 1] == '\t')) v.n--;
    return v;
}

static int set_column(data_template *t, view part, view column)
{
    for (int i = 0; i < N_PARTS; i++) {
        if (strlen(part_names[i]) != part.n || memcmp(part_names[i], part.p, part.n)) continue;
        if (t->column[i]) return FAIL(CO_E_CONFIG, "[dataset] columns: %s is given twice", part_names[i]);
        t->column[i] = mem_printf("%.*s", (int)column.n, column.p);
        return t->column[i] ? CO_OK : CO_E_NOMEM;
    }
    return FAIL(CO_E_CONFIG, "[dataset] columns: unknown part \"%.*s\", expected instruction, input or output",
                (int)part.n, part.p);
}

static int parse_columns(data_template *t, const char *columns)
{
    if (!columns || !*columns) columns = "instruction=instruction,input=input,output=output";
    while (*columns) {
        size_t n = strcspn(columns, ",");
        const char *eq = memchr(columns, '=', n);
        view part, column;
        int rc;
        if (!eq)
            return FAIL(CO_E_CONFIG, "[dataset] columns: expected part=column, found \"%.*s\"", (int)n, columns);
        part = trim((view){ columns, (size_t)(eq - columns) });
        column = trim((view){ eq + 1, n - (size_t)(eq + 1 - columns) });
        if (!column.n) return FAIL(CO_E_CONFIG, "[dataset] columns: no column behind \"%.*s=\"", (int)part.n, part.p);
        rc = set_column(t, part, column);
        if (rc) return rc;
        columns += n + (columns[n] == ',');
    }
    return CO_OK;
}

static int uses(const layout *l, int part)
{
    for (int i = 0; i < l->n; i++)
        if (l->pieces[i].kind == part) return 1;
    return 0;
}

int template_open(const char *name, const char *columns, data_template **out)
{
    int rc, loose = name && !strcmp(name, "none");
    data_template *t = mem_calloc(1, sizeof *t);
    if (!t) return CO_E_NOMEM;
    if (!name || !*name || !strcmp(name, "alpaca")) {
        name = "alpaca";
        rc = parse_text(t, 0, &t->plain, name, alpaca_plain, sizeof alpaca_plain - 1);
        if (!rc) rc = parse_text(t, 1, &t->with_input, name, alpaca_with_input, sizeof alpaca_with_input - 1);
    } else if (loose) {
        rc = parse_text(t, 0, &t->plain, name, no_template, sizeof no_template - 1);
        if (!rc) t->with_input = t->plain;
    } else {
        rc = parse_file(t, name);
    }
    if (!rc) rc = parse_columns(t, columns);
    if (!rc && !t->column[PART_OUTPUT])
        rc = FAIL(CO_E_CONFIG, "[dataset] columns: no output=…, so there is nothing to learn");
    if (!rc && !loose && !t->column[PART_INSTRUCTION] && uses(&t->plain, PART_INSTRUCTION))
        rc = FAIL(CO_E_CONFIG, "[dataset] columns: template %s needs instruction=…", name);
    if (rc) {
        template_close(t);
        return rc;
    }
    *out = t;
    return CO_OK;
}

void template_close(data_template *t)
{
    if (!t) return;
    for (int i = 0; i < N_PARTS; i++) mem_free(t->column[i]);
    mem_free(t->text[0]);
    mem_free(t->text[1]);
    mem_free(t);
}

static int fail_missing(const char *column, const co_field *f, uint32_t n)
{
    char there[256];
    size_t used = 0;
    there[0] = 0;
    for (uint32_t i = 0; i < n && used < sizeof there; i++) {
        int k = snprintf(there + used, sizeof there - used, "%s\"%s\"", i ? ", " : "", f[i].name);
        used += k > 0 ? (size_t)k : 0;
    }
    return FAIL(CO_E_FORMAT, "no column \"%s\"; the record has %s%s (say which is which with [dataset] columns)", column,
                n ? there : "none", used >= sizeof there ? "…" : "");
}

static int find_part(const data_template *t, int part, const co_field *f, uint32_t n, view *out)
{
    const char *column = t->column[part];
    *out = (view){ "", 0 };
    if (!column) return CO_OK;
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(f[i].name, column)) continue;
        if (f[i].type == CO_FIELD_JSON && f[i].len) {
            char c = f[i].data[0];
            if (c == 'n' && part == PART_INPUT) return CO_OK;
            if (c == 'n' || c == '{' || c == '[')
                return FAIL(CO_E_FORMAT, "column \"%s\": expected a string, found %s", column,
                            c == 'n' ? "null" : c == '{' ? "an object" : "an array");
        }
        *out = (view){ f[i].data, f[i].len };
        return CO_OK;
    }
    return part == PART_INPUT ? CO_OK : fail_missing(column, f, n);
}

static int join(const layout *l, int from, int to, const view parts[N_PARTS], co_arena *a, const char **out, size_t *len)
{
    size_t total = 0;
    char *p;
    for (int i = from; i < to; i++) total += l->pieces[i].kind == LITERAL ? l->pieces[i].len : parts[l->pieces[i].kind].n;
    p = arena_push(a, total + 1, 1);
    if (!p) return CO_E_NOMEM;
    *out = p;
    *len = total;
    for (int i = from; i < to; i++) {
        const piece *q = &l->pieces[i];
        view v = q->kind == LITERAL ? (view){ q->text, q->len } : parts[q->kind];
        if (v.n) memcpy(p, v.p, v.n);
        p += v.n;
    }
    *p = 0;
    return CO_OK;
}

int template_render(const data_template *t, const co_field *f, uint32_t n, co_arena *a, template_text *out)
{
    view parts[N_PARTS];
    const layout *l;
    int rc;
    for (int i = 0; i < N_PARTS; i++) {
        rc = find_part(t, i, f, n, &parts[i]);
        if (rc) return rc;
    }
    l = parts[PART_INPUT].n ? &t->with_input : &t->plain;
    rc = join(l, 0, l->answer, parts, a, &out->prompt, &out->prompt_len);
    if (rc) return rc;
    return join(l, l->answer, l->n, parts, a, &out->answer, &out->answer_len);
}

int template_prompt(const data_template *t, const char *instruction, const char *input, co_arena *a, template_text *out)
{
    view parts[N_PARTS] = { { instruction, strlen(instruction) }, { input ? input : "", input ? strlen(input) : 0 }, { "", 0 } };
    const layout *l = parts[PART_INPUT].n ? &t->with_input : &t->plain;
    out->answer = "";
    out->answer_len = 0;
    return join(l, 0, l->answer, parts, a, &out->prompt, &out->prompt_len);
}
