#include "steps.h"

typedef struct job {
    const bpe_unicode *u;
    bpe_words *w;
    const bpe_step *step;
    const char *text; /* which pieces are of */
    int from, to;     /* of w->pieces */
    size_t n;         /* pieces written */
    bpe_piece held;   /* a span that may yet grow */
    int holding, held_match;
} job;

static int push(job *j, size_t at, size_t len)
{
    bpe_words *w = j->w;
    if (len == 0) return CO_OK;
    if (j->n == w->cap_pieces[j->to]) {
        int rc = bpe_grow(w->host, &w->pieces[j->to], &w->cap_pieces[j->to], j->n + 1, sizeof **w->pieces);
        if (rc) return rc;
    }
    w->pieces[j->to][j->n++] = (bpe_piece){at, len};
    return CO_OK;
}

static int flush(job *j)
{
    if (!j->holding) return CO_OK;
    j->holding = 0;
    return push(j, j->held.at, j->held.len);
}

/* The next span of the piece under way: a match, or what lies between two. */
static int span(job *j, size_t at, size_t len, int match)
{
    match ^= j->step->invert;
    switch (j->step->behavior) {
    case BPE_REMOVED: return match ? CO_OK : push(j, at, len);
    case BPE_ISOLATED: return push(j, at, len);
    case BPE_CONTIGUOUS:
        if (!j->holding || j->held_match != match) break;
        j->held.len += len;
        return CO_OK;
    case BPE_WITH_PREVIOUS:
        if (!j->holding || j->held_match || !match) break;
        j->held.len += len;
        j->held_match = 1;
        return CO_OK;
    case BPE_WITH_NEXT:
        if (!j->holding || !j->held_match || match) break;
        j->held.len += len;
        return flush(j);
    }
    int rc = flush(j);
    j->held = (bpe_piece){at, len};
    j->held_match = match;
    j->holding = 1;
    return rc;
}

static int cut_known(job *j, bpe_piece p)
{
    const uint8_t *at = (const uint8_t *)j->text + p.at, *end = at + p.len;
    int rc = CO_OK, match;
    while (rc == CO_OK && at < end) {
        const size_t n = j->step->known(j->u, at, end, &match);
        rc = span(j, (size_t)(at - (const uint8_t *)j->text), n, match);
        at += n;
    }
    return rc;
}

static int cut_characters(job *j, bpe_piece p)
{
    const uint8_t *at = (const uint8_t *)j->text + p.at, *end = at + p.len, *gap = at;
    int rc = CO_OK;
    while (rc == CO_OK && at < end) {
        const uint8_t *here = at;
        const uint32_t c = bpe_utf8_next(&at);
        if (!j->step->is(bpe_class(j->u, c), c)) continue;
        if (here > gap) rc = span(j, (size_t)(gap - (const uint8_t *)j->text), (size_t)(here - gap), 0);
        if (rc == CO_OK) rc = span(j, (size_t)(here - (const uint8_t *)j->text), (size_t)(at - here), 1);
        gap = at;
    }
    if (rc == CO_OK && gap < end) rc = span(j, (size_t)(gap - (const uint8_t *)j->text), (size_t)(end - gap), 0);
    return rc;
}

static int find(job *j, const char *text, size_t len, size_t from, size_t *start, size_t *end)
{
    const bpe_step *s = j->step;
    if (s->regex) return bpe_regex_find(s->regex, &j->w->match, text, len, from, start, end);
    const char *hit = memmem(text + from, len - from, s->literal, s->literal_len); /* an empty one is found everywhere */
    if (!hit) return CO_END;
    *start = (size_t)(hit - text);
    *end = *start + s->literal_len;
    return CO_OK;
}

static int cut_matches(job *j, bpe_piece p)
{
    const char *text = j->text + p.at;
    size_t from = 0, done = 0, start, end, last = SIZE_MAX;
    int rc = CO_OK;
    while (rc == CO_OK && from <= p.len) {
        rc = find(j, text, p.len, from, &start, &end);
        if (rc) break;
        if (start == end && end == last) { /* nothing, where something just ended: go on behind the next character */
            from += from < p.len ? bpe_utf8_len((uint8_t)text[from]) : 1;
            continue;
        }
        if (start > done) rc = span(j, p.at + done, start - done, 0);
        if (rc == CO_OK) rc = span(j, p.at + start, end - start, 1);
        from = done = last = end;
    }
    if (rc == CO_END) rc = CO_OK;
    if (rc == CO_OK && done < p.len) rc = span(j, p.at + done, p.len - done, 0);
    return rc;
}

static int cut(job *j, size_t n_in)
{
    int rc = CO_OK;
    for (size_t i = 0; rc == CO_OK && i < n_in; i++) {
        const bpe_piece p = j->w->pieces[j->from][i];
        rc = j->step->known ? cut_known(j, p) : j->step->is ? cut_characters(j, p) : cut_matches(j, p);
        if (rc == CO_OK) rc = flush(j);
    }
    return rc;
}

/* BPE_LEAD and BPE_METASPACE: the pieces' texts, changed, one after another in `out`. */
static int rewrite(job *j, size_t n_in, bpe_bytes *out, int at_start)
{
    const bpe_step *s = j->step;
    const int meta = s->kind == BPE_METASPACE;
    const char *mark = meta ? s->literal : " ";
    const size_t mark_len = meta ? s->literal_len : 1;
    int rc = CO_OK;
    out->len = 0;
    for (size_t i = 0; rc == CO_OK && i < n_in; i++) {
        const bpe_piece p = j->w->pieces[j->from][i];
        const char *t = j->text + p.at, *end = t + p.len;
        const size_t at = out->len;
        const int led = *t == ' ' || (p.len >= mark_len && memcmp(t, mark, mark_len) == 0);
        if (!led && (s->lead == BPE_ALWAYS || (s->lead == BPE_FIRST && i == 0 && at_start))) rc = bpe_bytes_add(j->w->host, out, mark, mark_len);
        while (rc == CO_OK && t < end) {
            const char *space = meta ? memchr(t, ' ', (size_t)(end - t)) : NULL;
            rc = bpe_bytes_add(j->w->host, out, t, (size_t)((space ? space : end) - t));
            if (rc == CO_OK && space) rc = bpe_bytes_add(j->w->host, out, mark, mark_len);
            t = space ? space + 1 : end;
        }
        if (rc == CO_OK) rc = push(j, at, out->len - at);
    }
    return rc;
}

/* One cut by hand: what LLaMA 3, GPT-2, Qwen2 and BLOOM come to. */
static int run_known(const bpe_step *s, const bpe_unicode *u, const bpe_model *m, bpe_words *w, const char *text, size_t len)
{
    const uint8_t *at = (const uint8_t *)text, *end = at + len;
    int rc = CO_OK, match;
    while (rc == CO_OK && at < end) {
        const size_t n = s->known(u, at, end, &match);
        rc = m->byte_level ? bpe_encode_word(m, w, at, n) : bpe_encode_text(m, w, at, n);
        at += n;
    }
    return rc;
}

int bpe_steps_run(const bpe_steps *s, const bpe_unicode *u, const bpe_model *m, bpe_words *w, const char *text, size_t len, int at_start)
{
    job j = {.u = u, .w = w, .text = text};
    size_t n = 0;
    int rc, texts = 0;
    if (len == 0) return CO_OK;
    if (s->n == 1 && s->step[0].kind == BPE_CUT && s->step[0].known && s->step[0].behavior == BPE_ISOLATED)
        return run_known(&s->step[0], u, m, w, text, len);
    rc = push(&j, 0, len);
    for (size_t i = 0; rc == CO_OK && i < s->n; i++) {
        n = j.n;
        j.from = j.to;
        j.to = !j.from;
        j.n = 0;
        j.step = &s->step[i];
        if (j.step->kind == BPE_CUT) {
            rc = cut(&j, n);
            if (at_start && j.n && w->pieces[j.from][0].at != w->pieces[j.to][0].at) at_start = 0; /* its beginning was removed */
        } else {
            bpe_bytes *out = &w->step_text[texts];
            rc = rewrite(&j, n, out, at_start);
            j.text = out->data;
            texts = !texts;
        }
    }
    for (size_t i = 0; rc == CO_OK && i < j.n; i++) {
        const uint8_t *word = (const uint8_t *)j.text + w->pieces[j.to][i].at;
        rc = m->byte_level ? bpe_encode_word(m, w, word, w->pieces[j.to][i].len) : bpe_encode_text(m, w, word, w->pieces[j.to][i].len);
    }
    return rc;
}
