/* fake_loader.h: a byte tokenizer and a dataset in memory, for testing the loader. */
#ifndef TESTS_DATA_FAKE_LOADER_H
#define TESTS_DATA_FAKE_LOADER_H
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/loader.h"

#include <stdio.h>
#include <string.h>

enum { FAKE_BOS = 1, FAKE_EOS = 2, FAKE_BYTE = 3 }; /* id of byte b: b + FAKE_BYTE */

static int fake_encode(void *self, const char *s, size_t len, co_arena *a, int32_t **ids, size_t *n)
{
    int32_t *p = arena_push(a, (len + 1) * sizeof *p, 4);
    (void)self;
    if (!p) return CO_E_NOMEM;
    for (size_t i = 0; i < len; i++) p[i] = (unsigned char)s[i] + FAKE_BYTE;
    *ids = p;
    *n = len;
    return CO_OK;
}

static const co_tokenizer_vt fake_tokenizer = { .struct_size = sizeof(co_tokenizer_vt), .encode = fake_encode };

/* Record i: instruction "i<i>", output of out_len(i) bytes. */
typedef struct fake_data {
    int64_t n;
    int (*out_len)(int64_t i);
    int64_t bad[4]; /* records that are broken; < 0: none */
    int clones;     /* handles open besides the first */
} fake_data;

static int fake_count(void *self, int64_t *n)
{
    *n = ((fake_data *)self)->n;
    return CO_OK;
}

static _Atomic int64_t fake_reads; /* of all handles */

static int fake_read(void *self, int64_t i, co_arena *a, co_field **fields, uint32_t *n)
{
    fake_data *d = self;
    co_field *f;
    int len;
    char *out;
    fake_reads++;
    if (i >= d->n) return CO_END;
    for (int k = 0; k < 4; k++)
        if (d->bad[k] == i) return FAIL(CO_E_FORMAT, "fake.json: row %d: broken", (int)i + 1);
    len = d->out_len ? d->out_len(i) : (int)(i % 7) + 1;
    f = arena_push(a, 2 * sizeof *f, 16);
    out = arena_push(a, (size_t)len + 1, 1);
    if (!f || !out) return CO_E_NOMEM;
    memset(f, 0, 2 * sizeof *f);
    memset(out, 'a' + (int)(i % 26), (size_t)len);
    out[len] = 0;
    f[0].name = "instruction";
    f[0].data = arena_printf(a, "i%d", (int)i);
    f[0].len = strlen(f[0].data);
    f[1].name = "output";
    f[1].data = out;
    f[1].len = (size_t)len;
    *fields = f;
    *n = 2;
    return CO_OK;
}

static int fake_clone(void *self, void **other)
{
    ((fake_data *)self)->clones++;
    *other = self;
    return CO_OK;
}

static void fake_close(void *self) { ((fake_data *)self)->clones--; }

static const co_dataset_vt fake_dataset = {
    .struct_size = sizeof(co_dataset_vt), .count = fake_count, .read = fake_read, .clone = fake_clone, .close = fake_close,
};
static const co_dataset_vt fake_dataset_alone = { /* cannot be cloned */
    .struct_size = sizeof(co_dataset_vt), .count = fake_count, .read = fake_read, .close = fake_close,
};

static inline fake_data fake_records(int64_t n) { return (fake_data){ .n = n, .bad = { -1, -1, -1, -1 } }; }

static inline loader_config fake_config(fake_data *d)
{
    return (loader_config){ .dataset = &fake_dataset, .dataset_self = d, .tokenizer = &fake_tokenizer, .name = "fake.json",
                            .templ = "none", .bos = FAKE_BOS, .eos = FAKE_EOS, .before = FAKE_BOS, .max_len = 32, .size = 2, .accumulation = 3,
                            .world = 1, .shuffle = 1, .seed = 42, .epochs = 2, .n_threads = 2 };
}

/* Everything a step hands out, as one number. */
static uint64_t fold(uint64_t h, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++) h = (h ^ ((const unsigned char *)p)[i]) * 1099511628211u;
    return h;
}

static inline uint64_t step_hash(const step_batch *s)
{
    uint64_t h = 14695981039346656037u;
    h = fold(h, &s->step, sizeof s->step);
    h = fold(h, &s->n_labels, sizeof s->n_labels);
    h = fold(h, &s->epoch, sizeof s->epoch);
    for (int32_t m = 0; m < s->n_micro; m++) {
        const batch *b = &s->micro[m];
        size_t t = (size_t)b->n_tokens;
        h = fold(h, b->ids, t * 4);
        h = fold(h, b->positions, t * 4);
        h = fold(h, b->labels, t * 4);
        h = fold(h, b->mask, t * 4);
        h = fold(h, b->seq_start, ((size_t)b->n_seqs + 1) * 4);
        h = fold(h, b->seq_key, (size_t)b->n_seqs * 8);
    }
    return h;
}
#endif
