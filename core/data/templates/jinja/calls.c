/* calls.c: methods, filters, functions and tests, by name. */
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/templates/jinja/value.h"
#include "core/data/templates/white.h"
#include <string.h>

static int named(const node *n, const char *s) { return strlen(s) == n->len && memcmp(n->s, s, n->len) == 0; }

static value unknown(machine *m, const node *n, const char *what, const value *self)
{
    if (m->rc) return (value){0};
    return give_up(m, FAIL(CO_E_UNSUPPORTED, "line %d: the %s \"%.*s\"%s%s, so called, is not known here", n->line, what, (int)(n->len < 40 ? n->len : 40), n->s,
                           self ? " of " : "", self ? value_type(self) : ""));
}

/* Python's strip(chars) for ASCII characters; without any, white space. */
static value strip(machine *m, const node *n, const value *self, const call_args *a, int how)
{
    const char *p = self->u.s.p;
    size_t len = self->u.s.n;
    if (a->n == 0) {
        white_trim(&p, &len, how);
        return value_str(p, len);
    }
    const value *set = &a->v[0];
    if (a->n != 1 || set->kind != V_STR) return unknown(m, n, "method", self);
    for (size_t i = 0; i < set->u.s.n; i++)
        if ((unsigned char)set->u.s.p[i] >= 0x80) return unknown(m, n, "method", self);
    while ((how & TRIM_LEFT) && len && set->u.s.n && memchr(set->u.s.p, *p, set->u.s.n)) p++, len--;
    while ((how & TRIM_RIGHT) && len && set->u.s.n && memchr(set->u.s.p, p[len - 1], set->u.s.n)) len--;
    return value_str(p, len);
}

static const char *find(const char *p, size_t n, const char *what, size_t k)
{
    for (; k && n >= k; p++, n--) {
        const char *at = memchr(p, *what, n - k + 1);
        if (!at) return NULL;
        n -= (size_t)(at - p);
        p = at;
        if (memcmp(p, what, k) == 0) return p;
    }
    return NULL;
}

static value replace(machine *m, const node *n, const value *self, const call_args *a)
{
    if (a->n != 2 || a->v[0].kind != V_STR || a->v[1].kind != V_STR || !a->v[0].u.s.n) return unknown(m, n, "replacement", self);
    value out = value_str("", 0);
    const char *p = self->u.s.p, *end = p + self->u.s.n, *at;
    while (!m->rc && (at = find(p, (size_t)(end - p), a->v[0].u.s.p, a->v[0].u.s.n)) != NULL) {
        const value before = value_str(p, (size_t)(at - p));
        out = concat_values(m, n->line, &out, &before);
        if (!m->rc) out = concat_values(m, n->line, &out, &a->v[1]);
        p = at + a->v[0].u.s.n;
    }
    const value rest = value_str(p, (size_t)(end - p));
    return m->rc ? out : concat_values(m, n->line, &out, &rest);
}

static value split(machine *m, const node *n, const value *self, const call_args *a)
{
    if (a->n != 1 || a->v[0].kind != V_STR || !a->v[0].u.s.n) return unknown(m, n, "method", self);
    value out = list_new(m, 4);
    const char *p = self->u.s.p, *end = p + self->u.s.n, *at;
    while (!m->rc && (at = find(p, (size_t)(end - p), a->v[0].u.s.p, a->v[0].u.s.n)) != NULL) {
        (void)list_add(m, out.u.list, value_str(p, (size_t)(at - p)));
        p = at + a->v[0].u.s.n;
    }
    if (!m->rc) (void)list_add(m, out.u.list, value_str(p, (size_t)(end - p)));
    return out;
}

/* ASCII alone: other letters have cases of their own. */
static value change_case(machine *m, const node *n, const value *self, int up)
{
    char *p = spend(m, n->line, self->u.s.n) ? arena_push(m->a, self->u.s.n + 1, 1) : NULL;
    if (!p) return give_up(m, CO_E_NOMEM);
    for (size_t i = 0; i < self->u.s.n; i++) {
        const char c = self->u.s.p[i];
        if ((unsigned char)c >= 0x80) return unknown(m, n, up ? "upper case of letters beyond ASCII," : "lower case of letters beyond ASCII,", NULL);
        p[i] = up && c >= 'a' && c <= 'z' ? (char)(c - 32) : !up && c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    return value_str(p, self->u.s.n);
}

static value string_method(machine *m, const node *n, const value *self, const call_args *a)
{
    if (named(n, "strip")) return strip(m, n, self, a, TRIM_BOTH);
    if (named(n, "lstrip")) return strip(m, n, self, a, TRIM_LEFT);
    if (named(n, "rstrip")) return strip(m, n, self, a, TRIM_RIGHT);
    if (named(n, "replace")) return replace(m, n, self, a);
    if (named(n, "split")) return split(m, n, self, a);
    if (named(n, "upper") && !a->n) return change_case(m, n, self, 1);
    if (named(n, "lower") && !a->n) return change_case(m, n, self, 0);
    if ((named(n, "startswith") || named(n, "endswith")) && a->n == 1 && a->v[0].kind == V_STR) {
        const size_t k = a->v[0].u.s.n, len = self->u.s.n;
        return value_bool(k <= len && (!k || memcmp(self->u.s.p + (named(n, "endswith") ? len - k : 0), a->v[0].u.s.p, k) == 0));
    }
    return unknown(m, n, "method", self);
}

static value dict_method(machine *m, const node *n, const value *self, const call_args *a)
{
    const value_dict *d = self->u.dict;
    value out;
    if (named(n, "get") && (a->n == 1 || a->n == 2) && a->v[0].kind == V_STR) {
        const value *v = dict_find(d, a->v[0].u.s.p, a->v[0].u.s.n);
        return v ? *v : a->n == 2 ? a->v[1] : (value){.kind = V_NONE};
    }
    if (a->n || !(named(n, "keys") || named(n, "values") || named(n, "items"))) return unknown(m, n, "method", self);
    out = list_new(m, d->keys.n);
    for (size_t i = 0; i < d->keys.n && !m->rc; i++) {
        value one = named(n, "keys") ? d->keys.v[i] : d->values.v[i];
        if (named(n, "items")) {
            one = list_new(m, 2);
            if (!m->rc) (void)list_add(m, one.u.list, d->keys.v[i]);
            if (!m->rc) (void)list_add(m, one.u.list, d->values.v[i]);
        }
        if (!m->rc) (void)list_add(m, out.u.list, one);
    }
    return out;
}

static int has_keywords(const call_args *a)
{
    for (const node *n = a->names; n; n = n->next)
        if (n->key) return 1;
    return 0;
}

value call_method(machine *m, const node *n, const value *self, const call_args *a)
{
    if (has_keywords(a)) return unknown(m, n, "method", self);
    if (self->kind == V_STR) return string_method(m, n, self, a);
    if (self->kind == V_DICT) return dict_method(m, n, self, a);
    return unknown(m, n, "method", self);
}

static value length(machine *m, const node *n, const value *self)
{
    size_t k = 0;
    if (self->kind == V_LIST) return value_int((int64_t)self->u.list->n);
    if (self->kind == V_DICT) return value_int((int64_t)self->u.dict->keys.n);
    if (self->kind == V_UNDEFINED) return value_int(0);
    if (self->kind != V_STR) return unknown(m, n, "filter", self);
    for (size_t i = 0; i < self->u.s.n; i++) k += ((unsigned char)self->u.s.p[i] & 0xC0) != 0x80; /* characters */
    return value_int((int64_t)k);
}

static value join(machine *m, const node *n, const value *self, const call_args *a)
{
    value out = value_str("", 0), one;
    if (a->n > 1 || (a->n && a->v[0].kind != V_STR)) return unknown(m, n, "filter", self);
    for (size_t i = 0; i < self->u.list->n && !m->rc; i++) {
        if (i && a->n) out = concat_values(m, n->line, &out, &a->v[0]);
        if (!m->rc && value_text(m, &self->u.list->v[i], &one) == CO_OK) out = concat_values(m, n->line, &out, &one);
    }
    return out;
}

value call_filter(machine *m, const node *n, const value *self, const call_args *a)
{
    value text;
    if (has_keywords(a)) return unknown(m, n, "filter with keywords", self);
    if ((named(n, "length") || named(n, "count")) && !a->n) return length(m, n, self);
    if ((named(n, "default") || named(n, "d")) && (a->n == 1 || a->n == 2))
        return self->kind == V_UNDEFINED || (a->n == 2 && value_truth(&a->v[1]) && !value_truth(self)) ? a->v[0] : *self;
    if (self->kind == V_LIST && named(n, "join")) return join(m, n, self, a);
    if (self->kind == V_LIST && !a->n && named(n, "list")) return *self;
    if (self->kind == V_LIST && !a->n && (named(n, "first") || named(n, "last"))) {
        const value_list *l = self->u.list;
        return l->n ? l->v[named(n, "first") ? 0 : l->n - 1] : (value){.why = "an element of an empty list"};
    }
    const int of_text = named(n, "trim") || named(n, "string") || named(n, "upper") || named(n, "lower") || named(n, "replace");
    if (!of_text || self->kind > V_STR) return unknown(m, n, "filter", self);
    if (value_text(m, self, &text)) return (value){0};
    if (named(n, "trim")) return strip(m, n, &text, a, TRIM_BOTH);
    if (named(n, "replace")) return replace(m, n, &text, a);
    if (a->n) return unknown(m, n, "filter", self);
    return named(n, "string") ? text : change_case(m, n, &text, named(n, "upper"));
}

static value range(machine *m, const node *n, const call_args *a)
{
    int64_t v[3] = {0, 0, 1};
    for (size_t i = 0; i < a->n; i++)
        if (a->n > 3 || a->v[i].kind != V_INT) return unknown(m, n, "function", NULL);
        else v[a->n == 1 ? 1 : i] = a->v[i].u.i;
    if (!a->n || !v[2]) return unknown(m, n, "function", NULL);
    value out = list_new(m, 4);
    for (int64_t i = v[0]; !m->rc && (v[2] > 0 ? i < v[1] : i > v[1]); ) {
        if (list_add(m, out.u.list, value_int(i)) || __builtin_add_overflow(i, v[2], &i)) break;
    }
    return out;
}

value call_function(machine *m, const node *n, const call_args *a)
{
    if (named(n, "raise_exception") && a->n == 1) {
        value text;
        if (value_text(m, &a->v[0], &text)) return text;
        return give_up(m, FAIL(CO_END, "line %d: the template says: %.*s", n->line, (int)(text.u.s.n < 200 ? text.u.s.n : 200), text.u.s.p));
    }
    if (named(n, "range") && !has_keywords(a)) return range(m, n, a);
    if (named(n, "namespace")) {
        value v = dict_new(m);
        size_t i = 0;
        for (const node *k = a->names; k && !m->rc; k = k->next, i++) {
            if (!k->key) return unknown(m, n, "function", NULL);
            (void)dict_set(m, v.u.dict, value_str(k->key, k->key_len), a->v[i]);
        }
        v.kind = m->rc ? V_UNDEFINED : V_NAMESPACE;
        return v;
    }
    return unknown(m, n, "function", NULL);
}

int run_test(machine *m, const node *n, const value *v)
{
    if (named(n, "defined")) return v->kind != V_UNDEFINED;
    if (named(n, "undefined")) return v->kind == V_UNDEFINED;
    if (named(n, "none")) return v->kind == V_NONE;
    if (named(n, "string")) return v->kind == V_STR;
    if (named(n, "mapping")) return v->kind == V_DICT;
    if (named(n, "iterable") || named(n, "sequence")) return v->kind == V_STR || v->kind == V_LIST || v->kind == V_DICT || (v->kind == V_UNDEFINED);
    if (named(n, "number")) return v->kind == V_INT || v->kind == V_BOOL;
    if (named(n, "boolean")) return v->kind == V_BOOL;
    if (named(n, "true")) return v->kind == V_BOOL && v->u.i;
    if (named(n, "false")) return v->kind == V_BOOL && !v->u.i;
    if ((named(n, "odd") || named(n, "even")) && v->kind == V_INT) return (v->u.i % 2 != 0) == named(n, "odd");
    (void)unknown(m, n, "test", v);
    return 0;
}
