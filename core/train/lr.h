/* lr.h: the learning rate of a step, as Hugging Face's schedules define it. */
#ifndef CORE_TRAIN_LR_H
#define CORE_TRAIN_LR_H
#include <stdint.h>

typedef enum lr_shape { LR_COSINE = 0, LR_LINEAR, LR_CONSTANT } lr_shape;

/* Factor on the peak for step `step` (from 0) of `total`: s/W during W = ceil(warmup_ratio*total) steps, then
 * cosine: min + (1-min) (1 + cos(pi (s-W)/(T-W)))/2, linear: min + (1-min)(T-s)/(T-W), constant: 1. */
double lr_factor(lr_shape shape, int64_t step, int64_t total, double warmup_ratio, double min_ratio);
#endif
