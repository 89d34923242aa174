#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/templates/jinja/node.h"
#include "core/data/templates/white.h"
#include <string.h>

static int blank(char c) { return c == ' ' || c == '\t'; }

static int lines_in(const char *p, size_t n)
{
    int lines = 0;
    for (size_t i = 0; i < n; i++) lines += p[i] == '\n';
    return lines;
}

/* Where the next tag opens, or the end. */
static const char *next_open(const char *p, const char *end)
{
    for (; p + 1 < end; p++)
        if (*p == '{' && (p[1] == '{' || p[1] == '%' || p[1] == '#')) return p;
    return end;
}

/* Where the tag's text ends: strings may hold what closes it. */
static const char *find_close(const char *p, const char *end, char a, char b)
{
    char quote = 0;
    for (; p + 1 < end; p++) {
        if (quote) {
            if (*p == '\\') p++;
            else if (*p == quote) quote = 0;
        } else if ((*p == '\'' || *p == '"') && a != '#') {
            quote = *p;
        } else if (*p == a && p[1] == b) {
            return p;
        }
    }
    return NULL;
}

/* Text up to the tag at `open`, its white space cut as the tags on both sides say. */
static int take_text(scanner *s, const char *open, segment *out)
{
    const char *p = s->p, *q = open;
    const int tag = open < s->end, block = tag && open[1] != '{', sign = tag && open + 2 < s->end ? open[2] : 0;
    size_t n;
    *out = (segment){.kind = SEGMENT_TEXT, .line = s->line};
    s->line += lines_in(p, (size_t)(open - p));
    if (s->trim_next == 1 && p < q && *p == '\r' && p + 1 < q && p[1] == '\n') p++;
    if (s->trim_next == 1 && p < q && *p == '\n') p++;
    if (sign == '-') {
        n = (size_t)(q - p);
        white_trim(&p, &n, TRIM_RIGHT);
        q = p + n;
    } else if (block && sign != '+') { /* lstrip_blocks: a block alone in its line takes what is before it */
        const char *r = q;
        while (r > s->p && blank(r[-1])) r--;
        if (r > s->p ? r[-1] == '\n' : s->at_line || (s->trim_next == 1 && p > s->p)) q = r < p ? p : r;
    }
    if (s->trim_next == 2) {
        n = (size_t)(q - p);
        white_trim(&p, &n, TRIM_LEFT);
        q = p + n;
    }
    out->s = p;
    out->len = (size_t)(q - p);
    s->p = open;
    s->trim_next = 0;
    return CO_OK;
}

int scan_segment(scanner *s, segment *out)
{
    for (;;) {
        const char *open = next_open(s->p, s->end);
        if (open > s->p) {
            const int rc = take_text(s, open, out);
            s->at_line = 0;
            if (rc || out->len) return rc;
        }
        if (s->p == s->end) return *out = (segment){.kind = SEGMENT_END, .line = s->line}, CO_OK;
        const char kind = s->p[1], *from = s->p + 2;
        if (from < s->end && (*from == '-' || (*from == '+' && kind != '{'))) from++;
        const char *close = find_close(from, s->end, kind == '{' ? '}' : kind, '}');
        if (!close) return FAIL(CO_E_FORMAT, "line %d: \"{%c\" is not closed", s->line, kind);
        const char *to = close;
        const int cuts = to > from && to[-1] == '-', keeps = to > from && to[-1] == '+' && kind != '{';
        if (cuts || keeps) to--;
        *out = (segment){.kind = kind == '{' ? SEGMENT_PRINT : SEGMENT_BLOCK, .line = s->line, .s = from, .len = (size_t)(to - from)};
        s->line += lines_in(s->p, (size_t)(close - s->p));
        s->p = close + 2;
        s->trim_next = cuts ? 2 : kind != '{' && !keeps;
        s->at_line = 0;
        if (kind != '#') return CO_OK;
    }
}

static int unescape(scanner *s, const char *p, size_t n, token *t)
{
    char *o = arena_push(s->a, n + 1, 1);
    if (!o) return CO_E_NOMEM;
    t->s = o;
    for (size_t i = 0; i < n; i++) {
        if (p[i] != '\\' || i + 1 == n) {
            *o++ = p[i];
            continue;
        }
        const char c = p[++i];
        if (!c || !strchr("ntr\\'\"", c)) return FAIL(CO_E_UNSUPPORTED, "line %d: the escape \"\\%c\" is not known here", t->line, c >= 32 && c < 127 ? c : '?');
        *o++ = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
    }
    *o = 0;
    t->len = (size_t)(o - t->s);
    return CO_OK;
}

static int name_char(char c, int first)
{
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (!first && c >= '0' && c <= '9');
}

static int scan_token(scanner *s, const char **at, const char *end, token *t)
{
    static const char *const two[] = {"==", "!=", "<=", ">=", "//", "**"};
    const char *p = *at;
    t->s = p;
    if (name_char(*p, 1)) {
        while (p < end && name_char(*p, 0)) p++;
        t->kind = TOKEN_NAME;
    } else if (*p >= '0' && *p <= '9') {
        for (; p < end && *p >= '0' && *p <= '9'; p++)
            if (__builtin_mul_overflow(t->i, 10, &t->i) || __builtin_add_overflow(t->i, *p - '0', &t->i)) return FAIL(CO_E_UNSUPPORTED, "line %d: a number too large", t->line);
        if (p < end && (*p == '.' || *p == 'e' || *p == '_') && p + 1 < end && p[1] >= '0' && p[1] <= '9')
            return FAIL(CO_E_UNSUPPORTED, "line %d: numbers other than whole ones are not known here", t->line);
        t->kind = TOKEN_INT;
    } else if (*p == '\'' || *p == '"') {
        const char quote = *p++;
        const char *from = p;
        while (p < end && *p != quote) p += *p == '\\' && p + 1 < end ? 2 : 1;
        if (p >= end) return FAIL(CO_E_FORMAT, "line %d: a string is not closed", t->line);
        const int rc = unescape(s, from, (size_t)(p - from), t);
        if (rc) return rc;
        t->kind = TOKEN_STR;
        *at = p + 1;
        return CO_OK;
    } else if (strchr("+-*/%~=!<>.,:|()[]{}", *p) && *p) {
        p++;
        for (size_t i = 0; i < sizeof two / sizeof *two; i++)
            if (p < end && p[-1] == two[i][0] && *p == two[i][1]) {
                p++;
                break;
            }
        t->kind = TOKEN_SYMBOL;
    } else {
        return FAIL(CO_E_FORMAT, "line %d: a character that has no place here (0x%02x)", t->line, (unsigned char)*p);
    }
    t->len = (size_t)(p - t->s);
    *at = p;
    return CO_OK;
}

int scan_tokens(scanner *s, const segment *g, token **out)
{
    const char *p = g->s, *end = p + g->len;
    token *t = *out = arena_push(s->a, (g->len + 1) * sizeof *t, 8); /* none is shorter than a byte */
    int line = g->line, rc = CO_OK;
    if (!t) return CO_E_NOMEM;
    while (rc == CO_OK) {
        while (p < end && (blank(*p) || *p == '\n' || *p == '\r')) line += *p++ == '\n';
        *t = (token){.line = line};
        if (p == end) break;
        const char *from = p;
        rc = scan_token(s, &p, end, t++);
        line += lines_in(from, (size_t)(p - from));
    }
    return rc;
}
