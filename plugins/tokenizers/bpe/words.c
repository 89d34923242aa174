#include "words.h"
#include <string.h>
#include "regex.h"
#include "steps.h"

bpe_words *bpe_words_new(const co_host *h)
{
    bpe_words *w = h->alloc(h, sizeof *w, 64);
    if (w) w->host = h;
    return w;
}

int bpe_words_ready(bpe_words *w)
{
    const co_host *h = w->host;
    if (!w->small) w->small = h->alloc(h, BPE_SMALL_SLOTS * sizeof *w->small, 64);
    return w->small ? CO_OK : CO_E_NOMEM;
}

static size_t buffer_bytes(const bpe_words *w)
{
    return w->cap_ids * sizeof *w->ids + w->cap_symbols * sizeof *w->symbols + w->merge.cap + w->repaired.cap + w->normal[0].cap +
           w->normal[1].cap + w->step_text[0].cap + w->step_text[1].cap + (w->cap_pieces[0] + w->cap_pieces[1]) * sizeof **w->pieces;
}

static void free_buffers(bpe_words *w)
{
    const co_host *h = w->host;
    h->free(h, w->ids);
    h->free(h, w->symbols);
    w->ids = w->symbols = NULL;
    w->n_ids = w->cap_ids = w->cap_symbols = 0;
    bpe_bytes_free(h, &w->merge);
    bpe_bytes_free(h, &w->repaired);
    for (int i = 0; i < 2; i++) {
        bpe_bytes_free(h, &w->normal[i]);
        bpe_bytes_free(h, &w->step_text[i]);
        h->free(h, w->pieces[i]);
        w->pieces[i] = NULL;
        w->cap_pieces[i] = 0;
    }
}

void bpe_words_trim(bpe_words *w)
{
    if (buffer_bytes(w) > BPE_KEEP_BYTES) free_buffers(w);
}

void bpe_words_free(bpe_words *w)
{
    const co_host *h = w->host;
    free_buffers(w);
    bpe_regex_free_space(w->match);
    h->free(h, w->small);
    h->free(h, w->large);
    h->free(h, w->pool);
    h->free(h, w);
}

int bpe_words_grow_ids(bpe_words *w, size_t more)
{
    return bpe_grow(w->host, &w->ids, &w->cap_ids, w->n_ids + more, sizeof *w->ids);
}

static size_t aligned(size_t n) { return (n + 3) & ~(size_t)3; }

int bpe_words_recall(bpe_words *w, uint64_t hash, const uint8_t *word, size_t len)
{
    const bpe_large *e = w->large ? &w->large[hash % BPE_LARGE_SLOTS] : NULL;
    if (!e || e->hash != hash || e->len != len || memcmp(w->pool + e->at, word, len) != 0) return 0;
    memcpy(w->ids + w->n_ids, w->pool + e->at + aligned(len), e->n * sizeof *w->ids);
    w->n_ids += e->n;
    return 1;
}

void bpe_words_remember(bpe_words *w, uint64_t hash, const uint8_t *word, size_t len, const uint32_t *ids, size_t n)
{
    const size_t bytes = aligned(len) + n * sizeof *ids;
    if (len > BPE_LARGE_WORD || n > BPE_LARGE_WORD) return;
    if (!w->pool) { /* many texts need none; without memory for it words are merged again */
        if (!w->large) w->large = w->host->alloc(w->host, BPE_LARGE_SLOTS * sizeof *w->large, 64);
        if (w->large) w->pool = w->host->alloc(w->host, BPE_LARGE_POOL, 64);
        if (!w->pool) return;
    }
    if (w->pool_at + bytes > BPE_LARGE_POOL) { /* full: begin anew, which costs less than choosing what to forget */
        memset(w->large, 0, BPE_LARGE_SLOTS * sizeof *w->large);
        w->pool_at = 0;
    }
    w->large[hash % BPE_LARGE_SLOTS] = (bpe_large){hash, (uint32_t)w->pool_at, (uint16_t)len, (uint16_t)n};
    memcpy(w->pool + w->pool_at, word, len);
    memcpy(w->pool + w->pool_at + aligned(len), ids, n * sizeof *ids);
    w->pool_at += bytes;
}
