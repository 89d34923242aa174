/* comm_traced.h: a comm that counts what its rank sends, and whose collectives are spans of the trace, if there is one: name,
 * megabytes, how long the caller was in it. */
#ifndef CORE_TRAIN_COMM_TRACED_H
#define CORE_TRAIN_COMM_TRACED_H
#include <coati/coati.h>

/* Puts itself around *vt and *self; closing the outer closes the inner. An error leaves both as they were. */
int comm_trace(const co_comm_vt **vt, void **self);
double comm_sent(const void *self); /* bytes by theory: (N-1)/N of each buffer, twice that to sum it everywhere */
#endif
