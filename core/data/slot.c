#include "core/data/slot.h"
#include "core/base/memory.h"

#include <stdio.h>
#include <string.h>

static int take(slot *s, void *pointer, int64_t n, size_t size)
{
    void *p = mem_calloc((size_t)(n > 0 ? n : 1), size);
    memcpy(pointer, &p, sizeof p);
    s->bytes += (size_t)n * size;
    return p ? CO_OK : CO_E_NOMEM;
}

int slot_init(slot *s, const plan_sizes *z)
{
    memset(s, 0, sizeof *s);
    if (take(s, &s->plan.items, z->items, sizeof *s->plan.items) || take(s, &s->plan.work, z->items, sizeof(int32_t)) ||
        take(s, &s->plan.mine, z->mine, sizeof(int32_t)) || take(s, &s->plan.begin, z->micro + 1, sizeof(int32_t)) ||
        take(s, &s->micro, z->micro, sizeof *s->micro) || take(s, &s->ids, z->pool, sizeof(int32_t)) ||
        take(s, &s->positions, z->pool, sizeof(int32_t)) || take(s, &s->labels, z->pool, sizeof(int32_t)) ||
        take(s, &s->mask, z->pool, sizeof(float)) || take(s, &s->seq_start, z->mine + z->micro, sizeof(int32_t)) ||
        take(s, &s->seq_key, z->mine, sizeof(uint64_t))) {
        slot_deinit(s);
        return CO_E_NOMEM;
    }
    return CO_OK;
}

void slot_deinit(slot *s)
{
    void *all[] = { s->plan.items, s->plan.work, s->plan.mine, s->plan.begin, s->micro,  s->ids,
                    s->positions,  s->labels,    s->mask,      s->seq_start,  s->seq_key };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
    memset(s, 0, sizeof *s);
}

void slot_begin(slot *s, int64_t step)
{
    s->state = SLOT_FILLING;
    s->next_work = 0;
    s->left = s->plan.n_work;
    s->out = (step_batch){ .step = step };
    s->error_code = 0;
    s->error_item = -1;
    s->bad_item = -1;
}

void slot_note_error(slot *s, int32_t item, int32_t code, const char *message)
{
    if (s->error_code && s->error_item < item) return;
    s->error_item = item;
    s->error_code = code;
    snprintf(s->error, sizeof s->error, "%s", message);
}

void slot_note_bad(slot *s, int32_t item, const char *message)
{
    if (s->bad_item >= 0 && s->bad_item < item) return;
    s->bad_item = item;
    snprintf(s->bad, sizeof s->bad, "%s", message);
}

/* One sequence at [at, at + n) of the pool; its ids move left from their reading place, and so does what is learnt, which the
 * mask's own place holds until then. */
static void put_sequence(slot *s, const plan_item *it, int64_t at)
{
    memmove(s->ids + at, s->ids + it->offset, (size_t)it->n * sizeof *s->ids);
    for (int32_t t = 0; t < it->n; t++) {
        int learn = t + 1 < it->n && s->mask[it->offset + t + 1] > 0;
        s->positions[at + t] = t;
        s->labels[at + t] = learn ? s->ids[at + t + 1] : DATA_NO_LABEL;
        s->mask[at + t] = learn ? 1.0f : 0.0f;
    }
}

static void pack(slot *s)
{
    int64_t at = 0, seqs = 0;
    for (int32_t m = 0; m < s->plan.n_micro; m++) {
        batch *b = &s->micro[m];
        int32_t *start = s->seq_start + seqs + m;
        *b = (batch){ .ids = s->ids + at, .positions = s->positions + at, .labels = s->labels + at, .mask = s->mask + at,
                      .seq_start = start, .seq_key = s->seq_key + seqs };
        start[0] = 0;
        for (int32_t k = s->plan.begin[m]; k < s->plan.begin[m + 1]; k++) {
            const plan_item *it = &s->plan.items[s->plan.mine[k]];
            if (it->state != SAMPLE_OK) continue;
            put_sequence(s, it, at);
            at += it->n;
            s->seq_key[seqs++] = (uint64_t)it->index;
            b->n_tokens += it->n;
            b->n_labels += it->n_labels;
            start[++b->n_seqs] = b->n_tokens;
        }
    }
}

void slot_assemble(slot *s, int by_tokens)
{
    step_batch *o = &s->out;
    pack(s);
    o->n_micro = s->plan.n_micro;
    o->micro = s->micro;
    o->epoch = s->plan.epoch;
    if (by_tokens) {
        o->n_samples = s->plan.n_items;
        o->n_tokens = s->plan.n_tokens;
        o->n_labels = s->plan.n_labels;
        o->n_dropped = s->plan.n_dropped;
        o->n_bad = s->plan.n_bad;
        o->n_cut = s->plan.n_cut;
        return;
    }
    for (int32_t i = 0; i < s->plan.n_items; i++) {
        const plan_item *it = &s->plan.items[i];
        o->n_cut += it->cut;
        o->n_bad += it->state == SAMPLE_BAD;
        o->n_dropped += it->state == SAMPLE_DROPPED;
        if (it->state != SAMPLE_OK) continue;
        o->n_samples++;
        o->n_tokens += it->n;
        o->n_labels += it->n_labels;
    }
}
