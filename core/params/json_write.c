#include "core/params/json_write.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "core/base/memory.h"

void json_text_putn(json_text *t, const char *s, size_t n)
{
    if (t->failed) return;
    if (t->cap - t->len < n + 1) {
        size_t cap = t->cap ? t->cap : 256;
        while (cap - t->len < n + 1) cap *= 2;
        char *grown = mem_grow(t->text, t->cap, cap, 1);
        if (!grown) {
            t->failed = 1;
            return;
        }
        t->text = grown;
        t->cap = cap;
    }
    memcpy(t->text + t->len, s, n);
    t->len += n;
    t->text[t->len] = 0;
}

void json_text_put(json_text *t, const char *s) { json_text_putn(t, s, strlen(s)); }

void json_text_printf(json_text *t, const char *fmt, ...)
{
    char buf[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    if (n < 0 || n >= (int)sizeof buf) t->failed = 1;
    else json_text_putn(t, buf, (size_t)n);
}

void json_text_string(json_text *t, const char *s)
{
    json_text_put(t, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') {
            json_text_putn(t, "\\", 1);
            json_text_putn(t, s, 1);
        } else if (c < 0x20) {
            json_text_printf(t, "\\u%04x", c);
        } else {
            json_text_putn(t, s, 1);
        }
    }
    json_text_put(t, "\"");
}

void json_text_free(json_text *t)
{
    mem_free(t->text);
    memset(t, 0, sizeof *t);
}
