#include "header.h"
#include "thrift.h"

#include <string.h>
#include <zlib.h>

static void read_data(pq_thrift *t, pq_header *h, int32_t *n_values)
{
    pq_tfield f = { 0 };
    while (pq_thrift_next(t, &f)) {
        switch (f.id) {
        case 1: *n_values = pq_thrift_i32(t, &f); break;
        case 2: h->encoding = pq_thrift_i32(t, &f); break;
        case 3: h->def_encoding = pq_thrift_i32(t, &f); break;
        case 4: h->rep_encoding = pq_thrift_i32(t, &f); break;
        default: pq_thrift_skip(t, f.type);
        }
    }
}

static void read_dictionary(pq_thrift *t, pq_header *h, int32_t *n_values)
{
    pq_tfield f = { 0 };
    while (pq_thrift_next(t, &f)) {
        if (f.id == 1) *n_values = pq_thrift_i32(t, &f);
        else if (f.id == 2) h->encoding = pq_thrift_i32(t, &f);
        else pq_thrift_skip(t, f.type);
    }
}

/* lens: nulls, rows, bytes of definition and of repetition levels */
static void read_data_v2(pq_thrift *t, pq_header *h, int32_t *n_values, int32_t lens[4])
{
    pq_tfield f = { 0 };
    h->compressed = 1;
    while (pq_thrift_next(t, &f)) {
        switch (f.id) {
        case 1: *n_values = pq_thrift_i32(t, &f); break;
        case 2: lens[0] = pq_thrift_i32(t, &f); break;
        case 3: lens[1] = pq_thrift_i32(t, &f); break;
        case 4: h->encoding = pq_thrift_i32(t, &f); break;
        case 5: lens[2] = pq_thrift_i32(t, &f); break;
        case 6: lens[3] = pq_thrift_i32(t, &f); break;
        case 7: h->compressed = pq_thrift_bool(t, &f); break;
        default: pq_thrift_skip(t, f.type);
        }
    }
    h->def_encoding = h->rep_encoding = PQ_RLE;
}

int pq_header_read(const uint8_t *p, const uint8_t *end, pq_header *h, pq_fault *fault)
{
    pq_thrift t = { p, end, NULL };
    pq_tfield f = { 0 };
    int32_t size = -1, stored = -1, n_values = -1, lens[4] = { -1, -1, -1, -1 };
    int seen = 0;
    memset(h, 0, sizeof *h);
    h->type = h->encoding = -1;
    h->compressed = 1;
    while (pq_thrift_next(&t, &f)) {
        switch (f.id) {
        case 1: h->type = pq_thrift_i32(&t, &f); break;
        case 2: size = pq_thrift_i32(&t, &f); break;
        case 3: stored = pq_thrift_i32(&t, &f); break;
        case 4:
            h->crc = (uint32_t)pq_thrift_i32(&t, &f);
            h->has_crc = 1;
            break;
        case 5:
            if (pq_thrift_struct(&t, &f)) read_data(&t, h, &n_values);
            seen |= 1 << PQ_DATA_PAGE;
            break;
        case 7:
            if (pq_thrift_struct(&t, &f)) read_dictionary(&t, h, &n_values);
            seen |= 1 << PQ_DICTIONARY_PAGE;
            break;
        case 8:
            if (pq_thrift_struct(&t, &f)) read_data_v2(&t, h, &n_values, lens);
            seen |= 1 << PQ_DATA_PAGE_V2;
            break;
        default: pq_thrift_skip(&t, f.type);
        }
    }
    if (t.bad) return pq_fail(fault, CO_E_FORMAT, "the page's header is damaged: %s", t.bad);
    if (h->type < PQ_DATA_PAGE || h->type > PQ_DATA_PAGE_V2) return pq_fail(fault, CO_E_FORMAT, "a page of unknown type %d", h->type);
    if (size < 0 || stored < 0) return pq_fail(fault, CO_E_FORMAT, "a page of %d bytes, unpacked %d", stored, size);
    if (stored > end - t.at)
        return pq_fail(fault, CO_E_FORMAT, "the page's %d bytes reach beyond the column's end, %lld bytes on", stored, (long long)(end - t.at));
    h->size = (uint32_t)size;
    h->stored = (uint32_t)stored;
    h->body = t.at;
    if (h->type == PQ_INDEX_PAGE) return CO_OK;
    if (seen != 1 << h->type || n_values < 0) return pq_fail(fault, CO_E_FORMAT, "a page whose header does not fit its type, or of %d values", n_values);
    h->n_values = (uint32_t)n_values;
    if (h->type != PQ_DATA_PAGE_V2) return CO_OK;
    if (lens[0] < 0 || lens[0] > n_values || lens[1] < 0 || lens[1] > n_values)
        return pq_fail(fault, CO_E_FORMAT, "a page of %d values, %d nulls and %d rows", n_values, lens[0], lens[1]);
    if (lens[2] < 0 || lens[3] < 0 || (int64_t)lens[2] + lens[3] > stored || (int64_t)lens[2] + lens[3] > size)
        return pq_fail(fault, CO_E_FORMAT, "levels of %d and %d bytes in a page of %d", lens[2], lens[3], stored);
    h->n_nulls = (uint32_t)lens[0];
    h->n_rows = (uint32_t)lens[1];
    h->def_len = (uint32_t)lens[2];
    h->rep_len = (uint32_t)lens[3];
    return CO_OK;
}

int pq_header_check(const pq_header *h, pq_fault *fault)
{
    const uint32_t found = h->has_crc ? (uint32_t)crc32(0, h->body, h->stored) : 0;
    if (!h->has_crc || found == h->crc) return CO_OK;
    return pq_fail(fault, CO_E_FORMAT, "the page's checksum is %08x, its bytes give %08x: it is damaged", h->crc, found);
}
