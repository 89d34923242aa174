/* lines.h: records that are lines, paragraphs or pieces of a text: walking them, and indexing a file of gigabytes with several
 * threads at the speed of memory. What a record is depends on the text and the rules alone, never on the threads. */
#ifndef DATASETS_SOURCE_LINES_H
#define DATASETS_SOURCE_LINES_H
#include "points.h"

typedef enum lines_form {
    LINES_EACH = 0,   /* a line that is not blank */
    LINES_PARAGRAPHS, /* lines up to a blank one or several */
    LINES_WHOLE       /* the text; a piece of nothing but blanks at its end is left out */
} lines_form;

typedef struct lines_rules {
    lines_form form;
    size_t max_bytes; /* a longer record is cut into several: after a line where it has one, else between characters; 0: never */
    size_t body;      /* where the text begins, behind a byte order mark */
} lines_rules;

/* A record: [begin, end), line ends included only within it; next: where to look for the one behind it. */
typedef struct line_span { size_t begin, end, next; } line_span;

/* The record at or behind `from`: `body`, a record's begin, or another's next. 0 if there is none. */
int lines_next(const source *s, const lines_rules *r, size_t from, line_span *out);
/* The record numbered `record` (0 <= record < ps->records). walked_from: the point it was found from. */
line_span lines_find(const source *s, const lines_rules *r, const points *ps, int64_t record, size_t *walked_from);
/* A record's fingerprint, from its text without the white space around it. */
uint64_t lines_fingerprint(const source *s, size_t begin, size_t end);
/* co_dataset_vt.fingerprints of records [first, first + n), all of them there. */
int lines_fingerprints(const source *s, const lines_rules *r, const points *ps, int64_t first, int64_t n, uint64_t *out);
/* From the cache, or made and kept there. max: records wanted, 0: all; ps->records may be more. */
int lines_index(const source *s, const lines_rules *r, const char *form, int64_t max, points *ps);
/* The same without a cache, in chunks of `chunk` bytes: for tests. */
int lines_scan(const source *s, const lines_rules *r, int64_t max, size_t chunk, int threads, points *ps, int *complete);
#endif
