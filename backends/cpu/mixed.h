/* mixed.h: lines of a plan with bf16 or fp16 values, run by the fp32 kernels. */
#ifndef CPU_MIXED_H
#define CPU_MIXED_H
#include "cpu.h"

int mixed_types(const co_plan *p, const co_step_op *op);        /* some value has 16 bits */
size_t mixed_scratch(const cpu *c, const co_plan *p, const co_step_op *op); /* bytes at capacity, the kernel's own included */
void mixed_run(cpu_step *s);
#endif
