#include "core/data/blocks.h"
#include "core/data/scan.h"
#include "core/base/error.h"
#include "core/base/memory.h"

#include <stdio.h>
#include <string.h>

enum { SCAN_CHUNK = 16, SHORT_PROMPT = 32 };

/* Where the piece that begins at `at` ends. */
static size_t piece_end(const char *text, size_t len, size_t at)
{
    size_t end = at + BLOCK_PIECE;
    if (len - at <= BLOCK_PIECE) return len;
    for (size_t i = end; i > at + BLOCK_PIECE / 2; i--)
        if (text[i - 1] == '\n') return i;
    for (size_t i = end; i > at + BLOCK_PIECE / 2; i--)
        if (text[i] == ' ') return i;
    while (end > at + 1 && ((unsigned char)text[end] & 0xC0) == 0x80) end--; /* between characters */
    return end;
}

/* Reads a record's text; errors name file and row. */
static int read_text(const sample_maker *m, void *dataset_self, int64_t index, co_arena *a, record *out)
{
    co_field *f = NULL;
    uint32_t n = 0;
    const char *file;
    int64_t row;
    int rc = m->dataset->read(dataset_self, index, a, &f, &n);
    if (rc && rc != CO_END) return rc;
    sample_locate(m, dataset_self, index, &file, &row);
    if (rc) return FAIL(CO_E_FORMAT, "%s: row %lld: the data ended early", file, (long long)row);
    rc = record_read(m->columns, m->kind, f, n, a, out);
    return rc ? error_prefix(rc, "%s: row %lld", file, (long long)row) : CO_OK;
}

static int encode_piece(const sample_maker *m, const record *r, size_t at, size_t end, co_arena *a, chat_ids *out)
{
    return template_plain(m->templ, r->text + at, end - at, at == 0, end == r->len, a, out);
}

typedef struct list { block_piece *p; size_t n, cap; } list;

typedef struct scan_job {
    const int64_t *subset;
    list *chunks; /* by chunk of SCAN_CHUNK records; `first` holds the number of ids until all are there */
} scan_job;

static int add_piece(list *l, int64_t of, size_t at, size_t n)
{
    if (l->n == l->cap) {
        block_piece *more = mem_grow(l->p, l->cap, 2 * l->cap + SCAN_CHUNK, sizeof *more);
        if (!more) return CO_E_NOMEM;
        l->p = more;
        l->cap = 2 * l->cap + SCAN_CHUNK;
    }
    l->p[l->n++] = (block_piece){.record = of, .first = (int64_t)n, .at = (int64_t)at};
    return CO_OK;
}

static int scan_record(reader *r, int64_t index, list *l)
{
    record text;
    const size_t before = l->n;
    arena_reset(r->arena);
    if (r->shared) pthread_mutex_lock(r->shared);
    int rc = read_text(r->maker, r->dataset_self, index, r->arena, &text);
    if (r->shared) pthread_mutex_unlock(r->shared);
    for (size_t at = 0, end; rc == CO_OK && (at < text.len || !at); at = end) {
        chat_ids c;
        end = piece_end(text.text, text.len, at);
        rc = encode_piece(r->maker, &text, at, end, r->arena, &c);
        if (rc == CO_OK) rc = add_piece(l, index, at, c.n);
        if (end == text.len) break;
    }
    if (rc) l->n = before;
    return rc;
}

static int scan_place(void *ctx, reader *r, int64_t place)
{
    const scan_job *j = ctx;
    const int rc = scan_record(r, j->subset ? j->subset[place] : place, &j->chunks[place / SCAN_CHUNK]);
    return rc == CO_E_FORMAT && r->skip_bad ? CO_END : rc;
}

static int join_chunks(const scan_job *j, int64_t n_chunks, blocks *b)
{
    int64_t n = 0, at = 0;
    for (int64_t i = 0; i < n_chunks; i++) n += (int64_t)j->chunks[i].n;
    b->pieces = mem_calloc((size_t)n + 1, sizeof *b->pieces);
    if (!b->pieces) return CO_E_NOMEM;
    for (int64_t i = 0; i < n_chunks; i++)
        for (size_t k = 0; k < j->chunks[i].n; k++) {
            block_piece *p = &b->pieces[b->n_pieces++];
            *p = j->chunks[i].p[k];
            p->first = at;
            at += j->chunks[i].p[k].first;
        }
    b->pieces[n].first = b->n_ids = at;
    b->n_blocks = at / b->len + (at % b->len != 0);
    return CO_OK;
}

int blocks_scan(reader *readers, int32_t n_readers, const int64_t *subset, int64_t n_records, int32_t len, blocks *out, char *bad, size_t cap)
{
    const int64_t n_chunks = (n_records + SCAN_CHUNK - 1) / SCAN_CHUNK;
    scan_job j = {.subset = subset};
    scan_found found;
    blocks b = {.len = len};
    j.chunks = mem_calloc((size_t)n_chunks, sizeof *j.chunks);
    if (!j.chunks) return CO_E_NOMEM;
    int rc = scan_places(readers, n_readers, n_records, SCAN_CHUNK, scan_place, &j, &found);
    if (rc == CO_OK) rc = join_chunks(&j, n_chunks, &b);
    for (int64_t i = 0; i < n_chunks; i++) mem_free(j.chunks[i].p);
    mem_free(j.chunks);
    b.n_bad = found.n_bad;
    snprintf(bad, cap, "%s", found.bad);
    if (rc == CO_OK) *out = b;
    return rc;
}

void blocks_free(blocks *b)
{
    mem_free(b->pieces);
    *b = (blocks){0};
}

/* The last piece that begins at or before id `at`. */
static int64_t find_piece(const blocks *b, int64_t at)
{
    int64_t lo = 0, hi = b->n_pieces;
    while (hi - lo > 1) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (b->pieces[mid].first <= at) lo = mid;
        else hi = mid;
    }
    return lo;
}

static int fail_changed(const sample_maker *m, void *dataset_self, int64_t index)
{
    const char *file;
    int64_t row;
    sample_locate(m, dataset_self, index, &file, &row);
    return FAIL(CO_E_FORMAT, "%s: row %lld changed while the run was reading the file", file, (long long)row);
}

int blocks_make(const blocks *b, const sample_maker *m, void *dataset_self, int64_t index, co_arena *a, sample *out)
{
    const int64_t from = index * b->len, to = from + b->len < b->n_ids ? from + b->len : b->n_ids;
    int32_t *ids = arena_push(a, (size_t)b->len * sizeof *ids, 4);
    uint8_t *learn = arena_push(a, (size_t)b->len, 1);
    int64_t n = 0, held = -1;
    record text = {0};
    if (!ids || !learn) return CO_E_NOMEM;
    for (int64_t k = find_piece(b, from); from + n < to; k++) {
        const block_piece *p = &b->pieces[k];
        const int64_t next = p[1].first;
        chat_ids c;
        if (next <= from + n) continue; /* nothing of it */
        int rc = held == p->record ? CO_OK : read_text(m, dataset_self, p->record, a, &text);
        if (rc) return rc;
        held = p->record;
        if ((size_t)p->at > text.len) return fail_changed(m, dataset_self, held);
        rc = encode_piece(m, &text, (size_t)p->at, piece_end(text.text, text.len, (size_t)p->at), a, &c);
        if (rc) return rc;
        if ((int64_t)c.n != next - p->first) return fail_changed(m, dataset_self, held);
        const int64_t skip = from + n - p->first, most = to - (from + n), take = next - p->first - skip < most ? next - p->first - skip : most;
        memcpy(ids + n, c.ids + skip, (size_t)take * sizeof *ids);
        n += take;
    }
    memset(learn, 1, (size_t)n);
    learn[0] = 0;
    *out = (sample){.ids = ids, .learn = learn, .n = (int32_t)n, .n_labels = (int32_t)n - 1,
                    .n_prompt = (int32_t)(n / 2 < SHORT_PROMPT ? n / 2 : SHORT_PROMPT)}; /* a beginning to go on from, for who looks at it */
    return CO_OK;
}
