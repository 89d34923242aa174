/* config_impl.h: the entries read, and the tables bound to sections. */
#ifndef CORE_CONFIG_IMPL_H
#define CORE_CONFIG_IMPL_H
#include "core/base/memory.h"
#include "core/config/config.h"

typedef struct entry {
    char *section, *key, *value;
    char *file;   /* NULL: command line or program */
    char *folder; /* relative paths start here; NULL: the working folder */
    int line, depth;
    int program; /* set by config_set */
    int used;
} entry;

typedef struct binding {
    char *section;
    const char *owner;
    const co_opt *table;
    size_t stride;
    char **text; /* effective value of each row */
    size_t n;
} binding;

struct config {
    co_arena *arena;
    entry *entries;
    size_t n, cap;
    binding *bindings;
    size_t n_bindings;
    int depth;
};

entry *config_find(const config *c, const char *section, const char *key);
/* "train.ini:12" or "command line"; arena text */
const char *entry_where(const config *c, const entry *e);
int option_parse(config *c, const co_opt *o, const char *section, const char *value, const entry *from, void *out);
static inline const co_opt *option_at(const co_opt *t, size_t stride, size_t i)
{
    return (const co_opt *)(const void *)((const char *)t + i * stride);
}
#endif
