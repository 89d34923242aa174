#include "source.h"
#include "cache.h"
#include "hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_MAGIC 0x31797063746f63u /* "cotcpy1" */
enum { SAMPLES = 64, SAMPLE_BYTES = 4096 };

/* Behind the text of a copy: the sums of its blocks, then this. */
typedef struct copy_end {
    uint64_t magic;
    source_key key;
    uint64_t len, n_sums, sums_hash, hash; /* hash: of what stands before it */
} copy_end;

static int fail_io(const source *s, const char *what)
{
    return CO_FAIL(s->host, CO_E_IO, "%s: cannot be %s: %s", s->path, what, strerror(errno));
}

static int find_key(source *s, int fd, const struct stat *st)
{
    uint8_t buf[SAMPLE_BYTES];
    const uint64_t size = (uint64_t)st->st_size;
    s->key = (source_key){ .size = size, .mtime_ns = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec };
    for (uint64_t i = 0; i < SAMPLES; i++) {
        const uint64_t at = size <= (uint64_t)SAMPLES * SAMPLE_BYTES ? i * SAMPLE_BYTES : (size - SAMPLE_BYTES) / (SAMPLES - 1) * i;
        const ssize_t n = pread(fd, buf, sizeof buf, (off_t)(i == SAMPLES - 1 && size >= SAMPLE_BYTES ? size - SAMPLE_BYTES : at));
        if (n < 0) return fail_io(s, "read");
        s->key.sampled = hash_bytes(buf, (size_t)n, s->key.sampled);
    }
    return CO_OK;
}

/* Maps the first `len` bytes of the file. */
static int map(source *s, int fd, uint64_t len)
{
    void *p;
    if (!len) return CO_OK;
    if (len > SIZE_MAX) return CO_FAIL(s->host, CO_E_NOMEM, "%s: too large to be mapped", s->path);
    p = mmap(NULL, (size_t)len, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) return fail_io(s, "mapped");
    s->data = p;
    s->len = (size_t)len;
    return CO_OK;
}

static int find_packing(source *s, int fd)
{
    static const struct { const char *magic; size_t n; source_packing packing; const char *name; } known[] = {
        { "\x1f\x8b", 2, SOURCE_GZIP, NULL },    { "\x28\xb5\x2f\xfd", 4, SOURCE_ZSTD, NULL },  { "BZh", 3, 0, "bzip2" },
        { "\xfd" "7zXZ\0", 6, 0, "xz" },         { "PK\x03\x04", 4, 0, "zip" },                 { "\x04\x22\x4d\x18", 4, 0, "lz4" },
    };
    uint8_t head[8] = { 0 };
    const ssize_t n = pread(fd, head, sizeof head, 0);
    if (n < 0) return fail_io(s, "read");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if ((size_t)n < known[i].n || memcmp(head, known[i].magic, known[i].n) != 0) continue;
        if (known[i].name)
            return CO_FAIL(s->host, CO_E_FORMAT, "%s: is compressed (%s), and only gzip and zstd are read: unpack it first", s->path, known[i].name);
        s->packing = known[i].packing;
    }
    /* zstd's skippable frames, as its seekable format and pzstd put them first */
    if (n >= 4 && head[0] >> 4 == 5 && !memcmp(head + 1, "\x2a\x4d\x18", 3)) s->packing = SOURCE_ZSTD;
    return CO_OK;
}

static uint64_t end_hash(const copy_end *e) { return hash_bytes(e, offsetof(copy_end, hash), 0); }

/* CO_OK with the copy mapped, CO_END if there is none that can be believed. */
static int open_copy(source *s)
{
    copy_end e;
    struct stat st;
    int rc = CO_END, fd = open(s->copy, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return CO_END;
    if (fstat(fd, &st) || (uint64_t)st.st_size < sizeof e || pread(fd, &e, sizeof e, st.st_size - (off_t)sizeof e) != (ssize_t)sizeof e) goto out;
    if (e.magic != COPY_MAGIC || e.hash != end_hash(&e) || memcmp(&e.key, &s->key, sizeof e.key) != 0) goto out;
    if (e.len > (uint64_t)st.st_size || e.n_sums != (e.len + SOURCE_BLOCK - 1) / SOURCE_BLOCK ||
        e.len + e.n_sums * 8 + sizeof e != (uint64_t)st.st_size) goto out;
    s->sums = s->host->alloc(s->host, (size_t)e.n_sums * 8 + 8, 16);
    s->checked = s->host->alloc(s->host, (size_t)e.n_sums + 1, 16);
    if (!s->sums || !s->checked) rc = CO_FAIL(s->host, CO_E_NOMEM, "%s: no memory for the sums of its copy", s->path);
    else if (pread(fd, s->sums, (size_t)e.n_sums * 8, (off_t)e.len) == (ssize_t)(e.n_sums * 8) &&
             hash_bytes(s->sums, (size_t)e.n_sums * 8, 0) == e.sums_hash)
        rc = map(s, fd, e.len);
out:
    close(fd);
    if (rc) {
        s->host->free(s->host, s->sums);
        s->host->free(s->host, (void *)s->checked);
        s->sums = NULL;
        s->checked = NULL;
    }
    return rc;
}

static int write_end(const source *s, int fd, const char *name, const unpacked *u)
{
    copy_end e = { .magic = COPY_MAGIC, .key = s->key, .len = u->len, .n_sums = u->n_sums,
                   .sums_hash = hash_bytes(u->sums, (size_t)u->n_sums * 8, 0) };
    int rc;
    e.hash = end_hash(&e);
    rc = source_write(s->host, fd, name, u->sums, (size_t)u->n_sums * 8);
    return rc ? rc : source_write(s->host, fd, name, &e, sizeof e);
}

/* Unpacks into a file without a name, gone when it is closed. */
static int open_unnamed(source *s, int fd)
{
    const char *dir = getenv("TMPDIR");
    char name[4096];
    unpacked u;
    int out, rc;
    if (!dir || !*dir) dir = "/tmp";
    if (snprintf(name, sizeof name, "%s/coati-XXXXXX", dir) >= (int)sizeof name) return CO_FAIL(s->host, CO_E_CONFIG, "TMPDIR is too long");
    out = mkostemp(name, O_CLOEXEC);
    if (out < 0) return CO_FAIL(s->host, CO_E_IO, "%s: cannot be made: %s (set TMPDIR to a folder with room)", name, strerror(errno));
    unlink(name);
    rc = unpack(s->host, s->path, fd, (source_packing)s->packing, out, name, &u);
    if (!rc) rc = map(s, out, u.len);
    s->host->free(s->host, u.sums);
    close(out);
    return rc;
}

/* Unpacks into the cache folder, unless another process has done so meanwhile. */
static int make_copy(source *s, int fd)
{
    char *temp;
    unpacked u;
    int out, rc = cache_begin(s, s->copy, &out, &temp);
    if (rc) return rc;
    if (s->host->log) s->host->log(s->host, CO_LOG_INFO, "data", "%s: unpacking it once to %s", s->path, s->copy);
    rc = unpack(s->host, s->path, fd, (source_packing)s->packing, out, temp, &u);
    if (!rc) rc = write_end(s, out, temp, &u);
    s->host->free(s->host, u.sums);
    if (!rc) return cache_keep(s, s->copy, out, temp);
    cache_drop(s, out, temp);
    return rc;
}

static int open_packed(source *s, int fd)
{
    enum { TRIES = 3 };
    int rc = CO_END;
    s->copy = cache_path(s, "text");
    for (int i = 0; s->copy && i < TRIES; i++) {
        rc = open_copy(s);
        if (rc != CO_END || !cache_may_write(s->host)) break;
        rc = make_copy(s, fd);
        if (rc < 0) return rc;
        if (lseek(fd, 0, SEEK_SET)) return fail_io(s, "read");
    }
    return rc == CO_END ? open_unnamed(s, fd) : rc;
}

int source_open(const co_host *h, const char *path, source *s)
{
    const size_t n = strlen(path) + 1;
    struct stat st;
    int fd, rc;
    memset(s, 0, sizeof *s);
    s->host = h;
    s->path = h->alloc(h, n, 1);
    if (!s->path) return CO_FAIL(h, CO_E_NOMEM, "no memory for dataset %s", path);
    memcpy(s->path, path, n);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail_io(s, "opened");
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) rc = CO_FAIL(h, CO_E_IO, "%s: not a regular file", path);
    else rc = find_packing(s, fd);
    if (!rc && (uint64_t)st.st_size >= SOURCE_CACHE_FROM) rc = find_key(s, fd, &st);
    if (!rc) rc = s->packing ? open_packed(s, fd) : map(s, fd, (uint64_t)st.st_size);
    close(fd);
    return rc;
}

void source_close(source *s)
{
    if (s->data) munmap((void *)(uintptr_t)s->data, s->len);
    s->host->free(s->host, s->sums);
    s->host->free(s->host, (void *)s->checked);
    s->host->free(s->host, s->copy);
    s->host->free(s->host, s->path);
    memset(s, 0, sizeof *s);
}

int source_check(const source *s, size_t from, size_t to)
{
    if (!s->sums) return CO_OK;
    for (size_t i = from / SOURCE_BLOCK; i * SOURCE_BLOCK < to; i++) {
        const size_t at = i * SOURCE_BLOCK, n = s->len - at < SOURCE_BLOCK ? s->len - at : SOURCE_BLOCK;
        if (atomic_load_explicit(&s->checked[i], memory_order_relaxed)) continue;
        if (hash_bytes(s->data + at, n, 0) != s->sums[i]) {
            unlink(s->copy);
            return CO_FAIL(s->host, CO_E_IO, "%s: its unpacked copy %s was changed or damaged near byte %zu, and has been removed: start again, "
                           "and it is made anew", s->path, s->copy, at);
        }
        atomic_store_explicit(&s->checked[i], 1, memory_order_relaxed);
    }
    return CO_OK;
}

const char *source_place(const source *s, size_t at, char *buf, size_t cap)
{
    snprintf(buf, cap, "byte %zu%s", at, s->packing ? " of the unpacked text" : "");
    return buf;
}
