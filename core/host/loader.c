/* loader.c: from a file to a checked plugin. Every way to be wrong has a line of its own. */
#include "core/host/host_impl.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/config/config.h"
#include <dlfcn.h>
#include <string.h>

static int check_magic(const co_magic *m, const char *path)
{
    if (m->magic != CO_MAGIC) return FAIL(CO_E_ABI, "%s: not a coati plugin (its table starts with 0x%08x)", path, m->magic);
    if (m->abi_major != CO_ABI_MAJOR)
        return FAIL(CO_E_ABI, "%s: built for plugin ABI %u, this is %u: build it against this version's headers", path,
                    m->abi_major, CO_ABI_MAJOR);
    if (m->abi_minor_required > CO_ABI_MINOR)
        return FAIL(CO_E_ABI, "%s: needs plugin ABI %u.%u, this is %u.%u: use a newer coati, or an older version of the plugin",
                    path, CO_ABI_MAJOR, m->abi_minor_required, CO_ABI_MAJOR, CO_ABI_MINOR);
    if (m->pointer_size != sizeof(void *))
        return FAIL(CO_E_ABI, "%s: built for %u-bit pointers, this is %zu-bit", path, m->pointer_size * 8u, sizeof(void *) * 8);
    if (m->max_dims != CO_MAX_DIMS)
        return FAIL(CO_E_ABI, "%s: built for tensors of %u dimensions, this has %d", path, m->max_dims, CO_MAX_DIMS);
    if (m->opt_stride < offsetof(co_opt, help) + sizeof(char *) || m->opt_stride % _Alignof(co_opt))
        return FAIL(CO_E_ABI, "%s: its option rows have %u bytes, at least %zu are expected and a multiple of 8", path, m->opt_stride,
                    offsetof(co_opt, help) + sizeof(char *));
    return CO_OK;
}

static const loaded_feature *find(const host *h, uint32_t kind, const char *name)
{
    for (size_t i = 0; i < h->n_features; i++)
        if (h->features[i].feature->kind == kind && strcmp(h->features[i].feature->name, name) == 0) return &h->features[i];
    return NULL;
}

static int add_feature(host *h, const co_plugin *p, const co_feature *f, const char *path)
{
    if (f->struct_size < sizeof(co_feature))
        return FAIL(CO_E_ABI, "%s: a feature's record has %u bytes, at least %zu are expected", path, f->struct_size,
                    sizeof(co_feature));
    const table_kind *k = table_of(f->kind);
    if (!k) return FAIL(CO_E_ABI, "%s: feature '%s' is of kind %u, which does not exist", path, f->name ? f->name : "?", f->kind);
    if (!f->name || !f->name[0]) return FAIL(CO_E_ABI, "%s: a %s without a name", path, k->name);
    if (!f->vt) return FAIL(CO_E_ABI, "%s: %s '%s' has no table of functions", path, k->name, f->name);
    const loaded_feature *twin = find(h, f->kind, f->name);
    if (twin) return FAIL(CO_E_ABI, "%s: %s '%s' is already there, from %s: remove one of them", path, k->name, f->name, twin->path);
    if (f->opts && config_check_table(f->opts, p->magic.opt_stride, f->opts_size, k->name) != CO_OK) {
        char why[1024];
        error_take(why, sizeof why);
        return FAIL(CO_E_ABI, "%s: %s '%s': %s", path, k->name, f->name, why);
    }
    const int fit = host_check_needs(f, k->name, path);
    if (fit) return fit;
    uint32_t size;
    memcpy(&size, f->vt, sizeof size);
    void *vt = mem_alloc(k->size, 16);
    if (!vt) return CO_E_NOMEM;
    memcpy(vt, f->vt, size < k->size ? size : k->size);
    for (const table_member *m = k->required; m->name; m++) {
        void *member = NULL;
        if (m->offset + sizeof member <= size) memcpy(&member, (char *)vt + m->offset, sizeof member);
        if (member) continue;
        const int shorter = m->offset + sizeof member > size;
        mem_free(vt);
        return FAIL(CO_E_ABI, shorter ? "%s: %s '%s': its table of %u bytes ends before '%s'"
                                      : "%s: %s '%s' (table of %u bytes) lacks the required function '%s'",
                    path, k->name, f->name, size, m->name);
    }
    if (h->n_features == h->cap_features) {
        const size_t cap = h->cap_features ? h->cap_features * 2 : 16;
        loaded_feature *bigger = mem_grow(h->features, h->cap_features, cap, sizeof *bigger);
        if (!bigger) {
            mem_free(vt);
            return CO_E_NOMEM;
        }
        h->features = bigger;
        h->cap_features = cap;
    }
    h->features[h->n_features++] = (loaded_feature){f, p, path, vt};
    return CO_OK;
}

int host_adopt(host *h, const co_plugin *p, const char *given_path)
{
    if (!p) return FAIL(CO_E_ABI, "%s: not a coati plugin (its entry returned nothing)", given_path);
    int r = check_magic(&p->magic, given_path);
    if (r) return r;
    if (p->struct_size < sizeof(co_plugin))
        return FAIL(CO_E_ABI, "%s: its description has %u bytes, at least %zu are expected", given_path, p->struct_size,
                    sizeof(co_plugin));
    if (!p->features || !p->features[0]) return FAIL(CO_E_ABI, "%s: offers no feature", given_path);
    for (size_t i = 0; i < h->n_plugins; i++)
        if (h->plugins[i].plugin == p) return CO_OK; /* the same file by another name */
    if (h->n_plugins == h->cap_plugins) {
        const size_t cap = h->cap_plugins ? h->cap_plugins * 2 : 16;
        void *bigger = mem_grow(h->plugins, h->cap_plugins, cap, sizeof *h->plugins);
        if (!bigger) return CO_E_NOMEM;
        h->plugins = bigger;
        h->cap_plugins = cap;
    }
    char *path = mem_strdup(given_path);
    if (!path) return CO_E_NOMEM;
    const size_t before = h->n_features;
    for (const co_feature *const *f = p->features; *f && r == CO_OK; f++) r = add_feature(h, p, *f, path);
    if (r == CO_OK && p->init) {
        (void)FAIL(CO_OK, "no reason given"); /* an older message would be another's */
        if (p->init(&h->services) != CO_OK) r = FAIL(CO_E_ABI, "%s: its start-up failed: %.900s", path, error_message());
    }
    if (r) {
        while (h->n_features > before) mem_free(h->features[--h->n_features].vt);
        char text[1600];
        error_take(text, sizeof text);
        mem_free(path);
        return FAIL(r, "%s", text);
    }
    h->plugins[h->n_plugins].plugin = p;
    h->plugins[h->n_plugins++].path = path;
    log_line(CO_LOG_DEBUG, "host", "%s: %s %s (%s)", path, p->name ? p->name : "?", p->version ? p->version : "?",
             p->magic.built_with);
    return CO_OK;
}

int host_load_file(host *h, const char *path)
{
    if (!fs_is_file(path)) return FAIL(CO_E_ABI, "%s: no such file", path);
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!so) {
        const char *why = dlerror();
        return FAIL(CO_E_ABI, "%s: cannot be loaded: %s. `ldd %s` shows what it misses", path, why ? why : "unknown reason", path);
    }
    void *symbol = dlsym(so, CO_ENTRY_SYMBOL);
    if (!symbol)
        return FAIL(CO_E_ABI, "%s: not a coati plugin (it has no symbol %s; another major version would have another one)", path,
                    CO_ENTRY_SYMBOL);
    co_entry_fn entry;
    memcpy(&entry, &symbol, sizeof entry); /* ISO C has no cast from data to function pointers */
    return host_adopt(h, entry(), path);
}
