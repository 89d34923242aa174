/* config.c: the list of entries, tables bound to sections, and what nobody asked for. */
#include "core/config/config.h"
#include "core/base/error.h"
#include "core/config/config_impl.h"
#include <stdio.h>
#include <string.h>

config *config_new(void)
{
    config *c = mem_alloc(sizeof *c, 0);
    if (c && !(c->arena = arena_new(8192))) {
        mem_free(c);
        return NULL;
    }
    return c;
}

void config_free(config *c)
{
    if (!c) return;
    arena_free(c->arena);
    mem_free(c->entries);
    mem_free(c->bindings);
    mem_free(c);
}

entry *config_find(const config *c, const char *section, const char *key)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->entries[i].section, section) == 0 && strcmp(c->entries[i].key, key) == 0) return &c->entries[i];
    return NULL;
}

const char *entry_where(const config *c, const entry *e)
{
    if (!e->file) return e->program ? "coati" : "command line";
    const char *s = arena_printf(c->arena, "%s:%d", e->file, e->line);
    return s ? s : e->file;
}

static int set(config *c, const char *section, const char *key, const char *value, int program)
{
    entry *e = config_find(c, section, key);
    if (!e) {
        if (c->n == c->cap) {
            const size_t cap = c->cap ? c->cap * 2 : 64;
            entry *bigger = mem_grow(c->entries, c->cap, cap, sizeof *bigger);
            if (!bigger) return CO_E_NOMEM;
            c->entries = bigger;
            c->cap = cap;
        }
        e = &c->entries[c->n++];
    }
    *e = (entry){.program = program};
    e->section = arena_strndup(c->arena, section, strlen(section));
    e->key = arena_strndup(c->arena, key, strlen(key));
    e->value = arena_strndup(c->arena, value, strlen(value));
    return e->section && e->key && e->value ? CO_OK : FAIL(CO_E_NOMEM, "out of memory");
}

int config_set(config *c, const char *section, const char *key, const char *value) { return set(c, section, key, value, 1); }

int config_override(config *c, const char *assignment)
{
    const char *eq = strchr(assignment, '='), *dot = NULL;
    for (const char *p = assignment; eq && p < eq; p++) /* sections may hold dots: the last one before "=" counts */
        if (*p == '.') dot = p;
    if (!eq || !dot || dot == assignment || dot + 1 == eq)
        return FAIL(CO_E_CONFIG, "\"%s\": expected section.key=value", assignment);
    if (strpbrk(eq, "\r\n") || strstr(eq, " ;")) return FAIL(CO_E_CONFIG, "\"%s\": an INI value holds neither line ends nor \" ;\"", assignment);
    char *section = arena_strndup(c->arena, assignment, (size_t)(dot - assignment));
    char *key = arena_strndup(c->arena, dot + 1, (size_t)(eq - dot - 1));
    const char *from = eq + 1 + strspn(eq + 1, " \t"); /* space around a value is not part of it, as in a file */
    size_t n = strlen(from);
    while (n && strchr(" \t", from[n - 1])) n--;
    char *value = arena_strndup(c->arena, from, n);
    if (!section || !key || !value) return FAIL(CO_E_NOMEM, "out of memory");
    return set(c, section, key, value, 0);
}

const char *config_get(const config *c, const char *section, const char *key)
{
    const entry *e = config_find(c, section, key);
    return e ? e->value : NULL;
}

int config_has_section(const config *c, const char *section)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->entries[i].section, section) == 0) return 1;
    return 0;
}

const char *config_where(const config *c, const char *section, const char *key)
{
    const entry *e = config_find(c, section, key);
    return e ? entry_where(c, e) : "default";
}

int config_bind(config *c, const char *section, const co_opt *table, size_t stride, const char *owner, void *out)
{
    binding *bigger = mem_grow(c->bindings, c->n_bindings, c->n_bindings + 1, sizeof *bigger);
    if (!bigger) return CO_E_NOMEM;
    c->bindings = bigger;
    binding *b = &c->bindings[c->n_bindings++];
    *b = (binding){.owner = owner, .table = table, .stride = stride};
    b->section = arena_strndup(c->arena, section, strlen(section));
    while (option_at(table, stride, b->n)->key) b->n++;
    b->text = arena_push(c->arena, (b->n + 1) * sizeof *b->text, 16);
    if (!b->section || !b->text) return FAIL(CO_E_NOMEM, "out of memory");
    memset(b->text, 0, (b->n + 1) * sizeof *b->text);
    for (size_t i = 0; i < b->n; i++) {
        const co_opt *o = option_at(table, stride, i);
        entry *e = config_find(c, section, o->key);
        if (!e && (o->flags & CO_OPT_REQUIRED))
            return FAIL(CO_E_CONFIG, "[%s] %s: required, and not set (%s)", section, o->key, o->help ? o->help : "");
        const char *value = e ? e->value : o->def ? o->def : "";
        int r = option_parse(c, o, section, value, e, out);
        if (r) return r;
        if (e) e->used = 1;
        if (o->type == CO_OPT_PATH) { /* as made absolute */
            const char *full;
            memcpy(&full, (char *)out + o->offset, sizeof full);
            value = full;
        }
        b->text[i] = arena_strndup(c->arena, value, strlen(value));
        if (!b->text[i]) return FAIL(CO_E_NOMEM, "out of memory");
    }
    return CO_OK;
}

int config_finish(config *c)
{
    const char *names[512];
    for (size_t i = 0; i < c->n; i++) {
        const entry *e = &c->entries[i];
        size_t n = 0;
        if (e->used) continue;
        for (size_t k = 0; k < c->n_bindings; k++)
            if (strcmp(c->bindings[k].section, e->section) == 0)
                for (size_t j = 0; j < c->bindings[k].n && n < 512; j++)
                    names[n++] = option_at(c->bindings[k].table, c->bindings[k].stride, j)->key;
        if (n) {
            const char *near = suggest_nearest(e->key, names, n);
            if (near) return FAIL(CO_E_CONFIG, "%s: [%s] %s: unknown key, did you mean \"%s\"?", entry_where(c, e), e->section, e->key, near);
            return FAIL(CO_E_CONFIG, "%s: [%s] %s: unknown key", entry_where(c, e), e->section, e->key);
        }
        for (size_t k = 0; k < c->n_bindings && n < 512; k++) names[n++] = c->bindings[k].section;
        const char *near = suggest_nearest(e->section, names, n);
        if (near) return FAIL(CO_E_CONFIG, "%s: [%s]: unknown section, did you mean [%s]?", entry_where(c, e), e->section, near);
        return FAIL(CO_E_CONFIG, "%s: [%s]: unknown section", entry_where(c, e), e->section);
    }
    return CO_OK;
}

/* ---- printing ------------------------------------------------------------------------------------------------ */
typedef struct text { char *p; size_t n, cap; int failed; } text;

static void put(text *t, const char *s, size_t n)
{
    if (t->n + n + 1 > t->cap) {
        const size_t cap = (t->n + n + 1) * 2;
        char *bigger = mem_grow(t->p, t->cap, cap, 1);
        if (!bigger) {
            t->failed = 1;
            return;
        }
        t->p = bigger;
        t->cap = cap;
    }
    memcpy(t->p + t->n, s, n);
    t->n += n;
    t->p[t->n] = 0;
}

/* May the text be cut at this space, so that reading joins it again? Not where more space or a comment would start a line. */
static int may_cut(const char *value, size_t at) { return value[at] == ' ' && at > 0 && value[at - 1] != ' ' && !strchr(" ;#\t", value[at + 1]); }

/* Values too long for a line go on in indented ones, cut at spaces. */
static void put_value(text *t, const char *key, const char *value)
{
    size_t used = strlen(key) + 3;
    put(t, key, strlen(key));
    put(t, " = ", value[0] == ';' ? 2 : 3); /* a ";" after space would be a comment */
    while (used + strlen(value) > 199) {
        size_t cut = 199 - used;
        while (cut > 0 && !may_cut(value, cut)) cut--;
        if (cut == 0) break;
        put(t, value, cut);
        put(t, "\n    ", 5);
        value += cut + 1;
        used = 4;
    }
    put(t, value, strlen(value));
    put(t, "\n", 1);
}

char *config_print(const config *c)
{
    text t = {0};
    put(&t, "", 0);
    for (size_t i = 0; i < c->n_bindings; i++) {
        int first = 1;
        for (size_t k = 0; k < i; k++) first &= strcmp(c->bindings[k].section, c->bindings[i].section) != 0;
        if (!first) continue;
        if (t.n) put(&t, "\n", 1);
        put(&t, "[", 1);
        put(&t, c->bindings[i].section, strlen(c->bindings[i].section));
        put(&t, "]\n", 2);
        for (size_t k = i; k < c->n_bindings; k++) {
            const binding *b = &c->bindings[k];
            if (strcmp(b->section, c->bindings[i].section) != 0) continue;
            for (size_t j = 0; j < b->n; j++) {
                const char *key = option_at(b->table, b->stride, j)->key;
                int seen = 0; /* a key that two tables of a section know is printed once */
                for (size_t m = i; m < k; m++)
                    for (size_t l = 0; l < c->bindings[m].n && strcmp(c->bindings[m].section, b->section) == 0; l++)
                        seen |= strcmp(option_at(c->bindings[m].table, c->bindings[m].stride, l)->key, key) == 0;
                if (!seen && b->text[j]) put_value(&t, key, b->text[j]);
            }
        }
    }
    if (t.failed) {
        mem_free(t.p);
        return NULL;
    }
    return t.p;
}
