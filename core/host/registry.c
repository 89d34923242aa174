/* registry.c: the host object: where plugins are looked for, and finding a feature by name. */
#include "core/host/host_impl.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void host_services_init(host *h); /* services.c */

static int add_folders(host *h, const char *list)
{
    for (const char *p = list; p && *p;) {
        const size_t n = strcspn(p, ":");
        if (n) {
            char **bigger = mem_grow(h->folders, h->n_folders, h->n_folders + 1, sizeof *bigger);
            if (!bigger) return CO_E_NOMEM;
            h->folders = bigger;
            h->folders[h->n_folders] = mem_printf("%.*s", (int)n, p);
            if (!h->folders[h->n_folders]) return CO_E_NOMEM;
            h->n_folders++;
        }
        p += n + (p[n] == ':');
    }
    return CO_OK;
}

/* Beside the running program: ../lib/coati/1. */
static int add_installed(host *h)
{
    static const char *const lib[] = {"lib", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64"};
    char self[4096];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return CO_OK;
    self[n] = 0;
    char *bin = fs_dirname(self), *root = bin ? fs_dirname(bin) : NULL;
    int r = root ? CO_OK : CO_E_NOMEM;
    for (size_t i = 0; i < sizeof lib / sizeof *lib && r == CO_OK; i++) {
        char *dir = mem_printf("%s/%s/coati/%u", root, lib[i], CO_ABI_MAJOR);
        r = !dir ? CO_E_NOMEM : fs_is_dir(dir) ? add_folders(h, dir) : CO_OK;
        mem_free(dir);
    }
    mem_free(root);
    mem_free(bin);
    return r;
}

host *host_new(const char *search)
{
    host *h = mem_alloc(sizeof *h, 16);
    if (!h) return NULL;
    host_services_init(h);
    int r = add_folders(h, search);
    if (r == CO_OK) r = add_folders(h, getenv("COATI_PLUGIN_PATH"));
    if (r == CO_OK) r = add_installed(h);
    for (const co_entry_fn *e = static_plugins; *e && r == CO_OK; e++) {
        const int s = host_adopt(h, (*e)(), "(built in)");
        if (s == CO_E_NOMEM) r = s;
        else if (s) log_line(CO_LOG_ERROR, "host", "%s", error_message());
    }
    if (r == CO_OK) return h;
    host_free(h);
    return NULL;
}

void host_free(host *h)
{
    if (!h) return;
    for (size_t i = h->n_plugins; i-- > 0;) {
        if (h->plugins[i].plugin->deinit) h->plugins[i].plugin->deinit();
        mem_free(h->plugins[i].path);
    }
    for (size_t i = 0; i < h->n_features; i++) mem_free(h->features[i].vt);
    for (size_t i = 0; i < h->n_folders; i++) mem_free(h->folders[i]);
    mem_free(h->folders);
    mem_free(h->features);
    mem_free(h->plugins);
    mem_free(h->cache_folder);
    mem_free(h);
}

const char *kind_name(co_kind k) { return table_of(k) ? table_of(k)->name : "unknown kind"; }

int kind_from_name(const char *s, co_kind *out)
{
    for (uint32_t k = 1; table_of(k); k++)
        if (strcmp(table_of(k)->name, s) == 0) return *out = (co_kind)k, CO_OK;
    return CO_E_INVALID;
}

static loaded_feature *lookup(const host *h, uint32_t kind, const char *name)
{
    for (size_t i = 0; i < h->n_features; i++)
        if (h->features[i].feature->kind == kind && strcmp(h->features[i].feature->name, name) == 0) return &h->features[i];
    return NULL;
}
static loaded_feature *entry_of(const host *h, const co_feature *f)
{
    for (size_t i = 0; i < h->n_features; i++)
        if (h->features[i].feature == f) return &h->features[i];
    return NULL;
}

/* Names of one kind: what is loaded, and what the folders offer. */
static void list_names(const host *h, co_kind kind, char *buf, size_t cap)
{
    size_t at = 0;
    buf[0] = 0;
    for (size_t i = 0; i < h->n_features; i++)
        if (h->features[i].feature->kind == kind && at < cap)
            at += (size_t)snprintf(buf + at, cap - at, "%s%s", at ? ", " : "", h->features[i].feature->name);
    for (size_t d = 0; d < h->n_folders; d++) {
        search_list l;
        if (search_folder(h->folders[d], &l) != CO_OK) continue;
        for (size_t i = 0; i < l.n; i++)
            if (l.rows[i].kind == kind && !lookup(h, kind, l.rows[i].name) && at < cap)
                at += (size_t)snprintf(buf + at, cap - at, "%s%s", at ? ", " : "", l.rows[i].name);
        search_free(&l);
    }
}

/* Loads the file of `dir` that offers the feature, if there is one: *out stays NULL if not. */
static int load_from(host *h, const char *dir, co_kind kind, const char *name, loaded_feature **out)
{
    search_list l;
    int r = search_folder(dir, &l);
    for (size_t i = 0; i < l.n && r == CO_OK && !*out; i++) {
        if (l.rows[i].kind != kind || strcmp(l.rows[i].name, name) != 0) continue;
        char *path = fs_join(dir, l.rows[i].file);
        r = path ? host_load_file(h, path) : CO_E_NOMEM;
        if (r == CO_OK) *out = lookup(h, kind, name);
        if (r == CO_OK && !*out) r = FAIL(CO_E_ABI, "%s: loads, but offers no %s '%s'", path, kind_name(kind), name);
        mem_free(path);
    }
    search_free(&l);
    return r;
}

int host_feature(host *h, co_kind kind, const char *name, const co_feature **out)
{
    loaded_feature *f = lookup(h, kind, name);
    char there[400], tried[1200] = "";
    size_t at = 0;
    if (strchr(name, '/')) return FAIL(CO_E_CONFIG, "'%s' is not the name of a %s", name, kind_name(kind));
    for (size_t d = 0; !f && d < h->n_folders; d++) {
        int r = load_from(h, h->folders[d], kind, name, &f);
        if (r) return r;
        if (at < sizeof tried)
            at += (size_t)snprintf(tried + at, sizeof tried - at, "%s%s/coati-%s-%s.so", at ? ", " : "", h->folders[d], kind_name(kind), name);
    }
    if (f) return *out = f->feature, CO_OK;
    list_names(h, kind, there, sizeof there);
    return FAIL(CO_E_CONFIG, "no %s plugin \"%s\" found; installed: %s; tried: %s", kind_name(kind), name,
                there[0] ? there : "none", at ? tried : "no folder (set [plugins] path or COATI_PLUGIN_PATH)");
}

/* A file of the same name in an earlier folder comes first, as in host_feature. */
static int is_loaded(const host *h, const char *file)
{
    for (size_t k = 0; k < h->n_plugins; k++)
        if (strcmp(fs_basename(h->plugins[k].path), file) == 0) return 1;
    return 0;
}

int host_load_all(host *h, int kind, void (*bad)(void *ctx, const char *path, const char *why), void *ctx)
{
    for (size_t d = 0; d < h->n_folders; d++) {
        search_list l;
        int r = search_folder(h->folders[d], &l);
        if (r == CO_E_NOMEM) return r;
        if (r && bad) bad(ctx, h->folders[d], error_message());
        for (size_t i = 0; i < l.n && r != CO_E_NOMEM; i++) {
            int seen = is_loaded(h, l.rows[i].file);
            for (size_t k = 0; k < i; k++) seen |= strcmp(l.rows[k].file, l.rows[i].file) == 0;
            if (seen || (kind && l.rows[i].kind != (uint32_t)kind)) continue;
            char *path = fs_join(h->folders[d], l.rows[i].file);
            r = path ? host_load_file(h, path) : CO_E_NOMEM;
            if (r && r != CO_E_NOMEM && bad) bad(ctx, path, error_message());
            mem_free(path);
        }
        search_free(&l);
        if (r == CO_E_NOMEM) return r;
    }
    return CO_OK;
}

size_t host_count(const host *h) { return h->n_features; }

/* The i-th by kind and name; lists are short, so the rank is counted rather than kept sorted (pointers stay put). */
const co_feature *host_at(const host *h, size_t i)
{
    for (size_t k = 0; k < h->n_features; k++) {
        const co_feature *f = h->features[k].feature;
        size_t rank = 0;
        for (size_t j = 0; j < h->n_features; j++) {
            const co_feature *o = h->features[j].feature;
            rank += o->kind < f->kind || (o->kind == f->kind && strcmp(o->name, f->name) < 0);
        }
        if (rank == i) return f;
    }
    return NULL;
}

const co_plugin *host_plugin_of(const host *h, const co_feature *f)
{
    const loaded_feature *e = entry_of(h, f);
    return e ? e->plugin : NULL;
}
const char *host_path_of(const host *h, const co_feature *f)
{
    const loaded_feature *e = entry_of(h, f);
    return e ? e->path : "";
}

static const void *table(const host *h, const co_feature *f, co_kind kind)
{
    const loaded_feature *e = entry_of(h, f);
    return e && f->kind == (uint32_t)kind ? e->vt : NULL;
}
const co_backend_vt *host_backend(const host *h, const co_feature *f) { return table(h, f, CO_KIND_BACKEND); }
const co_comm_vt *host_comm(const host *h, const co_feature *f) { return table(h, f, CO_KIND_COMM); }
const co_strategy_vt *host_strategy(const host *h, const co_feature *f) { return table(h, f, CO_KIND_STRATEGY); }
const co_optimizer_vt *host_optimizer(const host *h, const co_feature *f) { return table(h, f, CO_KIND_OPTIMIZER); }
const co_model_vt *host_model(const host *h, const co_feature *f) { return table(h, f, CO_KIND_MODEL); }
const co_tokenizer_vt *host_tokenizer(const host *h, const co_feature *f) { return table(h, f, CO_KIND_TOKENIZER); }
const co_dataset_vt *host_dataset(const host *h, const co_feature *f) { return table(h, f, CO_KIND_DATASET); }
const co_loss_vt *host_loss(const host *h, const co_feature *f) { return table(h, f, CO_KIND_LOSS); }
