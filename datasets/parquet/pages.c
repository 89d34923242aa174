/* pages.c: which pages a column chunk has and which rows begin in them: a walk over their headers, once a chunk. Rows of
 * repeated columns in v1 pages are found in the file's offset index; without one each page's levels are counted. */
#include "page.h"

#include <string.h>

typedef struct walk {
    const pq_file *f;
    const pq_node *node;
    const pq_chunk *chunk;
    int64_t n_rows; /* of the group */
    pq_pages *pages;
    uint32_t cap;
    pq_thrift index; /* page locations still to come */
    uint32_t n_index;
    int64_t index_at, index_row; /* the next of them; at < 0: none */
    pq_fault *fault;
} walk;

/* One PageLocation; what is wrong with the index only means that it is not used. */
static void next_location(walk *w)
{
    pq_tfield f = { 0 };
    w->index_at = w->index_row = -1;
    if (!w->n_index) return;
    w->n_index--;
    while (pq_thrift_next(&w->index, &f)) {
        if (f.id == 1) w->index_at = pq_thrift_i64(&w->index, &f);
        else if (f.id == 3) w->index_row = pq_thrift_i64(&w->index, &f);
        else pq_thrift_skip(&w->index, f.type);
    }
    if (w->index.bad || w->index_row < 0) w->index_at = -1;
}

static void open_index(walk *w)
{
    const pq_chunk *c = w->chunk;
    pq_tfield f = { 0 };
    w->index_at = -1;
    if (!w->node->max_rep || c->index_at <= 0 || c->index_len <= 0 || (uint64_t)c->index_at > w->f->body ||
        (uint64_t)c->index_len > w->f->body - (uint64_t)c->index_at)
        return;
    w->index = (pq_thrift){ w->f->data + c->index_at, w->f->data + c->index_at + c->index_len, NULL };
    if (!pq_thrift_next(&w->index, &f) || f.id != 1) return;
    w->n_index = pq_thrift_list(&w->index, &f, PQ_T_STRUCT);
    next_location(w);
}

static int grow(walk *w)
{
    const co_host *h = w->f->host;
    const uint32_t cap = w->cap ? w->cap * 2 : 8;
    pq_pages *p = h->alloc(h, sizeof *p + ((size_t)cap + 1) * sizeof *p->slot, 16);
    if (!p) return pq_fail(w->fault, CO_E_NOMEM, "no memory for an index of %u pages", cap);
    if (w->pages) memcpy(p, w->pages, sizeof *p + (w->pages->n + 1) * sizeof *p->slot);
    else p->dictionary.at = -1;
    h->free(h, w->pages);
    w->pages = p;
    w->cap = cap;
    return CO_OK;
}

/* Rows that begin in the page with this header at `at`, rows before it known. */
static int count_rows(walk *w, const pq_header *h, int64_t at, int64_t *rows)
{
    uint32_t n;
    int whole, rc;
    if (!w->node->max_rep) {
        if (h->type == PQ_DATA_PAGE_V2 && h->n_rows != h->n_values)
            return pq_fail(w->fault, CO_E_FORMAT, "expected a page of %u rows, found %u", h->n_values, h->n_rows);
        *rows = h->n_values;
        return CO_OK;
    }
    while (w->index_at >= 0 && w->index_at < at) next_location(w);
    if (h->type == PQ_DATA_PAGE && w->index_at == at && w->index_row == w->pages->slot[w->pages->n].first_row) {
        const int64_t first = w->index_row;
        next_location(w);
        if (w->n_index || w->index_at >= 0) *rows = w->index_row - first;
        else *rows = w->n_rows - first;
        if (*rows > 0 && *rows <= h->n_values) return CO_OK; /* held to the levels when the page is read */
    }
    rc = pq_page_count(w->f, w->node, w->chunk->codec, h, &n, &whole, w->fault);
    *rows = n;
    if (!rc && !whole && !w->pages->n) rc = pq_fail(w->fault, CO_E_FORMAT, "the column begins within a row: its first repetition level is not 0");
    return rc;
}

static int walk_pages(walk *w)
{
    const pq_chunk *c = w->chunk;
    int64_t at = c->at, values = 0, rows = 0;
    int rc = grow(w);
    while (!rc && values < c->n_values) {
        pq_header h;
        pq_pages *p = w->pages;
        w->fault->page_at = at;
        if (at >= c->end) return pq_fail(w->fault, CO_E_FORMAT, "expected %lld values, its pages end after %lld", (long long)c->n_values, (long long)values);
        rc = pq_header_read(w->f->data + at, w->f->data + c->end, &h, w->fault);
        if (rc) return rc;
        if (h.type == PQ_DICTIONARY_PAGE) {
            if (p->dictionary.at >= 0 || p->n) return pq_fail(w->fault, CO_E_FORMAT, "a dictionary that is not the column's first page");
            p->dictionary.at = at;
        } else if (h.type != PQ_INDEX_PAGE && h.n_values) { /* empty pages are passed over */
            if (h.n_values > c->n_values - values)
                return pq_fail(w->fault, CO_E_FORMAT, "expected %lld more values in the column, the page has %u", (long long)(c->n_values - values), h.n_values);
            rc = count_rows(w, &h, at, &rows);
            if (rc) return rc;
            p->slot[p->n].at = at;
            p->slot[p->n + 1].first_row = p->slot[p->n].first_row + rows;
            p->slot[++p->n].at = -1;
            values += h.n_values;
            if (p->n == w->cap) rc = grow(w);
        }
        at = (int64_t)(h.body - w->f->data) + h.stored;
    }
    if (rc) return rc;
    rows = w->pages->slot[w->pages->n].first_row;
    w->fault->page_at = -1;
    if (rows == w->n_rows) return CO_OK;
    return pq_fail(w->fault, CO_E_FORMAT, "expected %lld rows in the column's pages, found %lld", (long long)w->n_rows, (long long)rows);
}

const pq_pages *pq_pages_of(const pq_file *f, uint32_t group, uint32_t leaf, pq_fault *fault)
{
    pq_chunk *c = &f->chunk[(size_t)group * f->schema.n_leaves + leaf];
    pq_pages *found = atomic_load(&c->pages);
    walk w = { .f = f, .node = &f->schema.nodes[f->schema.leaf_node[leaf]], .chunk = c, .n_rows = f->group[group].n_rows, .fault = fault };
    if (found) return found;
    open_index(&w);
    if (walk_pages(&w)) {
        f->host->free(f->host, w.pages);
        return NULL;
    }
    if (atomic_compare_exchange_strong(&c->pages, &found, w.pages)) return w.pages;
    f->host->free(f->host, w.pages); /* another thread's was first */
    return found;
}
