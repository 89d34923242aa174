/* rope.c: rotary positions (Su et al. 2021), from ../rope_table.c's angles. The backward turns the other way. */
#include "kernels.h"
#include <math.h>
#include <string.h>

#define PIECE 64 /* frequencies */

/* n pairs (x[first], x[second]) of one head by their angles; y may be x. */
static void turn_head(const float *x, float *y, const float *c, const float *sn, int64_t first, int64_t second, int64_t step, int64_t n, float dir)
{
    if (step == 1) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            const float u = x[first + i], v = x[second + i], s = sn[i] * dir;
            y[first + i] = u * c[i] - v * s;
            y[second + i] = v * c[i] + u * s;
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const float u = x[first + i * step], v = x[second + i * step], s = sn[i] * dir;
        y[first + i * step] = u * c[i] - v * s;
        y[second + i * step] = v * c[i] + u * s;
    }
}

static void turn(const float *x, float *y, const rope_table *t, int64_t pos, const co_rope *r, int64_t hd, float dir)
{
    const int64_t half = r->rotary_dims / 2;
    for (int64_t from = 0; from < half; from += PIECE) {
        const int64_t n = half - from < PIECE ? half - from : PIECE;
        float late[2][PIECE];
        const float *c = late[0], *sn = late[1];
        if (pos < ROPE_TABLE_POSITIONS) {
            c = t->cs + pos * 2 * half + from, sn = c + half;
        } else {
            for (int64_t i = 0; i < n; i++) late[0][i] = (float)cos((double)pos * t->freq[from + i]), late[1][i] = (float)sin((double)pos * t->freq[from + i]);
        }
        for (int64_t h = 0; h < r->n_heads; h++) {
            if (r->neox) turn_head(x + h * hd, y + h * hd, c, sn, from, from + half, 1, n, dir);
            else turn_head(x + h * hd, y + h * hd, c, sn, 2 * from, 2 * from + 1, 2, n, dir);
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
