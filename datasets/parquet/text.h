/* text.h: text that grows in the reader's arena. */
#ifndef DATASETS_PARQUET_TEXT_H
#define DATASETS_PARQUET_TEXT_H
#include "file.h"

typedef struct pq_text {
    const co_host *host;
    co_arena *arena;
    char *at;
    size_t n, cap; /* cap: NUL included */
    pq_fault *fault;
} pq_text;

/* All return 0 or the fault's code: out of memory, or more than PQ_RECORD_BUDGET. */
int pq_text_add(pq_text *t, const void *p, size_t n);
int pq_text_char(pq_text *t, char c);
/* Between quotes, escaped as JSON wants it; p is UTF-8. */
int pq_text_quoted(pq_text *t, const void *p, size_t n);
/* Bytes that are no text: printable ASCII as it is, others as \xHH. */
int pq_text_escaped(pq_text *t, const uint8_t *p, size_t n);
/* Bytes of [p, p + n) before the first that is no well-formed UTF-8; n: all are. */
size_t pq_utf8_valid(const uint8_t *p, size_t n);
#endif
