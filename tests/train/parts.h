/* parts.h: the plugins a strategy stands on, opened one by one, with a backend that counts what is taken from it. */
#ifndef TESTS_TRAIN_PARTS_H
#define TESTS_TRAIN_PARTS_H
#include "core/config/config.h"
#include "core/host/host.h"

typedef struct parts {
    host *host;
    const co_backend_vt *backend; /* counting */
    const co_comm_vt *comm;
    const co_strategy_vt *strategy;
    const co_optimizer_vt *optim;
    void *backend_self, *comm_self, *optim_self, *strategy_opts;
    config *config;
} parts;

/* backend: "cpu" or "ref"; pairs: key, value of [optimizer], ended by NULL. Ends the test when a plugin is not there. */
void parts_open(parts *p, const char *backend, const char *const *pairs);
void parts_strategy(parts *p, const char *name); /* another than naive; what it can keep in host memory it does */
void parts_close(parts *p);
size_t parts_taken(void); /* bytes asked of the backend's alloc and not given back; one `parts` at a time */
#endif
