#include "core/params/load.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/params/blame.h"

typedef struct loading {
    const param_table *t;
    const st_set *file;
    const hf_config *config;
    const st_tensor **from; /* [n_params] the tensor of each slot, NULL: absent */
    uint8_t *used;          /* [tensors of the file] */
    float *buf, *other;     /* PARAMS_PIECE each */
    params_load_report report;
} loading;

static const char *config_name(const loading *l) { return l->config ? hf_config_path(l->config) : "the configuration"; }

/* Files of base models lack the part of a name that stands for the head's model: "model.", "transformer.", "gpt_neox.". */
static const char *without_first(const char *name)
{
    const char *dot = strchr(name, '.');
    return dot ? dot + 1 : name;
}

static const char *const prefixes[] = {"model.", "transformer."}; /* put before where the declared name is the base model's */
enum { N_PREFIXES = 2 };

const st_tensor *params_find_tensor(const st_set *file, const char *name)
{
    const st_tensor *t = st_find(file, name);
    for (size_t i = 0; i < N_PREFIXES && !t; i++) {
        char longer[512];
        int len = snprintf(longer, sizeof longer, "%s%s", prefixes[i], name);
        if (len > 0 && (size_t)len < sizeof longer) t = st_find(file, longer);
    }
    return t ? t : st_find(file, without_first(name));
}

void params_hold_stored(param_table *t, const st_set *file, int all)
{
    for (uint32_t i = 0; i < t->n_params; i++) {
        const co_param_slot *s = &t->slots[i];
        const st_tensor *x = s->owner == i && (all || !s->trainable) && !(s->flags & PARAM_FLAG_ADDED) ? params_find_tensor(file, s->name) : NULL;
        if (x) param_table_hold(t, i, (co_dtype)x->dtype);
    }
}

static void shape_text(const int64_t *ne, uint32_t ndim, char *buf, size_t cap)
{
    size_t at = 0;
    buf[0] = 0;
    for (uint32_t i = 0; i < ndim && at < cap; i++) {
        int n = snprintf(buf + at, cap - at, "%s%lld", i ? ", " : "", (long long)ne[i]);
        at += n > 0 ? (size_t)n : 0;
    }
}

/* Shape in the file of a slot. */
static void file_shape(const co_param_slot *s, int64_t ne[CO_MAX_DIMS])
{
    memcpy(ne, s->shape.ne, sizeof s->shape.ne);
    if (!(s->flags & CO_PARAM_FILE_TRANSPOSED)) return;
    ne[0] = s->shape.ne[1];
    ne[1] = s->shape.ne[0];
}

static int check_tensor(const loading *l, const co_param_slot *s, const st_tensor *x)
{
    int64_t ne[CO_MAX_DIMS];
    char got[200], want[200], blame[300] = "";
    int same = x->ndim == s->shape.ndim;
    file_shape(s, ne);
    for (uint32_t i = 0; same && i < x->ndim; i++) {
        if (x->ne[i] == ne[i]) continue;
        same = 0;
        blame_size(l->t, l->config, ne[i], x->ne[i], blame, sizeof blame);
    }
    if (!same) {
        shape_text(x->ne, x->ndim, got, sizeof got);
        shape_text(ne, s->shape.ndim, want, sizeof want);
        return FAIL(CO_E_FORMAT, "%s: tensor \"%s\" has shape [%s], but %s asks for [%s]%s%s", x->file, x->name, got,
                    config_name(l), want, *blame ? "; check " : "", blame);
    }
    if (x->dtype != CO_F32 && x->dtype != CO_BF16 && x->dtype != CO_F16 && x->dtype != CO_F64)
        return FAIL(CO_E_FORMAT, "%s: tensor \"%s\" is stored as %s; weights are read from F32, BF16, F16 and F64",
                    x->file, x->name, x->dtype_name);
    return CO_OK;
}

/* The layer in `name` if it is `pattern` with a number in place of {}, else -1. */
static int64_t layer_by(const char *pattern, const char *name)
{
    const char *hole = strstr(pattern, "{}");
    size_t before = hole ? (size_t)(hole - pattern) : 0;
    int64_t layer = 0;
    int digits = 0;
    if (!hole || strncmp(name, pattern, before) != 0) return -1;
    const char *p = name + before;
    for (; *p >= '0' && *p <= '9' && digits < 7; p++, digits++) layer = layer * 10 + (*p - '0');
    return digits && strcmp(p, hole + 2) == 0 ? layer : -1;
}

static int64_t layer_of(const param_table *t, const char *name)
{
    for (uint32_t i = 0; i < t->n_decls[CO_UNIT_BLOCK]; i++) {
        const char *pattern = t->decls[CO_UNIT_BLOCK][i].file_name;
        int64_t layer = layer_by(pattern, name);
        if (layer < 0) layer = layer_by(without_first(pattern), name);
        for (size_t k = 0; k < N_PREFIXES && layer < 0; k++) {
            const size_t n = strlen(prefixes[k]);
            if (strncmp(name, prefixes[k], n) == 0) layer = layer_by(pattern, name + n);
        }
        if (layer >= 0) return layer;
    }
    return -1;
}

/* Number of layers that the file seems to have; a tensor of the last one goes to *last. */
static int64_t count_layers(const loading *l, const st_tensor **last)
{
    int64_t layers = 0;
    for (size_t k = 0; k < st_count(l->file); k++) {
        int64_t layer = layer_of(l->t, st_at(l->file, k)->name);
        if (layer < layers) continue;
        layers = layer + 1;
        *last = st_at(l->file, k);
    }
    return layers;
}

static int fail_missing(const loading *l, uint32_t first, uint32_t n)
{
    const st_tensor *last = NULL;
    char layers[200] = "", more[40] = "";
    int64_t have = count_layers(l, &last);
    const char *file = st_count(l->file) ? st_at(l->file, 0)->file : "the file";
    if (have && have != l->t->n_layers)
        snprintf(layers, sizeof layers, "; the file has %lld layers, and %s of %s says %u", (long long)have, blame_layers(l->config),
                 config_name(l), l->t->n_layers);
    if (n > 1) snprintf(more, sizeof more, " and %u more", n - 1);
    return FAIL(CO_E_FORMAT, "%s: tensor \"%s\"%s missing%s", file, l->t->slots[first].name, more, layers);
}

/* Finds the tensor of every slot. An owner that is absent takes its tensor from a slot that is tied to it. */
static int match(loading *l)
{
    const param_table *t = l->t;
    uint32_t missing = 0, first = 0;
    for (uint32_t i = 0; i < t->n_params; i++) {
        const st_tensor *x = params_find_tensor(l->file, t->slots[i].name);
        l->from[i] = x;
        if (!x) continue;
        l->used[x - st_at(l->file, 0)] = 1;
        int rc = check_tensor(l, &t->slots[i], x);
        if (rc) return rc;
    }
    for (uint32_t i = 0; i < t->n_params; i++) {
        uint32_t owner = t->slots[i].owner;
        if (owner == i || l->from[owner] || !l->from[i]) continue;
        if ((t->slots[i].flags ^ t->slots[owner].flags) & CO_PARAM_FILE_TRANSPOSED) continue;
        l->from[owner] = l->from[i];
        l->from[i] = NULL;
    }
    for (uint32_t i = 0; i < t->n_params; i++) {
        if (t->slots[i].owner != i || l->from[i] || (t->slots[i].flags & CO_PARAM_OPTIONAL)) continue;
        if (missing++ == 0) first = i;
    }
    return missing ? fail_missing(l, first, missing) : CO_OK;
}

static int ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* Buffers that older versions of transformers saved: computed, not learnt. */
static int harmless(const char *name)
{
    return ends_with(name, ".rotary_emb.inv_freq") || ends_with(name, ".attn.bias") || ends_with(name, ".attention.bias") ||
           ends_with(name, ".attn.masked_bias") || ends_with(name, ".attention.masked_bias");
}

static int check_unused(loading *l)
{
    const st_tensor *last = NULL;
    char names[600] = "";
    size_t at = 0, n = 0;
    int64_t have = count_layers(l, &last);
    if (have > l->t->n_layers)
        return FAIL(CO_E_FORMAT, "%s: tensor \"%s\" is of layer %lld, but %s of %s says %u layers", last->file,
                    last->name, (long long)have - 1, blame_layers(l->config), config_name(l), l->t->n_layers);
    for (size_t i = 0; i < st_count(l->file); i++) {
        const char *name = st_at(l->file, i)->name;
        if (l->used[i]) continue;
        l->report.n_ignored++;
        if (harmless(name)) continue;
        if (n++ >= 5 || at >= sizeof names) continue;
        int k = snprintf(names + at, sizeof names - at, "%s\"%.100s\"", at ? ", " : "", name);
        at += k > 0 ? (size_t)k : 0;
    }
    if (n > 0)
        log_line(CO_LOG_WARN, "params", "%s: %zu tensor%s the model does not use: %s%s", st_at(l->file, 0)->file, n,
                 n == 1 ? "" : "s", names, n > 5 ? ", ..." : "");
    return CO_OK;
}

static int check_finite(const st_tensor *x, const float *v, int64_t first, int64_t n)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++) sum += v[i] - v[i]; /* 0, or NaN if any is not finite */
    if (sum == 0) return CO_OK;
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return FAIL(CO_E_FORMAT, "%s: tensor \"%s\": element %lld is %f; the file is damaged", x->file, x->name,
                        (long long)(first + i), (double)v[i]);
    return CO_OK;
}

static int read_checked(const st_tensor *x, int64_t first, int64_t n, float *out)
{
    int rc = st_read_f32(x, first, n, out);
    return rc ? rc : check_finite(x, out, first, n);
}

static int stream_plain(loading *l, uint32_t slot, params_write_fn write, void *ctx)
{
    const st_tensor *x = l->from[slot];
    const int64_t runs = param_run_count(l->t, slot);
    for (int64_t i = 0; i < runs; i++) {
        const param_run run = param_run_at(l->t, slot, i);
        for (int64_t at = 0; at < run.n; at += PARAMS_PIECE) {
            int64_t n = run.n - at < PARAMS_PIECE ? run.n - at : PARAMS_PIECE;
            int rc = read_checked(x, run.file + at, n, l->buf);
            if (rc == CO_OK) rc = write(ctx, slot, run.param + at, n, l->buf);
            if (rc) return rc;
        }
    }
    return CO_OK;
}

/* The file holds [in, out], the parameter is [out, in]. Pieces are whole rows of the parameter, or parts of one
 * row where a row is longer than a piece. */
static int stream_transposed(loading *l, uint32_t slot, params_write_fn write, void *ctx)
{
    const st_tensor *x = l->from[slot];
    int64_t out = l->t->slots[slot].shape.ne[0], in = l->t->slots[slot].shape.ne[1];
    int64_t cols = in < PARAMS_PIECE ? in : PARAMS_PIECE, rows = PARAMS_PIECE / cols;
    for (int64_t o = 0; o < out; o += rows) {
        int64_t r = out - o < rows ? out - o : rows;
        for (int64_t c = 0; c < in; c += cols) {
            int64_t n = in - c < cols ? in - c : cols;
            for (int64_t i = 0; i < n; i++) {
                int rc = read_checked(x, (c + i) * out + o, r, l->other);
                if (rc) return rc;
                for (int64_t k = 0; k < r; k++) l->buf[k * n + i] = l->other[k];
            }
            int rc = write(ctx, slot, o * in + c, r * n, l->buf);
            if (rc) return rc;
        }
    }
    return CO_OK;
}

/* A file may hold a tied parameter a second time, but then it must be the same. */
static int check_tied(loading *l, uint32_t slot)
{
    const st_tensor *a = l->from[slot], *b = l->from[l->t->slots[slot].owner];
    int64_t total = param_elements(&l->t->slots[slot]);
    if (!a || !b || a == b) return CO_OK;
    for (int64_t first = 0; first < total; first += PARAMS_PIECE) {
        int64_t n = total - first < PARAMS_PIECE ? total - first : PARAMS_PIECE;
        int rc = st_read_f32(a, first, n, l->buf);
        if (rc == CO_OK) rc = st_read_f32(b, first, n, l->other);
        if (rc) return rc;
        if (memcmp(l->buf, l->other, (size_t)n * sizeof(float)) == 0) continue;
        return FAIL(CO_E_FORMAT,
                    "%s: tensor \"%s\" differs from \"%s\", although %s ties them; set tie_word_embeddings to false if "
                    "the model has a head of its own", a->file, a->name, b->name, config_name(l));
    }
    return CO_OK;
}

static int stream_all(loading *l, uint64_t seed, params_write_fn write, void *ctx)
{
    const param_table *t = l->t;
    int rc = CO_OK;
    for (uint32_t i = 0; i < t->n_params && rc == CO_OK; i++) {
        if (t->slots[i].owner != i) {
            rc = check_tied(l, i);
            continue;
        }
        if (l->from[i]) {
            l->report.n_loaded++;
            l->report.n_bytes += (int64_t)l->from[i]->bytes;
        } else {
            l->report.n_initialised++;
            if (!(t->slots[i].flags & PARAM_FLAG_ADDED))
                log_line(CO_LOG_WARN, "params", "\"%s\" is not in the file and starts from random", t->slots[i].name);
        }
        if (!write) continue;
        if (!l->from[i]) rc = params_init_one(t, i, seed, l->buf, write, ctx);
        else if (t->slots[i].flags & CO_PARAM_FILE_TRANSPOSED) rc = stream_transposed(l, i, write, ctx);
        else rc = stream_plain(l, i, write, ctx);
    }
    return rc;
}

int params_load(const param_table *t, const st_set *file, const hf_config *config, uint64_t seed,
                params_write_fn write, void *ctx, params_load_report *report)
{
    loading l = {.t = t, .file = file, .config = config};
    int rc = CO_E_NOMEM;
    l.from = mem_calloc(t->n_params, sizeof *l.from);
    l.used = mem_calloc(st_count(file) + 1, 1);
    l.buf = mem_alloc(PARAMS_PIECE * sizeof(float), 64);
    l.other = mem_alloc(PARAMS_PIECE * sizeof(float), 64);
    if (!l.from || !l.used || !l.buf || !l.other) goto done;
    rc = match(&l);
    if (rc == CO_OK) rc = check_unused(&l);
    if (rc == CO_OK) rc = stream_all(&l, seed, write, ctx);
    if (rc == CO_OK && report) *report = l.report;
done:
    mem_free(l.other);
    mem_free(l.buf);
    mem_free(l.used);
    mem_free(l.from);
    return rc;
}
