/* text.c: numbers for people, and top-level values of JSON texts. */
#include "inspect.h"
#include "core/params/json.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *text_count(uint64_t n, char buf[32])
{
    char plain[24];
    const int len = snprintf(plain, sizeof plain, "%" PRIu64, n);
    int at = 0;
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0) buf[at++] = ',';
        buf[at++] = plain[i];
    }
    buf[at] = 0;
    return buf;
}

const char *text_bytes(uint64_t n, char buf[32])
{
    static const char *const unit[] = {"KiB", "MiB", "GiB", "TiB"};
    double v = (double)n / 1024;
    int u = 0;
    if (n < 1024) return snprintf(buf, 32, "%" PRIu64 " bytes", n), buf;
    for (; v >= 1024 && u < 3; u++) v /= 1024;
    snprintf(buf, 32, "%.1f %s", v, unit[u]);
    return buf;
}

const char *text_shape(const st_tensor *t, char buf[160])
{
    size_t at = (size_t)snprintf(buf, 160, "[");
    for (uint32_t i = 0; i < t->ndim && at < 140; i++)
        at += (size_t)snprintf(buf + at, 160 - at, "%s%" PRId64, i ? ", " : "", t->ne[i]);
    snprintf(buf + at, 160 - at, "]");
    return buf;
}

int text_json(const char *name, const char *json, size_t len, const char *key, char *out, size_t cap)
{
    json_reader r;
    int found = 0, t;
    out[0] = 0;
    json_init(&r, name, json, len);
    for (t = json_next(&r); t > JSON_END; t = json_next(&r)) {
        if (found && (t == JSON_STRING || t == JSON_NUMBER || t == JSON_TRUE || t == JSON_FALSE)) {
            if (t == JSON_STRING) snprintf(out, cap, "%s", r.str);
            else snprintf(out, cap, "%.*s", (int)(r.pos - r.token_at), json + r.token_at);
        }
        found = t == JSON_KEY && r.depth == 1 && strcmp(r.str, key) == 0;
    }
    json_close(&r);
    return t == JSON_END ? CO_OK : t;
}
