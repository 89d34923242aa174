#include "normal.h"
#include <string.h>
#include <utf8proc.h>

typedef struct job {
    const bpe_normal_step *step;
    const bpe_unicode *u;
    bpe_words *w;
    bpe_bytes *out;
    size_t most; /* bytes; steps that replace can multiply a text, and several of them fill any memory */
} job;

static int add(job *j, const char *text, size_t len)
{
    if (j->out->len + len > j->most)
        return CO_FAIL(j->w->host, CO_E_FORMAT, "tokenizer: the normalizer makes more than %zu bytes of a text", j->most);
    return bpe_bytes_add(j->w->host, j->out, text, len);
}

/* Texts of these characters alone are their own NFC and NFD-free: most texts, so that utf8proc is seldom asked. */
static int is_composed(const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *)text, *end = p + len;
    while (p < end) {
        if (*p < 0xCC) { /* below U+0300 */
            p += bpe_utf8_len(*p);
            continue;
        }
        const uint32_t c = bpe_utf8_next(&p);
        if (!((c >= 0x4E00 && c < 0xA000) || (c >= 0x3000 && c < 0x3099) || (c >= 0x2010 && c < 0x2028) || (c >= 0xFF01 && c < 0xFFEF)))
            return 0;
    }
    return 1;
}

static int is_ascii(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] >= 0x80) return 0;
    return 1;
}

/* Characters newer than Unicode 9, which is what tokenizers normalises by: a model that was trained with it has seen them
 * untouched. */
static int is_newer(uint32_t c)
{
    static const struct { uint32_t first, last; } ranges[] = {
#include "normal.def"
    };
    size_t low = 0, high = sizeof ranges / sizeof ranges[0];
    while (low < high) {
        const size_t mid = (low + high) / 2;
        if (c < ranges[mid].first) high = mid;
        else if (c > ranges[mid].last) low = mid + 1;
        else return 1;
    }
    return 0;
}

/* Text without newer characters. */
static int unicode_part(job *j, const char *text, size_t len)
{
    static const int options[] = {[BPE_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE, [BPE_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
                                  [BPE_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
                                  [BPE_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT};
    const int how = options[j->step->kind];
    const co_host *h = j->w->host;
    utf8proc_int32_t *points = NULL;
    if (len == 0) return CO_OK;
    utf8proc_ssize_t n = utf8proc_decompose((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, NULL, 0, how), again = n;
    if (n >= 0) {
        int rc = bpe_grow(h, &j->w->symbols, &j->w->cap_symbols, (size_t)n + 1, sizeof *j->w->symbols);
        if (rc) return rc;
        points = (utf8proc_int32_t *)(void *)j->w->symbols;
        again = utf8proc_decompose((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, points, n, how);
    }
    if (again >= 0) again = utf8proc_reencode(points, again, how);
    if (again < 0) return CO_FAIL(h, CO_E_FORMAT, "tokenizer: a text of %zu bytes cannot be normalised: %s", len, utf8proc_errmsg(again));
    return add(j, (const char *)points, (size_t)again);
}

static int unicode_form(job *j, const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *)text, *end = p + len, *part = p;
    int rc = CO_OK;
    if (is_ascii(text, len) || (j->step->kind == BPE_NFC && is_composed(text, len))) return add(j, text, len);
    while (rc == CO_OK && p < end) {
        const uint8_t *here = p;
        const uint32_t c = bpe_utf8_next(&p);
        if (c < 0x7FD || !is_newer(c)) continue;
        rc = unicode_part(j, (const char *)part, (size_t)(here - part));
        if (rc == CO_OK) rc = add(j, (const char *)here, (size_t)(p - here));
        part = p;
    }
    return rc ? rc : unicode_part(j, (const char *)part, (size_t)(end - part));
}

/* The cased letters of Unicode 16 and 17, which utf8proc 2.8 (Unicode 15) lacks. */
static uint32_t lower_new(uint32_t c)
{
    if (c >= 0x10D50 && c <= 0x10D65) return c + 0x20;
    if (c >= 0x16EA0 && c <= 0x16EB8) return c + 0x1B;
    switch (c) {
    case 0xA7CE: return 0xA7CF;
    case 0xA7D2: return 0xA7D3;
    case 0xA7D4: return 0xA7D5;
    case 0x1C89: return 0x1C8A;
    case 0xA7CB: return 0x264;
    case 0xA7CC: return 0xA7CD;
    case 0xA7DA: return 0xA7DB;
    case 0xA7DC: return 0x19B;
    default: return c;
    }
}

static int each_character(job *j, const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *)text, *end = p + len;
    int rc = bpe_bytes_reserve(j->w->host, j->out, len + len / 2 + 4); /* at most two bytes become three */
    while (rc == CO_OK && p < end) {
        uint32_t c = bpe_utf8_next(&p);
        if (j->step->kind == BPE_STRIP_ACCENTS) {
            if (bpe_in(bpe_class(j->u, c), BPE_MARKS) ? !is_newer(c) : c == 0x1CF2 || c == 0x1CF3 /* marks in Unicode 9 */) continue;
        } else if (c < 0x80) {
            if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
        } else if (c == 0x130) { /* the one letter whose lower case is two characters */
            rc = add(j, "i\xCC\x87", 3);
            continue;
        } else {
            const uint32_t low = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
            c = low == c ? lower_new(c) : low;
        }
        rc = bpe_bytes_reserve(j->w->host, j->out, 4);
        if (rc == CO_OK) j->out->len += bpe_utf8_put(c, j->out->data + j->out->len);
    }
    return rc;
}

static int replace_literal(job *j, const char *text, size_t len)
{
    const bpe_normal_step *s = j->step;
    const char *end = text + len;
    int rc = CO_OK;
    while (rc == CO_OK && text < end) {
        const char *hit = s->from_len == 1 ? memchr(text, *s->from, (size_t)(end - text)) : memmem(text, (size_t)(end - text), s->from, s->from_len);
        rc = add(j, text, (size_t)((hit ? hit : end) - text));
        if (rc == CO_OK && hit) rc = add(j, s->to, s->to_len);
        text = hit ? hit + s->from_len : end;
    }
    return rc;
}

static int replace_matches(job *j, const char *text, size_t len)
{
    size_t from = 0, done = 0, start, end, last = SIZE_MAX;
    int rc = CO_OK;
    while (from <= len) {
        rc = bpe_regex_find(j->step->regex, &j->w->match, text, len, from, &start, &end);
        if (rc) break;
        if (start == end && end == last) {
            from += from < len ? bpe_utf8_len((uint8_t)text[from]) : 1;
            continue;
        }
        rc = add(j, text + done, start - done);
        if (rc == CO_OK) rc = add(j, j->step->to, j->step->to_len);
        if (rc) return rc;
        from = done = last = end;
    }
    return rc < 0 ? rc : add(j, text + done, len - done);
}

static int strip(job *j, const char *text, size_t len, int *at_start)
{
    const uint8_t *p = (const uint8_t *)text, *end = p + len, *first = end, *behind = p;
    while (p < end) {
        const uint8_t *here = p;
        if (bpe_class(j->u, bpe_utf8_next(&p)) & BPE_SPACE) continue;
        if (first == end) first = here;
        behind = p;
    }
    if (!j->step->left && behind > (const uint8_t *)text) first = (const uint8_t *)text;
    if (!j->step->right && first < end) behind = end;
    if (first > (const uint8_t *)text) *at_start = 0;
    return first < behind ? add(j, (const char *)first, (size_t)(behind - first)) : CO_OK;
}

int bpe_normal_run(const bpe_normal *n, const bpe_unicode *u, bpe_words *w, const char **text, size_t *len, int *at_start)
{
    const size_t most = 64 * *len + (1 << 16);
    int rc = CO_OK;
    for (size_t i = 0; rc == CO_OK && i < n->n && *len; i++) {
        job j = {&n->step[i], u, w, &w->normal[i & 1], most};
        j.out->len = 0;
        switch (j.step->kind) {
        case BPE_LOWERCASE: case BPE_STRIP_ACCENTS: rc = each_character(&j, *text, *len); break;
        case BPE_PREPEND:
            rc = bpe_bytes_reserve(w->host, j.out, *len + j.step->to_len);
            if (rc == CO_OK) rc = add(&j, j.step->to, j.step->to_len);
            if (rc == CO_OK) rc = add(&j, *text, *len);
            break;
        case BPE_REPLACE: rc = j.step->regex ? replace_matches(&j, *text, *len) : replace_literal(&j, *text, *len); break;
        case BPE_STRIP: rc = strip(&j, *text, *len, at_start); break;
        default: rc = unicode_form(&j, *text, *len); break;
        }
        *text = j.out->data;
        *len = j.out->len;
    }
    return rc;
}
