/* comm_traced.h: a comm whose collectives are spans of the trace: name, megabytes, how long the caller was in it. */
#ifndef CORE_TRAIN_COMM_TRACED_H
#define CORE_TRAIN_COMM_TRACED_H
#include <coati/coati.h>

/* Puts itself around *vt and *self; closing the outer closes the inner. CO_E_NOMEM leaves both as they were. */
int comm_trace(const co_comm_vt **vt, void **self);
#endif
