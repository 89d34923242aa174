/* rope.c: rotary positions (Su et al. 2021). Angles are made in double and kept as cos, sin for the first
 * ROPE_TABLE_POSITIONS positions; later ones are computed as they come. The backward turns the other way. */
#include "kernels.h"
#include <math.h>
#include <string.h>

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
            cs[(p * half + i) * 2] = (float)cos((double)p * freq[i]);
            cs[(p * half + i) * 2 + 1] = (float)sin((double)p * freq[i]);
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

static void turn(const float *x, float *y, const rope_table *t, int64_t pos, const co_rope *r, int64_t hd, float dir)
{
    const uint32_t half = r->rotary_dims / 2;
    for (uint32_t i = 0; i < half; i++) {
        const float c = pos < ROPE_TABLE_POSITIONS ? t->cs[(pos * half + i) * 2] : (float)cos((double)pos * t->freq[i]);
        const float sn = pos < ROPE_TABLE_POSITIONS ? t->cs[(pos * half + i) * 2 + 1] : (float)sin((double)pos * t->freq[i]);
        const uint32_t a = r->neox ? i : 2 * i, b = r->neox ? i + half : 2 * i + 1;
        for (uint32_t h = 0; h < r->n_heads; h++) {
            const float u = x[h * hd + a], v = x[h * hd + b];
            y[h * hd + a] = u * c - v * sn * dir;
            y[h * hd + b] = v * c + u * sn * dir;
        }
    }
    if (r->rotary_dims == hd || x == y) return;
    for (uint32_t h = 0; h < r->n_heads; h++)
        memcpy(y + h * hd + r->rotary_dims, x + h * hd + r->rotary_dims, (size_t)(hd - r->rotary_dims) * sizeof(float));
}

void k_rope(const cpu_step *s)
{
    const view *x = &s->in[0], *y = &s->out[0];
    const co_rope *r = cpu_attrs(s);
    const int64_t hd = x->cols / r->n_heads;
    const float dir = s->op->op == CO_OP_ROPE ? 1.0f : -1.0f;
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < x->rows; t++)
        turn(x->p + t * x->stride, y->p + t * y->stride, s->rope, view_ids(&s->in[1])[t], r, hd, dir);
}
