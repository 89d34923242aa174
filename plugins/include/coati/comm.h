/* comm.h: collectives, separate from the backend so that a CPU run can still have four ranks. */
#ifndef COATI_COMM_H
#define COATI_COMM_H
#include "backend.h"
#include "host.h"

typedef struct co_comm_vt {
    uint32_t struct_size, mem_kinds; /* bit per co_mem it can be given */
    int (*open)(const co_host *h, const void *opts, const co_backend_vt *be, void *be_self, void **self);
    void (*close)(void *self);
    int (*info)(void *self, int32_t *rank, int32_t *world, int32_t *local_rank, int32_t *local_world);
    int (*split)(void *self, int32_t color, int32_t key, void **sub); /* collective; closed by close */
    /* Sums, never means. bf16 and f16 inputs accumulate in fp32. n_out and n_in are one rank's part. all_gather may work in
     * place: `in` is then `out` plus this rank's place in it. Other buffers do not overlap. */
    int (*all_reduce)(void *self, void *buf, int64_t n, co_dtype t, co_stream on);
    int (*reduce_scatter)(void *self, const void *in, void *out, int64_t n_out, co_dtype t, co_stream on);
    int (*all_gather)(void *self, const void *in, void *out, int64_t n_in, co_dtype t, co_stream on);
    int (*broadcast)(void *self, void *buf, int64_t n, co_dtype t, int32_t root, co_stream on);
    int (*group)(void *self, int begin); /* optional: batch the calls in between */
    int (*barrier)(void *self);
    int (*abort)(void *self, int code); /* [any] unblock peers when one rank fails */
} co_comm_vt;
#endif
