/* harness.h: one op on one backend, from a plan of one line written by hand. All values lie in one buffer filled
 * with NaNs: between values, between the rows of strided ones and in rows beyond the live count. A run may change
 * nothing there and no input, and reading there shows in the result. */
#ifndef TESTS_OPS_HARNESS_H
#define TESTS_OPS_HARNESS_H
#include "core/host/host.h"
#include <coati/coati.h>

typedef struct device { /* an opened backend and the type its floats have; set dtype to a 16-bit one after opening */
    const co_backend_vt *vt;
    void *self;
    uint8_t dtype;
    const char *name;
} device;
int device_open(host *h, const char *name, device *out);
void device_close(device *d);

#define LIVE_MAX_SEQS 8
typedef struct lives { /* a batch */
    co_live live;
    int32_t seq_start[LIVE_MAX_SEQS + 1], slot[LIVE_MAX_SEQS], past[LIVE_MAX_SEQS];
    uint64_t key[LIVE_MAX_SEQS];
} lives;
void lives_set(lives *l, int n_seqs, const int *lengths);

typedef struct arg {
    uint8_t used, ids, ndim;
    uint8_t grad;      /* an output of region GRAD                     */
    uint8_t accumulate;/* ... added to what v holds before             */
    uint8_t written;   /* an input the op may change (caches)          */
    uint8_t wide;      /* fp32 although the run's type has 16 bits     */
    uint32_t rows;     /* co_rows                                      */
    int64_t n, cols;   /* live rows, columns (1 for one dimension)     */
    int64_t gap;       /* elements between rows, 0: dense              */
    int share;         /* outputs: 1 + the input whose memory they are */
    double *v;         /* [n, cols]; ids too                           */
} arg;
typedef struct kase {
    uint32_t op, n_in, n_out, attrs_size;
    _Alignas(16) unsigned char attrs[128];
    arg in[8], out[8];
    const lives *batch;
    double noise; /* absolute error per element that fp32 may make, from cancellation */
    char label[96];
} kase;

/* Shapes: t [tokens, cols], s [sequences], g [gathered, cols], f [n, cols]; cols 0: one dimension. */
arg arg_new(const lives *l, uint32_t rows, int64_t fixed_rows, int64_t cols);
void arg_fill(arg *a, uint64_t seed);              /* normal, exact in fp32 */
void arg_fill_ids(arg *a, uint64_t seed, int64_t below);
arg arg_copy(const arg *a);
void kase_attrs(kase *k, const void *attrs, size_t size);
void kase_free(kase *k);
/* Runs it; results go to out[].v. Checks that nothing else changed. */
int kase_run(const device *d, kase *k);
/* norm-wise and largest relative error of `got` against `want` within tol; reports under the label. */
void arg_compare(const kase *k, const char *what, const arg *got, const arg *want, double tol);
const char *op_text(uint32_t op);
/* check.h counts per source file: this prints the sum of the harness's own checks and is non-zero if one failed.
 * main returns it together with check_done(). */
int harness_done(void);
extern int harness_coarse; /* values are multiples of one half: ties and kinks occur */
extern uint8_t harness_type; /* values are exact in it: CO_F32 (or 0), CO_BF16, CO_F16 */
double harness_round(double x, uint8_t type);
#endif
