#include "core/base/error.h"
#include <stdio.h>
#include <string.h>

#define CAP 2048
static _Thread_local char message[CAP];
static _Thread_local char where[160];
static _Thread_local unsigned long messages, marked; /* set so far; when PLUGIN began */

int error_setv(int code, const char *file, int line, const char *fmt, va_list ap)
{
    char text[CAP]; /* arguments may point into the old message */
    const char *base = strrchr(file, '/');
    vsnprintf(text, sizeof text, fmt, ap);
    memcpy(message, text, sizeof text);
    messages++;
    snprintf(where, sizeof where, "%s:%d", base ? base + 1 : file, line);
    return code;
}

int error_set(int code, const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    error_setv(code, file, line, fmt, ap);
    va_end(ap);
    return code;
}

int error_prefix(int code, const char *fmt, ...)
{
    char text[CAP];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0 || n >= 140) return code;
    snprintf(text + n, sizeof text - (size_t)n, ": %.1900s", message);
    memcpy(message, text, sizeof text);
    return code;
}

const char *error_message(void) { return message; }
const char *error_where(void) { return where; }

void error_take(char *buf, size_t cap)
{
    if (cap) snprintf(buf, cap, "%s", message);
}

void error_mark(void) { marked = messages; }

int error_of_plugin(int code, const char *what)
{
    if (code == CO_OK) return CO_OK;
    if (code > 0 || code < CO_E_STATE) return FAIL(CO_E_ABI, "%s returned %d, which is no status: the plugin is broken", what, code);
    if (messages == marked || !message[0]) return FAIL(code, "%s failed with code %d and gave no reason", what, code);
    return code;
}

int error_exit_code(int code)
{
    switch (code) {
    case CO_OK: case CO_END: return 0;
    case CO_E_CONFIG: case CO_E_UNSUPPORTED: case CO_E_ABI: return 2;
    case CO_E_FORMAT: return 3;
    case CO_E_NOMEM: return 4;
    default: return 1;
    }
}
