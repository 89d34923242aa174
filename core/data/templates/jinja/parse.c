#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/templates/jinja/node.h"
#include <string.h>

enum { MAX_DEPTH = 48, MAX_TEXT = 1 << 18 };

typedef struct parser {
    scanner scan;
    const token *t;
    int depth, rc; /* the first error; nothing is looked at after it */
} parser;

static node *fail(parser *p, int rc) { return p->rc = p->rc ? p->rc : rc, NULL; }

static node *new_node(parser *p, int kind)
{
    node *n = p->rc ? NULL : arena_push(p->scan.a, sizeof *n, 16);
    if (!n) return fail(p, CO_E_NOMEM);
    *n = (node){.kind = kind, .line = p->t ? p->t->line : p->scan.line};
    return n;
}

static int is(const parser *p, int kind, const char *s)
{
    return p->t->kind == kind && p->t->len == strlen(s) && memcmp(p->t->s, s, p->t->len) == 0;
}

static int symbol(parser *p, const char *s)
{
    if (p->rc || !is(p, TOKEN_SYMBOL, s)) return 0;
    p->t++;
    return 1;
}

static int word(parser *p, const char *s)
{
    if (p->rc || !is(p, TOKEN_NAME, s)) return 0;
    p->t++;
    return 1;
}

static void unexpected(parser *p, const char *want)
{
    if (p->rc) return;
    if (p->t->kind == TOKEN_END) p->rc = FAIL(CO_E_FORMAT, "line %d: expected %s, found the end of the tag", p->t->line, want);
    else p->rc = FAIL(CO_E_UNSUPPORTED, "line %d: expected %s, found \"%.*s\"", p->t->line, want, (int)(p->t->len < 40 ? p->t->len : 40), p->t->s);
}

static void expect(parser *p, const char *s)
{
    if (!symbol(p, s)) unexpected(p, s);
}

static void append(node *to, node *n)
{
    if (!n) return;
    if (to->last) to->last->next = n;
    else to->first = n;
    to->last = n;
}

static node *expression(parser *p);

/* "(a, b, k=c)", the bracket taken. */
static void arguments(parser *p, node *to)
{
    while (!p->rc && !symbol(p, ")")) {
        const token *k = p->t;
        const int named = k->kind == TOKEN_NAME && k[1].kind == TOKEN_SYMBOL && k[1].len == 1 && *k[1].s == '=';
        if (named) p->t += 2;
        node *n = expression(p), *held = n ? new_node(p, NODE_CHOICE) : NULL; /* a holder, so that shared nodes keep their own links */
        if (!held) return;
        held->a = n;
        if (named) held->key = k->s, held->key_len = k->len;
        append(to, held);
        if (!is(p, TOKEN_SYMBOL, ")")) expect(p, ",");
    }
}

static node *held(parser *p, node *n)
{
    node *h = n ? new_node(p, NODE_CHOICE) : NULL;
    if (h) h->a = n;
    return h;
}

static node *primary(parser *p)
{
    static const struct { const char *name; int kind; int64_t i; } words[] = {{"true", NODE_BOOL, 1}, {"True", NODE_BOOL, 1}, {"false", NODE_BOOL, 0},
                                                                             {"False", NODE_BOOL, 0}, {"none", NODE_NONE, 0}, {"None", NODE_NONE, 0}};
    const token *t = p->t;
    node *n;
    if (p->rc) return NULL;
    if (t->kind == TOKEN_STR || t->kind == TOKEN_INT || t->kind == TOKEN_NAME) {
        n = new_node(p, t->kind == TOKEN_STR ? NODE_STR : t->kind == TOKEN_INT ? NODE_INT : NODE_NAME);
        if (!n) return NULL;
        p->t++;
        n->s = t->s, n->len = t->len, n->i = t->i;
        for (size_t i = 0; t->kind == TOKEN_NAME && i < sizeof words / sizeof *words; i++)
            if (strlen(words[i].name) == t->len && memcmp(words[i].name, t->s, t->len) == 0) n->kind = words[i].kind, n->i = words[i].i;
        return n;
    }
    if (symbol(p, "(")) {
        n = expression(p);
        expect(p, ")");
        return n;
    }
    if (symbol(p, "[")) {
        n = new_node(p, NODE_LIST);
        while (n && !p->rc && !symbol(p, "]")) {
            append(n, held(p, expression(p)));
            if (!p->rc && !is(p, TOKEN_SYMBOL, "]")) expect(p, ",");
        }
        return n;
    }
    if (symbol(p, "{")) {
        n = new_node(p, NODE_DICT);
        while (n && !p->rc && !symbol(p, "}")) {
            node *k = held(p, expression(p));
            expect(p, ":");
            if (k) k->b = expression(p);
            append(n, k);
            if (!p->rc && !is(p, TOKEN_SYMBOL, "}")) expect(p, ",");
        }
        return n;
    }
    unexpected(p, "a value");
    return NULL;
}

static node *subscript(parser *p, node *of)
{
    node *n = new_node(p, NODE_INDEX);
    if (!n) return NULL;
    n->a = of;
    if (!is(p, TOKEN_SYMBOL, ":")) n->b = expression(p);
    if (symbol(p, ":")) {
        n->kind = NODE_SLICE;
        if (!is(p, TOKEN_SYMBOL, "]") && !is(p, TOKEN_SYMBOL, ":")) n->c = expression(p);
        if (symbol(p, ":")) { /* a step: [::-1] alone */
            if (!(symbol(p, "-") && p->t->kind == TOKEN_INT && p->t->i == 1) || n->b || n->c) {
                if (!p->rc) p->rc = FAIL(CO_E_UNSUPPORTED, "line %d: slices with a step other than [::-1] are not known here", n->line);
                return NULL;
            }
            p->t++;
            n->i = -1;
        }
    }
    expect(p, "]");
    return n;
}

/* Members, indices, calls, filters and tests behind a value. */
static node *postfix(parser *p, node *n)
{
    while (n && !p->rc) {
        if (symbol(p, "[")) {
            n = subscript(p, n);
        } else if (symbol(p, "(")) {
            node *call;
            if (n->kind != NODE_NAME && n->kind != NODE_ATTR) return p->rc = FAIL(CO_E_UNSUPPORTED, "line %d: a call of something without a name", n->line), NULL;
            call = new_node(p, n->kind == NODE_NAME ? NODE_CALL : NODE_METHOD);
            if (!call) return NULL;
            call->s = n->s, call->len = n->len, call->a = n->a;
            arguments(p, call);
            n = call;
        } else if (is(p, TOKEN_SYMBOL, ".") || is(p, TOKEN_SYMBOL, "|") || is(p, TOKEN_NAME, "is")) {
            const int kind = is(p, TOKEN_SYMBOL, ".") ? NODE_ATTR : is(p, TOKEN_SYMBOL, "|") ? NODE_FILTER : NODE_TEST;
            node *of = new_node(p, kind);
            p->t++;
            if (!of) return NULL;
            of->a = n;
            if (kind == NODE_TEST) of->i = word(p, "not");
            if (p->t->kind != TOKEN_NAME) return unexpected(p, "a name"), NULL;
            of->s = p->t->s, of->len = p->t->len;
            p->t++;
            if (kind == NODE_FILTER && symbol(p, "(")) arguments(p, of);
            if (kind == NODE_TEST && is(p, TOKEN_SYMBOL, "(")) p->rc = FAIL(CO_E_UNSUPPORTED, "line %d: tests with arguments are not known here (is %.*s)", of->line, (int)of->len, of->s);
            n = of;
        } else {
            break;
        }
    }
    return n;
}

static node *binary(parser *p, int op, const node *a, const node *b)
{
    node *n = a && b ? new_node(p, NODE_BINARY) : NULL;
    if (n) n->i = op, n->a = a, n->b = b;
    return n;
}

static node *unary(parser *p)
{
    if (++p->depth > MAX_DEPTH) return fail(p, FAIL(CO_E_UNSUPPORTED, "line %d: nested deeper than %d", p->t->line, MAX_DEPTH));
    node *n;
    if (symbol(p, "-")) {
        n = new_node(p, NODE_NEG);
        if (n) n->a = unary(p);
    } else {
        n = postfix(p, primary(p));
    }
    p->depth--;
    return n;
}

static node *product(parser *p)
{
    node *n = unary(p);
    while (n && !p->rc) {
        if (symbol(p, "*")) n = binary(p, OP_MUL, n, unary(p));
        else if (symbol(p, "//")) n = binary(p, OP_FLOORDIV, n, unary(p));
        else if (symbol(p, "%")) n = binary(p, OP_MOD, n, unary(p));
        else break;
    }
    return n;
}

static node *concat(parser *p)
{
    node *n = product(p);
    while (n && symbol(p, "~")) n = binary(p, OP_CONCAT, n, product(p));
    return n;
}

static node *sum(parser *p)
{
    node *n = concat(p);
    while (n && !p->rc) {
        if (symbol(p, "+")) n = binary(p, OP_ADD, n, concat(p));
        else if (symbol(p, "-")) n = binary(p, OP_SUB, n, concat(p));
        else break;
    }
    return n;
}

static node *compare(parser *p)
{
    static const struct { const char *s; int op; } ops[] = {{"==", OP_EQ}, {"!=", OP_NE}, {"<=", OP_LE}, {">=", OP_GE}, {"<", OP_LT}, {">", OP_GT}};
    node *left = sum(p), *all = NULL;
    while (left && !p->rc) { /* a < b < c is a < b and b < c */
        int op = -1;
        for (size_t i = 0; i < sizeof ops / sizeof *ops && op < 0; i++)
            if (symbol(p, ops[i].s)) op = ops[i].op;
        if (op < 0 && word(p, "in")) op = OP_IN;
        if (op < 0 && is(p, TOKEN_NAME, "not") && p->t[1].kind == TOKEN_NAME && p->t[1].len == 2 && !memcmp(p->t[1].s, "in", 2)) p->t += 2, op = OP_NOT_IN;
        if (op < 0) break;
        node *right = sum(p), *one = binary(p, op, left, right), *both = all && one ? new_node(p, NODE_AND) : NULL;
        if (both) both->a = all, both->b = one;
        all = all ? both : one;
        left = right;
    }
    return all ? all : left;
}

static node *negation(parser *p)
{
    if (++p->depth > MAX_DEPTH) return fail(p, FAIL(CO_E_UNSUPPORTED, "line %d: nested deeper than %d", p->t->line, MAX_DEPTH));
    node *n;
    if (word(p, "not")) {
        n = new_node(p, NODE_NOT);
        if (n) n->a = negation(p);
    } else {
        n = compare(p);
    }
    p->depth--;
    return n;
}

static node *both(parser *p, int kind, const node *a, const node *b)
{
    node *n = a && b ? new_node(p, kind) : NULL;
    if (n) n->a = a, n->b = b;
    return n;
}

static node *conjunction(parser *p)
{
    node *n = negation(p);
    while (n && word(p, "and")) n = both(p, NODE_AND, n, negation(p));
    return n;
}

static node *disjunction(parser *p)
{
    node *n = conjunction(p);
    while (n && word(p, "or")) n = both(p, NODE_OR, n, conjunction(p));
    return n;
}

static node *expression(parser *p)
{
    if (++p->depth > MAX_DEPTH) return fail(p, FAIL(CO_E_UNSUPPORTED, "line %d: nested deeper than %d", p->t->line, MAX_DEPTH));
    node *n = disjunction(p);
    while (n && word(p, "if")) {
        node *c = new_node(p, NODE_CHOICE);
        if (!c) return NULL;
        c->a = n;
        c->b = disjunction(p);
        if (word(p, "else")) c->c = expression(p);
        n = c;
    }
    p->depth--;
    return p->rc ? NULL : n;
}

static void finish_tag(parser *p)
{
    if (!p->rc && p->t->kind != TOKEN_END) unexpected(p, "the end of the tag");
}

static node *body(parser *p, const char *const *ends, int *which);

static node *if_statement(parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const last[] = {"endif", NULL};
    node *n = new_node(p, NODE_IF);
    int which = -1;
    if (!n) return NULL;
    n->a = expression(p);
    finish_tag(p);
    n->b = body(p, ends, &which);
    if (p->rc) return NULL;
    if (which == 0) n->other = if_statement(p); /* takes the endif */
    else finish_tag(p);
    if (which == 1) n->other = body(p, last, &which), finish_tag(p);
    return n;
}

static node *for_statement(parser *p)
{
    static const char *const ends[] = {"else", "endfor", NULL}, *const last[] = {"endfor", NULL};
    node *n = new_node(p, NODE_FOR);
    int which = -1;
    if (!n) return NULL;
    if (p->t->kind != TOKEN_NAME) return unexpected(p, "a name"), NULL;
    n->s = p->t->s, n->len = p->t->len;
    p->t++;
    if (symbol(p, ",")) {
        if (p->t->kind != TOKEN_NAME) return unexpected(p, "a name"), NULL;
        n->s2 = p->t->s, n->len2 = p->t->len;
        p->t++;
    }
    if (!word(p, "in")) return unexpected(p, "in"), NULL;
    n->a = disjunction(p);
    if (word(p, "if")) n->c = expression(p);
    finish_tag(p);
    n->b = body(p, ends, &which);
    if (p->rc) return NULL;
    finish_tag(p);
    if (which == 0) n->other = body(p, last, &which), finish_tag(p);
    return n;
}

static node *set_statement(parser *p)
{
    node *n = new_node(p, NODE_SET);
    if (!n) return NULL;
    if (p->t->kind != TOKEN_NAME) return unexpected(p, "a name"), NULL;
    n->s = p->t->s, n->len = p->t->len;
    p->t++;
    if (symbol(p, ".")) {
        if (p->t->kind != TOKEN_NAME) return unexpected(p, "a name"), NULL;
        n->s2 = p->t->s, n->len2 = p->t->len;
        p->t++;
    }
    if (p->t->kind == TOKEN_END) return p->rc = FAIL(CO_E_UNSUPPORTED, "line %d: {%% set %%} of a block is not known here", n->line), NULL;
    expect(p, "=");
    n->a = expression(p);
    finish_tag(p);
    return n;
}

static node *statement(parser *p)
{
    static const char *const ends[] = {"endgeneration", NULL};
    int which = -1;
    node *n;
    if (word(p, "if")) return if_statement(p);
    if (word(p, "for")) return for_statement(p);
    if (word(p, "set")) return set_statement(p);
    if (word(p, "break")) return finish_tag(p), new_node(p, NODE_BREAK);
    if (word(p, "continue")) return finish_tag(p), new_node(p, NODE_CONTINUE);
    if (word(p, "generation")) {
        finish_tag(p);
        n = body(p, ends, &which);
        finish_tag(p);
        return n;
    }
    if (p->t->kind == TOKEN_NAME) p->rc = FAIL(CO_E_UNSUPPORTED, "line %d: {%% %.*s %%} is not known here", p->t->line, (int)(p->t->len < 40 ? p->t->len : 40), p->t->s);
    else unexpected(p, "a statement");
    return NULL;
}

/* Statements up to one of `ends`, whose word is taken; NULL: to the end of the template. */
static node *body(parser *p, const char *const *ends, int *which)
{
    node *n = new_node(p, NODE_BLOCK);
    segment g;
    if (++p->depth > MAX_DEPTH) return fail(p, FAIL(CO_E_UNSUPPORTED, "line %d: nested deeper than %d", p->scan.line, MAX_DEPTH));
    while (n && !p->rc) {
        token *t = NULL;
        node *s = NULL;
        p->rc = scan_segment(&p->scan, &g);
        if (p->rc) break;
        if (g.kind == SEGMENT_END) {
            if (ends) p->rc = FAIL(CO_E_FORMAT, "the template ends before {%% %s %%}", ends[0]);
            break;
        }
        if (g.kind == SEGMENT_TEXT) {
            s = new_node(p, NODE_TEXT);
            if (s) s->s = g.s, s->len = g.len;
        } else {
            p->rc = scan_tokens(&p->scan, &g, &t);
            if (p->rc) break;
            p->t = t;
            for (int i = 0; ends && g.kind == SEGMENT_BLOCK && ends[i]; i++)
                if (word(p, ends[i])) {
                    *which = i;
                    p->depth--;
                    return n;
                }
            if (g.kind == SEGMENT_PRINT) {
                s = new_node(p, NODE_PRINT);
                if (s) s->a = expression(p);
                finish_tag(p);
            } else {
                s = statement(p);
            }
        }
        append(n, s);
    }
    p->depth--;
    return p->rc ? NULL : n;
}

int jinja_parse(const char *text, size_t len, co_arena *a, const jinja **out)
{
    static const token none = {0};
    jinja *j = arena_push(a, sizeof *j, 8);
    if (!j) return CO_E_NOMEM;
    if (len > MAX_TEXT) return FAIL(CO_E_UNSUPPORTED, "a template of %zu bytes: more than %d", len, MAX_TEXT);
    if (len && text[len - 1] == '\n') len--; /* keep_trailing_newline is off */
    if (len && text[len - 1] == '\r') len--;
    parser p = {.scan = {.text = text, .p = text, .end = text + len, .a = a, .line = 1, .at_line = 1}, .t = &none};
    j->root = body(&p, NULL, NULL);
    if (p.rc) return p.rc;
    *out = j;
    return CO_OK;
}
