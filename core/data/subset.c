#include "core/data/subset.h"
#include "core/base/memory.h"

#include <string.h>

enum { ARENA_BLOCK = 1 << 16 };

static uint64_t fold(uint64_t h, const char *p, size_t n) /* FNV-1a */
{
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)p[i]) * 1099511628211u;
    return h;
}

/* Evenly spread over [0, 1). */
static double place(const co_field *f, uint32_t n)
{
    uint64_t h = 14695981039346656037u;
    for (uint32_t i = 0; i < n; i++) {
        h = fold(h, f[i].name, strlen(f[i].name) + 1); /* with the NUL: where a name ends counts */
        h = fold(h, f[i].data, f[i].len + 1);
    }
    h ^= h >> 30; /* FNV's high bits are weak in short texts: splitmix64's finish */
    h *= 0xbf58476d1ce4e5b9u;
    h ^= h >> 27;
    h *= 0x94d049bb133111ebu;
    h ^= h >> 31;
    return (double)(h >> 11) / 9007199254740992.0;
}

int subset_build(const co_dataset_vt *dataset, void *self, int64_t n_records, double split, int held_out, int64_t **out,
                 int64_t *n_out)
{
    int64_t *index = mem_calloc((size_t)n_records, sizeof *index), n = 0;
    co_arena *a = arena_new(ARENA_BLOCK);
    int rc = index && a ? CO_OK : CO_E_NOMEM;
    for (int64_t i = 0; i < n_records && !rc; i++) {
        co_field *f = NULL;
        uint32_t n_fields = 0;
        int out_of_training = 0;
        arena_reset(a);
        rc = dataset->read(self, i, a, &f, &n_fields);
        if (!rc) out_of_training = place(f, n_fields) >= split;
        else if (rc == CO_E_FORMAT) rc = CO_OK;
        if (!rc && out_of_training == !!held_out) index[n++] = i;
    }
    if (a) arena_free(a);
    if (rc) {
        mem_free(index);
        return rc;
    }
    *out = index;
    *n_out = n;
    return CO_OK;
}
