#include "core/data/templates/encode.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include <string.h>

/* A tokenizer that knows no marks: what lies between them, each alone. */
static int encode_between(const co_tokenizer_vt *vt, void *self, const char *text, size_t len, const co_text_mark *marks, size_t n_marks, co_arena *a,
                          int32_t **ids, size_t *n)
{
    int32_t **part = arena_push(a, (n_marks + 1) * sizeof *part, 8);
    size_t *count = arena_push(a, (n_marks + 1) * sizeof *count, 8), all = n_marks, from = 0;
    if (!part || !count) return CO_E_NOMEM;
    for (size_t i = 0; i <= n_marks; i++) {
        const size_t to = i < n_marks ? marks[i].at : len;
        count[i] = 0;
        const int rc = to > from ? vt->encode(self, text + from, to - from, a, &part[i], &count[i]) : CO_OK;
        if (rc) return rc;
        all += count[i];
        from = i < n_marks ? to + marks[i].len : len;
    }
    int32_t *o = *ids = arena_push(a, (all + 1) * sizeof *o, 4);
    if (!o) return CO_E_NOMEM;
    for (size_t i = 0; i <= n_marks; i++) {
        if (count[i]) memcpy(o, part[i], count[i] * sizeof *o);
        o += count[i];
        if (i < n_marks) *o++ = marks[i].id;
    }
    *n = all;
    return CO_OK;
}

int chat_encode_marked(const co_tokenizer_vt *vt, void *self, const char *text, size_t len, const co_text_mark *marks, size_t n_marks, co_arena *a,
                       int32_t **ids, size_t *n)
{
    *n = 0;
    if (CO_HAS(co_tokenizer_vt, vt, encode_marked)) return vt->encode_marked(self, text, len, marks, n_marks, a, ids, n);
    return encode_between(vt, self, text, len, marks, n_marks, a, ids, n);
}

typedef struct run { /* text between two cuts */
    text_place from, to;
    co_text_mark *marks; /* places from `from` on */
    int32_t *ids;
    size_t n;
} run;

static int encode_run(const co_tokenizer_vt *vt, void *self, const chat_text *t, run *r, co_arena *a)
{
    const size_t n = r->to.marks - r->from.marks, len = r->to.at - r->from.at;
    r->marks = arena_push(a, (n + 1) * sizeof *r->marks, 8);
    if (!r->marks) return CO_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        r->marks[i] = t->marks[r->from.marks + i];
        r->marks[i].at -= r->from.at;
    }
    return len || n ? chat_encode_marked(vt, self, t->text + r->from.at, len, r->marks, n, a, &r->ids, &r->n) : CO_OK;
}

/* Ids of the run that the text up to a place in it has on its own too: where a span begins or ends. */
static int ids_before(const co_tokenizer_vt *vt, void *self, const chat_text *t, const run *r, text_place p, co_arena *a, size_t *out)
{
    const size_t len = p.at - r->from.at, n_marks = p.marks - r->from.marks;
    size_t n = 0, k = 0;
    int32_t *ids = NULL;
    if (p.at == r->to.at && p.marks == r->to.marks) return *out = r->n, CO_OK;
    if (!len && !n_marks) return *out = 0, CO_OK;
    const int rc = chat_encode_marked(vt, self, t->text + r->from.at, len, r->marks, n_marks, a, &ids, &n);
    while (rc == CO_OK && k < n && k < r->n && ids[k] == r->ids[k]) k++;
    *out = k;
    return rc;
}

/* Whether a span that begins at `p` belongs to the run, rather than to one behind it. */
static int begins_in(text_place p, const run *r, int last)
{
    return last || p.at < r->to.at || (p.at == r->to.at && p.marks < r->to.marks);
}

int chat_encode(const co_tokenizer_vt *vt, void *self, const chat_text *t, size_t most, co_arena *a, chat_ids *out)
{
    const size_t n_runs = t->n_cuts + 1;
    run *runs = arena_push(a, n_runs * sizeof *runs, 8);
    size_t n = 0, span = 0;
    if (!runs) return CO_E_NOMEM;
    for (size_t i = 0; i < n_runs; i++) {
        runs[i] = (run){.from = i ? t->cuts[i - 1] : (text_place){0, 0}, .to = i < t->n_cuts ? t->cuts[i] : (text_place){t->len, t->n_marks}};
        const int rc = encode_run(vt, self, t, &runs[i], a);
        if (rc) return rc;
        n += runs[i].n;
    }
    *out = (chat_ids){.n = n, .ids = arena_push(a, (n + 1) * sizeof *out->ids, 4), .learn = arena_push(a, n + 1, 1)};
    if (!out->ids || !out->learn) return CO_E_NOMEM;
    memset(out->learn, 0, n + 1);
    out->last_answer = n;
    for (size_t i = 0, base = 0; i < n_runs; base += runs[i++].n) {
        const run *r = &runs[i];
        if (r->n) memcpy(out->ids + base, r->ids, r->n * sizeof *r->ids);
        for (; span < t->n_spans && begins_in(t->spans[span].from, r, i + 1 == n_runs); span++) {
            size_t from, to;
            if (base > most) continue;
            int rc = ids_before(vt, self, t, r, t->spans[span].from, a, &from);
            if (rc == CO_OK && base + from > most) continue;
            if (rc == CO_OK) rc = ids_before(vt, self, t, r, t->spans[span].to, a, &to);
            if (rc) return rc;
            if (to > from) out->last_answer = base + from;
            for (size_t k = base + from; k < base + to; k++) out->learn[k] = 1;
        }
    }
    out->learn[0] = 0;
    if (out->last_answer < 1) out->last_answer = 1; /* nothing stands before the first id to predict it from */
    if (out->last_answer > n) out->last_answer = n;
    for (size_t k = 0; k < n; k++) out->n_learn += out->learn[k];
    return CO_OK;
}
