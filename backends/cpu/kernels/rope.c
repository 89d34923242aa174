/* rope.c: rotary positions (Su et al. 2021), from ../rope_table.c's angles. The backward turns the other way. */
#include "kernels.h"
#include <math.h>
#include <string.h>

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
