/* bench.h: parts of coati-bench. Each measurement names its shape, its steps and its spread, and the machine's own limit
 * measured beside it. */
#ifndef COATI_BENCH_H
#define COATI_BENCH_H
#include "core/config/config.h"
#include "core/host/host.h"

#define BENCH_MAX_STEPS 256

typedef struct shape { const char *name; int dim, layers, heads, ff, vocab, seqs, seq_len; } shape;

typedef struct bench_opts {
    const char *threads;
    int steps, checkpoint, profile;
} bench_opts;

typedef struct parts { /* one of each plugin kind, open */
    host *h;
    config *c;
    const co_backend_vt *be, *real; /* be: seen through the profile, if there is one */
    const co_comm_vt *comm;
    const co_optimizer_vt *optim;
    const co_loss_vt *loss;
    const co_model_vt *model;
    const co_strategy_vt *strategy;
    void *be_self, *comm_self, *optim_self, *loss_self, *model_self, *strategy_opts;
} parts;

int bench_train(const shape *s, const bench_opts *o); /* train.c */

/* product.c: seconds of one 2048 x 2048 x 2048 product through the backend's own LINEAR, taken again whenever asked: a machine
 * shared with others changes its speed from second to second, so it is measured between the steps it is compared with. */
typedef struct product product;
int product_open(const co_backend_vt *be, void *self, product **out);
int product_time(product *p, double *seconds);
void product_close(product *p);
double product_flops(void);

/* profile.c: stands between engine and backend: runs plans line by line and adds up each line's time. One at a time. */
const co_backend_vt *profile_over(const co_backend_vt *real);
void profile_step(int counts); /* after each step; counts 0: forget it */
void profile_print(double gflops); /* medians to stderr; gflops: the product speed to compare with */

double bench_now(void);
double bench_median(double *v, int n); /* sorts v */
size_t bench_status_kib(const char *key); /* a line of /proc/self/status */
#endif
