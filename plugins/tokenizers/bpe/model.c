#include "model.h"
#include "unicode.h"

void bpe_model_prepare(bpe_model *m)
{
    for (uint32_t b = 0; b < 256; b++) {
        const uint8_t one = (uint8_t)b;
        if (m->byte_level) m->byte_id[b] = bpe_vocab_find(&m->vocab, &one, 1);
        if (b < 128) m->ascii_id[b] = bpe_vocab_find(&m->vocab, &one, 1);
    }
}

void bpe_model_close(bpe_model *m)
{
    bpe_vocab_close(&m->vocab);
    bpe_merges_close(&m->merges);
}

/* Symbols of a word whose characters do not all have a token, or carry a prefix or suffix. */
static size_t start_hard(const bpe_model *m, uint32_t *out, const uint8_t *p, const uint8_t *end)
{
    uint8_t text[BPE_LARGE_WORD];
    uint32_t unk = BPE_NO_ID; /* one that waits: further unknown characters may join it */
    size_t n = 0;
    for (const uint8_t *first = p; p < end;) {
        size_t len = 0, one = m->byte_level ? 1 : bpe_utf8_len(*p), known = 0;
        if (p > first && m->prefix) memcpy(text, m->prefix, len = m->prefix_len);
        memcpy(text + len, p, one);
        len += one;
        p += one;
        if (p == end && m->suffix) memcpy(text + len, m->suffix, m->suffix_len), len += m->suffix_len;
        const uint32_t id = bpe_vocab_find(&m->vocab, text, len);
        if (id != BPE_NO_ID) {
            if (unk != BPE_NO_ID) out[n++] = unk;
            unk = BPE_NO_ID;
            out[n++] = id;
            continue;
        }
        if (m->byte_fallback) {
            while (known < len && m->byte_id[text[known]] != BPE_NO_ID) known++;
            for (size_t i = 0; known == len && i < len; i++) out[n++] = m->byte_id[text[i]];
            if (known == len) continue;
        }
        if (unk != BPE_NO_ID && !m->fuse_unk) out[n++] = unk;
        unk = m->unk;
    }
    if (unk != BPE_NO_ID) out[n++] = unk;
    return n;
}

/* Symbols of a word; 0 if start_hard is needed. */
static size_t start_easy(const bpe_model *m, uint32_t *out, const uint8_t *p, const uint8_t *end)
{
    size_t n = 0;
    if (m->prefix || m->suffix) return 0;
    while (p < end) {
        uint32_t id;
        if (m->byte_level) {
            id = m->byte_id[*p++];
        } else if (*p < 0x80) {
            id = m->ascii_id[*p++];
        } else {
            const size_t one = bpe_utf8_len(*p);
            id = bpe_vocab_find(&m->vocab, p, one);
            p += one;
        }
        if (id == BPE_NO_ID) return 0;
        out[n++] = id;
    }
    return n;
}

static int merge_word(const bpe_model *m, bpe_words *w, const uint8_t *word, size_t len, size_t *n)
{
    const size_t most = len * (1 + m->prefix_len) + m->suffix_len;
    int rc = bpe_grow(w->host, &w->symbols, &w->cap_symbols, most, sizeof *w->symbols);
    if (rc) return rc;
    *n = start_easy(m, w->symbols, word, word + len);
    if (!*n) *n = start_hard(m, w->symbols, word, word + len);
    if (*n <= BPE_SHORT) {
        int32_t ranks[BPE_SHORT];
        *n = bpe_merge_short(&m->merges, w->symbols, ranks, *n);
        return CO_OK;
    }
    return bpe_merge_long(w->host, &m->merges, w->symbols, *n, &w->merge, n);
}

static int append(bpe_words *w, const uint32_t *ids, size_t n)
{
    int rc = bpe_words_room(w, n);
    if (rc) return rc;
    if (n) memcpy(w->ids + w->n_ids, ids, n * sizeof *ids);
    w->n_ids += n;
    return CO_OK;
}

/* A part of a word whose ids differ from those of the same bytes as a word, if words may be tokens as they are. */
enum { PART = 0x80 };

static int encode_part(const bpe_model *m, bpe_words *w, const uint8_t *p, size_t len);

/* Behind the first part of a word that nothing joins to the rest, or its end. */
static const uint8_t *find_cut(const bpe_model *m, const uint8_t *p, const uint8_t *end)
{
    while (m->byte_level && p < end) {
        if (!bpe_is_three(*p++)) continue; /* nothing is known about where other characters meet */
        p += 2;
        if (p < end && bpe_is_three(*p) && !bpe_bytes_joined(&m->merges, p)) return p;
    }
    if (m->byte_level) return end;
    uint32_t before = bpe_utf8_next(&p);
    while (p < end) {
        const uint8_t *here = p;
        const uint32_t c = bpe_utf8_next(&p);
        if (!bpe_joined(&m->merges, before, c)) return here;
        before = c;
    }
    return end;
}

static int encode_new(const bpe_model *m, bpe_words *w, const uint8_t *word, size_t len, uint64_t hash, bpe_small *small, bpe_key key, int part)
{
    uint32_t whole = m->ignore_merges && !part ? bpe_vocab_find_hashed(&m->vocab, word, len, hash) : BPE_NO_ID;
    const uint32_t *ids = &whole;
    size_t n = 1;
    int rc = CO_OK;
    if (whole == BPE_NO_ID) {
        const uint8_t *end = word + len, *cut = m->cuts && !part ? find_cut(m, word, end) : end;
        if (cut < end) {
            for (; rc == CO_OK && word < end; word = cut, cut = word < end ? find_cut(m, word, end) : end)
                rc = encode_part(m, w, word, (size_t)(cut - word));
            return rc;
        }
        rc = merge_word(m, w, word, len, &n);
        if (rc) return rc;
        ids = w->symbols;
    }
    if (small && n <= BPE_SMALL_IDS) {
        *small = (bpe_small){.low = key.low, .high = key.high, .len = (uint8_t)(len | (size_t)part), .n = (uint8_t)n};
        memcpy(small->ids, ids, n * sizeof *ids);
    } else {
        bpe_words_remember(w, hash, word, len, ids, n);
    }
    return append(w, ids, n);
}

static inline int encode_any(const bpe_model *m, bpe_words *w, const uint8_t *word, size_t len, int part)
{
    const uint64_t seed = 0x9E3779B97F4A7C15u ^ len;
    const bpe_key key = len <= BPE_SMALL_WORD ? bpe_key_of(word, len) : (bpe_key){0, 0};
    uint64_t hash = len <= BPE_SMALL_WORD ? bpe_hash_key(key, seed) : bpe_hash(word, len);
    bpe_small *small = NULL;
    int rc;
    if (part) hash ^= 0x5A5A5A5A5A5A5A5Au;
    if (len <= BPE_SMALL_WORD) {
        small = &w->small[hash % BPE_SMALL_SLOTS];
        if (small->low == key.low && small->high == key.high && small->len == (len | (size_t)part)) {
            rc = bpe_words_room(w, BPE_SMALL_IDS);
            if (rc) return rc;
            memcpy(w->ids + w->n_ids, small->ids, sizeof small->ids);
            w->n_ids += small->n;
            return CO_OK;
        }
    }
    if (len <= BPE_LARGE_WORD) {
        rc = bpe_words_room(w, BPE_LARGE_WORD);
        if (rc) return rc;
        if (bpe_words_recall(w, hash, word, len)) return CO_OK;
    }
    return encode_new(m, w, word, len, hash, small, key, part);
}

int bpe_encode_word(const bpe_model *m, bpe_words *w, const uint8_t *word, size_t len)
{
    return len ? encode_any(m, w, word, len, 0) : CO_OK;
}

static int encode_part(const bpe_model *m, bpe_words *w, const uint8_t *p, size_t len) { return encode_any(m, w, p, len, PART); }

int bpe_encode_text(const bpe_model *m, bpe_words *w, const uint8_t *text, size_t len)
{
    const uint8_t *end = text + len;
    int rc = CO_OK;
    if (!m->cuts || m->byte_level) return bpe_encode_word(m, w, text, len);
    while (rc == CO_OK && text < end) {
        const uint8_t *cut = find_cut(m, text, end);
        rc = encode_part(m, w, text, (size_t)(cut - text));
        text = cut;
    }
    return rc;
}
