/* record.h: the fields of one row. Strings become CO_FIELD_STR, everything else CO_FIELD_JSON as the JSON datasets hand it
 * on: lists as arrays, groups and maps as objects, what is missing as null. */
#ifndef DATASETS_PARQUET_RECORD_H
#define DATASETS_PARQUET_RECORD_H
#include "cursor.h"

typedef struct pq_reader { /* one handle's */
    pq_cursor *cursors; /* one for each leaf, zeroed; those of columns without repetition stay open between reads */
    size_t held;        /* bytes of the pages they are on */
} pq_reader;

/* Column `column` of a row of the group. */
int pq_record_field(const pq_file *f, pq_reader *r, uint32_t group, int64_t row, uint32_t column, co_arena *a, co_field *out, pq_fault *fault);
#endif
