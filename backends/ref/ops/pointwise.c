/* pointwise.c: functions of one element or two, dropout, column copies. Each element is read before it is
 * written, so a result may stand where an input stood. */
#include "ops.h"
#include <math.h>

typedef double (*fn1)(double x, const void *attrs);
typedef double (*fn2)(double a, double b, const void *attrs);

static void map1(const ref_line *s, fn1 f)
{
    const ref_view *x = &s->in[0], *y = &s->out[0];
    for (int64_t t = 0; t < x->rows; t++)
        for (int64_t c = 0; c < x->cols; c++) ref_put(y, t, c, f(ref_get(x, t, c), s->op->attrs));
}
static void map2(const ref_line *s, fn2 f)
{
    const ref_view *a = &s->in[0], *b = &s->in[1], *y = &s->out[0];
    for (int64_t t = 0; t < a->rows; t++)
        for (int64_t c = 0; c < a->cols; c++) ref_put(y, t, c, f(ref_get(a, t, c), ref_get(b, t, c), s->op->attrs));
}

#define F1(op, expr)                                                                                          \
    static double f_##op(double x, const void *at)                                                            \
    {                                                                                                         \
        (void)at;                                                                                             \
        return expr;                                                                                          \
    }                                                                                                         \
    void ref_##op(const ref_line *s) { map1(s, f_##op); }
#define F2(op, x, y, expr)                                                                                    \
    static double f_##op(double x, double y, const void *at)                                                  \
    {                                                                                                         \
        (void)at;                                                                                             \
        return expr;                                                                                          \
    }                                                                                                         \
    void ref_##op(const ref_line *s) { map2(s, f_##op); }

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double silu_slope(double x) { return sigmoid(x) * (1 + x * (1 - sigmoid(x))); }

/* GELU (Hendrycks & Gimpel 2016): x Phi(x), or its tanh approximation with u = sqrt(2/pi) (x + 0.044715 x^3). */
static double gelu_u(double x) { return sqrt(2 / M_PI) * (x + 0.044715 * x * x * x); }
static double gelu(double x, int tanh_approx)
{
    return tanh_approx ? 0.5 * x * (1 + tanh(gelu_u(x))) : 0.5 * x * (1 + erf(x / sqrt(2)));
}
static double gelu_slope(double x, int tanh_approx)
{
    if (!tanh_approx) return 0.5 * (1 + erf(x / sqrt(2))) + x * exp(-x * x / 2) / sqrt(2 * M_PI);
    const double th = tanh(gelu_u(x)), du = sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
    return 0.5 * (1 + th) + 0.5 * x * (1 - th * th) * du;
}
static int flag(const void *at) { return ((const co_attr_i32 *)at)->v; }
static double lo(const void *at) { return ((const co_attr_range *)at)->lo; }
static double hi(const void *at) { return ((const co_attr_range *)at)->hi; }

F1(SCALE, x * ((const co_attr_f32 *)at)->v)
F1(STOP_GRADIENT, x)
F1(GELU, gelu(x, flag(at)))
F1(SILU, x * sigmoid(x))
F1(RELU, x > 0 ? x : 0)
F1(EXP, exp(x))
F1(LOG_SIGMOID, fmin(x, 0) - log1p(exp(-fabs(x))))
F1(CLAMP, x < lo(at) ? lo(at) : x > hi(at) ? hi(at) : x)
F2(ADD, a, b, a + b)
F2(SUB, a, b, a - b)
F2(MUL, a, b, a *b)
F2(MINIMUM, a, b, a < b ? a : b)
F2(MAXIMUM, a, b, a > b ? a : b)
F2(SWIGLU, gate, up, gate *sigmoid(gate) * up)
F2(GELU_BWD, x, dy, dy *gelu_slope(x, flag(at)))
F2(SILU_BWD, x, dy, dy *silu_slope(x))
F2(RELU_BWD, x, dy, x > 0 ? dy : 0)
F2(LOG_SIGMOID_BWD, x, dy, dy *sigmoid(-x))
F2(CLAMP_BWD, x, dy, x >= lo(at) && x <= hi(at) ? dy : 0)

void ref_SWIGLU_BWD(const ref_line *s)
{
    const ref_view *gate = &s->in[0], *up = &s->in[1], *dh = &s->in[2];
    for (int64_t t = 0; t < gate->rows; t++)
        for (int64_t c = 0; c < gate->cols; c++) {
            const double g = ref_get(gate, t, c), u = ref_get(up, t, c), d = ref_get(dh, t, c);
            ref_put(&s->out[0], t, c, d * u * silu_slope(g));
            ref_put(&s->out[1], t, c, d * g * sigmoid(g));
        }
}

void ref_SWIGLU_GRAD(const ref_line *s)
{
    const ref_view *gate = &s->in[0], *up = &s->in[1], *dh = &s->in[2];
    for (int64_t t = 0; t < gate->rows; t++)
        for (int64_t c = 0; c < gate->cols; c++) {
            const double g = ref_get(gate, t, c), u = ref_get(up, t, c), d = ref_get(dh, t, c);
            ref_put(&s->out[0], t, c, g * sigmoid(g) * u);
            ref_put(&s->out[1], t, c, d * u * silu_slope(g));
            ref_put(&s->out[2], t, c, d * g * sigmoid(g));
        }
}

/* The chosen input gets dy, the other 0; on a tie each gets half. */
static void choose_bwd(const ref_line *s, int greater)
{
    for (int64_t t = 0; t < s->in[2].rows; t++)
        for (int64_t c = 0; c < s->in[2].cols; c++) {
            const double a = ref_get(&s->in[0], t, c), b = ref_get(&s->in[1], t, c), dy = ref_get(&s->in[2], t, c);
            const double share = a == b ? 0.5 : (a > b) == greater ? 1 : 0;
            ref_put(&s->out[0], t, c, dy * share);
            ref_put(&s->out[1], t, c, dy * (1 - share));
        }
}
void ref_MINIMUM_BWD(const ref_line *s) { choose_bwd(s, 0); }
void ref_MAXIMUM_BWD(const ref_line *s) { choose_bwd(s, 1); }

/* The definition of co_attr_dropout in <coati/ops.h>. */
static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}
void ref_DROPOUT(const ref_line *s)
{
    const co_attr_dropout *a = s->op->attrs;
    const co_live *l = s->live;
    const uint64_t stream = a->stream + (uint64_t)l->unit * 65536, limit = (uint64_t)((double)a->p * 0x1p64);
    for (int32_t q = 0; q < l->n_seqs; q++)
        for (int64_t t = l->seq_start[q]; t < l->seq_start[q + 1]; t++) {
            const uint64_t position = (uint64_t)(t - l->seq_start[q]), key = l->seq_key ? l->seq_key[q] : 0;
            const uint64_t base = mix(key + mix(l->step_key + mix(position)));
            for (int64_t c = 0; c < s->in[0].cols; c++) {
                const int kept = s->host->random(s->host, stream, base + (uint64_t)c) >= limit;
                ref_put(&s->out[0], t, c, kept ? ref_get(&s->in[0], t, c) / (1 - (double)a->p) : 0);
            }
        }
}

static void copy_columns(const ref_view *from, int64_t c0, const ref_view *to, int64_t d0, int64_t n)
{
    for (int64_t t = 0; t < to->rows; t++)
        for (int64_t c = 0; c < n; c++) ref_put(to, t, d0 + c, ref_get(from, t, c0 + c));
}
/* Parts and whole may share memory; then each element is copied onto itself. */
void ref_CONCAT(const ref_line *s)
{
    int64_t at = 0;
    for (uint32_t i = 0; i < s->op->n_in; at += s->in[i++].cols) copy_columns(&s->in[i], 0, &s->out[0], at, s->in[i].cols);
}
void ref_SPLIT(const ref_line *s)
{
    int64_t at = 0;
    for (uint32_t i = 0; i < s->op->n_out; at += s->out[i++].cols) copy_columns(&s->in[0], at, &s->out[i], 0, s->out[i].cols);
}
void ref_FILL0(const ref_line *s)
{
    for (int64_t t = 0; t < s->out[0].rows; t++)
        for (int64_t c = 0; c < s->out[0].cols; c++) ref_put(&s->out[0], t, c, 0);
}
