/* dataset.h: the members of the plugin's table. */
#ifndef DATASETS_PARQUET_DATASET_H
#define DATASETS_PARQUET_DATASET_H
#include <coati/dataset.h>

int pq_open(const co_host *h, const void *opts, void **self);
void pq_close(void *self);
int pq_count(void *self, int64_t *n);
int pq_read(void *self, int64_t index, co_arena *a, co_field **fields, uint32_t *n);
int pq_clone(void *self, void **other);
#endif
