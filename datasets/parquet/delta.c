/* delta.c: DELTA_BINARY_PACKED, DELTA_LENGTH_BYTE_ARRAY, DELTA_BYTE_ARRAY. */
#include "page.h"
#include "rle.h"
#include "thrift.h"

#include <string.h>

static int64_t zigzag(uint64_t v) { return (int64_t)(v >> 1) ^ -(int64_t)(v & 1); }

static void store(void *out, unsigned bytes, uint32_t i, uint64_t v)
{
    if (bytes == 4) ((uint32_t *)out)[i] = (uint32_t)v;
    else ((uint64_t *)out)[i] = v;
}

enum { PIECE = 128 };

/* A miniblock of n numbers, of which the first k are wanted. */
static void unpack_mini(const uint8_t *in, const uint8_t *end, unsigned width, uint64_t least, uint64_t *last, unsigned bytes, void *out, uint32_t at, uint32_t k)
{
    uint64_t v[PIECE];
    for (uint32_t i = 0; i < k; i += PIECE) {
        const uint32_t n = k - i < PIECE ? k - i : PIECE;
        if (width) pq_unpack_bits(in + (size_t)i / 8 * width, end, width, v, n);
        else memset(v, 0, sizeof v);
        for (uint32_t j = 0; j < n; j++) {
            *last += least + v[j]; /* wraps, as the format says */
            store(out, bytes, at + i + j, *last);
        }
    }
}

int pq_delta_numbers(const uint8_t *in, size_t len, unsigned bytes, uint32_t n, void *out, size_t *used, pq_fault *fault)
{
    pq_thrift t = { in, in + len, NULL };
    const uint64_t block = pq_thrift_varint(&t), minis = pq_thrift_varint(&t), total = pq_thrift_varint(&t);
    uint64_t last = (uint64_t)zigzag(pq_thrift_varint(&t)), mini;
    uint32_t done = 1;
    *used = 0;
    if (!n && !len) return CO_OK;
    if (t.bad) return pq_fail(fault, CO_E_FORMAT, "the head of delta encoded numbers breaks off");
    if (!block || block > 1 << 20 || !minis || minis > block || block % minis || block / minis % 8)
        return pq_fail(fault, CO_E_FORMAT, "delta encoded numbers in blocks of %llu of %llu", (unsigned long long)block, (unsigned long long)minis);
    if (total != n) return pq_fail(fault, CO_E_FORMAT, "expected %u delta encoded numbers, found %llu", n, (unsigned long long)total);
    mini = block / minis;
    if (n) store(out, bytes, 0, last);
    while (done < n) {
        const uint64_t least = (uint64_t)zigzag(pq_thrift_varint(&t));
        const uint8_t *widths = t.at;
        if (t.bad || minis > (uint64_t)(t.end - t.at)) return pq_fail(fault, CO_E_FORMAT, "expected %u delta encoded numbers, they break off after %u", n, done);
        t.at += minis;
        for (uint64_t m = 0; m < minis && done < n; m++) {
            const uint32_t k = n - done < mini ? n - done : (uint32_t)mini;
            const uint64_t size = mini / 8 * widths[m], least_size = ((uint64_t)k * widths[m] + 7) / 8;
            if (widths[m] > 8 * bytes) return pq_fail(fault, CO_E_FORMAT, "delta encoded numbers of %u bits, expected at most %u", widths[m], 8 * bytes);
            if (least_size > (uint64_t)(t.end - t.at)) return pq_fail(fault, CO_E_FORMAT, "expected %u delta encoded numbers, they break off after %u", n, done);
            unpack_mini(t.at, t.end, widths[m], least, &last, bytes, out, done, k);
            t.at += size < (uint64_t)(t.end - t.at) ? size : (uint64_t)(t.end - t.at);
            done += k;
        }
    }
    *used = (size_t)(t.at - in);
    return CO_OK;
}

int pq_delta_lengths(pq_page *p, const uint8_t *in, size_t len, pq_fault *fault)
{
    size_t at;
    uint32_t *lens;
    int rc;
    p->span = pq_page_alloc(p, p->n_values, sizeof *p->span, fault);
    if (!p->span) return fault->code;
    lens = (uint32_t *)(void *)p->span; /* the upper half, then spread from the front */
    lens += p->n_values;
    rc = pq_delta_numbers(in, len, 4, p->n_values, lens, &at, fault);
    if (rc) return rc;
    for (uint32_t i = 0; i < p->n_values; i++) {
        const uint32_t n = lens[i];
        if (n > len - at) return pq_fail(fault, CO_E_FORMAT, "value %u of the page has %u bytes, the page %zu more", i, n, len - at);
        p->span[i] = (pq_span){ (uint32_t)at, n };
        at += n;
    }
    p->bytes = in;
    return CO_OK;
}

/* Each value: the first bytes of the one before, and more of its own. */
int pq_delta_strings(pq_page *p, const uint8_t *in, size_t len, pq_fault *fault)
{
    uint32_t *prefix;
    uint64_t total = 0;
    size_t used;
    uint8_t *out, *at;
    int rc;
    prefix = pq_page_alloc(p, p->n_values, sizeof *prefix, fault);
    if (!prefix) return fault->code;
    rc = pq_delta_numbers(in, len, 4, p->n_values, prefix, &used, fault);
    if (!rc) rc = pq_delta_lengths(p, in + used, len - used, fault);
    for (uint32_t i = 0; i < p->n_values && !rc; i++) {
        const uint32_t before = i ? prefix[i - 1] + p->span[i - 1].len : 0;
        if (prefix[i] > before) rc = pq_fail(fault, CO_E_FORMAT, "value %u of the page repeats %u bytes of one of %u", i, prefix[i], before);
        total += (uint64_t)prefix[i] + p->span[i].len;
        if (total > PQ_PAGE_BUDGET) break; /* refused below; no sum above overflows */
    }
    out = rc ? NULL : pq_page_alloc(p, total, 1, fault);
    if (!rc && !out) rc = fault->code;
    at = out;
    for (uint32_t i = 0; i < p->n_values && !rc; i++) {
        const pq_span s = p->span[i];
        if (prefix[i]) memcpy(at, out + p->span[i - 1].at, prefix[i]);
        if (s.len) memcpy(at + prefix[i], p->bytes + s.at, s.len);
        p->span[i] = (pq_span){ (uint32_t)(at - out), prefix[i] + s.len };
        at += p->span[i].len;
    }
    if (!rc) p->bytes = out;
    return rc;
}
