/* rope.c: rotary positions (Su et al. 2021, eq. 34): the pair (a, b) at position p turns by the angle p f_i,
 * f_i = theta^(-2i/rotary_dims). The backward turns back: a rotation's transpose. */
#include "ops.h"
#include <math.h>

#define TAU 6.28318530717958647692

/* YaRN (Peng et al. 2023, 3.2): the pair at which `turns` full turns fit into the original context. */
static double yarn_pair(const co_rope *a, double dims, double turns)
{
    return dims * log(a->original_context / (turns * TAU)) / (2 * log(a->theta));
}

static double frequency(const co_rope *a, double dims, int64_t i)
{
    const double f = pow(a->theta, -2.0 * (double)i / dims);
    switch (a->scaling) {
    case CO_ROPE_LINEAR: return f / a->factor; /* Chen et al. 2023: positions are divided by the factor */
    case CO_ROPE_LLAMA3: {                     /* Meta's llama3 reference, apply_scaling */
        const double turns = a->original_context * f / TAU; /* context over wavelength */
        if (turns > a->high_freq_factor) return f;
        if (turns < a->low_freq_factor) return f / a->factor;
        const double smooth = (turns - a->low_freq_factor) / (a->high_freq_factor - a->low_freq_factor);
        return (1 - smooth) * f / a->factor + smooth * f;
    }
    case CO_ROPE_YARN: { /* between the two pairs a ramp from untouched to divided */
        double lo = floor(yarn_pair(a, dims, a->beta_fast)), hi = ceil(yarn_pair(a, dims, a->beta_slow));
        if (lo < 0) lo = 0;
        if (hi > dims - 1) hi = dims - 1;
        if (hi == lo) hi += 0.001;
        double ramp = ((double)i - lo) / (hi - lo);
        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        return f * (1 - ramp) + f / a->factor * ramp;
    }
    default: return f;
    }
}

/* dir +1 turns, -1 turns back. YaRN also scales the turned part by attn_factor (0: 1). */
static void turn(const ref_line *s, double dir)
{
    const ref_view *x = &s->in[0], *pos = &s->in[1], *y = &s->out[0];
    const co_rope *a = s->op->attrs;
    const int64_t hd = x->cols / a->n_heads, dims = a->rotary_dims ? a->rotary_dims : hd;
    const double gain = a->scaling == CO_ROPE_YARN && a->attn_factor != 0 ? a->attn_factor : 1;
    for (int64_t t = 0; t < x->rows; t++)
        for (int64_t h = 0; h < a->n_heads; h++) {
            for (int64_t i = 0; i < dims / 2; i++) {
                const double angle = dir * pos->ids[t] * frequency(a, (double)dims, i);
                const int64_t ca = h * hd + (a->neox ? i : 2 * i), cb = h * hd + (a->neox ? i + dims / 2 : 2 * i + 1);
                const double u = ref_get(x, t, ca), v = ref_get(x, t, cb);
                ref_put(y, t, ca, gain * (u * cos(angle) - v * sin(angle)));
                ref_put(y, t, cb, gain * (u * sin(angle) + v * cos(angle)));
            }
            for (int64_t c = h * hd + dims; c < (h + 1) * hd; c++) ref_put(y, t, c, ref_get(x, t, c));
        }
}
void ref_ROPE(const ref_line *s) { turn(s, 1); }
void ref_ROPE_BWD(const ref_line *s) { turn(s, -1); }
