/* same_run.c: is the configuration that of the run a checkpoint belongs to? */
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/train/checkpoint.h"
#include "core/train/checkpoint_state.h"
#include "core/train/same_run.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One key of a text that config_print made: "[section]", "key = value", continuations indented. */
typedef struct setting {
    char section[128], key[128];
    const char *value; /* [n] */
    size_t n;
    const char *rest;
} setting;

static int next(setting *s)
{
    while (*s->rest) {
        const char *line = s->rest, *end = strchr(line, '\n');
        if (!end) end = line + strlen(line);
        while (*end && end[1] == ' ') end += 1 + strcspn(end + 1, "\n");
        s->rest = *end ? end + 1 : end;
        const char *eq = memchr(line, '=', (size_t)(end - line));
        if (line[0] == '[') {
            snprintf(s->section, sizeof s->section, "%.*s", (int)strcspn(line + 1, "]"), line + 1);
        } else if (eq && eq > line) {
            snprintf(s->key, sizeof s->key, "%.*s", (int)(eq - line - 1), line);
            s->value = eq + 2;
            s->n = (size_t)(end - s->value);
            return 1;
        }
    }
    return 0;
}

static int find(const char *text, const setting *wanted, setting *out)
{
    *out = (setting){.rest = text};
    while (next(out))
        if (strcmp(out->section, wanted->section) == 0 && strcmp(out->key, wanted->key) == 0) return 1;
    return 0;
}

/* The same text, or another way to write the same number. */
static int same(const setting *a, const setting *b)
{
    char x[64], y[64], *x_end, *y_end;
    if (a->n == b->n && memcmp(a->value, b->value, a->n) == 0) return 1;
    if (a->n == 0 || b->n == 0 || a->n >= sizeof x || b->n >= sizeof y) return 0;
    snprintf(x, sizeof x, "%.*s", (int)a->n, a->value);
    snprintf(y, sizeof y, "%.*s", (int)b->n, b->value);
    errno = 0;
    const long long i = strtoll(x, &x_end, 10), j = strtoll(y, &y_end, 10);
    if (!errno && !*x_end && !*y_end) return i == j;
    const double v = strtod(x, &x_end), w = strtod(y, &y_end);
    return !*x_end && !*y_end && v == w;
}

static int may_change(const setting *s, int cut_anew)
{
    static const char *const sections[] = {"log", "checkpoint", "strategy", "backend", "comm"};
    static const char *const run_keys[] = {"max_steps", "epochs", "stop_after", "backend", "comm", "output", "gpus_per_node", "machine", "speeds"};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        if (strcmp(s->section, sections[i]) == 0) return 1;
    for (size_t i = 0; strcmp(s->section, "run") == 0 && i < sizeof run_keys / sizeof *run_keys; i++)
        if (strcmp(s->key, run_keys[i]) == 0) return 1;
    if (cut_anew && strcmp(s->section, "batch") == 0 && (strcmp(s->key, "size") == 0 || strcmp(s->key, "accumulation") == 0)) return 1;
    return strncmp(s->section, "strategy.", 9) == 0;
}

/* Samples, or tokens, of a step: what its data depend on. */
static int64_t global_batch(const char *text, int64_t ranks, const char **unit)
{
    int64_t v[3];
    static const char *const keys[] = {"size", "accumulation", "tokens"};
    for (int i = 0; i < 3; i++) {
        setting wanted = {.section = "batch"}, s;
        snprintf(wanted.key, sizeof wanted.key, "%s", keys[i]);
        v[i] = find(text, &wanted, &s) ? strtoll(s.value, NULL, 10) : 0;
    }
    *unit = v[2] > 0 ? "tokens" : "samples";
    return (v[2] > 0 ? v[2] : v[0]) * v[1] * ranks;
}

/* was_ranks 0: not known. */
static int compare(const char *was, int64_t was_ranks, const char *is, int64_t ranks, const config *c, const char *dir)
{
    static const char cure[] = "a resumed run must be the same run. Undo the change, or start anew with --overwrite or another [run] output";
    setting a = {.rest = was}, b = {.rest = is}, other;
    const char *unit, *was_unit;
    const int64_t n = global_batch(is, ranks, &unit), was_n = global_batch(was, was_ranks, &was_unit);
    const int same_batch = n == was_n && strcmp(unit, was_unit) == 0;
    const int cut_anew = same_batch && was_ranks && was_ranks != ranks; /* the same samples, by other ranks */
    while (next(&a)) {
        if (may_change(&a, cut_anew)) continue;
        const int there = find(is, &a, &other);
        if (there && same(&a, &other)) continue;
        return FAIL(CO_E_CONFIG, "[%s] %s was \"%.*s\" when %s was written and is %s%.*s%s now: %s", a.section, a.key, (int)a.n, a.value, dir,
                    there ? "\"" : "", there ? (int)other.n : 4, there ? other.value : "gone", there ? "\"" : "", cure);
    }
    while (next(&b)) { /* a key of a newer version counts only where somebody set it */
        if (may_change(&b, cut_anew) || find(was, &b, &other) || strcmp(config_where(c, b.section, b.key), "default") == 0) continue;
        return FAIL(CO_E_CONFIG, "[%s] %s was not there when %s was written and is \"%.*s\" now: %s", b.section, b.key, dir, (int)b.n, b.value, cure);
    }
    if (was_ranks && !same_batch) /* all keys are the same */
        return FAIL(CO_E_CONFIG, "%lld ranks wrote %s, with %lld %s a step; %lld ranks make %lld: start as many, or change [batch] accumulation or size so that "
                    "a step has as many %s", (long long)was_ranks, dir, (long long)was_n, was_unit, (long long)ranks, (long long)n, unit);
    return CO_OK;
}

int same_run_difference(const char *there, const char *here, char *what, size_t cap)
{
    setting a = {.rest = there}, b = {.rest = here}, other;
    while (next(&a)) {
        const int is = find(here, &a, &other);
        if (is && same(&a, &other)) continue;
        snprintf(what, cap, "[%s] %s is %.*s here and %.*s there", a.section, a.key, is ? (int)other.n : 6, is ? other.value : "absent", (int)a.n, a.value);
        return 1;
    }
    while (next(&b)) {
        if (find(there, &b, &other)) continue;
        snprintf(what, cap, "[%s] %s is %.*s here and absent there", b.section, b.key, (int)b.n, b.value);
        return 1;
    }
    return 0;
}

int checkpoint_check_config(const char *output, int64_t step, const config *c, int32_t ranks)
{
    char *dir = step ? mem_printf("%s/checkpoints/step-%" PRId64, output, step) : mem_strdup(output);
    char *path = dir ? fs_join(dir, "config.ini") : NULL, *was = NULL, *is = config_print(c);
    int64_t was_ranks = 0;
    size_t n;
    int r = path && is ? fs_read_all(path, &was, &n, 1 << 20) : CO_E_NOMEM;
    if (r == CO_OK && step) r = checkpoint_read_ranks(dir, &was_ranks);
    if (r == CO_OK) r = compare(was, was_ranks, is, ranks, c, dir);
    mem_free(was);
    mem_free(is);
    mem_free(path);
    mem_free(dir);
    return r;
}
