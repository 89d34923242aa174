/* trace.h: spans of streams, for the backend's extension CO_DEVICE_TRACE_ID. */
#ifndef CUDA_TRACE_H
#define CUDA_TRACE_H
#include "cuda.h"

extern const co_device_trace cuda_device_trace;
void trace_free(gpu *c); /* nothing if nothing was traced */
#endif
