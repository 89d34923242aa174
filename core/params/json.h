/* json.h: a pull reader for JSON texts that come with models: strict (RFC 8259, no trailing text, no comments),
 * bounded depth, numbers kept as text so that 64-bit integers stay exact, every error with line and column.
 * It builds nothing, so a hostile header costs no more than its own length. */
#ifndef CORE_PARAMS_JSON_H
#define CORE_PARAMS_JSON_H
#include <coati/abi.h>

#define JSON_MAX_DEPTH 64

typedef enum json_token {
    JSON_END = 0, /* the text is over */
    JSON_OBJECT,
    JSON_OBJECT_END,
    JSON_ARRAY,
    JSON_ARRAY_END,
    JSON_KEY,    /* str, str_len */
    JSON_STRING, /* str, str_len */
    JSON_NUMBER, /* token_at .. pos of the text */
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL
} json_token;

typedef struct json_reader {
    const char *name; /* of the file, for messages */
    const char *text;
    size_t len, pos;
    size_t token_at; /* byte at which the last token starts */
    char *str;       /* last key or string, unescaped, NUL-terminated (and free of other NULs) */
    size_t str_len, str_cap;
    uint32_t depth;
    uint8_t open[JSON_MAX_DEPTH]; /* '{' or '[' */
    uint8_t want;                 /* what may come next; private */
} json_reader;

void json_init(json_reader *r, const char *name, const char *text, size_t len);
void json_close(json_reader *r);
/* The next token (>= 0), or CO_E_FORMAT or CO_E_NOMEM with a message. */
int json_next(json_reader *r);
/* Reads on to the end of the value whose first token, `token`, was just returned. CO_OK or an error. */
int json_skip(json_reader *r, int token);
/* The last token as an integer; CO_E_FORMAT (with the position) unless it is written as one and fits. */
int json_int(json_reader *r, int token, int64_t *out);
/* Sets "name:line:column: …" for the last token and returns CO_E_FORMAT. */
int json_fail(json_reader *r, const char *fmt, ...) CO_PRINTF(2, 3);
/* Reads a whole text; CO_OK if it is one JSON value and nothing else. */
int json_check(const char *name, const char *text, size_t len);
#endif
