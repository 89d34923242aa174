/* host.h: finds, loads and checks plugins. Only what is asked for by name is opened; nothing is ever closed. */
#ifndef CORE_HOST_HOST_H
#define CORE_HOST_HOST_H
#include <coati/coati.h>

typedef struct host host;

/* search: folders, colon-separated, before $COATI_PLUGIN_PATH and the installed folder (found relative to the
 * running program: ../lib/coati/1). NULL: none. */
host *host_new(const char *search);
void host_free(host *h); /* deinit in reverse load order */
void host_seed(host *h, uint64_t seed);
int host_cache(host *h, const char *folder, int may_write); /* what plugins get as CO_CACHE_ID; without it: none */
const co_host *host_services(host *h); /* what plugins are handed */
/* Finds feature `name` of `kind`: already loaded, in a folder's plugins.index, or coati-<kind>-<name>.so. The error lists every path tried, and what is installed of that kind. */
int host_feature(host *h, co_kind kind, const char *name, const co_feature **out);
/* The plugin a loaded feature came from (its opt_stride is needed by config_bind). */
const co_plugin *host_plugin_of(const host *h, const co_feature *f);
int host_load_file(host *h, const char *path); /* one shared object by path: coati-validate, tests */
/* Opens every plugin found (of a kind: by index and file name), for listings and [model] arch = auto; a bad one is reported
 * to `bad` and passed over. CO_OK or CO_E_NOMEM. */
int host_load_all(host *h, int kind_or_0, void (*bad)(void *ctx, const char *path, const char *why), void *ctx);
/* The model plugin that serves config.json's model_type; the error names `config_path` and what the installed ones serve. */
int host_model_for(host *h, const char *model_type, const char *config_path, void (*bad)(void *ctx, const char *path, const char *why),
                   void *ctx, const co_feature **out);
size_t host_count(const host *h);
const co_feature *host_at(const host *h, size_t i); /* sorted by kind, then name */
const char *host_path_of(const host *h, const co_feature *f); /* "(built in)" when static */
/* Whether a feature can work with this backend as far as its `needs` go; CO_E_CONFIG says what is missing. */
int host_suits(const host *h, const co_feature *f, const co_backend_vt *be, const char *backend);
const char *kind_name(co_kind k);                /* "backend" */
int kind_from_name(const char *s, co_kind *out);

/* Tables as long as this host knows them: members the plugin's older table lacks are NULL. Required members
 * are checked when the plugin is loaded. Pointers stay valid for the life of the host. */
const co_backend_vt *host_backend(const host *h, const co_feature *f);
const co_comm_vt *host_comm(const host *h, const co_feature *f);
const co_strategy_vt *host_strategy(const host *h, const co_feature *f);
const co_optimizer_vt *host_optimizer(const host *h, const co_feature *f);
const co_model_vt *host_model(const host *h, const co_feature *f);
const co_tokenizer_vt *host_tokenizer(const host *h, const co_feature *f);
const co_dataset_vt *host_dataset(const host *h, const co_feature *f);
const co_loss_vt *host_loss(const host *h, const co_feature *f);
#endif
