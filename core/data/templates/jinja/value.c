#include "core/data/templates/jinja/value.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include <inttypes.h>
#include <string.h>

value value_str(const char *p, size_t n) { return (value){.kind = V_STR, .u.s = {p, n}}; }
value value_int(int64_t i) { return (value){.kind = V_INT, .u.i = i}; }
value value_bool(int b) { return (value){.kind = V_BOOL, .u.i = b != 0}; }

value give_up(machine *m, int rc)
{
    if (!m->rc) m->rc = rc;
    return (value){0};
}

int spend(machine *m, int line, size_t n)
{
    if (m->rc) return 0;
    if (n <= m->work) return m->work -= n, 1;
    m->rc = FAIL(CO_E_UNSUPPORTED, "line %d: the template runs on and on", line);
    return 0;
}

const char *value_type(const value *v)
{
    static const char *const names[] = {"something undefined", "none", "a boolean", "a number", "a string", "a list", "a dict", "a namespace"};
    return names[v->kind];
}

int value_truth(const value *v)
{
    switch (v->kind) {
    case V_BOOL: case V_INT: return v->u.i != 0;
    case V_STR: return v->u.s.n != 0;
    case V_LIST: return v->u.list->n != 0;
    case V_DICT: return v->u.dict->keys.n != 0;
    default: return v->kind == V_NAMESPACE;
    }
}

int value_equal(const value *a, const value *b)
{
    const int na = a->kind == V_BOOL || a->kind == V_INT, nb = b->kind == V_BOOL || b->kind == V_INT;
    if (na && nb) return a->u.i == b->u.i;
    if (a->kind != b->kind) return 0;
    switch (a->kind) {
    case V_STR: return a->u.s.n == b->u.s.n && (!a->u.s.n || memcmp(a->u.s.p, b->u.s.p, a->u.s.n) == 0);
    case V_LIST:
        if (a->u.list->n != b->u.list->n) return 0;
        for (size_t i = 0; i < a->u.list->n && a->u.list != b->u.list; i++)
            if (!value_equal(&a->u.list->v[i], &b->u.list->v[i])) return 0;
        return 1;
    case V_DICT: {
        const value_dict *x = a->u.dict, *y = b->u.dict;
        if (x->keys.n != y->keys.n) return 0;
        for (size_t i = 0; i < x->keys.n && x != y; i++) {
            const value *other = dict_find(y, x->keys.v[i].u.s.p, x->keys.v[i].u.s.n);
            if (!other || !value_equal(&x->values.v[i], other)) return 0;
        }
        return 1;
    }
    case V_NAMESPACE: return a->u.dict == b->u.dict;
    default: return 1;
    }
}

int list_add(machine *m, value_list *l, value v)
{
    if (l->n == l->cap) {
        const size_t cap = l->cap ? 2 * l->cap : 8;
        value *more = spend(m, 0, cap) ? arena_push(m->a, cap * sizeof *more, 16) : NULL;
        if (!more) return m->rc = m->rc ? m->rc : CO_E_NOMEM;
        if (l->n) memcpy(more, l->v, l->n * sizeof *more);
        l->v = more;
        l->cap = cap;
    }
    l->v[l->n++] = v;
    return CO_OK;
}

value list_new(machine *m, size_t cap)
{
    value v = {.kind = V_LIST};
    v.u.list = arena_push(m->a, sizeof *v.u.list, 16);
    if (!v.u.list) return give_up(m, CO_E_NOMEM);
    *v.u.list = (value_list){.v = cap && spend(m, 0, cap) ? arena_push(m->a, cap * sizeof(value), 16) : NULL, .cap = cap};
    if (cap && !v.u.list->v) return give_up(m, CO_E_NOMEM);
    return v;
}

value dict_new(machine *m)
{
    value v = {.kind = V_DICT};
    v.u.dict = arena_push(m->a, sizeof *v.u.dict, 16);
    if (!v.u.dict) return give_up(m, CO_E_NOMEM);
    *v.u.dict = (value_dict){{0}, {0}};
    return v;
}

const value *dict_find(const value_dict *d, const char *s, size_t n)
{
    for (size_t i = 0; i < d->keys.n; i++)
        if (d->keys.v[i].u.s.n == n && (!n || memcmp(d->keys.v[i].u.s.p, s, n) == 0)) return &d->values.v[i];
    return NULL;
}

int dict_set(machine *m, value_dict *d, value key, value v)
{
    const value *there = dict_find(d, key.u.s.p, key.u.s.n);
    if (there) return d->values.v[there - d->values.v] = v, CO_OK;
    const int rc = list_add(m, &d->keys, key);
    return rc ? rc : list_add(m, &d->values, v);
}

int value_text(machine *m, const value *v, value *out)
{
    char *s;
    switch (v->kind) {
    case V_STR: return *out = *v, CO_OK;
    case V_UNDEFINED: return *out = value_str("", 0), CO_OK;
    case V_NONE: return *out = value_str("None", 4), CO_OK;
    case V_BOOL: return *out = v->u.i ? value_str("True", 4) : value_str("False", 5), CO_OK;
    case V_INT:
        s = arena_printf(m->a, "%" PRId64, v->u.i);
        if (!s) return m->rc = m->rc ? m->rc : CO_E_NOMEM;
        return *out = value_str(s, strlen(s)), CO_OK;
    default: return m->rc = m->rc ? m->rc : FAIL(CO_E_UNSUPPORTED, "%s as text is not known here", value_type(v));
    }
}

value concat_values(machine *m, int line, const value *a, const value *b)
{
    const size_t n = a->u.s.n + b->u.s.n;
    char *p = spend(m, line, n) ? arena_push(m->a, n + 1, 1) : NULL;
    if (!p) return give_up(m, CO_E_NOMEM);
    if (a->u.s.n) memcpy(p, a->u.s.p, a->u.s.n);
    if (b->u.s.n) memcpy(p + a->u.s.n, b->u.s.p, b->u.s.n);
    return value_str(p, n);
}
