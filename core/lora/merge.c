#include "core/lora/merge.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include <string.h>

int lora_merge_begin(lora_merge *m)
{
    uint32_t n = 0;
    int64_t a = 1, b = 1, width = 1;
    const int64_t rank = lora_spec_of(m->lora)->rank;
    const lora_target *t = lora_targets(m->lora, &n);
    for (uint32_t i = 0; i < n; i++) {
        if (t[i].in * rank > a) a = t[i].in * rank;
        if (t[i].out * rank > b) b = t[i].out * rank;
        if (t[i].in > width) width = t[i].in;
    }
    m->a = mem_calloc((size_t)a, sizeof *m->a);
    m->b = mem_calloc((size_t)b, sizeof *m->b);
    m->row = mem_calloc((size_t)width, sizeof *m->row);
    m->at = CO_NONE;
    return m->a && m->b && m->row ? CO_OK : CO_E_NOMEM;
}

void lora_merge_end(lora_merge *m)
{
    mem_free(m->a);
    mem_free(m->b);
    mem_free(m->row);
}

static const lora_target *find(const lora_merge *m, uint32_t param)
{
    uint32_t n = 0;
    const lora_target *t = lora_targets(m->lora, &n);
    const co_param_slot *s = &m->base->slots[param];
    for (uint32_t i = 0; i < n; i++)
        if (t[i].unit == (uint32_t)param_unit_kind(m->base, s->unit) && t[i].base == s->index) return &t[i];
    return NULL;
}

/* Columns [c0, c1) of one row of W get scale * (row of B) A added. */
static void add_row(const lora_merge *m, const lora_target *t, int64_t row, int64_t c0, int64_t c1, float *w)
{
    const int64_t rank = lora_spec_of(m->lora)->rank;
    const double scale = lora_scale(m->lora);
    for (int64_t c = c0; c < c1; c++) m->row[c] = 0;
    for (int64_t k = 0; k < rank; k++) {
        const double b = m->b[row * rank + k];
        const float *a = m->a + k * t->in;
        for (int64_t c = c0; c < c1; c++) m->row[c] += b * a[c];
    }
    for (int64_t c = c0; c < c1; c++) w[c - c0] = (float)(w[c - c0] + scale * m->row[c]);
}

int lora_merge_read(void *ctx, uint32_t param, int64_t first, int64_t n, float *out)
{
    lora_merge *m = ctx;
    const co_param_slot *s = &m->base->slots[param];
    const uint32_t unit_first = m->table->unit_first[s->unit];
    const lora_target *t = find(m, param);
    int r = m->read(m->ctx, unit_first + s->index, first, n, out);
    if (r || !t) return r;
    if (m->at != param) {
        const int64_t rank = lora_spec_of(m->lora)->rank;
        r = m->read(m->ctx, unit_first + t->a, 0, rank * t->in, m->a);
        if (r == CO_OK) r = m->read(m->ctx, unit_first + t->b, 0, rank * t->out, m->b);
        m->at = r == CO_OK ? param : CO_NONE;
        if (r) return r;
    }
    for (int64_t done = 0; done < n;) {
        const int64_t row = (first + done) / t->in, c0 = (first + done) % t->in;
        const int64_t c1 = t->in - c0 < n - done ? t->in : c0 + n - done;
        add_row(m, t, row, c0, c1, out + done);
        done += c1 - c0;
    }
    return CO_OK;
}
