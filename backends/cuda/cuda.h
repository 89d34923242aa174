/* cuda.h: inside of the CUDA backend: views of values, what a launcher is told, the table of launchers.
 *
 * Counts (tokens, sequences, gathered rows) are known on the host when a line is queued, so that grids are exact and
 * rows beyond the live count are neither read nor written. Arrays (sequence starts, cache slots, keys) are read on the
 * device through `dev_live`. A captured graph therefore serves every batch of the same counts. */
#ifndef CUDA_BACKEND_H
#define CUDA_BACKEND_H
#include <coati/coati.h>
#include "attention.h"
#include <cublasLt.h>
#include <cuda_runtime.h>
#ifdef __cplusplus
extern "C" {
#endif

/* One value of the line at hand, live rows put in. 1-d values are [rows] with cols 1 and stride 1. */
typedef struct view {
    void *p;                     /* device memory; NULL: absent or frozen */
    int64_t rows, cols, stride;  /* stride in elements */
    uint8_t dtype, add, pad[6];  /* co_dtype; GRAD outputs: add to what is there */
} view;

typedef struct gemm_cache gemm_cache; /* gemm.c */
typedef struct pinned_block pinned_block; /* pinned.c */
typedef struct cuda_trace cuda_trace; /* trace.c */

typedef struct gpu {
    const co_host *host;
    int device, sms, deterministic;
    size_t max_shared; /* bytes of shared memory a block may ask for */
    cudaStream_t main; /* the stream behind co_stream NULL */
    cuda_attn_dev attn;
    cublasLtHandle_t blas;
    gemm_cache *gemms;
    pinned_block *blocks;
    cuda_trace *trace;
    double *partial;   /* [SUM_BLOCKS] of flat_sqnorm and flat_absmax */
    const uint64_t *seed; /* of host->random, for dropout; NULL: 0 */
} gpu;
#define SUM_BLOCKS 1024

typedef struct cuda_step { /* everything a launcher is told */
    gpu *c;
    const co_step_op *op;
    const co_plan_value *values;
    view in[8], out[8];
    const co_live *live, *dev_live; /* counts on the host; the same with its arrays on the device */
    char *scratch;                  /* what scratch() asked for */
    cudaStream_t on;
    /* Products (LINEAR, LINEAR_BWD_X) into which fuse.c took the lines behind them: y = alpha (x w^T + b) + residual. */
    float alpha;
    view residual;                  /* p NULL: none */
    /* The same op on other heads, run by the same launch (ROPE, ROPE_BWD). */
    const co_step_op *twin;
    view twin_in, twin_out;
} cuda_step;

/* Queues the line. 0 or an error with its message set. */
typedef int (*cuda_launch)(const cuda_step *s);
typedef struct cuda_op {
    cuda_launch run;
    /* Scratch bytes at capacity; NULL: none. */
    size_t (*scratch)(const gpu *c, const co_plan *p, const co_step_op *op);
    /* NULL, or says what else it cannot do: the reason, NULL if it can. */
    const char *(*refuses)(const gpu *c, const co_plan *p, const co_step_op *op);
} cuda_op;
extern const cuda_op cuda_ops[CO_OP_COUNT];

/* CO_OK, or CO_E_DEVICE (CO_E_NOMEM) with what the runtime said about `what`. */
int cuda_check(const gpu *c, cudaError_t e, const char *what);

static inline size_t cuda_pad(size_t bytes) { return (bytes + 255) & ~(size_t)255; }
static inline cudaStream_t cuda_stream(const gpu *c, co_stream s) { return s ? (cudaStream_t)s : c->main; }
static inline int cuda_float(uint32_t t) { return t == CO_F32 || t == CO_BF16 || t == CO_F16; }

/* gemm.c: y[m,n] = alpha op(a) op(b) + beta c (+ bias over columns), row major, c may be y. Types of a and b are
 * equal (or a plain kernel runs); sums are fp32, fp32 inputs stay fp32 (never TF32). workspace: GEMM_WORKSPACE bytes. */
#define GEMM_WORKSPACE ((size_t)32 << 20)
typedef struct gemm {
    int64_t m, n, k;
    const void *a, *b, *c, *bias; /* c: NULL with beta 0; bias [n] or NULL, of d's type */
    void *d;
    int64_t lda, ldb, ldc, ldd;   /* row strides in elements */
    int ta, tb;                   /* op(a) [m,k] is a's transpose; op(b) [k,n] is b's */
    uint8_t in, in_b, out;        /* co_dtype of a, of b, of c and d */
    float alpha, beta;
} gemm;
int gemm_open(gpu *c);
void gemm_close(gpu *c);
int gemm_run(gpu *c, const gemm *g, void *workspace, cudaStream_t on);

/* pinned.c: as co_backend_vt.alloc and free for CO_MEM_PINNED. */
int pinned_alloc(gpu *c, size_t bytes, void **out);
void pinned_free(gpu *c, void *p);

/* flat.cu */
int cuda_flat_cast(void *self, void *dst, co_dtype dt, const void *src, co_dtype st, int64_t n, co_stream on);
int cuda_flat_axpy(void *self, void *y, const void *x, co_dtype t, float a, int64_t n, co_stream on);
int cuda_flat_sqnorm(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on);
int cuda_flat_absmax(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on);
int cuda_step_factor(void *self, const co_step_rule *rule, const double *sums, int64_t n, co_step_state *state, co_stream on);
int cuda_flat_adamw(void *self, const co_optim_slice *s, float b1, float b2, float eps, float wd, co_stream on);

/* kernels */
#define OP(id, name, min_in, max_in, n_out, diff) int cuda_run_##id(const cuda_step *s);
#include <coati/ops.def>
#undef OP
size_t cuda_linear_scratch(const gpu *c, const co_plan *p, const co_step_op *op);
size_t cuda_bias_scratch(const gpu *c, const co_plan *p, const co_step_op *op);
size_t cuda_embedding_bwd_scratch(const gpu *c, const co_plan *p, const co_step_op *op);
size_t cuda_norm_bwd_scratch(const gpu *c, const co_plan *p, const co_step_op *op);
size_t cuda_attention_scratch(const gpu *c, const co_plan *p, const co_step_op *op);
const char *cuda_norm_refuses(const gpu *c, const co_plan *p, const co_step_op *op);
const char *cuda_rope_refuses(const gpu *c, const co_plan *p, const co_step_op *op);
const char *cuda_attention_refuses(const gpu *c, const co_plan *p, const co_step_op *op);
size_t cuda_classifier_scratch(const gpu *c, const co_plan *p, const co_step_op *op);
#ifdef __cplusplus
}
#endif
#endif
