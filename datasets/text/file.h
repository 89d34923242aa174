/* file.h: a text file as records of one field, "text". Immutable once open, so any number of threads may read. */
#ifndef DATASETS_TEXT_FILE_H
#define DATASETS_TEXT_FILE_H
#include <coati/dataset.h>

typedef struct text_opts {
    co_dataset_common common;
    int32_t records;      /* lines_form, by the names of text_forms */
    int64_t record_bytes; /* a longer record is cut */
} text_opts;

extern const char *const text_forms[]; /* in the order of lines_form */

int text_file_open(const co_host *h, const void *opts, void **self);
/* Members of co_dataset_vt. */
void text_file_close(void *self);
int text_file_count(void *self, int64_t *n);
int text_file_read(void *self, int64_t index, co_arena *a, co_field **fields, uint32_t *n);
int text_file_clone(void *self, void **other);
int text_file_fingerprints(void *self, int64_t first, int64_t n, uint64_t *out);
#endif
