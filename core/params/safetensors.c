#include "core/params/safetensors.h"
#include <stdlib.h>
#include <string.h>
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/params/half.h"
#include "core/params/st_private.h"

st_set *st_set_new(void)
{
    st_set *s = mem_calloc(1, sizeof *s);
    if (!s) return NULL;
    s->names = arena_new(16384);
    if (!s->names) {
        mem_free(s);
        return NULL;
    }
    return s;
}

void st_close(st_set *s)
{
    if (!s) return;
    for (size_t i = 0; i < s->n_maps; i++) fs_map_close(&s->maps[i]);
    mem_free(s->maps);
    mem_free(s->tensors);
    mem_free(s->by_name);
    mem_free(s->meta);
    arena_free(s->names);
    mem_free(s);
}

int st_set_add(st_set *s, const char *path)
{
    char *kept = arena_strndup(s->names, path, strlen(path));
    fs_map *grown = mem_grow(s->maps, s->n_maps, s->n_maps + 1, sizeof *grown);
    if (grown) s->maps = grown;
    if (!kept || !grown) return CO_E_NOMEM;
    int rc = fs_map_open(kept, &s->maps[s->n_maps]);
    if (rc) return rc;
    s->n_maps++;
    return st_parse_header(s, kept, s->maps[s->n_maps - 1].data, s->maps[s->n_maps - 1].len, s->n_maps == 1);
}

static int by_name(const void *a, const void *b, void *ctx)
{
    const st_tensor *t = ctx;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    int c = strcmp(t[i].name, t[j].name);
    return c ? c : i < j ? -1 : 1;
}

int st_set_finish(st_set *s)
{
    if (s->n >= UINT32_MAX) return FAIL(CO_E_FORMAT, "more than 2^32 tensors");
    s->by_name = mem_calloc(s->n + 1, sizeof *s->by_name);
    if (!s->by_name) return CO_E_NOMEM;
    for (size_t i = 0; i < s->n; i++) s->by_name[i] = (uint32_t)i;
    qsort_r(s->by_name, s->n, sizeof *s->by_name, by_name, s->tensors);
    for (size_t i = 1; i < s->n; i++) {
        const st_tensor *a = &s->tensors[s->by_name[i - 1]], *b = &s->tensors[s->by_name[i]];
        if (strcmp(a->name, b->name) != 0) continue;
        if (a->file == b->file) return FAIL(CO_E_FORMAT, "%s: tensor \"%.200s\" is there twice", a->file, a->name);
        return FAIL(CO_E_FORMAT, "tensor \"%.200s\" is both in %s and in %s", a->name, a->file, b->file);
    }
    return CO_OK;
}

int st_open_file(const char *path, st_set **out)
{
    st_set *s = st_set_new();
    if (!s) return CO_E_NOMEM;
    int rc = st_set_add(s, path);
    if (rc == CO_OK) rc = st_set_finish(s);
    if (rc) {
        st_close(s);
        return rc;
    }
    *out = s;
    return CO_OK;
}

size_t st_count(const st_set *s) { return s->n; }
const st_tensor *st_at(const st_set *s, size_t i) { return &s->tensors[i]; }

const st_tensor *st_find(const st_set *s, const char *name)
{
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const st_tensor *t = &s->tensors[s->by_name[mid]];
        int c = strcmp(name, t->name);
        if (c == 0) return t;
        if (c < 0) hi = mid;
        else lo = mid + 1;
    }
    return NULL;
}

const char *st_metadata(const st_set *s, const char *key)
{
    for (size_t i = 0; i < s->n_meta; i++)
        if (strcmp(s->meta[i].key, key) == 0) return s->meta[i].value;
    return NULL;
}

/* The file promises no alignment, so values are fetched by memcpy, which compiles to plain loads. */
co_dtype st_main_dtype(const st_set *w)
{
    static const co_dtype types[] = {CO_F32, CO_BF16, CO_F16};
    double n[3] = {0};
    int most = 0;
    for (size_t i = 0; i < st_count(w); i++)
        for (int k = 0; k < 3; k++)
            if (st_at(w, i)->dtype == types[k]) n[k] += (double)(st_at(w, i)->bytes / co_dtype_bytes(types[k]));
    for (int k = 1; k < 3; k++)
        if (n[k] > n[most]) most = k;
    return types[most];
}

int st_read_f32(const st_tensor *t, int64_t first, int64_t n, float *out)
{
    uint32_t dtype;
    size_t size = st_dtype(t->dtype_name, &dtype);
    int64_t total = size ? (int64_t)(t->bytes / size) : 0;
    if (first < 0 || n < 0 || first > total || n > total - first)
        return FAIL(CO_E_INVALID, "%s: tensor \"%.200s\": elements %lld to %lld asked of %lld", t->file, t->name,
                    (long long)first, (long long)first + (long long)n, (long long)total);
    if (n == 0) return CO_OK;
    const char *from = (const char *)t->data + (size_t)first * size;
    switch (t->dtype) {
    case CO_F32:
        memcpy(out, from, (size_t)n * sizeof *out);
        return CO_OK;
    case CO_BF16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, from + 2 * i, sizeof h);
            out[i] = bf16_to_f32(h);
        }
        return CO_OK;
    case CO_F16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, from + 2 * i, sizeof h);
            out[i] = f16_to_f32(h);
        }
        return CO_OK;
    case CO_F64:
        for (int64_t i = 0; i < n; i++) {
            double d;
            memcpy(&d, from + 8 * i, sizeof d);
            out[i] = (float)d;
        }
        return CO_OK;
    default:
        return FAIL(CO_E_FORMAT, "%s: tensor \"%.200s\" is stored as %s; weights are read from F32, BF16, F16 and F64",
                    t->file, t->name, t->dtype_name);
    }
}
