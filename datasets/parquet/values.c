/* values.c: the encodings of values, besides the delta ones. */
#include "page.h"
#include "rle.h"

#include <string.h>

static uint32_t width_of(const pq_node *node)
{
    static const uint8_t widths[] = { 1, 4, 8, 12, 4, 8, 0 };
    return node->type == PQ_FIXED ? (uint32_t)node->width : widths[node->type];
}

static int plain_strings(pq_page *p, const uint8_t *in, size_t len, pq_fault *fault)
{
    size_t at = 0, ahead = 0;
    p->span = pq_page_alloc(p, p->n_values, sizeof *p->span, fault);
    if (!p->span) return fault->code;
    for (uint32_t i = 0; i < p->n_values; i++) {
        uint32_t n;
        /* lengths lie too far apart for the processor to guess; the bytes between them are wanted soon as well */
        for (; ahead < len && ahead < at + 4096; ahead += 64) __builtin_prefetch(in + ahead);
        if (len - at < 4) return pq_fail(fault, CO_E_FORMAT, "expected %u values, the page ends after %u", p->n_values, i);
        n = pq_le32(in + at);
        at += 4;
        if (n > len - at) return pq_fail(fault, CO_E_FORMAT, "value %u of the page has %u bytes, the page %zu more", i, n, len - at);
        p->span[i] = (pq_span){ (uint32_t)at, n };
        at += n;
    }
    p->bytes = in;
    return CO_OK;
}

static int need(const pq_page *p, uint64_t bytes, size_t len, pq_fault *fault)
{
    if (bytes <= len) return CO_OK;
    return pq_fail(fault, CO_E_FORMAT, "expected %u values in %llu bytes, found %zu", p->n_values, (unsigned long long)bytes, len);
}

static int plain_bools(pq_page *p, const uint8_t *in, size_t len, pq_fault *fault)
{
    uint8_t *out;
    int rc = need(p, ((uint64_t)p->n_values + 7) / 8, len, fault);
    if (rc) return rc;
    out = pq_page_alloc(p, p->n_values, 1, fault);
    if (!out) return fault->code;
    for (uint32_t i = 0; i < p->n_values; i++) out[i] = in[i / 8] >> (i % 8) & 1;
    p->bytes = out;
    return CO_OK;
}

static int plain(pq_page *p, const pq_node *node, const uint8_t *in, size_t len, pq_fault *fault)
{
    int rc;
    if (node->type == PQ_BYTE_ARRAY) return plain_strings(p, in, len, fault);
    if (node->type == PQ_BOOLEAN) return plain_bools(p, in, len, fault);
    rc = need(p, (uint64_t)p->n_values * p->width, len, fault);
    p->bytes = in;
    return rc;
}

static int rle_bools(pq_page *p, const uint8_t *in, size_t len, pq_fault *fault)
{
    uint8_t *out = pq_page_alloc(p, p->n_values, 1, fault);
    uint32_t n;
    if (!out) return fault->code;
    p->bytes = out;
    if (!p->n_values) return CO_OK;
    n = len < 4 ? UINT32_MAX : pq_le32(in);
    if (len < 4 || n > len - 4) return pq_fail(fault, CO_E_FORMAT, "expected %u values, found a page of %zu bytes", p->n_values, len);
    return pq_rle_bytes(in + 4, n, 1, 1, out, p->n_values, fault);
}

static int dictionary(pq_page *p, const uint8_t *in, size_t len, int64_t n_dictionary, pq_fault *fault)
{
    if (n_dictionary < 0) return pq_fail(fault, CO_E_FORMAT, "values by dictionary in a column that has no dictionary page");
    p->index = pq_page_alloc(p, p->n_values, sizeof *p->index, fault);
    if (!p->index) return fault->code;
    if (!p->n_values) return CO_OK;
    if (!n_dictionary || !len)
        return pq_fail(fault, CO_E_FORMAT, "%u values by a dictionary of %lld, in %zu bytes", p->n_values, (long long)n_dictionary, len);
    return pq_rle_words(in + 1, len - 1, in[0], (uint32_t)(n_dictionary - 1), p->index, p->n_values, fault);
}

static int stream_split(pq_page *p, const uint8_t *in, size_t len, pq_fault *fault)
{
    const uint32_t n = p->n_values, w = p->width;
    uint8_t *out;
    if ((uint64_t)n * w != len) return pq_fail(fault, CO_E_FORMAT, "expected %u values of %u bytes, found %zu bytes", n, w, len);
    out = pq_page_alloc(p, len, 1, fault);
    if (!out) return fault->code;
    for (uint32_t b = 0; b < w; b++)
        for (uint32_t i = 0; i < n; i++) out[(size_t)i * w + b] = in[(size_t)b * n + i];
    p->bytes = out;
    return CO_OK;
}

static int delta_numbers(pq_page *p, const uint8_t *in, size_t len, pq_fault *fault)
{
    size_t used;
    uint8_t *out = pq_page_alloc(p, p->n_values, p->width, fault);
    if (!out) return fault->code;
    p->bytes = out;
    return pq_delta_numbers(in, len, p->width, p->n_values, out, &used, fault);
}

/* Strings of equal length as numbers are kept: one behind the other. */
static int fix_width(pq_page *p, const pq_node *node, pq_fault *fault)
{
    if (node->type != PQ_FIXED) return CO_OK;
    for (uint32_t i = 0; i < p->n_values; i++)
        if (p->span[i].len != p->width) return pq_fail(fault, CO_E_FORMAT, "expected values of %u bytes, found %u", p->width, p->span[i].len);
    return CO_OK;
}

int pq_values_read(pq_page *p, const pq_node *node, int encoding, const uint8_t *in, size_t len, int64_t n_dictionary, pq_fault *fault)
{
    const int number = node->type == PQ_INT32 || node->type == PQ_INT64;
    const int string = node->type == PQ_BYTE_ARRAY || node->type == PQ_FIXED;
    int rc;
    p->width = width_of(node);
    switch (encoding) {
    case PQ_PLAIN: return plain(p, node, in, len, fault);
    case PQ_PLAIN_DICTIONARY:
    case PQ_RLE_DICTIONARY: return dictionary(p, in, len, n_dictionary, fault);
    case PQ_RLE:
        if (node->type == PQ_BOOLEAN) return rle_bools(p, in, len, fault);
        break;
    case PQ_DELTA_BINARY_PACKED:
        if (number) return delta_numbers(p, in, len, fault);
        break;
    case PQ_DELTA_LENGTH_BYTE_ARRAY:
        if (node->type == PQ_BYTE_ARRAY) return pq_delta_lengths(p, in, len, fault);
        break;
    case PQ_DELTA_BYTE_ARRAY:
        if (!string) break;
        rc = pq_delta_strings(p, in, len, fault);
        return rc ? rc : fix_width(p, node, fault);
    case PQ_BYTE_STREAM_SPLIT:
        if (number || node->type == PQ_FLOAT || node->type == PQ_DOUBLE || node->type == PQ_FIXED) return stream_split(p, in, len, fault);
        break;
    default: return pq_fail(fault, CO_E_FORMAT, "values in the unknown encoding %d", encoding);
    }
    return pq_fail(fault, CO_E_FORMAT, "encoding %d does not go with %s", encoding, pq_type_name(node->type));
}
