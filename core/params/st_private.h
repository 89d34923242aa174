/* st_private.h: the insides of st_set, shared by the header parser and the set. */
#ifndef CORE_PARAMS_ST_PRIVATE_H
#define CORE_PARAMS_ST_PRIVATE_H
#include <coati/host.h>
#include "core/base/fs.h"
#include "core/params/safetensors.h"

#define ST_MAX_HEADER 100000000u /* bytes; the format's own limit */

typedef struct st_meta { /* one pair of __metadata__ */
    const char *key, *value;
} st_meta;

struct st_set {
    co_arena *names; /* tensor names, paths, metadata */
    fs_map *maps;
    size_t n_maps;
    st_tensor *tensors; /* by file, then by offset */
    size_t n;
    uint32_t *by_name; /* [n] indices into tensors, sorted by name */
    st_meta *meta;
    size_t n_meta;
};

st_set *st_set_new(void);
int st_set_add(st_set *s, const char *path); /* one more file */
int st_set_finish(st_set *s);                /* sorts names, refuses repeated ones */
/* The files that an index beside them lists, each opened with `add`, which st_set_add is for safetensors. */
int st_open_index(const char *dir, const char *index, int (*add)(st_set *s, const char *path), st_set **out);
/* Checks one file's header against its map and appends its tensors, in order of their data. */
int st_parse_header(st_set *s, const char *path, const void *map, size_t len, int keep_meta);
/* Bytes of an element by the format's name for its type, and the co_dtype or UINT32_MAX. 0: unknown. */
size_t st_dtype(const char *name, uint32_t *dtype);
#endif
