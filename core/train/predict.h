/* predict.h: what a step takes, from its plan and a machine's speeds: compute, update, bytes on each kind of link and the time they
 * are waited for.
 *
 * Messages go round a ring of the ranks in order, so that of those a machine's ranks send, one rank's go to another machine: of each
 * buffer every rank sends (N-1)/N, twice that to sum it everywhere; the slower kind of link sets the time, and each of the ring's
 * steps its latency. With overlap on a device, reductions hide behind the backward but for the last bucket's, gathers behind the rest
 * of forward and backward but for the first, what was updated behind the next forward but for the first, copies to and from host
 * memory behind forward and backward; on a CPU nothing hides. Updates in host memory are waited for. */
#ifndef CORE_TRAIN_PREDICT_H
#define CORE_TRAIN_PREDICT_H
#include "core/train/run.h"
#include "core/train/speeds.h"

typedef struct prediction { /* of a rank and step */
    const char *machine;
    int32_t world, node, micro_steps; /* node: ranks a machine */
    double tokens, seqs;              /* a micro-step */
    double flops, forward_s, backward_s; /* all micro-steps */
    double update_s;
    double node_bytes, network_bytes; /* sent */
    double node_s, network_s;         /* if nothing else were in the way */
    double to_host, to_device, host_s;
    double exposed_s, step_s, tokens_per_s;
} prediction;

/* Steps of `micro_steps` micro-batches of `seqs` samples and `tokens` tokens a rank. CO_E_UNSUPPORTED: the strategy does not say what
 * it moves. */
int run_predict(const run *r, double tokens, double seqs, int32_t micro_steps, prediction *out);
/* Full steps of the run's plan as a table; free with mem_free. *text NULL if there is nothing to say. */
int run_prediction_text(const run *r, char **text);
/* prediction.json: what was predicted beside what was measured. */
typedef struct measured { double step_s, sent_bytes, memory; } measured;
int run_write_prediction(const run *r, const prediction *p, const measured *m);
#endif
