/* planned.h: see planned.c. */
#ifndef CORE_TRAIN_PLANNED_H
#define CORE_TRAIN_PLANNED_H
#include "core/train/run.h"

extern const co_comm_vt planned_comm; /* self: a run with plan_rank and plan_world */
#endif
