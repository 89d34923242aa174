/* loader.h: records -> text -> ids -> micro-batches of whole samples packed end to end, read ahead by threads.
 *
 * The samples of step k depend on the seed and on the global batch alone. Let N be the records of the dataset (of
 * this part of it, with `split`):
 *  - by count (tokens == 0): G = size * accumulation * world. Step k of an epoch takes places [k*G, (k+1)*G) of
 *    the epoch's seeded permutation; the last step of an epoch is smaller and is taken. Its n samples are cut into
 *    M * world even, consecutive slices, M = ceil(n / (size * world)); micro-step m of rank r runs slice m*world+r.
 *    A record that cannot be used (every label cut away; broken and on_bad_record = skip) leaves a hole in its
 *    step, so that the number of steps is known before the first record is read.
 *  - by tokens (tokens > 0): one scan at open finds every sample's length, since the number of steps depends on all of them; with
 *    max_steps it is given, and lengths are found as steps are planned, so that the first batch waits for no scan. A step takes whole samples in the
 *    permutation's order until the next would exceed tokens * accumulation * world. They are put first-fit, in
 *    order, into micro-batches of at most `tokens`, a rule that knows no rank; micro-batch j is run by rank
 *    j % world as its micro-step j / world. Whole samples do not fill bins exactly, so a step can need more
 *    micro-steps than `accumulation`. Unusable records are known from the scan and leave no holes.
 * With weighted sources a pass has as many samples, and mix.h says which record each is: one may come twice, another not at all.
 * Every rank runs the same number of micro-steps; in a small last step one of them may be empty (n_tokens 0).
 *
 * A record is recognised by its columns (records/record.h) and put into words by a template (template.h), which says what stands
 * around the messages, what of them is learnt and where BOS and EOS go. */
#ifndef CORE_DATA_LOADER_H
#define CORE_DATA_LOADER_H
#include <coati/dataset.h>
#include <coati/tokenizer.h>

#define DATA_NO_LABEL (-100)

typedef struct batch { /* one micro-batch; arrays belong to the loader */
    int32_t n_tokens, n_seqs;
    int32_t n_labels;         /* positions with a label                                                    */
    int32_t pad;
    const int32_t *ids;       /* [n_tokens]                                                                */
    const int32_t *positions; /* [n_tokens] from 0 in each sequence                                        */
    const int32_t *labels;    /* [n_tokens] the NEXT id where it is to be learnt, else DATA_NO_LABEL       */
    const float *mask;        /* [n_tokens] 1 where there is a label, else 0                               */
    const int32_t *seq_start; /* [n_seqs + 1] seq_start[0] = 0, seq_start[n_seqs] = n_tokens               */
    const uint64_t *seq_key;  /* [n_seqs] record index, from 0                                             */
} batch;

typedef struct step_batch { /* this rank's share of one optimizer step; valid until the next loader call */
    int64_t step;        /* from 0, over the whole run                                              */
    int32_t n_micro;     /* the same on every rank                                                  */
    int32_t pad;
    const batch *micro;  /* [n_micro]                                                               */
    int64_t n_labels;    /* of all ranks and micro-steps: the loss's denominator. 0 only when every record of
                            the step was unusable: there is nothing to learn from, update nothing   */
    int64_t n_samples;   /* usable samples, of all ranks and micro-steps                            */
    int64_t n_tokens;    /* of all ranks and micro-steps                                            */
    int64_t n_dropped;   /* of this step, all ranks: no label left after the cut                    */
    int64_t n_bad;       /* of this step, all ranks: broken records passed over                     */
    int64_t n_cut;       /* of this step, all ranks: samples cut to max_len (dropped ones included) */
    double epoch;        /* passes over the data when this step is done: 0.5, 1, 1.5                */
} step_batch;

typedef struct loader_source { /* one of several */
    const char *name;
    int64_t first, n; /* its records in the dataset: [first, first + n) */
    double weight;    /* its share of the samples is this over the sum of them; 0, of all: each record once a pass */
    int64_t share;    /* told by loader_source_at: samples a pass */
} loader_source;

struct loader;
typedef struct loader_config {
    const co_dataset_vt *dataset;     /* lent; must outlive the loader, as everything here but the texts */
    void *dataset_self;
    const co_tokenizer_vt *tokenizer;
    void *tokenizer_self;
    const char *name;                 /* of the data, for messages: the file's path                      */
    const char *templ;                /* template.h; NULL: alpaca                                        */
    const char *model_dir;            /* of the template "chat"; may be NULL                             */
    /* The file and the row in it (from 1) of a record, for messages; NULL: name and index + 1. */
    void (*locate)(void *dataset_self, int64_t index, const char **file, int64_t *row);
    const char *columns;              /* records/columns.h; NULL or "": by their own names               */
    int32_t bos, eos, before;         /* ids; < 0: none. before: what the tokenizer's files put before a text */
    int32_t max_len;                  /* tokens a sample, >= 2                                           */
    int32_t texts;                    /* samples are blocks of max_len tokens of the texts (blocks.h); no template */
    int32_t size, accumulation;       /* samples a micro-step; micro-steps a step                        */
    int32_t tokens;                   /* > 0: by tokens, `size` unused                                   */
    int32_t rank, world;
    int32_t shuffle;
    uint64_t seed;
    int64_t epochs;                   /* passes; counts when max_steps is 0                              */
    int64_t max_steps;                /* > 0: data is cycled for so many steps                           */
    int32_t n_threads;                /* readers; 0: loader_next reads by itself                         */
    int32_t ahead;                    /* steps made before they are asked for; 0: 2                      */
    int32_t skip_bad;                 /* on_bad_record: 0 stop, 1 skip and count                         */
    int32_t held_out;                 /* with split: 0 the training part, 1 the rest                     */
    double split;                     /* 0 < split < 1: share of the records that train, by a stable hash of each;
                                         otherwise all of them                                           */
    const struct loader *beside;      /* held out: the loader of the other part, whose split is taken; NULL: made anew */
    const loader_source *sources;     /* [n_sources] mix.h says how they are mixed; held out: not at all */
    int32_t n_sources;
} loader_config;

typedef struct loader_totals { /* of the steps handed out so far (all ranks' samples) */
    int64_t steps, samples, tokens, labels;
    int64_t dropped, bad, cut; /* records, each counted once whatever the passes; by tokens: of the scan, or of the first pass */
    double wait_s;     /* the caller waited for readers */
    size_t held_bytes; /* what the loader allocated for its batches, fixed at open */
} loader_totals;

typedef struct loader loader;

/* CO_E_FORMAT for an empty dataset. With tokens > 0 and no max_steps the whole dataset is read once here. */
int loader_open(const loader_config *c, loader **out);
void loader_release(loader *l); /* NULL is fine; stops the readers */
/* Most tokens and sequences a micro-batch of this loader can hold, known without reading: for making plans. */
void loader_capacity(const loader *l, int32_t *tokens, int32_t *seqs);
int64_t loader_n_records(const loader *l);
int loader_source_at(const loader *l, int32_t i, loader_source *out); /* of this part; CO_END behind the last */
/* Steps of pass `epoch` (they differ between epochs only when filled by tokens), and of the whole run. */
int64_t loader_steps_per_epoch(loader *l, int64_t epoch);
int64_t loader_total_steps(loader *l);
/* By tokens with max_steps all records before the step are read for it.
 * The next loader_next gives this step: resume, or 0 for another pass over evaluation data. */
int loader_seek(loader *l, int64_t step);
/* CO_END after the last step. A broken record is reported at its own step, whatever the threads were at; the
 * loader then gives the same error until it is moved by loader_seek. */
int loader_next(loader *l, const step_batch **out);
void loader_stats(const loader *l, loader_totals *out);
/* Record `place` (from 0) of this loader's part as ids in the arena, beside the readers: n_prompt ids stand before the last
 * answer, which is the rest with its end of turn (n = n_prompt: nothing of it is left). For looking at the data. CO_END behind the
 * last record, CO_E_FORMAT for a broken one, whatever skip_bad says. */
int loader_peek(loader *l, int64_t place, co_arena *a, const int32_t **ids, int32_t *n, int32_t *n_prompt);
int32_t loader_stop_id(const loader *l); /* of the template: the token behind an answer, -1: none */
/* What was recognised, and the first record with something to learn, token by token (show.h): lines of text, freed with mem_free.
 * CO_E_FORMAT if there is none among the first. */
int loader_describe(loader *l, char **text);
#endif
