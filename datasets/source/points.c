#include "points.h"
#include "cache.h"
#include "hash.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define POINTS_MAGIC 0x317864696f63u /* "coidx1": of this layout and this byte order */

typedef struct head { /* then the points */
    uint64_t magic;
    source_key key;
    uint64_t text_len, rules;
    int64_t records;
    uint64_t n, note[2];
    uint64_t points_hash, hash; /* hash: of what stands before it */
} head;

int points_add(const co_host *h, points *ps, uint64_t at, int64_t record)
{
    if (ps->n == ps->cap) {
        const size_t cap = ps->cap ? 2 * ps->cap : 256;
        point *grown = h->alloc(h, cap * sizeof *grown, 16);
        if (!grown) return CO_FAIL(h, CO_E_NOMEM, "no memory for an index of %zu places", cap);
        if (ps->p) memcpy(grown, ps->p, ps->n * sizeof *grown);
        h->free(h, ps->p);
        ps->p = grown;
        ps->cap = cap;
    }
    ps->p[ps->n++] = (point){ at, record };
    return CO_OK;
}

point points_find(const points *ps, int64_t record)
{
    size_t lo = 0, hi = ps->n;
    while (hi - lo > 1) {
        const size_t mid = lo + (hi - lo) / 2;
        if (ps->p[mid].record <= record) lo = mid;
        else hi = mid;
    }
    return ps->p[lo];
}

void points_close(const co_host *h, points *ps)
{
    if (ps->mapped) munmap(ps->mapped, ps->mapped_len);
    else h->free(h, ps->p);
    memset(ps, 0, sizeof *ps);
}

static uint64_t head_hash(const head *e) { return hash_bytes(e, offsetof(head, hash), 0); }

/* Believed only if every number in it is possible for this text. */
static int fits(const source *s, const head *e, const point *p, uint64_t rules, size_t file_len)
{
    if (e->magic != POINTS_MAGIC || e->hash != head_hash(e)) return 0;
    if (memcmp(&e->key, &s->key, sizeof e->key) != 0 || e->text_len != s->len || e->rules != rules) return 0;
    if (e->n > file_len / sizeof *p || file_len != sizeof *e + e->n * sizeof *p) return 0;
    if (e->records < 0 || (e->records > 0) != (e->n > 0) || (uint64_t)e->records > s->len) return 0;
    if (hash_bytes(p, (size_t)e->n * sizeof *p, 0) != e->points_hash) return 0;
    for (uint64_t i = 0; i < e->n; i++) {
        if (p[i].at >= s->len || p[i].record >= e->records) return 0;
        if (i ? p[i].at <= p[i - 1].at || p[i].record <= p[i - 1].record : p[i].record != 0) return 0;
    }
    return 1;
}

int points_load_file(const source *s, const char *path, uint64_t rules, points *out)
{
    struct stat st;
    head *e = MAP_FAILED;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return CO_END;
    if (!fstat(fd, &st) && st.st_size >= (off_t)sizeof *e) e = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (e == MAP_FAILED) return CO_END;
    if (!fits(s, e, (point *)(e + 1), rules, (size_t)st.st_size)) {
        munmap(e, (size_t)st.st_size);
        return CO_END;
    }
    *out = (points){ .p = (point *)(e + 1), .n = (size_t)e->n, .records = e->records, .note = { e->note[0], e->note[1] },
                     .mapped = e, .mapped_len = (size_t)st.st_size };
    return CO_OK;
}

int points_load(const source *s, const char *form, uint64_t rules, points *out)
{
    char *path = cache_path(s, form);
    const int rc = path ? points_load_file(s, path, rules, out) : CO_END;
    s->host->free(s->host, path);
    return rc;
}

void points_save(const source *s, const char *form, uint64_t rules, const points *ps)
{
    head e = { .magic = POINTS_MAGIC, .key = s->key, .text_len = s->len, .rules = rules, .records = ps->records, .n = ps->n,
               .note = { ps->note[0], ps->note[1] }, .points_hash = hash_bytes(ps->p, ps->n * sizeof *ps->p, 0) };
    char *temp, *path = cache_may_write(s->host) ? cache_path(s, form) : NULL;
    int fd, rc = path ? cache_begin(s, path, &fd, &temp) : CO_END;
    e.hash = head_hash(&e);
    if (!rc) {
        rc = source_write(s->host, fd, temp, &e, sizeof e);
        if (!rc) rc = source_write(s->host, fd, temp, ps->p, ps->n * sizeof *ps->p);
        if (!rc) rc = cache_keep(s, path, fd, temp);
        else cache_drop(s, fd, temp);
    }
    if (rc < 0 && s->host->log) s->host->log(s->host, CO_LOG_WARN, "data", "%s: its index cannot be kept in %s: it is made again at the next start", s->path, path);
    s->host->free(s->host, path);
}
