/* fixture.h: a folder of its own, raw safetensors files, a model with every kind of parameter, and parameters held
 * in plain memory. */
#ifndef TESTS_PARAMS_FIXTURE_H
#define TESTS_PARAMS_FIXTURE_H
#include <unistd.h>
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/params/load.h"

static char tmp_dir[4096];

static inline void tmp_make(void)
{
    snprintf(tmp_dir, sizeof tmp_dir, "%s/tests/tmp-XXXXXX", COATI_BINARY_DIR);
    if (!mkdtemp(tmp_dir)) {
        perror(tmp_dir);
        exit(1);
    }
}
static inline void tmp_remove(void) { fs_remove_tree(tmp_dir); }

/* tmp_dir/name; the last 8 results stay valid. */
static inline const char *tmp_path(const char *name)
{
    static char paths[8][4400];
    static int next;
    char *p = paths[next++ % 8];
    snprintf(p, sizeof paths[0], "%s/%s", tmp_dir, name);
    return p;
}

static inline void put_file(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}
static inline void put_text(const char *path, const char *text) { put_file(path, text, strlen(text)); }

/* A safetensors file of a header as given and n bytes of data 0, 1, 2, ... */
static inline void put_raw(const char *path, const char *header, size_t n)
{
    size_t h = strlen(header);
    unsigned char *all = calloc(1, 8 + h + n);
    for (int i = 0; i < 8; i++) all[i] = (unsigned char)((uint64_t)h >> (8 * i));
    memcpy(all + 8, header, h);
    for (size_t i = 0; i < n; i++) all[8 + h + i] = (unsigned char)i;
    put_file(path, all, 8 + h + n);
    free(all);
}

/* ---- a model: embedding [6,4], blocks with a norm [4], k [2,4], w [4,5] (transposed in the file if asked) and an
 * optional bias [4], a final norm and a head tied to the embedding. */
typedef struct fake_model {
    uint32_t layers;
    int tied, transposed, break_what; /* break_what: see table tests */
    int grouped;                      /* w and bias in the file by groups {1, 1} of rows, the untied embedding {2, 1} */
} fake_model;

static inline int fake_info(void *self, co_model_info *out)
{
    const fake_model *m = self;
    out->n_layers = m->layers;
    out->d_model = 4;
    out->n_vocab = 6;
    out->n_kv_heads = 1;
    out->head_dim = 2;
    return CO_OK;
}

static inline int fake_params(void *self, void *sink, int (*add)(void *, const co_param *))
{
    const fake_model *m = self;
    co_param p[] = {
        {sizeof(co_param), CO_UNIT_EMBED, "embed", "model.embed.weight", NULL, {6, 4}, 2, CO_INIT_NORMAL, 0, 0.5f},
        {sizeof(co_param), CO_UNIT_BLOCK, "norm", "model.layers.{}.norm.weight", NULL, {4}, 1, CO_INIT_ONE,
         CO_PARAM_NO_DECAY | CO_PARAM_FP32, 0},
        {sizeof(co_param), CO_UNIT_BLOCK, "k", "model.layers.{}.k.weight", NULL, {2, 4}, 2, CO_INIT_NORMAL, 0, 0.02f},
        {sizeof(co_param), CO_UNIT_BLOCK, "w", "model.layers.{}.w.weight", NULL, {4, 5}, 2, CO_INIT_NORMAL, 0, 0.02f},
        {sizeof(co_param), CO_UNIT_BLOCK, "bias", "model.layers.{}.bias", NULL, {4}, 1, CO_INIT_ZERO,
         CO_PARAM_NO_DECAY | CO_PARAM_OPTIONAL, 0},
        {sizeof(co_param), CO_UNIT_FINAL, "norm", "model.norm.weight", NULL, {4}, 1, CO_INIT_ONE, CO_PARAM_NO_DECAY, 0},
        {sizeof(co_param), CO_UNIT_FINAL, "lm_head", "lm_head.weight", NULL, {6, 4}, 2, CO_INIT_NORMAL, 0, 0.5f},
    };
    if (m->tied) p[6].tied_to = "model.embed.weight";
    if (m->transposed) p[3].flags |= CO_PARAM_FILE_TRANSPOSED;
    if (m->grouped) p[3].file_group[0] = p[3].file_group[1] = p[4].file_group[0] = p[4].file_group[1] = 1;
    if (m->grouped && !m->tied) p[0].file_group[0] = 2, p[0].file_group[1] = 1;
    switch (m->break_what) {
    case 1: p[3].local_name = "k"; break;
    case 2: p[3].file_name = "model.layers.{}.k.weight"; break;
    case 3: p[3].file_name = "model.layers.w.weight"; break;
    case 4: p[5].file_name = "model.{}.norm.weight"; break;
    case 5: p[3].ne[0] = 0; break;
    case 6: p[3].ne[0] = p[3].ne[1] = INT64_MAX / 3; break;
    case 7: p[6].tied_to = "model.nowhere"; break;
    case 8: p[6].tied_to = "lm_head.weight"; break;
    case 9: p[6].tied_to = "model.norm.weight"; break;
    case 10: p[3].struct_size = 16; break;
    case 12: p[3].file_group[0] = 3, p[3].file_group[1] = 2; break;
    case 13: p[3].file_group[0] = 2, p[3].file_group[1] = -1; break;
    case 14: p[3].file_group[0] = INT64_MAX; break;
    case 15: p[3].file_group[0] = 2, p[3].flags |= CO_PARAM_FILE_TRANSPOSED; break;
    case 11: p[1].tied_to = "model.layers.{}.bias", p[4].tied_to = "model.layers.{}.norm.weight"; break;
    }
    for (size_t i = 0; i < sizeof p / sizeof p[0]; i++) {
        int rc = add(sink, &p[i]);
        if (rc) return rc;
    }
    return CO_OK;
}

static const co_model_vt fake_vt = {.struct_size = sizeof(co_model_vt), .info = fake_info, .params = fake_params};

/* ---- parameters in memory, counting what was written */
typedef struct store {
    const param_table *t;
    float *v[64];
    int64_t written[64];
    int calls, fail_at; /* fail_at: the call that fails, 0: none */
} store;

static inline void store_open(store *s, const param_table *t)
{
    memset(s, 0, sizeof *s);
    s->t = t;
    for (uint32_t i = 0; i < t->n_params; i++) s->v[i] = calloc((size_t)param_elements(&t->slots[i]), sizeof(float));
}
static inline void store_close(store *s)
{
    for (uint32_t i = 0; i < s->t->n_params; i++) free(s->v[i]);
}
static inline int store_write(void *ctx, uint32_t p, int64_t first, int64_t n, const float *v)
{
    store *s = ctx;
    if (++s->calls == s->fail_at) return FAIL(CO_E_DEVICE, "write fails");
    memcpy(s->v[p] + first, v, (size_t)n * sizeof *v);
    s->written[p] += n;
    return CO_OK;
}
static inline int store_read(void *ctx, uint32_t p, int64_t first, int64_t n, float *v)
{
    store *s = ctx;
    s->calls++;
    memcpy(v, s->v[p] + first, (size_t)n * sizeof *v);
    return CO_OK;
}
#endif
