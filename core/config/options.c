/* options.c: text -> checked values in a struct, by the rows of an option table. */
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/config/config_impl.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct place { const char *where, *section, *key, *value; } place;

static int wrong(const place *p, const char *expected)
{
    return FAIL(CO_E_CONFIG, "%s: [%s] %s = %s: expected %s", p->where, p->section, p->key, p->value, expected);
}

static int in_range(const place *p, const co_opt *o, double v)
{
    if ((o->min == 0 && o->max == 0) || (v >= o->min && v <= o->max)) return CO_OK;
    return FAIL(CO_E_CONFIG, "%s: [%s] %s = %s: out of range, %.15g to %.15g is allowed", p->where, p->section, p->key, p->value,
                o->min, o->max);
}

static int parse_bool(const place *p, int32_t *out)
{
    static const char *const yes[] = {"1", "true", "yes", "on"}, *const no[] = {"0", "false", "no", "off"};
    for (int i = 0; i < 4; i++) {
        if (strcasecmp(p->value, yes[i]) == 0) return *out = 1, CO_OK;
        if (strcasecmp(p->value, no[i]) == 0) return *out = 0, CO_OK;
    }
    return wrong(p, "1 or 0 (also yes/no, true/false, on/off)");
}

static int parse_int(const place *p, const char *text, int64_t *out, const char **rest)
{
    char *end;
    errno = 0;
    const long long v = strtoll(text, &end, 10);
    if (end == text || errno == ERANGE || strchr(" \t", *text)) return wrong(p, "a whole number");
    *out = v;
    *rest = end;
    return CO_OK;
}

static int parse_float(const place *p, double *out)
{
    char *end;
    const double v = strtod(p->value, &end);
    const char c = p->value[0];
    if (end == p->value || *end || !isfinite(v) || !strchr("+-.0123456789", c) || strpbrk(p->value, "xX"))
        return wrong(p, "a number");
    *out = v;
    return CO_OK;
}

static int parse_bytes(const place *p, int64_t *out)
{
    static const struct { const char *suffix; double factor; } unit[] = {
        {"", 1}, {"B", 1}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
        {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {"TiB", 1099511627776.0}};
    char *end;
    const double v = strtod(p->value, &end);
    if (end == p->value || !strchr("0123456789.", p->value[0]) || !isfinite(v)) return wrong(p, "a size like 15GiB, 200MB or 1024");
    while (*end == ' ') end++;
    for (size_t i = 0; i < sizeof unit / sizeof *unit; i++) {
        if (strcasecmp(end, unit[i].suffix) != 0) continue;
        if (v * unit[i].factor > 9e18) return wrong(p, "a size below 9 EB");
        *out = (int64_t)(v * unit[i].factor);
        return CO_OK;
    }
    return wrong(p, "a size like 15GiB, 200MB or 1024");
}

static int parse_enum(const place *p, const co_opt *o, int32_t *out)
{
    char list[400];
    size_t at = 0, n = 0;
    list[0] = 0;
    for (; o->names[n]; n++) {
        if (strcmp(o->names[n], p->value) == 0) return *out = (int32_t)n, CO_OK;
        if (at < sizeof list) at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", n ? ", " : "", o->names[n]);
    }
    const char *near = suggest_nearest(p->value, o->names, n);
    if (near)
        return FAIL(CO_E_CONFIG, "%s: [%s] %s = %s: not one of %s; did you mean \"%s\"?", p->where, p->section, p->key, p->value,
                    list, near);
    return FAIL(CO_E_CONFIG, "%s: [%s] %s = %s: not one of %s", p->where, p->section, p->key, p->value, list);
}

static int parse_path(config *c, const place *p, const co_opt *o, const entry *from, const char **out)
{
    if (!p->value[0]) return *out = "", CO_OK;
    char *full = from && from->folder ? fs_join(from->folder, p->value) : fs_absolute(p->value);
    char *kept = full ? arena_strndup(c->arena, full, strlen(full)) : NULL;
    mem_free(full);
    if (!kept) return FAIL(CO_E_NOMEM, "out of memory");
    if ((o->flags & CO_OPT_FILE_EXISTS) && !fs_is_file(kept) && !fs_is_dir(kept))
        return FAIL(CO_E_CONFIG, "%s: [%s] %s: no file or folder '%s'", p->where, p->section, p->key, kept);
    *out = kept;
    return CO_OK;
}

int option_parse(config *c, const co_opt *o, const char *section, const char *value, const entry *from, void *out)
{
    const place p = {from ? entry_where(c, from) : "default", section, o->key, value};
    char *to = (char *)out + o->offset;
    int64_t i = 0;
    int32_t e = 0;
    double d = 0;
    const char *s = NULL, *rest = "";
    int r;
    switch (o->type) {
    case CO_OPT_BOOL:
        r = parse_bool(&p, &e);
        if (r == CO_OK) memcpy(to, &e, sizeof e);
        return r;
    case CO_OPT_INT:
        r = parse_int(&p, value, &i, &rest);
        if (r == CO_OK && *rest) r = wrong(&p, "a whole number");
        if (r == CO_OK) r = in_range(&p, o, (double)i);
        if (r == CO_OK) memcpy(to, &i, sizeof i);
        return r;
    case CO_OPT_FLOAT:
        r = parse_float(&p, &d);
        if (r == CO_OK) r = in_range(&p, o, d);
        if (r == CO_OK) memcpy(to, &d, sizeof d);
        return r;
    case CO_OPT_BYTES:
        r = parse_bytes(&p, &i);
        if (r == CO_OK) r = in_range(&p, o, (double)i);
        if (r == CO_OK) memcpy(to, &i, sizeof i);
        return r;
    case CO_OPT_STR: s = value; break;
    case CO_OPT_PATH:
        r = parse_path(c, &p, o, from, &s);
        if (r) return r;
        break;
    case CO_OPT_ENUM:
        r = parse_enum(&p, o, &e);
        if (r == CO_OK) memcpy(to, &e, sizeof e);
        return r;
    default: return FAIL(CO_E_ABI, "[%s] %s: option type %u does not exist", section, o->key, o->type);
    }
    memcpy(to, &s, sizeof s);
    return CO_OK;
}
