/* plugins.c: what is installed, and option tables as the manual page they are. */
#include "inspect.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/config/config.h"
#include "core/train/options.h"
#include "core/train/sources.h"
#include <stdio.h>
#include <string.h>

static const char *const type_names[] = {[CO_OPT_BOOL] = "switch", [CO_OPT_INT] = "integer", [CO_OPT_FLOAT] = "number",
                                         [CO_OPT_BYTES] = "size", [CO_OPT_STR] = "text", [CO_OPT_PATH] = "path", [CO_OPT_ENUM] = "choice"};

static void on_bad(void *ctx, const char *path, const char *why)
{
    (void)ctx, (void)path;
    log_line(CO_LOG_WARN, "inspect", "%s", why);
}

/* What is allowed: "0 or 1", "a | b", "1 to 10"; "" for anything of the type. */
static const char *range_of(const co_opt *o, char *buf, size_t cap)
{
    size_t at = 0;
    buf[0] = 0;
    if (o->type == CO_OPT_BOOL) snprintf(buf, cap, "0 | 1");
    for (const char *const *n = o->type == CO_OPT_ENUM ? o->names : NULL; n && *n && at < cap; n++)
        at += (size_t)snprintf(buf + at, cap - at, "%s%s", at ? " | " : "", *n);
    if ((o->type == CO_OPT_INT || o->type == CO_OPT_FLOAT || o->type == CO_OPT_BYTES) && (o->min != 0 || o->max != 0))
        snprintf(buf, cap, "%.10g to %.10g", o->min, o->max);
    return buf;
}

static void print_table(const co_opt *table, size_t stride)
{
    printf("  %-20s %-8s %-22s %-28s %s\n", "key", "type", "default", "allowed", "meaning");
    for (const co_opt *o = table; o->key; o = (const co_opt *)(const void *)((const char *)o + stride)) {
        char range[256];
        const char *def = o->flags & CO_OPT_REQUIRED ? "(required)" : o->def && o->def[0] ? o->def : "-";
        printf("  %-20s %-8s %-22s %-28s %s%s\n", o->key, type_names[o->type], def, range_of(o, range, sizeof range),
               o->help ? o->help : "", o->flags & CO_OPT_DEPRECATED ? " (deprecated)" : "");
    }
}

static void print_words(const char *label, const char *const *words)
{
    if (!words || !words[0]) return;
    printf("  %-9s", label);
    for (const char *const *w = words; *w; w++) printf(" %s", *w);
    putchar('\n');
}

static void print_feature(host *h, const co_feature *f)
{
    const co_plugin *p = host_plugin_of(h, f);
    const char *kind = kind_name((co_kind)f->kind);
    printf("%s/%s: %s\n", kind, f->name, f->summary ? f->summary : "");
    printf("  plugin    %s %s, %s, %s\n", p->name ? p->name : "?", p->version ? p->version : "?", p->vendor && p->vendor[0] ? p->vendor : "vendor unknown",
           p->license && p->license[0] ? p->license : "license unknown");
    printf("  file      %s\n", host_path_of(h, f));
    printf("  built     with %.48s for plugin ABI %u.%u (needs %u.%u)\n", p->magic.built_with, p->magic.abi_major, p->magic.abi_minor,
           p->magic.abi_major, p->magic.abi_minor_required);
    print_words("needs", f->needs);
    if (f->kind == CO_KIND_MODEL) print_words("serves", host_model(h, f)->model_types);
    if (f->kind == CO_KIND_TOKENIZER) print_words("reads", host_tokenizer(h, f)->files);
    if (f->kind == CO_KIND_DATASET) print_words("reads", host_dataset(h, f)->suffixes);
    if (f->kind == CO_KIND_LOSS) print_words("columns", host_loss(h, f)->fields);
    if (!f->opts || !f->opts->key) {
        printf("  no options of its own\n");
        return;
    }
    printf("  options, in [%s] (coati-inspect config/%s shows the keys that are there with any %s):\n", kind, kind, kind);
    print_table(f->opts, p->magic.opt_stride);
}

int inspect_all(host *h, int verbose)
{
    int r = host_load_all(h, 0, on_bad, NULL);
    for (size_t i = 0; i < host_count(h) && r == CO_OK; i++) {
        const co_feature *f = host_at(h, i);
        printf("%-10s %-16s %s\n", kind_name((co_kind)f->kind), f->name, f->summary ? f->summary : "");
        if (verbose) printf("%-27s %s, %s\n", "", host_plugin_of(h, f)->version, host_path_of(h, f));
    }
    return r;
}

int inspect_kind(host *h, co_kind kind)
{
    int r = host_load_all(h, kind, on_bad, NULL), any = 0;
    for (size_t i = 0; i < host_count(h) && r == CO_OK; i++) {
        const co_feature *f = host_at(h, i);
        if (f->kind != (uint32_t)kind) continue;
        if (any++) putchar('\n');
        print_feature(h, f);
    }
    return r || any ? r : FAIL(CO_E_CONFIG, "no %s plugin is installed", kind_name(kind));
}

int inspect_feature(host *h, co_kind kind, const char *name)
{
    const co_feature *f;
    int r = host_feature(h, kind, name, &f);
    if (r == CO_OK) print_feature(h, f);
    return r;
}

int inspect_plugin_file(host *h, const char *path)
{
    int r = host_load_file(h, path), any = 0;
    for (size_t i = 0; i < host_count(h) && r == CO_OK; i++) {
        if (strcmp(host_path_of(h, host_at(h, i)), path) != 0) continue;
        if (any++) putchar('\n');
        print_feature(h, host_at(h, i));
    }
    return r;
}

int inspect_config(const char *section)
{
    const char *names[64];
    size_t n, shown = 0;
    const options_section *all = options_sections(&n);
    for (size_t i = 0; i < n; i++) {
        if (i < 64) names[i] = all[i].name;
        if (section && strcmp(section, all[i].name) != 0) continue;
        if (shown++) putchar('\n');
        printf("[%s]\n", all[i].name);
        print_table(all[i].rows, sizeof(co_opt));
    }
    if (!section || strcmp(section, "dataset.NAME") == 0) {
        if (shown++) putchar('\n');
        puts("[dataset.NAME], one for each name in [dataset] sources");
        print_table(sources_rows, sizeof(co_opt));
    }
    if (shown) return CO_OK;
    const char *near = suggest_nearest(section, names, n < 64 ? n : 64);
    return near ? FAIL(CO_E_CONFIG, "[%s]: no such section, did you mean [%s]?", section, near)
                : FAIL(CO_E_CONFIG, "[%s]: no such section; coati-inspect config shows all", section);
}
