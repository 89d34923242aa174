/* page.h: a page decoded: levels, and values by number. Immutable once made. */
#ifndef DATASETS_PARQUET_PAGE_H
#define DATASETS_PARQUET_PAGE_H
#include "file.h"
#include "header.h"

typedef struct pq_span {
    uint32_t at, len;
} pq_span;

typedef struct pq_page {
    const co_host *host;
    uint32_t n;        /* entries: one a row, or one an element of a repeated column, missing ones included */
    uint32_t n_values; /* those that are there */
    uint8_t *def, *rep; /* levels; NULL: every value is there; every entry is a row */
    uint32_t *rank;     /* with def: values before entry 256 k */
    uint32_t *row;      /* with rep: n_rows entries at which rows begin */
    uint32_t n_rows;
    uint32_t *index; /* values are numbers of the dictionary's; NULL: they are here */
    const uint8_t *bytes;
    pq_span *span; /* byte arrays: within bytes; NULL: `width` bytes each */
    uint32_t width;
    size_t memory; /* of all that it owns */
    struct pq_block {
        void *at;
        size_t size;
    } own[10], spare[10]; /* spare: of a page before, while this one is made */
    int n_own, n_spare;
    /* cache.c's, under its lock */
    pq_slot *slot;
    uint32_t users;
    struct pq_page *newer, *older;
} pq_page;

/* n_dictionary: values of the chunk's dictionary, -1: it has none. old: a page of no more use, whose memory is taken before any
 * other, or NULL. NULL with a fault. */
pq_page *pq_page_read(const pq_file *f, const pq_node *node, int codec, const pq_header *h, int64_t n_dictionary, pq_page *old,
                      pq_fault *fault);
void pq_page_free(pq_page *p);
/* Rows that begin in a page of a repeated column, *whole: its first entry begins one. For v1 it unpacks the page to see. */
int pq_page_count(const pq_file *f, const pq_node *node, int codec, const pq_header *h, uint32_t *n_rows, int *whole, pq_fault *fault);
/* Memory of the page's own, not zeroed, counted against PQ_PAGE_BUDGET; NULL with a fault. */
void *pq_page_alloc(pq_page *p, uint64_t n, size_t size, pq_fault *fault);
void pq_page_give_back(pq_page *p); /* what was taken last */

/* values.c: p->n_values values of this encoding into the page. */
int pq_values_read(pq_page *p, const pq_node *node, int encoding, const uint8_t *in, size_t len, int64_t n_dictionary, pq_fault *fault);
/* delta.c. Numbers of 4 or 8 bytes; *used: what they take of `in`. */
int pq_delta_numbers(const uint8_t *in, size_t len, unsigned bytes, uint32_t n, void *out, size_t *used, pq_fault *fault);
int pq_delta_lengths(pq_page *p, const uint8_t *in, size_t len, pq_fault *fault);
int pq_delta_strings(pq_page *p, const uint8_t *in, size_t len, pq_fault *fault);

static inline uint32_t pq_le32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
/* Values before entry i. */
uint32_t pq_page_rank(const pq_page *p, uint8_t max_def, uint32_t i);
#endif
