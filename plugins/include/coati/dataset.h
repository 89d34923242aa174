/* dataset.h: records by index. */
#ifndef COATI_DATASET_H
#define COATI_DATASET_H
#include "host.h"

typedef enum co_field_type { CO_FIELD_STR = 0, CO_FIELD_JSON } co_field_type; /* JSON: the value's own text */
typedef struct co_field { /* one column of a record; `data` is UTF-8, `len` bytes, NUL after it */
    const char *name;
    const char *data;
    size_t len;
    uint32_t type;
    uint32_t pad;
    uint64_t reserved[2];
} co_field;

/* Every dataset's options struct starts with this, so that the host can fill it whatever the format. */
typedef struct co_dataset_common {
    const char *path;     /* a file */
    int64_t max_records;  /* 0: all */
} co_dataset_common;

typedef struct co_dataset_vt {
    uint32_t struct_size;
    /* File name endings it recognises, NULL-terminated (".json"), for format = auto. */
    const char *const *suffixes;
    int (*open)(const co_host *h, const void *opts, void **self);
    void (*close)(void *self);
    int (*count)(void *self, int64_t *n); /* CO_E_UNSUPPORTED: a stream */
    /* [loader] Fields live in `a`. CO_END when past the end; CO_E_FORMAT for a broken record, with a message
     * that names file, row (from 1), line or byte. */
    int (*read)(void *self, int64_t index, co_arena *a, co_field **fields, uint32_t *n);
    int (*clone)(void *self, void **other); /* optional: one handle per loader thread; closed by close */
    /* [loader] Optional. A number for each of records [first, first + n), n > 0: the same for the same record wherever it stands, in
     * this file or another, 0 for one that cannot be read. For [dataset] split; without it each record is read and its fields
     * hashed. Records need not be checked: a broken one may have a number. */
    int (*fingerprints)(void *self, int64_t first, int64_t n, uint64_t *out);
} co_dataset_vt;
#endif
