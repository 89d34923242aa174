/* strategy.h: who holds which bytes of parameters, gradients and optimizer states, and when.
 *
 * Precision: parameters are handed out in their slot's dtype, gradients in its grad_dtype, and both may differ from
 * slot to slot. A trainable parameter of less than fp32 has an fp32 master, from which each update rounds the compute
 * copy; one in fp32 is its own master. Optimizer states are fp32. A frozen parameter is held once, in its dtype,
 * without master, gradient or states.
 *
 * Layout rule, relied on by the fuse pass: a strategy hands out each unit's parameters from one flat buffer
 * per (unit, group), in declaration order, every start aligned to CO_PARAM_ALIGN bytes. */
#ifndef COATI_STRATEGY_H
#define COATI_STRATEGY_H
#include "backend.h"
#include "comm.h"
#include "optimizer.h"

#define CO_PARAM_ALIGN 256

typedef enum co_phase { CO_PHASE_FORWARD = 0, CO_PHASE_BACKWARD, CO_PHASE_INFER } co_phase;
typedef enum co_schedule_id { CO_SCHED_TRAIN = 0, CO_SCHED_EVAL, CO_SCHED_CACHED } co_schedule_id;

typedef struct co_access {
    uint32_t unit, phase; /* phase: co_phase */
    size_t work_bytes;
    uint64_t reserved[2];
} co_access;

typedef struct co_schedule {
    uint32_t struct_size, id, n; /* id: co_schedule_id */
    const co_access *a;          /* one micro-step in order, known from the plans */
} co_schedule;

typedef struct co_param_slot { /* one concrete tensor of one unit instance */
    uint32_t unit, index, flags; /* unit: 0 embed, 1..L blocks, L+1 final; index within the unit; CO_PARAM_* */
    uint32_t owner;              /* slot whose storage this is; itself unless tied */
    uint32_t group;              /* same dtype, trainable and decay: one flat buffer per unit and group */
    uint32_t storage;            /* 0 dense, else a quantised format, never trainable */
    int32_t trainable;
    uint32_t grad_dtype;         /* co_dtype of the gradient: that of the parameter if a step has one micro-step, else fp32 */
    const char *name;  /* file name with the layer number in place */
    co_tensor shape;   /* data == NULL; dtype is the compute dtype */
    uint64_t reserved[4];
} co_param_slot;

typedef struct co_strategy_args {
    uint32_t struct_size;
    const co_host *host;
    const void *opts;
    const co_backend_vt *backend;
    void *backend_self;
    const co_backend_vt *cpu; /* always there: offloaded update */
    void *cpu_self;
    const co_comm_vt *comm;
    void *comm_self;
    const co_optimizer_vt *optim; /* NULL for inference-only roles */
    void *optim_self;
    uint32_t n_units, n_params, n_schedules;
    const co_param_slot *params;
    const co_schedule *schedules;
    size_t device_budget, host_budget; /* what the strategy may take; 0: not known */
    co_stream compute;
    int32_t plan_only; /* 1: allocate nothing; only bytes() and close() follow */
    int32_t pad;
    const co_step_rule *rule; /* step() judges by it, its own max_norm put in; NULL without an optimizer */
    co_step_state *state;     /* in CO_MEM_DEVICE, the host's; updates read factor and skip there. NULL if plan_only */
    size_t device_used;       /* CO_MEM_DEVICE that the host itself takes: activations, batches, caches. Not part of device_budget */
} co_strategy_args;

typedef struct co_step_stats {
    uint32_t struct_size;
    int32_t skipped;
    double grad_norm;       /* before clipping, loss scale taken out */
    float loss_scale;       /* that the step's gradients carried; 1 without scaling */
    float next_scale;       /* of the next step */
    const char *overflowed; /* skipped: the first parameter, in the order of the backward, whose gradient is not finite; may be NULL */
} co_step_stats;

/* What a strategy holds, to the byte: for --plan, and compared with what was allocated. */
typedef struct co_strategy_bytes {
    uint32_t struct_size;
    size_t params, grads, master, optimizer, other;
    size_t host; /* of these, what is not in CO_MEM_DEVICE */
} co_strategy_bytes;

/* What a strategy moves and updates in one step of `micro_steps`, by its plan: for predictions. Bytes are those of whole buffers, as all
 * ranks together have them, each with how many calls they go in; what of it a rank sends is the host's to work out. */
typedef struct co_strategy_traffic {
    uint32_t struct_size;
    int32_t micro_steps;              /* given */
    double reduced, reduce_calls;     /* all_reduce of gradients */
    double scattered, scatter_calls;  /* reduce_scatter of gradients */
    double gathered, gather_calls;    /* all_gather of parameters where units need them */
    double published, publish_calls;  /* all_gather of what was updated */
    double last;                      /* of reduced and scattered, what is complete only when the last backward is: nothing hides it */
    double to_host, to_device;        /* this rank's copies between CO_MEM_DEVICE and host memory */
    double updated, updated_host;     /* elements this rank updates there */
    int32_t each_micro_step;          /* gradients go after every micro-step, not after the step's last */
    int32_t overlap;                  /* messages and copies have a stream of their own */
} co_strategy_traffic;

enum { /* co_strategy_vt.flags */
    CO_STRATEGY_STILL = 1u << 0 /* begin, acquire, release, grads_ready and end queue no work: the host may capture a whole
                                   micro-step once and replay it, making these calls each time all the same */
};

typedef struct co_strategy_vt {
    uint32_t struct_size;
    uint32_t flags;
    int (*open)(const co_strategy_args *a, void **self);
    void (*close)(void *self);
    /* One micro-step of a schedule begins or ends. hold: keep all units gathered until end(). */
    int (*begin)(void *self, uint32_t schedule, int hold);
    int (*end)(void *self);
    /* Views valid until the matching release; addresses come from a fixed set, stable for the run.
     * params[i] belongs to the unit's parameter i. In the backward phase grads[i] likewise (data NULL where
     * frozen) and accumulate[i] says whether kernels store (0) or add (1). */
    int (*acquire)(void *self, uint32_t unit, co_phase ph, const co_tensor **params, co_tensor **grads,
                   const uint8_t **accumulate);
    int (*release)(void *self, uint32_t unit, co_phase ph);
    /* All gradient contributions of `unit` are queued; may start reducing at once. */
    int (*grads_ready)(void *self, uint32_t unit, int last_micro_step);
    /* Norm, clip to max_norm (0: never), update, publish new parameters, gradients count as cleared. `step` counts from
     * 1. Queues and returns: what came of it stands in args.state, which the host reads when the stream is there. */
    int (*step)(void *self, int64_t step, double lr, double max_norm);
    /* Asked when the stream is past that step and it was skipped, before the step after the next is queued: adds
     * `overflowed`; the host has filled in the rest. */
    int (*stats)(void *self, int64_t step, co_step_stats *out);
    /* State by parameter and range, whatever the layout. what: 0 master weight, 1.. optimizer state. Local.
     * owned: over all ranks each element once, so that ranks can share the writing of a checkpoint. read of a range this
     * rank does not hold is CO_E_INVALID. write takes what this rank holds of the range and leaves the rest alone, so every
     * rank may be given everything; before the first begin() it is enough that each owner is given its own. write(what 0)
     * also publishes the compute copy. */
    int (*owned)(void *self, uint32_t what, void *sink,
                 int (*range)(void *sink, uint32_t param, int64_t first, int64_t n));
    int (*read)(void *self, uint32_t param, uint32_t what, int64_t first, int64_t n, void *host_f32);
    int (*write)(void *self, uint32_t param, uint32_t what, int64_t first, int64_t n, const void *host_f32);
    int (*gather)(void *self, uint32_t param, int64_t first, int64_t n, void *host_f32); /* collective: export */
    int (*bytes)(void *self, co_strategy_bytes *out);
    int (*park)(void *self, int parked); /* optional: move an idle model away */
    int (*traffic)(void *self, co_strategy_traffic *out); /* optional; also with plan_only. Not collective */
} co_strategy_vt;
#endif
