/* export_files.h: the parts of an export that are not weights. Used by export.c. */
#ifndef CORE_PARAMS_EXPORT_FILES_H
#define CORE_PARAMS_EXPORT_FILES_H
#include "core/base/fs.h"
#include "core/params/hf_config.h"

/* Checks that `dir` may be written (absent, empty, or a model or adapter directory), and makes an empty folder beside it.
 * dir_out: `dir` without trailing slashes. Both are the caller's, also after an error (then perhaps NULL). */
int export_begin(const char *dir, char **dir_out, char **tmp_out);
int export_file(const char *dir, const char *name, const char *text, size_t len); /* fsynced */
/* The text of a config.json, with torch_dtype (or dtype, as newer versions call it) set. Free with mem_free. */
int export_config_text(const char *config, const char *dtype, char **out);
/* The same with another number at a key of the outermost object; CO_E_FORMAT if it is not there. */
int export_config_number(const char *config, const char *key, int64_t value, char **out);
/* Copies what tokenizers and generation need; absent files are passed over. */
int export_tokenizer(const char *dir, const char *from);
/* Puts tmp in the place of dir: at every moment dir is the old one, or the new one, whole (on file systems that
 * cannot exchange two names there is a moment with neither; DIR.old is then the old one). */
int export_swap(const char *dir, const char *tmp);
void export_discard(const char *tmp); /* keeps the error message that is there */
#endif
