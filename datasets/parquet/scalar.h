/* scalar.h: values other than byte arrays as text: numbers as JSON writes them, dates and times in ISO 8601's order
 * ("2024-01-31", "12:30:00.5", "2024-01-31 12:30:00.5Z", Z where the column says that it is UTC). */
#ifndef DATASETS_PARQUET_SCALAR_H
#define DATASETS_PARQUET_SCALAR_H
#include "cursor.h"

#define PQ_SCALAR_MAX 640

typedef enum pq_form { PQ_FORM_JSON = 0, PQ_FORM_TEXT } pq_form; /* JSON: its own; TEXT: a string */

/* Whether the values are bytes or text, which this file does not write. */
static inline int pq_is_bytes(const pq_node *n)
{
    return (n->type == PQ_BYTE_ARRAY || n->type == PQ_FIXED) && (n->means == PQ_RAW || n->means == PQ_TEXT);
}
/* The text, NUL behind it. */
int pq_scalar(const pq_node *n, pq_value v, char out[PQ_SCALAR_MAX], pq_form *form, pq_fault *fault);
#endif
