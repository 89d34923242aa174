/* json_at.c: places in a file that was read, for those who look for settings in it. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "json.h"

static size_t put_path(const bpe_at *a, char *out, size_t cap)
{
    size_t n = a->up ? put_path(a->up, out, cap) : 0;
    int wrote = 0;
    if (!a->up || n >= cap) return n;
    if (a->key) wrote = snprintf(out + n, cap - n, "%s%s", n ? "." : "", a->key);
    else wrote = snprintf(out + n, cap - n, "[%u]", a->index);
    return n + (wrote > 0 ? (size_t)wrote : 0);
}

int bpe_refuse(const bpe_at *a, int code, const char *fmt, ...)
{
    char path[200] = "", what[400];
    va_list ap;
    put_path(a, path, sizeof path);
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return CO_FAIL(a->doc->host, code, "%s: %s%s%s", a->doc->name, path, *path ? ": " : "", what);
}

int bpe_member(const bpe_at *object, const char *key, bpe_at *out)
{
    const bpe_doc *d = object->doc;
    const bpe_node *o = bpe_node_of(object);
    const size_t len = strlen(key);
    if (o->kind != BPE_OBJECT) return 0;
    uint32_t at = object->node + 1;
    for (uint32_t i = 0; i < o->len; i++) {
        const bpe_node *k = &d->nodes[at];
        if (k->len == len && memcmp(bpe_text_of(d, k), key, len) == 0) {
            if (d->nodes[at + 1].kind == BPE_NULL) return 0;
            *out = (bpe_at){d, at + 1, object, key, 0};
            return 1;
        }
        at = d->nodes[at + 1].next;
    }
    return 0;
}

int bpe_element(const bpe_at *array, uint32_t i, bpe_at *out)
{
    const bpe_node *a = bpe_node_of(array);
    if (i >= a->len) return 0;
    const uint32_t node = i == 0 ? array->node + 1 : bpe_node_of(out)->next;
    *out = (bpe_at){array->doc, node, array, NULL, i};
    return 1;
}

static const char *kind_name(bpe_kind kind)
{
    static const char *const names[] = {"null", "false", "true", "a number", "a string", "an array", "an object"};
    return names[kind];
}

int bpe_want(const bpe_at *a, bpe_kind kind)
{
    if (bpe_kind_of(a) == kind) return CO_OK;
    return bpe_refuse(a, CO_E_FORMAT, "%s was expected, found %s", kind_name(kind), kind_name(bpe_kind_of(a)));
}

int bpe_keys(const bpe_at *a, const char *const *known)
{
    const bpe_doc *d = a->doc;
    uint64_t seen = 0;
    int rc = bpe_want(a, BPE_OBJECT);
    uint32_t at = a->node + 1;
    for (uint32_t i = 0; rc == CO_OK && i < bpe_node_of(a)->len; i++) {
        const bpe_at here = {d, at + 1, a, bpe_text_of(d, &d->nodes[at]), 0};
        const size_t len = d->nodes[at].len;
        int k = 0;
        while (known[k] && (strlen(known[k]) != len || memcmp(known[k], here.key, len) != 0)) k++;
        if (!known[k] && bpe_kind_of(&here) == BPE_NULL) ; /* asks for nothing */
        else if (!known[k]) rc = bpe_refuse(&here, CO_E_UNSUPPORTED, "unknown setting; what it asks for cannot be honoured");
        else if (seen >> k & 1) rc = bpe_refuse(&here, CO_E_FORMAT, "stands here twice");
        else seen |= (uint64_t)1 << k;
        at = d->nodes[at + 1].next;
    }
    return rc;
}

int bpe_need_member(const bpe_at *object, const char *key, bpe_at *out)
{
    return bpe_member(object, key, out) ? CO_OK : bpe_refuse(object, CO_E_FORMAT, "\"%s\" is missing", key);
}

int bpe_get_bool(const bpe_at *object, const char *key, int def, int *out)
{
    bpe_at a;
    *out = def;
    if (!bpe_member(object, key, &a)) return CO_OK;
    if (bpe_kind_of(&a) != BPE_FALSE && bpe_kind_of(&a) != BPE_TRUE)
        return bpe_refuse(&a, CO_E_FORMAT, "true or false was expected, found %s", kind_name(bpe_kind_of(&a)));
    *out = bpe_kind_of(&a) == BPE_TRUE;
    return CO_OK;
}

int bpe_need_bool(const bpe_at *object, const char *key, int *out)
{
    bpe_at a;
    int rc = bpe_need_member(object, key, &a);
    return rc ? rc : bpe_get_bool(object, key, 0, out);
}

int bpe_get_string(const bpe_at *object, const char *key, const char *def, const char **out, size_t *len)
{
    bpe_at a;
    *out = def;
    *len = def ? strlen(def) : 0;
    if (!bpe_member(object, key, &a)) return CO_OK;
    int rc = bpe_want(&a, BPE_STRING);
    if (rc) return rc;
    *out = bpe_text_of(a.doc, bpe_node_of(&a));
    *len = bpe_node_of(&a)->len;
    return CO_OK;
}

int bpe_need_string(const bpe_at *object, const char *key, const char **out, size_t *len)
{
    bpe_at a;
    int rc = bpe_need_member(object, key, &a);
    return rc ? rc : bpe_get_string(object, key, NULL, out, len);
}

int bpe_uint(const bpe_at *a, uint32_t most, uint32_t *out)
{
    const bpe_node *n = bpe_node_of(a);
    const char *p = bpe_text_of(a->doc, n);
    uint64_t v = 0;
    int rc = bpe_want(a, BPE_NUMBER);
    if (rc) return rc;
    for (uint32_t i = 0; i < n->len; i++) {
        if (p[i] < '0' || p[i] > '9') return bpe_refuse(a, CO_E_FORMAT, "%.*s is not a whole number", (int)(n->len < 40 ? n->len : 40), p);
        v = v * 10 + (uint64_t)(p[i] - '0');
        if (v > most) return bpe_refuse(a, CO_E_FORMAT, "%.*s: at most %u was expected", (int)(n->len < 40 ? n->len : 40), p, most);
    }
    *out = (uint32_t)v;
    return CO_OK;
}
