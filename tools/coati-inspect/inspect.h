/* inspect.h: what coati-inspect can look at; each prints to stdout and returns a co_status. */
#ifndef TOOLS_INSPECT_H
#define TOOLS_INSPECT_H
#include "core/host/host.h"
#include "core/params/safetensors.h"

/* plugins.c */
int inspect_all(host *h, int verbose);                 /* one line a feature */
int inspect_kind(host *h, co_kind kind);               /* every feature of a kind, with its options */
int inspect_feature(host *h, co_kind kind, const char *name);
int inspect_plugin_file(host *h, const char *path);    /* a shared object by path */
int inspect_config(const char *section);               /* the host's own sections of train.ini; NULL: all */
/* weights.c */
int inspect_weights(const char *path);                 /* a safetensors file */
int inspect_model(host *h, const char *dir);           /* config.json, weights, tokenizer files */
int inspect_adapter(const char *dir);                  /* PEFT's layout */
/* runs.c */
int inspect_checkpoint(const char *dir);
int inspect_run(const char *dir);

/* records.c: a file that a dataset plugin knows by its ending: what its records are; with the directory of a model (only the
 * tokenizer's files are read) record `row`, from 1, as ids, what is learnt marked: of pairs the chosen and the rejected answer. templ
 * NULL: hh for dialogues, none for texts, else alpaca. */
int inspect_knows_records(host *h, const char *path);
int inspect_records(host *h, const char *path, const char *model, const char *templ, int64_t row);

/* text.c: numbers for people, and top-level values of JSON texts. */
const char *text_count(uint64_t n, char buf[32]);      /* 1234567 -> "1,234,567" */
const char *text_bytes(uint64_t n, char buf[32]);      /* "1.2 MiB" */
const char *text_shape(const st_tensor *t, char buf[160]);
/* Value of a top-level key as text ("" if absent or no scalar); CO_E_FORMAT for broken JSON, named as `name`. */
int text_json(const char *name, const char *json, size_t len, const char *key, char *out, size_t cap);
#endif
