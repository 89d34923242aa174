/* decode.h: new tokens for prompts through an engine's key/value cache: a waiting prompt takes the slot of one that ends.
 * The engine may be one that trains, too: its weights are used where they are. */
#ifndef CORE_TRAIN_DECODE_H
#define CORE_TRAIN_DECODE_H
#include "core/graph/engine.h"
#include "core/train/sample.h"

typedef struct decoder decoder;
typedef struct decoder_args {
    engine *engine;                                /* lent; opened with these slots, slot_len = max_len and pass_rows = slots */
    int64_t slots, max_len, pass_tokens;           /* pass_tokens: at least slots */
    int32_t eos;                                   /* ends a text; below 0: none */
} decoder_args;

int decoder_open(const decoder_args *a, decoder **out);
void decoder_close(decoder *d);

typedef enum decode_finish { FINISH_EOS = 0, FINISH_LENGTH, FINISH_STOP } decode_finish; /* STOP: on_token said so */
typedef struct decode_job {
    const int32_t *prompt; /* ids, BOS included; at least one */
    int64_t n_prompt, max_new;
    int64_t n_cached;      /* ids of the prompt, not all, whose keys and values the slot holds from the job before; only with one slot */
    int32_t stop_id, pad;  /* ends the text like EOS; below 0: none */
    uint64_t key;          /* keys the random draws */
    int32_t *ids;          /* [max_new] made here */
    double *logprobs;      /* [max_new] or NULL */
    int64_t n_ids;         /* made, EOS left out */
    decode_finish finish;
    /* Optional: called for each token as it is made; CO_END ends the text there. */
    int (*on_token)(void *ctx, struct decode_job *job, int32_t id);
    void *ctx;
} decode_job;

/* Runs all jobs. CO_E_CONFIG if a prompt and its new tokens do not fit max_len. */
int decode(decoder *d, decode_job *jobs, size_t n, const sample_opts *o);
#endif
