/* map.cu: functions of one, two or three elements. Each reads its inputs once and writes its outputs once, so the floor
 * is (inputs + outputs) * tokens * cols * sizeof(type) bytes over the memory's bandwidth; arithmetic is fp32. A thread
 * takes 16 bytes of a row at a time where all rows are aligned, else single elements. An element is read before it is
 * written by the same thread, so a result may stand where an input stood. */
#include "device.cuh"
#include <math_constants.h>

#define THREADS 256

struct attrs { float a, b; int flag; };

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/* Each F: inputs x[], outputs y[]. Formulas as in backends/ref/ops/pointwise.c. */
#define FN(name, inputs, outputs, ...)                                                                        \
    struct name {                                                                                             \
        static constexpr int in = inputs, out = outputs;                                                      \
        __device__ static void at(const float *x, float *y, const attrs &k) { (void)k; __VA_ARGS__ }          \
    };
FN(f_copy, 1, 1, y[0] = x[0];)
FN(f_add, 2, 1, y[0] = x[0] + x[1];)
FN(f_sub, 2, 1, y[0] = x[0] - x[1];)
FN(f_mul, 2, 1, y[0] = x[0] * x[1];)
FN(f_minimum, 2, 1, y[0] = x[0] < x[1] ? x[0] : x[1];)
FN(f_maximum, 2, 1, y[0] = x[0] > x[1] ? x[0] : x[1];)
FN(f_scale, 1, 1, y[0] = x[0] * k.a;)
FN(f_exp, 1, 1, y[0] = expf(x[0]);)
FN(f_log_sigmoid, 1, 1, y[0] = fminf(x[0], 0.0f) - log1pf(expf(-fabsf(x[0])));)
FN(f_clamp, 1, 1, y[0] = x[0] < k.a ? k.a : x[0] > k.b ? k.b : x[0];)
FN(f_relu, 1, 1, y[0] = x[0] > 0 ? x[0] : 0.0f;)
FN(f_silu, 1, 1, y[0] = x[0] * sigmoid(x[0]);)
FN(f_swiglu, 2, 1, y[0] = x[0] * sigmoid(x[0]) * x[1];)
FN(f_relu_bwd, 2, 1, y[0] = x[0] > 0 ? x[1] : 0.0f;)
FN(f_log_sigmoid_bwd, 2, 1, y[0] = x[1] * sigmoid(-x[0]);)
FN(f_clamp_bwd, 2, 1, y[0] = x[0] >= k.a && x[0] <= k.b ? x[1] : 0.0f;)
FN(f_silu_bwd, 2, 1, const float s = sigmoid(x[0]); y[0] = x[1] * (s + x[0] * s * (1 - s));)
FN(f_swiglu_bwd, 3, 2, const float s = sigmoid(x[0]); y[0] = x[2] * x[1] * (s + x[0] * s * (1 - s)); y[1] = x[2] * x[0] * s;)
FN(f_swiglu_grad, 3, 3, const float s = sigmoid(x[0]); y[0] = x[0] * s * x[1]; y[1] = x[2] * x[1] * (s + x[0] * s * (1 - s)); y[2] = x[2] * x[0] * s;)
FN(f_minimum_bwd, 3, 2, const float w = x[0] == x[1] ? 0.5f : x[0] < x[1] ? 1.0f : 0.0f; y[0] = x[2] * w; y[1] = x[2] * (1 - w);)
FN(f_maximum_bwd, 3, 2, const float w = x[0] == x[1] ? 0.5f : x[0] > x[1] ? 1.0f : 0.0f; y[0] = x[2] * w; y[1] = x[2] * (1 - w);)

/* GELU (Hendrycks & Gimpel 2016): x Phi(x), or its tanh approximation with u = sqrt(2/pi) (x + 0.044715 x^3). */
#define ROOT_2_OVER_PI 0.7978845608028654f
struct f_gelu {
    static constexpr int in = 1, out = 1;
    __device__ static void at(const float *x, float *y, const attrs &k)
    {
        const float u = ROOT_2_OVER_PI * (x[0] + 0.044715f * x[0] * x[0] * x[0]);
        y[0] = k.flag ? 0.5f * x[0] * (1 + tanhf(u)) : 0.5f * x[0] * (1 + erff(x[0] * CUDART_SQRT_HALF_F));
    }
};
struct f_gelu_bwd {
    static constexpr int in = 2, out = 1;
    __device__ static void at(const float *x, float *y, const attrs &k)
    {
        const float v = x[0];
        float slope;
        if (k.flag) {
            const float th = tanhf(ROOT_2_OVER_PI * (v + 0.044715f * v * v * v));
            slope = 0.5f * (1 + th) + 0.5f * v * (1 - th * th) * ROOT_2_OVER_PI * (1 + 0.134145f * v * v);
        } else {
            slope = 0.5f * (1 + erff(v * CUDART_SQRT_HALF_F)) + v * expf(-0.5f * v * v) * 0.3989422804014327f;
        }
        y[0] = x[1] * slope;
    }
};

template <class T> struct operands {
    const T *in[3];
    T *out[3];
    int64_t in_stride[3], out_stride[3];
};

template <class T, class F, int N> __global__ void __launch_bounds__(THREADS) map(operands<T> o, int64_t rows, int64_t cols, attrs k)
{
    const int64_t per_row = cols / N, total = rows * per_row;
    allow_next();
    await_previous();
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < total; i += (int64_t)gridDim.x * THREADS) {
        const int64_t r = i / per_row, c = (i - r * per_row) * N;
        float x[F::in][N], y[F::out][N];
#pragma unroll
        for (int j = 0; j < F::in; j++) load_vec<T, N>(o.in[j] + r * o.in_stride[j] + c, x[j]);
#pragma unroll
        for (int e = 0; e < N; e++) {
            float a[F::in], b[F::out];
#pragma unroll
            for (int j = 0; j < F::in; j++) a[j] = x[j][e];
            F::at(a, b, k);
#pragma unroll
            for (int j = 0; j < F::out; j++) y[j][e] = b[j];
        }
#pragma unroll
        for (int j = 0; j < F::out; j++)
            if (o.out[j]) store_vec<T, N>(o.out[j] + r * o.out_stride[j] + c, y[j]);
    }
}

/* Dense operands are one long row: no division by the width matters then, and odd widths still go by 16 bytes. */
template <class T, class F> static void launch(const cuda_step *s, attrs k)
{
    operands<T> o = {};
    int64_t rows = 0, cols = 0;
    int dense = 1, aligned = 1;
    for (int j = 0; j < F::in + F::out; j++) {
        const view *v = j < F::in ? &s->in[j] : &s->out[j - F::in];
        if (!v->p) continue;
        rows = v->rows, cols = v->cols;
        dense &= v->stride == v->cols || v->rows == 1;
    }
    for (int j = 0; j < F::in; j++) o.in[j] = (const T *)s->in[j].p, o.in_stride[j] = s->in[j].stride;
    for (int j = 0; j < F::out; j++) o.out[j] = (T *)s->out[j].p, o.out_stride[j] = s->out[j].stride;
    if (dense) cols *= rows, rows = 1;
    for (int j = 0; j < F::in; j++) aligned &= (uintptr_t)o.in[j] % 16 == 0 && (dense || aligned16(&s->in[j]));
    for (int j = 0; j < F::out; j++) aligned &= (uintptr_t)o.out[j] % 16 == 0 && (dense || aligned16(&s->out[j]));
    if (rows * cols == 0) return;
    const unsigned most = (unsigned)s->c->sms * 16;
    if (aligned && cols % VEC<T> == 0)
        launch_early(s->c, s->on, map<T, F, VEC<T>>, grid_for(rows * cols / VEC<T>, THREADS, most), THREADS, o, rows, cols, k);
    else
        launch_early(s->c, s->on, map<T, F, 1>, grid_for(rows * cols, THREADS, most), THREADS, o, rows, cols, k);
}

template <class F> static int run(const cuda_step *s, attrs k)
{
    WITH_TYPE(s->in[0].dtype, T, launch<T, F>(s, k);)
    return CO_OK;
}
static attrs no_attrs() { return attrs{0, 0, 0}; }
static attrs flag_of(const cuda_step *s) { return attrs{0, 0, ((const co_attr_i32 *)s->op->attrs)->v}; }
static attrs range_of(const cuda_step *s)
{
    const co_attr_range *r = (const co_attr_range *)s->op->attrs;
    return attrs{r->lo, r->hi, 0};
}

#define MAP(OP, F, ATTRS)                                                                                     \
    extern "C" int cuda_run_##OP(const cuda_step *s) { return run<F>(s, ATTRS); }
MAP(ADD, f_add, no_attrs())
MAP(SUB, f_sub, no_attrs())
MAP(MUL, f_mul, no_attrs())
MAP(MINIMUM, f_minimum, no_attrs())
MAP(MAXIMUM, f_maximum, no_attrs())
MAP(STOP_GRADIENT, f_copy, no_attrs())
MAP(EXP, f_exp, no_attrs())
MAP(LOG_SIGMOID, f_log_sigmoid, no_attrs())
MAP(LOG_SIGMOID_BWD, f_log_sigmoid_bwd, no_attrs())
MAP(CLAMP, f_clamp, range_of(s))
MAP(CLAMP_BWD, f_clamp_bwd, range_of(s))
MAP(RELU, f_relu, no_attrs())
MAP(RELU_BWD, f_relu_bwd, no_attrs())
MAP(SILU, f_silu, no_attrs())
MAP(SILU_BWD, f_silu_bwd, no_attrs())
MAP(SWIGLU, f_swiglu, no_attrs())
MAP(SWIGLU_BWD, f_swiglu_bwd, no_attrs())
MAP(SWIGLU_GRAD, f_swiglu_grad, no_attrs())
MAP(GELU, f_gelu, flag_of(s))
MAP(GELU_BWD, f_gelu_bwd, flag_of(s))
MAP(MINIMUM_BWD, f_minimum_bwd, no_attrs())
MAP(MAXIMUM_BWD, f_maximum_bwd, no_attrs())

/* SCALE between types: the one conversion a plan may hold. */
template <class S, class D> __global__ void __launch_bounds__(THREADS) convert(rows_of<const S> x, rows_of<D> y, int64_t rows, int64_t cols, float f)
{
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < rows * cols; i += (int64_t)gridDim.x * THREADS) {
        const int64_t r = i / cols, c = i - r * cols;
        y.row(r)[c] = from_float<D>(to_float(x.row(r)[c]) * f);
    }
}
extern "C" int cuda_run_SCALE(const cuda_step *s)
{
    const float f = ((const co_attr_f32 *)s->op->attrs)->v;
    const view *x = &s->in[0], *y = &s->out[0];
    if (x->dtype == y->dtype) return run<f_scale>(s, attrs{f, 0, 0});
    if (x->rows * x->cols == 0) return CO_OK;
    const unsigned blocks = grid_for(x->rows * x->cols, THREADS, (unsigned)s->c->sms * 16);
    WITH_TYPE(x->dtype, S, WITH_TYPE(y->dtype, D, (convert<S, D><<<blocks, THREADS, 0, s->on>>>(*x, *y, x->rows, x->cols, f));))
    return CO_OK;
}
