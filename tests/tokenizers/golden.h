/* golden.h: what another implementation makes of the texts of tests/golden/tokenizers/texts.jsonl, against a plugin. Each
 * line of a golden file: ids | ids with what stands around the text | "=", or the text that decoding the ids gives. */
#ifndef TESTS_TOKENIZERS_GOLDEN_H
#define TESTS_TOKENIZERS_GOLDEN_H
#include <coati/tokenizer.h>
#include "../data/fake_host.h"
#include "check.h"
#include "core/base/fs.h"
#include "core/params/json.h"

enum { GOLDEN_IDS = 4096 };

/* Ids from *p on, up to `stop`; *p moves behind it. */
static size_t golden_ids(const char **p, char stop, int32_t *ids)
{
    size_t n = 0;
    for (;; n++) {
        char *end;
        const long v = strtol(*p, &end, 10);
        if (end == *p || n == GOLDEN_IDS) break;
        ids[n] = (int32_t)v;
        *p = end;
    }
    CHECK_MSG(**p == stop, "a golden line goes on with \"%.20s\"", *p);
    ++*p;
    return n;
}

/* Decodes at once and id by id, each of which must give `want`. */
static void golden_decode(const co_tokenizer_vt *vt, void *t, const int32_t *ids, size_t n, const char *want, size_t want_len, co_arena *a)
{
    char *text, *stream = arena_push(a, want_len + 1, 1);
    size_t len, at = 0;
    CHECK(vt->decode(t, ids, n, 0, a, &text, &len) == CO_OK);
    CHECK_MSG(len == want_len && memcmp(text, want, len) == 0, "decoded \"%s\", want \"%s\"", text, want);
    int begun = 0;
    for (size_t i = 0; i < n; i++) {
        size_t inside;
        CHECK(vt->decode(t, ids + i, 1, 1, a, &text, &inside) == CO_OK);
        CHECK(vt->decode(t, ids + i, 1, begun, a, &text, &len) == CO_OK);
        begun = begun || inside; /* a token that is skipped does not begin the text */
        if (at + len > want_len) break;
        memcpy(stream + at, text, len);
        at += len;
    }
    CHECK_MSG(at == want_len && memcmp(stream, want, at) == 0, "streamed %zu bytes of \"%s\"", at, want);
}

static void golden_line(const co_tokenizer_vt *vt, void *t, const char *name, int row, const char *text, size_t len, const char *line, co_arena *a)
{
    int32_t want[GOLDEN_IDS], all[GOLDEN_IDS], *got;
    size_t n_got;
    const size_t n = golden_ids(&line, '|', want), n_all = golden_ids(&line, '|', all);
    CHECK(vt->encode(t, text, len, a, &got, &n_got) == CO_OK);
    CHECK_MSG(n_got == n && memcmp(got, want, n * sizeof *want) == 0, "%s, text %d: \"%s\": %zu ids, want %zu, or others", name, row, text, n_got, n);
    const int32_t before = vt->special(t, "before"), after = vt->special(t, "after");
    const size_t lead = before >= 0;
    CHECK_MSG(n_all == n + lead + (after >= 0) && (!lead || all[0] == before) && (after < 0 || all[n_all - 1] == after) &&
                  memcmp(all + lead, want, n * sizeof *want) == 0, "%s, text %d: what stands around it", name, row);
    if (*line == '=') {
        golden_decode(vt, t, want, n, text, len, a);
        return;
    }
    json_reader r;
    json_init(&r, name, line, strcspn(line, "\n"));
    CHECK(json_next(&r) == JSON_STRING);
    /* theirs shows U+FFFD where bytes make no character, and ours the bytes: compare what is left without */
    if (!strstr(r.str, "\xEF\xBF\xBD")) golden_decode(vt, t, want, n, r.str, r.str_len, a);
    json_close(&r);
}

/* The whole of tests/golden/tokenizers/NAME.txt. */
static inline void golden_run(const co_tokenizer_vt *vt, void *t, const char *name)
{
    static const char dir[] = COATI_SOURCE_DIR "/tests/golden/tokenizers";
    char path[4096], *texts, *golden, *text, *line;
    size_t n_texts, n_golden;
    co_arena *a = arena_new(1 << 16);
    int row = 0;
    CHECK(fs_read_all(COATI_SOURCE_DIR "/tests/golden/tokenizers/texts.jsonl", &texts, &n_texts, 1 << 24) == CO_OK);
    snprintf(path, sizeof path, "%s/%s.txt", dir, name);
    CHECK_MSG(fs_read_all(path, &golden, &n_golden, 1 << 24) == CO_OK, "%s", error_message());
    for (text = texts, line = golden; *text && *line; row++) {
        json_reader r;
        const size_t len = strcspn(text, "\n");
        json_init(&r, "texts.jsonl", text, len);
        CHECK(json_next(&r) == JSON_STRING);
        golden_line(vt, t, name, row, r.str, r.str_len, line, a);
        json_close(&r);
        text += len + 1;
        line += strcspn(line, "\n") + 1;
        arena_reset(a);
    }
    CHECK_MSG(row > 100 && !*text && !*line, "%s: %d rows", name, row);
    mem_free(texts);
    mem_free(golden);
    arena_free(a);
}

static inline const char *shared_dir(void)
{
    const char *env = getenv("COATI_SHARED");
    return env ? env : COATI_SOURCE_DIR "/../shared";
}
#endif
