#include "core/data/show.h"
#include "core/base/memory.h"
#include <stdio.h>
#include <string.h>

enum { WIDTH = 110, HEAD = 48, TAIL = 16, LONGEST = 48, STRETCHES = 12 }; /* columns of a line; tokens at either end of a stretch; bytes of a token */

typedef struct out {
    char *text;
    size_t len, cap, column;
    int failed;
} out;

static void put(out *o, const char *s, size_t n)
{
    if (o->failed) return;
    if (o->len + n + 1 > o->cap) {
        const size_t cap = 2 * (o->len + n) + 256;
        char *more = mem_grow(o->text, o->cap, cap, 1);
        if (!more) {
            o->failed = 1;
            return;
        }
        o->text = more;
        o->cap = cap;
    }
    memcpy(o->text + o->len, s, n);
    o->len += n;
    o->text[o->len] = 0;
    o->column += n;
}

/* One token's bytes for any terminal: not even the halves of characters that byte tokens hold. */
static size_t escape(const char *s, size_t n, char *to)
{
    size_t k = 0;
    for (size_t i = 0; i < n && k < LONGEST; i++) {
        const unsigned char c = (unsigned char)s[i];
        const size_t len = c < 0x80 ? 1 : c >= 0xC2 && c < 0xE0 ? 2 : c >= 0xE0 && c < 0xF0 ? 3 : c >= 0xF0 && c < 0xF5 ? 4 : 0;
        size_t whole = 1;
        while (whole < len && i + whole < n && ((unsigned char)s[i + whole] & 0xC0) == 0x80) whole++;
        const int c1 = c == 0xC2 && n > i + 1 && (unsigned char)s[i + 1] < 0xA0;                         /* control characters too */
        const int turn = c == 0xE2 && n > i + 2 && (((unsigned char)s[i + 1] == 0x80 && (unsigned char)s[i + 2] >= 0x8B) ||
                                                    ((unsigned char)s[i + 1] == 0x81 && (unsigned char)s[i + 2] >= 0xA0)); /* marks of direction */
        if (c == '\n' || c == '\t' || c == '\r') to[k++] = '\\', to[k++] = c == '\n' ? 'n' : c == '\t' ? 't' : 'r';
        else if (c == '\\' || c == '|') to[k++] = '\\', to[k++] = (char)c;
        else if (!len || whole < len || c < 0x20 || c == 0x7F || c1 || turn) k += (size_t)snprintf(to + k, 5, "\\x%02x", c);
        else {
            memcpy(to + k, s + i, len);
            k += len;
            i += len - 1;
        }
    }
    return k;
}

static void put_token(out *o, const data_template *t, const co_tokenizer_vt *vt, void *self, co_arena *a, int32_t id, int first, char sign)
{
    char shown[LONGEST + 16], *text = NULL;
    size_t len = 0, n;
    const char *name = template_token_text(t, id, &len);
    arena_reset(a);
    if (!name) len = 0;
    if (!name && vt->decode && vt->decode(self, &id, 1, !first, a, &text, &len)) len = 0;
    if (name || len) n = escape(name ? name : text, len, shown);
    else n = (size_t)snprintf(shown, sizeof shown, "<%d>", id);
    if (o->column + n + 1 > WIDTH) put(o, "\n", 1), o->column = 0;
    if (!o->column) {
        const char lead[4] = {' ', ' ', sign, ' '};
        put(o, lead, 4);
    }
    put(o, shown, n);
    put(o, "|", 1);
}

char *sample_show(const data_template *t, const co_tokenizer_vt *vt, void *self, const sample *s)
{
    co_arena *a = arena_new(1 << 12);
    out o = {.failed = a == NULL};
    int shown = 0;
    for (int32_t i = 0, end; i < s->n; i = end) {
        if (shown++ == STRETCHES) {
            char rest[60];
            put(&o, rest, (size_t)snprintf(rest, sizeof rest, "  … and %d tokens\n", s->n - i));
            break;
        }
        for (end = i; end < s->n && s->learn[end] == s->learn[i];) end++;
        o.column = 0;
        for (int32_t k = i; k < end && !o.failed; k++) {
            if (end - i > HEAD + TAIL && k == i + HEAD) {
                char gap[40];
                put(&o, gap, (size_t)snprintf(gap, sizeof gap, " … %d tokens … ", end - i - HEAD - TAIL));
                k = end - TAIL;
            }
            put_token(&o, t, vt, self, a, s->ids[k], k == 0, s->learn[k] ? '+' : '-');
        }
        put(&o, "\n", 1);
    }
    arena_free(a);
    if (!o.failed) return o.text;
    mem_free(o.text);
    return NULL;
}
