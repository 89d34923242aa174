#include "core/data/subset.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/scan.h"

#include <string.h>

enum { ARENA_BLOCK = 1 << 16, CHUNK = 4096 };

static uint64_t fold(uint64_t h, const char *p, size_t n) /* FNV-1a */
{
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)p[i]) * 1099511628211u;
    return h;
}

static uint64_t of_fields(const co_field *f, uint32_t n)
{
    uint64_t h = 14695981039346656037u;
    for (uint32_t i = 0; i < n; i++) {
        h = fold(h, f[i].name, strlen(f[i].name) + 1); /* with the NUL: where a name ends counts */
        h = fold(h, f[i].data, f[i].len + 1);
    }
    return h;
}

/* Evenly spread over [0, 1). */
static double spread(uint64_t h)
{
    h ^= h >> 30; /* FNV's high bits are weak in short texts: splitmix64's finish */
    h *= 0xbf58476d1ce4e5b9u;
    h ^= h >> 27;
    h *= 0x94d049bb133111ebu;
    h ^= h >> 31;
    return (double)(h >> 11) / 9007199254740992.0;
}

int subset_fingerprints(const co_dataset_vt *dataset, void *self, int64_t first, int64_t n, uint64_t *out)
{
    co_arena *a = arena_new(ARENA_BLOCK);
    int rc = a ? CO_OK : CO_E_NOMEM;
    for (int64_t i = 0; i < n && !rc; i++) {
        co_field *f = NULL;
        uint32_t n_fields = 0;
        arena_reset(a);
        rc = dataset->read(self, first + i, a, &f, &n_fields);
        out[i] = rc ? 0 : of_fields(f, n_fields);
        if (rc == CO_E_FORMAT || rc == CO_END) rc = CO_OK;
    }
    if (a) arena_free(a);
    return rc;
}

typedef struct split_job {
    int64_t n_records;
    double split;
    uint8_t *held; /* [n_records] */
} split_job;

/* One place: CHUNK neighbouring records. */
static int judge_chunk(void *ctx, reader *r, int64_t place)
{
    split_job *j = ctx;
    const co_dataset_vt *vt = r->maker->dataset;
    const int64_t first = place * CHUNK, n = j->n_records - first < CHUNK ? j->n_records - first : CHUNK;
    uint64_t of[CHUNK];
    if (r->shared) pthread_mutex_lock(r->shared);
    const int rc = CO_HAS(co_dataset_vt, vt, fingerprints) ? vt->fingerprints(r->dataset_self, first, n, of)
                                                           : subset_fingerprints(vt, r->dataset_self, first, n, of);
    if (r->shared) pthread_mutex_unlock(r->shared);
    if (rc == CO_END) return FAIL(CO_E_ABI, "%s: the dataset's fingerprints() end early: the plugin is broken", r->maker->name);
    for (int64_t i = 0; i < n && !rc; i++) j->held[first + i] = of[i] && spread(of[i]) >= j->split;
    return rc;
}

int subset_build(reader *readers, int32_t n_readers, int64_t n_records, double split, int held_out, int64_t **out, int64_t *n_out)
{
    split_job j = {.n_records = n_records, .split = split, .held = mem_calloc((size_t)n_records, 1)};
    int64_t n = 0, *index = NULL;
    scan_found found;
    int rc = j.held ? scan_places(readers, n_readers, (n_records + CHUNK - 1) / CHUNK, 1, judge_chunk, &j, &found) : CO_E_NOMEM;
    for (int64_t i = 0; i < n_records && !rc; i++) n += j.held[i] == !!held_out;
    if (!rc) {
        index = mem_calloc((size_t)n + 1, sizeof *index);
        rc = index ? CO_OK : CO_E_NOMEM;
    }
    *n_out = n;
    n = 0;
    for (int64_t i = 0; i < n_records && !rc; i++)
        if (j.held[i] == !!held_out) index[n++] = i;
    mem_free(j.held);
    if (rc) return rc;
    *out = index;
    return CO_OK;
}

int subset_rest(const int64_t *part, int64_t n_part, int64_t n_records, int64_t **out, int64_t *n_out)
{
    int64_t *index = mem_calloc((size_t)(n_records - n_part) + 1, sizeof *index), n = 0;
    if (!index) return CO_E_NOMEM;
    for (int64_t i = 0, k = 0; i < n_records; i++) {
        if (k < n_part && part[k] == i) k++;
        else index[n++] = i;
    }
    *out = index;
    *n_out = n;
    return CO_OK;
}
