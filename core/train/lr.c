#include "core/train/lr.h"
#include <math.h>

double lr_factor(lr_shape shape, int64_t step, int64_t total, double warmup_ratio, double min_ratio)
{
    const int64_t warmup = (int64_t)ceil(warmup_ratio * (double)total);
    if (step < warmup) return (double)step / (double)(warmup > 1 ? warmup : 1);
    if (shape == LR_CONSTANT) return 1;
    const int64_t rest = total - warmup > 1 ? total - warmup : 1;
    const double done = step < warmup + rest ? (double)(step - warmup) / (double)rest : 1;
    const double f = shape == LR_COSINE ? 0.5 * (1 + cos(3.14159265358979323846 * done)) : (double)(total - step) / (double)rest;
    return min_ratio + (1 - min_ratio) * (f > 0 ? f : 0);
}
