#include "strategies/rig.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 16, SEQS = 2 };

/* Fixtures are opened one at a time: they share a table of configurations. */
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

typedef struct batch {
    int32_t ids[TOKENS], labels[TOKENS], positions[TOKENS], start[SEQS + 1];
    float mask[TOKENS];
    uint64_t key[SEQS];
    const void *columns[2];
    engine_batch b;
    double n_labels;
} batch;

/* Micro-batch `index` of a step; its size differs too. */
static void make_batch(batch *x, int64_t step, int32_t index, int64_t vocab)
{
    uint64_t s = (uint64_t)step * 1000003u + (uint64_t)index * 7919u + 17;
    const int32_t n = TOKENS - 2 * (index % 3), cut = 5 + index % 4;
    memset(x, 0, sizeof *x);
    x->start[1] = cut, x->start[2] = n;
    for (int32_t i = 0; i < n; i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        x->ids[i] = (int32_t)((s >> 33) % (uint64_t)vocab);
        x->positions[i] = i < cut ? i : i - cut;
    }
    for (int32_t i = 0; i < n; i++) {
        const int last = i + 1 == cut || i + 1 == n;
        x->labels[i] = last ? -100 : x->ids[i + 1];
        x->mask[i] = last || i % 5 == 0 ? 0 : 1;
        x->n_labels += (double)x->mask[i];
    }
    x->key[0] = (uint64_t)index * 2, x->key[1] = x->key[0] + 1;
    x->columns[0] = x->labels, x->columns[1] = x->mask;
    x->b = (engine_batch){.n_tokens = n, .n_seqs = SEQS, .ids = x->ids, .positions = x->positions, .seq_start = x->start, .seq_key = x->key, .columns = x->columns};
}

typedef struct rank_run {
    const rig_case *c;
    rig_result *out;
    team_member *member;
    int32_t rank;
    double loss[RIG_STEPS], norm[RIG_STEPS], eval[RIG_STEPS], sent[RIG_STEPS];
    fixture f;
    int r;
    char why[512];
} rank_run;

static int train(rank_run *k)
{
    const rig_case *c = k->c;
    const int32_t all = c->world * c->accumulation;
    int r = CO_OK;
    for (int64_t step = c->first_step; step < c->first_step + c->steps && r == CO_OK; step++) {
        const int64_t vocab = k->f.table->info.n_vocab;
        batch x;
        double n_labels = 0;
        co_step_stats stats = {.struct_size = sizeof stats};
        engine_result res;
        const double before = k->member->sent;
        for (int32_t i = 0; i < all; i++) make_batch(&x, step, i, vocab), n_labels += x.n_labels;
        if (c->eval) {
            make_batch(&x, step, k->rank, vocab);
            r = engine_evaluate(k->f.engine, &x.b, 1 / x.n_labels, &res);
            k->eval[step] = res.loss;
        }
        for (int32_t m = 0; m < c->accumulation && r == CO_OK; m++) {
            make_batch(&x, step, m * c->world + k->rank, vocab);
            r = engine_micro_step(k->f.engine, &x.b, 1 / n_labels, 1, step, m + 1 == c->accumulation, NULL);
        }
        if (r == CO_OK) r = engine_step(k->f.engine, step, RIG_LR, c->max_norm, &stats);
        if (r == CO_OK) r = engine_collect(k->f.engine, step, &res, &stats);
        k->loss[step] = res.loss;
        k->norm[step] = stats.grad_norm;
        k->sent[step] = k->member->sent - before;
    }
    return r;
}

static int give_state(rank_run *k)
{
    const rig_result *from = k->c->resume;
    int r = CO_OK;
    engine_scalars s;
    for (uint32_t what = 0; from && what < from->n_what && r == CO_OK; what++)
        for (uint32_t p = 0; p < from->n_params && r == CO_OK; p++)
            if (from->n[p]) r = engine_write(k->f.engine, p, what, 0, from->n[p], from->state[what][p]);
    if (from && r == CO_OK) r = engine_get_scalars(k->f.engine, &s);
    s.updates = k->c->first_step - 1;
    return from && r == CO_OK ? engine_set_scalars(k->f.engine, &s) : r;
}

typedef struct taker { rank_run *k; uint32_t what; } taker;
static int take(void *sink, uint32_t param, int64_t first, int64_t n)
{
    const taker *t = sink;
    rig_result *o = t->k->out;
    return o->n[param] ? engine_read(t->k->f.engine, param, t->what, first, n, o->state[t->what][param] + first) : CO_OK;
}
/* Every element is owned by one rank: they are NaN before, and none may be after. */
static int keep(rank_run *k)
{
    const co_strategy_vt *s = k->f.strategy;
    rig_result *o = k->out;
    int r = CO_OK;
    for (uint32_t what = 0; what < o->n_what && r == CO_OK; what++) r = s->owned(engine_strategy(k->f.engine), what, &(taker){k, what}, take);
    for (uint32_t p = 0; p < o->n_params && r == CO_OK; p++) {
        if (!o->n[p]) continue;
        float *all = mem_calloc((size_t)o->n[p] + 1, sizeof *all);
        r = all ? engine_gather(k->f.engine, p, 0, o->n[p], all) : CO_E_NOMEM;
        if (r == CO_OK && k->rank == 0) memcpy(o->exported[p], all, (size_t)o->n[p] * sizeof *all);
        if (r == CO_OK) r = k->member->team->world > 1 ? team_comm.barrier(k->member) : CO_OK;
        if (r == CO_OK && memcmp(o->exported[p], all, (size_t)o->n[p] * sizeof *all)) r = FAIL(CO_E_INVALID, "rank %d exports another '%s'", k->rank, o->names[p]);
        mem_free(all);
    }
    return r;
}

static fixture_args args_of(const rig_case *c, team_member *member)
{
    return (fixture_args){.dir = c->dir, .adapter = c->adapter, .max_tokens = TOKENS, .max_seqs = SEQS, .checkpoint_blocks = c->checkpoint_blocks, .offload_activations = c->offload_activations,
                            .weight_decay = "0.1", .dtype = c->dtype, .random = c->random, .norm_type = c->norm_type, .sum_fp32 = c->accumulation > 1 || strcmp(c->strategy, "naive") == 0,
                            .strategy = c->strategy, .strategy_options = c->options, .wrap = c->wrap,
                            .comm = strcmp(c->strategy, "naive") == 0 ? NULL : &team_comm, .comm_self = member};
}

long rig_least(const rig_case *c)
{
    static const char *const one[] = {"device_memory", "1", NULL};
    team t;
    fixture f;
    team_open(&t, c->world);
    fixture_args a = args_of(c, &t.member[0]);
    a.strategy_options = one;
    a.plan_only = 1;
    const int r = fixture_open(&a, &f);
    const char *at = strstr(error_message(), "at least ");
    const long least = r == CO_E_NOMEM && at ? strtol(at + 9, NULL, 10) : -1;
    fixture_close(&f);
    team_close(&t);
    return least;
}

static void *run_rank(void *ctx)
{
    rank_run *k = ctx;
    const fixture_args a = args_of(k->c, k->member);
    pthread_mutex_lock(&opening);
    k->r = fixture_open(&a, &k->f);
    rig_result *o = k->out;
    if (k->r == CO_OK && !o->n) {
        const param_table *t = k->f.table;
        o->n_params = t->n_params;
        o->n_what = 1 + k->f.optim->n_state;
        o->n = mem_calloc(t->n_params, sizeof *o->n);
        o->names = mem_calloc(t->n_params, sizeof *o->names);
        o->exported = mem_calloc(t->n_params, sizeof *o->exported);
        for (uint32_t what = 0; what < o->n_what; what++) o->state[what] = mem_calloc(t->n_params, sizeof(float *));
        for (uint32_t p = 0; p < t->n_params; p++) {
            o->names[p] = mem_printf("%s", t->slots[p].name);
            o->n[p] = t->slots[p].owner == p && t->slots[p].trainable ? param_elements(&t->slots[p]) : 0;
            o->exported[p] = mem_calloc((size_t)o->n[p] + 1, sizeof(float));
            for (uint32_t what = 0; what < o->n_what; what++) {
                o->state[what][p] = mem_calloc((size_t)o->n[p] + 1, sizeof(float));
                for (int64_t i = 0; i < o->n[p]; i++) o->state[what][p][i] = NAN;
            }
        }
    }
    pthread_mutex_unlock(&opening);
    if (k->f.backend && k->f.backend->flags & CO_BACKEND_ASYNC) k->member->be = k->f.backend, k->member->be_self = k->f.backend_self;
    if (k->r == CO_OK) k->r = give_state(k);
    if (k->r == CO_OK) k->r = train(k);
    if (k->r == CO_OK) k->r = keep(k);
    if (k->r) {
        error_take(k->why, sizeof k->why);
        team_comm.abort(k->member, 1);
    }
    return NULL;
}

int rig_run(const rig_case *c, rig_result *out)
{
    team t;
    rank_run k[TEAM_MOST];
    pthread_t thread[TEAM_MOST];
    memset(out, 0, sizeof *out);
    memset(k, 0, sizeof k);
    team_open(&t, c->world);
    for (int32_t r = 0; r < c->world; r++) {
        k[r] = (rank_run){.c = c, .out = out, .member = &t.member[r], .rank = r};
        if (pthread_create(&thread[r], NULL, run_rank, &k[r])) abort();
    }
    for (int32_t r = 0; r < c->world; r++) pthread_join(thread[r], NULL);
    for (int32_t r = 0; r < c->world; r++) {
        if (k[r].r) fprintf(stderr, "%s, rank %d of %d: %s\n", c->strategy, r, c->world, k[r].why), out->failed++;
        for (int64_t s = c->first_step; s < c->first_step + c->steps; s++) {
            out->loss[s] += k[r].loss[s];
            out->eval[s] += k[r].eval[s];
            if (r == 0) out->norm[s] = k[r].norm[s], out->sent[s] = k[r].sent[s];
            else if (out->norm[s] != k[r].norm[s]) fprintf(stderr, "%s: rank %d has another norm at step %d\n", c->strategy, r, (int)s), out->failed++;
        }
        fixture_close(&k[r].f);
    }
    for (uint32_t p = 0; p < out->n_params && !out->failed; p++)
        for (uint32_t what = 0; what < out->n_what; what++)
            for (int64_t i = 0; i < out->n[p]; i++)
                if (isnan(out->state[what][p][i])) {
                    fprintf(stderr, "%s, %d ranks: element %lld of '%s' (%u) is nobody's\n", c->strategy, c->world, (long long)i, out->names[p], what);
                    out->failed++;
                    i = out->n[p];
                }
    team_close(&t);
    return out->failed;
}

void rig_free(rig_result *o)
{
    for (uint32_t p = 0; p < o->n_params; p++) {
        mem_free(o->names[p]);
        mem_free(o->exported[p]);
        for (uint32_t what = 0; what < o->n_what; what++) mem_free(o->state[what][p]);
    }
    for (uint32_t what = 0; what < o->n_what; what++) mem_free(o->state[what]);
    mem_free(o->names);
    mem_free(o->exported);
    mem_free(o->n);
    memset(o, 0, sizeof *o);
}

/* Elements first..first+n of `name` that the list gives; 0: none. */
static int64_t zero_part(const char *json, const char *name, int64_t *first)
{
    char got[200];
    long at, n;
    const char *p = json ? strstr(json, "\"zero_gradients\":") : NULL;
    for (p = p ? strchr(p, '[') : NULL; p && sscanf(p + 1, " \"%199s %ld %ld", got, &at, &n) == 3; p = strchr(p + 1, ','))
        if (strcmp(got, name) == 0) return *first = at, n;
    return 0;
}

int rig_compare(const char *what, const rig_result *got, const rig_result *want, int64_t steps, const char *zero)
{
    int bad = 0;
    char *json = NULL;
    size_t len;
    if (zero && fs_read_all(zero, &json, &len, 1 << 20)) return fprintf(stderr, "%s: %s\n", what, error_message()), 1;
    for (int64_t s = 1; s <= steps; s++)
        if (!(fabs(got->loss[s] - want->loss[s]) <= 2e-6 * fabs(want->loss[s])) || !(fabs(got->norm[s] - want->norm[s]) <= 2e-5 * want->norm[s])) {
            fprintf(stderr, "%s: step %d: loss %.9g, norm %.9g; want %.9g, %.9g\n", what, (int)s, got->loss[s], got->norm[s], want->loss[s], want->norm[s]);
            if (bad++ > 3) break;
        }
    for (uint32_t p = 0; p < want->n_params; p++) {
        double diff = 0, norm = 0, far = 0;
        int64_t at = 0;
        const int64_t n_zero = zero_part(json, want->names[p], &at);
        for (int64_t i = 0; i < want->n[p]; i++) {
            const double w = (double)want->exported[p][i], d = (double)got->exported[p][i] - w;
            if (i >= at && i < at + n_zero) far = fabs(d) > far ? fabs(d) : far;
            else diff += d * d, norm += w * w;
            if (got->exported[p][i] != got->state[0][p][i]) far = INFINITY; /* what is exported is what is owned */
        }
        if (!(sqrt(diff) <= 1e-5 * sqrt(norm)) || !(far <= 2 * RIG_LR * (double)steps))
            fprintf(stderr, "%s: '%s' is off by %.3g of %.3g, %.3g\n", what, want->names[p], sqrt(diff), sqrt(norm), far), bad++;
    }
    mem_free(json);
    return bad;
}
