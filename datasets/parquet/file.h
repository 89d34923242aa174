/* file.h: an open Parquet file: the mapping, the schema, where each column chunk lies, and its pages once somebody has
 * asked for one. Shared by all handles; what changes after opening is guarded as said below. */
#ifndef DATASETS_PARQUET_FILE_H
#define DATASETS_PARQUET_FILE_H
#include "schema.h"

#include <coati/dataset.h>
#include <stdatomic.h>

/* What a page may take, decoded; what the pages of one value may take together; what a record's text may take; and what the
 * process keeps of pages read before (cache.h). A file may claim what it likes. */
#define PQ_PAGE_BUDGET ((size_t)256 << 20)
#define PQ_RECORD_BUDGET ((size_t)256 << 20)
#define PQ_CACHE_BUDGET ((size_t)256 << 20)
#define PQ_HOLD_BUDGET ((size_t)64 << 20) /* of that, what a handle may hold on to between two reads */

enum { PQ_UNCOMPRESSED = 0, PQ_SNAPPY, PQ_GZIP, PQ_LZO, PQ_BROTLI, PQ_LZ4, PQ_ZSTD, PQ_LZ4_RAW };

typedef struct pq_slot { /* a page of a chunk */
    int64_t at;          /* its header */
    int64_t first_row;   /* within the chunk; the next slot's is where its rows end */
    struct pq_page *page; /* the cache's */
} pq_slot;

typedef struct pq_pages { /* of one chunk */
    pq_slot dictionary; /* at < 0: none */
    uint32_t n;
    pq_slot slot[]; /* n, and one more for where the rows end */
} pq_pages;

typedef struct pq_chunk {
    int64_t at, end; /* bytes of the file */
    int64_t n_values;
    int64_t index_at; /* offset index, 0: none */
    int32_t index_len;
    int32_t codec;
    _Atomic(pq_pages *) pages; /* NULL until found */
} pq_chunk;

typedef struct pq_group {
    int64_t first_row, n_rows;
} pq_group;

typedef struct pq_file {
    const co_host *host;
    char *path;
    const uint8_t *data;
    int mapped; /* data is a mapping of ours */
    size_t len, body; /* body: where the metadata begins and pages must have ended */
    pq_schema schema;
    uint32_t n_groups;
    pq_group *group;
    pq_chunk *chunk; /* n_groups x schema.n_leaves */
    int64_t n_rows;
    atomic_int refs;
} pq_file;

/* meta.c: schema, groups and chunks from the footer; a fault names what is out of scope. */
int pq_meta_read(pq_file *f, pq_fault *fault);

/* pages.c: the pages of a chunk, found at the first call. NULL with a fault. Any thread. */
const pq_pages *pq_pages_of(const pq_file *f, uint32_t group, uint32_t leaf, pq_fault *fault);
#endif
