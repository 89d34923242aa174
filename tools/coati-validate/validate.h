/* validate.h: what the checks share. */
#ifndef TOOLS_COATI_VALIDATE_H
#define TOOLS_COATI_VALIDATE_H
#include "core/config/config.h"
#include "core/host/host.h"
#include "core/params/hf_config.h"
#include "core/params/table.h"
#include "report.h"

enum { MAX_SETTINGS = 32 };
typedef struct validate_args {
    const char *plugin, *config, *data; /* config.json of a tiny model; a file or folder for datasets and tokenizers */
    const char *settings[MAX_SETTINGS]; /* key=value for the plugin's own options */
    int n_settings, quiet;
    int64_t timeout;
} validate_args;

typedef struct subject { /* the feature under test */
    const validate_args *a;
    host *host;
    const co_feature *f;
    const co_plugin *plugin;
    hf_config *model_config; /* models */
    co_backend_vt const *cpu;/* comms are given this backend */
    void *cpu_self;
} subject;

/* Options of a feature: defaults, --set, and `more` ("key=value" or NULL). *opts: free with mem_free, before the config. */
typedef struct bound { config *c; void *opts; } bound;
int subject_bind(const subject *s, const co_feature *f, const char *more, bound *out);
void bound_free(bound *b);

/* Opens the feature with given options; a strategy cannot be opened like this (CO_E_UNSUPPORTED). */
int subject_open(const subject *s, const void *opts, void **self);
void subject_close(const subject *s, void *self);
/* An error must have a message. Returns whether it has; if not, that is reported as a failure of `what`. */
int check_message(const char *what, int code);

void check_instance(const subject *s); /* every kind */
void check_model(const subject *s);
void check_gradients(const subject *s, void *self);
void check_loss(const subject *s);
void check_dataset(const subject *s);
void check_tokenizer(const subject *s);
void check_backend(const subject *s);
void check_comm(const subject *s);
void check_training(const subject *s); /* the feature in a tiny run; all kinds but data */
#endif
