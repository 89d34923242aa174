#include "core/data/mix.h"
#include "core/data/order.h"

/* Whole shares that add up: rounded down, the rest to the largest remainders, the first of equals. */
void mix_open(mix_source *s, size_t n, int64_t total, mix *out)
{
    double sum = 0;
    int64_t left = total;
    for (size_t i = 0; i < n; i++) sum += s[i].weight;
    for (size_t i = 0; i < n; i++) {
        s[i].share = (int64_t)((double)total * (s[i].weight / sum));
        if (s[i].share < 1) s[i].share = 1;
        left -= s[i].share;
    }
    while (left) {
        size_t best = 0;
        double most = -1e300;
        for (size_t i = 0; i < n; i++) {
            const double rest = (double)total * (s[i].weight / sum) - (double)s[i].share, by = left > 0 ? rest : s[i].share > 1 ? -rest : -1e299;
            if (by > most) most = by, best = i;
        }
        s[best].share += left > 0 ? 1 : -1;
        left -= left > 0 ? 1 : -1;
    }
    for (size_t i = 0; i < n; i++) s[i].before = i ? s[i - 1].before + s[i - 1].share : 0;
    *out = (mix){ .s = s, .n = n, .total = total };
}

/* Samples of source b that come before sample u of source a where each source's are spread evenly: sample u of c stands at
 * (2u + 1) / 2c of the pass, the earlier source first where two stand at one place. */
static int64_t before(const mix *m, size_t a, int64_t u, size_t b)
{
    const __int128 at = (__int128)(2 * u + 1) * m->s[b].share; /* (2v + 1) * share_a < at, or equal for b < a */
    const __int128 c = m->s[a].share, q = b < a ? at / c : (at - 1) / c;
    const int64_t v = (int64_t)((q + 1) / 2);
    return v < m->s[b].share ? v : m->s[b].share;
}

/* Without shuffling: the source and its sample at a place of the pass. */
static size_t spread(const mix *m, int64_t pos, int64_t *u)
{
    for (size_t a = 0; a < m->n; a++) {
        int64_t lo = 0, hi = m->s[a].share; /* the first u whose rank is pos or more */
        while (lo < hi) {
            const int64_t mid = lo + (hi - lo) / 2;
            int64_t rank = mid;
            for (size_t b = 0; b < m->n; b++)
                if (b != a) rank += before(m, a, mid, b);
            if (rank == pos) return *u = mid, a;
            if (rank < pos) lo = mid + 1;
            else hi = mid;
        }
    }
    return *u = 0, 0; /* not reached: ranks are a permutation of [0, total) */
}

int64_t mix_place(const mix *m, uint64_t seed, int shuffle, int64_t pass, int64_t pos)
{
    int64_t u, k;
    size_t a = 0;
    if (shuffle) {
        const int64_t v = order_at(seed, pass, m->total, pos);
        while (a + 1 < m->n && m->s[a + 1].before <= v) a++;
        u = v - m->s[a].before;
    } else {
        a = spread(m, pos, &u);
    }
    const mix_source *s = &m->s[a];
    k = pass * s->share + u; /* its k-th sample of the run */
    /* a seed of its own: sources of equal length must not walk in step */
    return s->first + (shuffle ? order_at(seed + (a + 1) * 0x9e3779b97f4a7c15u, k / s->n, s->n, k % s->n) : k % s->n);
}
