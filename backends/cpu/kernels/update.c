/* update.c: the loops under flat.c. */
#include "kernels.h"
#include <coati/halves.h>

void k_join(float *restrict to, const uint16_t *restrict bf16, const int16_t *restrict low, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] = co_halves_join(bf16[i], low[i]);
}
void k_part(uint16_t *restrict bf16, int16_t *restrict low, const float *restrict from, int64_t n)
{
    for (int64_t i = 0; i < n; i++) co_halves_split(from[i], &bf16[i], &low[i]);
}

double k_sqnorm(const float *x, int64_t n)
{
    double sum[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++) sum[k] += (double)x[i + k] * x[i + k];
    for (; i < n; i++) sum[0] += (double)x[i] * x[i];
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

/* Bound by memory: 28 bytes an element, one square root and one division. */
void k_adamw(float *restrict p, const float *restrict g, float *restrict m, float *restrict v, int64_t n, const cpu_adamw *s)
{
    const float gs = s->grad_scale, b1 = s->b1, b2 = s->b2, lr_t = s->lr_t, root = s->root, eps = s->eps, decay = s->decay;
    for (int64_t i = 0; i < n; i++) {
        const float x = g[i] * gs;
        const float mi = b1 * m[i] + (1 - b1) * x, vi = b2 * v[i] + (1 - b2) * x * x;
        m[i] = mi;
        v[i] = vi;
        p[i] = p[i] * decay - lr_t * mi / (__builtin_sqrtf(vi) * root + eps);
    }
}
