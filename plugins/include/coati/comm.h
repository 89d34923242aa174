/* comm.h: collectives, separate from the backend so that a CPU run can still have four ranks.
 *
 * Every rank makes the same calls in the same order with the same n, t and root. They run in the order of the stream `on`; the
 * host may read what they wrote to memory of an async backend after stream_sync, elsewhere when they return. In place:
 * reduce_scatter's `out` may be `in` or its own piece of it, and what else `in` then holds is not said; all_gather's `in` may be its own piece of `out`. */
#ifndef COATI_COMM_H
#define COATI_COMM_H
#include "backend.h"
#include "host.h"

typedef struct co_comm_vt {
    uint32_t struct_size, mem_kinds; /* bit per co_mem it can be given */
    /* Collective. */
    int (*open)(const co_host *h, const void *opts, const co_backend_vt *be, void *be_self, void **self);
    void (*close)(void *self);
    /* local: among the ranks of this node. Not collective. */
    int (*info)(void *self, int32_t *rank, int32_t *world, int32_t *local_rank, int32_t *local_world);
    int (*split)(void *self, int32_t color, int32_t key, void **sub); /* collective, color >= 0; closed by close */
    /* Sums, never means. bf16 and f16 inputs accumulate in fp32. n_out and n_in are one rank's part. The same ranks and inputs
     * give the same bits. */
    int (*all_reduce)(void *self, void *buf, int64_t n, co_dtype t, co_stream on);
    int (*reduce_scatter)(void *self, const void *in, void *out, int64_t n_out, co_dtype t, co_stream on); /* in: [world * n_out] */
    int (*all_gather)(void *self, const void *in, void *out, int64_t n_in, co_dtype t, co_stream on); /* out: [world * n_in] */
    int (*broadcast)(void *self, void *buf, int64_t n, co_dtype t, int32_t root, co_stream on);
    int (*group)(void *self, int begin); /* optional: batch the calls in between */
    int (*barrier)(void *self);
    int (*abort)(void *self, int code); /* [any] unblock peers when one rank fails */
} co_comm_vt;
#endif
