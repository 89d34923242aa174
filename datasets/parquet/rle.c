#include "rle.h"
#include "thrift.h"

#include <string.h>

unsigned pq_width_of(uint32_t max)
{
    unsigned w = 0;
    for (; max; max >>= 1) w++;
    return w;
}

/* 64 bits from bit `at` on; fewer than 57 of them are sure when `at` is no byte's first. */
static uint64_t load(const uint8_t *p, const uint8_t *end)
{
    uint64_t v = 0;
    if (end - p >= 8) memcpy(&v, p, 8);
    else
        for (int i = 0; p + i < end; i++) v |= (uint64_t)p[i] << 8 * i;
    return v;
}

void pq_unpack_bits(const uint8_t *in, const uint8_t *end, unsigned width, uint64_t *out, size_t n)
{
    const uint64_t mask = width == 64 ? ~(uint64_t)0 : ((uint64_t)1 << width) - 1;
    size_t bit = 0;
    for (size_t i = 0; i < n; i++, bit += width) {
        const uint8_t *p = in + bit / 8;
        const unsigned shift = bit % 8;
        uint64_t v = load(p, end) >> shift;
        if (shift + width > 64) v |= (uint64_t)p[8] << (64 - shift);
        out[i] = v & mask;
    }
}

enum { PIECE = 256 };

/* Hands on runs and unpacked pieces; `bytes` or `words` is where they go. */
static int decode(const uint8_t *in, size_t len, unsigned width, uint32_t max, uint8_t *bytes, uint32_t *words, size_t n, pq_fault *fault)
{
    pq_thrift t = { in, in + len, NULL };
    size_t done = 0;
    if (width > 32) return pq_fail(fault, CO_E_FORMAT, "expected numbers of at most 32 bits, found %u", width);
    while (done < n) {
        const uint64_t head = pq_thrift_varint(&t);
        uint64_t count = head >> 1;
        if (t.bad) return pq_fail(fault, CO_E_FORMAT, "expected %zu levels or indices, found %zu", n, done);
        if (!(head & 1)) {
            uint32_t v = 0;
            if ((size_t)(t.end - t.at) < (width + 7) / 8) return pq_fail(fault, CO_E_FORMAT, "a run of levels or indices breaks off");
            for (unsigned i = 0; i < (width + 7) / 8; i++) v |= (uint32_t)*t.at++ << 8 * i;
            if (count > n - done) count = n - done;
            if (count && v > max) return pq_fail(fault, CO_E_FORMAT, "expected a level or index up to %u, found %u", max, v);
            if (bytes) memset(bytes + done, (int)v, (size_t)count);
            else
                for (size_t i = 0; i < count; i++) words[done + i] = v;
            done += (size_t)count;
            continue;
        }
        count = count > (n - done + 7) / 8 ? n - done : count * 8;
        if (count > n - done) count = n - done;
        if (((uint64_t)count * width + 7) / 8 > (uint64_t)(t.end - t.at)) return pq_fail(fault, CO_E_FORMAT, "a run of levels or indices breaks off");
        for (size_t i = 0; i < count; i += PIECE) { /* a piece begins on a byte: 256 numbers fill whole ones */
            uint64_t v[PIECE] = { 0 };
            uint64_t most = 0;
            const size_t k = count - i < PIECE ? (size_t)count - i : PIECE;
            if (width) pq_unpack_bits(t.at + i / 8 * width, t.end, width, v, k);
            for (size_t j = 0; j < k; j++) most = v[j] > most ? v[j] : most;
            if (most > max) return pq_fail(fault, CO_E_FORMAT, "expected a level or index up to %u, found %llu", max, (unsigned long long)most);
            if (bytes)
                for (size_t j = 0; j < k; j++) bytes[done + i + j] = (uint8_t)v[j];
            else
                for (size_t j = 0; j < k; j++) words[done + i + j] = (uint32_t)v[j];
        }
        done += (size_t)count;
        /* the run's own length; the last may be cut to what is needed */
        count = (head >> 1) * width;
        t.at += count < (uint64_t)(t.end - t.at) ? count : (uint64_t)(t.end - t.at);
    }
    return CO_OK;
}

int pq_rle_bytes(const uint8_t *in, size_t len, unsigned width, uint32_t max, uint8_t *out, size_t n, pq_fault *fault)
{
    return decode(in, len, width, max, out, NULL, n, fault);
}

int pq_rle_words(const uint8_t *in, size_t len, unsigned width, uint32_t max, uint32_t *out, size_t n, pq_fault *fault)
{
    return decode(in, len, width, max, NULL, out, n, fault);
}

int pq_bit_packed_bytes(const uint8_t *in, size_t len, unsigned width, uint32_t max, uint8_t *out, size_t n, pq_fault *fault)
{
    size_t bit = 0;
    if (((uint64_t)n * width + 7) / 8 > len) return pq_fail(fault, CO_E_FORMAT, "expected %zu levels, they break off", n);
    for (size_t i = 0; i < n; i++) {
        uint32_t v = 0;
        for (unsigned b = 0; b < width; b++, bit++) v = v << 1 | (in[bit / 8] >> (7 - bit % 8) & 1);
        if (v > max) return pq_fail(fault, CO_E_FORMAT, "expected a level up to %u, found %u", max, v);
        out[i] = (uint8_t)v;
    }
    return CO_OK;
}
