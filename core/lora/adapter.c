/* adapter.c: PEFT's tensors: names to modules, checks, and into a model. */
#include "core/lora/adapter.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/lora/adapter_impl.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum part { PART_A = 0, PART_B, PART_BIAS, PART_NONE };

/* "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight" -> "model.layers.0.mlp.up_proj" and PART_A.
 * "….lora_A.default.weight" is what some older versions wrote. */
static enum part take_apart(const char *tensor, char *module, size_t cap)
{
    static const struct { const char *end; enum part part; } ends[] = {
        {".lora_A.weight", PART_A}, {".lora_B.weight", PART_B}, {".lora_A.default.weight", PART_A},
        {".lora_B.default.weight", PART_B}, {".base_layer.bias", PART_BIAS}, {".bias", PART_BIAS}};
    const size_t skip = strncmp(tensor, ADAPTER_PREFIX, strlen(ADAPTER_PREFIX)) == 0 ? strlen(ADAPTER_PREFIX) : 0;
    const size_t len = strlen(tensor + skip);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const size_t n = strlen(ends[i].end);
        if (len <= n || strcmp(tensor + skip + len - n, ends[i].end) != 0) continue;
        if (snprintf(module, cap, "%.*s", (int)(len - n), tensor + skip) >= (int)cap) return PART_NONE;
        return ends[i].part;
    }
    return PART_NONE;
}

/* The name that all layers share: what follows the layer's number, else the last part. */
static const char *target_name(const char *module)
{
    const char *after = NULL;
    for (const char *p = module; (p = strchr(p, '.')) != NULL; p++) {
        const size_t digits = strspn(p + 1, "0123456789");
        if (digits && p[1 + digits] == '.') after = p + 2 + digits;
    }
    if (after) return after;
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

static int listed(const char *list, const char *name)
{
    const size_t n = strlen(name);
    for (const char *p = list; p && *p; p += strcspn(p, ","), p += *p == ',')
        if (strncmp(p, name, n) == 0 && (p[n] == ',' || p[n] == 0)) return 1;
    return 0;
}

int adapter_add_target(char **list, const char *name)
{
    if (listed(*list, name)) return CO_OK;
    char *longer = mem_printf("%s%s%s", *list ? *list : "", *list ? "," : "", name);
    if (!longer) return CO_E_NOMEM;
    mem_free(*list);
    *list = longer;
    return CO_OK;
}

static const st_tensor *partner(const adapter *a, const char *tensor, const char *module, const char *ab)
{
    char name[600];
    const int prefixed = strncmp(tensor, ADAPTER_PREFIX, strlen(ADAPTER_PREFIX)) == 0;
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s%s.%s%s.weight", prefixed ? ADAPTER_PREFIX : "", module, ab, i ? ".default" : "");
        const st_tensor *t = st_find(a->file, name);
        if (t) return t;
    }
    return NULL;
}

static int take_tensor(adapter *a, const st_tensor *t)
{
    char module[512];
    const enum part part = take_apart(t->name, module, sizeof module);
    if (part == PART_NONE)
        return FAIL(CO_E_FORMAT, "%s: tensor \"%s\" is neither lora_A, lora_B nor a bias: not an adapter this version can use", t->file, t->name);
    if (t->dtype != CO_F32 && t->dtype != CO_BF16 && t->dtype != CO_F16)
        return FAIL(CO_E_FORMAT, "%s: tensor \"%s\" is stored as %s; F32, BF16 and F16 are read", t->file, t->name, t->dtype_name);
    if (part == PART_BIAS) {
        a->has_bias = 1;
        return CO_OK;
    }
    if (!partner(a, t->name, module, part == PART_A ? "lora_B" : "lora_A"))
        return FAIL(CO_E_FORMAT, "%s: tensor \"%s\" has no %s beside it", t->file, t->name, part == PART_A ? "lora_B" : "lora_A");
    if (t->ndim != 2 || t->ne[part == PART_A ? 0 : 1] != a->spec.rank)
        return FAIL(CO_E_FORMAT, "%s: tensor \"%s\" is not of rank %lld, which %s says (\"r\")", t->file, t->name, (long long)a->spec.rank,
                    ADAPTER_CONFIG);
    return adapter_add_target(&a->targets, target_name(module));
}

int adapter_open(const char *dir, adapter **out)
{
    adapter *a = mem_calloc(1, sizeof *a);
    char *config = fs_join(dir, ADAPTER_CONFIG), *weights = fs_join(dir, ADAPTER_WEIGHTS);
    int r = a && config && weights ? CO_OK : CO_E_NOMEM;
    if (r == CO_OK) r = (a->dir = mem_strdup(dir)) ? CO_OK : CO_E_NOMEM;
    if (r == CO_OK && !fs_is_file(config)) r = FAIL(CO_E_FORMAT, "%s: no such file: an adapter directory holds " ADAPTER_CONFIG " and " ADAPTER_WEIGHTS, config);
    if (r == CO_OK) r = adapter_read_config(a, config);
    if (r == CO_OK && !fs_is_file(weights))
        r = FAIL(CO_E_FORMAT, "%s: no such file (adapter_model.bin is not read: it may hold code; save it as safetensors)", weights);
    if (r == CO_OK) r = st_open_file(weights, &a->file);
    for (size_t i = 0; r == CO_OK && i < st_count(a->file); i++) r = take_tensor(a, st_at(a->file, i));
    if (r == CO_OK && !a->targets) r = FAIL(CO_E_FORMAT, "%s: holds no lora_A and lora_B", weights);
    if (r == CO_OK) a->spec.targets = a->targets;
    mem_free(weights);
    mem_free(config);
    if (r) adapter_close(a);
    else *out = a;
    return r;
}

void adapter_close(adapter *a)
{
    if (!a) return;
    st_close(a->file);
    mem_free(a->targets);
    mem_free(a->dir);
    mem_free(a);
}

const char *adapter_dir(const adapter *a) { return a->dir; }
const lora_spec *adapter_spec(const adapter *a) { return &a->spec; }

/* The base's parameter "<module>.weight" or ".bias", whose file may carry or lack a prefix. */
static uint32_t find_base(const param_table *t, const char *module, const char *end)
{
    static const char *const prefixes[] = {"", "model.", "transformer."};
    char name[600];
    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s%s", prefixes[i], module, end);
        uint32_t slot = param_find(t, name);
        const size_t n = strlen(prefixes[i]);
        if (slot == CO_NONE && n && strncmp(module, prefixes[i], n) == 0) {
            snprintf(name, sizeof name, "%s%s", module + n, end);
            slot = param_find(t, name);
        }
        if (slot != CO_NONE) return slot;
    }
    return CO_NONE;
}

int adapter_check(const adapter *a, const param_table *t, const char *base_name)
{
    char module[512];
    for (size_t i = 0; i < st_count(a->file); i++) {
        const st_tensor *x = st_at(a->file, i);
        const enum part part = take_apart(x->name, module, sizeof module);
        const uint32_t slot = find_base(t, module, part == PART_BIAS ? ".bias" : ".weight");
        if (slot == CO_NONE)
            return FAIL(CO_E_FORMAT, "%s: tensor \"%s\" belongs to \"%s\", which %s does not have: the adapter is for another model", x->file,
                        x->name, module, base_name);
        const co_tensor *w = &t->slots[slot].shape;
        const int64_t want = part == PART_A ? w->ne[1] : w->ne[0], got = part == PART_A ? x->ne[1] : x->ne[0];
        if (want != got)
            return FAIL(CO_E_FORMAT, "%s: tensor \"%s\" is for a layer %lld wide, that of %s is %lld wide: the adapter is for another model",
                        x->file, x->name, (long long)got, base_name, (long long)want);
        const int64_t width = w->ne[0] < w->ne[1] ? w->ne[0] : w->ne[1];
        if (part == PART_A && a->spec.rank > width)
            return FAIL(CO_E_FORMAT, "%s: tensor \"%s\": rank %lld is above the layer's width, %lld: such adapters are not used here", x->file, x->name,
                        (long long)a->spec.rank, (long long)width);
    }
    return CO_OK;
}

/* The tensor for a parameter of the wrapped model, by module and part; NULL if the adapter has none. */
static const st_tensor *find_tensor(const adapter *a, const param_table *t, uint32_t slot)
{
    char module[512], mine[512];
    const enum part want = take_apart(t->slots[slot].name, mine, sizeof mine);
    for (size_t i = 0; i < st_count(a->file) && want != PART_NONE; i++) {
        const st_tensor *x = st_at(a->file, i);
        if (take_apart(x->name, module, sizeof module) != want) continue;
        if (strcmp(module, mine) == 0) return x;
        const uint32_t base = find_base(t, module, want == PART_BIAS ? ".bias" : ".weight");
        const uint32_t own = find_base(t, mine, want == PART_BIAS ? ".bias" : ".weight");
        if (base != CO_NONE && base == own) return x;
    }
    return NULL;
}

/* One matrix into its place: rows and columns beyond the adapter's rank are zero. */
static int write_padded(const st_tensor *x, const param_table *t, uint32_t slot, float factor, float *row, params_write_fn write, void *ctx)
{
    const co_param_slot *s = &t->slots[slot];
    const int64_t cols = s->shape.ne[1], have_cols = x ? x->ne[1] : 0, have_rows = x ? x->ne[0] : 0;
    int r = CO_OK;
    for (int64_t k = 0; k < param_run_count(t, slot); k++) {
        const param_run run = param_run_at(t, slot, k);
        for (int64_t at = 0; at < run.n && r == CO_OK; at += cols) {
            const int64_t i = (run.file + at) / cols;
            memset(row, 0, (size_t)cols * sizeof *row);
            if (i < have_rows) r = st_read_f32(x, i * have_cols, have_cols, row);
            for (int64_t c = 0; c < have_cols && factor != 1.0f; c++) row[c] *= factor;
            for (int64_t c = 0; c < have_cols && r == CO_OK; c++)
                if (!isfinite(row[c])) r = FAIL(CO_E_FORMAT, "%s: tensor \"%s\": row %lld holds a value that is not finite", x->file, x->name, (long long)i);
            if (r == CO_OK) r = write(ctx, slot, run.param + at, cols, row);
        }
    }
    return r;
}

static int write_bias(const st_tensor *x, const param_table *t, uint32_t slot, params_write_fn write, void *ctx)
{
    float *bias = mem_calloc((size_t)param_elements(&t->slots[slot]), sizeof *bias);
    int r = bias ? st_read_f32(x, 0, param_elements(&t->slots[slot]), bias) : CO_E_NOMEM;
    for (int64_t k = 0; k < param_run_count(t, slot) && r == CO_OK; k++) {
        const param_run run = param_run_at(t, slot, k);
        r = write(ctx, slot, run.param, run.n, bias + run.file);
    }
    mem_free(bias);
    return r;
}

int adapter_load(const adapter *a, const lora *l, const param_table *t, params_write_fn write, void *ctx)
{
    uint32_t n = 0;
    int64_t widest = 1;
    const lora_target *targets = lora_targets(l, &n);
    for (uint32_t i = 0; i < t->n_params; i++)
        if (t->slots[i].shape.ndim == 2 && t->slots[i].shape.ne[1] > widest) widest = t->slots[i].shape.ne[1];
    const double own = a->spec.alpha / (a->spec.rslora ? sqrt((double)a->spec.rank) : (double)a->spec.rank);
    float *row = mem_calloc((size_t)widest, sizeof *row);
    int r = row ? CO_OK : CO_E_NOMEM;
    for (uint32_t u = 0; u < t->n_units; u++)
        for (uint32_t i = 0; i < 2 * n && r == CO_OK; i++) {
            const lora_target *to = &targets[i / 2];
            const uint32_t slot = t->unit_first[u] + (i % 2 ? to->b : to->a);
            if (to->unit != param_unit_kind(t, u)) continue;
            r = write_padded(find_tensor(a, t, slot), t, slot, i % 2 ? (float)(own / lora_scale(l)) : 1.0f, row, write, ctx);
        }
    mem_free(row);
    for (uint32_t i = 0; i < t->n_params && r == CO_OK && a->has_bias; i++) {
        const st_tensor *x = t->slots[i].shape.ndim == 1 ? find_tensor(a, t, i) : NULL;
        if (x) r = write_bias(x, t, i, write, ctx);
    }
    return r;
}
