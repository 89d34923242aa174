/* lazy.h: a device that is not there: a backend around the CPU's that does nothing until it must, as a GPU may. Device memory
 * cannot be touched by the host while nothing runs (a fault ends the test). Streams run when somebody waits for them, as
 * late as can be; those that are said to, at once as far as their events allow. Kernels see the batch through
 * dev_live alone, and captured work is run again with whatever device memory then holds. Other threads may wait for events. */
#ifndef TESTS_GRAPH_LAZY_H
#define TESTS_GRAPH_LAZY_H
#include <coati/coati.h>

typedef struct lazy_counts { /* since lazy_reset */
    int syncs;        /* stream_sync, and copies to host memory that is not pinned */
    int runs;         /* plans queued or captured */
    int captures, launches;
    int faults;       /* calls in a wrong place: host memory in kernels, events inside a capture */
    size_t device;    /* bytes of device memory held */
} lazy_counts;

enum { LAZY_COPIES = ~1, LAZY_NONE = 0 }; /* ahead: all streams but the main one, or none */
/* Takes over *vt and *self; closed by its close(). ahead: a bit a stream that runs at once, the main one's the lowest, then in the
 * order they were made. One at a time. */
void lazy_wrap(const co_backend_vt **vt, void **self, int ahead);
void lazy_reset(void);
lazy_counts lazy_count(void);
#endif
