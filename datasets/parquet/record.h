/* record.h: the fields of one row. Strings become CO_FIELD_STR, everything else CO_FIELD_JSON as the JSON datasets hand it
 * on: lists as arrays, groups and maps as objects, what is missing as null. */
#ifndef DATASETS_PARQUET_RECORD_H
#define DATASETS_PARQUET_RECORD_H
#include "cursor.h"

/* Column `column` of a row of the group. cursors: one for each leaf of the widest column. */
int pq_record_field(const pq_file *f, uint32_t group, int64_t row, uint32_t column, pq_cursor *cursors, co_arena *a, co_field *out, pq_fault *fault);
#endif
