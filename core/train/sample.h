/* sample.h: how tokens are drawn; the draw itself is the backend's (SAMPLE_TOKEN, <coati/ops.h>). */
#ifndef CORE_TRAIN_SAMPLE_H
#define CORE_TRAIN_SAMPLE_H
#include <stdint.h>

typedef struct sample_opts {
    double temperature; /* 0: the largest logit, the lowest id on a tie */
    int64_t top_k;      /* 0: off; values equal to the k-th largest are kept */
    double top_p;       /* 1: off; the smallest set whose probability reaches top_p, at least one */
    uint64_t seed;
} sample_opts;

/* A row's settings, in SAMPLE_TOKEN's order: temperature, top_k, top_p, u. u depends on (seed, key, position) alone, so a text is
 * the same however sequences are batched. */
void sample_row(const sample_opts *o, uint64_t key, int64_t position, float row[4]);
#endif
