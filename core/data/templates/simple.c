/* simple.c: template files with {instruction}, {input} and {output}. */
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/templates/format.h"
#include <string.h>

enum { MAX_PIECES = 64 };
static const struct { const char *name; int kind; } parts[] = {{"instruction", PIECE_CONTENT}, {"input", PIECE_INPUT}, {"output", PIECE_STOP}};

/* The part that "{name}" at p stands for; PIECE_TEXT if it is not of that form; -1: an unknown name. */
static int placeholder(const char *p, const char *end, size_t *len)
{
    const char *q = p + 1;
    while (q < end && ((*q >= 'a' && *q <= 'z') || (*q >= 'A' && *q <= 'Z') || *q == '_')) q++;
    if (q == p + 1 || q == end || *q != '}') return PIECE_TEXT;
    *len = (size_t)(q + 1 - p);
    for (size_t i = 0; i < 3; i++)
        if (strlen(parts[i].name) == *len - 2 && !memcmp(parts[i].name, p + 1, *len - 2)) return parts[i].kind;
    return -1;
}

static int add(format_body *b, const char *name, int kind, const char *text, size_t len)
{
    const format_piece p = {.kind = kind, .text = text, .len = len};
    if (!len && kind == PIECE_TEXT) return CO_OK;
    if (b->n == MAX_PIECES) return FAIL(CO_E_CONFIG, "template %s: more than %d placeholders and texts between them", name, MAX_PIECES);
    return format_add(b, &p);
}

static int parse(chat_format *f, const char *name, const char *text, size_t len)
{
    format_body *b = &f->body[BODY_USER];
    const char *p = text, *end = text + len;
    char *lit = f->store, *o = lit;
    int rc;
    while (p < end) {
        size_t n = 0;
        int kind = PIECE_TEXT;
        if (*p == '{' && end - p > 1 && p[1] == '{') p++;
        else if (*p == '{') kind = placeholder(p, end, &n);
        if (kind == PIECE_TEXT) {
            *o++ = *p++;
            continue;
        }
        const int behind = b == &f->body[BODY_ASSISTANT];
        if (kind < 0)
            return FAIL(CO_E_CONFIG, "template %s:%d: unknown placeholder \"%.*s\", expected {instruction}, {input} or {output} (\"{{\" is a literal brace)",
                        name, format_line(text, p), (int)(n < 40 ? n : 40), p);
        if (behind && kind == PIECE_STOP) return FAIL(CO_E_CONFIG, "template %s:%d: {output} stands there twice", name, format_line(text, p));
        if (behind)
            return FAIL(CO_E_CONFIG, "template %s:%d: %.*s stands behind {output}, which is the answer to learn", name, format_line(text, p), (int)n, p);
        rc = add(b, name, PIECE_TEXT, lit, (size_t)(o - lit));
        lit = o;
        if (rc == CO_OK && kind == PIECE_STOP) {
            b = &f->body[BODY_ASSISTANT];
            rc = add(b, name, PIECE_LEARN, NULL, 0);
            kind = PIECE_CONTENT;
        }
        if (rc == CO_OK) rc = add(b, name, kind, NULL, 1);
        if (rc) return rc;
        p += n;
    }
    if (b != &f->body[BODY_ASSISTANT]) return FAIL(CO_E_CONFIG, "template %s: no {output}, so there is nothing to learn", name);
    rc = add(b, name, PIECE_TEXT, lit, (size_t)(o - lit));
    if (rc == CO_OK) rc = add(b, name, PIECE_EOS, NULL, 1);
    return rc == CO_OK ? add(b, name, PIECE_STOP, NULL, 1) : rc;
}

int format_parse_simple(const char *name, const char *text, size_t len, chat_format *out)
{
    chat_format f = {.cut = 1, .simple = 1};
    if (len && text[len - 1] == '\n') len--;
    if (len && text[len - 1] == '\r') len--;
    f.body[BODY_BEGIN].there = f.body[BODY_USER].there = f.body[BODY_ASSISTANT].there = 1;
    f.store = mem_alloc(len + 1, 1);
    int rc = f.store ? format_add(&f.body[BODY_BEGIN], &(format_piece){.kind = PIECE_BEFORE}) : CO_E_NOMEM;
    if (rc == CO_OK) rc = parse(&f, name, text, len);
    if (rc) format_free(&f);
    else *out = f;
    return rc;
}
