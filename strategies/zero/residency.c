/* residency.c: when which bucket is gathered, decided at the start for each schedule. A bucket must be there while its unit
 * runs, and with overlap one access earlier. Between two uses it stays if there is room, shortest gaps first: what leaves is
 * what is needed last (Belady 1966). */
#include "zero.h"
#include <stdlib.h>
#include <string.h>

typedef struct gap {
    uint32_t bucket;
    int32_t from, to; /* accesses in between; `to` may be period or more */
    int must, kept; /* must: it is kept whatever room there is */
} gap;

typedef struct planner {
    zero *z;
    zero_schedule *s;
    size_t room, *load; /* [period] bytes there at each access */
    gap *gaps;          /* by bucket, in order of time; the last of a bucket wraps around */
    zero_stay *stays;
    uint8_t *for_good; /* by bucket: it never leaves */
    uint32_t n_gaps, n_stays;
    int32_t ahead;
} planner;

static size_t bytes_of(const zero *z, uint32_t bucket)
{
    if (zero_at_hand(z, &z->buckets[bucket])) return 0;
    return zero_align((size_t)z->buckets[bucket].n * co_dtype_bytes(z->buckets[bucket].dtype));
}

static int uses(const zero *z, const zero_schedule *s, int32_t access, uint32_t bucket)
{
    const uint32_t u = s->a[access].unit;
    for (uint32_t j = z->unit_bucket_first[u]; j < z->unit_bucket_first[u + 1]; j++)
        if (z->unit_buckets[j] == bucket) return 1;
    return 0;
}

static int fits(const planner *p, const gap *g)
{
    const int32_t n = (int32_t)p->s->n;
    for (int32_t i = g->from; i <= g->to; i++)
        if (p->load[i % n] + bytes_of(p->z, g->bucket) > p->room) return 0;
    return 1;
}

static void add_load(planner *p, const gap *g, int sign)
{
    const int32_t n = (int32_t)p->s->n;
    for (int32_t i = g->from; i <= g->to; i++) p->load[i % n] += sign > 0 ? bytes_of(p->z, g->bucket) : (size_t)0 - bytes_of(p->z, g->bucket);
}

/* The gaps of each bucket: between uses, and from the last to the first of the next micro-step. Gaps of nothing are kept. */
static void find_gaps(planner *p)
{
    const int32_t n = (int32_t)p->s->n;
    for (uint32_t b = 0; b < p->z->n_buckets; b++) {
        int32_t first = -1, last = -1;
        for (int32_t i = 0; i < n; i++) {
            if (!uses(p->z, p->s, i, b)) continue;
            const int32_t from = last + 1, to = i - p->ahead - 1;
            if (last >= 0) p->gaps[p->n_gaps++] = (gap){b, from, to, from > to, from > to};
            if (first < 0) first = i;
            for (int32_t k = i - p->ahead > last ? i - p->ahead : last + 1; k <= i; k++)
                if (k >= 0) p->load[k] += bytes_of(p->z, b);
            last = i;
        }
        if (last < 0) continue;
        /* The first access has nothing before it in which to be fetched. */
        p->gaps[p->n_gaps++] = (gap){b, last + 1, n + (first - p->ahead > 0 ? first - p->ahead : 0) - 1, 0, 0};
    }
}

static int by_length(const void *x, const void *y)
{
    const gap *a = *(gap *const *)x, *b = *(gap *const *)y;
    const int32_t m = a->to - a->from, n = b->to - b->from;
    if (m != n) return m < n ? -1 : 1;
    return a < b ? -1 : a > b; /* their order in the table: bucket, then time */
}

static void keep_gaps(planner *p, gap **order)
{
    for (uint32_t i = 0; i < p->n_gaps; i++) order[i] = &p->gaps[i];
    qsort(order, p->n_gaps, sizeof(gap *), by_length);
    for (uint32_t i = 0; i < p->n_gaps; i++) {
        if (order[i]->kept || !fits(p, order[i])) continue;
        order[i]->kept = 1;
        add_load(p, order[i], 1);
    }
}

/* One stay from each gap that is not kept to the next such; a bucket whose gaps are all kept stays for good. */
static void join(planner *p)
{
    const int32_t n = (int32_t)p->s->n;
    p->n_stays = 0;
    for (uint32_t i = 0, end; i < p->n_gaps; i = end) {
        const uint32_t b = p->gaps[i].bucket;
        uint32_t open = 0;
        for (end = i; end < p->n_gaps && p->gaps[end].bucket == b; end++) open += !p->gaps[end].kept;
        if (open == 0) p->stays[p->n_stays++] = (zero_stay){b, 0, n - 1, bytes_of(p->z, b), 0};
        for (uint32_t k = i; k < end && open; k++) {
            if (p->gaps[k].kept) continue;
            uint32_t next = k; /* the gap after this one, around the end, that is not kept */
            do next = next + 1 < end ? next + 1 : i;
            while (p->gaps[next].kept);
            int32_t from = p->gaps[k].to + 1, to = p->gaps[next].from - 1;
            if (from >= n) from -= n, to -= to >= n ? n : 0;
            if (to < from) to += n;
            p->stays[p->n_stays++] = (zero_stay){b, from, to, bytes_of(p->z, b), 0};
        }
    }
}

static int covers(const zero_stay *t, int32_t access, int32_t n)
{
    return (t->from <= access && access <= t->to) || (t->from <= access + n && access + n <= t->to);
}

/* Where each access finds its buckets, and which it sees last. */
static void fill(planner *p)
{
    const zero *z = p->z;
    const int32_t n = (int32_t)p->s->n;
    p->s->permanent = 1;
    for (int32_t i = 0; i < n; i++) {
        const uint32_t u = p->s->a[i].unit, m = z->unit_bucket_first[u + 1] - z->unit_bucket_first[u];
        for (uint32_t j = 0; j < m; j++) {
            const uint32_t b = z->unit_buckets[z->unit_bucket_first[u] + j], at = p->s->first[i] + j;
            for (uint32_t k = 0; k < p->n_stays; k++) {
                const zero_stay *t = &p->stays[k];
                if (t->bucket != b || !covers(t, i, n)) continue;
                const int good = t->from == 0 && t->to == n - 1 && p->for_good[b];
                p->s->where[at] = t->at;
                p->s->leaves[at] = !good && t->to % n == i;
                p->s->permanent &= good;
            }
        }
    }
}

static int plan(planner *p, gap **order, int keep, size_t *bytes)
{
    find_gaps(p);
    for (uint32_t i = 0; i < p->s->n; i++)
        if (p->load[i] > p->room) return CO_E_NOMEM;
    if (keep) keep_gaps(p, order);
    for (;;) {
        size_t took;
        join(p);
        took = zero_place(p->stays, p->n_stays, (int32_t)p->s->n);
        if (took <= p->room) {
            if (took > *bytes) *bytes = took;
            break;
        }
        /* Room enough, but in pieces: the longest of what need not stay leaves. */
        gap *longest = NULL;
        for (uint32_t i = p->n_gaps; i-- > 0 && keep && !longest;)
            if (order[i]->kept && !order[i]->must) longest = order[i];
        if (!longest) return CO_E_NOMEM;
        longest->kept = 0;
        add_load(p, longest, -1);
    }
    for (uint32_t i = 0; i < p->n_gaps; i++) p->for_good[p->gaps[i].bucket] &= (uint8_t)p->gaps[i].kept;
    fill(p);
    return CO_OK;
}

int zero_plan_gathers(zero *z, zero_schedule *s, size_t room, int keep, size_t *bytes)
{
    const co_host *h = z->a.host;
    uint32_t n = z->n_buckets;
    for (uint32_t i = 0; i < s->n; i++) n += z->unit_bucket_first[s->a[i].unit + 1] - z->unit_bucket_first[s->a[i].unit];
    planner p = {.z = z, .s = s, .room = room, .ahead = z->o.overlap != 0};
    p.load = h->alloc(h, (s->n + 1) * sizeof *p.load, 16);
    p.gaps = h->alloc(h, (n + 1) * sizeof *p.gaps, 16);
    p.stays = h->alloc(h, (n + 1) * sizeof *p.stays, 16);
    p.for_good = h->alloc(h, n + 1, 16);
    gap **order = h->alloc(h, (n + 1) * sizeof *order, 16);
    int r = p.load && p.gaps && p.stays && p.for_good && order ? CO_OK : CO_FAIL(h, CO_E_NOMEM, "strategy %s: out of memory", z->policy->name);
    if (r == CO_OK) {
        memset(p.for_good, 1, n);
        r = plan(&p, order, keep, bytes);
        if (r) (void)CO_FAIL(h, r, "strategy %s: %zu bytes of device memory for gathered parameters do not hold one unit and the next: raise device_memory", z->policy->name, room);
    }
    void *const list[] = {p.load, p.gaps, p.stays, p.for_good, order};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) h->free(h, list[i]);
    return r;
}

size_t zero_least_gathered(zero *z)
{
    size_t bytes = 0;
    for (uint32_t k = 0; k < z->n_schedules; k++)
        if (zero_plan_gathers(z, &z->schedules[k], SIZE_MAX, 0, &bytes)) return SIZE_MAX;
    return bytes;
}
