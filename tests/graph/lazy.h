/* lazy.h: a device that is not there: a backend around the CPU's that does nothing until it must, as a GPU may. Device memory
 * cannot be touched by the host while nothing runs (a fault ends the test). Streams run when somebody waits for them;
 * those other than the main one at once as far as their events allow, or as late as can be. Kernels see the batch through
 * dev_live alone, and captured work is run again with whatever device memory then holds. */
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

/* Takes over *vt and *self; closed by its close(). copies_early: see above. One at a time. */
void lazy_wrap(const co_backend_vt **vt, void **self, int copies_early);
void lazy_reset(void);
lazy_counts lazy_count(void);
#endif
