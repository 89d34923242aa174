/* scan.c: the index of lines and paragraphs. The text is dealt out in chunks; each is walked from the first record that begins in
 * it, and the counts are added up in order. Mapped pages are let go behind the walk, so that gigabytes never count as resident. */
#include "lines.h"
#include "hash.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* newer than Debian's headers may be; a kernel without it refuses, which does no harm */
#endif
enum { CHUNK = 4 << 20, MOST_THREADS = 8 };

typedef struct part { points found; int done; } part;

typedef struct scan {
    const source *s;
    const lines_rules *r;
    int64_t max;
    size_t chunk;
    part *parts;
    size_t n_parts;
    pthread_mutex_t mu;
    /* Under mu: */
    size_t next, whole; /* parts taken; parts done with all before them */
    int64_t records;    /* in those */
    int stop, code;
} scan;

static int is_blank(uint8_t b) { return b == ' ' || b == '\t' || b == '\r'; }

/* Whether the line before the one that starts at `at` is blank, or there is none. */
static int after_blank(const source *s, size_t body, size_t at)
{
    if (at <= body) return 1;
    for (at--; at > body; at--) {
        const uint8_t b = s->data[at - 1];
        if (b == '\n') return 1;
        if (b != ' ' && b != '\t' && b != '\r') return 0;
    }
    return 1;
}

static int starts_record(const source *s, const lines_rules *r, size_t at)
{
    if (at <= r->body) return 1;
    if (s->data[at - 1] != '\n') return 0;
    return r->form == LINES_EACH || after_blank(s, r->body, at);
}

/* The first place in [at, end) from which records are counted anew, whatever stands before it; end: none. */
static size_t fresh_start(const source *s, const lines_rules *r, size_t at, size_t end)
{
    if (at <= r->body) return r->body;
    while (at < end && !starts_record(s, r, at)) {
        const uint8_t *nl = memchr(s->data + at, '\n', end - at);
        at = nl ? (size_t)(nl - s->data) + 1 : end;
    }
    return at;
}

/* Whether a line that is not blank begins in [*at, end), which *at is moved to. Looks no further than that line's first text, so
 * that blanks without end are not walked by every chunk. */
static int text_begins(const source *s, size_t *at, size_t end)
{
    size_t p = *at, line = *at;
    for (; p < s->len && (is_blank(s->data[p]) || s->data[p] == '\n'); p++) {
        if (s->data[p] != '\n') continue;
        line = p + 1;
        if (line >= end) return 0;
    }
    *at = line;
    return p < s->len;
}

static int scan_part(const scan *c, size_t i, points *out)
{
    const source *s = c->s;
    const size_t begin = i * c->chunk, end = s->len - begin < c->chunk ? s->len : begin + c->chunk;
    size_t at = fresh_start(s, c->r, begin, end);
    line_span span;
    int rc = CO_OK;
    /* A record cut into pieces is its first chunk's, to its last piece. */
    while (!rc && (at < end || out->records) && !(at >= end && starts_record(s, c->r, at))) {
        if (c->r->form != LINES_WHOLE && !out->records && !text_begins(s, &at, end)) break;
        if (!lines_next(s, c->r, at, &span) || (span.begin >= end && starts_record(s, c->r, span.begin))) break;
        if (!out->n || span.begin - out->p[out->n - 1].at >= POINTS_EVERY) rc = points_add(s->host, out, span.begin, out->records);
        out->records++;
        at = span.next;
    }
    return rc;
}

static void *scan_run(void *arg)
{
    scan *c = arg;
    pthread_mutex_lock(&c->mu);
    while (c->next < c->n_parts && !c->stop) {
        const size_t i = c->next++, at = i * c->chunk, n = c->s->len - at < c->chunk ? c->s->len - at : c->chunk;
        void *page = (void *)(uintptr_t)(c->s->data + at); /* chunks of the real size begin at a page */
        int rc;
        pthread_mutex_unlock(&c->mu);
        if (c->chunk == CHUNK) (void)madvise(page, n, MADV_POPULATE_READ);
        rc = scan_part(c, i, &c->parts[i].found);
        if (c->chunk == CHUNK) (void)madvise(page, n, MADV_DONTNEED);
        pthread_mutex_lock(&c->mu);
        if (rc) c->code = rc, c->stop = 1;
        c->parts[i].done = 1;
        while (c->whole < c->n_parts && c->parts[c->whole].done) c->records += c->parts[c->whole++].found.records;
        if (c->max > 0 && c->records >= c->max) c->stop = 1;
    }
    pthread_mutex_unlock(&c->mu);
    return NULL;
}

static int join_parts(const scan *c, points *ps)
{
    size_t n = 0;
    for (size_t i = 0; i < c->whole; i++) n += c->parts[i].found.n;
    if (n) ps->p = c->s->host->alloc(c->s->host, n * sizeof *ps->p, 16);
    if (n && !ps->p) return CO_FAIL(c->s->host, CO_E_NOMEM, "%s: no memory for an index of %zu places", c->s->path, n);
    ps->cap = n;
    for (size_t i = 0; i < c->whole; i++) {
        const points *f = &c->parts[i].found;
        for (size_t k = 0; k < f->n; k++) ps->p[ps->n++] = (point){ f->p[k].at, ps->records + f->p[k].record };
        ps->records += f->records;
    }
    return CO_OK;
}

int lines_scan(const source *s, const lines_rules *r, int64_t max, size_t chunk, int threads, points *ps, int *complete)
{
    scan c = { .s = s, .r = r, .max = max, .chunk = chunk, .n_parts = (s->len + chunk - 1) / chunk };
    pthread_t others[MOST_THREADS];
    int started = 0, rc;
    memset(ps, 0, sizeof *ps);
    if (r->form == LINES_WHOLE) c.chunk = s->len + 1, c.n_parts = s->len > 0;
    c.parts = s->host->alloc(s->host, (c.n_parts + 1) * sizeof *c.parts, 16);
    if (!c.parts) return CO_FAIL(s->host, CO_E_NOMEM, "%s: no memory for an index", s->path);
    pthread_mutex_init(&c.mu, NULL);
    /* A thread that does not start is no loss: the others take its share. */
    while (started < threads - 1 && started < MOST_THREADS && (size_t)started + 1 < c.n_parts && !pthread_create(&others[started], NULL, scan_run, &c))
        started++;
    scan_run(&c);
    for (int i = 0; i < started; i++) pthread_join(others[i], NULL);
    pthread_mutex_destroy(&c.mu);
    *complete = c.whole == c.n_parts;
    rc = c.code ? CO_FAIL(s->host, c.code, "%s: no memory for an index of its records", s->path) : join_parts(&c, ps);
    for (size_t i = 0; i < c.n_parts; i++) points_close(s->host, &c.parts[i].found);
    s->host->free(s->host, c.parts);
    if (rc) points_close(s->host, ps);
    return rc;
}

int lines_index(const source *s, const lines_rules *r, const char *form, int64_t max, points *ps)
{
    const uint64_t terms[] = { r->form, r->max_bytes, r->body, POINTS_EVERY }, rules = hash_bytes(terms, sizeof terms, 0);
    const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int complete, rc;
    if (!s->len) return CO_OK;
    rc = points_load(s, form, rules, ps);
    if (rc != CO_END) return rc;
    rc = lines_scan(s, r, max, CHUNK, cpus > MOST_THREADS ? MOST_THREADS : (int)cpus, ps, &complete);
    if (!rc && complete) points_save(s, form, rules, ps);
    return rc;
}
