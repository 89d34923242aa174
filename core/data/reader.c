#include "core/data/scan.h"
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

int reader_measure(reader *r, int64_t index, sample_length *out)
{
    sample s;
    sample_state state = SAMPLE_OK;
    const int rc = reader_make(r, index, &s, &state);
    if (rc) return rc;
    *out = (sample_length){ .n = s.n, .n_labels = s.n_labels, .state = (uint8_t)state, .cut = (uint8_t)s.cut, .known = 1 };
    return CO_OK;
}

typedef struct length_job {
    const int64_t *subset;
    sample_length *lengths;
} length_job;

static int take_length(void *ctx, reader *r, int64_t place)
{
    const length_job *j = ctx;
    const int rc = reader_measure(r, j->subset ? j->subset[place] : place, &j->lengths[place]);
    return rc ? rc : j->lengths[place].state == SAMPLE_BAD ? CO_END : CO_OK;
}

int reader_scan(reader *readers, int32_t n_readers, const int64_t *subset, int64_t n_records, sample_length *lengths,
                int64_t *first_bad, char *message, size_t cap)
{
    length_job j = {subset, lengths};
    scan_found found;
    const int rc = scan_places(readers, n_readers, n_records, SCAN_CHUNK, take_length, &j, &found);
    *first_bad = found.first_bad;
    snprintf(message, cap, "%s", found.bad);
    return rc;
}
