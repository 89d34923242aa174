/* sample.c: SAMPLE_TOKEN as <coati/ops.h> defines it, one token after the other by falling logit. */
#include "ops.h"
#include <math.h>

/* The next after `last` (-1: the first) by falling logit, then rising id; -1 when there is none. */
static int64_t next(const ref_view *z, int64_t r, int64_t last)
{
    int64_t best = -1;
    for (int64_t v = 0; v < z->cols; v++) {
        const double x = ref_get(z, r, v), at = last < 0 ? INFINITY : ref_get(z, r, last);
        if (last >= 0 && (x > at || (x == at && v <= last))) continue;
        if (best < 0 || x > ref_get(z, r, best)) best = v;
    }
    return best;
}

static int64_t draw(const ref_view *z, int64_t r, double temperature, double top_k, double top_p, double u)
{
    const int64_t first = next(z, r, -1);
    const double max = ref_get(z, r, first);
    uint64_t all = 0, kept = 0, sum = 0;
    double kth = -INFINITY;
    int64_t v = first;
    for (int64_t n = 1; v >= 0 && top_k > 0 && n < (int64_t)top_k; n++) v = next(z, r, v);
    if (top_k > 0 && v >= 0) kth = ref_get(z, r, v);
#define WEIGHT(v) ((uint64_t)floor(CO_SAMPLE_ONE * exp((ref_get(z, r, v) - max) / temperature)))
    for (v = first; v >= 0 && ref_get(z, r, v) >= kth; v = next(z, r, v)) all += WEIGHT(v);
    const double need = top_p < 1 ? ceil(top_p * (double)all) : (double)all;
    for (v = first; v >= 0 && ref_get(z, r, v) >= kth && (v == first || (double)kept < need); v = next(z, r, v)) kept += WEIGHT(v);
    const uint64_t target = (uint64_t)floor(u * (double)kept);
    for (v = first;; v = next(z, r, v)) {
        sum += WEIGHT(v);
        if (sum > target) return v;
    }
}

void ref_SAMPLE_TOKEN(const ref_line *s)
{
    const ref_view *z = &s->in[0], *how = &s->in[1]; /* [4] columns */
    for (int64_t r = 0; r < z->rows; r++) {
        const double temperature = ref_get(&how[0], r, 0);
        const int64_t id = temperature <= 0 ? next(z, r, -1) : draw(z, r, temperature, ref_get(&how[1], r, 0), ref_get(&how[2], r, 0), ref_get(&how[3], r, 0));
        double max = ref_get(z, r, next(z, r, -1)), sum = 0;
        for (int64_t v = 0; v < z->cols; v++) sum += exp(ref_get(z, r, v) - max);
        if (s->out[0].ids) s->out[0].ids[r] = (int32_t)id;
        ref_put(&s->out[1], r, 0, ref_get(z, r, id) - max - log(sum));
    }
}
