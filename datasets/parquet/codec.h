/* codec.h: unpacking a page's bytes. */
#ifndef DATASETS_PARQUET_CODEC_H
#define DATASETS_PARQUET_CODEC_H
#include "fault.h"

/* Fills exactly out_len bytes or fails; never writes beyond them. */
int pq_unpack(int codec, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len, pq_fault *fault);
#endif
