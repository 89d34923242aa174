#include "core/train/ranks.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/train/same_run.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *ranks_comm_auto(host *h, const co_backend_vt *be)
{
    static const char *const launched[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"};
    const co_feature *f;
    for (size_t i = 0; i < sizeof launched / sizeof *launched; i++)
        if (getenv(launched[i])) return be->flags & CO_BACKEND_ASYNC && host_feature(h, CO_KIND_COMM, "nccl", &f) == CO_OK ? "nccl" : "mpi";
    return "self";
}

const char *ranks_comm(run *r)
{
    return strcmp(r->o.run.comm, "auto") == 0 ? ranks_comm_auto(r->host, r->backend) : r->o.run.comm;
}

int ranks_open(run *r)
{
    int32_t rank = -1, world = -1, local = -1, local_world = -1;
    int s = PLUGIN("the comm's info()", r->comm->info(r->comm_self, &rank, &world, &local, &local_world));
    if (s == CO_OK && (world < 1 || rank < 0 || rank >= world || local < 0 || local >= local_world || local_world > world))
        s = FAIL(CO_E_ABI, "the comm's info() says rank %d of %d, %d of %d on this machine: the plugin is broken", rank, world, local, local_world);
    if (s) return s;
    r->rank = rank, r->world = world, r->local_rank = local, r->local_world = local_world;
    if (gethostname(r->node, sizeof r->node - 1)) snprintf(r->node, sizeof r->node, "?");
    if (r->rank > 0 && log_level() < CO_LOG_DEBUG) log_level_set(CO_LOG_ERROR); /* rank 0 says it for all */
    return s;
}

/* ---- how everybody fared --------------------------------------------------------------------------------------------- */
typedef struct word { int32_t code; char node[64], text[1980]; } word;

int ranks_agree(run *r, int status)
{
    if (r->world <= 1) return status;
    word own = {.code = status}, *all = mem_calloc((size_t)r->world, sizeof *all);
    int32_t failed = 0, first = -1, alike = 1;
    if (!all) return CO_E_NOMEM;
    snprintf(own.node, sizeof own.node, "%s", r->node);
    if (status) error_take(own.text, sizeof own.text);
    int s = r->talk->all_gather(r->talk_self, &own, all, (int64_t)sizeof own, CO_U8, NULL);
    for (int32_t i = 0; i < r->world && s == CO_OK; i++) {
        if (all[i].code == CO_OK) continue;
        if (failed++ == 0) first = i;
        alike = alike && all[i].code == all[first].code && strcmp(all[i].text, all[first].text) == 0;
    }
    if (s == CO_OK && failed) {
        const word *w = &all[first];
        r->together = w->code < 0;
        if (alike && failed == r->world) s = FAIL(w->code, "%s", w->text);
        else if (failed == 1) s = FAIL(w->code, "rank %d on %s: %s", first, w->node, w->text);
        else s = FAIL(w->code, "rank %d on %s: %s (and %d more)", first, w->node, w->text, failed - 1);
    }
    mem_free(all);
    return s;
}

/* ---- is it the same run? ------------------------------------------------------------------------------------------------ */
static uint64_t hash(uint64_t h, const void *data, size_t n) /* FNV-1a */
{
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static uint64_t hash_program(void)
{
    fs_map m;
    if (fs_map_open("/proc/self/exe", &m)) return 0;
    const uint64_t h = hash(0xcbf29ce484222325u, m.data, m.len);
    fs_map_close(&m);
    return h;
}

typedef struct card { /* what must be the same; in the order in which it is said */
    uint64_t program;
    char version[64];
    int64_t records, eval_records, data_bytes, steps, parameters, weight_bytes;
} card;

static void fill(run *r, card *c)
{
    *c = (card){.program = hash_program(), .parameters = r->table->n_elements, .steps = r->total_steps};
    snprintf(c->version, sizeof c->version, "%s", host_services(r->host)->version);
    if (r->train.loader) c->records = loader_n_records(r->train.loader), c->data_bytes = run_data_bytes(&r->train);
    if (r->eval.loader) c->eval_records = loader_n_records(r->eval.loader);
    for (size_t i = 0; r->weights && i < st_count(r->weights); i++) c->weight_bytes += (int64_t)st_at(r->weights, i)->bytes;
}

static int compare(const card *a, const card *b)
{
    const struct { const char *what; int64_t here, there; } rows[] = {
        {"records", a->records, b->records}, {"held-out records", a->eval_records, b->eval_records}, {"bytes", a->data_bytes, b->data_bytes},
        {"steps", a->steps, b->steps}};
    if (strcmp(a->version, b->version) != 0)
        return FAIL(CO_E_ABI, "another build of coati, %s, and %s on rank 0: install the same everywhere", a->version, b->version);
    if (a->program != b->program) return FAIL(CO_E_ABI, "another build of coati than on rank 0: install the same everywhere");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].here != rows[i].there)
            return FAIL(CO_E_FORMAT, "other data: %lld %s, and %lld on rank 0", (long long)rows[i].here, rows[i].what, (long long)rows[i].there);
    if (a->parameters != b->parameters || a->weight_bytes != b->weight_bytes)
        return FAIL(CO_E_FORMAT, "another model: %lld parameters in %lld bytes, and %lld in %lld on rank 0", (long long)a->parameters, (long long)a->weight_bytes,
                    (long long)b->parameters, (long long)b->weight_bytes);
    return CO_OK;
}

static int compare_configs(run *r)
{
    char *mine = config_print(r->config), *theirs = NULL;
    int64_t n = mine ? (int64_t)strlen(mine) : -1;
    char what[512];
    int s = r->talk->broadcast(r->talk_self, &n, 1, CO_I64, 0, NULL);
    if (s == CO_OK) s = n < 0 ? CO_E_NOMEM : CO_OK;
    if (s) goto done;
    theirs = mem_calloc((size_t)n + 1, 1);
    if (!theirs) { /* before the others wait for it */
        s = CO_E_NOMEM;
        goto done;
    }
    if (r->rank == 0) memcpy(theirs, mine, (size_t)n);
    s = r->talk->broadcast(r->talk_self, theirs, n, CO_U8, 0, NULL);
    if (s == CO_OK && !mine) s = CO_E_NOMEM;
    if (s == CO_OK && same_run_difference(theirs, mine, what, sizeof what)) s = FAIL(CO_E_CONFIG, "another train.ini than rank 0: %s", what);
done:
    mem_free(theirs);
    mem_free(mine);
    return s;
}

int ranks_same_run(run *r)
{
    card mine, first;
    if (r->world <= 1) return CO_OK;
    fill(r, &mine);
    first = mine;
    int s = r->talk->broadcast(r->talk_self, &first, (int64_t)sizeof first, CO_U8, 0, NULL);
    const int configs = s ? s : compare_configs(r); /* its messages are everybody's: always */
    if (s == CO_OK) s = configs;
    if (s == CO_OK) s = compare(&mine, &first);
    return ranks_agree(r, s);
}

int ranks_same_number(run *r, const char *what, int64_t n, const char *advice)
{
    int64_t first = n;
    if (r->world <= 1) return CO_OK;
    int s = r->talk->broadcast(r->talk_self, &first, 1, CO_I64, 0, NULL);
    if (s == CO_OK && n != first) s = FAIL(CO_E_FORMAT, "%s is %lld here and %lld on rank 0: %s", what, (long long)n, (long long)first, advice);
    return ranks_agree(r, s);
}

int ranks_sum(run *r, double *v, int64_t n)
{
    return r->world > 1 ? r->talk->all_reduce(r->talk_self, v, n, CO_F64, NULL) : CO_OK;
}
