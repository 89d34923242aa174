/* reader.h: what one thread needs to read records: its own dataset handle and an arena. */
#ifndef CORE_DATA_READER_H
#define CORE_DATA_READER_H
#include "core/data/plan.h"
#include "core/data/sample.h"

#include <pthread.h>

typedef struct reader {
    const sample_maker *maker;
    void *dataset_self;
    int own_self;            /* a clone, closed by reader_deinit */
    pthread_mutex_t *shared; /* the dataset cannot be cloned: one read at a time */
    co_arena *arena;
    int skip_bad;
    pthread_t thread;
    void *job;               /* the thread's argument besides the reader itself */
} reader;

int reader_init(reader *r, const sample_maker *m, void *dataset_self, int clone, pthread_mutex_t *shared, int skip_bad);
void reader_deinit(reader *r);
/* Reads a record. CO_OK with *state: SAMPLE_BAD only if such records are passed over (its message is this thread's
 * error message then). The sample's ids live until the next call. */
int reader_make(reader *r, int64_t index, sample *out, sample_state *state);
int reader_measure(reader *r, int64_t index, sample_length *out); /* the same, for its length alone */
/* lengths[i] of each of n_records records (subset[i], or i without one), with all readers' threads. *first_bad: the
 * first place of one passed over, or -1, with its message. The error is that of the earliest record that failed. */
int reader_scan(reader *readers, int32_t n_readers, const int64_t *subset, int64_t n_records, sample_length *lengths,
                int64_t *first_bad, char *message, size_t cap);
#endif
