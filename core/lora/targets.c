/* targets.c: which products of a model get adapters. */
#include "core/base/error.h"
#include "core/graph/graph.h"
#include "core/lora/lora_impl.h"
#include <stdio.h>
#include <string.h>

/* Records one kind of unit as the model describes it, to see which parameters are weights of products. */
static int record(lora *l, const param_table *t, co_unit unit, uint32_t kind, uint32_t instance, co_arena *a, co_graph **out)
{
    static const gcolumn columns[] = {{"token_ids", CO_I32, CO_ROWS_TOKENS, 0}, {"positions", CO_I32, CO_ROWS_TOKENS, 256}};
    static const char *const label[] = {"embed", "block", "final"};
    const gscope scope = {.label = label[unit], .decls = t->decls[unit], .slots = t->slots + t->unit_first[instance],
                          .n_params = t->n_decls[unit], .first_slot = t->unit_first[instance], .dtype = t->dtype,
                          .max_tokens = 2, .max_seqs = 1, .training = 1};
    co_graph *g = graph_new(a, &scope, columns, 2);
    if (!g) return CO_E_NOMEM;
    co_unit_in in = {.struct_size = sizeof in, .token_ids = graph_batch(g, "token_ids"), .positions = graph_batch(g, "positions")};
    if (unit != CO_UNIT_EMBED)
        in.x = g->x = graph_value(g, scope.dtype, CO_ROWS_TOKENS, 2, scope.max_tokens, t->info.d_model, CO_REGION_X);
    (void)l->inner->build(l->inner_self, unit, kind, graph_ops(), g, &in);
    *out = g;
    return g->failed;
}

/* "model.layers.{}.mlp.up_proj.weight" -> "model.layers.{}.mlp.up_proj" */
static char *module_of(lora *l, const char *file_name)
{
    static const char end[] = ".weight";
    size_t n = strlen(file_name);
    if (n > sizeof end - 1 && strcmp(file_name + n - (sizeof end - 1), end) == 0) n -= sizeof end - 1;
    return arena_strndup(l->names, file_name, n);
}

static const char *last_part(const char *module)
{
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

/* Does `name`, n bytes, name this module? */
static int matches(const char *module, const char *name, size_t n)
{
    const size_t len = strlen(module);
    return len >= n && strncmp(module + len - n, name, n) == 0 && (len == n || module[len - n - 1] == '.');
}

static int wanted(const char *targets, const char *module)
{
    if (strcmp(targets, "all-linear") == 0) return 1;
    for (const char *p = targets; *p;) {
        p += strspn(p, ", ");
        const size_t n = strcspn(p, ", ");
        if (n && matches(module, p, n)) return 1;
        p += n;
    }
    return 0;
}

static int known(const lora *l, uint32_t unit, uint32_t base)
{
    for (uint32_t i = 0; i < l->n_targets; i++)
        if (l->targets[i].unit == unit && l->targets[i].base == base) return 1;
    return 0;
}

static int add_products(lora *l, const param_table *t, co_unit unit, const co_graph *g)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const gnode *n = &g->nodes[i];
        if (n->op != CO_OP_LINEAR || g->values[n->in[1]].region != CO_REGION_PARAM) continue;
        const uint32_t base = g->values[n->in[1]].slot;
        const co_param *d = &t->decls[unit][base];
        if (d->tied_to || known(l, unit, base)) continue;
        lora_target *grown = mem_grow(l->targets, l->n_targets, l->n_targets + 1, sizeof *grown);
        if (!grown) return CO_E_NOMEM;
        l->targets = grown;
        lora_target *to = &l->targets[l->n_targets++];
        const int biased = n->n_in > 2 && g->values[n->in[2]].region == CO_REGION_PARAM;
        *to = (lora_target){.unit = unit, .base = base, .bias = biased ? g->values[n->in[2]].slot : CO_NONE, .in = d->ne[1],
                            .out = d->ne[0], .module = module_of(l, d->file_name)};
        memcpy(to->file_group, d->file_group, sizeof to->file_group);
        if (!to->module) return CO_E_NOMEM;
    }
    return CO_OK;
}

static void list_modules(const lora *l, char *buf, size_t cap)
{
    size_t at = 0;
    buf[0] = 0;
    for (uint32_t i = 0; i < l->n_targets && at < cap; i++) {
        const char *name = last_part(l->targets[i].module);
        int again = 0;
        for (uint32_t k = 0; k < i; k++) again |= strcmp(last_part(l->targets[k].module), name) == 0;
        if (again) continue;
        const int n = snprintf(buf + at, cap - at, "%s%s", at ? ", " : "", name);
        at += n > 0 ? (size_t)n : 0;
    }
}

/* Every name must stand for something: a misspelt one would silently train less than was asked for. */
static int check_names(const lora *l)
{
    char there[400];
    for (const char *p = l->target_text; *p;) {
        p += strspn(p, ", ");
        const size_t n = strcspn(p, ", ");
        int any = n == 0 || strcmp(l->target_text, "all-linear") == 0;
        for (uint32_t i = 0; i < l->n_targets && !any; i++) any = matches(l->targets[i].module, p, n);
        if (!any) {
            list_modules(l, there, sizeof there);
            return FAIL(CO_E_CONFIG, "[lora] targets: \"%.*s\" matches no product of the model; there are %s (or all-linear)", (int)n, p, there);
        }
        p += n;
    }
    return CO_OK;
}

static int64_t width_of(const lora_target *t) { return t->in < t->out ? t->in : t->out; }

static int keep_wanted(lora *l)
{
    uint32_t n = 0, narrow = 0;
    for (uint32_t i = 0; i < l->n_targets; i++) {
        if (!wanted(l->target_text, l->targets[i].module)) continue;
        if (width_of(&l->targets[i]) < width_of(&l->targets[narrow]) || n == 0) narrow = n;
        l->targets[n++] = l->targets[i];
    }
    l->n_targets = n;
    const lora_target *t = &l->targets[narrow]; /* whose width is the most that any rank can have */
    if (n && l->spec.rank > width_of(t) && !l->spec.wide)
        return FAIL(CO_E_CONFIG, "[lora] rank = %lld is above the width of %s, which takes %lld to %lld: at most %lld can be used", (long long)l->spec.rank,
                    t->module, (long long)t->in, (long long)t->out, (long long)width_of(t));
    return n ? CO_OK : FAIL(CO_E_CONFIG, "[lora] targets = %s matches no product of the model", l->target_text);
}

int lora_find_targets(lora *l, const param_table *t)
{
    co_arena *a = arena_new(1 << 16);
    const uint32_t kinds = t->info.n_block_kinds ? t->info.n_block_kinds : 1;
    int r = a ? CO_OK : CO_E_NOMEM;
    for (int k = 0; k < 3; k++) l->n_base[k] = t->n_decls[k];
    for (uint32_t step = 0; step < kinds + 2 && r == CO_OK; step++) {
        const co_unit unit = step == 0 ? CO_UNIT_EMBED : step <= kinds ? CO_UNIT_BLOCK : CO_UNIT_FINAL;
        const uint32_t instance = unit == CO_UNIT_EMBED ? 0 : unit == CO_UNIT_BLOCK ? 1 : t->n_units - 1;
        co_graph *g = NULL;
        arena_reset(a);
        r = record(l, t, unit, unit == CO_UNIT_BLOCK ? step - 1 : 0, instance, a, &g);
        if (r == CO_OK) r = add_products(l, t, unit, g);
    }
    if (a) arena_free(a);
    if (r == CO_OK) r = check_names(l);
    return r == CO_OK ? keep_wanted(l) : r;
}
