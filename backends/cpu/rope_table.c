/* rope_table.c: the angles of rotary positions, made in double and kept as cos, sin for the first ROPE_TABLE_POSITIONS
 * positions; later ones are computed as they come. One table for all lines with the same settings. */
#include "cpu.h"
#include <math.h>

static int same(const co_rope *a, const co_rope *b)
{
    return a->rotary_dims == b->rotary_dims && a->scaling == b->scaling && a->theta == b->theta && a->factor == b->factor &&
           a->low_freq_factor == b->low_freq_factor && a->high_freq_factor == b->high_freq_factor &&
           a->original_context == b->original_context;
}

const rope_table *cpu_rope_find(const cpu *c, const co_rope *r)
{
    for (const rope_table *t = c->ropes; t; t = t->next)
        if (same(&t->key, r)) return t;
    return NULL;
}

static double frequency(const co_rope *r, uint32_t i)
{
    const double f = pow((double)r->theta, -2.0 * i / r->rotary_dims);
    if (r->scaling == CO_ROPE_LINEAR) return f / r->factor;
    if (r->scaling != CO_ROPE_LLAMA3) return f;
    const double wave = 6.283185307179586476925 / f, lo = r->low_freq_factor, hi = r->high_freq_factor;
    if (wave < r->original_context / hi) return f;
    if (wave > r->original_context / lo) return f / r->factor;
    const double smooth = (r->original_context / wave - lo) / (hi - lo);
    return (1 - smooth) * f / r->factor + smooth * f;
}

int cpu_rope_prepare(cpu *c, const co_rope *r)
{
    if (cpu_rope_find(c, r)) return CO_OK;
    const uint32_t half = r->rotary_dims / 2;
    rope_table *t = c->host->alloc(c->host, sizeof *t, 16);
    double *freq = c->host->alloc(c->host, half * sizeof *freq, 16);
    float *cs = c->host->alloc(c->host, (size_t)ROPE_TABLE_POSITIONS * half * 2 * sizeof *cs, 64);
    if (!t || !freq || !cs) {
        c->host->free(c->host, t);
        c->host->free(c->host, freq);
        c->host->free(c->host, cs);
        return CO_FAIL(c->host, CO_E_NOMEM, "backend cpu: out of memory");
    }
    for (uint32_t i = 0; i < half; i++) freq[i] = frequency(r, i);
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t p = 0; p < ROPE_TABLE_POSITIONS; p++)
        for (uint32_t i = 0; i < half; i++) {
            cs[p * 2 * half + i] = (float)cos((double)p * freq[i]);
            cs[p * 2 * half + half + i] = (float)sin((double)p * freq[i]);
        }
    *t = (rope_table){*r, cs, freq, c->ropes};
    c->ropes = t;
    return CO_OK;
}

void cpu_rope_free(cpu *c)
{
    while (c->ropes) {
        rope_table *t = c->ropes;
        c->ropes = t->next;
        c->host->free(c->host, t->cs);
        c->host->free(c->host, t->freq);
        c->host->free(c->host, t);
    }
}
