/* merge.c: the two ways to merge a word's symbols; both give what the other gives. */
#include <string.h>
#include "model.h"

size_t bpe_merge_short(const bpe_merges *m, uint32_t *symbols, int32_t *ranks, size_t n)
{
    if (n < 2) return n;
    for (size_t i = 0; i + 1 < n; i++) ranks[i] = bpe_rank(m, symbols[i], symbols[i + 1]);
    for (;;) {
        int32_t best = BPE_NO_RANK;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) best = ranks[i] < best ? ranks[i] : best; /* in vectors */
        if (best == BPE_NO_RANK) return n;
        while (ranks[at] != best) at++;
        symbols[at] = m->made[best];
        n--;
        memmove(symbols + at + 1, symbols + at + 2, (n - at - 1) * sizeof *symbols);
        if (at + 1 < n) {
            memmove(ranks + at + 1, ranks + at + 2, (n - at - 2) * sizeof *ranks);
            ranks[at] = bpe_rank(m, symbols[at], symbols[at + 1]);
        }
        if (at > 0) ranks[at - 1] = bpe_rank(m, symbols[at - 1], symbols[at]);
        if (n < 2) return n;
    }
}

/* A min-heap of rank << 32 | position; an entry whose rank is no longer the one at its position is passed over. */
typedef struct heap {
    uint64_t *at;
    size_t n;
} heap;

static void sift_down(heap *q, size_t i, uint64_t v)
{
    for (size_t child; (child = 2 * i + 1) < q->n; i = child) {
        if (child + 1 < q->n && q->at[child + 1] < q->at[child]) child++;
        if (q->at[child] >= v) break;
        q->at[i] = q->at[child];
    }
    q->at[i] = v;
}

static void push(heap *q, uint64_t v)
{
    size_t i = q->n++;
    for (; i > 0 && q->at[(i - 1) / 2] > v; i = (i - 1) / 2) q->at[i] = q->at[(i - 1) / 2];
    q->at[i] = v;
}

static uint64_t pop(heap *q)
{
    const uint64_t first = q->at[0], last = q->at[--q->n];
    if (q->n) sift_down(q, 0, last);
    return first;
}

int bpe_merge_long(const co_host *h, const bpe_merges *m, uint32_t *symbols, size_t n, bpe_bytes *work, size_t *left)
{
    /* each merge removes one symbol and adds at most two entries, so the heap never holds more than 3n */
    const size_t bytes = n * (3 * sizeof(uint64_t) + 2 * sizeof(uint32_t) + sizeof(int32_t));
    int rc;
    if (n > UINT32_MAX / 2) return CO_FAIL(h, CO_E_NOMEM, "tokenizer: a word of %zu symbols", n);
    work->len = 0;
    rc = bpe_bytes_reserve(h, work, bytes);
    if (rc) return rc;
    heap q = {(uint64_t *)(void *)work->data, 0};
    uint32_t *next = (uint32_t *)(void *)(q.at + 3 * n), *prev = next + n;
    int32_t *ranks = (int32_t *)(void *)(prev + n);
    for (uint32_t i = 0; i < n; i++) {
        next[i] = i + 1;
        prev[i] = i - 1;
        ranks[i] = i + 1 < n ? bpe_rank(m, symbols[i], symbols[i + 1]) : BPE_NO_RANK;
        if (ranks[i] != BPE_NO_RANK) q.at[q.n++] = (uint64_t)ranks[i] << 32 | i;
    }
    for (size_t i = q.n / 2; i-- > 0;) sift_down(&q, i, q.at[i]);
    while (q.n) {
        const uint64_t top = pop(&q);
        const uint32_t i = (uint32_t)top, j = next[i];
        if (ranks[i] != (int32_t)(top >> 32)) continue;
        symbols[i] = m->made[top >> 32];
        ranks[j] = BPE_NO_RANK; /* gone */
        next[i] = next[j];
        if (next[i] < n) prev[next[i]] = i;
        ranks[i] = next[i] < n ? bpe_rank(m, symbols[i], symbols[next[i]]) : BPE_NO_RANK;
        if (ranks[i] != BPE_NO_RANK) push(&q, (uint64_t)ranks[i] << 32 | i);
        if (prev[i] < n) {
            const uint32_t k = prev[i];
            ranks[k] = bpe_rank(m, symbols[k], symbols[i]);
            if (ranks[k] != BPE_NO_RANK) push(&q, (uint64_t)ranks[k] << 32 | k);
        }
    }
    *left = 0;
    for (uint32_t i = 0; i < n; i = next[i]) symbols[(*left)++] = symbols[i];
    return CO_OK;
}
