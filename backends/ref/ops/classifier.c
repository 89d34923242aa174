/* classifier.c: with a_v = h . w_v, z_v = inv_temperature * cap(a_v), cap(a) = softcap tanh(a/softcap):
 *   logp = z_target - lse, lse = log sum_v exp(z_v)
 *   da_v = dlogp ([v = target] - exp(z_v - lse)) inv_temperature cap'(a_v)
 *   dh = sum_v da_v w_v, dw_v = sum_t da_tv h_t
 * Targets below 0, equal to an ignore_index above 0, or not in the vocabulary give logp = lse = 0 and no gradient. */
#include "ops.h"
#include <math.h>

typedef struct rule { double inv_t, cap; int32_t ignore; } rule;

static rule rule_of(const ref_line *s)
{
    const co_classifier *a = s->op->attrs;
    return (rule){a->inv_temperature != 0 ? a->inv_temperature : 1, a->softcap, a->ignore_index};
}
static double raw(const ref_view *h, int64_t t, const ref_view *w, int64_t v)
{
    double sum = 0;
    for (int64_t c = 0; c < h->cols; c++) sum += ref_get(h, t, c) * ref_get(w, v, c);
    return sum;
}
static double logit(const rule *r, double a) { return r->inv_t * (r->cap > 0 ? r->cap * tanh(a / r->cap) : a); }
static double slope(const rule *r, double a) { return r->inv_t * (r->cap > 0 ? 1 - pow(tanh(a / r->cap), 2) : 1); }
static int counts(const rule *r, int32_t target, int64_t vocab)
{
    return target >= 0 && (target == 0 || target != r->ignore) && target < vocab;
}
static double log_sum_exp(const rule *r, const ref_view *h, int64_t t, const ref_view *w)
{
    double max = -INFINITY, sum = 0;
    for (int64_t v = 0; v < w->rows; v++) max = fmax(max, logit(r, raw(h, t, w, v)));
    for (int64_t v = 0; v < w->rows; v++) sum += exp(logit(r, raw(h, t, w, v)) - max);
    return max + log(sum);
}

static void forward(const ref_line *s, const ref_view *logp, const ref_view *lse)
{
    const ref_view *h = &s->in[0], *w = &s->in[1], *target = &s->in[2];
    const rule r = rule_of(s);
    for (int64_t t = 0; t < h->rows; t++) {
        const int on = counts(&r, target->ids[t], w->rows);
        const double z = on ? log_sum_exp(&r, h, t, w) : 0;
        ref_put(logp, t, 0, on ? logit(&r, raw(h, t, w, target->ids[t])) - z : 0);
        if (lse) ref_put(lse, t, 0, z);
    }
}

static void backward(const ref_line *s, const ref_view *dlogp, const ref_view *dh, const ref_view *dw)
{
    const ref_view *h = &s->in[0], *w = &s->in[1], *target = &s->in[2];
    const rule r = rule_of(s);
    if (dw->p && !dw->add)
        for (int64_t v = 0; v < w->rows; v++)
            for (int64_t c = 0; c < w->cols; c++) ref_put(dw, v, c, 0);
    for (int64_t t = 0; t < h->rows; t++) {
        for (int64_t c = 0; c < h->cols; c++) ref_put(dh, t, c, 0);
        if (!counts(&r, target->ids[t], w->rows)) continue;
        const double z = log_sum_exp(&r, h, t, w);
        for (int64_t v = 0; v < w->rows; v++) {
            const double a = raw(h, t, w, v);
            const double da = ref_get(dlogp, t, 0) * ((v == target->ids[t]) - exp(logit(&r, a) - z)) * slope(&r, a);
            for (int64_t c = 0; c < h->cols; c++) {
                if (dh->p) dh->p[t * dh->stride + c] += da * ref_get(w, v, c);
                if (dw->p) dw->p[v * dw->stride + c] += da * ref_get(h, t, c);
            }
        }
    }
}

void ref_TOKEN_LOGPROB(const ref_line *s) { forward(s, &s->out[0], &s->out[1]); }
void ref_TOKEN_LOGPROB_BWD(const ref_line *s) { backward(s, &s->in[4], &s->out[0], &s->out[1]); }
void ref_TOKEN_LOGPROB_GRAD(const ref_line *s)
{
    forward(s, &s->out[0], NULL);
    backward(s, &s->in[3], &s->out[1], &s->out[2]);
}
