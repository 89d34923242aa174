/* plugin.c: the family as features of one plugin. */
#include "zero.h"
#include <string.h>

static const char *const placements[] = {"auto", "cpu", "cuda", NULL}; /* ZERO_AUTO … */
#define ROW(m, key, type, def, lo, hi, names, help) {key, type, offsetof(zero_opts, m), 0, def, lo, hi, names, help}
static const co_opt options[] = {
    ROW(bucket_mb, "bucket_mb", CO_OPT_INT, "25", 0, 1 << 20, NULL, "zero1, zero2, zero2_cpu: MiB of gradients reduced at a time; a larger tensor goes whole, 0: unit by unit"),
    ROW(overlap, "overlap", CO_OPT_BOOL, "1", 0, 0, NULL, "messages and copies beside the computation; zero3, gemini: the next unit comes while one runs"),
    ROW(placement, "placement", CO_OPT_ENUM, "auto", 0, 0, placements, "gemini: where weights, gradients and optimizer states live"),
    ROW(device_memory, "device_memory", CO_OPT_BYTES, "0", 0, 0, NULL, "gemini: device memory a rank may take, activations included; 0: what is free"),
    ROW(host_memory, "host_memory", CO_OPT_BYTES, "0", 0, 0, NULL, "zero2_cpu, gemini: host memory all ranks of a node may take; 0: no limit"),
    ROW(pin_memory, "pin_memory", CO_OPT_BOOL, "1", 0, 0, NULL, "host memory that devices copy from and to directly"), CO_OPT_END};

static void *table(const zero *z, size_t n, size_t size) { return z->a.host->alloc(z->a.host, (n + 1) * size, 16); }

static void zero_close(void *self)
{
    zero *z = self;
    if (!z) return;
    const co_host *h = z->a.host;
    zero_free(z);
    for (uint32_t k = 0; k < z->n_schedules; k++) {
        void *const of[] = {z->schedules[k].a, z->schedules[k].first, z->schedules[k].where, z->schedules[k].leaves};
        for (size_t i = 0; i < sizeof of / sizeof *of; i++) h->free(h, of[i]);
    }
    void *const list[] = {z->slots, z->unit_first, z->bucket_of, z->members, z->at, z->contributed, z->buckets, z->unit_bucket_first,
                          z->unit_buckets, z->param_views, z->grad_views, z->accumulate, z};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) h->free(h, list[i]);
}

static int take_tables(zero *z)
{
    const co_strategy_args *a = &z->a;
    const struct { void *at; size_t n, size; } list[] = {
        {&z->slots, a->n_params, sizeof *z->slots}, {&z->unit_first, a->n_units, sizeof *z->unit_first},
        {&z->bucket_of, a->n_params, sizeof *z->bucket_of}, {&z->members, a->n_params, sizeof *z->members},
        {&z->at, a->n_params, sizeof *z->at}, {&z->contributed, a->n_params, 1}, {&z->buckets, a->n_params, sizeof *z->buckets},
        {&z->unit_bucket_first, a->n_units, sizeof *z->unit_bucket_first}, {&z->unit_buckets, a->n_params, sizeof *z->unit_buckets},
        {&z->param_views, a->n_params, sizeof *z->param_views}, {&z->grad_views, a->n_params, sizeof *z->grad_views},
        {&z->accumulate, a->n_params, 1}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        void *p = table(z, list[i].n, list[i].size);
        if (!p) return CO_E_NOMEM;
        memcpy(list[i].at, &p, sizeof p);
    }
    memcpy(z->slots, a->params, a->n_params * sizeof *z->slots);
    for (uint32_t u = 0, i = 0; u <= a->n_units; u++) {
        while (i < a->n_params && z->slots[i].unit < u) i++;
        z->unit_first[u] = i;
    }
    return CO_OK;
}

/* The caller's schedules may go. At most as many buckets a unit as it has parameters. */
static int copy_schedules(zero *z)
{
    for (uint32_t k = 0; k < z->a.n_schedules && k < 3; k++) {
        const co_schedule *from = &z->a.schedules[k];
        zero_schedule *s = &z->schedules[z->n_schedules++];
        s->id = from->id;
        s->n = from->n;
        s->a = table(z, s->n, sizeof *s->a);
        s->first = table(z, s->n, sizeof *s->first);
        if (!s->a || !s->first) return CO_E_NOMEM;
        memcpy(s->a, from->a, s->n * sizeof *s->a);
        uint32_t n = 0;
        for (uint32_t i = 0; i < s->n; i++) {
            s->first[i] = n;
            n += z->unit_first[s->a[i].unit + 1] - z->unit_first[s->a[i].unit];
        }
        s->first[s->n] = n;
        s->where = table(z, n, sizeof *s->where);
        s->leaves = table(z, n, 1);
        if (!s->where || !s->leaves) return CO_E_NOMEM;
    }
    return CO_OK;
}

static int open_as(const zero_policy *policy, const co_strategy_args *a, void **self)
{
    const co_host *h = a->host;
    int32_t local_rank;
    if (a->optim && a->optim->n_state > ZERO_MAX_STATE)
        return CO_FAIL(h, CO_E_UNSUPPORTED, "strategy %s holds %d optimizer states, this one wants %u", policy->name, ZERO_MAX_STATE, a->optim->n_state);
    if (a->optim && !(a->optim->flags & CO_OPTIM_ELEMENTWISE))
        return CO_FAIL(h, CO_E_UNSUPPORTED, "strategy %s cuts parameters into ranges; this optimizer wants them whole: use naive or ddp", policy->name);
    if (a->optim && (!a->rule || (!a->state && !a->plan_only))) return CO_FAIL(h, CO_E_INVALID, "strategy %s: an optimizer and no step rule or state", policy->name);
    if (a->optim && a->rule->norm_type == CO_NORM_INF && !CO_HAS(co_backend_vt, a->backend, flat_absmax))
        return CO_FAIL(h, CO_E_UNSUPPORTED, "[optimizer] norm_type = inf: this backend does not offer flat_absmax; use 2");
    zero *z = h->alloc(h, sizeof *z, 16);
    if (!z) return CO_FAIL(h, CO_E_NOMEM, "strategy %s: out of memory", policy->name);
    z->a = *a;
    z->policy = policy;
    if (a->opts) memcpy(&z->o, a->opts, sizeof z->o);
    z->n_state = a->optim ? (int32_t)a->optim->n_state : 0;
    z->link = z->out = a->compute;
    z->ended = 1;
    int r = a->comm->info(a->comm_self, &z->rank, &z->world, &local_rank, &z->local_world);
    if (r == CO_OK) r = take_tables(z);
    if (r == CO_OK) r = copy_schedules(z);
    if (r == CO_E_NOMEM) r = CO_FAIL(h, CO_E_NOMEM, "strategy %s: out of memory", policy->name);
    if (r == CO_OK) r = zero_lay_out(z);
    if (r == CO_OK && !a->plan_only) r = zero_allocate(z);
    if (r) zero_close(z);
    else *self = z;
    return r;
}

#define FEATURE(id, sum, ...)                                                                                                \
    static const zero_policy id##_policy = {.name = #id, __VA_ARGS__};                                                       \
    static int id##_open(const co_strategy_args *a, void **self) { return open_as(&id##_policy, a, self); }                  \
    static const co_strategy_vt id##_vt = {                                                                                  \
        .struct_size = sizeof id##_vt, .open = id##_open, .close = zero_close, .begin = zero_begin, .end = zero_end,         \
        .acquire = zero_acquire, .release = zero_release, .grads_ready = zero_grads_ready, .step = zero_step,                \
        .stats = zero_stats, .owned = zero_owned, .read = zero_read, .write = zero_write, .gather = zero_gather,             \
        .bytes = zero_bytes, .traffic = zero_traffic};                                                                       \
    static const co_feature id##_feature = {.struct_size = sizeof id##_feature, .kind = CO_KIND_STRATEGY, .name = #id,       \
                                            .summary = sum, .opts = options, .opts_size = sizeof(zero_opts), .vt = &id##_vt}

FEATURE(zero1, "optimizer states cut over ranks", .whole_params = 1, .whole_grads = 1);
FEATURE(zero2, "optimizer states and gradients cut over ranks", .whole_params = 1);
FEATURE(zero2_cpu, "as zero2, with states, gradients and the update in host memory", .whole_params = 1, .host = 1);
FEATURE(zero3, "parameters, gradients and optimizer states cut over ranks");
FEATURE(gemini, "as zero3, in host memory what the device does not hold", .chunks = 1);

static const co_feature *const features[] = {&zero1_feature, &zero2_feature, &zero2_cpu_feature, &zero3_feature, &gemini_feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "coati-strategy-zero1",
                                 .vendor = "coati", .version = "0.1.0", .license = "Apache-2.0", .url = "", .features = features};
CO_PLUGIN(plugin);
