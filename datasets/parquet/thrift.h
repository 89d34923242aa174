/* thrift.h: reading Thrift's compact protocol, in which Parquet writes its metadata.
 *
 * The first thing that is wrong is kept in `bad`; from then on every call returns 0 and moves nothing, so a caller checks
 * once, behind its loop. Nothing is allocated. A list never claims more elements than bytes are left: each takes one. */
#ifndef DATASETS_PARQUET_THRIFT_H
#define DATASETS_PARQUET_THRIFT_H
#include <stddef.h>
#include <stdint.h>

enum {
    PQ_T_TRUE = 1, PQ_T_FALSE, PQ_T_BYTE, PQ_T_I16, PQ_T_I32, PQ_T_I64, PQ_T_DOUBLE, PQ_T_BINARY,
    PQ_T_LIST, PQ_T_SET, PQ_T_MAP, PQ_T_STRUCT, PQ_T_UUID
};
#define PQ_THRIFT_DEPTH 64

typedef struct pq_thrift {
    const uint8_t *at, *end;
    const char *bad; /* NULL: nothing so far */
} pq_thrift;

typedef struct pq_tfield { /* start a struct with {0} */
    int32_t id;
    int type;
} pq_tfield;

/* 1: a field, whose value must be read or skipped next; 0: the struct's end, or something is wrong. */
int pq_thrift_next(pq_thrift *t, pq_tfield *f);
void pq_thrift_skip(pq_thrift *t, int type);
int pq_thrift_bool(pq_thrift *t, const pq_tfield *f);
int32_t pq_thrift_i32(pq_thrift *t, const pq_tfield *f); /* any integer type */
int64_t pq_thrift_i64(pq_thrift *t, const pq_tfield *f);
const uint8_t *pq_thrift_binary(pq_thrift *t, const pq_tfield *f, size_t *len);
/* Elements of a list whose elements must be of this type (empty lists of any). */
uint32_t pq_thrift_list(pq_thrift *t, const pq_tfield *f, int element);
/* 1 if the field is a struct, whose fields are next. */
int pq_thrift_struct(pq_thrift *t, const pq_tfield *f);
/* One unsigned LEB128 number; also how RLE runs and delta blocks begin. */
uint64_t pq_thrift_varint(pq_thrift *t);
#endif
