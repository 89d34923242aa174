/* lora.c: the model around a model. */
#include "core/lora/lora.h"
#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/graph/graph.h"
#include "core/lora/lora_impl.h"
#include "core/params/load.h"
#include <math.h>
#include <string.h>

/* ---- the model's side: info, parameters ----------------------------------------------------------------------- */
static int wrapped_info(void *self, co_model_info *out)
{
    lora *l = self;
    return l->inner->info(l->inner_self, out);
}
static uint32_t wrapped_block_kind(void *self, uint32_t layer)
{
    lora *l = self;
    return l->inner->block_kind(l->inner_self, layer);
}
static const void *wrapped_extension(void *self, const char *id)
{
    lora *l = self;
    return l->inner->extension(l->inner_self, id);
}

static int add_matrix(const lora *l, const lora_target *t, int is_b, void *sink, int (*add)(void *sink, const co_param *p))
{
    const char *ab = is_b ? "lora_B" : "lora_A";
    co_param p = {.struct_size = sizeof p, .unit = t->unit, .local_name = arena_printf(l->names, "%s.%s", t->module, ab),
                        .file_name = arena_printf(l->names, "%s.%s.weight", t->module, ab),
                        .ne = {is_b ? t->out : l->spec.rank, is_b ? l->spec.rank : t->in}, .ndim = 2, .init = CO_INIT_ZERO,
                        .flags = CO_PARAM_OPTIONAL | PARAM_FLAG_ADDED};
    if (is_b) memcpy(p.file_group, t->file_group, sizeof p.file_group);
    return p.local_name && p.file_name ? add(sink, &p) : CO_E_NOMEM;
}

/* All A of a unit stand together, so that those that read the same input (q, k, v) run as one product. */
static int wrapped_params(void *self, void *sink, int (*add)(void *sink, const co_param *p))
{
    lora *l = self;
    int r = l->inner->params(l->inner_self, sink, add);
    for (int is_b = 0; is_b < 2; is_b++)
        for (uint32_t i = 0; i < l->n_targets && r == CO_OK; i++) r = add_matrix(l, &l->targets[i], is_b, sink, add);
    return r;
}

/* ---- the graph's side ----------------------------------------------------------------------------------------- */
static const lora_target *target_of(const lora *l, const co_graph *g, co_val w)
{
    if (g->failed || w == 0 || g->values[w].region != CO_REGION_PARAM) return NULL;
    for (uint32_t i = 0; i < l->n_targets; i++)
        if (l->targets[i].unit == g->rewrite_unit && l->targets[i].base == g->values[w].slot) return &l->targets[i];
    return NULL;
}

static co_val adapted_linear(co_graph *g, co_val x, co_val w, co_val bias)
{
    const lora *l = g->rewrite;
    const co_graph_ops *op = graph_ops();
    const co_val y = op->linear(g, x, w, bias);
    const lora_target *t = target_of(l, g, w);
    if (!t) return y;
    const co_val a = op->param(g, g->scope.decls[t->a].local_name), b = op->param(g, g->scope.decls[t->b].local_name);
    if (l->spec.dropout > 0) x = graph_dropout(g, x, (float)l->spec.dropout);
    /* The factor goes onto the [T, rank] values in between: the smallest there are. */
    const co_val low = op->scale(g, op->linear(g, x, a, 0), (float)lora_scale(l));
    return op->add(g, y, op->linear(g, low, b, 0));
}

static co_val wrapped_build(void *self, co_unit unit, uint32_t block_kind, const co_graph_ops *op, co_graph *g, const co_unit_in *in)
{
    lora *l = self;
    co_graph_ops ops = *op;
    ops.linear = adapted_linear;
    g->rewrite = l;
    g->rewrite_unit = unit;
    const co_val y = l->inner->build(l->inner_self, unit, block_kind, &ops, g, in);
    g->rewrite = NULL;
    return y;
}

/* ---- opening -------------------------------------------------------------------------------------------------- */
static int check_spec(const lora_spec *s)
{
    if (s->rank < 1) return FAIL(CO_E_CONFIG, "[lora] rank = %lld: at least 1", (long long)s->rank);
    if (!(s->alpha > 0)) return FAIL(CO_E_CONFIG, "[lora] alpha = %g: must be above 0", s->alpha);
    if (!(s->dropout >= 0 && s->dropout < 1)) return FAIL(CO_E_CONFIG, "[lora] dropout = %g: must be at least 0 and below 1", s->dropout);
    return CO_OK;
}

static void number_matrices(lora *l)
{
    uint32_t next[3] = {l->n_base[0], l->n_base[1], l->n_base[2]};
    for (uint32_t i = 0; i < l->n_targets; i++) l->targets[i].a = next[l->targets[i].unit]++;
    for (uint32_t i = 0; i < l->n_targets; i++) l->targets[i].b = next[l->targets[i].unit]++;
}

int lora_open(const co_host *h, const co_model_vt *vt, void *model, const lora_spec *spec, lora **out)
{
    param_table *base = NULL;
    int r = check_spec(spec);
    if (r) return r;
    lora *l = mem_calloc(1, sizeof *l);
    if (!l) return CO_E_NOMEM;
    l->host = h;
    l->inner = vt;
    l->inner_self = model;
    l->spec = *spec;
    l->names = arena_new(4096);
    l->target_text = mem_strdup(spec->targets);
    l->spec.targets = l->target_text;
    l->vt = (co_model_vt){.struct_size = sizeof l->vt, .model_types = vt->model_types, .info = wrapped_info, .params = wrapped_params,
                          .build = wrapped_build, .block_kind = vt->block_kind ? wrapped_block_kind : NULL,
                          .extension = vt->extension ? wrapped_extension : NULL};
    r = l->names && l->target_text ? param_table_build(vt, model, CO_F32, &base) : CO_E_NOMEM;
    if (r == CO_OK) r = lora_find_targets(l, base);
    param_table_free(base);
    number_matrices(l);
    if (r) lora_close(l);
    else *out = l;
    return r;
}

void lora_close(lora *l)
{
    if (!l) return;
    mem_free(l->targets);
    mem_free(l->target_text);
    if (l->names) arena_free(l->names);
    mem_free(l);
}

const co_model_vt *lora_model(const lora *l) { return &l->vt; }
const lora_spec *lora_spec_of(const lora *l) { return &l->spec; }
double lora_scale(const lora *l) { return l->spec.alpha / (l->spec.rslora ? sqrt((double)l->spec.rank) : (double)l->spec.rank); }
const lora_target *lora_targets(const lora *l, uint32_t *n)
{
    *n = l->n_targets;
    return l->targets;
}

/* ---- what trains, and from where ------------------------------------------------------------------------------- */
static int trains(const lora *l, const param_table *t, uint32_t slot)
{
    const co_param_slot *s = &t->slots[slot];
    const co_unit unit = param_unit_kind(t, s->unit);
    if (s->index >= l->n_base[unit]) return 1;
    if (l->spec.bias == LORA_BIAS_ALL) return strstr(s->name, "bias") != NULL; /* as PEFT: by name, norms included */
    for (uint32_t i = 0; i < l->n_targets && l->spec.bias == LORA_BIAS_ONLY; i++)
        if (l->targets[i].unit == unit && l->targets[i].bias == s->index) return 1;
    return 0;
}

int lora_freeze(const lora *l, param_table *t)
{
    int r = CO_OK;
    for (uint32_t i = 0; i < t->n_params && r == CO_OK; i++)
        if (t->slots[i].owner == i) r = param_table_freeze(t, i, !trains(l, t, i));
    return r;
}

static int init_one(const param_table *t, uint32_t slot, int64_t in, uint64_t seed, float *buf, params_write_fn write, void *ctx)
{
    const int64_t total = param_elements(&t->slots[slot]);
    const double bound = in ? 1 / sqrt((double)in) : 0; /* kaiming_uniform with a = sqrt(5) */
    int r = CO_OK;
    for (int64_t first = 0; first < total && r == CO_OK; first += PARAMS_PIECE) {
        const int64_t n = total - first < PARAMS_PIECE ? total - first : PARAMS_PIECE;
        for (int64_t i = 0; i < n; i++)
            buf[i] = in ? (float)(bound * (2 * rng_uniform(seed, RNG_INIT, ((uint64_t)slot << 40) | (uint64_t)(first + i)) - 1)) : 0;
        r = write(ctx, slot, first, n, buf);
    }
    return r;
}

int lora_init(const lora *l, const param_table *t, uint64_t seed, params_write_fn write, void *ctx)
{
    float *buf = mem_calloc(PARAMS_PIECE, sizeof *buf);
    int r = buf ? CO_OK : CO_E_NOMEM;
    for (uint32_t u = 0; u < t->n_units; u++)
        for (uint32_t i = 0; i < l->n_targets && r == CO_OK; i++) {
            const lora_target *to = &l->targets[i];
            if (to->unit != param_unit_kind(t, u)) continue;
            r = init_one(t, t->unit_first[u] + to->a, to->in, seed, buf, write, ctx);
            if (r == CO_OK) r = init_one(t, t->unit_first[u] + to->b, 0, seed, buf, write, ctx);
        }
    mem_free(buf);
    return r;
}
