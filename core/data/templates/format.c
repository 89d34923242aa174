/* format.c: template files to bodies of pieces. */
#include "core/data/templates/format.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/templates/white.h"
#include <string.h>

enum { MAX_PIECES = 64 };

static const char *const headers[N_BODIES] = {"begin", "system", "user", "user with input", "first user", "assistant"};
static const struct { const char *name; int kind; unsigned bodies; } holders[] = { /* where each may stand */
    {"content", PIECE_CONTENT, 1u << BODY_SYSTEM | 1u << BODY_USER | 1u << BODY_USER_INPUT | 1u << BODY_USER_FIRST | 1u << BODY_ASSISTANT},
    {"input", PIECE_INPUT, 1u << BODY_USER | 1u << BODY_USER_INPUT}, {"system", PIECE_SYSTEM, 1u << BODY_USER_FIRST},
    {"bos", PIECE_BOS, ~0u}, {"eos", PIECE_EOS, ~0u}, {"before", PIECE_BEFORE, 1u << BODY_BEGIN}, {"end", PIECE_END, 1u << BODY_ASSISTANT},
    {"learn", PIECE_LEARN, 1u << BODY_ASSISTANT}, {"/learn", PIECE_STOP, 1u << BODY_ASSISTANT}};

typedef struct reader {
    chat_format *f;
    const char *name, *text;
    char *o; /* where the next literal's bytes go in the store */
} reader;

int format_line(const char *text, const char *at)
{
    int line = 1;
    for (; text < at; text++) line += *text == '\n';
    return line;
}

int format_add(format_body *b, const format_piece *p)
{
    if (b->n == b->cap) {
        format_piece *more = mem_grow(b->p, (size_t)b->cap, (size_t)b->cap + 16, sizeof *more);
        if (!more) return CO_E_NOMEM;
        b->p = more;
        b->cap += 16;
    }
    b->p[b->n++] = *p;
    return CO_OK;
}

void format_free(chat_format *f)
{
    for (int i = 0; i < N_BODIES; i++) mem_free(f->body[i].p);
    for (int i = 0; i < FORMAT_STOPS; i++) mem_free(f->stop[i]);
    mem_free(f->system);
    mem_free(f->system_input);
    mem_free(f->tokens);
    mem_free(f->store);
    *f = (chat_format){0};
}

/* The byte a backslash at p stands for; -1: no escape. */
static int escape(const char *p, const char *end)
{
    if (*p != '\\' || p + 1 == end) return -1;
    return p[1] == 'n' ? '\n' : p[1] == 't' ? '\t' : p[1] == 's' ? ' ' : p[1] == '\\' ? '\\' : -1;
}

static char *unescape(const char *p, const char *end)
{
    char *out = mem_alloc((size_t)(end - p) + 1, 1), *o = out;
    while (out && p < end) {
        const int c = escape(p, end);
        *o++ = c < 0 ? *p : (char)c;
        p += c < 0 ? 1 : 2;
    }
    return out;
}

static int flush(reader *r, format_body *b, char **lit)
{
    const format_piece p = {.kind = PIECE_TEXT, .text = *lit, .len = (size_t)(r->o - *lit)};
    *lit = r->o;
    if (!p.len) return CO_OK;
    if (b->n >= MAX_PIECES) return FAIL(CO_E_CONFIG, "template %s: more than %d placeholders and texts between them", r->name, MAX_PIECES);
    return format_add(b, &p);
}

/* "{name}" or "{name|filter}" at p, of n bytes; a brace that opens neither is text. */
static int holder(reader *r, int body, const char *p, size_t n, format_piece *out)
{
    static const struct { const char *name; int trim; } filters[] = {{"trim", TRIM_BOTH}, {"ltrim", TRIM_LEFT}, {"rtrim", TRIM_RIGHT}};
    const char *bar = memchr(p, '|', n), *q = p + 1;
    const size_t len = (size_t)((bar ? bar : p + n - 1) - q), filter = bar ? (size_t)(p + n - 1 - (bar + 1)) : 0;
    *out = (format_piece){.kind = -1};
    for (size_t i = 0; i < sizeof holders / sizeof *holders; i++) {
        if (strlen(holders[i].name) != len || memcmp(holders[i].name, q, len)) continue;
        if (!(holders[i].bodies >> body & 1))
            return FAIL(CO_E_CONFIG, "template %s:%d: {%s} cannot stand in [%s]", r->name, format_line(r->text, p), holders[i].name, headers[body]);
        out->kind = holders[i].kind;
    }
    for (size_t i = 0; i < 3; i++)
        if (strlen(filters[i].name) == filter && memcmp(filters[i].name, bar + 1, filter) == 0) out->trim = filters[i].trim;
    if (out->kind >= 0 && (!bar || (out->trim && out->kind <= PIECE_SYSTEM))) return CO_OK;
    return FAIL(CO_E_CONFIG, "template %s:%d: unknown placeholder \"%.*s\" (known: {content} {content|trim} {content|ltrim} {content|rtrim} {input} {system} "
                "{bos} {eos} {before} {end} {learn} {/learn}; \"{{\" is a brace)", r->name, format_line(r->text, p), (int)(n < 40 ? n : 40), p);
}

static int parse_body(reader *r, int which, const char *p, const char *end)
{
    format_body *b = &r->f->body[which];
    char *lit = r->o;
    int rc = CO_OK;
    if (b->there) return FAIL(CO_E_CONFIG, "template %s:%d: [%s] stands there twice", r->name, format_line(r->text, p) - 1, headers[which]);
    b->there = 1;
    while (p < end && rc == CO_OK) {
        const int c = escape(p, end);
        const char *q = p + 1;
        if (c >= 0) {
            *r->o++ = (char)c;
            p += 2;
            continue;
        }
        if (*p == '{' && q < end && *q == '{') {
            *r->o++ = '{';
            p += 2;
            continue;
        }
        while (*p == '{' && q < end && ((*q >= 'a' && *q <= 'z') || *q == '/' || *q == '|' || *q == '_')) q++;
        if (*p != '{' || q == p + 1 || q == end || *q != '}') {
            *r->o++ = *p++;
            continue;
        }
        format_piece piece;
        rc = holder(r, which, p, (size_t)(q + 1 - p), &piece);
        if (rc == CO_OK) rc = flush(r, b, &lit);
        if (rc == CO_OK) rc = format_add(b, &piece);
        p = q + 1;
    }
    return rc == CO_OK ? flush(r, b, &lit) : rc;
}

static int parse_flag(const reader *r, const char *at, const char *v, size_t n, int32_t *out)
{
    if (n != 1 || (*v != '0' && *v != '1')) return FAIL(CO_E_CONFIG, "template %s:%d: expected 0 or 1", r->name, format_line(r->text, at));
    *out = *v == '1';
    return CO_OK;
}

static int parse_option(reader *r, const char *line, const char *end)
{
    const char *eq = memchr(line, '=', (size_t)(end - line)), *key = line, *v = eq ? eq + 1 : end;
    size_t nk = (size_t)((eq ? eq : end) - line), nv = (size_t)(end - v);
    char **text = NULL;
    white_trim(&key, &nk, TRIM_BOTH);
    white_trim(&v, &nv, TRIM_BOTH);
    if (!nk || *key == ';' || *key == '#') return CO_OK;
    if (!eq) return FAIL(CO_E_CONFIG, "template %s:%d: expected key = value", r->name, format_line(r->text, line));
    if (nk == 3 && !memcmp(key, "cut", 3)) return parse_flag(r, line, v, nv, &r->f->cut);
    if (nk == 9 && !memcmp(key, "alternate", 9)) return parse_flag(r, line, v, nv, &r->f->alternate);
    if (nk == 6 && !memcmp(key, "system", 6)) text = &r->f->system;
    else if (nk == 17 && !memcmp(key, "system_with_input", 17)) text = &r->f->system_input;
    else if (nk == 6 && !memcmp(key, "tokens", 6)) text = &r->f->tokens;
    else if (nk == 4 && !memcmp(key, "stop", 4) && r->f->n_stop < FORMAT_STOPS && nv) text = &r->f->stop[r->f->n_stop++];
    if (!text || *text)
        return FAIL(CO_E_CONFIG, "template %s:%d: \"%.*s\": %s", r->name, format_line(r->text, line), (int)(nk < 40 ? nk : 40), key,
                    text ? "given twice" : "unknown, or too many, or empty (known: system, system_with_input, stop, tokens, cut, alternate)");
    *text = unescape(v, v + nv);
    return *text ? CO_OK : CO_E_NOMEM;
}

static int parse_options(reader *r, const char *p, const char *end)
{
    int rc = CO_OK;
    while (p < end && rc == CO_OK) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        rc = parse_option(r, p, stop ? stop : end);
        p = stop ? stop + 1 : end;
    }
    return rc;
}

enum { SECTION_NONE = -1, SECTION_OPTIONS = N_BODIES };

/* Which section's header the line at p is; *next: behind it. */
static int header_at(const char *p, const char *end, const char **next)
{
    const char *stop = memchr(p, '\n', (size_t)(end - p));
    size_t n = (size_t)((stop ? stop : end) - p);
    *next = stop ? stop + 1 : end;
    if (n && p[n - 1] == '\r') n--;
    if (n < 3 || *p != '[' || p[n - 1] != ']') return SECTION_NONE;
    for (int i = 0; i < N_BODIES; i++)
        if (strlen(headers[i]) == n - 2 && memcmp(headers[i], p + 1, n - 2) == 0) return i;
    return n == 9 && memcmp(p, "[options]", 9) == 0 ? SECTION_OPTIONS : SECTION_NONE;
}

/* Exactly one {content} where a message goes; {learn} and {/learn} around it, once and in order. */
static int check_body(const reader *r, format_body *b, int which)
{
    int content = 0, learn = -1, stop = -1, at = -1;
    for (int i = 0; i < b->n; i++) {
        if (b->p[i].kind == PIECE_CONTENT) content++, at = i;
        if (b->p[i].kind == PIECE_LEARN) learn = learn < 0 ? i : MAX_PIECES;
        if (b->p[i].kind == PIECE_STOP) stop = stop < 0 ? i : MAX_PIECES;
    }
    if (which == BODY_BEGIN || !b->there) return CO_OK;
    if (content != 1) return FAIL(CO_E_CONFIG, "template %s: [%s] needs one {content}, it has %d", r->name, headers[which], content);
    if (which != BODY_ASSISTANT) return CO_OK;
    if (learn > at || (stop >= 0 && stop < at) || stop == MAX_PIECES)
        return FAIL(CO_E_CONFIG, "template %s: [assistant] needs {learn} before {content} and {/learn} behind it, each once", r->name);
    if (learn < 0) {
        const format_piece none = {0};
        const int rc = format_add(b, &none);
        if (rc) return rc;
        memmove(b->p + at + 1, b->p + at, (size_t)(b->n - 1 - at) * sizeof *b->p);
        b->p[at] = (format_piece){.kind = PIECE_LEARN};
        stop += stop >= 0;
    }
    return stop < 0 ? format_add(b, &(format_piece){.kind = PIECE_STOP}) : CO_OK;
}

static int parse_sections(reader *r, const char *text, const char *end)
{
    const char *p = text, *next;
    int rc = CO_OK;
    for (int section = SECTION_NONE; p < end && rc == CO_OK;) {
        const int found = header_at(p, end, &next);
        if (found == SECTION_NONE && section == SECTION_NONE) {
            const char *line = p;
            size_t n = (size_t)(next - p);
            white_trim(&line, &n, TRIM_BOTH);
            if (n && *line != ';' && *line != '#')
                return FAIL(CO_E_CONFIG, "template %s:%d: text before the first header ([options], [begin], [system], [user], [user with input], "
                            "[first user], [assistant])", r->name, format_line(text, p));
            p = next;
            continue;
        }
        section = found;
        const char *from = next, *to = next;
        while (to < end && header_at(to, end, &next) == SECTION_NONE) to = next;
        p = to;
        if (to > from && to[-1] == '\n') to--; /* the break before a header, or the editor's at the file's end */
        if (to > from && to[-1] == '\r') to--;
        rc = section == SECTION_OPTIONS ? parse_options(r, from, to) : parse_body(r, section, from, to);
    }
    return rc;
}

int format_parse(const char *name, const char *text, size_t len, chat_format *out)
{
    const char *end = text + len, *next;
    chat_format f = {0};
    reader r = {.f = &f, .name = name, .text = text};
    int chat = 0, rc = CO_OK;
    for (const char *p = text; p < end; p = next) chat |= header_at(p, end, &next) == BODY_ASSISTANT;
    if (!chat) return format_parse_simple(name, text, len, out);
    if (memchr(text, 0, len)) return FAIL(CO_E_CONFIG, "template %s: a NUL byte in it", name);
    f.store = r.o = mem_alloc(len + 1, 1);
    if (!f.store) return CO_E_NOMEM;
    rc = parse_sections(&r, text, end);
    for (int i = 0; i < N_BODIES && rc == CO_OK; i++) rc = check_body(&r, &f.body[i], i);
    if (rc == CO_OK && !f.body[BODY_USER].there) rc = FAIL(CO_E_CONFIG, "template %s: no [user]", name);
    if (rc == CO_OK && f.system && !f.body[BODY_SYSTEM].there && !f.body[BODY_USER_FIRST].there)
        rc = FAIL(CO_E_CONFIG, "template %s: options say a system message, and there is neither [system] nor [first user] to hold it", name);
    if (rc) format_free(&f);
    else *out = f;
    return rc;
}
