/* rle.h: the hybrid of run lengths and packed bits that levels and dictionary indices are written in. */
#ifndef DATASETS_PARQUET_RLE_H
#define DATASETS_PARQUET_RLE_H
#include "fault.h"

/* Exactly n numbers of `width` bits (0 to 32), each at most `max`; what lies behind them is not looked at. Bytes are for
 * levels. */
int pq_rle_bytes(const uint8_t *in, size_t len, unsigned width, uint32_t max, uint8_t *out, size_t n, pq_fault *fault);
int pq_rle_words(const uint8_t *in, size_t len, unsigned width, uint32_t max, uint32_t *out, size_t n, pq_fault *fault);
/* The older encoding of levels, most significant bit first. */
int pq_bit_packed_bytes(const uint8_t *in, size_t len, unsigned width, uint32_t max, uint8_t *out, size_t n, pq_fault *fault);
/* Bits it takes to write numbers up to `max`. */
unsigned pq_width_of(uint32_t max);
/* n numbers of `width` bits (1 to 64), least significant bit first, from at least (n * width + 7) / 8 bytes ending at end. */
void pq_unpack_bits(const uint8_t *in, const uint8_t *end, unsigned width, uint64_t *out, size_t n);
#endif
