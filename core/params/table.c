#include "core/params/table.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/base/error.h"
#include "core/base/memory.h"

#define MAX_LAYERS 65536u
#define MAX_PARAMS (1u << 24)             /* keys of random numbers hold 24 bits of slot ... */
#define MAX_ELEMENTS ((int64_t)1 << 40)   /* ... and 40 bits of element (RNG_INIT)           */

typedef struct table_impl {
    co_arena *strings;
    uint32_t *by_name; /* [n_params] sorted */
} table_impl;

typedef struct sink {
    param_table *t;
    co_param *d[3];
    uint32_t n[3], cap[3];
} sink;

static const char *const unit_names[] = {"embedding", "block", "final"};

static char *keep(param_table *t, const char *s)
{
    table_impl *impl = t->impl;
    return arena_strndup(impl->strings, s, strlen(s));
}

static int check_shape(const co_param *p)
{
    int64_t n = 1;
    if (p->ndim < 1 || p->ndim > CO_MAX_DIMS)
        return FAIL(CO_E_INVALID, "parameter \"%s\": %u dimensions; 1 to %d are possible", p->file_name, p->ndim, CO_MAX_DIMS);
    for (int i = 0; i < p->ndim; i++) {
        if (p->ne[i] < 1)
            return FAIL(CO_E_INVALID, "parameter \"%s\": size %lld in dimension %d; the model's configuration is wrong",
                        p->file_name, (long long)p->ne[i], i);
        if (__builtin_mul_overflow(n, p->ne[i], &n) || n >= MAX_ELEMENTS)
            return FAIL(CO_E_INVALID, "parameter \"%s\": 2^40 elements or more", p->file_name);
    }
    if ((p->flags & CO_PARAM_FILE_TRANSPOSED) && p->ndim != 2)
        return FAIL(CO_E_INVALID, "parameter \"%s\": only two dimensions can be transposed in the file", p->file_name);
    return CO_OK;
}

/* Rows of one group, and how many parts share them; 0 without groups. */
static int64_t group_rows(const co_param *p, int64_t *parts)
{
    int64_t sum = 0;
    *parts = 0;
    while (*parts < 4 && p->file_group[*parts] > 0) sum += p->file_group[(*parts)++];
    return sum;
}

static int check_group(const co_param *p)
{
    int64_t parts, rows = group_rows(p, &parts), most = p->ne[0];
    if (parts < 4 && p->file_group[parts] != 0)
        return FAIL(CO_E_INVALID, "parameter \"%s\": file_group of %lld rows", p->file_name, (long long)p->file_group[parts]);
    if (parts == 0) return CO_OK;
    for (int64_t i = 0; i < parts; i++)
        if (p->file_group[i] > most)
            return FAIL(CO_E_INVALID, "parameter \"%s\": file_group of %lld rows, there are %lld", p->file_name,
                        (long long)p->file_group[i], (long long)p->ne[0]);
    if (p->ne[0] % rows)
        return FAIL(CO_E_INVALID, "parameter \"%s\": %lld rows do not divide into groups of %lld", p->file_name, (long long)p->ne[0],
                    (long long)rows);
    if ((p->flags & CO_PARAM_FILE_TRANSPOSED) || p->tied_to)
        return FAIL(CO_E_INVALID, "parameter \"%s\": file_group goes with neither a transposed file nor tied_to", p->file_name);
    return CO_OK;
}

static int check_braces(const co_param *p)
{
    const char *at = strstr(p->file_name, "{}");
    if (at && strstr(at + 2, "{}")) return FAIL(CO_E_INVALID, "parameter \"%s\": {} more than once", p->file_name);
    if (at && p->unit != CO_UNIT_BLOCK)
        return FAIL(CO_E_INVALID, "parameter \"%s\": {} outside of a block: there is no layer to put in", p->file_name);
    if (!at && p->unit == CO_UNIT_BLOCK)
        return FAIL(CO_E_INVALID, "parameter \"%s\" of the block has no {} for the layer", p->file_name);
    return CO_OK;
}

static int add_decl(void *ctx, const co_param *p)
{
    sink *s = ctx;
    co_param d = {0};
    if (!p) return FAIL(CO_E_INVALID, "the model declares a parameter that is NULL");
    size_t size = p->struct_size < sizeof d ? p->struct_size : sizeof d;
    if (size < offsetof(co_param, init_std) + sizeof d.init_std)
        return FAIL(CO_E_INVALID, "a parameter's struct_size is %u: too short", p->struct_size);
    memcpy(&d, p, size);
    d.struct_size = sizeof d;
    if (d.unit > CO_UNIT_FINAL || !d.local_name || !d.file_name || !*d.local_name || !*d.file_name)
        return FAIL(CO_E_INVALID, "parameter \"%s\": unit %u, or a name is missing", d.file_name ? d.file_name : "", d.unit);
    if (d.init > CO_INIT_ONE) return FAIL(CO_E_INVALID, "parameter \"%s\": unknown init %u", d.file_name, d.init);
    int rc = check_shape(&d);
    if (rc == CO_OK) rc = check_group(&d);
    if (rc == CO_OK) rc = check_braces(&d);
    if (rc) return rc;
    for (uint32_t i = 0; i < s->n[d.unit]; i++)
        if (strcmp(s->d[d.unit][i].local_name, d.local_name) == 0)
            return FAIL(CO_E_INVALID, "parameter \"%s\" of the %s unit is declared twice", d.local_name, unit_names[d.unit]);
    d.local_name = keep(s->t, d.local_name);
    d.file_name = keep(s->t, d.file_name);
    if (d.tied_to) d.tied_to = keep(s->t, d.tied_to);
    if (!d.local_name || !d.file_name || (p->tied_to && !d.tied_to)) return CO_E_NOMEM;
    uint32_t u = d.unit;
    if (s->n[u] == s->cap[u]) {
        uint32_t cap = s->cap[u] ? 2 * s->cap[u] : 16;
        co_param *grown = mem_grow(s->d[u], s->cap[u], cap, sizeof *grown);
        if (!grown) return CO_E_NOMEM;
        s->d[u] = grown;
        s->cap[u] = cap;
    }
    s->d[u][s->n[u]++] = d;
    return CO_OK;
}

/* "h.{}.ln.weight", 3 -> "h.3.ln.weight" */
static char *with_layer(co_arena *a, const char *name, uint32_t layer)
{
    const char *at = strstr(name, "{}");
    if (!at) return arena_strndup(a, name, strlen(name));
    return arena_printf(a, "%.*s%u%s", (int)(at - name), name, layer, at + 2);
}

static void slot_group(const param_table *t, co_param_slot *s)
{
    s->group = 0;
    if (s->flags & CO_PARAM_NO_DECAY) s->group |= PARAM_GROUP_NO_DECAY;
    if ((s->flags & CO_PARAM_FP32) && t->dtype != CO_F32 && t->dtype != CO_F64) s->group |= PARAM_GROUP_FP32;
    if (!s->trainable) s->group |= PARAM_GROUP_FROZEN;
}

static int fill_slot(param_table *t, uint32_t id, uint32_t unit, uint32_t index)
{
    table_impl *impl = t->impl;
    co_unit kind = param_unit_kind(t, unit);
    const co_param *d = &t->decls[kind][index];
    co_param_slot *s = &t->slots[id];
    s->unit = unit;
    s->index = index;
    s->flags = d->flags;
    s->owner = id;
    s->trainable = 1;
    s->name = with_layer(impl->strings, d->file_name, unit - 1);
    if (!s->name) return CO_E_NOMEM;
    s->shape.ndim = d->ndim;
    s->shape.row_stride = 1;
    for (int i = 0; i < d->ndim; i++) s->shape.ne[i] = d->ne[i];
    for (int i = 1; i < d->ndim; i++) s->shape.row_stride *= d->ne[i];
    s->shape.dtype = (d->flags & CO_PARAM_FP32) && t->dtype != CO_F64 ? CO_F32 : (uint8_t)t->dtype;
    s->grad_dtype = s->shape.dtype;
    slot_group(t, s);
    return CO_OK;
}

static int by_name(const void *a, const void *b, void *ctx)
{
    const co_param_slot *s = ctx;
    return strcmp(s[*(const uint32_t *)a].name, s[*(const uint32_t *)b].name);
}

static int sort_names(param_table *t)
{
    table_impl *impl = t->impl;
    impl->by_name = mem_calloc(t->n_params + 1u, sizeof *impl->by_name);
    if (!impl->by_name) return CO_E_NOMEM;
    for (uint32_t i = 0; i < t->n_params; i++) impl->by_name[i] = i;
    qsort_r(impl->by_name, t->n_params, sizeof *impl->by_name, by_name, t->slots);
    for (uint32_t i = 1; i < t->n_params; i++) {
        const char *name = t->slots[impl->by_name[i]].name;
        if (strcmp(name, t->slots[impl->by_name[i - 1]].name) == 0)
            return FAIL(CO_E_INVALID, "two parameters are called \"%s\" in the file", name);
    }
    return CO_OK;
}

/* Follows tied_to until a parameter that is tied to nothing. */
static int find_owner(const param_table *t, uint32_t id, uint32_t *owner)
{
    table_impl *impl = t->impl;
    uint32_t at = id, steps = 0;
    for (;;) {
        const char *to = param_decl(t, at)->tied_to;
        if (!to) break;
        char *name = with_layer(impl->strings, to, t->slots[at].unit - 1);
        if (!name) return CO_E_NOMEM;
        uint32_t next = param_find(t, name);
        if (next == CO_NONE)
            return FAIL(CO_E_INVALID, "parameter \"%s\" is tied to \"%s\", which does not exist", t->slots[at].name, name);
        if (next == at || ++steps > t->n_params)
            return FAIL(CO_E_INVALID, "parameter \"%s\" is tied to itself", t->slots[id].name);
        at = next;
    }
    *owner = at;
    return CO_OK;
}

static int resolve_tie(param_table *t, uint32_t id)
{
    co_param_slot *s = &t->slots[id];
    uint32_t owner = id;
    int rc = find_owner(t, id, &owner);
    if (rc || owner == id) return rc;
    const co_param_slot *o = &t->slots[owner];
    if (memcmp(s->shape.ne, o->shape.ne, sizeof o->shape.ne) != 0 || s->shape.ndim != o->shape.ndim)
        return FAIL(CO_E_INVALID, "parameter \"%s\" is tied to \"%s\", whose shape differs", s->name, o->name);
    s->owner = owner;
    s->shape.dtype = o->shape.dtype;
    s->grad_dtype = o->grad_dtype;
    s->group = o->group;
    return CO_OK;
}

static void count_elements(param_table *t)
{
    t->n_elements = t->n_trainable = 0;
    for (uint32_t i = 0; i < t->n_params; i++) {
        if (t->slots[i].owner != i) continue;
        t->n_elements += param_elements(&t->slots[i]);
        if (t->slots[i].trainable) t->n_trainable += param_elements(&t->slots[i]);
    }
}

static int expand(param_table *t)
{
    uint64_t n = (uint64_t)t->n_decls[CO_UNIT_EMBED] + (uint64_t)t->n_layers * t->n_decls[CO_UNIT_BLOCK] +
                 t->n_decls[CO_UNIT_FINAL];
    uint32_t id = 0;
    int rc = CO_OK;
    if (n == 0 || n >= MAX_PARAMS) return FAIL(CO_E_INVALID, "the model has %llu parameters", (unsigned long long)n);
    t->n_params = (uint32_t)n;
    t->slots = mem_calloc(t->n_params, sizeof *t->slots);
    t->unit_first = mem_calloc(t->n_units + 1u, sizeof *t->unit_first);
    if (!t->slots || !t->unit_first) return CO_E_NOMEM;
    for (uint32_t u = 0; u < t->n_units; u++) {
        t->unit_first[u] = id;
        for (uint32_t i = 0; i < t->n_decls[param_unit_kind(t, u)] && rc == CO_OK; i++) rc = fill_slot(t, id++, u, i);
        if (rc) return rc;
    }
    t->unit_first[t->n_units] = id;
    rc = sort_names(t);
    for (uint32_t i = 0; i < t->n_params && rc == CO_OK; i++) rc = resolve_tie(t, i);
    if (rc == CO_OK) count_elements(t);
    return rc;
}

int param_table_build(const co_model_vt *vt, void *model, co_dtype dtype, param_table **out)
{
    param_table *t = mem_calloc(1, sizeof *t);
    table_impl *impl = mem_calloc(1, sizeof *impl);
    sink s = {.t = t};
    int rc = CO_E_NOMEM;
    if (!t || !impl) {
        mem_free(t);
        mem_free(impl);
        return rc;
    }
    t->impl = impl;
    t->dtype = dtype;
    impl->strings = arena_new(16384);
    if (!impl->strings) goto done;
    t->info.struct_size = sizeof t->info;
    rc = PLUGIN("the model's info()", vt->info(model, &t->info));
    if (rc) goto done;
    if (t->info.max_seq == 0) t->info.max_seq = PARAM_ANY_LENGTH;
    rc = CO_E_INVALID;
    if (t->info.n_layers < 1 || t->info.n_layers > MAX_LAYERS) {
        FAIL(rc, "the model says it has %u layers; 1 to %u are possible", t->info.n_layers, MAX_LAYERS);
        goto done;
    }
    t->n_layers = t->info.n_layers;
    t->n_units = t->n_layers + 2;
    rc = PLUGIN("the model's params()", vt->params(model, &s, add_decl));
    for (int k = 0; k < 3; k++) {
        t->decls[k] = s.d[k];
        t->n_decls[k] = s.n[k];
    }
    if (rc == CO_OK) rc = expand(t);
done:
    if (rc) param_table_free(t);
    else *out = t;
    return rc;
}

void param_table_sum_fp32(param_table *t)
{
    for (uint32_t i = 0; i < t->n_params; i++)
        if (t->slots[i].shape.dtype != CO_F64) t->slots[i].grad_dtype = CO_F32;
}

void param_table_free(param_table *t)
{
    if (!t) return;
    table_impl *impl = t->impl;
    for (int k = 0; k < 3; k++) mem_free((void *)t->decls[k]);
    mem_free(t->slots);
    mem_free(t->unit_first);
    mem_free(impl->by_name);
    arena_free(impl->strings);
    mem_free(impl);
    mem_free(t);
}

const co_param *param_decl(const param_table *t, uint32_t slot)
{
    const co_param_slot *s = &t->slots[slot];
    return &t->decls[param_unit_kind(t, s->unit)][s->index];
}

int64_t param_elements(const co_param_slot *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->shape.ndim; i++) n *= s->shape.ne[i];
    return n;
}

int64_t param_run_count(const param_table *t, uint32_t slot)
{
    int64_t parts, rows = group_rows(param_decl(t, slot), &parts);
    return parts ? t->slots[slot].shape.ne[0] / rows * parts : 1;
}

param_run param_run_at(const param_table *t, uint32_t slot, int64_t i)
{
    const co_param *d = param_decl(t, slot);
    const int64_t total = param_elements(&t->slots[slot]), cols = total / t->slots[slot].shape.ne[0];
    int64_t parts, before = 0, rows = group_rows(d, &parts);
    if (parts == 0) return (param_run){0, 0, total};
    const int64_t groups = t->slots[slot].shape.ne[0] / rows, group = i / parts, part = i % parts;
    for (int64_t k = 0; k < part; k++) before += d->file_group[k];
    const int64_t n = d->file_group[part];
    return (param_run){(group * rows + before) * cols, (groups * before + group * n) * cols, n * cols};
}

uint32_t param_find_local(const param_table *t, co_unit kind, const char *local_name)
{
    for (uint32_t i = 0; i < t->n_decls[kind]; i++)
        if (strcmp(t->decls[kind][i].local_name, local_name) == 0) return i;
    return CO_NONE;
}

uint32_t param_find(const param_table *t, const char *name)
{
    const table_impl *impl = t->impl;
    uint32_t lo = 0, hi = t->n_params;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = strcmp(name, t->slots[impl->by_name[mid]].name);
        if (c == 0) return impl->by_name[mid];
        if (c < 0) hi = mid;
        else lo = mid + 1;
    }
    return CO_NONE;
}

void param_table_hold(param_table *t, uint32_t slot, co_dtype dtype)
{
    const co_param_slot *s = &t->slots[slot];
    const uint32_t owner = s->owner;
    if (t->dtype != CO_F32 || (dtype != CO_BF16 && dtype != CO_F16) || s->shape.ndim != 2 || (s->flags & CO_PARAM_FP32)) return;
    for (uint32_t i = 0; i < t->n_params; i++) {
        if (t->slots[i].owner != owner) continue;
        t->slots[i].shape.dtype = (uint8_t)dtype;
        t->slots[i].group |= dtype == CO_BF16 ? PARAM_GROUP_BF16 : PARAM_GROUP_F16;
    }
}

int param_table_freeze(param_table *t, uint32_t slot, int frozen)
{
    if (slot >= t->n_params) return FAIL(CO_E_INVALID, "parameter %u of %u", slot, t->n_params);
    uint32_t owner = t->slots[slot].owner;
    for (uint32_t i = 0; i < t->n_params; i++) {
        if (t->slots[i].owner != owner) continue;
        t->slots[i].trainable = !frozen;
        if (frozen) t->slots[i].group |= PARAM_GROUP_FROZEN;
        else t->slots[i].group &= ~(uint32_t)PARAM_GROUP_FROZEN;
    }
    count_elements(t);
    return CO_OK;
}
