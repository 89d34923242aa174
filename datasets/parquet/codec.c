#include "codec.h"
#include "file.h"

#include <brotli/decode.h>
#include <lz4.h>
#include <snappy-c.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

/* Each returns the bytes it made, or -1. */

static int64_t unpack_snappy(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
    size_t n;
    if (snappy_uncompressed_length((const char *)in, in_len, &n) != SNAPPY_OK || n > out_len) return -1;
    n = out_len;
    return snappy_uncompress((const char *)in, in_len, (char *)out, &n) == SNAPPY_OK ? (int64_t)n : -1;
}

/* gzip or zlib streams, several behind each other. */
static int64_t unpack_gzip(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)in, .avail_in = (uInt)in_len, .next_out = out, .avail_out = (uInt)out_len };
    int rc;
    if (inflateInit2(&z, 15 + 32) != Z_OK) return -1;
    do {
        rc = inflate(&z, Z_FINISH);
        if (rc == Z_STREAM_END && z.avail_in) rc = inflateReset(&z);
    } while (rc == Z_OK && z.avail_in && z.avail_out);
    inflateEnd(&z);
    return rc == Z_STREAM_END ? (int64_t)(out_len - z.avail_out) : -1;
}

static int64_t unpack_brotli(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
    size_t n = out_len;
    return BrotliDecoderDecompress(in_len, in, &n, out) == BROTLI_DECODER_RESULT_SUCCESS ? (int64_t)n : -1;
}

static int64_t unpack_zstd(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
    const size_t n = ZSTD_decompress(out, out_len, in, in_len);
    return ZSTD_isError(n) ? -1 : (int64_t)n;
}

static int64_t unpack_lz4_block(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
    return LZ4_decompress_safe((const char *)in, (char *)out, (int)in_len, (int)out_len);
}

static uint32_t be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

/* Hadoop's frames: the unpacked length of a block, then length and bytes of each of its pieces. */
static int64_t unpack_lz4_hadoop(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
    size_t made = 0, i = 0;
    while (i < in_len) {
        size_t block;
        if (in_len - i < 8) return -1;
        block = be32(in + i);
        i += 4;
        if (!block || block > out_len - made) return -1;
        while (block) {
            uint32_t piece;
            int64_t n;
            if (in_len - i < 4) return -1;
            piece = be32(in + i);
            i += 4;
            if (!piece || piece > in_len - i) return -1;
            n = unpack_lz4_block(in + i, piece, out + made, block);
            if (n <= 0) return -1;
            i += piece;
            made += (size_t)n;
            block -= (size_t)n;
        }
    }
    return (int64_t)made;
}

/* Codec LZ4 was never specified: Hadoop writes frames, others wrote the bare block. */
static int64_t unpack_lz4(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
    const int64_t n = unpack_lz4_hadoop(in, in_len, out, out_len);
    return n == (int64_t)out_len ? n : unpack_lz4_block(in, in_len, out, out_len);
}

int pq_unpack(int codec, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len, pq_fault *fault)
{
    static const char *const names[] = { "uncompressed", "snappy", "gzip", "LZO", "brotli", "LZ4", "zstd", "LZ4_RAW" };
    int64_t n = -1;
    switch (codec) {
    case PQ_UNCOMPRESSED:
        n = (int64_t)in_len;
        if (in_len == out_len) memcpy(out, in, in_len);
        break;
    case PQ_SNAPPY: n = unpack_snappy(in, in_len, out, out_len); break;
    case PQ_GZIP: n = unpack_gzip(in, in_len, out, out_len); break;
    case PQ_BROTLI: n = unpack_brotli(in, in_len, out, out_len); break;
    case PQ_LZ4: n = unpack_lz4(in, in_len, out, out_len); break;
    case PQ_ZSTD: n = unpack_zstd(in, in_len, out, out_len); break;
    case PQ_LZ4_RAW: n = unpack_lz4_block(in, in_len, out, out_len); break;
    default: break;
    }
    if (n < 0) return pq_fail(fault, CO_E_FORMAT, "the page's %zu bytes of %s are damaged, or unpack to more than %zu", in_len, names[codec], out_len);
    if ((size_t)n != out_len) return pq_fail(fault, CO_E_FORMAT, "the page's %s unpack to %lld bytes, expected %zu", names[codec], (long long)n, out_len);
    return CO_OK;
}
