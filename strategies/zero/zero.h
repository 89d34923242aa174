/* zero.h: the family of sharded strategies (Rajbhandari et al. 2020, "ZeRO"). One core, of which zero1, zero2, zero2_cpu, zero3
 * and gemini are policies. README.md has the design.
 *
 * A bucket is a run of parameters of one group, cut into as many equal shards as there are ranks. zero1 and zero2: whole
 * units up to bucket_mb, so that small tensors travel together; zero3 and gemini: one unit. Everything is a bucket's:
 * reductions, updates, gathers. Rank r keeps masters and optimizer states of shard r alone. */
#ifndef STRATEGIES_ZERO_H
#define STRATEGIES_ZERO_H
#include <coati/coati.h>

#define ZERO_MAX_STATE 4
#define ZERO_STAGE 65536 /* elements: what passes between fp32 and 16 bits, or between ranks, goes in pieces of this */

typedef struct zero_opts {
    int64_t bucket_mb, device_memory, host_memory;
    int32_t overlap, placement, pin_memory, pad;
} zero_opts;
enum { ZERO_AUTO = 0, ZERO_CPU, ZERO_CUDA }; /* placement */

typedef struct zero_policy {
    const char *name;
    int whole_params; /* each rank has all compute copies; else shards, gathered by unit when they are used */
    int whole_grads;  /* gradients add up whole and are reduced once a step; else each micro-step into the shard */
    int chunks;       /* gemini: buckets have places of their own, by memory that is there */
    int host;         /* states, masters and gradients of shards in host memory, updated there */
} zero_policy;

/* Kinds of memory, each one block. Those from HOST on are host memory. */
typedef enum zero_region {
    ZERO_PARAMS = 0, /* compute copies: whole, or shards                                   */
    ZERO_GRADS,      /* whole, or shards                                                   */
    ZERO_MASTER,     /* shards; trainable parameters of less than fp32                     */
    ZERO_STATES,     /* shards, one optimizer state after the other                        */
    ZERO_GATHERED,   /* places of gathered buckets                                         */
    ZERO_MADE,       /* places of gradients until they are reduced                         */
    ZERO_RECV,       /* one reduced shard on its way to where it adds up                   */
    ZERO_SUMS,       /* squares of gradients: [world][n_sums]                              */
    ZERO_PIECE,      /* ZERO_STAGE fp32 elements                                           */
    ZERO_HOST,       /* first of host memory */
    ZERO_HOST_PARAMS = ZERO_HOST, /* compute copies of 16 bits, as the CPU's update leaves them */
    ZERO_HOST_GRADS,
    ZERO_HOST_MASTER, /* all types: in fp32 it is the parameter's home; `halves`: the lower halves */
    ZERO_HOST_STATES,
    ZERO_HOST_RECV,  /* two reduced shards on their way to the CPU                         */
    ZERO_SEEN,       /* what the host sees: state and, with loss scaling, sums of two steps */
    ZERO_REGIONS
} zero_region;

typedef struct zero_bucket {
    uint32_t group, flags; /* flags: CO_SLICE_* */
    uint32_t dtype, grad_dtype;
    uint32_t first_member, n_members; /* of zero.members: its parameters, in order */
    uint32_t sum;          /* trainable: index of its (first parameter's) sum of squares */
    int32_t trainable, host;
    int32_t halves, pad;   /* host: the master is HOST_PARAMS in bf16 and, in HOST_MASTER, what that is off by (<coati/halves.h>) */
    int64_t n, shard;      /* elements, padding included: n = world * shard */
    size_t at[ZERO_REGIONS]; /* bytes; where it has a part in that region */
    uint8_t in[ZERO_REGIONS];
    /* the micro-step under way */
    int32_t last_access;  /* of the training schedule: its gradient is complete after it; -1: never */
    uint8_t pending, reduced; /* has contributions not reduced yet; has reduced ones since the last step */
    uint8_t squared;          /* host: the sum of its squares is made, or asked for */
    /* where compute copies are right now */
    char *here;           /* whole, or gathered; NULL: not gathered */
    uint8_t state;        /* zero_chunk_state */
    uint8_t stale;        /* updated where it lives, not yet where it is computed with */
    int64_t ticket;       /* of the update on the CPU that `stale` waits for */
    co_event ready;       /* link: what makes `here` complete */
} zero_bucket;

/* Life of a gathered bucket, as in the reference's chunks; every other transition is an error. */
typedef enum zero_chunk_state { ZERO_FREE = 0, ZERO_HOLD, ZERO_COMPUTE, ZERO_HOLD_AFTER_BWD, ZERO_READY_FOR_REDUCE } zero_chunk_state;

/* One stay of a bucket at one place: accesses from..to, of a schedule with `period` accesses that starts over; to may be
 * period or more. */
typedef struct zero_stay {
    uint32_t bucket;
    int32_t from, to;
    size_t bytes, at;
} zero_stay;

typedef struct zero_schedule {
    uint32_t id, n;
    co_access *a;
    uint32_t *first;   /* [n + 1] into where and leaves: the buckets of access i's unit, in the order of unit_buckets */
    size_t *where;     /* place in ZERO_GATHERED */
    uint8_t *leaves;   /* its stay ends with this access */
    int permanent;     /* every bucket has one place all the time */
} zero_schedule;

typedef struct zero_worker zero_worker;

typedef struct zero {
    co_strategy_args a;
    zero_opts o;
    const zero_policy *policy;
    int32_t rank, world, local_world;
    co_param_slot *slots;
    uint32_t *unit_first;   /* [n_units + 1] */
    uint32_t *bucket_of;    /* by slot; of a tied one its owner's */
    uint32_t *members;      /* owners, bucket by bucket */
    int64_t *at;            /* likewise: elements from the bucket's start */
    uint8_t *contributed;   /* by owner: since gradients were last taken away */
    zero_bucket *buckets;   /* in the order their parameters are first used */
    uint32_t n_buckets;
    uint32_t *unit_bucket_first, *unit_buckets; /* by unit: the buckets its parameters are in, tied ones included */
    zero_schedule schedules[3];
    uint32_t n_schedules;
    int32_t n_state;
    uint32_t n_sums;        /* of one rank: a bucket or, with loss scaling, a parameter each; the last is the loss's */
    size_t bytes[ZERO_REGIONS];
    char *base[ZERO_REGIONS];
    co_tensor *param_views, *grad_views; /* by slot */
    uint8_t *accumulate;                 /* by slot, as handed out */
    co_stream link;         /* messages, and copies to the device; the compute stream itself with overlap = 0 */
    co_stream out;          /* gradients on their way to host memory, beside copies the other way; link where there are none */
    /* made: gradients, compute; passed: units, compute; taken: gradients, link; shared: ZERO_RECV is filled, link; staged: it is in
     * host memory, out; judged: what the host sees of the step's state, compute. */
    co_event made, passed[2], taken[2], shared, staged[2], judged, updated;
    zero_schedule *now;     /* of the micro-step under way */
    int32_t access;         /* in it; -1: none yet */
    int32_t begun, ended, any_host;
    uint32_t n_passed, n_taken, n_staged; /* events recorded; each overwrites the one before the last */
    int64_t staged_ticket[2];
    zero_worker *worker;
    co_step_state *seen;    /* in ZERO_SEEN: the state that updates on the CPU go by */
    double *host_sums;      /* likewise [n_sums]: those of buckets in host memory */
    double *sums_seen;      /* likewise, with loss scaling: all ranks' of two steps */
} zero;

static inline int zero_scaled(const zero *z) { return z->a.rule && z->a.rule->scaling; }
/* What the step's norm is made of: squares, or the largest value. */
static inline int zero_measure(const zero *z, const co_backend_vt *be, void *self, const void *grad, uint32_t t, int64_t n, double *out, co_stream on)
{
    return (z->a.rule->norm_type == CO_NORM_INF ? be->flat_absmax : be->flat_sqnorm)(self, grad, (co_dtype)t, n, out, on);
}
static inline size_t zero_align(size_t n) { return (n + 255) & ~(size_t)255; }
static inline int64_t zero_elements(const co_param_slot *s)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < s->shape.ndim; i++) n *= s->shape.ne[i];
    return n;
}
static inline char *zero_at(const zero *z, const zero_bucket *b, zero_region r) { return b->in[r] ? z->base[r] + b->at[r] : NULL; }
/* This rank's shard within a whole bucket, and where its states, gradients and master are. */
static inline char *zero_own(const zero *z, const zero_bucket *b, char *whole, uint32_t dtype)
{
    return whole + (size_t)(b->shard * z->rank) * co_dtype_bytes(dtype);
}
/* Whether a bucket in host memory has its master in halves: in bf16, if those who update it take them. */
static inline int zero_halves(const zero *z, const zero_bucket *b)
{
    return b->trainable && b->dtype == CO_BF16 && z->a.cpu->flags & CO_BACKEND_HALVES && z->a.optim->flags & CO_OPTIM_HALVES;
}
/* gemini on one rank: what lives on the device is computed with where it lives. */
static inline int zero_at_hand(const zero *z, const zero_bucket *b) { return z->policy->chunks && z->world == 1 && !b->host; }
static inline size_t zero_master_bytes(const zero_bucket *b) { return b->halves ? sizeof(int16_t) : sizeof(float); }
static inline float *zero_state(const zero *z, const zero_bucket *b, int32_t k)
{
    float *s = (float *)(void *)zero_at(z, b, b->host ? ZERO_HOST_STATES : ZERO_STATES);
    return s ? s + b->shard * k : NULL;
}

/* layout.c: buckets, and how many bytes of which kind. */
int zero_lay_out(zero *z);
/* The part of parameter `slot` (an owner) in this rank's shard: elements first..first+n of the parameter, at `at` of the shard. */
typedef struct zero_part { int64_t first, n, at; } zero_part;
zero_part zero_own_part(const zero *z, uint32_t slot, int32_t rank);

/* place.c: places in one block for stays, so that those which overlap in time do not in memory. Returns the block's size. */
size_t zero_place(zero_stay *s, uint32_t n, int32_t period);
/* residency.c: when which bucket is gathered, within `room` bytes; keep: longer than it must while there is room. Fills the schedule;
 * *bytes grows to what it takes. CO_E_NOMEM: not even one unit and the next fit. */
int zero_plan_gathers(zero *z, zero_schedule *s, size_t room, int keep, size_t *bytes);
size_t zero_least_gathered(zero *z);
/* gemini.c: which buckets live in host memory, and the room for gathered ones. */
int zero_choose_places(zero *z, int32_t local_world, size_t *room);

/* memory.c */
int zero_allocate(zero *z);
void zero_free(zero *z);

/* gather.c: compute copies where they are used. */
int zero_begin(void *self, uint32_t schedule, int hold);
int zero_end(void *self);
int zero_acquire(void *self, uint32_t unit, co_phase ph, const co_tensor **params, co_tensor **grads, const uint8_t **accumulate);
int zero_release(void *self, uint32_t unit, co_phase ph);
/* chunk.c: CO_E_STATE with both names unless the table allows it. */
int zero_move(zero *z, zero_bucket *b, zero_chunk_state to);

/* reduce.c: gradients from where kernels made them to the shard that owns them. */
int zero_grads_ready(void *self, uint32_t unit, int last_micro_step);
int zero_finish(zero *z, zero_bucket *b, int last);
int zero_finish_before(zero *z, int32_t access); /* what a unit that took no part left pending */
int zero_clear_unreduced(zero *z);

/* update.c */
int zero_step(void *self, int64_t step, double lr, double max_norm);
int zero_stats(void *self, int64_t step, co_step_stats *out);
int zero_publish(zero *z, zero_bucket *b); /* updated shards to where they are computed with */

/* worker.c: the CPU's part, on a thread of its own, in order. */
typedef struct zero_job {
    enum { ZERO_ADD, ZERO_SQUARES, ZERO_UPDATE } what;
    zero_bucket *bucket;
    co_event after;        /* ADD, SQUARES: the copy it waits for; NULL: none */
    uint32_t from;         /* ADD: which half of ZERO_HOST_RECV */
    int64_t step;
    float lr;
} zero_job;
int zero_worker_open(zero *z);
void zero_worker_close(zero *z);
int64_t zero_worker_post(zero *z, const zero_job *job); /* its ticket */
int zero_worker_wait(zero *z, int64_t ticket);          /* for it and all before; what failed, as a status */
/* host.c: what the worker does. sums of host buckets are in host_sums until step() sends them. */
int zero_run_job(zero *z, const zero_job *job);

/* state.c */
int zero_owned(void *self, uint32_t what, void *sink, int (*range)(void *sink, uint32_t param, int64_t first, int64_t n));
int zero_read(void *self, uint32_t param, uint32_t what, int64_t first, int64_t n, void *host_f32);
int zero_write(void *self, uint32_t param, uint32_t what, int64_t first, int64_t n, const void *host_f32);
int zero_gather(void *self, uint32_t param, int64_t first, int64_t n, void *host_f32);
int zero_bytes(void *self, co_strategy_bytes *out);
/* traffic.c */
int zero_traffic(void *self, co_strategy_traffic *out);
#endif
