/* messages.c: JSON lists of messages. Keys that are not known are passed over; content that is not text is refused. */
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/records/record.h"
#include "core/params/json.h"
#include <string.h>

static const struct { const char *name; int role; } roles[] = {
    {"system", ROLE_SYSTEM}, {"user", ROLE_USER}, {"human", ROLE_USER}, {"assistant", ROLE_ASSISTANT}, {"gpt", ROLE_ASSISTANT},
    {"chatbot", ROLE_ASSISTANT}, {"model", ROLE_ASSISTANT}};

static int find_role(const char *name)
{
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strcmp(roles[i].name, name) == 0) return roles[i].role;
    return -1;
}

/* Messages grow in chunks; the arena keeps the smaller arrays until it is reset. */
static int push(co_arena *a, chat_message **m, size_t n, size_t *cap)
{
    if (n < *cap) return CO_OK;
    chat_message *more = arena_push(a, (*cap ? 2 * *cap : 8) * sizeof *more, 8);
    if (!more) return CO_E_NOMEM;
    if (n) memcpy(more, *m, n * sizeof *more);
    *m = more;
    *cap = *cap ? 2 * *cap : 8;
    return CO_OK;
}

/* The reader stands behind '{'. */
static int read_message(json_reader *r, co_arena *a, chat_message *out)
{
    int role = -1, has_text = 0, t;
    *out = (chat_message){0};
    while ((t = json_next(r)) == JSON_KEY) {
        const int is_role = !strcmp(r->str, "role") || !strcmp(r->str, "from");
        const int is_text = !strcmp(r->str, "content") || !strcmp(r->str, "value");
        t = json_next(r);
        if (t < 0) return t;
        if ((is_role && role >= 0) || (is_text && has_text)) return json_fail(r, "a message has its role or its content twice");
        if ((is_role || is_text) && t != JSON_STRING) return json_fail(r, "a message's %s is not a string", is_role ? "role" : "content");
        if (is_role) {
            role = find_role(r->str);
            if (role < 0) return json_fail(r, "role \"%.40s\" is not known (system; user or human; assistant, gpt, chatbot or model)", r->str);
        } else if (is_text) {
            out->text = arena_strndup(a, r->str, r->str_len);
            out->len = r->str_len;
            has_text = 1;
            if (!out->text) return CO_E_NOMEM;
        } else {
            t = json_skip(r, t);
            if (t < 0) return t;
        }
    }
    if (t < 0) return t;
    if (role < 0 || !has_text) return json_fail(r, "a message without %s: expected {\"role\", \"content\"} or {\"from\", \"value\"}", role < 0 ? "role" : "content");
    out->role = role;
    return CO_OK;
}

int messages_read(const char *column, const char *json, size_t len, co_arena *a, chat_message **out, size_t *n)
{
    json_reader r;
    chat_message *m = NULL;
    size_t cap = 0, count = 0;
    json_init(&r, column, json, len);
    int t = json_next(&r);
    const int one = t == JSON_OBJECT;
    int rc = t < 0 ? t : one || t == JSON_ARRAY ? CO_OK : json_fail(&r, "expected a list of messages");
    while (rc == CO_OK && !(one && count)) {
        if (!one) t = json_next(&r);
        if (t < 0) rc = t;
        else if (t == JSON_ARRAY_END) break;
        else if (t != JSON_OBJECT) rc = json_fail(&r, "expected a message, an object with role and content");
        if (rc == CO_OK) rc = push(a, &m, count, &cap);
        if (rc == CO_OK) rc = read_message(&r, a, &m[count]);
        count += rc == CO_OK;
    }
    json_close(&r);
    if (rc) return error_prefix(rc, "column");
    if (!count) return FAIL(CO_E_FORMAT, "column \"%s\": no message in it", column);
    *out = m;
    *n = count;
    return CO_OK;
}

int turns_read(const char *column, const char *json, size_t len, co_arena *a, const char **out, size_t *out_len)
{
    json_reader r;
    json_init(&r, column, json, len);
    int rc = CO_OK;
    if (json_next(&r) != JSON_ARRAY || json_next(&r) != JSON_STRING) rc = FAIL(CO_E_FORMAT, "column \"%s\": expected a list of strings", column);
    if (rc == CO_OK) {
        *out = arena_strndup(a, r.str, r.str_len);
        *out_len = r.str_len;
        rc = *out ? CO_OK : CO_E_NOMEM;
    }
    json_close(&r);
    return rc;
}
