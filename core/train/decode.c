/* decode.c: the loop that turns prompts into new tokens through an engine's key/value cache. */
#include "core/train/decode.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include <string.h>

struct decoder {
    decoder_args a;
    int64_t room; /* tokens a pass: a long prompt takes several */
    struct slot { decode_job *job; int64_t past, fed; int32_t next; } *slot;
    int32_t *ids, *start, *which, *past, *rows, *owner;
    float *how[4]; /* temperature, top_k, top_p, u of each row */
};

int decoder_open(const decoder_args *a, decoder **out)
{
    decoder *d = mem_calloc(1, sizeof *d);
    if (!d) return CO_E_NOMEM;
    d->a = *a;
    d->room = a->pass_tokens;
    const size_t n = (size_t)(a->pass_tokens + 1);
    d->slot = mem_calloc((size_t)a->slots, sizeof *d->slot);
    int32_t **const lists[] = {&d->ids, &d->start, &d->which, &d->past, &d->rows, &d->owner};
    int ok = d->slot != NULL;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        *lists[i] = mem_calloc(n, sizeof **lists[i]);
        ok = ok && *lists[i];
    }
    for (int i = 0; i < 4; i++) ok = (d->how[i] = mem_calloc(n, sizeof *d->how[i])) != NULL && ok;
    if (!ok) {
        decoder_close(d);
        return CO_E_NOMEM;
    }
    *out = d;
    return CO_OK;
}

void decoder_close(decoder *d)
{
    if (!d) return;
    void *const list[] = {d->how[0], d->how[1], d->how[2], d->how[3], d->slot, d->ids, d->start, d->which, d->past, d->rows, d->owner};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) mem_free(list[i]);
    mem_free(d);
}

static int accept(const decoder *d, struct slot *s, int32_t id, double logprob)
{
    decode_job *j = s->job;
    if (id == d->a.eos || (j->stop_id >= 0 && id == j->stop_id)) {
        j->finish = FINISH_EOS;
        s->job = NULL;
        return CO_OK;
    }
    j->ids[j->n_ids] = id;
    if (j->logprobs) j->logprobs[j->n_ids] = logprob;
    j->n_ids++;
    s->next = id;
    int r = j->on_token ? j->on_token(j->ctx, j, id) : CO_OK;
    if (r == CO_END) {
        j->finish = FINISH_STOP;
        s->job = NULL;
        return CO_OK;
    }
    if (j->n_ids == j->max_new) {
        j->finish = FINISH_LENGTH;
        s->job = NULL;
    }
    return r;
}

/* One pass: each busy slot adds its next tokens: a piece of its prompt, or the token just made. */
static int pass(decoder *d, const sample_opts *o)
{
    engine_pass p = {.ids = d->ids, .seq_start = d->start, .slot = d->which, .past_len = d->past, .rows = d->rows};
    const engine_draw draw = {d->how[0], d->how[1], d->how[2], d->how[3]};
    const float *logprobs;
    const int32_t *drawn;
    for (int64_t i = 0; i < d->a.slots; i++) {
        struct slot *s = &d->slot[i];
        if (!s->job) continue;
        const int prompt = s->fed < s->job->n_prompt;
        int64_t n = prompt ? s->job->n_prompt - s->fed : 1;
        const int64_t room = d->room - p.n_tokens - (d->a.slots - i - 1); /* a token for each later slot */
        if (n > room) n = room;
        for (int64_t k = 0; k < n; k++) d->ids[p.n_tokens + k] = prompt ? s->job->prompt[s->fed + k] : s->next;
        d->start[p.n_seqs] = p.n_tokens;
        d->which[p.n_seqs] = (int32_t)i;
        d->past[p.n_seqs++] = (int32_t)s->past;
        p.n_tokens += (int32_t)n;
        s->past += n;
        if (prompt) s->fed += n;
        if (prompt && s->fed < s->job->n_prompt) continue; /* more of the prompt is to come */
        float row[4];
        sample_row(o, s->job->key, s->past, row);
        for (int k = 0; k < 4; k++) d->how[k][p.n_rows] = row[k];
        d->owner[p.n_rows] = (int32_t)i;
        d->rows[p.n_rows++] = p.n_tokens - 1;
    }
    d->start[p.n_seqs] = p.n_tokens;
    int r = engine_sample(d->a.engine, &p, &draw, &drawn, &logprobs);
    for (int32_t k = 0; k < p.n_rows && r == CO_OK; k++) r = accept(d, &d->slot[d->owner[k]], drawn[k], logprobs[k]);
    return r;
}

int decode(decoder *d, decode_job *jobs, size_t n, const sample_opts *o)
{
    int r = CO_OK;
    size_t next = 0;
    for (size_t i = 0; i < n; i++) {
        jobs[i].n_ids = 0;
        jobs[i].finish = FINISH_LENGTH;
        if (jobs[i].n_prompt < 1) return FAIL(CO_E_INVALID, "prompt %zu is empty and the tokenizer has no BOS", i + 1);
        if (jobs[i].n_cached < 0 || jobs[i].n_cached >= jobs[i].n_prompt || (jobs[i].n_cached && (d->a.slots != 1 || n != 1)))
            return FAIL(CO_E_INVALID, "prompt %zu: %lld of its %lld ids are said to be cached", i + 1, (long long)jobs[i].n_cached, (long long)jobs[i].n_prompt);
        if (jobs[i].n_prompt + jobs[i].max_new > d->a.max_len)
            return FAIL(CO_E_CONFIG, "prompt %zu has %lld tokens; with %lld new ones that is beyond %lld positions: lower --max-new-tokens",
                        i + 1, (long long)jobs[i].n_prompt, (long long)jobs[i].max_new, (long long)d->a.max_len);
    }
    for (;;) {
        int busy = 0;
        for (int64_t i = 0; i < d->a.slots; i++) {
            while (!d->slot[i].job && next < n) {
                decode_job *j = &jobs[next++];
                if (j->max_new > 0) d->slot[i] = (struct slot){.job = j, .past = j->n_cached, .fed = j->n_cached};
            }
            busy |= d->slot[i].job != NULL;
        }
        if (!busy) return CO_OK;
        r = pass(d, o);
        if (r) {
            memset(d->slot, 0, (size_t)d->a.slots * sizeof *d->slot);
            return r;
        }
    }
}
