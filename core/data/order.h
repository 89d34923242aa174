/* order.h: the seeded permutation of an epoch, one place at a time: no memory, any place first. */
#ifndef CORE_DATA_ORDER_H
#define CORE_DATA_ORDER_H
#include <stdint.h>

/* Record at place `pos` of pass `epoch` over n records; 0 <= pos < n. */
int64_t order_at(uint64_t seed, int64_t epoch, int64_t n, int64_t pos);
#endif
