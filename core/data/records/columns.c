#include "core/data/records/columns.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include <stdio.h>
#include <string.h>

static const char *const names[N_PARTS] = {"instruction", "input", "output", "system", "prompt", "completion", "messages", "conversations", "chosen",
                                           "rejected", "text", "turns"};
static const char usual[] = "instruction=instruction,input=input,output=output";

typedef struct view { const char *p; size_t n; } view;

const char *part_name(int p) { return names[p]; }

static view trim(view v)
{
    while (v.n && (*v.p == ' ' || *v.p == '\t')) v.p++, v.n--;
    while (v.n && (v.p[v.n - 1] == ' ' || v.p[v.n - 1] == '\t')) v.n--;
    return v;
}

static int set_column(record_columns *c, view name, view column)
{
    for (int i = 0; i < N_PARTS; i++) {
        if (strlen(names[i]) != name.n || memcmp(names[i], name.p, name.n)) continue;
        if (c->name[i]) return FAIL(CO_E_CONFIG, "[dataset] columns: %s is given twice", names[i]);
        c->name[i] = mem_printf("%.*s", (int)column.n, column.p);
        return c->name[i] ? CO_OK : CO_E_NOMEM;
    }
    return FAIL(CO_E_CONFIG, "[dataset] columns: unknown part \"%.*s\", expected one of instruction, input, output, system, prompt, completion, messages, "
                "conversations, chosen, rejected, text, turns", (int)name.n, name.p);
}

int columns_parse(const char *spec, record_columns *out)
{
    record_columns c = {{NULL}, 0};
    int rc = CO_OK;
    c.given = spec && *spec && strcmp(spec, usual) != 0;
    for (int i = 0; i < N_PARTS && !c.given && rc == CO_OK; i++) {
        c.name[i] = mem_strdup(names[i]);
        if (!c.name[i]) rc = CO_E_NOMEM;
    }
    while (c.given && *spec && rc == CO_OK) {
        const size_t n = strcspn(spec, ",");
        const char *eq = memchr(spec, '=', n);
        if (!eq) {
            rc = FAIL(CO_E_CONFIG, "[dataset] columns: expected part=column, found \"%.*s\"", (int)n, spec);
            break;
        }
        const view name = trim((view){spec, (size_t)(eq - spec)}), column = trim((view){eq + 1, n - (size_t)(eq + 1 - spec)});
        rc = column.n ? set_column(&c, name, column)
                      : FAIL(CO_E_CONFIG, "[dataset] columns: no column behind \"%.*s=\"", (int)name.n, name.p);
        spec += n + (spec[n] == ',');
    }
    if (rc) columns_free(&c);
    else *out = c;
    return rc;
}

void columns_free(record_columns *c)
{
    for (int i = 0; i < N_PARTS; i++) mem_free(c->name[i]);
    *c = (record_columns){{NULL}, 0};
}

const co_field *columns_find(const record_columns *c, int p, const co_field *f, uint32_t n)
{
    for (uint32_t i = 0; i < n && c->name[p]; i++)
        if (strcmp(f[i].name, c->name[p]) == 0) return &f[i];
    return NULL;
}

const char *columns_there(const co_field *f, uint32_t n, char *out, size_t cap)
{
    size_t at = 0;
    snprintf(out, cap, "none");
    for (uint32_t i = 0; i < n; i++) {
        if (at + strlen(f[i].name) + 8 > cap) {
            snprintf(out + at, cap - at, "…");
            break;
        }
        at += (size_t)snprintf(out + at, cap - at, "%s\"%s\"", i ? ", " : "", f[i].name);
    }
    return out;
}
