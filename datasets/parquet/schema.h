/* schema.h: the tree of columns. Nodes lie in the file's order, parents before children: the children of node i begin at
 * i + 1, and each next one at its predecessor's `end`. */
#ifndef DATASETS_PARQUET_SCHEMA_H
#define DATASETS_PARQUET_SCHEMA_H
#include "fault.h"
#include "thrift.h"

#define PQ_MAX_COLUMNS 4096 /* of a record: what the search for equal names is held to */
#define PQ_MAX_DEPTH 60     /* levels then fit a byte, and nested values the JSON reader's depth */

typedef enum pq_type { /* as in the file */
    PQ_BOOLEAN = 0, PQ_INT32, PQ_INT64, PQ_INT96, PQ_FLOAT, PQ_DOUBLE, PQ_BYTE_ARRAY, PQ_FIXED, PQ_GROUP = 255
} pq_type;

typedef enum pq_means { /* what a value is to be taken for */
    PQ_RAW = 0, PQ_TEXT, PQ_DECIMAL, PQ_DATE, PQ_TIME, PQ_TIMESTAMP, PQ_INT, PQ_UINT, PQ_UUID, PQ_FLOAT16, PQ_INTERVAL,
    PQ_LIST, PQ_MAP
} pq_means;

enum { PQ_REQUIRED = 0, PQ_OPTIONAL, PQ_REPEATED };
enum { PQ_MILLIS = 0, PQ_MICROS, PQ_NANOS };

typedef struct pq_node {
    char *name;
    uint32_t parent, end;
    uint32_t leaf, n_leaves; /* the columns below it; of a leaf itself */
    int32_t width, scale;    /* bytes of PQ_FIXED; digits behind a decimal's point */
    uint8_t type, means, repetition, unit, utc;
    uint8_t max_def, max_rep;
    uint8_t bare_element; /* the repeated node below a list is itself the element */
} pq_node;

typedef struct pq_schema {
    pq_node *nodes;
    uint32_t n_nodes, n_leaves, n_columns;
    uint32_t *leaf_node; /* n_leaves */
    uint32_t *column;    /* n_columns: the nodes of a record's fields */
    char *names;
} pq_schema;

/* From the list of SchemaElement that *t stands on. pq_schema_free also after failure. */
int pq_schema_read(const co_host *h, pq_thrift *t, const pq_tfield *f, pq_schema *s, pq_fault *fault);
void pq_schema_free(const co_host *h, pq_schema *s);
/* "messages.list.element.role" */
void pq_schema_path(const pq_schema *s, uint32_t node, char *out, size_t cap);
const char *pq_type_name(int type);
#endif
