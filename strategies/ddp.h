/* ddp.h: naive on every rank, and what makes it one run (ddp.c). */
#ifndef STRATEGIES_DDP_H
#define STRATEGIES_DDP_H
#include <coati/coati.h>

extern const co_strategy_vt naive_vt;
extern const co_feature ddp_feature;
#endif
