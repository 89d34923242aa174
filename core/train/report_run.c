/* report_run.c: what the page says of a run, gathered from it and from the machine. */
#include "core/base/memory.h"
#include "core/train/answers.h"
#include "core/train/report.h"
#include "core/train/run.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { MAX_ROWS = 48, MOST_SOURCES = 32 };
typedef struct rows { report_row at[MAX_ROWS]; size_t n; } rows;

static void add(rows *r, const char *name, const char *fmt, ...) CO_PRINTF(3, 4);
static void add(rows *r, const char *name, const char *fmt, ...)
{
    va_list ap;
    if (r->n == MAX_ROWS) return;
    r->at[r->n].name = name;
    va_start(ap, fmt);
    vsnprintf(r->at[r->n].value, sizeof r->at->value, fmt, ap);
    va_end(ap);
    r->n++;
}

static void add_data(rows *out, const run_dataset *d)
{
    loader_totals t;
    loader_source from;
    loader_stats(d->loader, &t);
    add(out, "path", "%s", d->path);
    add(out, "records", "%lld", (long long)loader_n_records(d->loader));
    for (int32_t i = 0; i < MOST_SOURCES && loader_source_at(d->loader, i, &from) == CO_OK; i++)
        add(out, "source", "%.100s: %lld records, %lld samples a pass", from.name, (long long)from.n, (long long)from.share);
    add(out, "samples read since this start", "%lld", (long long)t.samples);
    add(out, "tokens, of them to be predicted", "%lld, %lld", (long long)t.tokens, (long long)t.labels);
    if (t.samples) add(out, "tokens a sample", "%.1f", (double)t.tokens / (double)t.samples);
    add(out, "cut to max_len", "%lld", (long long)t.cut);
    add(out, "dropped, no label left", "%lld", (long long)t.dropped);
    add(out, "broken records passed over", "%lld", (long long)t.bad);
    add(out, "waited for data", "%.3f s", t.wait_s);
}

/* The value behind "name   : " in a file of /proc. */
static int proc_value(const char *path, const char *name, char *to, size_t cap)
{
    char line[512];
    FILE *f = fopen(path, "re");
    int found = 0;
    while (f && !found && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, name, strlen(name)) != 0) continue;
        colon += strspn(colon, ": \t");
        snprintf(to, cap, "%.*s", (int)strcspn(colon, "\n"), colon);
        found = 1;
    }
    if (f) fclose(f);
    return found;
}

static void add_machine(rows *out, const run *r)
{
    struct utsname u;
    char text[160];
    add(out, "coati", "%s", host_services(r->host)->version);
    add(out, "model", "%s, %lld parameters, %lld of them trained", r->model_name, (long long)r->table->n_elements, (long long)r->table->n_trainable);
    add(out, "backend", "%s", r->o.run.backend);
    add(out, "strategy", "%s", r->o.strategy.name);
    if (proc_value("/proc/cpuinfo", "model name", text, sizeof text)) add(out, "processor", "%.100s, %ld online", text, sysconf(_SC_NPROCESSORS_ONLN));
    if (proc_value("/proc/meminfo", "MemTotal", text, sizeof text)) add(out, "memory", "%s", text);
    if (uname(&u) == 0) add(out, "system", "%s %s %s", u.sysname, u.release, u.machine);
}

int run_write_report(run *r, int with_answers)
{
    rows *data = mem_calloc(1, sizeof *data), *machine = mem_calloc(1, sizeof *machine);
    char *ini = config_print(r->config), *plan = run_plan_text(r);
    co_arena *texts = arena_new(1 << 14);
    report_answer *answers = NULL;
    size_t n_answers = 0;
    int rc = data && machine && ini && plan && texts ? CO_OK : CO_E_NOMEM;
    if (rc == CO_OK && with_answers) rc = run_answers(r, texts, &answers, &n_answers);
    if (rc == CO_OK && r->rank == 0) {
        add_data(data, &r->train);
        if (r->eval.loader) add(data, "held-out records", "%lld of %s", (long long)loader_n_records(r->eval.loader), r->eval.path);
        add_machine(machine, r);
        const report_facts f = {.title = r->o.run.output, .config = ini, .plan = plan, .data = data->at, .n_data = data->n,
                                .environment = machine->at, .n_environment = machine->n, .answers = answers, .n_answers = n_answers};
        rc = report_write(r->o.run.output, &f);
    }
    arena_free(texts);
    mem_free(plan);
    mem_free(ini);
    mem_free(machine);
    mem_free(data);
    return rc;
}
