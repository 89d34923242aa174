/* page.c: unpacking a page and reading its levels. */
#include "page.h"
#include "codec.h"
#include "rle.h"

#include <string.h>

#define PQ_ROUND ((size_t)512 << 10)

/* A block of the page before that is large enough and not much too large. */
static int take_spare(pq_page *p, size_t size)
{
    for (int i = 0; i < p->n_spare; i++) {
        if (p->spare[i].size < size || p->spare[i].size / 2 > size + 4096) continue;
        p->own[p->n_own++] = p->spare[i];
        p->spare[i] = p->spare[--p->n_spare];
        return 1;
    }
    return 0;
}

void *pq_page_alloc(pq_page *p, uint64_t n, size_t size, pq_fault *fault)
{
    struct pq_block b;
    if (p->memory > PQ_PAGE_BUDGET || n > (PQ_PAGE_BUDGET - p->memory) / size) {
        pq_fail(fault, CO_E_FORMAT, "the page takes more than the %zu MiB a page may have; write the file with smaller pages", PQ_PAGE_BUDGET >> 20);
        return NULL;
    }
    b.size = n ? (size_t)n * size : 1;
    if (b.size > PQ_ROUND) b.size = (b.size + PQ_ROUND - 1) / PQ_ROUND * PQ_ROUND; /* so that the next page's fits as well */
    if (!take_spare(p, b.size)) {
        b.at = p->host->alloc(p->host, b.size, 16);
        if (!b.at) {
            pq_fail(fault, CO_E_NOMEM, "no memory for a page of %zu bytes", b.size);
            return NULL;
        }
        p->own[p->n_own++] = b;
    }
    p->memory += p->own[p->n_own - 1].size;
    return p->own[p->n_own - 1].at;
}

void pq_page_give_back(pq_page *p)
{
    const struct pq_block b = p->own[--p->n_own];
    p->memory -= b.size;
    p->host->free(p->host, b.at);
}

static void free_spare(pq_page *p)
{
    while (p->n_spare) p->host->free(p->host, p->spare[--p->n_spare].at);
}

void pq_page_free(pq_page *p)
{
    if (!p) return;
    free_spare(p);
    while (p->n_own) p->host->free(p->host, p->own[--p->n_own].at);
    p->host->free(p->host, p);
}

/* An empty page, in the memory of an old one if there is one. */
static pq_page *new_page(const co_host *h, pq_page *old, pq_fault *fault)
{
    pq_page *p = old ? old : h->alloc(h, sizeof *p, 16);
    if (!p) {
        pq_fail(fault, CO_E_NOMEM, "no memory for a page");
        return NULL;
    }
    if (old) {
        pq_page fresh = { .n_spare = old->n_own };
        memcpy(fresh.spare, old->own, sizeof fresh.spare);
        *p = fresh;
    }
    p->host = h;
    p->memory = sizeof *p;
    return p;
}

uint32_t pq_page_rank(const pq_page *p, uint8_t max_def, uint32_t i)
{
    uint32_t n;
    if (!p->def) return i;
    n = p->rank[i >> 8];
    for (uint32_t k = i & ~255u; k < i; k++) n += p->def[k] == max_def;
    return n;
}

/* One kind of levels at *in; behind them *in stands on what follows. len: bytes of v2's, or -1 where they say so themselves. */
static uint8_t *read_levels(pq_page *p, int encoding, unsigned max, const uint8_t **in, const uint8_t *end, int64_t len, pq_fault *fault)
{
    const unsigned width = pq_width_of(max);
    uint8_t *levels = pq_page_alloc(p, p->n, 1, fault);
    int rc;
    if (!levels) return NULL;
    if (encoding == PQ_BIT_PACKED) {
        const uint64_t bytes = ((uint64_t)p->n * width + 7) / 8;
        rc = pq_bit_packed_bytes(*in, (size_t)(end - *in), width, max, levels, p->n, fault);
        if (!rc) *in += bytes;
        return rc ? NULL : levels;
    }
    if (encoding != PQ_RLE) {
        pq_fail(fault, CO_E_FORMAT, "levels in encoding %d, expected RLE or BIT_PACKED", encoding);
        return NULL;
    }
    if (len < 0) {
        if (end - *in < 4) {
            pq_fail(fault, CO_E_FORMAT, "the page ends where its levels begin");
            return NULL;
        }
        len = pq_le32(*in);
        *in += 4;
    }
    if (len > end - *in) {
        pq_fail(fault, CO_E_FORMAT, "%lld bytes of levels in a page that has %lld left", (long long)len, (long long)(end - *in));
        return NULL;
    }
    rc = pq_rle_bytes(*in, (size_t)len, width, max, levels, p->n, fault);
    *in += len;
    return rc ? NULL : levels;
}

static int index_values(pq_page *p, uint8_t max_def, pq_fault *fault)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n; i++) n += p->def[i] == max_def;
    p->n_values = n;
    if (n == p->n) { /* nothing missing */
        pq_page_give_back(p);
        p->def = NULL;
        return CO_OK;
    }
    p->rank = pq_page_alloc(p, (p->n >> 8) + 1, sizeof *p->rank, fault);
    if (!p->rank) return fault->code;
    for (uint32_t i = 0, v = 0; i < p->n; i++) {
        if (!(i & 255)) p->rank[i >> 8] = v;
        v += p->def[i] == max_def;
    }
    return CO_OK;
}

static int index_rows(pq_page *p, pq_fault *fault)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n; i++) n += !p->rep[i];
    p->row = pq_page_alloc(p, n, sizeof *p->row, fault);
    if (!p->row) return fault->code;
    for (uint32_t i = 0; i < p->n; i++)
        if (!p->rep[i]) p->row[p->n_rows++] = i;
    return CO_OK;
}

static int read_data(pq_page *p, const pq_node *node, const pq_header *h, const uint8_t *in, const uint8_t *levels_end, const uint8_t *values,
                     const uint8_t *end, int64_t n_dictionary, pq_fault *fault)
{
    const int v2 = h->type == PQ_DATA_PAGE_V2;
    int rc = CO_OK;
    p->n = p->n_values = h->n_values;
    if (node->max_rep) {
        p->rep = read_levels(p, h->rep_encoding, node->max_rep, &in, v2 ? in + h->rep_len : levels_end, v2 ? (int64_t)h->rep_len : -1, fault);
        if (!p->rep) return fault->code;
        rc = index_rows(p, fault);
    } else {
        p->n_rows = p->n;
    }
    if (rc) return rc;
    if (v2 && (p->n_rows != h->n_rows || (p->rep && p->n && p->rep[0])))
        return pq_fail(fault, CO_E_FORMAT, "expected a page of %u whole rows, found %u", h->n_rows, p->n_rows);
    if (v2) in = h->body + h->rep_len; /* there may be some where none are needed */
    if (node->max_def) {
        p->def = read_levels(p, h->def_encoding, node->max_def, &in, levels_end, v2 ? (int64_t)h->def_len : -1, fault);
        if (!p->def) return fault->code;
        rc = index_values(p, node->max_def, fault);
        if (rc) return rc;
    }
    if (!values) values = in;
    return pq_values_read(p, node, h->encoding, values, (size_t)(end - values), n_dictionary, fault);
}

/* v2: levels stand before the packed part. */
static int read_v2(pq_page *p, const pq_node *node, int codec, const pq_header *h, int64_t n_dictionary, pq_fault *fault)
{
    const size_t levels = (size_t)h->rep_len + h->def_len;
    const uint8_t *in = h->body + levels;
    size_t len = h->stored - levels, size = h->size - levels;
    if (h->compressed && codec != PQ_UNCOMPRESSED && size) {
        uint8_t *out = pq_page_alloc(p, size, 1, fault);
        if (!out || pq_unpack(codec, in, len, out, size, fault)) return fault->code;
        in = out;
        len = size;
    } else if (size && len != size) {
        return pq_fail(fault, CO_E_FORMAT, "expected %zu bytes of values, found %zu", size, len);
    } else if (!size) {
        len = 0;
    }
    return read_data(p, node, h, h->body, h->body + levels, in, in + len, n_dictionary, fault);
}

pq_page *pq_page_read(const pq_file *f, const pq_node *node, int codec, const pq_header *h, int64_t n_dictionary, pq_page *old,
                      pq_fault *fault)
{
    const uint8_t *in = h->body;
    size_t len = h->stored;
    pq_page *p = new_page(f->host, old, fault);
    int rc;
    if (!p) return NULL;
    rc = pq_header_check(h, fault);
    if (rc) {
        pq_page_free(p);
        return NULL;
    }
    if (h->type == PQ_DATA_PAGE_V2) {
        rc = read_v2(p, node, codec, h, n_dictionary, fault);
    } else {
        if (codec != PQ_UNCOMPRESSED && h->size) {
            uint8_t *out = pq_page_alloc(p, h->size, 1, fault);
            rc = out ? pq_unpack(codec, in, len, out, h->size, fault) : fault->code;
            in = out;
            len = h->size;
        } else if (len != h->size && h->size) {
            rc = pq_fail(fault, CO_E_FORMAT, "expected a page of %u bytes, found %zu", h->size, len);
        } else if (!h->size) {
            len = 0;
        }
        if (!rc && h->type == PQ_DATA_PAGE) {
            rc = read_data(p, node, h, in, in + len, NULL, in + len, n_dictionary, fault);
        } else if (!rc) {
            p->n = p->n_values = h->n_values;
            if (h->encoding != PQ_PLAIN && h->encoding != PQ_PLAIN_DICTIONARY)
                rc = pq_fail(fault, CO_E_FORMAT, "a dictionary in encoding %d, expected PLAIN", h->encoding);
            else rc = pq_values_read(p, node, PQ_PLAIN, in, len, -1, fault);
        }
    }
    free_spare(p);
    if (!rc) return p;
    pq_page_free(p);
    return NULL;
}

int pq_page_count(const pq_file *f, const pq_node *node, int codec, const pq_header *h, uint32_t *n_rows, int *whole, pq_fault *fault)
{
    pq_page p = { .host = f->host, .n = h->n_values };
    const uint8_t *in = h->body, *end = in + h->stored;
    int rc = CO_OK;
    if (h->type == PQ_DATA_PAGE_V2) {
        *n_rows = h->n_rows;
        *whole = 1;
        return CO_OK;
    }
    rc = pq_header_check(h, fault);
    if (!rc && codec != PQ_UNCOMPRESSED && h->size) {
        uint8_t *out = pq_page_alloc(&p, h->size, 1, fault);
        rc = out ? pq_unpack(codec, in, h->stored, out, h->size, fault) : fault->code;
        in = out;
        end = in ? in + h->size : NULL;
    }
    if (!rc) {
        p.rep = read_levels(&p, h->rep_encoding, node->max_rep, &in, end, -1, fault);
        if (!p.rep) rc = fault->code;
    }
    *n_rows = 0;
    for (uint32_t i = 0; i < p.n && !rc; i++) *n_rows += !p.rep[i];
    *whole = rc || !p.n || !p.rep[0];
    while (p.n_own) f->host->free(f->host, p.own[--p.n_own].at);
    return rc;
}
