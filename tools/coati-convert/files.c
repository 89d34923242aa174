/* files.c: tensors into shards. A tensor that keeps its type and has no replacement is copied byte for byte. */
#include "convert.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/params/export_files.h"
#include "core/params/half.h"
#include "core/params/json_write.h"
#include "core/params/load.h"
#include "core/params/torch_file.h"
#include <stdio.h>
#include <string.h>

typedef struct writing {
    const convert_args *a;
    const st_set *from;
    const replacement *with;
    const char *tmp;
    uint32_t *shard; /* by tensor; CO_NONE: not written */
    uint32_t n_shards;
    float *values;
    uint16_t *half;
    double *wide;
} writing;

int weights_open(const char *dir, st_set **out)
{
    char *one = fs_join(dir, "model.safetensors"), *index = fs_join(dir, "model.safetensors.index.json");
    const int torch = one && index && !fs_is_file(one) && !fs_is_file(index) && torch_is_there(dir);
    mem_free(one);
    mem_free(index);
    return torch ? torch_open_dir(dir, out) : st_open_dir(dir, out);
}

const char *dtype_name(int dtype) { return dtype == CO_F32 ? "fp32" : dtype == CO_BF16 ? "bf16" : dtype == CO_F16 ? "fp16" : "as stored"; }

static int is_float(uint32_t t) { return t == CO_F32 || t == CO_BF16 || t == CO_F16 || t == CO_F64; }
static size_t size_of(uint32_t t) { return t == CO_F64 || t == CO_I64 ? 8 : t == CO_BF16 || t == CO_F16 ? 2 : t == CO_U8 ? 1 : 4; }

static uint32_t new_dtype(const writing *w, const st_tensor *t) { return w->a->dtype == DTYPE_KEEP || !is_float(t->dtype) ? t->dtype : (uint32_t)w->a->dtype; }

/* The shape it is written in. */
static void shape_of(const writing *w, const st_tensor *t, int64_t ne[8])
{
    memcpy(ne, t->ne, sizeof t->ne);
    if (w->with && w->with->rows && w->with->wanted(w->with->ctx, t)) ne[0] = w->with->rows(w->with->ctx, t);
}

static int64_t elements(const writing *w, const st_tensor *t)
{
    int64_t n = 1, ne[8];
    shape_of(w, t, ne);
    for (uint32_t i = 0; i < t->ndim; i++) n *= ne[i];
    return n;
}

/* In the file's order; a tensor larger than a shard gets one of its own. */
static void plan(writing *w, files_report *out)
{
    const int64_t limit = w->a->shard_bytes > 0 ? w->a->shard_bytes : 5000000000;
    int64_t filled = 0;
    uint32_t shard = 0;
    for (size_t i = 0; i < st_count(w->from); i++) {
        const st_tensor *t = st_at(w->from, i);
        w->shard[i] = UINT32_MAX;
        if (t->dtype == UINT32_MAX) { /* masks and the like that older versions saved: no weights */
            fprintf(stderr, "coati-convert: note: \"%s\" is left out: stored as %s, no weight\n", t->name, t->dtype_name);
            out->skipped++;
            continue;
        }
        const int64_t bytes = elements(w, t) * (int64_t)size_of(new_dtype(w, t));
        if (filled && filled + bytes > limit) shard++, filled = 0;
        filled += bytes;
        out->bytes += bytes;
        out->tensors++;
        w->shard[i] = shard;
    }
    out->shards = w->n_shards = shard + 1;
}

static void shard_name(const writing *w, uint32_t shard, char *buf, size_t cap)
{
    if (w->n_shards == 1) snprintf(buf, cap, "model.safetensors");
    else snprintf(buf, cap, "model-%05u-of-%05u.safetensors", shard + 1, w->n_shards);
}

static int put(writing *w, st_writer *to, const st_tensor *t, int64_t first, int64_t n)
{
    const uint32_t dtype = new_dtype(w, t);
    if (dtype == CO_F32) return st_write_data(to, w->values, (size_t)n * sizeof(float));
    for (int64_t i = 0; i < n; i++) {
        if (dtype == CO_F64) w->wide[i] = w->values[i];
        else w->half[i] = dtype == CO_BF16 ? bf16_from_f32(w->values[i]) : f16_from_f32(w->values[i]);
        if (dtype == CO_F16 && (w->half[i] & 0x7C00u) == 0x7C00u && w->values[i] - w->values[i] == 0)
            return FAIL(CO_E_FORMAT, "%s: tensor \"%s\": element %lld is %g, beyond what fp16 holds: use bf16 or fp32", t->file, t->name,
                        (long long)(first + i), (double)w->values[i]);
    }
    return dtype == CO_F64 ? st_write_data(to, w->wide, (size_t)n * 8) : st_write_data(to, w->half, (size_t)n * 2);
}

static int write_tensor(writing *w, st_writer *to, const st_tensor *t)
{
    const int replaced = w->with && w->with->wanted(w->with->ctx, t);
    const int64_t total = elements(w, t);
    int r = CO_OK;
    if (!replaced && new_dtype(w, t) == t->dtype) return st_write_data(to, t->data, t->bytes);
    for (int64_t first = 0; first < total && r == CO_OK; first += PARAMS_PIECE) {
        const int64_t n = total - first < PARAMS_PIECE ? total - first : PARAMS_PIECE;
        r = replaced ? w->with->read(w->with->ctx, t, first, n, w->values) : st_read_f32(t, first, n, w->values);
        if (r == CO_OK) r = put(w, to, t, first, n);
    }
    return r;
}

static int write_shard(writing *w, uint32_t shard)
{
    char name[64];
    st_writer *to = NULL;
    shard_name(w, shard, name, sizeof name);
    char *path = fs_join(w->tmp, name);
    int r = path ? st_write_begin(path, &to) : CO_E_NOMEM;
    mem_free(path);
    if (r == CO_OK) r = st_write_meta(to, "format", "pt");
    for (size_t i = 0; i < st_count(w->from) && r == CO_OK; i++) {
        const st_tensor *t = st_at(w->from, i);
        int64_t ne[8];
        if (w->shard[i] != shard) continue;
        shape_of(w, t, ne);
        r = st_write_declare(to, t->name, (co_dtype)new_dtype(w, t), t->ndim, ne);
    }
    for (size_t i = 0; i < st_count(w->from) && r == CO_OK; i++)
        if (w->shard[i] == shard) r = write_tensor(w, to, st_at(w->from, i));
    if (r == CO_OK) return st_write_finish(to);
    st_write_abort(to);
    return r;
}

static int write_index(const writing *w, int64_t bytes)
{
    json_text t = {0};
    const char *separator = "";
    char name[64];
    if (w->n_shards == 1) return CO_OK;
    json_text_printf(&t, "{\n  \"metadata\": {\n    \"total_size\": %lld\n  },\n  \"weight_map\": {", (long long)bytes);
    for (size_t i = 0; i < st_count(w->from); i++) {
        if (w->shard[i] == UINT32_MAX) continue;
        shard_name(w, w->shard[i], name, sizeof name);
        json_text_printf(&t, "%s\n    ", separator);
        json_text_string(&t, st_at(w->from, i)->name);
        json_text_printf(&t, ": \"%s\"", name);
        separator = ",";
    }
    json_text_put(&t, "\n  }\n}\n");
    const int r = t.failed ? CO_E_NOMEM : export_file(w->tmp, "model.safetensors.index.json", t.text, t.len);
    json_text_free(&t);
    return r;
}

static int write_config(const writing *w, const hf_config *config)
{
    static const char *const names[] = {[CO_F32] = "float32", [CO_BF16] = "bfloat16", [CO_F16] = "float16"};
    const char *now = w->with && w->with->config ? w->with->config : hf_config_text(config);
    char *text = NULL;
    int r = CO_OK;
    if (w->a->dtype == DTYPE_KEEP) return export_file(w->tmp, "config.json", now, strlen(now));
    r = export_config_text(now, names[w->a->dtype], &text);
    if (r == CO_OK) r = export_file(w->tmp, "config.json", text, strlen(text));
    mem_free(text);
    return r;
}

int files_write(const convert_args *a, const char *tmp, const st_set *from, const hf_config *config, const char *tokenizer_dir,
                const replacement *with, files_report *out)
{
    writing w = {.a = a, .from = from, .with = with, .tmp = tmp};
    int r = CO_OK;
    memset(out, 0, sizeof *out);
    w.shard = mem_calloc(st_count(from) + 1, sizeof *w.shard);
    w.values = mem_calloc(PARAMS_PIECE, sizeof *w.values);
    w.half = mem_calloc(PARAMS_PIECE, sizeof *w.half);
    w.wide = mem_calloc(PARAMS_PIECE, sizeof *w.wide);
    if (!w.shard || !w.values || !w.half || !w.wide) r = CO_E_NOMEM;
    if (r == CO_OK) plan(&w, out);
    for (uint32_t i = 0; i < w.n_shards && r == CO_OK; i++) r = write_shard(&w, i);
    if (r == CO_OK) r = write_index(&w, out->bytes);
    if (r == CO_OK) r = write_config(&w, config);
    if (r == CO_OK) r = export_tokenizer(tmp, tokenizer_dir);
    mem_free(w.wide);
    mem_free(w.half);
    mem_free(w.values);
    mem_free(w.shard);
    return r;
}

int convert_plain(const convert_args *a)
{
    st_set *from = NULL;
    hf_config *config = NULL;
    char *dir = NULL, *tmp = NULL;
    files_report report;
    int r = hf_config_open(a->input, &config);
    if (r == CO_OK) r = weights_open(a->input, &from);
    if (r == CO_OK) r = export_begin(a->output, &dir, &tmp);
    if (r == CO_OK) r = files_write(a, tmp, from, config, a->input, NULL, &report);
    if (r == CO_OK) r = export_swap(dir, tmp);
    if (r && tmp) export_discard(tmp);
    if (r == CO_OK)
        printf("%s: %zu tensors, %lld bytes, %s, in %zu file%s\n", dir, report.tensors, (long long)report.bytes, dtype_name(a->dtype), report.shards,
               report.shards == 1 ? "" : "s");
    mem_free(tmp);
    mem_free(dir);
    st_close(from);
    hf_config_close(config);
    return r;
}
