/* file.h: a JSON or JSON Lines file mapped into memory, with the places of its records. Immutable once open, so
 * any number of threads may read. */
#ifndef DATASETS_JSON_FILE_H
#define DATASETS_JSON_FILE_H
#include <coati/dataset.h>
#include <stdatomic.h>

typedef struct json_file {
    const co_host *host;
    char *path;
    const uint8_t *data; /* the mapping; NULL for an empty file */
    size_t len, body;    /* body: first byte behind a BOM */
    int lines;           /* one record a line, else one array */
    int64_t n;           /* records, the one for tail_at included */
    /* Lines: record i lies in [start[i], start[i+1]), blank lines behind it included. Array: in
     * [start[i], start[i+1] - 1), where its ',' or ']' stands, or the end of a file that breaks off. */
    size_t *start;
    int64_t n_start, cap_start;
    /* A fault of the array outside its records (no ']' at the end, something behind it) is a broken last record. */
    const char *tail_expected;
    size_t tail_at;
    atomic_int refs;
} json_file;

enum { JSON_FILE_ARRAY_OR_LINES = 0, JSON_FILE_LINES };

int json_file_open(const co_host *h, const co_dataset_common *o, int form, void **self);
/* Members of co_dataset_vt. */
void json_file_close(void *self);
int json_file_count(void *self, int64_t *n);
int json_file_read(void *self, int64_t index, co_arena *a, co_field **fields, uint32_t *n);
int json_file_clone(void *self, void **other);

/* index.c: fills start, n, tail. max: records wanted, 0: all. */
int json_index_build(json_file *f, int64_t max);
#endif
