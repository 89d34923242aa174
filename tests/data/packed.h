/* packed.h: bytes in gzip and zstd, made as the programs of those names make them. */
#ifndef TESTS_DATA_PACKED_H
#define TESTS_DATA_PACKED_H
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

typedef struct packed { unsigned char *data; size_t len; } packed; /* data: freed with free */

static inline packed pack_gzip(const void *text, size_t len)
{
    z_stream z = { 0 };
    packed p = { 0 };
    if (deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) abort();
    p.len = deflateBound(&z, (uLong)len) + 64;
    p.data = malloc(p.len);
    z.next_in = (Bytef *)(uintptr_t)text;
    z.avail_in = (uInt)len;
    z.next_out = p.data;
    z.avail_out = (uInt)p.len;
    if (!p.data || deflate(&z, Z_FINISH) != Z_STREAM_END) abort();
    p.len = z.total_out;
    deflateEnd(&z);
    return p;
}

static inline packed pack_zstd(const void *text, size_t len)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    packed p = { malloc(ZSTD_compressBound(len)), ZSTD_compressBound(len) };
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    p.len = ZSTD_compress2(c, p.data, p.len, text, len);
    if (ZSTD_isError(p.len)) abort();
    ZSTD_freeCCtx(c);
    return p;
}

static inline packed pack_join(packed a, packed b) /* takes both */
{
    packed p = { malloc(a.len + b.len + 1), a.len + b.len };
    if (!p.data) abort();
    memcpy(p.data, a.data, a.len);
    memcpy(p.data + a.len, b.data, b.len);
    free(a.data);
    free(b.data);
    return p;
}
#endif
