/* optimizer.h: an update rule over flat slices. */
#ifndef COATI_OPTIMIZER_H
#define COATI_OPTIMIZER_H
#include "backend.h"
#include "host.h"

enum { /* co_optimizer_vt.flags */
    CO_OPTIM_ELEMENTWISE = 1u << 0, /* may be given any slice of any parameter */
    CO_OPTIM_HALVES = 1u << 1       /* may be given slices whose master is in two halves, with a backend that takes them: it hands them on */
};

typedef struct co_optimizer_vt {
    uint32_t struct_size, flags, n_state; /* n_state fp32 values per parameter element */
    int (*open)(const co_host *h, const void *opts, void **self);
    void (*close)(void *self);
    int (*update)(void *self, const co_backend_vt *be, void *be_self, const co_optim_slice *s, co_stream on);
} co_optimizer_vt;
#endif
