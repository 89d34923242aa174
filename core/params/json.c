#include "core/params/json.h"
#include <stdio.h>
#include <string.h>
#include "core/base/error.h"
#include "core/base/memory.h"

enum { WANT_VALUE, WANT_FIRST_KEY, WANT_KEY, WANT_FIRST_ITEM, WANT_MORE, WANT_END };

void json_init(json_reader *r, const char *name, const char *text, size_t len)
{
    memset(r, 0, sizeof *r);
    r->name = name;
    r->text = text;
    r->len = len;
    r->want = WANT_VALUE;
}

void json_close(json_reader *r)
{
    mem_free(r->str);
    r->str = NULL;
    r->str_cap = 0;
}

static int fail_at(const json_reader *r, size_t at, const char *what)
{
    size_t line = 1, start = 0;
    for (size_t i = 0; i < at && i < r->len; i++) {
        if (r->text[i] != '\n') continue;
        line++;
        start = i + 1;
    }
    return FAIL(CO_E_FORMAT, "%s:%zu:%zu: %s", r->name, line, at - start + 1, what);
}

int json_fail(json_reader *r, const char *fmt, ...)
{
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return fail_at(r, r->token_at, what);
}

static int string_put(json_reader *r, unsigned char c)
{
    if (r->str_len + 1 >= r->str_cap) {
        size_t cap = r->str_cap ? 2 * r->str_cap : 128;
        char *grown = mem_grow(r->str, r->str_cap, cap, 1);
        if (!grown) return CO_E_NOMEM;
        r->str = grown;
        r->str_cap = cap;
    }
    r->str[r->str_len++] = (char)c;
    r->str[r->str_len] = 0;
    return CO_OK;
}

static int string_put_code(json_reader *r, uint32_t c)
{
    unsigned char b[4];
    int n = 0;
    if (c < 0x80) {
        b[n++] = (unsigned char)c;
    } else if (c < 0x800) {
        b[n++] = (unsigned char)(0xC0 | c >> 6);
        b[n++] = (unsigned char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        b[n++] = (unsigned char)(0xE0 | c >> 12);
        b[n++] = (unsigned char)(0x80 | (c >> 6 & 63));
        b[n++] = (unsigned char)(0x80 | (c & 63));
    } else {
        b[n++] = (unsigned char)(0xF0 | c >> 18);
        b[n++] = (unsigned char)(0x80 | (c >> 12 & 63));
        b[n++] = (unsigned char)(0x80 | (c >> 6 & 63));
        b[n++] = (unsigned char)(0x80 | (c & 63));
    }
    for (int i = 0; i < n; i++) {
        int rc = string_put(r, b[i]);
        if (rc) return rc;
    }
    return CO_OK;
}

/* Four hexadecimal digits at pos, or -1. */
static int32_t hex4(const json_reader *r, size_t pos)
{
    int32_t v = 0;
    if (r->len - pos < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = r->text[pos + (size_t)i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

static int read_escape(json_reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (r->pos >= r->len) return fail_at(r, r->token_at, "this string does not end");
    char c = r->text[r->pos++];
    const char *at = c ? strchr(from, c) : NULL;
    if (at) return string_put(r, (unsigned char)to[at - from]);
    if (c != 'u') return fail_at(r, r->pos - 2, "unknown escape in a string");
    int32_t hi = hex4(r, r->pos);
    if (hi < 0) return fail_at(r, r->pos - 2, "\\u needs four hexadecimal digits");
    r->pos += 4;
    if (hi == 0) return fail_at(r, r->pos - 6, "\\u0000 is not accepted in a string");
    uint32_t code = (uint32_t)hi;
    if (hi >= 0xD800 && hi < 0xE000) {
        int32_t lo = -1;
        if (hi < 0xDC00 && r->len - r->pos >= 6 && r->text[r->pos] == '\\' && r->text[r->pos + 1] == 'u')
            lo = hex4(r, r->pos + 2);
        if (lo < 0xDC00 || lo > 0xDFFF) return fail_at(r, r->pos - 6, "half of a surrogate pair in a string");
        r->pos += 6;
        code = 0x10000u + (((uint32_t)hi - 0xD800u) << 10) + ((uint32_t)lo - 0xDC00u);
    }
    return string_put_code(r, code);
}

/* Length of the well-formed UTF-8 character at pos (Unicode table 3-7), or 0. */
static size_t utf8_length(const json_reader *r, size_t pos)
{
    const unsigned char *s = (const unsigned char *)r->text + pos;
    size_t left = r->len - pos, n;
    if (s[0] < 0x80) return 1;
    if (s[0] >= 0xC2 && s[0] <= 0xDF) n = 2;
    else if (s[0] >= 0xE0 && s[0] <= 0xEF) n = 3;
    else if (s[0] >= 0xF0 && s[0] <= 0xF4) n = 4;
    else return 0;
    if (left < n) return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    if (s[0] == 0xE0 && s[1] < 0xA0) return 0;
    if (s[0] == 0xED && s[1] > 0x9F) return 0;
    if (s[0] == 0xF0 && s[1] < 0x90) return 0;
    if (s[0] == 0xF4 && s[1] > 0x8F) return 0;
    return n;
}

static int read_string(json_reader *r)
{
    int rc = CO_OK;
    r->pos++;
    r->str_len = 0;
    if (!r->str) rc = string_put(r, 0);
    if (rc) return rc;
    r->str_len = 0;
    r->str[0] = 0;
    while (r->pos < r->len) {
        unsigned char c = (unsigned char)r->text[r->pos];
        if (c == '"') {
            r->pos++;
            return CO_OK;
        }
        if (c < 0x20) return fail_at(r, r->pos, "a control character inside a string");
        if (c == '\\') {
            r->pos++;
            rc = read_escape(r);
            if (rc) return rc;
            continue;
        }
        size_t n = utf8_length(r, r->pos);
        if (n == 0) return fail_at(r, r->pos, "this byte is not UTF-8");
        while (n-- > 0) {
            rc = string_put(r, (unsigned char)r->text[r->pos++]);
            if (rc) return rc;
        }
    }
    return fail_at(r, r->token_at, "this string does not end");
}

static size_t digits(json_reader *r)
{
    size_t from = r->pos;
    while (r->pos < r->len && r->text[r->pos] >= '0' && r->text[r->pos] <= '9') r->pos++;
    return r->pos - from;
}

static int read_number(json_reader *r)
{
    if (r->text[r->pos] == '-') r->pos++;
    size_t first = r->pos, n = digits(r);
    if (n == 0 || (n > 1 && r->text[first] == '0')) return fail_at(r, r->token_at, "this is not a number");
    if (r->pos < r->len && r->text[r->pos] == '.') {
        r->pos++;
        if (digits(r) == 0) return fail_at(r, r->token_at, "a number needs digits after its point");
    }
    if (r->pos < r->len && (r->text[r->pos] == 'e' || r->text[r->pos] == 'E')) {
        r->pos++;
        if (r->pos < r->len && (r->text[r->pos] == '+' || r->text[r->pos] == '-')) r->pos++;
        if (digits(r) == 0) return fail_at(r, r->token_at, "a number needs digits in its exponent");
    }
    return CO_OK;
}

static void skip_space(json_reader *r)
{
    while (r->pos < r->len) {
        char c = r->text[r->pos];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t') break;
        r->pos++;
    }
}

static void value_done(json_reader *r) { r->want = r->depth ? WANT_MORE : WANT_END; }

static int open_group(json_reader *r, char c)
{
    if (r->depth == JSON_MAX_DEPTH) return fail_at(r, r->pos, "nested deeper than 64 levels");
    r->open[r->depth++] = (uint8_t)c;
    r->pos++;
    r->want = c == '{' ? WANT_FIRST_KEY : WANT_FIRST_ITEM;
    return c == '{' ? JSON_OBJECT : JSON_ARRAY;
}

static int close_group(json_reader *r)
{
    char c = r->text[r->pos++];
    r->depth--;
    value_done(r);
    return c == '}' ? JSON_OBJECT_END : JSON_ARRAY_END;
}

static int read_word(json_reader *r)
{
    static const struct { const char *word; int token; } words[] = {
        {"true", JSON_TRUE}, {"false", JSON_FALSE}, {"null", JSON_NULL}};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i].word);
        if (r->len - r->pos < n || memcmp(r->text + r->pos, words[i].word, n) != 0) continue;
        r->pos += n;
        return words[i].token;
    }
    return fail_at(r, r->pos, "a value is expected here");
}

static int read_value(json_reader *r)
{
    char c = r->text[r->pos];
    int token;
    if (c == '{' || c == '[') return open_group(r, c);
    if (c == '"') {
        int rc = read_string(r);
        if (rc) return rc;
        token = JSON_STRING;
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        int rc = read_number(r);
        if (rc) return rc;
        token = JSON_NUMBER;
    } else {
        token = read_word(r);
        if (token < 0) return token;
    }
    value_done(r);
    return token;
}

static int read_key(json_reader *r)
{
    if (r->text[r->pos] != '"') return fail_at(r, r->pos, "a key in double quotes is expected here");
    int rc = read_string(r);
    if (rc) return rc;
    skip_space(r);
    if (r->pos >= r->len || r->text[r->pos] != ':') return fail_at(r, r->pos, "':' is expected after a key");
    r->pos++;
    r->want = WANT_VALUE;
    return JSON_KEY;
}

int json_next(json_reader *r)
{
    skip_space(r);
    r->token_at = r->pos;
    if (r->want == WANT_END) {
        if (r->pos < r->len) return fail_at(r, r->pos, "text after the end of the JSON value");
        return JSON_END;
    }
    if (r->pos >= r->len) return fail_at(r, r->pos, "the text ends in the middle of a JSON value");
    char c = r->text[r->pos];
    if (r->want == WANT_MORE) {
        char end = r->open[r->depth - 1] == '{' ? '}' : ']';
        if (c == end) return close_group(r);
        if (c != ',') return fail_at(r, r->pos, end == '}' ? "',' or '}' is expected here" : "',' or ']' is expected here");
        r->pos++;
        skip_space(r);
        r->token_at = r->pos;
        if (r->pos >= r->len) return fail_at(r, r->pos, "the text ends in the middle of a JSON value");
        return end == '}' ? read_key(r) : read_value(r);
    }
    if (r->want == WANT_FIRST_KEY) return c == '}' ? close_group(r) : read_key(r);
    if (r->want == WANT_FIRST_ITEM && c == ']') return close_group(r);
    return read_value(r);
}

int json_skip(json_reader *r, int token)
{
    if (token != JSON_OBJECT && token != JSON_ARRAY) return CO_OK;
    uint32_t outer = r->depth - 1;
    while (r->depth > outer) {
        int t = json_next(r);
        if (t < 0) return t;
    }
    return CO_OK;
}

int json_int(json_reader *r, int token, int64_t *out)
{
    if (token != JSON_NUMBER) return json_fail(r, "an integer is expected here");
    size_t i = r->token_at;
    int negative = r->text[i] == '-';
    int64_t v = 0;
    for (i += (size_t)negative; i < r->pos; i++) {
        char c = r->text[i];
        if (c < '0' || c > '9') return json_fail(r, "an integer is expected here, without point or exponent");
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, c - '0', &v))
            return json_fail(r, "this integer does not fit 64 bits");
    }
    if (!negative && v == INT64_MIN) return json_fail(r, "this integer does not fit 64 bits");
    *out = negative ? v : -v;
    return CO_OK;
}

int json_check(const char *name, const char *text, size_t len)
{
    json_reader r;
    json_init(&r, name, text, len);
    int t;
    do {
        t = json_next(&r);
    } while (t > 0);
    json_close(&r);
    return t;
}
