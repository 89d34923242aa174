#include "core/data/plan.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/order.h"

#include <string.h>

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static int check_rules(const plan_rules *r)
{
    if (r->max_len < 2) return FAIL(CO_E_CONFIG, "[dataset] max_len = %d: at least 2, one token to predict another", r->max_len);
    if (r->accumulation < 1) return FAIL(CO_E_CONFIG, "[batch] accumulation = %d: at least 1", r->accumulation);
    if (r->tokens <= 0 && r->size < 1) return FAIL(CO_E_CONFIG, "[batch] size = %d: at least 1", r->size);
    if (r->tokens > 0 && r->tokens < r->max_len)
        return FAIL(CO_E_CONFIG, "[batch] tokens = %d is less than [dataset] max_len = %d: a sample would not fit", r->tokens,
                    r->max_len);
    if (r->world < 1 || r->rank < 0 || r->rank >= r->world)
        return FAIL(CO_E_INVALID, "rank %d of %d", r->rank, r->world);
    if ((double)(r->tokens > 0 ? r->tokens : (double)r->size * r->max_len) * r->accumulation > (double)(1 << 30))
        return FAIL(CO_E_CONFIG, "[batch]: a step of more than 2^30 tokens a rank");
    if ((double)(r->tokens > 0 ? r->tokens : r->size) * r->accumulation * r->world > (double)(1 << 30))
        return FAIL(CO_E_CONFIG, "[batch]: a step of more than 2^30 %s", r->tokens > 0 ? "tokens" : "samples");
    return CO_OK;
}

static int64_t step_capacity(const plan_rules *r) /* samples, or tokens */
{
    return (int64_t)(r->tokens > 0 ? r->tokens : r->size) * r->accumulation * r->world;
}

int plan_open(const plan_rules *r, data_plan *out)
{
    data_plan p = { .r = *r };
    int rc = check_rules(r);
    if (rc) return rc;
    if (r->tokens > 0) {
        /* First fit leaves at most one bin half empty; a sample has two tokens or more. */
        p.sizes.bins = 2 * (int64_t)r->accumulation * r->world + 1;
        p.sizes.items = least(step_capacity(r) / 2, r->n_records);
        p.sizes.micro = ceil_div(p.sizes.bins, r->world);
        p.sizes.pool = least(step_capacity(r), p.sizes.micro * r->tokens);
        p.sizes.mine = least(p.sizes.items, p.sizes.pool / 2);
        p.bin_fill = mem_calloc((size_t)p.sizes.bins, sizeof *p.bin_fill);
        if (!p.bin_fill) return CO_E_NOMEM;
    } else {
        p.sizes.items = least(step_capacity(r), r->n_records);
        p.sizes.micro = r->accumulation;
        p.sizes.mine = least((int64_t)r->size * r->accumulation, r->n_records);
        p.sizes.pool = p.sizes.mine * r->max_len;
    }
    *out = p;
    return CO_OK;
}

void plan_close(data_plan *p)
{
    mem_free(p->bin_fill);
    mem_free(p->epoch_steps);
    memset(p, 0, sizeof *p);
}

static plan_item item_at(const plan_rules *r, int64_t epoch, int64_t pos)
{
    const int64_t place = r->mix ? mix_place(r->mix, r->seed, r->shuffle, epoch, pos)
                        : r->shuffle ? order_at(r->seed, epoch, r->n_records, pos) : pos;
    return (plan_item){ .index = r->subset ? r->subset[place] : place, .place = place };
}

/* By count: even slices of the n items, one a micro-step and rank. */
static void cut_by_count(const plan_rules *r, plan_step *s)
{
    int64_t n = s->n_items, slices;
    s->n_micro = (int32_t)ceil_div(n, (int64_t)r->size * r->world);
    slices = (int64_t)s->n_micro * r->world;
    for (int64_t j = 0; j < slices; j++) {
        if (j % r->world == r->rank) s->begin[j / r->world] = s->n_mine;
        for (int64_t i = n * j / slices; i < n * (j + 1) / slices; i++) {
            plan_item *it = &s->items[i];
            it->micro = (int32_t)(j / r->world);
            it->mine = j % r->world == r->rank;
            if (!it->mine) continue;
            it->offset = (int64_t)s->n_mine * r->max_len;
            s->mine[s->n_mine++] = (int32_t)i;
        }
    }
    s->begin[s->n_micro] = s->n_mine;
    for (int32_t i = 0; i < s->n_items; i++) s->work[s->n_work++] = i;
}

/* By tokens: whole samples first-fit into bins, bins dealt to ranks in turn. */
static void cut_by_tokens(data_plan *p, plan_step *s)
{
    const plan_rules *r = &p->r;
    int32_t n_bins = 0;
    int64_t offset = 0;
    for (int32_t i = 0; i < s->n_items; i++) {
        int32_t n = r->lengths[s->items[i].place].n, b = 0;
        while (b < n_bins && p->bin_fill[b] + n > r->tokens) b++;
        if (b == n_bins) p->bin_fill[n_bins++] = 0;
        p->bin_fill[b] += n;
        s->items[i].bin = b;
        s->items[i].micro = b / r->world;
        s->items[i].mine = b % r->world == r->rank;
    }
    s->n_micro = (int32_t)ceil_div(n_bins, r->world);
    for (int32_t m = 0; m < s->n_micro; m++) {
        s->begin[m] = s->n_mine;
        for (int32_t i = 0; i < s->n_items; i++) {
            if (s->items[i].micro != m || !s->items[i].mine) continue;
            s->items[i].offset = offset;
            offset += r->lengths[s->items[i].place].n;
            s->work[s->n_work++] = i;
            s->mine[s->n_mine++] = i;
        }
    }
    s->begin[s->n_micro] = s->n_mine;
}

/* Walks one step from *pos on. out NULL: only the place moves. */
static int walk_tokens(const plan_rules *r, int64_t epoch, int64_t *pos, plan_step *out)
{
    int64_t total = 0, budget = step_capacity(r);
    for (; *pos < r->n_records; (*pos)++) {
        plan_item it = item_at(r, epoch, *pos);
        const sample_length *e = &r->lengths[it.place];
        if (!e->known && r->measure) {
            const int rc = r->measure(r->ctx, it.place);
            if (rc) return rc;
        }
        if (e->state == SAMPLE_OK && total + e->n > budget) return CO_OK;
        if (e->state == SAMPLE_OK) total += e->n;
        if (!out) continue;
        out->n_cut += e->cut;
        out->n_bad += e->state == SAMPLE_BAD;
        out->n_dropped += e->state == SAMPLE_DROPPED;
        if (e->state != SAMPLE_OK) continue;
        out->n_tokens += e->n;
        out->n_labels += e->n_labels;
        out->items[out->n_items++] = it;
    }
    return CO_OK;
}

static int64_t steps_by_count(const plan_rules *r) { return ceil_div(r->n_records, step_capacity(r)); }

int plan_steps_of(data_plan *p, int64_t epoch, int64_t *steps)
{
    if (p->r.tokens <= 0) {
        *steps = steps_by_count(&p->r);
        return CO_OK;
    }
    while (p->n_epochs <= epoch) {
        int64_t pos = 0, n = 0;
        if (p->n_epochs == p->cap_epochs) {
            int64_t cap = p->cap_epochs ? p->cap_epochs * 2 : 8;
            int64_t *grown = mem_grow(p->epoch_steps, (size_t)p->cap_epochs, (size_t)cap, sizeof *grown);
            if (!grown) return CO_E_NOMEM;
            p->epoch_steps = grown;
            p->cap_epochs = cap;
        }
        for (; pos < p->r.n_records; n++) {
            const int rc = walk_tokens(&p->r, p->n_epochs, &pos, NULL);
            if (rc) return rc;
        }
        p->epoch_steps[p->n_epochs++] = n;
    }
    *steps = p->epoch_steps[epoch];
    return CO_OK;
}

int plan_seek(data_plan *p, int64_t step)
{
    int64_t epoch = 0, left = step, of = 0, pos = 0;
    if (p->r.tokens <= 0) {
        of = steps_by_count(&p->r);
        p->epoch = step / of;
        p->pos = step % of * step_capacity(&p->r);
        p->step = step;
        return CO_OK;
    }
    for (; !p->r.measure; epoch++) {
        int rc = plan_steps_of(p, epoch, &of);
        if (rc) return rc;
        if (left < of) break;
        left -= of;
    }
    for (; left > 0; left--) {
        if (pos >= p->r.n_records) epoch++, pos = 0;
        const int rc = walk_tokens(&p->r, epoch, &pos, NULL);
        if (rc) return rc;
    }
    p->epoch = epoch;
    p->pos = pos;
    p->step = step;
    return CO_OK;
}

int plan_next(data_plan *p, plan_step *out)
{
    const plan_rules *r = &p->r;
    int64_t start;
    int rc = CO_OK;
    if (p->pos >= r->n_records) {
        p->epoch++;
        p->pos = 0;
    }
    start = p->pos;
    *out = (plan_step){ .items = out->items, .work = out->work, .mine = out->mine, .begin = out->begin };
    if (r->tokens > 0) {
        rc = walk_tokens(r, p->epoch, &p->pos, out);
        if (rc) {
            p->pos = start; /* what is known by now stays so */
            *out = (plan_step){ .items = out->items, .work = out->work, .mine = out->mine, .begin = out->begin };
        }
        cut_by_tokens(p, out);
    } else {
        int64_t n = least(step_capacity(r), r->n_records - p->pos);
        for (; out->n_items < n; out->n_items++)
            out->items[out->n_items] = item_at(r, p->epoch, p->pos++);
        cut_by_count(r, out);
    }
    out->n_records = p->pos - start;
    out->epoch = (double)p->epoch + (double)p->pos / (double)r->n_records;
    p->step++;
    return rc;
}
