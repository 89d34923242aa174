/* fault.h: what went wrong and where, filled in by the part that knows. dataset.c turns it into the host's message. */
#ifndef DATASETS_PARQUET_FAULT_H
#define DATASETS_PARQUET_FAULT_H
#include <coati/host.h>

typedef struct pq_fault {
    int code;        /* co_status */
    int row_group;   /* from 0; -1: not in one */
    int64_t page_at; /* byte of the page's header in the file; -1: not in one */
    char column[160];
    char what[256];
} pq_fault;

/* Nothing wrong, nowhere. Not all of the struct is written: that would be a tenth of reading a short text. */
static inline void pq_fault_clear(pq_fault *f)
{
    f->code = CO_OK;
    f->row_group = -1;
    f->page_at = -1;
    f->column[0] = f->what[0] = 0;
}

/* Records the text, keeps the place, returns the code. */
int pq_fail(pq_fault *f, int code, const char *fmt, ...) CO_PRINTF(3, 4);
#endif
