/* file.h: a JSON or JSON Lines file, as it lies or in gzip or zstd, with the places of its records. Immutable once open, so
 * any number of threads may read. */
#ifndef DATASETS_JSON_FILE_H
#define DATASETS_JSON_FILE_H
#include "../source/lines.h"

typedef enum json_tail { JSON_TAIL_NONE = 0, JSON_TAIL_OPEN, JSON_TAIL_MORE } json_tail; /* no ']'; something behind it */

typedef struct json_file {
    const co_host *host;
    source src;
    size_t body; /* first byte behind a BOM */
    int lines;   /* one record a line, else one array */
    int64_t n;   /* records, the one for the tail included */
    points index;
    json_tail tail; /* a fault of the array outside its records: a broken last record */
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
int json_file_fingerprints(void *self, int64_t first, int64_t n, uint64_t *out);

/* index.c: fills index, n, tail, from the cache where it can. max: records wanted, 0: all. */
int json_index_open(json_file *f, int64_t max);
/* A record's text, white space around it included; *walked_from: the first byte looked at to find it. */
void json_index_find(const json_file *f, int64_t record, size_t *begin, size_t *end, size_t *walked_from);
/* Of records that are all there; the one for the tail has 0. */
int json_index_fingerprints(const json_file *f, int64_t first, int64_t n, uint64_t *out);
#endif
