#include "core/data/reader.h"
#include "core/base/error.h"
#include "core/base/memory.h"

#include <stdio.h>
#include <string.h>

enum { ARENA_BLOCK = 1 << 20, SCAN_CHUNK = 64 };

int reader_init(reader *r, const sample_maker *m, void *dataset_self, int clone, pthread_mutex_t *shared, int skip_bad)
{
    memset(r, 0, sizeof *r);
    r->maker = m;
    r->dataset_self = dataset_self;
    r->skip_bad = skip_bad;
    r->arena = arena_new(ARENA_BLOCK);
    /* The first block now, so that reading allocates only for records larger than a block. */
    if (!r->arena || !arena_push(r->arena, 1, 1)) {
        reader_deinit(r);
        return CO_E_NOMEM;
    }
    if (clone && CO_HAS(co_dataset_vt, m->dataset, clone)) {
        int rc = m->dataset->clone(dataset_self, &r->dataset_self);
        if (rc) {
            reader_deinit(r);
            return rc;
        }
        r->own_self = 1;
    } else if (clone) {
        r->shared = shared;
    }
    return CO_OK;
}

void reader_deinit(reader *r)
{
    if (r->own_self) r->maker->dataset->close(r->dataset_self);
    if (r->arena) arena_free(r->arena);
    memset(r, 0, sizeof *r);
}

int reader_make(reader *r, int64_t index, sample *out, sample_state *state)
{
    int rc;
    arena_reset(r->arena);
    if (r->shared) pthread_mutex_lock(r->shared);
    rc = sample_make(r->maker, r->dataset_self, index, r->arena, out);
    if (r->shared) pthread_mutex_unlock(r->shared);
    if (rc) *out = (sample){ .n = 0 };
    if (rc == CO_E_FORMAT && r->skip_bad) {
        *state = SAMPLE_BAD;
        return CO_OK;
    }
    if (rc) return rc;
    *state = out->n_labels > 0 ? SAMPLE_OK : SAMPLE_DROPPED;
    return CO_OK;
}

typedef struct scan_job {
    pthread_mutex_t mu;
    int64_t next, n_records;
    const int64_t *subset;
    sample_length *lengths;
    int64_t error_at, bad_at; /* n_records: none */
    int code;
    char error[1024], bad[1024];
} scan_job;

static void note(int64_t *at, int64_t index, char *text, size_t cap)
{
    if (*at < index) return;
    *at = index;
    error_take(text, cap);
}

static void *scan_run(void *arg)
{
    reader *r = arg;
    scan_job *j = r->job;
    pthread_mutex_lock(&j->mu);
    /* Chunks are taken in order, so every record before the earliest error is read. */
    while (j->next < j->n_records && j->next < j->error_at) {
        int64_t i = j->next, end = i + SCAN_CHUNK < j->n_records ? i + SCAN_CHUNK : j->n_records;
        int rc = CO_OK;
        j->next = end;
        pthread_mutex_unlock(&j->mu);
        for (; i < end && !rc; i++) {
            sample s;
            sample_state state;
            rc = reader_make(r, j->subset ? j->subset[i] : i, &s, &state);
            if (rc) break;
            j->lengths[i] = (sample_length){ .n = s.n, .n_labels = s.n_labels, .state = (uint8_t)state, .cut = (uint8_t)s.cut };
            if (state != SAMPLE_BAD) continue;
            pthread_mutex_lock(&j->mu);
            note(&j->bad_at, i, j->bad, sizeof j->bad);
            pthread_mutex_unlock(&j->mu);
        }
        pthread_mutex_lock(&j->mu);
        if (rc && i < j->error_at) {
            j->code = rc;
            note(&j->error_at, i, j->error, sizeof j->error);
        }
    }
    pthread_mutex_unlock(&j->mu);
    return NULL;
}

int reader_scan(reader *readers, int32_t n_readers, const int64_t *subset, int64_t n_records, sample_length *lengths,
                int64_t *first_bad, char *message, size_t cap)
{
    scan_job j = { .n_records = n_records, .subset = subset, .lengths = lengths, .error_at = n_records, .bad_at = n_records };
    int32_t started = 1;
    pthread_mutex_init(&j.mu, NULL);
    for (int32_t i = 0; i < n_readers; i++) readers[i].job = &j;
    /* A thread that does not start is no loss here: the others take its share. */
    while (started < n_readers && !pthread_create(&readers[started].thread, NULL, scan_run, &readers[started])) started++;
    scan_run(&readers[0]);
    for (int32_t i = 1; i < started; i++) pthread_join(readers[i].thread, NULL);
    pthread_mutex_destroy(&j.mu);
    *first_bad = j.bad_at < n_records ? j.bad_at : -1;
    snprintf(message, cap, "%s", j.bad);
    return j.code ? FAIL(j.code, "%s", j.error) : CO_OK;
}
