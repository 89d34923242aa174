#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/params/json.h"
#include "core/train/report.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SERIES = 64 };

static series *column(series_set *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->all[i].name, name)) return &s->all[i];
    if (s->n == MAX_SERIES || strlen(name) >= sizeof s->all->name) return NULL;
    snprintf(s->all[s->n].name, sizeof s->all->name, "%s", name);
    return &s->all[s->n++];
}

static int add(series *s, double step, double value)
{
    s->last = value;
    if (!isfinite(value)) return CO_OK;
    if (s->n == s->cap) {
        const size_t cap = s->cap ? 2 * s->cap : 256;
        series_point *grown = mem_grow(s->points, s->cap, cap, sizeof *grown);
        if (!grown) return CO_E_NOMEM;
        s->points = grown;
        s->cap = cap;
    }
    s->points[s->n++] = (series_point){step, value};
    return CO_OK;
}

/* One object of numbers; "step" comes first. */
static int read_line(series_set *s, const char *path, const char *line, size_t n)
{
    json_reader r;
    char key[64] = "";
    double step = NAN;
    int t, rc = CO_OK;
    json_init(&r, path, line, n);
    while (rc == CO_OK && (t = json_next(&r)) > 0) {
        if (t == JSON_KEY) snprintf(key, sizeof key, "%s", r.str);
        if (t != JSON_NUMBER && t != JSON_NULL) continue;
        const double v = t == JSON_NUMBER ? strtod(r.text + r.token_at, NULL) : NAN;
        if (!strcmp(key, "step")) {
            s->last_step = step = v;
            continue;
        }
        series *c = column(s, key);
        if (c) rc = add(c, step, v);
    }
    if (rc == CO_OK && t < 0) rc = t;
    json_close(&r);
    return rc;
}

int series_read(const char *path, series_set *out)
{
    char *text = NULL;
    size_t n = 0;
    series_set s = {.all = mem_calloc(MAX_SERIES, sizeof *s.all)};
    int rc = s.all ? fs_read_all(path, &text, &n, SIZE_MAX / 2) : CO_E_NOMEM;
    for (size_t at = 0; at < n && rc == CO_OK;) {
        const char *end = memchr(text + at, '\n', n - at);
        const size_t len = end ? (size_t)(end - text) - at : n - at;
        if (len) rc = read_line(&s, path, text + at, len);
        at += len + 1;
    }
    mem_free(text);
    if (rc) series_free(&s);
    else *out = s;
    return rc;
}

void series_free(series_set *s)
{
    for (size_t i = 0; i < s->n; i++) mem_free(s->all[i].points);
    mem_free(s->all);
    memset(s, 0, sizeof *s);
}

const series *series_find(const series_set *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->all[i].name, name) && s->all[i].n) return &s->all[i];
    return NULL;
}
