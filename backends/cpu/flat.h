/* flat.h: the flat-buffer members of the backend's table. */
#ifndef CPU_FLAT_H
#define CPU_FLAT_H
#include "cpu.h"
int flat_cast(void *self, void *dst, co_dtype dt, const void *src, co_dtype st, int64_t n, co_stream on);
int flat_axpy(void *self, void *y, const void *x, co_dtype t, float a, int64_t n, co_stream on);
int flat_absmax(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on);
int flat_sqnorm(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on);
int flat_adamw(void *self, const co_optim_slice *s, float b1, float b2, float eps, float wd, co_stream on);
int flat_step_factor(void *self, const co_step_rule *rule, const double *sums, int64_t n, co_step_state *state, co_stream on);
#endif
