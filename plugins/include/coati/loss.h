/* loss.h: a loss is a description too, so it is differentiated like a model. */
#ifndef COATI_LOSS_H
#define COATI_LOSS_H
#include "graph.h"
#include "host.h"

enum { CO_LOSS_WANTS_HIDDEN = 1u << 0, CO_LOSS_WANTS_VALUE = 1u << 1, CO_LOSS_WANTS_REWARD = 1u << 2 };

typedef struct co_loss_in {
    uint32_t struct_size;
    co_val hidden, lm_head, values;                 /* whichever the loss wants, else 0 */
    co_val (*field)(co_graph *g, const char *name); /* batch columns: "labels" i32 [T], "mask" f32 [T] */
    co_graph *g;
} co_loss_in;

typedef struct co_loss_vt {
    uint32_t struct_size, wants;
    const char *const *fields; /* batch columns it reads, NULL-terminated */
    int (*open)(const co_host *h, const void *opts, void **self);
    void (*close)(void *self);
    /* Returns a scalar. metric() names further scalars (at most 16, of letters, digits and _, at most 40) to log: sums over the
     * step's micro-batches and ranks as the loss is, so made by masked_mean; in metrics.jsonl under their names, and under
     * "eval_NAME" in evaluations. Names live until close(). */
    co_val (*build)(void *self, const co_graph_ops *op, const co_loss_in *in, void *sink,
                    void (*metric)(void *sink, const char *name, co_val v));
} co_loss_vt;
#endif
