/* sample.h: one record as ids. */
#ifndef CORE_DATA_SAMPLE_H
#define CORE_DATA_SAMPLE_H
#include "core/data/template.h"

#include <coati/tokenizer.h>

typedef struct sample_maker { /* read-only while readers run */
    const co_dataset_vt *dataset;
    const co_tokenizer_vt *tokenizer;
    void *tokenizer_self;
    const data_template *templ;
    const char *name; /* of the data, for messages */
    void (*locate)(void *dataset_self, int64_t index, const char **file, int64_t *row); /* may be NULL */
    int32_t bos, eos, max_len;
} sample_maker;

typedef struct sample {
    const int32_t *ids;  /* [n] in the arena */
    int32_t n;
    int32_t first_label; /* ids from here on are to be predicted; >= 1 */
    int32_t n_labels;    /* 0: nothing of the answer is left */
    int32_t cut;         /* it was longer than max_len */
} sample;

/* Whose record it is, for messages. */
void sample_locate(const sample_maker *m, void *dataset_self, int64_t index, const char **file, int64_t *row);
/* [loader] dataset_self: this thread's own handle. CO_E_FORMAT: the record is broken. */
int sample_make(const sample_maker *m, void *dataset_self, int64_t index, co_arena *a, sample *out);
#endif
