/* unit.c: see unit.h. */
#include "unit.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/base/rng.h"
#include <math.h>
#include <string.h>

static double draw(uint64_t seed, uint64_t stream, uint64_t i)
{
    const double a = rng_uniform(seed, 5000 + stream, 2 * i), b = rng_uniform(seed, 5000 + stream, 2 * i + 1);
    return sqrt(-2 * log(1 - a)) * cos(6.283185307179586 * b);
}

static double *numbers(size_t n) { return mem_calloc(n ? n : 1, sizeof(double)); }

/* Matrices small enough for a unit to stay in its lively range; norms near 1; biases, which start as zeros, not zero. */
static int fill_params(unit *u, uint64_t seed)
{
    for (uint32_t p = 0; p < u->a.n_params; p++) {
        const co_param *d = &u->a.decls[p];
        const int64_t n = param_elements(&u->a.slots[p]), cols = d->ndim > 1 ? d->ne[1] : 1;
        const double base = d->init == CO_INIT_ONE ? 1 : 0, size = d->ndim > 1 ? 0.8 / sqrt((double)cols) : 0.2;
        double *v = numbers((size_t)n), *g = numbers((size_t)n);
        u->params[p] = u->grads[p] = u->a.slots[p].shape;
        u->params[p].data = v;
        u->grads[p].data = g;
        if (!v || !g) return CO_E_NOMEM;
        for (int64_t i = 0; i < n; i++) v[i] = base + size * draw(seed, 10 + p, (uint64_t)i);
    }
    return CO_OK;
}

static int lay_out(unit *u, uint64_t seed)
{
    size_t bytes = 0;
    u->columns[0] = (gcolumn){"token_ids", CO_I32, CO_ROWS_TOKENS, 0};
    u->columns[1] = (gcolumn){"positions", CO_I32, CO_ROWS_TOKENS, 0};
    for (uint32_t i = 0; i < u->a.n_columns; i++) u->columns[2 + i] = u->a.columns[i];
    for (uint32_t i = 0; i < 2 + u->a.n_columns; i++) {
        u->columns[i].offset = bytes;
        bytes += 256; /* UNIT_TOKENS doubles have room */
    }
    u->batch = mem_calloc(1, bytes);
    if (!u->batch) return CO_E_NOMEM;
    static const int32_t start[UNIT_SEQS + 1] = {0, 4, 5, 7};
    memcpy(u->seq_start, start, sizeof start);
    int32_t *ids = unit_column(u, "token_ids"), *pos = unit_column(u, "positions");
    for (int s = 0; s < UNIT_SEQS; s++) {
        u->seq_key[s] = 100u + (uint64_t)s;
        for (int32_t i = start[s]; i < start[s + 1]; i++) pos[i] = i - start[s];
    }
    for (int32_t i = 0; i < UNIT_TOKENS; i++) ids[i] = (int32_t)rng_below(seed, 5001, (uint64_t)i, (uint64_t)u->a.n_vocab);
    u->live = (co_live){.struct_size = sizeof u->live, .n_tokens = UNIT_TOKENS, .n_seqs = UNIT_SEQS, .seq_start = u->seq_start, .seq_key = u->seq_key,
                        .inv_denom = 0.25f, .loss_weight = 1, .unit = 1, .step_key = 3, .class_tokens = UNIT_TOKENS};
    return CO_OK;
}

static int record(unit *u)
{
    const gscope scope = {.label = u->a.label, .decls = u->a.decls, .slots = u->a.slots, .n_params = u->a.n_params, .dtype = CO_F64,
                          .max_tokens = UNIT_TOKENS, .max_seqs = UNIT_SEQS, .training = 1};
    co_graph *g = u->graph = graph_new(u->arena, &scope, u->columns, 2 + u->a.n_columns);
    if (!g) return FAIL(CO_E_NOMEM, "out of memory");
    co_unit_in in = {.struct_size = sizeof in, .token_ids = graph_batch(g, "token_ids"), .positions = graph_batch(g, "positions")};
    if (u->a.has_x) in.x = g->x = graph_value(g, CO_F64, CO_ROWS_TOKENS, 2, UNIT_TOKENS, u->a.d_model, CO_REGION_X);
    co_val y = u->a.build(u->a.ctx, g, &in);
    int r = g->failed ? CO_E_CONFIG : CO_OK;
    if (r == CO_OK && (y == 0 || y >= g->n_values)) return FAIL(CO_E_CONFIG, "unit '%s': build() returned %u, which is no value of the graph", u->a.label, y);
    if (r) return r;
    const co_tensor *t = &g->values[y].shape;
    if (u->a.is_loss && (t->ndim != 1 || t->ne[0] != 1 || g->values[y].rows != CO_ROWS_FIXED)) return FAIL(CO_E_CONFIG, "unit '%s': build() returned no scalar", u->a.label);
    if (!u->a.is_loss && (t->ndim != 2 || t->ne[1] != u->a.d_model || g->values[y].rows != CO_ROWS_TOKENS || t->dtype != CO_F64))
        return FAIL(CO_E_CONFIG, "unit '%s': build() returned something else than hidden states [tokens, %lld]", u->a.label, (long long)u->a.d_model);
    r = graph_pin(g, &y, u->a.is_loss ? CO_REGION_OUT : CO_REGION_Y, 0);
    if (r == CO_OK && !u->a.is_loss) g->y = y;
    if (r == CO_OK) r = graph_fuse_linears(g);
    if (r == CO_OK) r = graph_derive(g, u->a.is_loss ? y : 0, u->a.has_x);
    if (r == CO_OK) r = graph_rewrite(g, u->a.is_loss);
    return r == CO_OK ? graph_plan(g, u->a.is_loss, &u->plans) : r;
}

static int open_ref(host *h, unit *u)
{
    const co_feature *f;
    int r = host_feature(h, CO_KIND_BACKEND, "ref", &f);
    if (r == CO_OK) u->ref = host_backend(h, f), r = u->ref->open(host_services(h), NULL, &u->ref_self);
    const co_plan *plans[2] = {&u->plans.forward, &u->plans.backward};
    for (int k = 0; k < 2 && r == CO_OK; k++)
        for (uint32_t i = 0; i < plans[k]->n_steps && r == CO_OK; i++) {
            char why[256] = "";
            if (u->ref->supports(u->ref_self, plans[k], i, why, sizeof why)) r = FAIL(CO_E_UNSUPPORTED, "%s", why);
        }
    if (r == CO_OK && u->plans.forward.n_steps) r = u->ref->prepare(u->ref_self, &u->plans.forward, &u->forward);
    if (r == CO_OK && u->plans.backward.n_steps) r = u->ref->prepare(u->ref_self, &u->plans.backward, &u->backward);
    return r;
}

int unit_open(host *h, const unit_args *a, uint64_t seed, unit *u)
{
    memset(u, 0, sizeof *u);
    u->a = *a;
    if (a->n_params > UNIT_MAX_PARAMS || a->n_columns > UNIT_MAX_COLUMNS - 2) return FAIL(CO_E_UNSUPPORTED, "more parameters or columns than are checked here");
    u->arena = arena_new(1 << 16);
    if (!u->arena) return CO_E_NOMEM;
    int r = lay_out(u, seed);
    if (r == CO_OK) r = record(u);
    if (r == CO_OK) r = open_ref(h, u);
    if (r == CO_OK) r = fill_params(u, seed);
    if (r) return r;
    const size_t hidden = (size_t)(UNIT_TOKENS * a->d_model), work = u->plans.forward.region_bytes[CO_REGION_WORK], work2 = u->plans.backward.region_bytes[CO_REGION_WORK];
    u->x = numbers(hidden), u->y = numbers(hidden), u->dx = numbers(hidden), u->dy = numbers(hidden), u->out = numbers(64);
    u->work = numbers((work > work2 ? work : work2) / 8 + 64);
    u->saved = numbers(u->plans.saved_bytes / 8 + 64);
    if (!u->x || !u->y || !u->dx || !u->dy || !u->out || !u->work || !u->saved) return CO_E_NOMEM;
    for (size_t i = 0; i < hidden; i++) u->x[i] = draw(seed, 1, i), u->dy[i] = draw(seed, 2, i);
    return CO_OK;
}

void unit_close(unit *u)
{
    if (u->forward) u->ref->discard(u->ref_self, u->forward);
    if (u->backward) u->ref->discard(u->ref_self, u->backward);
    if (u->ref_self) u->ref->close(u->ref_self);
    for (uint32_t p = 0; p < u->a.n_params && p < UNIT_MAX_PARAMS; p++) mem_free(u->params[p].data), mem_free(u->grads[p].data);
    double *const list[] = {u->x, u->y, u->dx, u->dy, u->out, u->work, u->saved};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) mem_free(list[i]);
    mem_free(u->batch);
    if (u->arena) arena_free(u->arena);
    memset(u, 0, sizeof *u);
}

static int run(unit *u, void *compiled)
{
    co_binding b = {.struct_size = sizeof b, .params = u->params, .grads = u->grads, .accumulate = u->accumulate, .host_live = &u->live, .dev_live = &u->live};
    b.base[CO_REGION_WORK] = u->work;
    b.base[CO_REGION_SAVED] = u->saved;
    b.base[CO_REGION_BATCH] = u->batch;
    b.base[CO_REGION_X] = u->x;
    b.base[CO_REGION_Y] = u->y;
    b.base[CO_REGION_DX] = u->dx;
    b.base[CO_REGION_DY] = u->dy;
    b.base[CO_REGION_OUT] = u->out;
    return compiled ? u->ref->run(u->ref_self, compiled, &b, NULL) : CO_OK;
}

int unit_forward(unit *u) { return run(u, u->forward); }
int unit_backward(unit *u) { return run(u, u->backward); }

void *unit_column(unit *u, const char *name)
{
    for (uint32_t i = 0; i < 2 + u->a.n_columns; i++)
        if (strcmp(u->columns[i].name, name) == 0) return u->batch + u->columns[i].offset;
    return NULL;
}

double unit_objective(const unit *u)
{
    double sum = 0;
    if (u->a.is_loss) return u->out[0];
    for (int64_t i = 0; i < UNIT_TOKENS * u->a.d_model; i++) sum += u->y[i] * u->dy[i];
    return sum;
}
