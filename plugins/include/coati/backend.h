/* backend.h: memory, streams, and the execution of plans. A plan is a list of ops over values whose places in
 * memory were fixed when it was made; nothing is allocated while it runs. */
#ifndef COATI_BACKEND_H
#define COATI_BACKEND_H
#include "host.h"
#include "ops.h"
#include "step.h"
#include "types.h"

#define CO_NONE UINT32_MAX /* an absent optional input or an unwanted output */

/* Where a value lives. Offsets count from co_binding.base[region], but for PARAM and GRAD, whose `slot` is an
 * index into co_binding.params and .grads. */
typedef enum co_region {
    CO_REGION_WORK = 0, /* dead after the plan ran                                          */
    CO_REGION_SAVED,    /* written by a unit's forward plan, read by its backward plan      */
    CO_REGION_PARAM,
    CO_REGION_GRAD,
    CO_REGION_BATCH,    /* token ids, positions, labels, masks, gathered rows               */
    CO_REGION_X,        /* the unit's input hidden states                                   */
    CO_REGION_Y,        /* its output                                                       */
    CO_REGION_DX,       /* gradient of X, written by the backward plan                      */
    CO_REGION_DY,       /* gradient of Y, read by it                                        */
    CO_REGION_CACHE,    /* the unit's share of the generation cache                         */
    CO_REGION_OUT,      /* loss, metrics, logits                                            */
    CO_REGION_SCRATCH,  /* the backend's own, workspace() bytes                             */
    CO_REGION_COUNT
} co_region;

/* What ne[0] means: plans are made for a capacity, a run binds live counts (co_live). */
typedef enum co_rows { CO_ROWS_FIXED = 0, CO_ROWS_TOKENS, CO_ROWS_SEQS, CO_ROWS_GATHERED } co_rows;

enum {
    CO_VALUE_ADDS = 1u << 0, /* GRAD value: a later contribution within one plan, always adds */
    CO_VALUE_LOCAL = 1u << 1 /* SAVED value: stands where one that is no longer needed stood, and no other plan reads it */
};

typedef struct co_plan_value {
    co_tensor shape;   /* data == NULL; ne[0] is the capacity */
    uint32_t region;   /* co_region                           */
    uint32_t rows;     /* co_rows                             */
    uint32_t slot;     /* PARAM, GRAD: index within the unit. A product over adjacent parameters names the first and
                          its shape spans them all            */
    uint32_t flags;    /* CO_VALUE_*                          */
    size_t offset;     /* bytes from the region's base        */
    uint64_t reserved[2];
} co_plan_value;

typedef struct co_step_op { /* one line of a plan */
    uint32_t op, n_in, n_out, attrs_size; /* op: co_op */
    const uint32_t *in, *out;             /* indices into the value table, or CO_NONE */
    const void *attrs;
    uint64_t reserved[2];
} co_step_op;

typedef struct co_plan {
    uint32_t struct_size, n_steps, n_values;
    uint32_t unit_kind; /* for messages */
    const char *label;  /* "block/backward", for messages and traces */
    const co_step_op *steps;
    const co_plan_value *values;
    size_t region_bytes[16];
} co_plan;

/* Counts and per-sequence facts of the batch at hand. co_binding.host_live is always the host's, arrays too. dev_live is
 * the same struct in device memory with arrays in device memory on a device backend (CO_BACKEND_ASYNC), so that what
 * was captured once serves every batch; elsewhere it is host_live. */
typedef struct co_live {
    uint32_t struct_size;
    int32_t n_tokens, n_seqs, n_gathered;
    const int32_t *seq_start;   /* [n_seqs+1], seq_start[0] = 0, seq_start[n_seqs] = n_tokens    */
    const int32_t *cache_slot;  /* [n_seqs] ATTENTION_CACHED: slot of each sequence              */
    const int32_t *past_len;    /* [n_seqs] positions already in the slot                        */
    const uint64_t *seq_key;    /* [n_seqs] global sample id: keys dropout                       */
    float inv_denom;            /* 1 / D of masked_mean                                          */
    float loss_weight;          /* LOSS_SEED                                                     */
    uint32_t unit;              /* instance running now: 0 embed, 1.. blocks; keys dropout       */
    /* host_live: what launches are sized for, the live counts or more, and the same for all batches that share a captured
     * graph. More only on a backend that takes the counts from dev_live (CO_BACKEND_CLASSES).   */
    int32_t class_tokens, class_seqs, class_gathered;
    const float *loss_scale;    /* LOSS_SEED multiplies by it (co_step_state.loss_scale); NULL: 1 */
    uint64_t step_key;          /* optimizer step and micro-step: keys dropout                   */
} co_live;

typedef struct co_binding {
    uint32_t struct_size, pad;
    const co_tensor *params;    /* [parameters of the unit]                                      */
    co_tensor *grads;           /* likewise; data NULL: frozen                                   */
    const uint8_t *accumulate;  /* likewise; 0: the first contribution stores, 1: adds           */
    void *base[16];             /* by co_region                                                  */
    const co_live *host_live, *dev_live;
} co_binding;

enum { /* co_backend_vt.flags */
    CO_BACKEND_ASYNC = 1u << 0,  /* calls queue and return; CO_MEM_DEVICE is not the host's to read or write */
    CO_BACKEND_CLASSES = 1u << 1, /* with graphs: kernels take counts from dev_live, so one graph serves a class of batches;
                                    without, a graph serves batches of the very counts it was captured with */
    CO_BACKEND_STORED = 1u << 2, /* LINEAR, LINEAR_BWD_X, EMBEDDING and TOKEN_LOGPROB* take weights of 16 bits beside fp32
                                    activations: frozen ones are then held as their file has them */
    CO_BACKEND_HALVES = 1u << 3  /* flat_adamw takes co_optim_slice.low */
};
enum { CO_SLICE_NO_DECAY = 1u << 0 }; /* co_optim_slice.flags: weight decay does not apply */

typedef struct co_optim_slice {
    uint32_t struct_size, flags; /* CO_SLICE_* */
    int64_t n, step;             /* step counts from 1 */
    float *master;               /* fp32 weights, updated in place; NULL: in two halves, `out` and `low` */
    const void *grad;
    uint32_t grad_dtype, out_dtype; /* co_dtype: fp32, bf16, fp16 */
    void *out;                   /* compute copy, rounded to nearest even; NULL when the master is it */
    void *state[4];              /* fp32 */
    float lr, grad_scale;        /* the gradient is multiplied by grad_scale first */
    const float *dev_scale;      /* optional: a further factor that lives on the device */
    const int32_t *dev_skip;     /* optional: non-zero on the device skips the update */
    const int64_t *dev_step;     /* optional: the step, where skipped ones do not count (co_step_state.updates) */
    int16_t *low;                /* master NULL, CO_BACKEND_HALVES: with `out` in bf16, which then is also read, the master (<coati/halves.h>) */
} co_optim_slice;

/* co_backend_vt.extension: when what was queued on a stream ran, told to the host's co_trace.span. [main] */
#define CO_DEVICE_TRACE_ID "coati.device_trace/1"
typedef struct co_device_trace {
    uint32_t struct_size, pad;
    uint64_t (*begin)(void *self, co_stream on); /* what is queued there from now on; 0: no room, there is nothing to end */
    void (*end)(void *self, uint64_t span, const char *category, const char *name); /* until now; spans may lie within spans */
    void (*flush)(void *self);                   /* waits for all that have ended, and tells them */
} co_device_trace;

typedef struct co_backend_vt {
    uint32_t struct_size;
    uint32_t dtypes; /* bit per co_dtype it computes in */
    uint32_t flags;  /* CO_BACKEND_* */
    uint32_t pad;
    int (*open)(const co_host *h, const void *opts, void **self);
    void (*close)(void *self);
    int (*memory)(void *self, size_t *free_bytes, size_t *total_bytes);
    /* [main] Start-up only; 256-byte aligned, zero-filled. */
    int (*alloc)(void *self, co_mem kind, size_t bytes, void **out);
    void (*free)(void *self, co_mem kind, void *p);
    /* Between any two places. Of host memory that is not CO_MEM_PINNED, a source may be reused and a destination read
     * when it returns; pinned memory after the stream has come that far. */
    int (*copy)(void *self, void *dst, const void *src, size_t bytes, co_stream on);
    int (*fill0)(void *self, void *dst, size_t bytes, co_stream on);
    int (*stream_new)(void *self, co_stream *out);
    void (*stream_free)(void *self, co_stream s);
    int (*stream_sync)(void *self, co_stream s);
    int (*event_new)(void *self, co_event *out);
    void (*event_free)(void *self, co_event e);
    /* A stream of NULL is the backend's own main stream; streams order nothing among each other but by events. Waiting for
     * an event that was never recorded is no waiting. */
    int (*event_record)(void *self, co_event e, co_stream on);
    int (*event_wait)(void *self, co_event e, co_stream on);
    /* Says before the first step whether it can run a line of a plan (CO_OK), and if not, why. */
    int (*supports)(void *self, const co_plan *p, uint32_t step, char *why, size_t cap);
    /* Bytes of CO_REGION_SCRATCH the plan needs; plans share one scratch as large as the largest. */
    int (*workspace)(void *self, const co_plan *p, size_t *bytes);
    /* Chooses kernels; the plan outlives the result. */
    int (*prepare)(void *self, const co_plan *p, void **compiled);
    void (*discard)(void *self, void *compiled);
    int (*run)(void *self, void *compiled, const co_binding *b, co_stream on);
    /* Flat-buffer helpers for strategies, optimizers and the host. cast and axpy: fp32, bf16, fp16, fp64 (the host sums
     * losses in it). */
    int (*flat_cast)(void *self, void *dst, co_dtype dt, const void *src, co_dtype st, int64_t n, co_stream on);
    int (*flat_axpy)(void *self, void *y, const void *x, co_dtype t, float a, int64_t n, co_stream on);
    /* *out = sum of squares (double), deterministic for a given n; *out is in CO_MEM_DEVICE. t: fp32, bf16, fp16. Infinite
     * and NaN elements make it so. */
    int (*flat_sqnorm)(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on);
    /* Loshchilov & Hutter 2019, decoupled weight decay wd (not applied with CO_SLICE_NO_DECAY):
     * g = grad*grad_scale; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
     * p -= lr (m/(1-b1^t) / (sqrt(v/(1-b2^t)) + eps) + wd p). state[0] = m, state[1] = v. */
    int (*flat_adamw)(void *self, const co_optim_slice *s, float b1, float b2, float eps, float wd, co_stream on);
    /* Optional, all four or none: what is queued on the stream from begin to end is not run but kept, and run by each launch.
     * The host keeps at most a few dozen. */
    int (*graph_begin)(void *self, co_stream on);
    int (*graph_end)(void *self, co_stream on, void **graph);
    int (*graph_launch)(void *self, void *graph, co_stream on);
    const void *(*extension)(void *self, const char *id);      /* optional */
    void (*graph_free)(void *self, void *graph);
    int (*event_sync)(void *self, co_event e); /* the host waits for it */
    /* co_step_judge on n doubles, joined by co_norm_join in their order. `sums`, `state` and rule->loss are in CO_MEM_DEVICE, *rule may go. */
    int (*step_factor)(void *self, const co_step_rule *rule, const double *sums, int64_t n, co_step_state *state, co_stream on);
    /* Optional: *out = largest absolute value (double); NaN if an element is. As flat_sqnorm otherwise. Without it there is no
     * CO_NORM_INF. */
    int (*flat_absmax)(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on);
} co_backend_vt;
#endif
