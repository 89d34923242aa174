/* cursor.h: the entries of one row in one column. */
#ifndef DATASETS_PARQUET_CURSOR_H
#define DATASETS_PARQUET_CURSOR_H
#include "page.h"

typedef struct pq_value {
    const uint8_t *at;
    uint32_t len;
} pq_value;

typedef struct pq_cursor {
    const pq_file *f;
    const pq_node *node;
    pq_pages *pages;
    pq_page *page, *dictionary; /* held */
    pq_page *old;               /* of no more use, for the next page's memory */
    uint32_t group, leaf, slot, entry, value;
    uint32_t in_order; /* pq_cursor_seek: entries read one after another from the page's first on */
    int begun;
} pq_cursor;

/* On the first entry of a row of the group. *c: zeroed, or closed. Close after failure too. */
int pq_cursor_open(pq_cursor *c, const pq_file *f, uint32_t group, uint32_t leaf, int64_t row, pq_fault *fault);
void pq_cursor_close(pq_cursor *c);
/* For a column without repetition: stays on the page where it was when the row is there, else like close and open. To begin with,
 * the cursor is zeroed. */
int pq_cursor_seek(pq_cursor *c, const pq_file *f, uint32_t group, uint32_t leaf, int64_t row, pq_fault *fault);
/* *more: whether the cursor stands on an entry of the row; a row may go on in the next page. */
int pq_cursor_peek(pq_cursor *c, int *more, pq_fault *fault);
/* Past the entry; its value if its definition level is the column's. */
void pq_cursor_take(pq_cursor *c, pq_value *out);

static inline uint8_t pq_cursor_def(const pq_cursor *c) { return c->page->def ? c->page->def[c->entry] : c->node->max_def; }
static inline uint8_t pq_cursor_rep(const pq_cursor *c) { return c->page->rep ? c->page->rep[c->entry] : 0; }
#endif
