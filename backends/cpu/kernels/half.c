/* half.c: runs of bf16 and fp16 to and from fp32. Bound by memory: 6 bytes an element. */
#include "kernels.h"
#include "../half.h"

static void widen_bf16(float *restrict to, const uint16_t *restrict from, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] = bf16_to_f32(from[i]);
}
static void widen_f16(float *restrict to, const uint16_t *restrict from, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] = f16_to_f32(from[i]);
}
static void narrow_bf16(uint16_t *restrict to, const float *restrict from, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] = bf16_from_f32(from[i]);
}
static void narrow_f16(uint16_t *restrict to, const float *restrict from, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] = f16_from_f32(from[i]);
}

void k_widen(float *to, const void *from, uint32_t type, int64_t n)
{
    if (type == CO_BF16) widen_bf16(to, from, n);
    else if (type == CO_F16) widen_f16(to, from, n);
    else if (n) memcpy(to, from, (size_t)n * sizeof *to);
}
void k_narrow(void *to, uint32_t type, const float *from, int64_t n)
{
    if (type == CO_BF16) narrow_bf16(to, from, n);
    else if (type == CO_F16) narrow_f16(to, from, n);
    else if (n) memcpy(to, from, (size_t)n * sizeof *from);
}
