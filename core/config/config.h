/* config.h: INI files and `section.key=value` overrides -> checked option structs.
 *
 * A config is a list of (section, key, value, where) entries. Sections and keys are checked when they are
 * bound to an option table; config_finish then reports whatever nobody asked for. */
#ifndef CORE_CONFIG_CONFIG_H
#define CORE_CONFIG_CONFIG_H
#include <coati/opts.h>

typedef struct config config;

config *config_new(void);
void config_free(config *c);
/* Reads with inih behind a line-counting reader (lines above 199 bytes, repeated keys, bad syntax are errors:
 * "train.ini:12: …"); ${ENV} is replaced; [include] path=other.ini. Relative paths are kept with their folder. */
int config_read_file(config *c, const char *path);
int config_override(config *c, const char *assignment); /* "section.key=value", relative to the working folder */
int config_set(config *c, const char *section, const char *key, const char *value); /* by the program itself */
/* Raw look-up; NULL if absent. Does not count as asked for. */
const char *config_get(const config *c, const char *section, const char *key);
int config_has_section(const config *c, const char *section);
/* Fills `out` (opts_size bytes) from a section by the table; absent keys get their defaults. Strings live as
 * long as the config. Several tables may be bound to one section (the host's and a plugin's): a key is unknown
 * only if no table has it. stride: sizeof(co_opt) as the table's author knew it. `owner` names the table in
 * messages and listings ("core", "strategy/naive"). */
int config_bind(config *c, const char *section, const co_opt *table, size_t stride, const char *owner, void *out);
/* Keys, types, offsets, ranges and defaults of a plugin's table; CO_E_ABI or CO_E_CONFIG with what is wrong. */
int config_check_table(const co_opt *table, size_t stride, size_t opts_size, const char *section);
/* After all binds: error for each unknown section or key, with the nearest known one and file:line. */
int config_finish(config *c);
/* The effective configuration as an INI file that can be run again (paths absolute), sections and keys in
 * binding order, defaults included. Free with mem_free. */
char *config_print(const config *c);
/* "train.ini:12" where a key was set, "command line", or "default". */
const char *config_where(const config *c, const char *section, const char *key);
/* Nearest of `names` to `word` by edit distance, or NULL if none is near. */
const char *suggest_nearest(const char *word, const char *const *names, size_t n);
#endif
