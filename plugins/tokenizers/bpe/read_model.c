/* read_model.c: "model" of a tokenizer.json, and vocab.json with merges.txt. */
#include <stdio.h>
#include "tokenizer.h"

enum { AFFIX_MAX = 32 /* bytes of continuing_subword_prefix and of end_of_word_suffix */ };

static int read_vocab(bpe_tokenizer *t, const bpe_at *vocab)
{
    const bpe_doc *d = vocab->doc;
    uint32_t top = 0, id, at, n;
    size_t text = 0, longest = 0;
    int rc = bpe_want(vocab, BPE_OBJECT);
    if (rc) return rc;
    n = bpe_node_of(vocab)->len;
    for (uint32_t i = 0, k = vocab->node + 1; rc == CO_OK && i < n; i++, k = d->nodes[k + 1].next) {
        const bpe_at value = {d, k + 1, vocab, bpe_text_of(d, &d->nodes[k]), 0};
        /* far beyond the number of tokens an id is a mistake, and would cost its size in memory */
        rc = bpe_uint(&value, 8 * n + 65536, &id);
        if (id > top) top = id;
        text += d->nodes[k].len;
        if (d->nodes[k].len > longest) longest = d->nodes[k].len;
    }
    if (rc == CO_OK && n == 0) rc = bpe_refuse(vocab, CO_E_FORMAT, "no tokens");
    if (rc == CO_OK) rc = bpe_vocab_open(t->host, &t->model.vocab, n, top + 1, text + 2 * longest + 256, t->steps.byte_level);
    at = vocab->node + 1;
    for (uint32_t i = 0; rc == CO_OK && i < n; i++, at = d->nodes[at + 1].next) {
        const bpe_at value = {d, at + 1, vocab, bpe_text_of(d, &d->nodes[at]), 0};
        rc = bpe_uint(&value, top, &id);
        if (rc) break;
        switch (bpe_vocab_add(&t->model.vocab, bpe_text_of(d, &d->nodes[at]), d->nodes[at].len, id)) {
        case BPE_TEXT_TWICE: rc = bpe_refuse(&value, CO_E_FORMAT, "this token stands here twice"); break;
        case BPE_ID_TWICE: rc = bpe_refuse(&value, CO_E_FORMAT, "id %u is another token's already", id); break;
        case BPE_ADDED: break;
        }
    }
    return rc;
}

static uint32_t last_character(const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *)text + len - 1;
    while (p > (const uint8_t *)text && (*p & 0xC0) == 0x80) p--;
    return bpe_utf8_next(&p);
}

/* One merge; CO_E_FORMAT without a message if some token of it is not there. */
static int add_merge(bpe_tokenizer *t, const char *left, size_t left_len, const char *right, size_t right_len, const uint8_t *tied)
{
    bpe_model *m = &t->model;
    uint32_t ids[3];
    int rc = CO_OK;
    bpe_vocab_find_merge(&m->vocab, left, left_len, right, right_len, m->prefix_len, ids);
    if (ids[0] == BPE_NO_ID || ids[1] == BPE_NO_ID || ids[2] == BPE_NO_ID) return CO_E_FORMAT;
    bpe_merges_add(&m->merges, ids[0], ids[1], ids[2]);
    if (tied[ids[0]] || tied[ids[1]]) m->cuts = 0;
    if (m->cuts && m->byte_level) {
        size_t n, k;
        const char *a = bpe_vocab_bytes(&m->vocab, ids[0], &n), *b = bpe_vocab_bytes(&m->vocab, ids[1], &k);
        rc = bpe_merges_add_byte_joint(&m->merges, (const uint8_t *)a, n, (const uint8_t *)b, k);
    } else if (m->cuts) {
        const uint8_t *p = (const uint8_t *)right;
        rc = bpe_merges_add_joint(&m->merges, last_character(left, left_len), bpe_utf8_next(&p));
    }
    return rc;
}

static int read_merge(bpe_tokenizer *t, const bpe_at *a, const uint8_t *tied)
{
    const bpe_doc *d = a->doc;
    const bpe_node *n = bpe_node_of(a);
    const char *left = bpe_text_of(d, n), *right, *space;
    size_t left_len, right_len;
    if (n->kind == BPE_STRING) {
        space = memchr(left, ' ', n->len);
        if (!space || memchr(space + 1, ' ', n->len - (size_t)(space + 1 - left)))
            return bpe_refuse(a, CO_E_FORMAT, "\"%.80s\": two tokens with one space between were expected", left);
        left_len = (size_t)(space - left);
        right = space + 1;
        right_len = n->len - left_len - 1;
    } else {
        const bpe_node *one = n + 1, *two = n + 2; /* strings take one node each */
        int rc = bpe_want(a, BPE_ARRAY);
        if (rc) return rc;
        if (n->len != 2 || one->kind != BPE_STRING || two->kind != BPE_STRING) return bpe_refuse(a, CO_E_FORMAT, "two tokens were expected");
        left = bpe_text_of(d, one), left_len = one->len;
        right = bpe_text_of(d, two), right_len = two->len;
    }
    if (!left_len || !right_len) return bpe_refuse(a, CO_E_FORMAT, "an empty token");
    int rc = add_merge(t, left, left_len, right, right_len, tied);
    if (rc != CO_E_FORMAT) return rc;
    return bpe_refuse(a, rc, "\"%.*s\", \"%.*s\" or what they make is not in the vocabulary", (int)(left_len < 60 ? left_len : 60), left,
                      (int)(right_len < 60 ? right_len : 60), right);
}

/* <0x00> to <0xFF>: those that are there; whether all are. */
static int find_fallback(bpe_model *m)
{
    int all = 1;
    for (int b = 0; b < 256; b++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", b);
        m->byte_id[b] = bpe_vocab_find_text(&m->vocab, text, 6);
        all &= m->byte_id[b] != BPE_NO_ID;
    }
    return all;
}

/* Settings that need the vocabulary; whether words may be cut before merging. */
static int settle(bpe_tokenizer *t, const bpe_at *model, const char *unk, size_t unk_len)
{
    bpe_model *m = &t->model;
    int all_bytes = m->byte_fallback && find_fallback(m);
    m->unk = unk ? bpe_vocab_find_text(&m->vocab, unk, unk_len) : BPE_NO_ID;
    if (unk && m->unk == BPE_NO_ID) return bpe_refuse(model, CO_E_FORMAT, "unk_token \"%.60s\" is not in the vocabulary", unk);
    if (m->byte_level) {
        all_bytes = 1;
        for (int b = 0; b < 256; b++) {
            const uint8_t one = (uint8_t)b;
            if (bpe_vocab_find(&m->vocab, &one, 1) != BPE_NO_ID) continue;
            if (m->byte_fallback) return bpe_refuse(model, CO_E_UNSUPPORTED, "byte_fallback behind ByteLevel, with no token for byte 0x%02X", b);
            all_bytes = 0;
        }
        m->byte_fallback = 0; /* nothing is ever missing */
    }
    /* a character that vanishes, or joins its neighbour, would have to be looked at across a cut */
    m->cuts = !m->prefix && !m->suffix && (m->byte_level || !m->ignore_merges) &&
              (all_bytes || (!m->byte_fallback && m->unk != BPE_NO_ID && !m->fuse_unk));
    return CO_OK;
}

static int copy_affix(bpe_tokenizer *t, const bpe_at *model, const char *key, char **copy, const char **out, size_t *out_len)
{
    const char *text;
    size_t len;
    int rc = bpe_get_string(model, key, "", &text, &len);
    if (rc || len == 0) return rc;
    if (len > AFFIX_MAX) return bpe_refuse(model, CO_E_UNSUPPORTED, "%s of more than %d bytes", key, AFFIX_MAX);
    *copy = t->host->alloc(t->host, len + 1, 1);
    if (!*copy) return CO_E_NOMEM;
    memcpy(*copy, text, len);
    if (t->steps.byte_level && !bpe_bytes_of_text(text, len, *copy, &len))
        return bpe_refuse(model, CO_E_UNSUPPORTED, "%s \"%s\" behind ByteLevel: it stands for no bytes", key, text);
    *out = *copy;
    *out_len = len;
    return CO_OK;
}

/* Tokens that stand for something else than their text: where merges touch those, words are not cut. */
static uint8_t *tied_tokens(const bpe_tokenizer *t)
{
    const bpe_model *m = &t->model;
    uint8_t *tied = t->host->alloc(t->host, (size_t)m->vocab.n_ids + 1, 1);
    if (!tied) return NULL;
    if (m->unk != BPE_NO_ID) tied[m->unk] = 1;
    for (int b = 0; m->byte_fallback && b < 256; b++)
        if (m->byte_id[b] != BPE_NO_ID) tied[m->byte_id[b]] = 1;
    return tied;
}

static int read_settings(bpe_tokenizer *t, const bpe_at *model)
{
    static const char *const keys[] = {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                                       "byte_fallback", "ignore_merges", "vocab", "merges", NULL};
    bpe_model *m = &t->model;
    const char *type;
    size_t len;
    bpe_at at;
    int rc = bpe_want(model, BPE_OBJECT);
    if (rc == CO_OK) rc = bpe_get_string(model, "type", "BPE", &type, &len);
    if (rc) return rc;
    if (strcmp(type, "BPE") != 0) {
        bpe_member(model, "type", &at);
        return bpe_refuse(&at, CO_E_UNSUPPORTED, "\"%s\" is not offered, BPE is; if a tokenizer.model lies beside this file, [tokenizer] name = "
                          "sentencepiece reads it", type);
    }
    rc = bpe_keys(model, keys);
    if (rc == CO_OK && bpe_member(model, "dropout", &at)) {
        const bpe_node *n = bpe_node_of(&at);
        for (uint32_t i = 0; i < n->len; i++)
            if (bpe_text_of(at.doc, n)[i] != '0' && bpe_text_of(at.doc, n)[i] != '.') rc = CO_E_UNSUPPORTED;
        if (n->kind != BPE_NUMBER || rc) return bpe_refuse(&at, CO_E_UNSUPPORTED, "dropout makes ids random and is not offered; set it to null");
    }
    m->host = t->host;
    m->byte_level = t->steps.byte_level;
    if (rc == CO_OK) rc = bpe_get_bool(model, "fuse_unk", 0, &m->fuse_unk);
    if (rc == CO_OK) rc = bpe_get_bool(model, "byte_fallback", 0, &m->byte_fallback);
    if (rc == CO_OK) rc = bpe_get_bool(model, "ignore_merges", 0, &m->ignore_merges);
    if (rc == CO_OK) rc = copy_affix(t, model, "continuing_subword_prefix", &t->prefix, &m->prefix, &m->prefix_len);
    return rc ? rc : copy_affix(t, model, "end_of_word_suffix", &t->suffix, &m->suffix, &m->suffix_len);
}

int bpe_read_model(bpe_tokenizer *t, const bpe_at *model)
{
    bpe_at vocab, merges, one;
    const char *unk;
    size_t unk_len;
    uint8_t *tied = NULL;
    int rc = read_settings(t, model);
    if (rc == CO_OK) rc = bpe_get_string(model, "unk_token", NULL, &unk, &unk_len);
    if (rc == CO_OK) rc = bpe_need_member(model, "vocab", &vocab);
    if (rc == CO_OK) rc = bpe_need_member(model, "merges", &merges);
    if (rc == CO_OK) rc = bpe_want(&merges, BPE_ARRAY);
    if (rc == CO_OK) rc = read_vocab(t, &vocab);
    if (rc == CO_OK) rc = settle(t, model, unk, unk_len);
    if (rc == CO_OK) rc = bpe_merges_open(t->host, &t->model.merges, bpe_node_of(&merges)->len);
    if (rc == CO_OK && !(tied = tied_tokens(t))) rc = CO_E_NOMEM;
    for (uint32_t i = 0; rc == CO_OK && bpe_element(&merges, i, &one); i++) rc = read_merge(t, &one, tied);
    t->host->free(t->host, tied);
    if (rc == CO_OK) bpe_model_prepare(&t->model);
    return rc;
}

/* One line of merges.txt. */
static int read_line(bpe_tokenizer *t, const char *line, size_t len, const uint8_t *tied)
{
    const char *space = memchr(line, ' ', len);
    const size_t left = space ? (size_t)(space - line) : 0;
    if (!left || left + 1 == len || memchr(space + 1, ' ', len - left - 1)) return CO_E_FORMAT;
    return add_merge(t, line, left, space + 1, len - left - 1, tied);
}

static int read_lines(bpe_tokenizer *t, const char *name, const char *text, size_t len, const uint8_t *tied)
{
    const char *end = text + len;
    uint32_t number = 1;
    int rc = CO_OK;
    for (const char *line = text, *next; rc == CO_OK && line < end; line = next, number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        next = stop ? stop + 1 : end;
        if (!stop) stop = end;
        if (stop > line && stop[-1] == '\r') stop--;
        if (stop == line || (stop - line >= 8 && memcmp(line, "#version", 8) == 0)) continue;
        rc = read_line(t, line, (size_t)(stop - line), tied);
        if (rc == CO_E_FORMAT)
            rc = CO_FAIL(t->host, rc, "%s:%u: \"%.*s\": two tokens of the vocabulary with one space between were expected, and it must hold what "
                         "they make", name, number, (int)(stop - line < 120 ? stop - line : 120), line);
    }
    return rc;
}

int bpe_read_vocab_files(bpe_tokenizer *t, const bpe_doc *vocab, const char *merges_name, const char *merges, size_t merges_len)
{
    const bpe_at root = bpe_root(vocab);
    const size_t whole = bpe_utf8_valid(merges, merges_len);
    uint32_t lines = 1;
    uint8_t *tied = NULL;
    int rc = CO_OK;
    t->model.host = t->host;
    t->model.byte_level = t->steps.byte_level;
    for (size_t i = 0; i < merges_len; i++) lines += merges[i] == '\n';
    if (whole != merges_len) rc = CO_FAIL(t->host, CO_E_FORMAT, "%s: byte %zu is not UTF-8", merges_name, whole);
    if (rc == CO_OK) rc = read_vocab(t, &root);
    if (rc == CO_OK) rc = settle(t, &root, NULL, 0);
    if (rc == CO_OK) rc = bpe_merges_open(t->host, &t->model.merges, lines);
    if (rc == CO_OK && !(tied = tied_tokens(t))) rc = CO_E_NOMEM;
    if (rc == CO_OK) rc = read_lines(t, merges_name, merges, merges_len, tied);
    t->host->free(t->host, tied);
    if (rc == CO_OK) bpe_model_prepare(&t->model);
    return rc;
}
