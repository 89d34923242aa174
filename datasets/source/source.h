/* source.h: the text of a file: mapped as it lies, or, where the file is gzip or zstd (told by its first bytes, not by its name),
 * unpacked once. Immutable once open, so any number of threads may read.
 *
 * Why unpacked to disk rather than read through restart points: shuffled records cost nothing then (a point every MiB costs half a
 * MiB of inflating a record), one way serves gzip and zstd (a zstd frame, usually the whole file, has no place to restart), memory
 * is one window, and a damaged stream is an error before the first step instead of in the middle of an epoch. It costs disk: the
 * unpacked size, in the cache folder (cache.h), or in an unnamed temporary file where there is none or the file is small. */
#ifndef DATASETS_SOURCE_SOURCE_H
#define DATASETS_SOURCE_SOURCE_H
#include <coati/dataset.h>
#include <stdatomic.h>

#define SOURCE_CACHE_FROM ((uint64_t)4 << 20) /* smaller files are scanned or unpacked again: quicker than a look at the cache */
#define SOURCE_BLOCK ((size_t)1 << 16)        /* of an unpacked copy, checked when first touched */

typedef enum source_packing { SOURCE_PLAIN = 0, SOURCE_GZIP, SOURCE_ZSTD } source_packing;

/* What "the same content" means for what is cached: size, time of change, and a hash of 64 blocks of 4 KiB spread evenly over the
 * file, its ends among them (of all of it up to 256 KiB). A file rewritten with the same size, the same time and the same samples
 * is not noticed; reading all of it at each start would be the price. */
typedef struct source_key { uint64_t size, mtime_ns, sampled; } source_key;

typedef struct source {
    const co_host *host;
    char *path;
    source_key key;
    uint32_t packing;
    const uint8_t *data; /* the text; NULL when empty */
    size_t len;
    char *copy;                   /* path of the copy in the cache folder; NULL: none */
    uint64_t *sums;               /* of the copy's blocks; NULL: nothing to check */
    _Atomic uint8_t *checked;     /* a flag a block */
} source;

/* A regular file. CO_E_FORMAT for a damaged or cut stream, with the place in the file and in the text; for compressions that are
 * not read, by name. source_close also after an error. */
int source_open(const co_host *h, const char *path, source *out);
void source_close(source *s);
/* CO_OK if [from, to) of the text is what was unpacked: of a copy from an earlier run the blocks are checked once. */
int source_check(const source *s, size_t from, size_t to);
/* "byte 12", or "byte 12 of the unpacked text". */
const char *source_place(const source *s, size_t at, char *buf, size_t cap);

/* unpack.c. Writes the text behind fd (path: for messages) to `out`, whose name is `out_path`. */
typedef struct unpacked { uint64_t len; uint64_t *sums; uint64_t n_sums; } unpacked; /* sums: freed with host->free */
int unpack(const co_host *h, const char *path, int fd, source_packing packing, int out, const char *out_path, unpacked *result);
int source_write(const co_host *h, int fd, const char *path, const void *data, size_t len); /* all of it, or an error */
#endif
