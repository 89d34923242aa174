#include "cursor.h"
#include "cache.h"

#include <string.h>

static pq_page *load(pq_cursor *c, pq_slot *slot, int64_t n_dictionary, pq_fault *fault)
{
    const pq_chunk *chunk = &c->f->chunk[(size_t)c->group * c->f->schema.n_leaves + c->leaf];
    pq_page *p = pq_cache_get(slot);
    pq_header h;
    if (p) return p;
    fault->page_at = slot->at;
    if (pq_header_read(c->f->data + slot->at, c->f->data + chunk->end, &h, fault)) return NULL;
    p = pq_page_read(c->f, c->node, chunk->codec, &h, n_dictionary, c->old, fault);
    c->old = NULL;
    if (!p) return NULL;
    if (slot != &c->pages->dictionary) {
        const int64_t n_rows = slot[1].first_row - slot[0].first_row;
        int rc = CO_OK;
        if (p->n_rows != n_rows) rc = pq_fail(fault, CO_E_FORMAT, "expected %lld rows in the page, found %u", (long long)n_rows, p->n_rows);
        else if (slot == c->pages->slot && p->rep && p->rep[0]) rc = pq_fail(fault, CO_E_FORMAT, "the column begins within a row: its first repetition level is not 0");
        if (rc) {
            pq_page_free(p);
            return NULL;
        }
    }
    fault->page_at = -1;
    return pq_cache_put(slot, p);
}

static int load_slot(pq_cursor *c, pq_fault *fault)
{
    if (c->page) pq_cache_release(c->page);
    c->page = load(c, &c->pages->slot[c->slot], c->dictionary ? (int64_t)c->dictionary->n : -1, fault);
    return c->page ? CO_OK : fault->code;
}

int pq_cursor_open(pq_cursor *c, const pq_file *f, uint32_t group, uint32_t leaf, int64_t row, pq_fault *fault)
{
    pq_page *old = c->old;
    uint32_t lo = 0, hi;
    int rc;
    memset(c, 0, sizeof *c);
    c->old = old;
    c->f = f;
    c->node = &f->schema.nodes[f->schema.leaf_node[leaf]];
    c->group = group;
    c->leaf = leaf;
    c->pages = (pq_pages *)(uintptr_t)pq_pages_of(f, group, leaf, fault);
    if (!c->pages) return fault->code;
    hi = c->pages->n;
    while (hi - lo > 1) { /* the last page that begins with the row or before it */
        const uint32_t mid = lo + (hi - lo) / 2;
        if (c->pages->slot[mid].first_row <= row) lo = mid;
        else hi = mid;
    }
    c->slot = lo;
    if (c->pages->dictionary.at >= 0) {
        c->dictionary = load(c, &c->pages->dictionary, -1, fault);
        if (!c->dictionary) return fault->code;
    }
    rc = load_slot(c, fault);
    if (rc) return rc;
    row -= c->pages->slot[lo].first_row;
    c->entry = c->page->rep ? c->page->row[row] : (uint32_t)row;
    c->value = pq_page_rank(c->page, c->node->max_def, c->entry);
    return CO_OK;
}

void pq_cursor_close(pq_cursor *c)
{
    if (c->page) pq_cache_release(c->page);
    if (c->dictionary) pq_cache_release(c->dictionary);
    pq_page_free(c->old);
    c->page = c->dictionary = c->old = NULL;
}

int pq_cursor_seek(pq_cursor *c, const pq_file *f, uint32_t group, uint32_t leaf, int64_t row, pq_fault *fault)
{
    const pq_slot *s = c->page ? &c->pages->slot[c->slot] : NULL;
    int rc;
    if (s && c->group == group && row >= s[0].first_row && row < s[1].first_row) {
        const uint32_t entry = (uint32_t)(row - s[0].first_row);
        if (entry != c->entry) {
            c->in_order = 0;
            c->value = pq_page_rank(c->page, c->node->max_def, entry);
        }
        c->entry = entry;
        c->in_order++;
        return CO_OK;
    }
    if (s && c->in_order == c->page->n) {
        pq_page *spent = c->page;
        c->page = NULL;
        pq_cursor_close(c);
        c->old = pq_cache_take(spent);
    } else {
        pq_cursor_close(c);
    }
    rc = pq_cursor_open(c, f, group, leaf, row, fault);
    if (!rc) c->in_order = !c->entry;
    pq_page_free(c->old); /* the page was there already */
    c->old = NULL;
    return rc;
}

int pq_cursor_peek(pq_cursor *c, int *more, pq_fault *fault)
{
    int rc;
    *more = !c->begun;
    if (*more || !c->node->max_rep) return CO_OK;
    if (c->entry == c->page->n) {
        if (c->slot + 1 == c->pages->n) return CO_OK;
        c->slot++;
        rc = load_slot(c, fault);
        if (rc) return rc;
        c->entry = c->value = 0;
    }
    *more = c->page->rep[c->entry] != 0;
    return CO_OK;
}

void pq_cursor_take(pq_cursor *c, pq_value *out)
{
    const int there = pq_cursor_def(c) == c->node->max_def;
    c->begun = 1;
    c->entry++;
    *out = (pq_value){ NULL, 0 };
    if (there) {
        const uint32_t v = c->value++;
        const pq_page *from = c->page->index ? c->dictionary : c->page;
        const uint32_t i = c->page->index ? c->page->index[v] : v;
        if (from->span) *out = (pq_value){ from->bytes + from->span[i].at, from->span[i].len };
        else *out = (pq_value){ from->bytes + (size_t)i * from->width, from->width };
    }
}
