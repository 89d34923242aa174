/* golden_chat.h: lines of the .jsonl files of tests/golden/templates, which make_templates.py wrote. */
#ifndef TESTS_DATA_GOLDEN_CHAT_H
#define TESTS_DATA_GOLDEN_CHAT_H
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/data/records/record.h"
#include "core/params/json.h"

enum { GOLDEN_MOST = 1024 };
typedef struct golden_chat { /* in the arena */
    const char *name, *tokenizer, *bos, *eos, *text;
    int64_t prompt, raised;
    chat_message *m;
    size_t n, text_len, n_ids, n_mask;
    int64_t ids[GOLDEN_MOST], mask[GOLDEN_MOST];
} golden_chat;

static inline void golden_numbers(json_reader *r, int64_t *out, size_t *n)
{
    int t;
    *n = 0;
    CHECK(json_next(r) == JSON_ARRAY);
    while ((t = json_next(r)) == JSON_NUMBER && *n < GOLDEN_MOST) CHECK(json_int(r, t, &out[(*n)++]) == CO_OK);
    CHECK(t == JSON_ARRAY_END);
}

static inline void golden_parse(const char *line, size_t len, co_arena *a, golden_chat *g)
{
    json_reader r;
    int t;
    *g = (golden_chat){0};
    json_init(&r, "golden", line, len);
    CHECK(json_next(&r) == JSON_OBJECT);
    while ((t = json_next(&r)) == JSON_KEY) {
        const char *const keys[] = {"template", "tokenizer", "bos", "eos", "text"};
        const char **const to[] = {&g->name, &g->tokenizer, &g->bos, &g->eos, &g->text};
        if (!strcmp(r.str, "ids")) golden_numbers(&r, g->ids, &g->n_ids);
        else if (!strcmp(r.str, "mask")) golden_numbers(&r, g->mask, &g->n_mask);
        else if (!strcmp(r.str, "prompt")) CHECK(json_int(&r, json_next(&r), &g->prompt) == CO_OK);
        else if (!strcmp(r.str, "raised")) CHECK(json_int(&r, json_next(&r), &g->raised) == CO_OK);
        else if (!strcmp(r.str, "messages")) {
            t = json_next(&r);
            const size_t from = r.token_at;
            CHECK(json_skip(&r, t) == CO_OK);
            CHECK_MSG(messages_read("messages", line + from, r.pos - from, a, &g->m, &g->n) == CO_OK, "%s", error_message());
        } else {
            for (size_t i = 0; i < 5; i++) {
                if (strcmp(r.str, keys[i])) continue;
                CHECK(json_next(&r) == JSON_STRING);
                *to[i] = arena_strndup(a, r.str, r.str_len);
                if (i == 4) g->text_len = r.str_len;
                break;
            }
        }
    }
    CHECK(t == JSON_OBJECT_END);
    json_close(&r);
}

/* Calls `each` with every line of a file of tests/golden/templates. */
static inline int golden_chats(const char *file, void (*each)(const golden_chat *g, int row, co_arena *a))
{
    char path[4096], *text;
    size_t len;
    int row = 0;
    co_arena *a = arena_new(1 << 16);
    golden_chat *g = mem_calloc(1, sizeof *g);
    snprintf(path, sizeof path, "%s/tests/golden/templates/%s", COATI_SOURCE_DIR, file);
    CHECK_MSG(fs_read_all(path, &text, &len, 1 << 24) == CO_OK, "%s", error_message());
    for (const char *p = text, *end = text + len; p < end; row++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        arena_reset(a);
        golden_parse(p, (size_t)(stop - p), a, g);
        each(g, row + 1, a);
        p = stop + 1;
    }
    mem_free(text);
    mem_free(g);
    arena_free(a);
    return row;
}
#endif
