/* header.h: what stands before a page. */
#ifndef DATASETS_PARQUET_HEADER_H
#define DATASETS_PARQUET_HEADER_H
#include "fault.h"

enum { PQ_DATA_PAGE = 0, PQ_INDEX_PAGE, PQ_DICTIONARY_PAGE, PQ_DATA_PAGE_V2 };
enum {
    PQ_PLAIN = 0, PQ_PLAIN_DICTIONARY = 2, PQ_RLE, PQ_BIT_PACKED, PQ_DELTA_BINARY_PACKED, PQ_DELTA_LENGTH_BYTE_ARRAY,
    PQ_DELTA_BYTE_ARRAY, PQ_RLE_DICTIONARY, PQ_BYTE_STREAM_SPLIT
};

typedef struct pq_header {
    int type, encoding, def_encoding, rep_encoding;
    uint32_t stored, size; /* bytes in the file, and unpacked */
    uint32_t crc;
    uint32_t n_values, n_nulls, n_rows; /* the last two of v2 only */
    uint32_t def_len, rep_len;          /* v2: bytes of levels */
    int has_crc, compressed;
    const uint8_t *body; /* `stored` bytes */
} pq_header;

/* The header at p; its body lies before `end`. */
int pq_header_read(const uint8_t *p, const uint8_t *end, pq_header *out, pq_fault *fault);
/* CO_E_FORMAT if the page has a checksum and its bytes are not what was written. */
int pq_header_check(const pq_header *h, pq_fault *fault);
#endif
