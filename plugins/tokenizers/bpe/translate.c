/* translate.c: Oniguruma's syntax (Ruby's) to PCRE2's. */
#include <stdio.h>
#include <string.h>
#include "regex.h"
#include "unicode.h"

typedef struct translation {
    const co_host *host;
    const char *at, *end;
    bpe_bytes *out;
    char *why;
    int depth;
} translation;

/* A class under way: what is in it, and the sets of which it holds what they do not. */
typedef struct set {
    bpe_bytes in;
    bpe_bytes outside[8];
    int n_outside;
} set;

static int refused(translation *t, int code, const char *what, const char *at)
{
    size_t n = (size_t)(t->end - at) < 16 ? (size_t)(t->end - at) : 16;
    while (n > 0 && n < (size_t)(t->end - at) && ((unsigned char)at[n] & 0xC0) == 0x80) n--;
    snprintf(t->why, 200, "%s at \"%.*s\"", what, (int)n, at);
    return code;
}

static int put(translation *t, bpe_bytes *to, const char *text) { return bpe_bytes_add(t->host, to, text, strlen(text)); }

static int put_char(translation *t, bpe_bytes *to, uint32_t c)
{
    char text[16];
    snprintf(text, sizeof text, "\\x{%X}", c);
    return put(t, to, text);
}

/* All characters whose class passes: any of `categories` or all of `flags`. */
static int put_matching(translation *t, bpe_bytes *to, uint32_t categories, uint8_t flags)
{
    uint32_t first, last, open = 0, until = 0;
    uint8_t cls;
    int rc = CO_OK, any = 0;
    for (size_t i = 0; rc == CO_OK; i++) {
        const int there = bpe_unicode_run(i, &first, &last, &cls);
        const int in = there && (bpe_in(cls, categories) || (flags && (cls & flags) == flags));
        if (in && any && first == until + 1) {
            until = last;
            continue;
        }
        if ((in || !there) && any) {
            char text[32];
            if (open == until) snprintf(text, sizeof text, "\\x{%X}", open);
            else snprintf(text, sizeof text, "\\x{%X}-\\x{%X}", open, until);
            rc = put(t, to, text);
        }
        if (!there) break;
        if (in) any = 1, open = first, until = last;
    }
    return rc;
}

/* Characters of Unicode 15 and 16, which PCRE2 may take for unassigned, in these categories. Found by what it knows
 * least about: the table of ours says what is assigned, `known` what 14 already had. */
static int put_new(translation *t, bpe_bytes *to, uint32_t categories)
{
    /* blocks and single characters assigned after Unicode 14 */
    static const struct { uint32_t first, last; } fresh[] = {
        {0x897, 0x897}, {0xCF3, 0xCF3}, {0xECE, 0xECE}, {0x1B4E, 0x1B4F}, {0x1B7F, 0x1B7F}, {0x1C89, 0x1C8A}, {0x2427, 0x2429},
        {0x2FFC, 0x2FFF}, {0x31E4, 0x31E5}, {0x31EF, 0x31EF}, {0xA7CB, 0xA7CD}, {0xA7DA, 0xA7DC}, {0x105C0, 0x105F3},
        {0x10D40, 0x10D8F}, {0x10EC2, 0x10EC4}, {0x10EFC, 0x10EFF}, {0x1123F, 0x11241}, {0x11380, 0x113E2}, {0x116D0, 0x116E3},
        {0x11B00, 0x11B09}, {0x11BC0, 0x11BF9}, {0x11F00, 0x11F5A}, {0x1342F, 0x1342F}, {0x13439, 0x13455}, {0x13460, 0x143FA},
        {0x16100, 0x16139}, {0x16D40, 0x16D79}, {0x18CFF, 0x18CFF}, {0x1B132, 0x1B132}, {0x1B155, 0x1B155}, {0x1CC00, 0x1CEB3},
        {0x1D2C0, 0x1D2D3}, {0x1DF25, 0x1DF2A}, {0x1E030, 0x1E08F}, {0x1E4D0, 0x1E4F9}, {0x1E5D0, 0x1E5FF}, {0x1F6DC, 0x1F6DC},
        {0x1F774, 0x1F776}, {0x1F77B, 0x1F77F}, {0x1F7D9, 0x1F7D9}, {0x1F8B2, 0x1F8C1}, {0x1FA75, 0x1FAFF}, {0x1FBCB, 0x1FBEF},
        {0x2B739, 0x2B739}, {0x2EBF0, 0x2EE5D}, {0x31350, 0x323AF}};
    uint32_t first, last;
    uint8_t cls;
    int rc = CO_OK;
    for (size_t i = 0, k = 0; rc == CO_OK && k < sizeof fresh / sizeof fresh[0] && bpe_unicode_run(i, &first, &last, &cls); i++) {
        while (k < sizeof fresh / sizeof fresh[0] && fresh[k].last < first) k++;
        if (!bpe_in(cls, categories)) continue;
        for (size_t j = k; rc == CO_OK && j < sizeof fresh / sizeof fresh[0] && fresh[j].first <= last; j++) {
            char text[32];
            snprintf(text, sizeof text, "\\x{%X}-\\x{%X}", fresh[j].first > first ? fresh[j].first : first,
                     fresh[j].last < last ? fresh[j].last : last);
            rc = put(t, to, text);
        }
    }
    return rc;
}

/* \p{Name}: general categories mean those of Unicode 16, scripts what PCRE2 knows of them. */
static int put_property(translation *t, bpe_bytes *to, const char *name, size_t len, const char *at)
{
    static const char names[] = "CnLuLlLtLmLoMnMcMeNdNlNoPcPdPsPePiPfPoSmScSkSoZsZlZpCcCfCoCs";
    uint32_t categories = 0;
    char text[48];
    for (uint32_t i = 0; i < BPE_CATEGORIES; i++)
        if (names[2 * i] == name[0] && (len == 1 || (len == 2 && names[2 * i + 1] == name[1]))) categories |= 1u << i;
    if (categories & (1u << BPE_CN | 1u << BPE_CS)) return refused(t, CO_E_UNSUPPORTED, "unassigned characters as a class", at);
    if (!categories) {
        static const char *const scripts[] = {"Han", "Hiragana", "Katakana", "Hangul", "Latin", "Greek", "Cyrillic", "Arabic", "Hebrew",
                                              "Thai", "Devanagari", NULL};
        int k = 0;
        while (scripts[k] && (strlen(scripts[k]) != len || memcmp(scripts[k], name, len) != 0)) k++;
        if (!scripts[k]) return refused(t, CO_E_UNSUPPORTED, "a property that is no general category", at);
    }
    snprintf(text, sizeof text, "\\p{%.*s}", (int)len, name);
    int rc = put(t, to, text);
    return rc || !categories ? rc : put_new(t, to, categories);
}

static int hex_digits(translation *t, size_t most, uint32_t *out)
{
    size_t n = 0;
    for (*out = 0; n < most && t->at < t->end; n++, t->at++) {
        const char c = *t->at;
        const int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (v < 0) break;
        *out = *out << 4 | (uint32_t)v;
    }
    return n > 0 && *out <= 0x10FFFF && !(*out >= 0xD800 && *out < 0xE000);
}

typedef enum escape { ESCAPE_CHAR, ESCAPE_SET, ESCAPE_OUTSIDE, ESCAPE_ASSERTION, ESCAPE_BAD } escape;

/* t->at is behind the backslash. One character in *c; or a set, put into `in`, or all that is not in what was put. */
static int read_escape(translation *t, escape *kind, uint32_t *c, bpe_bytes *in)
{
    static const char from[] = "trnfvae", to[] = "\t\r\n\f\v\a\033";
    const char *start = t->at - 1;
    if (t->at == t->end) return refused(t, CO_E_FORMAT, "a backslash at the end", start);
    const char e = *t->at++;
    const char *k = strchr(from, e);
    *kind = ESCAPE_CHAR;
    if (k) return *c = (uint32_t)(unsigned char)to[k - from], CO_OK;
    if (e == 'x' && t->at < t->end && *t->at == '{') {
        t->at++;
        if (!hex_digits(t, 6, c) || t->at == t->end || *t->at != '}') return refused(t, CO_E_FORMAT, "a bad character number", start);
        t->at++;
        return CO_OK;
    }
    if (e == 'x' || e == 'u') {
        const char *digits = t->at;
        if (!hex_digits(t, e == 'x' ? 2 : 4, c) || (e == 'u' && t->at != digits + 4))
            return refused(t, CO_E_FORMAT, "a bad character number", start);
        if (e == 'x' && *c >= 0x80) return refused(t, CO_E_UNSUPPORTED, "a byte that is not a character", start);
        return CO_OK;
    }
    if (strchr("sSwWdD", e)) {
        *kind = e < 'a' ? ESCAPE_OUTSIDE : ESCAPE_SET;
        return e == 's' || e == 'S' ? put_matching(t, in, 0, BPE_SPACE)
             : e == 'w' || e == 'W' ? put_matching(t, in, 0, BPE_WORD) : put_property(t, in, "Nd", 2, start);
    }
    if (e == 'p' || e == 'P') {
        const char *name = t->at + 1, *close = t->at < t->end && *t->at == '{' ? memchr(name, '}', (size_t)(t->end - name)) : NULL;
        if (!close) return refused(t, CO_E_FORMAT, "a property without its name in braces", start);
        const int not = *name == '^';
        *kind = (e == 'P') != not ? ESCAPE_OUTSIDE : ESCAPE_SET;
        t->at = close + 1;
        return put_property(t, in, name + not, (size_t)(close - name) - (size_t)not, start);
    }
    if (e == 'A' || e == 'z') return *kind = ESCAPE_ASSERTION, CO_OK;
    if (((unsigned char)e < 0x80 && strchr("bBGhHkgKRXZyYNO0123456789cCMuUQE", e)) || (e >= 'a' && e <= 'z') || (e >= 'A' && e <= 'Z'))
        return refused(t, CO_E_UNSUPPORTED, "an escape that is not offered", start);
    const uint8_t *p = (const uint8_t *)t->at - 1;
    *c = bpe_utf8_next(&p);
    t->at = (const char *)p;
    return CO_OK;
}

static void free_set(translation *t, set *s)
{
    bpe_bytes_free(t->host, &s->in);
    for (int i = 0; i < s->n_outside; i++) bpe_bytes_free(t->host, &s->outside[i]);
}

static int add_outside(translation *t, set *s, const bpe_bytes *of, const char *at)
{
    if (s->n_outside == 8) return refused(t, CO_E_UNSUPPORTED, "too many negated sets in one class", at);
    return bpe_bytes_add(t->host, &s->outside[s->n_outside++], of->data, of->len);
}

static int read_set(translation *t, set *s, int *negated);

/* A class inside a class: its members are the outer one's too. */
static int read_inner(translation *t, set *s, const char *start)
{
    set inner = {0};
    int negated, rc = read_set(t, &inner, &negated);
    if (rc == CO_OK && negated && inner.n_outside)
        rc = refused(t, CO_E_UNSUPPORTED, "a negated class of negated sets inside a class", start);
    if (rc == CO_OK && negated) rc = add_outside(t, s, &inner.in, start);
    else if (rc == CO_OK) {
        rc = bpe_bytes_add(t->host, &s->in, inner.in.data, inner.in.len);
        for (int i = 0; rc == CO_OK && i < inner.n_outside; i++) rc = add_outside(t, s, &inner.outside[i], start);
    }
    free_set(t, &inner);
    return rc;
}

/* One member: a character in *c, or a set that went into s (then *single is 0). */
static int read_member(translation *t, set *s, uint32_t *c, int *single)
{
    const char *start = t->at;
    *single = 1;
    if (*t->at == '\\') {
        bpe_bytes in = {0};
        escape kind;
        t->at++;
        int rc = read_escape(t, &kind, c, &in);
        if (rc == CO_OK && kind == ESCAPE_ASSERTION) rc = refused(t, CO_E_UNSUPPORTED, "an assertion in a class", start);
        if (rc == CO_OK && kind != ESCAPE_CHAR) {
            *single = 0;
            rc = kind == ESCAPE_SET ? bpe_bytes_add(t->host, &s->in, in.data, in.len) : add_outside(t, s, &in, start);
        }
        bpe_bytes_free(t->host, &in);
        return rc;
    }
    if (*t->at == '[') {
        if (t->at + 1 < t->end && t->at[1] == ':') return refused(t, CO_E_UNSUPPORTED, "a POSIX class", start);
        *single = 0;
        t->at++;
        return read_inner(t, s, start);
    }
    if (*t->at == '&' && t->at + 1 < t->end && t->at[1] == '&') return refused(t, CO_E_UNSUPPORTED, "an intersection of classes", start);
    const uint8_t *p = (const uint8_t *)t->at;
    *c = bpe_utf8_next(&p);
    t->at = (const char *)p;
    return CO_OK;
}

/* t->at is behind the "["; afterwards behind the "]". */
static int read_set(translation *t, set *s, int *negated)
{
    const char *start = t->at - 1;
    int rc = CO_OK, first = 1;
    if (++t->depth > 32) return refused(t, CO_E_UNSUPPORTED, "classes nested too deeply", start);
    *negated = t->at < t->end && *t->at == '^';
    t->at += *negated;
    for (; rc == CO_OK; first = 0) {
        uint32_t low, high;
        int single;
        if (t->at == t->end) return refused(t, CO_E_FORMAT, "a class that does not end", start);
        if (*t->at == ']' && !first) break;
        if (*t->at == ']') return refused(t, CO_E_UNSUPPORTED, "an empty class, or \"]\" first in one", start);
        rc = read_member(t, s, &low, &single);
        if (rc || !single) continue;
        high = low;
        if (t->at + 1 < t->end && *t->at == '-' && t->at[1] != ']') {
            const char *dash = t->at++;
            if (*t->at == '[') return refused(t, CO_E_UNSUPPORTED, "a range that ends in a class", dash);
            rc = read_member(t, s, &high, &single);
            if (rc == CO_OK && (!single || high < low)) rc = refused(t, CO_E_FORMAT, "a range that is none", dash);
        }
        if (rc == CO_OK) rc = put_char(t, &s->in, low);
        if (rc == CO_OK && high != low) rc = put(t, &s->in, "-");
        if (rc == CO_OK && high != low) rc = put_char(t, &s->in, high);
    }
    t->at++;
    t->depth--;
    return rc;
}

static int put_bracketed(translation *t, const char *open, const bpe_bytes *in)
{
    int rc = put(t, t->out, open);
    if (rc == CO_OK) rc = bpe_bytes_add(t->host, t->out, in->data, in->len);
    return rc ? rc : put(t, t->out, "]");
}

static int write_set(translation *t, const set *s, int negated)
{
    int rc;
    if (!s->n_outside) return put_bracketed(t, negated ? "[^" : "[", &s->in);
    rc = put(t, t->out, negated ? "(?:(?!" : "(?:");
    if (rc == CO_OK && s->in.len) rc = put_bracketed(t, "[", &s->in);
    for (int i = 0; rc == CO_OK && i < s->n_outside; i++) {
        if (i || s->in.len) rc = put(t, t->out, "|");
        if (rc == CO_OK) rc = put_bracketed(t, "[^", &s->outside[i]);
    }
    if (rc) return rc;
    return put(t, t->out, negated ? ")[\\x{0}-\\x{10FFFF}])" : ")");
}

static int translate_class(translation *t)
{
    set s = {0};
    int negated;
    t->at++;
    int rc = read_set(t, &s, &negated);
    if (rc == CO_OK) rc = write_set(t, &s, negated);
    free_set(t, &s);
    return rc;
}

static int translate_escape(translation *t)
{
    bpe_bytes in = {0};
    escape kind;
    uint32_t c;
    const char *start = t->at++;
    int rc = read_escape(t, &kind, &c, &in);
    if (rc == CO_OK && kind == ESCAPE_CHAR) rc = put_char(t, t->out, c);
    else if (rc == CO_OK && kind == ESCAPE_ASSERTION) rc = bpe_bytes_add(t->host, t->out, start, 2);
    else if (rc == CO_OK) rc = put_bracketed(t, kind == ESCAPE_SET ? "[" : "[^", &in);
    bpe_bytes_free(t->host, &in);
    return rc;
}

/* "(" with what tells groups apart. */
static int translate_group(translation *t)
{
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:", NULL};
    const char *start = t->at;
    if (t->at + 1 == t->end || t->at[1] != '?') {
        t->at++;
        return put(t, t->out, "(?:"); /* nobody looks at captures */
    }
    for (int i = 0; known[i]; i++) {
        const size_t n = strlen(known[i]);
        if ((size_t)(t->end - t->at) < n || memcmp(t->at, known[i], n) != 0) continue;
        t->at += n;
        return put(t, t->out, known[i]);
    }
    return refused(t, CO_E_UNSUPPORTED, "a kind of group that is not offered", start);
}

/* {n,m} as a quantifier; a brace that is none stands for itself. Ruby has no possessive form of it. */
static int translate_brace(translation *t)
{
    const char *p = t->at + 1, *digits = p;
    int bounds = 0;
    while (p < t->end && *p >= '0' && *p <= '9') p++;
    bounds = p > digits;
    if (p < t->end && *p == ',') {
        digits = ++p;
        while (p < t->end && *p >= '0' && *p <= '9') p++;
        bounds = bounds || p > digits;
    }
    if (!bounds || p == t->end || *p != '}') {
        t->at++;
        return put(t, t->out, "\\{");
    }
    if (t->at[1] == ',') return refused(t, CO_E_UNSUPPORTED, "a repetition without a lower bound", t->at);
    if (p + 1 < t->end && p[1] == '+') return refused(t, CO_E_UNSUPPORTED, "a repetition of a repetition", t->at);
    const char *start = t->at;
    t->at = p + 1;
    return bpe_bytes_add(t->host, t->out, start, (size_t)(t->at - start));
}

int bpe_regex_translate(const co_host *h, const char *pattern, size_t len, bpe_bytes *out, char why[200])
{
    translation t = {.host = h, .at = pattern, .end = pattern + len, .out = out, .why = why};
    int rc = CO_OK;
    snprintf(why, 200, "out of memory");
    out->len = 0;
    while (rc == CO_OK && t.at < t.end) {
        switch (*t.at) {
        case '\\': rc = translate_escape(&t); break;
        case '[': rc = translate_class(&t); break;
        case '(': rc = translate_group(&t); break;
        case '{': rc = translate_brace(&t); break;
        case '.': t.at++, rc = put(&t, out, "[^\\x{A}]"); break;
        case '^': t.at++, rc = put(&t, out, "(?:(?<![^\\x{A}])(?!\\z(?<=\\x{A})))"); break;
        case '$': t.at++, rc = put(&t, out, "(?![^\\x{A}])"); break;
        case '#': t.at++, rc = put(&t, out, "\\#"); break;
        case '|': case ')': case '?': case '*': case '+': rc = bpe_bytes_add(h, out, t.at++, 1); break;
        default: {
            const uint8_t *p = (const uint8_t *)t.at;
            rc = put_char(&t, out, bpe_utf8_next(&p));
            t.at = (const char *)p;
        }
        }
    }
    return rc ? rc : bpe_bytes_add(h, out, "", 1); /* the NUL */
}
