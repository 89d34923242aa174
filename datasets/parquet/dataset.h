/* dataset.h: the members of the plugin's table, and opening what is no file. */
#ifndef DATASETS_PARQUET_DATASET_H
#define DATASETS_PARQUET_DATASET_H
#include <coati/dataset.h>

int pq_open(const co_host *h, const void *opts, void **self);
/* The same for a file in memory, which must outlive every handle; `path` is for messages. Tests see reads beyond it. */
int pq_open_bytes(const co_host *h, const char *path, const void *bytes, size_t len, int64_t max_records, void **self);
void pq_close(void *self);
int pq_count(void *self, int64_t *n);
int pq_read(void *self, int64_t index, co_arena *a, co_field **fields, uint32_t *n);
int pq_clone(void *self, void **other);
#endif
