/* plugin.h: what a shared object contains. One exported symbol, `coati_plugin_v1`, made by CO_PLUGIN. */
#ifndef COATI_PLUGIN_H
#define COATI_PLUGIN_H
#include "host.h"
#include "opts.h"
#include "types.h"
#ifdef __cplusplus
extern "C" {
#endif

typedef struct co_feature { /* one thing an INI file can select by name */
    uint32_t struct_size;
    uint32_t kind;            /* co_kind                                            */
    const char *name;         /* "llama", "naive": unique within its kind           */
    const char *summary;      /* one line for coati-inspect                         */
    const co_opt *opts;       /* ends with key == NULL; read with magic.opt_stride; NULL: no options */
    size_t opts_size;         /* sizeof the options struct                          */
    /* NULL or NULL-terminated tags. "op:attention": an op by its name in ops.def; a host without it refuses the plugin when it is
     * loaded. "mem:device": a backend whose device memory is not the host's (CO_BACKEND_ASYNC); a run with another one ends before
     * anything is opened. Tags that a host does not know are refused likewise. */
    const char *const *needs;
    const void *vt;           /* co_model_vt, co_strategy_vt, ... by kind           */
} co_feature;

typedef struct co_plugin {
    co_magic magic; /* must stay first in every version, for ever */
    uint32_t struct_size;
    const char *name, *vendor, *version, *license, *url;
    const co_feature *const *features; /* NULL-terminated array of pointers, so each may grow */
    /* [main] Optional. Called once before any feature is used; keep it fast. */
    int (*init)(const co_host *h);
    /* [main] Optional. Called once, in reverse load order. The shared object stays mapped. */
    void (*deinit)(void);
} co_plugin;

typedef const co_plugin *(*co_entry_fn)(void); /* a function, not a data symbol */

#ifndef CO_BUILT_WITH
#define CO_BUILT_WITH "unknown"
#endif
#define CO_MAGIC_INIT(required_minor)                                                                         \
    {                                                                                                         \
        CO_MAGIC, CO_ABI_MAJOR, CO_ABI_MINOR, (required_minor), (uint16_t)sizeof(void *), CO_MAX_DIMS,        \
            (uint16_t)sizeof(co_opt), CO_BUILT_WITH                                                           \
    }

/* With CO_STATIC_PLUGIN the entry gets a name of its own, so that many plugins link into one program. */
#define CO_CAT2(a, b) a##b
#define CO_CAT(a, b) CO_CAT2(a, b)
#ifdef CO_STATIC_PLUGIN
#define CO_ENTRY CO_CAT(coati_plugin_v1_, CO_STATIC_PLUGIN)
#else
#define CO_ENTRY coati_plugin_v1
#endif
#define CO_PLUGIN(desc)                                                                                       \
    CO_EXPORT const co_plugin *CO_ENTRY(void);                                                                \
    const co_plugin *CO_ENTRY(void) { return &(desc); }                                                       \
    extern int co_plugin_needs_a_semicolon

/* All of the above for a plugin with one feature. opts: an array of rows or NULL; opts_type: the struct they fill, or char. */
#define CO_PLUGIN_ONE(kind, name, summary, opts, opts_type, vt, vendor, version, license)                     \
    static const co_feature co_one_feature = {sizeof(co_feature), (kind), (name), (summary), (opts),          \
                                              sizeof(opts_type), NULL, &(vt)};                                \
    static const co_feature *const co_one_list[] = {&co_one_feature, NULL};                                   \
    static const co_plugin co_one = {CO_MAGIC_INIT(0), sizeof(co_plugin), (name), (vendor), (version), (license), \
                                     "", co_one_list, NULL, NULL};                                            \
    CO_PLUGIN(co_one)
#ifdef __cplusplus
}
#endif
#endif
