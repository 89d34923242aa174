#include "added.h"

static uint32_t *slot_of(const bpe_added *a, const char *text, size_t len)
{
    size_t i = bpe_hash((const uint8_t *)text, len) & (a->n_slots - 1);
    for (;; i = (i + 1) & (a->n_slots - 1)) {
        const bpe_added_token *t = a->slots[i] ? &a->tokens[a->slots[i] - 1] : NULL;
        if (!t || (t->len == len && memcmp(t->text, text, len) == 0)) return &a->slots[i];
    }
}

static int grow_slots(const co_host *h, bpe_added *a)
{
    if (2 * (a->n + 1) <= a->n_slots) return CO_OK;
    h->free(h, a->slots);
    a->n_slots = a->n_slots ? 2 * a->n_slots : 64;
    a->slots = h->alloc(h, a->n_slots * sizeof *a->slots, 16);
    if (!a->slots) return a->n_slots = 0, CO_E_NOMEM;
    for (size_t i = 0; i < a->n; i++) *slot_of(a, a->tokens[i].text, a->tokens[i].len) = (uint32_t)i + 1;
    return CO_OK;
}

int bpe_added_put(const co_host *h, bpe_added *a, const bpe_added_token *t)
{
    int rc = grow_slots(h, a);
    if (rc == CO_OK) rc = bpe_grow(h, &a->tokens, &a->cap, a->n + 1, sizeof *a->tokens);
    if (rc) return rc;
    uint32_t *slot = slot_of(a, t->text, t->len);
    if (!*slot) *slot = (uint32_t)++a->n;
    a->tokens[*slot - 1] = *t;
    return CO_OK;
}

const bpe_added_token *bpe_added_find(const bpe_added *a, const char *text, size_t len)
{
    const uint32_t *slot = a->n_slots ? slot_of(a, text, len) : NULL;
    return slot && *slot ? &a->tokens[*slot - 1] : NULL;
}

static int new_node(const co_host *h, bpe_trie *t, uint8_t byte, uint32_t *out)
{
    int rc = bpe_grow(h, &t->nodes, &t->cap, t->n + 2, sizeof *t->nodes);
    if (rc) return rc;
    if (t->n == 0) t->n = 1;
    t->nodes[t->n] = (struct bpe_trie_node){0, 0, -1, byte};
    *out = (uint32_t)t->n++;
    return CO_OK;
}

int bpe_added_watch(const co_host *h, bpe_added *a, int normalised, const char *text, size_t len, size_t i)
{
    bpe_trie *t = normalised ? &a->normal : &a->plain;
    uint32_t node = t->first[(uint8_t)text[0]];
    int rc = CO_OK;
    if (!node) {
        rc = new_node(h, t, (uint8_t)text[0], &node);
        if (rc) return rc;
        t->first[(uint8_t)text[0]] = node;
    }
    for (size_t k = 1; k < len; k++) {
        uint32_t child = t->nodes[node].child;
        while (child && t->nodes[child].byte != (uint8_t)text[k]) child = t->nodes[child].sibling;
        if (!child) {
            rc = new_node(h, t, (uint8_t)text[k], &child);
            if (rc) return rc;
            t->nodes[child].sibling = t->nodes[node].child;
            t->nodes[node].child = child;
        }
        node = child;
    }
    if (t->nodes[node].token < 0) t->nodes[node].token = (int32_t)i; /* of two alike the first is found */
    return CO_OK;
}

int bpe_added_keep(const co_host *h, bpe_added *a, size_t i)
{
    bpe_added_token *t = &a->tokens[i];
    if (!t->special) return CO_OK;
    t->kept_at = (uint32_t)a->special_texts.len;
    return bpe_bytes_add(h, &a->special_texts, t->text, t->len);
}

int32_t bpe_added_special(const bpe_added *a, const char *text, size_t len)
{
    for (size_t i = 0; i < a->n && len; i++) {
        const bpe_added_token *t = &a->tokens[i];
        if (t->special && t->len == len && memcmp(a->special_texts.data + t->kept_at, text, len) == 0) return (int32_t)t->id;
    }
    return -1;
}

void bpe_added_close(const co_host *h, bpe_added *a)
{
    h->free(h, a->tokens);
    bpe_bytes_free(h, &a->normal_texts);
    bpe_bytes_free(h, &a->special_texts);
    h->free(h, a->slots);
    h->free(h, a->plain.nodes);
    h->free(h, a->normal.nodes);
    *a = (bpe_added){0};
}

/* Length of the longest token at p, 0: none. */
static size_t longest(const bpe_trie *t, const char *p, const char *end, int32_t *token)
{
    uint32_t node = t->first[(uint8_t)*p];
    size_t best = 0;
    for (size_t n = 1; node; n++) {
        if (t->nodes[node].token >= 0) {
            *token = t->nodes[node].token;
            best = n;
        }
        if (p + n == end) break;
        node = t->nodes[node].child;
        while (node && t->nodes[node].byte != (uint8_t)p[n]) node = t->nodes[node].sibling;
    }
    return best;
}

/* \w of Rust's regular expressions, which differs from Oniguruma's in eight characters. */
static int is_word(const bpe_unicode *u, uint32_t c)
{
    if (c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0xBC && c <= 0xBE)) return 0;
    return c == 0x200C || c == 0x200D || (bpe_class(u, c) & BPE_WORD);
}

/* The character at p, of text that may be damaged; *next: behind it. */
static uint32_t character(const uint8_t *p, const uint8_t *end, const uint8_t **next)
{
    *next = p + 1;
    if (bpe_utf8_len(*p) > (size_t)(end - p)) return 0xFFFD;
    *next = p;
    const uint32_t c = bpe_utf8_next(next);
    return c <= 0x10FFFF ? c : 0xFFFD;
}

/* Where the character begins that ends at p, which is not the text's start. */
static const uint8_t *before(const char *text, const uint8_t *p)
{
    do p--;
    while ((*p & 0xC0) == 0x80 && p > (const uint8_t *)text);
    return p;
}

static int stands_alone(const bpe_unicode *u, const char *text, size_t start, size_t stop, size_t len)
{
    const uint8_t *p = (const uint8_t *)text + start, *end = (const uint8_t *)text + len, *next;
    if (start > 0 && is_word(u, character(before(text, p), p, &next))) return 0;
    return stop == len || !is_word(u, character((const uint8_t *)text + stop, end, &next));
}

int bpe_added_next(const bpe_added *a, const bpe_trie *t, const bpe_unicode *u, const char *text, size_t len, bpe_added_scan *s)
{
    while (t->n && s->at < len) {
        int32_t token = 0;
        const size_t n = longest(t, text + s->at, text + len, &token);
        size_t start = s->at, stop = start + n;
        if (!n) {
            do s->at++;
            while (s->at < len && !t->first[(uint8_t)text[s->at]]);
            continue;
        }
        s->token = &a->tokens[token];
        if (s->no_special && s->token->special) {
            s->at++;
            continue;
        }
        s->at = stop;
        if (s->token->single_word && !stands_alone(u, text, start, stop, len)) continue;
        while (s->token->lstrip && start > s->covered) {
            const uint8_t *end = (const uint8_t *)text + start, *p = before(text, end), *next;
            if (!(bpe_class(u, character(p, end, &next)) & BPE_SPACE)) break;
            start = (size_t)(p - (const uint8_t *)text);
        }
        while (s->token->rstrip && stop < len) {
            const uint8_t *next;
            if (!(bpe_class(u, character((const uint8_t *)text + stop, (const uint8_t *)text + len, &next)) & BPE_SPACE)) break;
            stop = (size_t)(next - (const uint8_t *)text);
        }
        s->gap_at = s->covered;
        s->gap_len = start > s->covered ? start - s->covered : 0;
        s->covered = stop;
        return 1;
    }
    s->gap_at = s->covered;
    s->gap_len = len > s->covered ? len - s->covered : 0;
    return 0;
}
