#include "json.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "memory.h"
#include "unicode.h"

typedef struct reader {
    bpe_doc *d;
    char *at, *end, *line_start;
    size_t line;
    int depth;
} reader;

static int broken(const reader *r, const char *what)
{
    return CO_FAIL(r->d->host, CO_E_FORMAT, "%s:%zu:%zu: not JSON: %s", r->d->name, r->line, (size_t)(r->at - r->line_start) + 1, what);
}

static void skip_space(reader *r)
{
    for (;; r->at++) {
        if (*r->at == '\n') {
            r->line++;
            r->line_start = r->at + 1;
        } else if (*r->at != ' ' && *r->at != '\t' && *r->at != '\r') {
            return;
        }
    }
}

static int add_node(reader *r, bpe_kind kind, uint32_t *index)
{
    bpe_doc *d = r->d;
    int rc = bpe_grow(d->host, &d->nodes, &d->cap, d->n_nodes + 1, sizeof *d->nodes);
    if (rc) return rc;
    *index = (uint32_t)d->n_nodes++;
    d->nodes[*index] = (bpe_node){(uint32_t)kind, (uint32_t)(r->at - d->text), 0, *index + 1};
    return CO_OK;
}

static int hex4(const char *p, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++) {
        const char c = p[i];
        const int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (v < 0) return 0;
        *out = *out << 4 | (uint32_t)v;
    }
    return 1;
}

/* r->at is at the 'u' of an escape; writes the character at *out. */
static int read_unicode_escape(reader *r, char **out)
{
    uint32_t c, low;
    if (!hex4(r->at + 1, &c)) return broken(r, "\\u without four hexadecimal digits");
    if (c >= 0xDC00 && c < 0xE000) return broken(r, "half of a surrogate pair");
    if (c >= 0xD800 && c < 0xDC00) {
        if (r->at[5] != '\\' || r->at[6] != 'u' || !hex4(r->at + 7, &low) || low < 0xDC00 || low >= 0xE000)
            return broken(r, "half of a surrogate pair");
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        r->at += 6;
    }
    r->at += 5;
    *out += bpe_utf8_put(c, *out);
    return CO_OK;
}

static int read_escape(reader *r, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    r->at++;
    if (*r->at == 'u') return read_unicode_escape(r, out);
    const char *k = *r->at ? strchr(from, *r->at) : NULL;
    if (!k) return broken(r, "unknown escape");
    *(*out)++ = to[k - from];
    r->at++;
    return CO_OK;
}

/* r->at is after the opening quote. */
static int read_string(reader *r, uint32_t *index)
{
    char *out, *start;
    int rc = add_node(r, BPE_STRING, index);
    if (rc) return rc;
    start = out = r->at;
    for (;;) {
        char *from = r->at;
        while ((unsigned char)*r->at >= ' ' && *r->at != '"' && *r->at != '\\') r->at++;
        const size_t n = (size_t)(r->at - from), whole = bpe_utf8_valid(from, n);
        if (whole < n) {
            r->at = from + whole;
            return broken(r, "bytes that are not UTF-8");
        }
        if (out != from) memmove(out, from, n);
        out += n;
        if (*r->at == '"') break;
        if (*r->at != '\\') return broken(r, r->at == r->end ? "the text ends inside a string" : "a control character inside a string");
        rc = read_escape(r, &out);
        if (rc) return rc;
    }
    r->at++;
    *out = 0;
    r->d->nodes[*index].len = (uint32_t)(out - start);
    return CO_OK;
}

static int read_number(reader *r, uint32_t *index)
{
    const char *start = r->at;
    int rc = add_node(r, BPE_NUMBER, index);
    if (rc) return rc;
    if (*r->at == '-') r->at++;
    const char *digits = r->at;
    while (*r->at >= '0' && *r->at <= '9') r->at++;
    if (r->at == digits || (*digits == '0' && r->at > digits + 1)) return broken(r, "a number was expected");
    if (*r->at == '.') {
        digits = ++r->at;
        while (*r->at >= '0' && *r->at <= '9') r->at++;
        if (r->at == digits) return broken(r, "a digit was expected after the point");
    }
    if (*r->at == 'e' || *r->at == 'E') {
        r->at++;
        if (*r->at == '+' || *r->at == '-') r->at++;
        digits = r->at;
        while (*r->at >= '0' && *r->at <= '9') r->at++;
        if (r->at == digits) return broken(r, "a digit was expected in the exponent");
    }
    r->d->nodes[*index].len = (uint32_t)(r->at - start);
    return CO_OK;
}

static int read_value(reader *r, uint32_t *index);

static int read_container(reader *r, bpe_kind kind, uint32_t *index)
{
    const char close = kind == BPE_OBJECT ? '}' : ']';
    uint32_t n = 0, child;
    int rc = add_node(r, kind, index);
    if (rc) return rc;
    if (++r->depth > BPE_JSON_DEPTH) return broken(r, "nested too deeply");
    r->at++;
    skip_space(r);
    if (*r->at != close) {
        for (;; n++) {
            skip_space(r);
            if (kind == BPE_OBJECT) {
                if (*r->at != '"') return broken(r, "a key was expected");
                r->at++;
                rc = read_string(r, &child);
                if (rc) return rc;
                skip_space(r);
                if (*r->at != ':') return broken(r, "\":\" was expected");
                r->at++;
                skip_space(r);
            }
            rc = read_value(r, &child);
            if (rc) return rc;
            skip_space(r);
            if (*r->at != ',') break;
            r->at++;
        }
        n++;
        if (*r->at != close) return broken(r, kind == BPE_OBJECT ? "\",\" or \"}\" was expected" : "\",\" or \"]\" was expected");
    }
    r->at++;
    r->depth--;
    r->d->nodes[*index].len = n;
    r->d->nodes[*index].next = (uint32_t)r->d->n_nodes;
    return CO_OK;
}

static int read_value(reader *r, uint32_t *index)
{
    static const struct { const char *word; size_t len; bpe_kind kind; } words[] = {
        {"null", 4, BPE_NULL}, {"false", 5, BPE_FALSE}, {"true", 4, BPE_TRUE}};
    switch (*r->at) {
    case '{': return read_container(r, BPE_OBJECT, index);
    case '[': return read_container(r, BPE_ARRAY, index);
    case '"': r->at++; return read_string(r, index);
    default: break;
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strncmp(r->at, words[i].word, words[i].len) == 0) {
            int rc = add_node(r, words[i].kind, index);
            r->at += words[i].len;
            return rc;
        }
    if (r->at == r->end) return broken(r, "the text ends where a value was expected");
    return read_number(r, index);
}

int bpe_doc_read(bpe_doc *d, const co_host *h, const char *name, char *text, size_t len)
{
    uint32_t root;
    *d = (bpe_doc){.host = h, .name = name, .text = text};
    reader r = {.d = d, .at = text, .end = text + len, .line_start = text, .line = 1};
    if (len >= UINT32_MAX / 2) return CO_FAIL(h, CO_E_FORMAT, "%s: too long for a tokenizer file", name);
    int rc = bpe_grow(h, &d->nodes, &d->cap, len / 12 + 16, sizeof *d->nodes);
    if (rc) return rc;
    skip_space(&r);
    rc = read_value(&r, &root);
    if (rc == CO_OK) {
        skip_space(&r);
        if (r.at != r.end) rc = broken(&r, "text after the value");
    }
    if (rc) bpe_doc_free(d);
    return rc;
}

void bpe_doc_free(bpe_doc *d)
{
    if (d->host) d->host->free(d->host, d->nodes);
    d->nodes = NULL;
    d->n_nodes = d->cap = 0;
}
