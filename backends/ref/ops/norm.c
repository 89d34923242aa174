/* norm.c: RMSNorm (Zhang & Sennrich 2019, eq. 4) and LayerNorm (Ba et al. 2016, eq. 4).
 *
 * With xh the normalised row, y = xh w (+ b), r = 1/sqrt(var + eps), g = dy w, <.> the mean over the row:
 *   RMSNorm    xh = x r,         var = <x^2>        dx = r (g - xh <g xh>)
 *   LayerNorm  xh = (x - <x>) r, var = <(x-<x>)^2>  dx = r (g - <g> - xh <g xh>)
 *   dw = sum over rows of dy xh, db = sum over rows of dy. A residual's gradient `res` is added to dx. */
#include "ops.h"
#include <math.h>

typedef struct stats { double mean, r; } stats;

static stats of_row(const ref_view *x, int64_t t, double eps, int layer)
{
    double mean = 0, var = 0;
    for (int64_t c = 0; layer && c < x->cols; c++) mean += ref_get(x, t, c) / (double)x->cols;
    for (int64_t c = 0; c < x->cols; c++) var += pow(ref_get(x, t, c) - mean, 2) / (double)x->cols;
    return (stats){mean, 1 / sqrt(var + eps)};
}

static void forward(const ref_line *s, int layer)
{
    const ref_view *x = &s->in[0], *w = &s->in[1], *b = &s->in[2], *y = &s->out[0];
    const co_attr_f32 *eps = s->op->attrs;
    for (int64_t t = 0; t < x->rows; t++) {
        const stats k = of_row(x, t, eps->v, layer);
        for (int64_t c = 0; c < x->cols; c++)
            ref_put(y, t, c, (ref_get(x, t, c) - k.mean) * k.r * ref_get(w, c, 0) + (b->p ? ref_get(b, c, 0) : 0));
    }
}

static void backward(const ref_line *s, int layer)
{
    const ref_view *x = &s->in[0], *w = &s->in[1], *dy = &s->in[2], *res = &s->in[3];
    const ref_view *dx = &s->out[0], *dw = &s->out[1], *db = &s->out[2];
    const co_attr_f32 *eps = s->op->attrs;
    const double d = (double)x->cols;
    for (int64_t c = 0; c < x->cols; c++) { /* first: dx may stand where dy stands */
        double sum_w = 0, sum_b = 0;
        for (int64_t t = 0; t < x->rows; t++) {
            const stats k = of_row(x, t, eps->v, layer);
            sum_w += ref_get(dy, t, c) * (ref_get(x, t, c) - k.mean) * k.r;
            sum_b += ref_get(dy, t, c);
        }
        ref_put(dw, c, 0, sum_w);
        ref_put(db, c, 0, sum_b);
    }
    for (int64_t t = 0; t < x->rows; t++) {
        const stats k = of_row(x, t, eps->v, layer);
        double g_mean = 0, gx_mean = 0;
        for (int64_t c = 0; c < x->cols; c++) {
            const double g = ref_get(dy, t, c) * ref_get(w, c, 0);
            if (layer) g_mean += g / d;
            gx_mean += g * (ref_get(x, t, c) - k.mean) * k.r / d;
        }
        for (int64_t c = 0; c < x->cols; c++) {
            const double g = ref_get(dy, t, c) * ref_get(w, c, 0), xh = (ref_get(x, t, c) - k.mean) * k.r;
            ref_put(dx, t, c, k.r * (g - g_mean - xh * gx_mean) + (res->p ? ref_get(res, t, c) : 0));
        }
    }
}

void ref_RMSNORM(const ref_line *s) { forward(s, 0); }
void ref_LAYERNORM(const ref_line *s) { forward(s, 1); }
void ref_RMSNORM_BWD(const ref_line *s) { backward(s, 0); }
void ref_LAYERNORM_BWD(const ref_line *s) { backward(s, 1); }
