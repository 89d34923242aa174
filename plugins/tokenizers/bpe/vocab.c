#include "vocab.h"
#include "unicode.h"

/* GPT-2's byte alphabet: printable Latin-1 stands for itself, the other 68 bytes are 256, 257, … in order. */
static int is_plain(uint32_t b) { return (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF); }

static int byte_of_char(uint32_t c)
{
    if (c < 256) return is_plain(c) ? (int)c : -1;
    if (c < 256 + 33) return (int)(c - 256); /* 0x00 to 0x20 */
    if (c < 256 + 67) return (int)(c - 256 - 33 + 0x7F); /* 0x7F to 0xA0 */
    return c == 256 + 67 ? 0xAD : -1;
}

int bpe_bytes_of_text(const char *text, size_t len, char *out, size_t *n)
{
    const uint8_t *p = (const uint8_t *)text, *end = p + len;
    for (*n = 0; p < end;) {
        const int b = byte_of_char(bpe_utf8_next(&p));
        if (b < 0) return 0;
        out[(*n)++] = (char)b;
    }
    return 1;
}

int bpe_vocab_open(const co_host *h, bpe_vocab *v, uint32_t n_tokens, uint32_t n_ids, size_t text, int byte_level)
{
    size_t slots = 64;
    int rc;
    *v = (bpe_vocab){.host = h, .n_ids = n_ids, .byte_level = byte_level};
    for (uint32_t b = 0, others = 256; b < 256; b++) v->chars[b] = (uint16_t)(is_plain(b) ? b : others++);
    while (slots < (size_t)n_tokens * 2) slots *= 2;
    v->mask = slots - 1;
    v->slots = h->alloc(h, slots * sizeof *v->slots, 64);
    v->tokens = h->alloc(h, ((size_t)n_ids + 1) * sizeof *v->tokens, 16);
    v->state = h->alloc(h, (size_t)n_ids + 1, 16);
    rc = v->slots && v->tokens && v->state ? bpe_bytes_reserve(h, &v->bytes, text + 1) : CO_E_NOMEM;
    if (rc) bpe_vocab_close(v);
    return rc;
}

void bpe_vocab_close(bpe_vocab *v)
{
    if (!v->host) return;
    v->host->free(v->host, v->slots);
    v->host->free(v->host, v->tokens);
    v->host->free(v->host, v->state);
    bpe_bytes_free(v->host, &v->bytes);
    *v = (bpe_vocab){0};
}

static uint64_t hash_of(const uint8_t *bytes, size_t len, int state)
{
    return bpe_hash(bytes, len) ^ (state == BPE_AS_TEXT ? 0x5555555500000000u : 0);
}

static uint64_t *slot_of(const bpe_vocab *v, const uint8_t *bytes, size_t len, int state, uint64_t h)
{
    for (uint64_t i = h & v->mask;; i = (i + 1) & v->mask) {
        const uint64_t s = v->slots[i];
        if (s == 0) return &v->slots[i];
        if ((s ^ h) >> 32) continue;
        const bpe_token *t = &v->tokens[(uint32_t)s - 1];
        if (t->len == len && v->state[(uint32_t)s - 1] == state && memcmp(v->bytes.data + t->at, bytes, len) == 0) return &v->slots[i];
    }
}

static uint32_t id_in(const uint64_t *slot) { return (uint32_t)*slot - 1; /* a free one: BPE_NO_ID */ }

bpe_vocab_added bpe_vocab_add(bpe_vocab *v, const char *text, size_t len, uint32_t id)
{
    char *to = v->bytes.data + v->bytes.len; /* room was made in bpe_vocab_open */
    int state = BPE_KEPT;
    size_t n = len;
    if (v->state[id] != BPE_ABSENT) return BPE_ID_TWICE;
    if (!v->byte_level || !bpe_bytes_of_text(text, len, to, &n)) {
        memcpy(to, text, len);
        n = len;
        if (v->byte_level) state = BPE_AS_TEXT;
    }
    const uint64_t h = hash_of((const uint8_t *)to, n, state);
    uint64_t *slot = slot_of(v, (const uint8_t *)to, n, state, h);
    if (*slot) return BPE_TEXT_TWICE;
    *slot = (h & 0xFFFFFFFF00000000u) | (id + 1);
    v->tokens[id] = (bpe_token){(uint32_t)v->bytes.len, (uint32_t)n};
    v->state[id] = (uint8_t)state;
    v->bytes.len += n;
    v->n_tokens++;
    return BPE_ADDED;
}

uint32_t bpe_vocab_find_hashed(const bpe_vocab *v, const uint8_t *bytes, size_t len, uint64_t hash)
{
    return id_in(slot_of(v, bytes, len, BPE_KEPT, hash));
}

uint32_t bpe_vocab_find(const bpe_vocab *v, const uint8_t *bytes, size_t len)
{
    return bpe_vocab_find_hashed(v, bytes, len, bpe_hash(bytes, len));
}

/* The token of these bytes, or, if they are text that stands for no bytes, of the text. */
static uint32_t find_as(const bpe_vocab *v, const char *p, size_t len, int state)
{
    return id_in(slot_of(v, (const uint8_t *)p, len, state, hash_of((const uint8_t *)p, len, state)));
}

uint32_t bpe_vocab_find_text(const bpe_vocab *v, const char *text, size_t len)
{
    char *out = v->bytes.data + v->bytes.len; /* spare room */
    size_t n;
    if (len > v->bytes.cap - v->bytes.len) return BPE_NO_ID; /* longer than any token */
    if (!v->byte_level) return find_as(v, text, len, BPE_KEPT);
    return bpe_bytes_of_text(text, len, out, &n) ? find_as(v, out, n, BPE_KEPT) : find_as(v, text, len, BPE_AS_TEXT);
}

void bpe_vocab_find_merge(const bpe_vocab *v, const char *a, size_t a_len, const char *b, size_t b_len, size_t skip, uint32_t ids[3])
{
    char *out = v->bytes.data + v->bytes.len;
    size_t n, m;
    ids[0] = ids[1] = ids[2] = BPE_NO_ID;
    if (a_len + b_len > v->bytes.cap - v->bytes.len || b_len < skip) return;
    if (v->byte_level && bpe_bytes_of_text(a, a_len, out, &n) && bpe_bytes_of_text(b, b_len, out + n, &m)) {
        ids[0] = find_as(v, out, n, BPE_KEPT);
        ids[1] = find_as(v, out + n, m, BPE_KEPT);
        if (skip) memmove(out + n, out + n + skip, m - skip);
        ids[2] = find_as(v, out, n + m - skip, BPE_KEPT);
        return;
    }
    ids[0] = bpe_vocab_find_text(v, a, a_len);
    ids[1] = bpe_vocab_find_text(v, b, b_len);
    memcpy(out, a, a_len);
    memcpy(out + a_len, b + skip, b_len - skip);
    ids[2] = find_as(v, out, a_len + b_len - skip, v->byte_level ? BPE_AS_TEXT : BPE_KEPT);
}
