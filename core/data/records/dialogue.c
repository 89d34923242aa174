/* dialogue.c: texts of turns as in Anthropic's hh-rlhf: "\n\nHuman: …\n\nAssistant: …". */
#include "core/base/memory.h"
#include "core/data/records/record.h"
#include <string.h>

static const struct { const char *text; size_t len; int role; } heads[] = {{"\n\nHuman:", 8, ROLE_USER}, {"\n\nAssistant:", 12, ROLE_ASSISTANT}};

/* The head at p, -1: none. */
static int head_at(const char *p, const char *end)
{
    for (int i = 0; i < 2; i++)
        if ((size_t)(end - p) >= heads[i].len && memcmp(p, heads[i].text, heads[i].len) == 0) return i;
    return -1;
}

int dialogue_read(const char *text, size_t len, co_arena *a, chat_message **out, size_t *n)
{
    const char *end = text + len, *p = text;
    size_t count = 0;
    if (!len || head_at(text, end) != 0) return CO_END;
    for (const char *q = text; (q = memchr(q, '\n', (size_t)(end - q))) != NULL; q++) count += head_at(q, end) >= 0;
    chat_message *m = arena_push(a, count * sizeof *m, 8);
    if (!m) return CO_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        const int h = head_at(p, end);
        p += heads[h].len;
        if (p < end && *p == ' ') p++; /* the template's */
        const char *stop = p;
        while (stop < end && head_at(stop, end) < 0) {
            const char *next = stop + 1 < end ? memchr(stop + 1, '\n', (size_t)(end - stop - 1)) : NULL;
            stop = next ? next : end;
        }
        m[i] = (chat_message){.role = heads[h].role, .text = p, .len = (size_t)(stop - p)};
        p = stop;
    }
    *out = m;
    *n = count;
    return CO_OK;
}
