/* json_write.h: JSON text put together piece by piece. Running out of memory is remembered in `failed` (with the
 * message set), so that a caller checks once, at the end. Start from a zeroed struct. */
#ifndef CORE_PARAMS_JSON_WRITE_H
#define CORE_PARAMS_JSON_WRITE_H
#include <coati/abi.h>

typedef struct json_text {
    char *text; /* NUL-terminated; NULL while empty */
    size_t len, cap;
    int failed;
} json_text;

void json_text_put(json_text *t, const char *s);
void json_text_putn(json_text *t, const char *s, size_t n);
void json_text_printf(json_text *t, const char *fmt, ...) CO_PRINTF(2, 3); /* at most 255 bytes a call */
void json_text_string(json_text *t, const char *s);                       /* in quotes, escaped */
void json_text_free(json_text *t);
#endif
