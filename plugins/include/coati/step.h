/* step.h: what becomes of a step's gradients, decided where they are: their norm, the factor that clips them, whether the
 * step is skipped, and the loss scale of the next one. One source for every backend, in C and in CUDA: a backend's
 * step_factor sums the squares and calls co_step_judge, so that no host has to look before the update runs. */
#ifndef COATI_STEP_H
#define COATI_STEP_H
#include "abi.h"
#if defined(__CUDACC__)
#define CO_BOTH static __host__ __device__ __inline__
#else
#include <math.h>
#define CO_BOTH static inline
#endif

/* Dynamic loss scaling (Micikevicius et al. 2018) for fp16, whose gradients vanish below 6e-8. `hysteresis` overflows are
 * taken before the scale falls; each further one lowers it at once, until it has grown again. */
typedef struct co_scaler {
    float growth_factor, backoff_factor, min_scale, max_scale; /* min and max 0: no limit */
    int32_t growth_interval, hysteresis;
} co_scaler;

enum { CO_NORM_2 = 0, CO_NORM_INF = 1 }; /* root of the sum of squares; largest absolute value */

typedef struct co_step_rule {
    uint32_t struct_size;
    int32_t scaling;    /* 1: overflows are skipped and `scaler` moves the scale; 0: a gradient that is not finite ends all
                           updates, so that the weights stay those of the step before until the host has seen it */
    float max_norm;     /* gradients are scaled down to it; 0: never */
    uint32_t norm_type; /* CO_NORM_*: of max_norm and of the state's norm */
    co_scaler scaler;
    const double *loss; /* optional, beside the state: a loss that is not finite counts as an overflow */
    uint64_t reserved[4];
} co_step_rule;

/* Lives where kernels read it: device memory on a device. The host starts it with zeros and loss_scale (1 without
 * scaling), saves and restores loss_scale, growth_step, hyst_step and updates. */
typedef struct co_step_state {
    double norm;       /* of the step's gradients, loss scale taken out, before clipping */
    float factor;      /* the update multiplies gradients by it: clipping and 1 / used_scale */
    int32_t skip;      /* non-zero: the update changes nothing */
    float loss_scale;  /* LOSS_SEED multiplies by it: of the step under way, after judging of the next */
    float used_scale;  /* what the judged step's gradients carried */
    int32_t growth_step, hyst_step;
    int32_t stuck;     /* without scaling: a step was not finite */
    int32_t pad;
    int64_t updates;   /* steps that were not skipped, the judged one included: the t of bias corrections */
} co_step_state;

/* After step k's flag the scale is that of step k+1. */
CO_BOTH void co_scaler_update(const co_scaler *r, int overflow, co_step_state *s)
{
    if (overflow) {
        s->hyst_step++;
        s->growth_step = 0;
        if (s->hyst_step < r->hysteresis) return;
        s->loss_scale *= r->backoff_factor;
        if (r->min_scale > 0 && s->loss_scale < r->min_scale) s->loss_scale = r->min_scale;
        return;
    }
    s->growth_step++;
    if (s->growth_step != r->growth_interval) return;
    s->growth_step = s->hyst_step = 0;
    s->loss_scale *= r->growth_factor;
    if (r->max_scale > 0 && s->loss_scale > r->max_scale) s->loss_scale = r->max_scale;
}

/* Of the parts' measures (flat_sqnorm's or flat_absmax's) the whole's; NaN stays. */
CO_BOTH double co_norm_join(const co_step_rule *r, double a, double b)
{
    if (r->norm_type != CO_NORM_INF) return a + b;
    return a != a || a > b ? a : b;
}

/* squares: sum of the squares of all gradients as they are, scaled; with CO_NORM_INF their largest absolute value. */
CO_BOTH void co_step_judge(const co_step_rule *r, double squares, co_step_state *s)
{
    const double scale = r->scaling ? (double)s->loss_scale : 1.0, loss = r->loss ? *r->loss : 0;
    const int finite = squares - squares == 0 && loss - loss == 0;
    s->norm = (r->norm_type == CO_NORM_INF ? squares : sqrt(squares)) / scale;
    s->used_scale = (float)scale;
    if (r->scaling) co_scaler_update(&r->scaler, !finite, s);
    else if (!finite) s->stuck = 1;
    s->skip = !finite || s->stuck;
    /* As torch.nn.utils.clip_grad_norm_. */
    s->factor = r->max_norm > 0 && r->max_norm / (s->norm + 1e-6) < 1 ? (float)(r->max_norm / (s->norm + 1e-6) / scale)
                                                                      : (float)(1 / scale);
    if (s->skip) s->factor = 0;
    else s->updates++;
}
#endif
