/* plan.h: plans on the GPU: what can run, how much scratch it takes, fused lines, and queueing them. */
#ifndef CUDA_PLAN_H
#define CUDA_PLAN_H
#include <coati/coati.h>

int plan_supports(void *self, const co_plan *p, uint32_t step, char *why, size_t cap);
int plan_workspace(void *self, const co_plan *p, size_t *bytes);
int plan_prepare(void *self, const co_plan *p, void **compiled);
void plan_discard(void *self, void *compiled);
int plan_run(void *self, void *compiled, const co_binding *b, co_stream on);
#endif
