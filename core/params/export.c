#include "core/params/export.h"
#include <stdio.h>
#include <string.h>
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/params/export_files.h"
#include "core/params/half.h"
#include "core/params/json_write.h"
#include "core/params/load.h"
#include "core/params/safetensors.h"

typedef struct exporting {
    const params_export_args *a;
    char *tmp;         /* folder being filled */
    uint32_t *shard;   /* [n_params] */
    uint32_t n_shards;
    st_writer *w;
    uint32_t open;     /* shard that w writes */
    float *buf;        /* PARAMS_PIECE */
    uint16_t *half;    /* PARAMS_PIECE */
    int rc;            /* first error of writing */
} exporting;

static size_t element_bytes(co_dtype t) { return t == CO_F32 ? 4 : 2; }

static int is_written(const exporting *x, uint32_t slot) { return x->a->table->slots[slot].owner == slot; }

/* Fills shards in order; a tensor larger than a shard gets one of its own. */
static void plan_shards(exporting *x)
{
    const param_table *t = x->a->table;
    int64_t limit = x->a->shard_bytes > 0 ? x->a->shard_bytes : 5000000000, filled = 0;
    uint32_t shard = 0;
    for (uint32_t i = 0; i < t->n_params; i++) {
        if (!is_written(x, i)) continue;
        int64_t bytes = param_elements(&t->slots[i]) * (int64_t)element_bytes(x->a->dtype);
        if (filled && filled + bytes > limit) {
            shard++;
            filled = 0;
        }
        filled += bytes;
        x->shard[i] = shard;
    }
    x->n_shards = shard + 1;
}

static void shard_name(const exporting *x, uint32_t shard, char *buf, size_t cap)
{
    if (x->n_shards == 1) snprintf(buf, cap, "model.safetensors");
    else snprintf(buf, cap, "model-%05u-of-%05u.safetensors", shard + 1, x->n_shards);
}

static int declare(exporting *x, uint32_t slot)
{
    const co_param_slot *s = &x->a->table->slots[slot];
    int64_t ne[CO_MAX_DIMS];
    memcpy(ne, s->shape.ne, sizeof ne);
    if (s->flags & CO_PARAM_FILE_TRANSPOSED) {
        ne[0] = s->shape.ne[1];
        ne[1] = s->shape.ne[0];
    }
    return st_write_declare(x->w, s->name, x->a->dtype, s->shape.ndim, ne);
}

static int open_shard(exporting *x, uint32_t shard)
{
    const param_table *t = x->a->table;
    char name[64];
    shard_name(x, shard, name, sizeof name);
    char *path = fs_join(x->tmp, name);
    if (!path) return CO_E_NOMEM;
    int rc = st_write_begin(path, &x->w);
    mem_free(path);
    if (rc) return rc;
    x->open = shard;
    rc = st_write_meta(x->w, "format", "pt");
    for (uint32_t i = 0; i < t->n_params && rc == CO_OK; i++)
        if (is_written(x, i) && x->shard[i] == shard) rc = declare(x, i);
    return rc;
}

static int close_shard(exporting *x)
{
    st_writer *w = x->w;
    x->w = NULL;
    return w ? st_write_finish(w) : CO_OK;
}

/* Converts and writes n values; `first` is for the message. */
static int put(exporting *x, uint32_t slot, int64_t first, const float *v, int64_t n)
{
    if (x->a->dtype == CO_F32) return st_write_data(x->w, v, (size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++) {
        x->half[i] = x->a->dtype == CO_BF16 ? bf16_from_f32(v[i]) : f16_from_f32(v[i]);
        if (x->a->dtype == CO_F16 && (x->half[i] & 0x7C00u) == 0x7C00u)
            return FAIL(CO_E_INVALID, "parameter \"%s\": element %lld is %g, beyond what fp16 holds; export as bf16 or fp32",
                        x->a->table->slots[slot].name, (long long)(first + i), (double)v[i]);
    }
    return st_write_data(x->w, x->half, (size_t)n * 2);
}

static int write_plain(exporting *x, uint32_t slot)
{
    const int64_t runs = param_run_count(x->a->table, slot);
    for (int64_t i = 0; i < runs; i++) {
        const param_run run = param_run_at(x->a->table, slot, i);
        for (int64_t at = 0; at < run.n; at += PARAMS_PIECE) {
            int64_t n = run.n - at < PARAMS_PIECE ? run.n - at : PARAMS_PIECE;
            int rc = x->a->read(x->a->ctx, slot, run.param + at, n, x->buf);
            if (rc) return rc;
            if (x->rc == CO_OK && !x->a->reads_only) x->rc = put(x, slot, run.param + at, x->buf, n);
        }
    }
    return CO_OK;
}

/* [out, in] -> [in, out]: one tensor is held whole (GPT-2's are tens of megabytes). */
static int write_transposed(exporting *x, uint32_t slot)
{
    int64_t out = x->a->table->slots[slot].shape.ne[0], in = x->a->table->slots[slot].shape.ne[1], total = out * in;
    float *all = x->a->reads_only || x->rc ? NULL : mem_calloc((size_t)total, sizeof *all);
    int rc = CO_OK;
    if (!all && !x->a->reads_only && x->rc == CO_OK) x->rc = CO_E_NOMEM;
    for (int64_t first = 0; first < total && rc == CO_OK; first += PARAMS_PIECE) {
        int64_t n = total - first < PARAMS_PIECE ? total - first : PARAMS_PIECE;
        rc = x->a->read(x->a->ctx, slot, first, n, all ? all + first : x->buf);
    }
    for (int64_t first = 0; first < total && rc == CO_OK && x->rc == CO_OK && all; first += PARAMS_PIECE) {
        int64_t n = total - first < PARAMS_PIECE ? total - first : PARAMS_PIECE;
        for (int64_t k = 0; k < n; k++) x->buf[k] = all[(first + k) % out * in + (first + k) / out];
        x->rc = put(x, slot, first, x->buf, n);
    }
    mem_free(all);
    return rc;
}

/* All reads, in order, whatever happens to the writes. Returns the first error of a read. */
static int write_weights(exporting *x)
{
    const param_table *t = x->a->table;
    for (uint32_t i = 0; i < t->n_params; i++) {
        if (!is_written(x, i)) continue;
        if (!x->a->reads_only && x->rc == CO_OK && x->w && x->open != x->shard[i]) x->rc = close_shard(x);
        if (!x->a->reads_only && x->rc == CO_OK && !x->w) x->rc = open_shard(x, x->shard[i]);
        int rc = t->slots[i].flags & CO_PARAM_FILE_TRANSPOSED ? write_transposed(x, i) : write_plain(x, i);
        if (rc) return rc;
    }
    if (x->rc == CO_OK) x->rc = close_shard(x);
    return CO_OK;
}

static int write_index(const exporting *x)
{
    const param_table *t = x->a->table;
    json_text text = {0};
    const char *separator = "";
    char name[64];
    if (x->n_shards == 1) return CO_OK;
    json_text_printf(&text, "{\n  \"metadata\": {\n    \"total_size\": %lld\n  },\n  \"weight_map\": {",
                     (long long)(t->n_elements * (int64_t)element_bytes(x->a->dtype)));
    for (uint32_t i = 0; i < t->n_params; i++) {
        if (!is_written(x, i)) continue;
        shard_name(x, x->shard[i], name, sizeof name);
        json_text_printf(&text, "%s\n    ", separator);
        json_text_string(&text, t->slots[i].name);
        json_text_printf(&text, ": \"%s\"", name);
        separator = ",";
    }
    json_text_put(&text, "\n  }\n}\n");
    int rc = text.failed ? CO_E_NOMEM : export_file(x->tmp, "model.safetensors.index.json", text.text, text.len);
    json_text_free(&text);
    return rc;
}

static int write_config(const exporting *x)
{
    char *text = NULL;
    static const char *const names[] = {[CO_F32] = "float32", [CO_BF16] = "bfloat16", [CO_F16] = "float16"};
    int rc = export_config_text(hf_config_text(x->a->config), names[x->a->dtype], &text);
    if (rc == CO_OK) rc = export_file(x->tmp, "config.json", text, strlen(text));
    mem_free(text);
    return rc;
}

int params_export(const params_export_args *a)
{
    exporting x = {.a = a};
    char *dir = NULL;
    int rc = CO_E_NOMEM;
    if (a->dtype != CO_F32 && a->dtype != CO_BF16 && a->dtype != CO_F16)
        return FAIL(CO_E_INVALID, "a model is exported as fp32, bf16 or fp16");
    x.buf = mem_alloc(PARAMS_PIECE * sizeof *x.buf, 64);
    x.half = mem_alloc(PARAMS_PIECE * sizeof *x.half, 64);
    x.shard = mem_calloc(a->table->n_params, sizeof *x.shard);
    if (!x.buf || !x.half || !x.shard) goto done;
    plan_shards(&x);
    if (!a->reads_only) x.rc = export_begin(a->dir, &dir, &x.tmp);
    rc = write_weights(&x);
    if (a->reads_only) goto done;
    if (rc == CO_OK) rc = x.rc;
    if (rc == CO_OK) rc = write_index(&x);
    if (rc == CO_OK) rc = write_config(&x);
    if (rc == CO_OK && a->tokenizer_dir) rc = export_tokenizer(x.tmp, a->tokenizer_dir);
    if (rc == CO_OK) rc = export_swap(dir, x.tmp);
done:
    st_write_abort(x.w);
    if (rc && x.tmp) export_discard(x.tmp);
    mem_free(x.tmp);
    mem_free(dir);
    mem_free(x.shard);
    mem_free(x.half);
    mem_free(x.buf);
    return rc;
}
