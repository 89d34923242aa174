#include "strategies/team.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/params/half.h"
#include <string.h>

enum { REDUCE = 1, SCATTER, GATHER, SPREAD, BARRIER };

void team_open(team *t, int32_t world)
{
    memset(t, 0, sizeof *t);
    t->world = world;
    pthread_mutex_init(&t->mu, NULL);
    pthread_cond_init(&t->changed, NULL);
    for (int32_t r = 0; r < TEAM_MOST; r++) t->member[r] = (team_member){.team = t, .rank = r};
}
void team_close(team *t)
{
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->mu);
}

static int meet(team *t)
{
    pthread_mutex_lock(&t->mu);
    const long round = t->round;
    if (++t->waiting == t->world) t->waiting = 0, t->round++, pthread_cond_broadcast(&t->changed);
    while (t->round == round && !t->broken) pthread_cond_wait(&t->changed, &t->mu);
    const int broken = t->broken;
    pthread_mutex_unlock(&t->mu);
    return broken ? FAIL(CO_E_COMM, "another rank gave up") : CO_OK;
}

/* All ranks' buffers are known and full; they must agree on what this is. */
static int enter(team_member *m, int what, const void *in, int64_t n, co_dtype type, double share)
{
    team *t = m->team;
    t->in[m->rank] = in;
    t->n[m->rank] = n;
    t->what[m->rank] = what * 16 + (int)type;
    m->sent += share * (double)n * (double)co_dtype_bytes(type);
    m->calls++;
    int r = meet(t);
    for (int32_t k = 0; k < t->world && r == CO_OK; k++)
        if (t->n[k] != n || t->what[k] != t->what[m->rank])
            r = FAIL(CO_E_COMM, "rank %d does %d of %lld, rank %d %d of %lld", m->rank, t->what[m->rank], (long long)n, k, t->what[k], (long long)t->n[k]);
    return r;
}

static double load(const void *p, co_dtype t, int64_t i)
{
    const uint16_t *h = p;
    return t == CO_F64 ? ((const double *)p)[i] : t == CO_BF16 ? bf16_to_f32(h[i]) : t == CO_F16 ? f16_to_f32(h[i]) : ((const float *)p)[i];
}
static void add_up(team *t, void *out, int64_t from, int64_t n, co_dtype type)
{
    for (int64_t i = 0; i < n; i++) {
        double wide = 0;
        float sum = 0;
        for (int32_t k = 0; k < t->world; k++) {
            const double x = load(t->in[k], type, from + i);
            wide += x, sum = k ? sum + (float)x : (float)x;
        }
        if (type == CO_F64) ((double *)out)[i] = wide;
        else if (type == CO_F32) ((float *)out)[i] = sum;
        else ((uint16_t *)out)[i] = type == CO_BF16 ? bf16_from_f32(sum) : f16_from_f32(sum);
    }
}

static int team_open_comm(const co_host *h, const void *opts, const co_backend_vt *be, void *be_self, void **self)
{
    (void)h, (void)opts, (void)be, (void)be_self, (void)self;
    return CO_E_UNSUPPORTED; /* members are given */
}
static void team_close_comm(void *self) { (void)self; }
static int team_info(void *self, int32_t *rank, int32_t *world, int32_t *local_rank, int32_t *local_world)
{
    const team_member *m = self;
    *rank = *local_rank = m->rank;
    *world = *local_world = m->team->world;
    return CO_OK;
}
static int team_split(void *self, int32_t color, int32_t key, void **sub)
{
    (void)self, (void)color, (void)key, (void)sub;
    return FAIL(CO_E_UNSUPPORTED, "this team is not split");
}
/* A buffer where the host can read and write it, and back. */
static void *lend(const team_member *m, const void *p, size_t bytes, co_stream on)
{
    if (!m->be) return (void *)(uintptr_t)p;
    void *q = mem_calloc(bytes + 1, 1);
    return q && m->be->copy(m->be_self, q, p, bytes, on) == CO_OK ? q : NULL;
}
static int give_back(const team_member *m, void *p, void *q, size_t bytes, int r, co_stream on)
{
    if (!m->be) return r;
    if (r == CO_OK && p) r = m->be->copy(m->be_self, p, q, bytes, on);
    mem_free(q);
    return r;
}

static int team_all_reduce(void *self, void *buf, int64_t n, co_dtype type, co_stream on)
{
    team_member *m = self;
    const double share = 2.0 * (m->team->world - 1) / m->team->world;
    const size_t bytes = (size_t)n * co_dtype_bytes(type);
    void *const sum = mem_calloc(bytes + 1, 1), *const in = lend(m, buf, bytes, on);
    int r = sum && in ? enter(m, REDUCE, in, n, type, share) : CO_E_NOMEM;
    if (r == CO_OK) add_up(m->team, sum, 0, n, type), r = meet(m->team);
    if (r == CO_OK) memcpy(in, sum, bytes);
    mem_free(sum);
    return give_back(m, buf, in, bytes, r, on);
}
static int team_reduce_scatter(void *self, const void *in, void *out, int64_t n, co_dtype type, co_stream on)
{
    team_member *m = self;
    const size_t bytes = (size_t)n * co_dtype_bytes(type);
    void *const whole = lend(m, in, bytes * (size_t)m->team->world, on), *const sum = m->be ? mem_calloc(bytes + 1, 1) : out;
    int r = whole && sum ? enter(m, SCATTER, whole, n, type, m->team->world - 1.0) : CO_E_NOMEM;
    if (r == CO_OK) add_up(m->team, sum, m->rank * n, n, type), r = meet(m->team);
    r = give_back(m, NULL, whole, 0, r, on);
    return give_back(m, out, sum, bytes, r, on);
}
static int team_all_gather(void *self, const void *in, void *out, int64_t n, co_dtype type, co_stream on)
{
    team_member *m = self;
    const size_t bytes = (size_t)n * co_dtype_bytes(type), all = bytes * (size_t)m->team->world;
    void *const own = lend(m, in, bytes, on), *const to = m->be ? mem_calloc(all + 1, 1) : out;
    int r = own && to ? enter(m, GATHER, own, n, type, m->team->world - 1.0) : CO_E_NOMEM;
    for (int32_t k = 0; k < m->team->world && r == CO_OK; k++)
        if ((const char *)m->team->in[k] != (char *)to + k * bytes) memcpy((char *)to + k * bytes, m->team->in[k], bytes);
    if (r == CO_OK) r = meet(m->team);
    r = give_back(m, NULL, own, 0, r, on);
    return give_back(m, out, to, all, r, on);
}
static int team_broadcast(void *self, void *buf, int64_t n, co_dtype type, int32_t root, co_stream on)
{
    team_member *m = self;
    const size_t bytes = (size_t)n * co_dtype_bytes(type);
    void *const b = lend(m, buf, bytes, on);
    int r = b ? enter(m, SPREAD + 16 * root, b, n, type, m->rank == root ? 1 : 0) : CO_E_NOMEM;
    if (r == CO_OK && m->rank != root) memcpy(b, m->team->in[root], bytes);
    if (r == CO_OK) r = meet(m->team);
    return give_back(m, m->rank == root ? NULL : buf, b, bytes, r, on);
}
static int team_barrier(void *self)
{
    team_member *m = self;
    const int r = enter(m, BARRIER, NULL, 0, CO_U8, 0);
    return r == CO_OK ? meet(m->team) : r;
}
static int team_abort(void *self, int code)
{
    team *t = ((team_member *)self)->team;
    (void)code;
    pthread_mutex_lock(&t->mu);
    t->broken = 1;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mu);
    return CO_OK;
}

const co_comm_vt team_comm = {
    .struct_size = sizeof team_comm, .mem_kinds = 1u << CO_MEM_HOST | 1u << CO_MEM_PINNED | 1u << CO_MEM_DEVICE, .open = team_open_comm,
    .close = team_close_comm, .info = team_info, .split = team_split, .all_reduce = team_all_reduce, .reduce_scatter = team_reduce_scatter,
    .all_gather = team_all_gather, .broadcast = team_broadcast, .barrier = team_barrier, .abort = team_abort};
