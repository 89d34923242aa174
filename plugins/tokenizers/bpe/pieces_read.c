/* pieces_read.c: "decoder" of a tokenizer.json, applied to each token once. */
#include "pieces.h"
#include "steps.h"
#include "unicode.h"

typedef enum decode_kind { REPLACE, BYTE_FALLBACK, FUSE, STRIP, METASPACE, BYTE_LEVEL } decode_kind;
typedef struct decode_step {
    decode_kind kind;
    const char *from, *to; /* of the file's text */
    size_t from_len, to_len;
    bpe_lead lead;
    uint32_t start, stop;
} decode_step;

enum { MAX_STEPS = 16, PIECE_MAX = 1 << 20, TEXT_MAX = 1 << 28 };
typedef struct plan {
    decode_step step[MAX_STEPS];
    size_t n;
    int joined; /* Fuse or ByteLevel was there: what follows sees the whole text */
    int bytes;  /* ByteFallback was there: what follows sees characters that bytes made */
} plan;

static int is_one_character(const char *text, size_t len) { return len > 0 && bpe_utf8_len((uint8_t)*text) == len; }

static int read_replace(const bpe_at *a, decode_step *s, int joined)
{
    static const char *const keys[] = {"type", "pattern", "content", NULL}, *const kinds[] = {"String", "Regex", NULL};
    bpe_at pattern, regex;
    int rc = bpe_keys(a, keys);
    if (rc == CO_OK) rc = bpe_need_member(a, "pattern", &pattern);
    if (rc == CO_OK) rc = bpe_keys(&pattern, kinds);
    if (rc == CO_OK && bpe_member(&pattern, "Regex", &regex)) return bpe_refuse(&regex, CO_E_UNSUPPORTED, "a regular expression in a decoder is not offered");
    if (rc == CO_OK) rc = bpe_need_string(&pattern, "String", &s->from, &s->from_len);
    if (rc == CO_OK) rc = bpe_need_string(a, "content", &s->to, &s->to_len);
    if (rc == CO_OK && joined && !is_one_character(s->from, s->from_len))
        rc = bpe_refuse(a, CO_E_UNSUPPORTED, "Replace of several characters behind a step that joins all tokens");
    s->kind = REPLACE;
    return rc;
}

static int read_strip(const bpe_at *a, decode_step *s, int joined, bpe_pieces *out)
{
    static const char *const keys[] = {"type", "content", "start", "stop", NULL};
    bpe_at start, stop;
    int rc = bpe_keys(a, keys);
    if (rc == CO_OK) rc = bpe_need_string(a, "content", &s->from, &s->from_len);
    if (rc == CO_OK && !is_one_character(s->from, s->from_len)) rc = bpe_refuse(a, CO_E_FORMAT, "content must be one character");
    if (rc == CO_OK) rc = bpe_need_member(a, "start", &start);
    if (rc == CO_OK) rc = bpe_need_member(a, "stop", &stop);
    if (rc == CO_OK) rc = bpe_uint(&start, 1 << 20, &s->start);
    if (rc == CO_OK) rc = bpe_uint(&stop, 1 << 20, &s->stop);
    s->kind = STRIP;
    if (rc || !joined) return rc;
    if (s->stop) return bpe_refuse(&stop, CO_E_UNSUPPORTED, "stripping the end of a text, which a stream does not know, is not offered");
    if (out->strip_most) return bpe_refuse(a, CO_E_UNSUPPORTED, "Strip twice");
    memcpy(out->strip, s->from, s->from_len);
    out->strip_len = s->from_len;
    out->strip_most = s->start;
    return CO_OK;
}

static int read_metaspace(const bpe_at *a, decode_step *s)
{
    static const char *const keys[] = {"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep", NULL};
    int split, rc = bpe_keys(a, keys);
    if (rc == CO_OK) rc = bpe_need_string(a, "replacement", &s->from, &s->from_len);
    if (rc == CO_OK && !is_one_character(s->from, s->from_len)) rc = bpe_refuse(a, CO_E_FORMAT, "replacement must be one character");
    if (rc == CO_OK) rc = bpe_lead_read(a, &s->lead);
    if (rc == CO_OK) rc = bpe_get_bool(a, "split", 1, &split); /* of the pre-tokenizer; means nothing here */
    s->kind = METASPACE;
    return rc;
}

static int read_byte_level(const bpe_at *a, decode_step *s)
{
    static const char *const keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL};
    s->kind = BYTE_LEVEL; /* the settings are the pre-tokenizer's, and mean nothing here */
    return bpe_keys(a, keys);
}

static int read_one(const bpe_at *a, plan *p, bpe_pieces *out, int depth);

static int read_sequence(const bpe_at *a, plan *p, bpe_pieces *out, int depth)
{
    static const char *const keys[] = {"type", "decoders", NULL};
    bpe_at list, one;
    int rc = bpe_keys(a, keys);
    if (rc == CO_OK) rc = bpe_need_member(a, "decoders", &list);
    if (rc == CO_OK) rc = bpe_want(&list, BPE_ARRAY);
    for (uint32_t i = 0; rc == CO_OK && bpe_element(&list, i, &one); i++) rc = read_one(&one, p, out, depth + 1);
    return rc;
}

static int read_one(const bpe_at *a, plan *p, bpe_pieces *out, int depth)
{
    static const char *const plain[] = {"type", NULL};
    const char *type;
    size_t len;
    bpe_at at;
    int rc = bpe_want(a, BPE_OBJECT);
    if (rc == CO_OK) rc = bpe_need_string(a, "type", &type, &len);
    if (rc) return rc;
    if (strcmp(type, "Sequence") == 0 && depth < 8) return read_sequence(a, p, out, depth);
    bpe_member(a, "type", &at);
    if (p->n == MAX_STEPS) return bpe_refuse(a, CO_E_UNSUPPORTED, "more than %d steps", MAX_STEPS);
    decode_step *s = &p->step[p->n++];
    if (p->bytes && !p->joined && strcmp(type, "Fuse") != 0)
        return bpe_refuse(&at, CO_E_UNSUPPORTED, "\"%s\" between ByteFallback and Fuse is not offered", type);
    if (strcmp(type, "Replace") == 0) return read_replace(a, s, p->joined);
    if (strcmp(type, "Strip") == 0) return read_strip(a, s, p->joined, out);
    if (strcmp(type, "Fuse") == 0) return s->kind = FUSE, p->joined = 1, bpe_keys(a, plain);
    if (p->joined) return bpe_refuse(&at, CO_E_UNSUPPORTED, "\"%s\" behind a step that joins all tokens is not offered", type);
    if (strcmp(type, "ByteFallback") == 0) return s->kind = BYTE_FALLBACK, p->bytes = 1, bpe_keys(a, plain);
    if (strcmp(type, "Metaspace") == 0) return read_metaspace(a, s);
    if (strcmp(type, "ByteLevel") == 0) return p->joined = 1, read_byte_level(a, s);
    return bpe_refuse(&at, CO_E_UNSUPPORTED, "\"%s\" is not offered; Replace, ByteFallback, Fuse, Strip, Metaspace, ByteLevel and Sequence are", type);
}

static int replace(const co_host *h, const bpe_bytes *in, bpe_bytes *out, const char *from, size_t from_len, const char *to, size_t to_len)
{
    const char *p = in->data, *end = p + in->len;
    int rc = CO_OK;
    while (rc == CO_OK && p < end) {
        const char *hit = from_len ? memmem(p, (size_t)(end - p), from, from_len) : NULL;
        rc = bpe_bytes_add(h, out, p, (size_t)((hit ? hit : end) - p));
        if (rc == CO_OK && hit) rc = bpe_bytes_add(h, out, to, to_len);
        p = hit ? hit + from_len : end;
        if (out->len > PIECE_MAX) return CO_FAIL(h, CO_E_FORMAT, "tokenizer: the decoder makes more than %d bytes of a token", PIECE_MAX);
    }
    return rc;
}

static int strip(const co_host *h, const bpe_bytes *in, bpe_bytes *out, const decode_step *s)
{
    const char *p = in->data;
    size_t len = in->len, n = s->from_len;
    for (uint32_t i = 0; i < s->start && len >= n && memcmp(p, s->from, n) == 0; i++) p += n, len -= n;
    for (uint32_t i = 0; i < s->stop && len >= n && memcmp(p + len - n, s->from, n) == 0; i++) len -= n;
    return bpe_bytes_add(h, out, p, len);
}

/* "<0x0A>" -> its byte, or -1 */
static int fallback_byte(const bpe_bytes *b)
{
    static const char hex[] = "0123456789ABCDEF0123456789abcdef";
    if (b->len != 6 || memcmp(b->data, "<0x", 3) != 0 || b->data[5] != '>' || !b->data[3] || !b->data[4]) return -1;
    const char *high = strchr(hex, b->data[3]), *low = strchr(hex, b->data[4]);
    return high && low ? (int)((high - hex) % 16 * 16 + (low - hex) % 16) : -1;
}

/* Takes the token's text in work[0] through the steps; the result is in *result. */
static int apply(const co_host *h, const plan *p, bpe_bytes work[2], int first, bpe_bytes **result)
{
    bpe_bytes *in = &work[0], *out = &work[1], *swap;
    int rc = CO_OK, joined = 0, bytes = 0;
    for (size_t i = 0; rc == CO_OK && i < p->n; i++) {
        const decode_step *s = &p->step[i];
        out->len = 0;
        if (s->kind == FUSE) joined = 1;
        if (bytes || s->kind == FUSE || (s->kind == STRIP && joined)) continue; /* a joined Strip is the whole text's, see above */
        switch (s->kind) {
        case REPLACE: rc = replace(h, in, out, s->from, s->from_len, s->to, s->to_len); break;
        case METASPACE: rc = replace(h, in, out, s->from, s->from_len, " ", first && s->lead != BPE_NEVER ? 0 : 1); break;
        case STRIP: rc = strip(h, in, out, s); break;
        case BYTE_FALLBACK: {
            const int b = fallback_byte(in);
            const char byte = (char)b;
            bytes = b >= 0;
            rc = bytes ? bpe_bytes_add(h, out, &byte, 1) : bpe_bytes_add(h, out, in->data, in->len);
            break;
        }
        default:
            joined = 1;
            rc = bpe_bytes_reserve(h, out, in->len + 1);
            if (rc == CO_OK && !bpe_bytes_of_text(in->data, in->len, out->data, &out->len)) {
                out->len = 0;
                rc = bpe_bytes_add(h, out, in->data, in->len);
            }
        }
        swap = in, in = out, out = swap;
    }
    *result = in;
    return rc;
}

/* The token's text as files write it. */
static int token_text(const co_host *h, const bpe_vocab *v, const bpe_added *a, const bpe_added_token *added, uint32_t id, bpe_bytes *out)
{
    size_t len;
    out->len = 0;
    if (added && added->normalized) return bpe_bytes_add(h, out, a->normal_texts.data + added->normal_at, added->normal_len);
    if (added) return bpe_bytes_add(h, out, added->text, added->len);
    const char *bytes = bpe_vocab_bytes(v, id, &len);
    if (!v->byte_level || v->state[id] == BPE_AS_TEXT) return bpe_bytes_add(h, out, bytes, len);
    int rc = bpe_bytes_reserve(h, out, 2 * len);
    for (size_t i = 0; rc == CO_OK && i < len; i++) out->len += bpe_utf8_put(v->chars[(uint8_t)bytes[i]], out->data + out->len);
    return rc;
}

static int fill(const co_host *h, const plan *p, const bpe_vocab *v, const bpe_added *a, const bpe_added_token *const *by_id, bpe_pieces *out, int first)
{
    bpe_bytes work[2] = {{0}}, *result;
    bpe_bytes *text = first ? &out->first_text : &out->text;
    uint32_t *at = h->alloc(h, ((size_t)out->n + 1) * sizeof *at, 16);
    int rc = at ? CO_OK : CO_E_NOMEM;
    *(first ? &out->first_at : &out->at) = at;
    for (uint32_t id = 0; rc == CO_OK && id < out->n; id++) {
        at[id] = (uint32_t)text->len;
        const int there = by_id[id] || (id < v->n_ids && v->state[id] != BPE_ABSENT);
        out->skip[id] = (uint8_t)(!there || (by_id[id] && by_id[id]->special));
        if (there) rc = token_text(h, v, a, by_id[id], id, &work[0]);
        if (rc == CO_OK && there) rc = apply(h, p, work, first, &result);
        if (rc == CO_OK && there) rc = bpe_bytes_add(h, text, result->data, result->len);
        if (rc == CO_OK && text->len > TEXT_MAX) rc = CO_FAIL(h, CO_E_FORMAT, "tokenizer: the decoder makes texts too long to hold");
    }
    if (rc == CO_OK) at[out->n] = (uint32_t)text->len;
    for (int i = 0; i < 2; i++) bpe_bytes_free(h, &work[i]);
    return rc;
}

int bpe_pieces_read(const co_host *h, const bpe_at *decoder, const bpe_vocab *v, const bpe_added *a, bpe_pieces *out)
{
    plan p = {.n = 0};
    int rc, meta = 0;
    *out = (bpe_pieces){.n = v->n_ids, .spaced = !decoder};
    for (size_t i = 0; i < a->n; i++)
        if (a->tokens[i].id >= out->n) out->n = a->tokens[i].id + 1;
    rc = decoder ? read_one(decoder, &p, out, 0) : CO_OK;
    if (rc) return rc;
    const bpe_added_token **by_id = h->alloc(h, ((size_t)out->n + 1) * sizeof *by_id, 16);
    out->skip = h->alloc(h, (size_t)out->n + 1, 1);
    if (!by_id || !out->skip) rc = CO_E_NOMEM;
    for (size_t i = 0; rc == CO_OK && i < a->n; i++) by_id[a->tokens[i].id] = &a->tokens[i];
    for (size_t i = 0; i < p.n; i++) meta |= p.step[i].kind == METASPACE && p.step[i].lead != BPE_NEVER;
    if (rc == CO_OK) rc = fill(h, &p, v, a, by_id, out, 0);
    if (rc == CO_OK && meta) rc = fill(h, &p, v, a, by_id, out, 1);
    h->free(h, by_id);
    return rc;
}
