/* device_trace.h: spans of a device's streams in the trace, beside those of the host's threads, where the backend can tell when what was
 * queued ran (CO_DEVICE_TRACE_ID). Everything else, and everything while nothing is traced, costs a comparison. [main] */
#ifndef CORE_GRAPH_DEVICE_TRACE_H
#define CORE_GRAPH_DEVICE_TRACE_H
#include <coati/backend.h>

void device_trace_open(const co_backend_vt *be, void *self); /* after trace_open; one at a time */
void device_trace_close(void);                               /* before trace_close and the backend's close; waits for what is queued */
/* Around what is queued on the stream; never while a graph is captured. */
uint64_t device_trace_begin(co_stream on);
void device_trace_end(uint64_t span, const char *category, const char *fmt, ...) CO_PRINTF(3, 4);
#endif
