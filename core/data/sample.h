/* sample.h: one record as ids. */
#ifndef CORE_DATA_SAMPLE_H
#define CORE_DATA_SAMPLE_H
#include "core/data/records/record.h"
#include "core/data/template.h"

struct blocks;
typedef struct sample_maker { /* read-only while readers run */
    const co_dataset_vt *dataset;
    const data_template *templ;
    const record_columns *columns;
    record_kind kind;
    const char *name; /* of the data, for messages */
    void (*locate)(void *dataset_self, int64_t index, const char **file, int64_t *row); /* may be NULL */
    int32_t max_len;
    int32_t texts;        /* plain texts are wanted, not answers */
    const struct blocks *blocks; /* samples are blocks of texts (blocks.h); NULL: records */
} sample_maker;

typedef struct sample {
    const int32_t *ids;   /* [n] in the arena */
    const uint8_t *learn; /* [n] 1: to be predicted; never the first */
    int32_t n;
    int32_t n_prompt;     /* ids before the last answer, n: there is none */
    int32_t n_labels;     /* 0: nothing of an answer is left */
    int32_t cut;          /* it was longer than max_len */
} sample;

/* Whose record it is, for messages. */
void sample_locate(const sample_maker *m, void *dataset_self, int64_t index, const char **file, int64_t *row);
/* What the records are, by the first that can be read: sets m->kind. *index: of that record, -1: none of the first can be read.
 * CO_E_FORMAT: it fits no format, or none with what is wanted. */
int sample_recognise(sample_maker *m, void *dataset_self, int64_t n_records, int64_t *index);
/* [loader] dataset_self: this thread's own handle. CO_E_FORMAT: the record is broken. */
int sample_make(const sample_maker *m, void *dataset_self, int64_t index, co_arena *a, sample *out);
#endif
