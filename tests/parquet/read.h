/* read.h: a Parquet dataset in a test's hands. */
#ifndef TESTS_PARQUET_READ_H
#define TESTS_PARQUET_READ_H
#include "check.h"
#include "data/fake_host.h"
#include "data/files.h"
#include "datasets/parquet/dataset.h"

typedef struct data {
    void *self;
    co_arena *arena;
    int64_t n;
} data;

static inline int open_data(const char *path, int64_t max, data *d)
{
    co_dataset_common o = { path, max };
    int rc = pq_open(&fake_host, &o, &d->self);
    d->arena = NULL;
    d->n = -1;
    if (rc) return rc;
    d->arena = arena_new(1 << 16);
    return pq_count(d->self, &d->n);
}

static inline void shut(data *d)
{
    pq_close(d->self);
    arena_free(d->arena);
}

static inline int read_at(data *d, int64_t i, co_field **f, uint32_t *n)
{
    arena_reset(d->arena);
    return pq_read(d->self, i, d->arena, f, n);
}
#endif
