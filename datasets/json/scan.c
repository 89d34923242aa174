/* scan.c: the strict scanner. Nesting is kept in an array of one byte a level, so depth costs no C stack. */
#include "scan.h"

#include <string.h>

static int is_space(uint8_t b) { return b == ' ' || b == '\n' || b == '\r' || b == '\t'; }
static int is_digit(uint8_t b) { return b >= '0' && b <= '9'; }

static int fault(json_cursor *c, const char *expected)
{
    c->expected = expected;
    return -1;
}

void json_skip_space(json_cursor *c)
{
    while (c->at < c->end && is_space(*c->at)) c->at++;
}

static int hex_digit(uint8_t b)
{
    if (is_digit(b)) return b - '0';
    b |= 0x20;
    return b >= 'a' && b <= 'f' ? b - 'a' + 10 : -1;
}

/* Four hex digits at `p`, or -1. */
static int32_t hex4(const uint8_t *p, const uint8_t *end)
{
    int32_t v = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        int d = hex_digit(p[i]);
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

static int skip_hex4(json_cursor *c, int32_t *out)
{
    int32_t v = hex4(c->at, c->end);
    if (v < 0) {
        while (c->at < c->end && hex_digit(*c->at) >= 0) c->at++;
        return fault(c, "four hexadecimal digits after \\u");
    }
    c->at += 4;
    *out = v;
    return 0;
}

/* Behind the backslash. */
static int skip_escape(json_cursor *c)
{
    int32_t u, low;
    const uint8_t *start = c->at - 1;
    if (c->at < c->end && *c->at && strchr("\"\\/bfnrt", *c->at)) {
        c->at++;
        return 0;
    }
    if (c->at >= c->end || *c->at != 'u')
        return fault(c, "one of \" \\ / b f n r t u after a backslash (a literal backslash is written \\\\)");
    c->at++;
    if (skip_hex4(c, &u)) return -1;
    if (u >= 0xDC00 && u <= 0xDFFF) {
        c->at = start;
        return fault(c, "a high surrogate \\uD800..\\uDBFF before a low one");
    }
    if (u < 0xD800 || u > 0xDBFF) return 0;
    if (c->end - c->at < 2 || c->at[0] != '\\' || c->at[1] != 'u')
        return fault(c, "a low surrogate \\uDC00..\\uDFFF after a high one");
    start = c->at;
    c->at += 2;
    if (skip_hex4(c, &low)) return -1;
    if (low < 0xDC00 || low > 0xDFFF) {
        c->at = start;
        return fault(c, "a low surrogate \\uDC00..\\uDFFF after a high one");
    }
    return 0;
}

/* One character of two to four bytes: Unicode 15, table 3-7. */
static int skip_utf8(json_cursor *c)
{
    const uint8_t *p = c->at;
    uint8_t lo = 0x80, hi = 0xBF;
    int n = *p < 0xE0 ? 1 : *p < 0xF0 ? 2 : 3;
    if (*p < 0xC2 || *p > 0xF4) return fault(c, "well-formed UTF-8");
    if (*p == 0xE0) lo = 0xA0;
    if (*p == 0xED) hi = 0x9F;
    if (*p == 0xF0) lo = 0x90;
    if (*p == 0xF4) hi = 0x8F;
    for (int i = 1; i <= n; i++) {
        if (p + i >= c->end || p[i] < lo || p[i] > hi) return fault(c, "well-formed UTF-8");
        lo = 0x80;
        hi = 0xBF;
    }
    c->at += n + 1;
    return 0;
}

int json_skip_string(json_cursor *c)
{
    if (c->at >= c->end || *c->at != '"') return fault(c, "a string in double quotes");
    c->at++;
    while (c->at < c->end) {
        uint8_t b = *c->at;
        if (b == '"') {
            c->at++;
            return 0;
        }
        if (b == '\\') {
            c->at++;
            if (skip_escape(c)) return -1;
        } else if (b >= 0x80) {
            if (skip_utf8(c)) return -1;
        } else if (b < 0x20) {
            return fault(c, "an escape such as \\n, \\t or \\u001f instead of a raw control character in a string");
        } else {
            c->at++;
        }
    }
    return fault(c, "the closing quote of a string");
}

static int skip_digits(json_cursor *c, const char *expected)
{
    if (c->at >= c->end || !is_digit(*c->at)) return fault(c, expected);
    while (c->at < c->end && is_digit(*c->at)) c->at++;
    return 0;
}

static int skip_number(json_cursor *c)
{
    if (*c->at == '-') c->at++;
    if (c->at < c->end && *c->at == '0') {
        c->at++;
        if (c->at < c->end && is_digit(*c->at)) return fault(c, "no digit after a leading 0");
    } else if (skip_digits(c, "a digit after '-'")) {
        return -1;
    }
    if (c->at < c->end && *c->at == '.') {
        c->at++;
        if (skip_digits(c, "a digit after '.'")) return -1;
    }
    if (c->at < c->end && (*c->at == 'e' || *c->at == 'E')) {
        c->at++;
        if (c->at < c->end && (*c->at == '+' || *c->at == '-')) c->at++;
        if (skip_digits(c, "a digit in the exponent")) return -1;
    }
    return 0;
}

static int skip_word(json_cursor *c, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n)) return fault(c, "a value");
    c->at += n;
    return 0;
}

static int skip_scalar(json_cursor *c)
{
    uint8_t b = *c->at;
    if (b == '"') return json_skip_string(c);
    if (b == '-' || is_digit(b)) return skip_number(c);
    if (b == 't') return skip_word(c, "true");
    if (b == 'f') return skip_word(c, "false");
    if (b == 'n') return skip_word(c, "null");
    return fault(c, "a value");
}

static int skip_key(json_cursor *c)
{
    json_skip_space(c);
    if (c->at >= c->end || *c->at != '"') return fault(c, "a key in double quotes");
    if (json_skip_string(c)) return -1;
    json_skip_space(c);
    if (c->at >= c->end || *c->at != ':') return fault(c, "':' after a key");
    c->at++;
    json_skip_space(c);
    return 0;
}

/* Opens the list at the cursor. 1: it was empty and is closed again. */
static int open_list(json_cursor *c, uint8_t *open, int *depth)
{
    if (*depth == JSON_MAX_DEPTH) return fault(c, "at most 512 levels of nesting");
    open[(*depth)++] = *c->at++;
    json_skip_space(c);
    if (c->at < c->end && *c->at == (open[*depth - 1] == '{' ? '}' : ']')) {
        c->at++;
        (*depth)--;
        return 1;
    }
    return open[*depth - 1] == '{' ? skip_key(c) : 0;
}

/* Behind a value within a list: on to the next value (1), or out of every list that ends here (0). */
static int close_lists(json_cursor *c, const uint8_t *open, int *depth)
{
    while (*depth > 0) {
        int object = open[*depth - 1] == '{';
        json_skip_space(c);
        if (c->at < c->end && *c->at == ',') {
            c->at++;
            if (object) return skip_key(c) ? -1 : 1;
            json_skip_space(c);
            return 1;
        }
        if (c->at >= c->end || *c->at != (object ? '}' : ']'))
            return fault(c, object ? "',' or '}'" : "',' or ']'");
        c->at++;
        (*depth)--;
    }
    return 0;
}

int json_skip_value(json_cursor *c)
{
    uint8_t open[JSON_MAX_DEPTH];
    int depth = 0, more = 1;
    while (more > 0) {
        if (c->at >= c->end) return fault(c, "a value");
        if (*c->at == '{' || *c->at == '[') {
            int empty = open_list(c, open, &depth);
            if (empty < 0) return -1;
            if (!empty) continue;
        } else if (skip_scalar(c)) {
            return -1;
        }
        more = close_lists(c, open, &depth);
    }
    return more;
}

int json_check_text(json_cursor *c)
{
    json_skip_space(c);
    if (json_skip_value(c)) return -1;
    json_skip_space(c);
    return c->at == c->end ? 0 : fault(c, "nothing more after the value");
}

static char *put_utf8(char *o, uint32_t u)
{
    if (u < 0x80) {
        *o++ = (char)u;
    } else if (u < 0x800) {
        *o++ = (char)(0xC0 | u >> 6);
        *o++ = (char)(0x80 | (u & 63));
    } else if (u < 0x10000) {
        *o++ = (char)(0xE0 | u >> 12);
        *o++ = (char)(0x80 | (u >> 6 & 63));
        *o++ = (char)(0x80 | (u & 63));
    } else {
        *o++ = (char)(0xF0 | u >> 18);
        *o++ = (char)(0x80 | (u >> 12 & 63));
        *o++ = (char)(0x80 | (u >> 6 & 63));
        *o++ = (char)(0x80 | (u & 63));
    }
    return o;
}

size_t json_decode_string(const uint8_t *in, size_t in_len, char *out)
{
    const uint8_t *p = in + 1, *end = in + in_len - 1; /* between the quotes */
    char *o = out;
    while (p < end) {
        const uint8_t *esc = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((esc ? esc : end) - p);
        memcpy(o, p, plain);
        o += plain;
        p += plain;
        if (p >= end) break;
        p += 2;
        switch (p[-1]) {
        case 'b': *o++ = '\b'; break;
        case 'f': *o++ = '\f'; break;
        case 'n': *o++ = '\n'; break;
        case 'r': *o++ = '\r'; break;
        case 't': *o++ = '\t'; break;
        case 'u': {
            uint32_t u = (uint32_t)hex4(p, end);
            p += 4;
            if (u >= 0xD800 && u <= 0xDBFF) {
                u = 0x10000 + ((u - 0xD800) << 10) + ((uint32_t)hex4(p + 2, end) - 0xDC00);
                p += 6;
            }
            o = put_utf8(o, u);
            break;
        }
        default: *o++ = (char)p[-1]; break; /* " \ / stand for themselves */
        }
    }
    return (size_t)(o - out);
}
