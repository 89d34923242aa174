#include "core/train/sources.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/records/columns.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SOURCES = 64 };

#define ROW(m, key, type, flags, def, hi, help) {key, type, offsetof(source_opts, m), flags, def, 0, hi, NULL, help}
const co_opt sources_rows[] = {
    ROW(path, "path", CO_OPT_PATH, CO_OPT_REQUIRED, NULL, 0, "a file with records, a folder of such files, or a glob"),
    ROW(format, "format", CO_OPT_STR, 0, "auto", 0, "dataset plugin; auto: by the file's name"),
    ROW(columns, "columns", CO_OPT_STR, 0, "", 0, "part=column, comma-separated; default: as [dataset] has them"),
    ROW(max_records, "max_records", CO_OPT_INT, 0, "0", 1e15, "records read; 0: all"), CO_OPT_END};

static int fail(const config *c, const char *value, const char *why)
{
    return FAIL(CO_E_CONFIG, "%s: [dataset] sources = %s: %s", config_where(c, "dataset", "sources"), value, why);
}

/* One "name" or "name=weight" of n bytes. */
static int parse_one(const config *c, const char *value, const char *at, size_t n, source_spec *s)
{
    const char *eq = memchr(at, '=', n), *const stop = at + n;
    size_t len = eq ? (size_t)(eq - at) : n;
    char number[40], *end;
    while (len && (*at == ' ' || *at == '\t')) at++, len--;
    while (len && (at[len - 1] == ' ' || at[len - 1] == '\t')) len--;
    if (!len || len >= sizeof s->name) return fail(c, value, "expected name=weight,name=weight,…, with a section [dataset.NAME] for each");
    for (size_t i = 0; i < len; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", at[i])) return fail(c, value, "a name is of letters, digits, _ and -");
    snprintf(s->name, sizeof s->name, "%.*s", (int)len, at);
    snprintf(s->section, sizeof s->section, "dataset.%s", s->name);
    if (strcmp(s->name, "eval") == 0) return fail(c, value, "[dataset.eval] is for evaluation: another name");
    if (!eq) return CO_OK;
    snprintf(number, sizeof number, "%.*s", stop - eq - 1 < 39 ? (int)(stop - eq - 1) : 39, eq + 1);
    s->weight = strtod(number, &end);
    end += strspn(end, " \t");
    if (end == number || *end || !(s->weight > 0) || !isfinite(s->weight)) return fail(c, value, "a weight is a number above 0");
    return CO_OK;
}

static int parse_names(config *c, const char *value, source_spec *s, size_t *n)
{
    int rc = CO_OK;
    size_t weighted = 0;
    for (const char *at = value; *at && !rc;) {
        const size_t len = strcspn(at, ",");
        if (*n == MOST_SOURCES) return fail(c, value, "at most 64 sources");
        rc = parse_one(c, value, at, len, &s[*n]);
        for (size_t i = 0; i < *n && !rc; i++)
            if (strcmp(s[i].name, s[*n].name) == 0) rc = fail(c, value, "a name is there twice");
        weighted += s[*n].weight > 0;
        (*n)++;
        at += len + (at[len] == ',');
    }
    if (!rc && weighted && weighted != *n) rc = fail(c, value, "give every source a weight, or none (then each counts by its records)");
    for (size_t i = 0; i < *n && !rc; i++) {
        if (!config_has_section(c, s[i].section))
            rc = FAIL(CO_E_CONFIG, "%s: [dataset] sources = %s: there is no section [%s]", config_where(c, "dataset", "sources"), value, s[i].section);
        if (!rc) rc = config_bind(c, s[i].section, sources_rows, sizeof(co_opt), "core", &s[i].o);
    }
    return rc;
}

int sources_parse(config *c, const char *section, const dataset_opts *o, source_spec **out, size_t *n)
{
    source_spec *s = mem_calloc(o->sources[0] ? MOST_SOURCES + 1 : 1, sizeof *s);
    int rc = CO_OK;
    *n = 0;
    if (!s) return CO_E_NOMEM;
    if (!o->sources[0]) {
        snprintf(s->section, sizeof s->section, "%s", section);
        s->o = (source_opts){.path = o->path, .format = o->format, .columns = o->columns, .max_records = o->max_records};
        *n = 1;
    } else {
        rc = parse_names(c, o->sources, s, n);
    }
    if (rc) mem_free(s);
    else *out = s;
    return rc;
}

void sources_free_maps(project_map *maps, size_t n)
{
    for (size_t i = 0; maps && i < n; i++) {
        mem_free(maps[i].from);
        mem_free(maps[i].to);
    }
    mem_free(maps);
}

int sources_maps(const char *columns_of_all, const char *columns, project_map **out, size_t *n)
{
    record_columns all, own = {{NULL}, 0};
    project_map *m = NULL;
    *n = 0;
    int rc = columns_parse(columns_of_all, &all);
    if (rc) return rc;
    rc = columns_parse(columns[0] ? columns : columns_of_all, &own);
    if (!rc) m = mem_calloc(N_PARTS, sizeof *m);
    if (!rc && !m) rc = CO_E_NOMEM;
    for (int p = 0; p < N_PARTS && !rc; p++) {
        const char *to = all.given && all.name[p] ? all.name[p] : part_name(p);
        if (!own.given || !own.name[p] || (strcmp(own.name[p], to) == 0 && !strchr(to, '.'))) continue;
        m[*n] = (project_map){mem_strdup(own.name[p]), mem_strdup(to)};
        if (!m[*n].from || !m[*n].to) rc = CO_E_NOMEM;
        (*n)++;
    }
    columns_free(&all);
    columns_free(&own);
    if (rc) sources_free_maps(m, *n);
    else *out = m;
    return rc;
}
