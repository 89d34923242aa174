/* unpack.c: gzip and zstd streams to a file, a buffer at a time. */
#include "hash.h"
#include "source.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { IN_BYTES = 1 << 17, OUT_BYTES = 4 * (int)SOURCE_BLOCK }; /* whole blocks */
enum { ZSTD_LOG = sizeof(size_t) > 4 ? 31 : 30 }; /* of the largest window: --ultra --long=31, the most that the program zstd writes */

typedef struct job {
    const co_host *host;
    const char *path, *out_path;
    int fd, out;
    uint8_t *in, *to;
    size_t in_len, in_at, to_len;
    uint64_t read; /* of the file, the bytes in `in` included */
    int ended;     /* of the file */
    uint64_t cap_sums;
    unpacked u;
} job;

static uint64_t file_at(const job *j) { return j->read - (j->in_len - j->in_at); }
static uint64_t text_at(const job *j) { return j->u.len + j->to_len; }

int source_write(const co_host *h, int fd, const char *path, const void *data, size_t len)
{
    const uint8_t *p = data;
    while (len) {
        const ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return CO_FAIL(h, errno == ENOSPC || errno == EDQUOT ? CO_E_NOMEM : CO_E_IO, "%s: cannot be written: %s", path, strerror(errno));
        p += n;
        len -= (size_t)n;
    }
    return CO_OK;
}

/* Into an empty `in`. */
static int fill(job *j)
{
    ssize_t n;
    do n = read(j->fd, j->in, IN_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0) return CO_FAIL(j->host, CO_E_IO, "%s: byte %llu: cannot be read: %s", j->path, (unsigned long long)j->read, strerror(errno));
    j->in_at = 0;
    j->in_len = (size_t)n;
    j->read += (uint64_t)n;
    j->ended = n == 0;
    return CO_OK;
}

static int add_sum(job *j, uint64_t sum)
{
    unpacked *u = &j->u;
    if (u->n_sums == j->cap_sums) {
        const uint64_t cap = j->cap_sums ? 2 * j->cap_sums : 1024;
        uint64_t *grown = j->host->alloc(j->host, (size_t)cap * sizeof *grown, 16);
        if (!grown) return CO_FAIL(j->host, CO_E_NOMEM, "%s: no memory for the sums of %llu blocks", j->path, (unsigned long long)cap);
        if (u->sums) memcpy(grown, u->sums, (size_t)u->n_sums * sizeof *grown);
        j->host->free(j->host, u->sums);
        u->sums = grown;
        j->cap_sums = cap;
    }
    u->sums[u->n_sums++] = sum;
    return CO_OK;
}

/* `to` is full, or the text ends. */
static int flush(job *j)
{
    int rc = source_write(j->host, j->out, j->out_path, j->to, j->to_len);
    for (size_t at = 0; at < j->to_len && !rc; at += SOURCE_BLOCK)
        rc = add_sum(j, hash_bytes(j->to + at, j->to_len - at < SOURCE_BLOCK ? j->to_len - at : SOURCE_BLOCK, 0));
    j->u.len += j->to_len;
    j->to_len = 0;
    return rc;
}

static int fail_damaged(const job *j, const char *what, const char *why)
{
    return CO_FAIL(j->host, CO_E_FORMAT, "%s: byte %llu, behind %llu bytes of unpacked text: the %s stream is damaged (%s); get the file again",
                   j->path, (unsigned long long)file_at(j), (unsigned long long)text_at(j), what, why);
}

static int fail_short(const job *j, const char *what)
{
    return CO_FAIL(j->host, CO_E_FORMAT, "%s: the file ends at byte %llu in the middle of its %s stream, behind %llu bytes of unpacked text: it is "
                   "cut short; get it again", j->path, (unsigned long long)file_at(j), what, (unsigned long long)text_at(j));
}

/* Zeros, as tapes and block devices leave them, may stand behind the last member. */
static int skip_zeros(job *j)
{
    int rc = CO_OK;
    while (!rc && !j->ended) {
        while (j->in_at < j->in_len && !j->in[j->in_at]) j->in_at++;
        if (j->in_at < j->in_len) return CO_OK;
        rc = fill(j);
    }
    return rc;
}

static int run_gzip(job *j)
{
    z_stream z = { 0 };
    int members = 0, rc = inflateInit2(&z, 15 + 16) == Z_OK ? CO_OK : CO_FAIL(j->host, CO_E_NOMEM, "%s: no memory for unpacking", j->path);
    if (rc) return rc;
    for (int inside = 1; !rc;) {
        int got;
        if (j->in_at == j->in_len) rc = fill(j);
        if (!rc && j->ended && !inside) break;
        if (!rc && j->ended) rc = fail_short(j, "gzip");
        if (!rc && !inside) {
            rc = skip_zeros(j);
            if (rc || j->ended) break;
            inside = 1;
            (void)inflateReset(&z);
        }
        if (rc) break;
        z.next_in = j->in + j->in_at;
        z.avail_in = (uInt)(j->in_len - j->in_at);
        z.next_out = j->to + j->to_len;
        z.avail_out = (uInt)(OUT_BYTES - j->to_len);
        got = inflate(&z, Z_NO_FLUSH);
        j->in_at = j->in_len - z.avail_in;
        j->to_len = (size_t)OUT_BYTES - z.avail_out;
        if (got == Z_STREAM_END) inside = 0, members++;
        else if (got == Z_MEM_ERROR) rc = CO_FAIL(j->host, CO_E_NOMEM, "%s: no memory for unpacking", j->path);
        else if (got != Z_OK && got != Z_BUF_ERROR) rc = fail_damaged(j, "gzip", members && got == Z_DATA_ERROR && !z.total_out ? "no gzip member begins here" : z.msg ? z.msg : "a preset dictionary");
        if (!rc && j->to_len == OUT_BYTES) rc = flush(j);
    }
    inflateEnd(&z);
    return rc ? rc : flush(j);
}

static int fail_zstd(const job *j, size_t code)
{
    const ZSTD_ErrorCode why = ZSTD_getErrorCode(code);
    if (why == ZSTD_error_memory_allocation)
        return CO_FAIL(j->host, CO_E_NOMEM, "%s: no memory for unpacking: its zstd window (--long) is too large for this machine; pack it again without --long", j->path);
    if (why == ZSTD_error_frameParameter_windowTooLarge)
        return CO_FAIL(j->host, CO_E_FORMAT, "%s: byte %llu: the zstd window is above 2^%d bytes, the most that is read; pack it again with --long=%d or less",
                       j->path, (unsigned long long)file_at(j), ZSTD_LOG, ZSTD_LOG);
    return fail_damaged(j, "zstd", ZSTD_getErrorName(code));
}

static int run_zstd(job *j)
{
    ZSTD_DStream *z = ZSTD_createDStream();
    size_t hint = 1; /* 0: at the end of a frame */
    int rc = z && !ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, ZSTD_LOG)) ? CO_OK : CO_FAIL(j->host, CO_E_NOMEM, "%s: no memory for unpacking", j->path);
    while (!rc) {
        ZSTD_inBuffer in;
        ZSTD_outBuffer out = { j->to, (size_t)OUT_BYTES, j->to_len };
        if (j->in_at == j->in_len) rc = fill(j);
        if (rc) break;
        if (j->ended && !hint) break;
        in = (ZSTD_inBuffer){ j->in, j->in_len, j->in_at };
        hint = ZSTD_decompressStream(z, &out, &in);
        if (ZSTD_isError(hint)) {
            rc = fail_zstd(j, hint);
        } else if (j->ended && out.pos == j->to_len) {
            rc = fail_short(j, "zstd");
        } else {
            j->in_at = in.pos;
            j->to_len = out.pos;
            if (j->to_len == OUT_BYTES) rc = flush(j);
        }
    }
    ZSTD_freeDStream(z);
    return rc ? rc : flush(j);
}

int unpack(const co_host *h, const char *path, int fd, source_packing packing, int out, const char *out_path, unpacked *result)
{
    job j = { .host = h, .path = path, .out_path = out_path, .fd = fd, .out = out };
    int rc = CO_OK;
    j.in = h->alloc(h, IN_BYTES, 16);
    j.to = h->alloc(h, OUT_BYTES, 16);
    if (!j.in || !j.to) rc = CO_FAIL(h, CO_E_NOMEM, "%s: no memory for unpacking", path);
    if (!rc) rc = packing == SOURCE_GZIP ? run_gzip(&j) : run_zstd(&j);
    h->free(h, j.in);
    h->free(h, j.to);
    if (rc) {
        h->free(h, j.u.sums);
        j.u = (unpacked){ 0 };
    }
    *result = j.u;
    return rc;
}
