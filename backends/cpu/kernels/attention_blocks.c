/* attention_blocks.c: softmax(scale q k^T + bias) v of one head in blocks of QB queries by KB keys with a running maximum
 * (Milakov & Gimelshein 2018; Dao et al. 2022), so that no [tokens, tokens] matrix exists. The backward computes the
 * probabilities again from lse.
 *
 * Blocks of scores are kept as [keys, queries]: what a query owns (maximum, sum, lse, delta) then lies along the vectors, no
 * sum runs across one, and all five products read their operands where they are (tile.h), but for q and do, of which a block
 * is turned. Keys that no query of a tile sees are skipped: of T^2/2 pairs nearly none are computed in vain.
 *
 * Floor: 4 and 8 operations a pair and column, 10 with the scores again; and one exponential a pair, 1.3 cycles. */
#include "attention.h"
#include "tile.h"
#include <math.h>
#include <string.h>

typedef struct block { /* queries q0.. by keys k0.. */
    int64_t q0, nq, k0, nk;
    int64_t width; /* nq rounded up to whole tiles */
    int64_t shift; /* key k0 + i is the position of query q0 + i + shift: causal masks hide it from the queries before */
} block;

/* First query that sees key i of the block, rounded down to whole tiles. What comes before is zero. */
static int64_t first_query(const co_attn *a, const block *b, int64_t i)
{
    const int64_t lo = a->causal ? i + b->shift : 0;
    return lo <= 0 ? 0 : (lo < b->width ? lo : b->width) & ~(int64_t)(TILE_N - 1);
}
/* One past the last key that query i of the block sees. */
static int64_t last_key(const co_attn *a, const block *b, int64_t i)
{
    const int64_t to = a->causal ? i - b->shift + 1 : b->nk;
    return to < 0 ? 0 : to < b->nk ? to : b->nk;
}

/* to[p, i] = x[i, p] * k for nq rows of x; the columns up to width are zero. */
static void turn(const float *x, int64_t ld, const block *b, int64_t hd, float k, float *to)
{
    for (int64_t i = 0; i < b->nq; i++)
        for (int64_t p = 0; p < hd; p++) to[p * QB + i] = x[i * ld + p] * k;
    for (int64_t p = 0; b->nq < b->width && p < hd; p++) memset(to + p * QB + b->nq, 0, (size_t)(b->width - b->nq) * sizeof(float));
}

/* out[keys, queries] = x turned, where somebody sees the key. */
static void key_products(const co_attn *a, const block *b, int64_t hd, const float *x, int64_t ld, const float *turned, float *out)
{
    for (int64_t i = 0; i < b->nk; i += TILE_M) {
        const int64_t m = b->nk - i < TILE_M ? b->nk - i : TILE_M, j = first_query(a, b, i);
        tile_rows(m, b->width - j, hd, x + (b->k0 + i) * ld, ld, 1, turned + j, QB, out + i * QB + j, QB, 0);
    }
}
/* out[query] (+)= sum over the keys it sees of p[key, query] x[key]. */
static void query_sums(const co_attn *a, const block *b, int64_t hd, const float *p, const float *x, int64_t ld, float *out, int64_t ldo, int add)
{
    for (int64_t i = 0; i < b->nq; i += TILE_M) {
        const int64_t m = b->nq - i < TILE_M ? b->nq - i : TILE_M;
        tile_rows(m, hd, last_key(a, b, i + m - 1), p + i, 1, QB, x + b->k0 * ld, ld, out + (b->q0 + i) * ldo, ldo, add);
    }
}
/* out[key] += sum over the queries that see it of p[key, query] x[query]. */
static void key_sums(const co_attn *a, const block *b, int64_t hd, const float *p, const float *x, int64_t ld, float *out, int64_t ldo)
{
    for (int64_t i = 0; i < b->nk; i += TILE_M) {
        const int64_t m = b->nk - i < TILE_M ? b->nk - i : TILE_M, j = first_query(a, b, i);
        if (j < b->nq)
            tile_rows(m, hd, b->nq - j, p + i * QB + j, QB, 1, x + (b->q0 + j) * ld, ld, out + (b->k0 + i) * ldo, ldo, 1);
    }
}

/* ALiBi, and -inf where a query of a computed tile does not see the key. */
static void mask(const co_attn *a, const sequence *s, const block *b, float *x)
{
    for (int64_t i = 0; i < b->nk; i++) {
        float *row = x + i * QB;
        const int64_t from = first_query(a, b, i), lo = a->causal ? i + b->shift : 0;
        const int64_t hi = a->window > 0 ? i + b->shift + a->window : b->width; /* one past the last that sees it */
        if (s->slope != 0)
            for (int64_t j = from; j < b->width; j++) row[j] += s->slope * (float)(i + b->shift - j);
        for (int64_t j = from; j < lo && j < b->width; j++) row[j] = -INFINITY;
        for (int64_t j = hi > from ? hi : from; j < b->width; j++) row[j] = -INFINITY;
    }
}
static int needs_mask(const co_attn *a, const sequence *s, const block *b)
{
    return s->slope != 0 || a->window > 0 || (a->causal && b->nk - 1 + b->shift > 0);
}

/* Scores become exp(score - maximum); max and sum of each query go on. keep: what the sums so far are worth. */
static void soften(const co_attn *a, const block *b, float *x, float *max, float *sum, float *keep)
{
    float now[QB];
    memcpy(now, max, sizeof now);
    for (int64_t i = 0; i < b->nk; i++) {
        const float *row = x + i * QB;
        for (int64_t j = first_query(a, b, i); j < b->width; j++) now[j] = row[j] > now[j] ? row[j] : now[j];
    }
    for (int64_t j = 0; j < b->width; j++) {
        const float safe = now[j] == -INFINITY ? 0 : now[j]; /* sees nothing yet */
        keep[j] = cpu_expf(max[j] - safe);
        max[j] = now[j];
        now[j] = safe;
        sum[j] *= keep[j];
    }
    for (int64_t i = 0; i < b->nk; i++) {
        float *row = x + i * QB;
        const int64_t from = first_query(a, b, i);
        for (int64_t j = from; j < b->width; j++) {
            row[j] = cpu_expf(row[j] - now[j]);
            sum[j] += row[j];
        }
        memset(row, 0, (size_t)from * sizeof(float));
    }
}

static block block_of(const co_attn *a, const sequence *s, int64_t q0, int64_t *from, int64_t *to)
{
    block b = {.q0 = q0, .nq = s->n_q - q0 < QB ? s->n_q - q0 : QB};
    b.width = (b.nq + TILE_N - 1) / TILE_N * TILE_N;
    attention_keys(a, s, q0, q0 + b.nq, from, to);
    return b;
}
static void at_keys(block *b, const sequence *s, int64_t k0, int64_t to)
{
    b->k0 = k0;
    b->nk = to - k0 < KB ? to - k0 : KB;
    b->shift = k0 - s->past - b->q0;
}

void attention_forward(const co_attn *a, const sequence *s, float *x)
{
    float *q = x + 2 * KB * QB, *max = q + 2 * s->hd * QB, *sum = max + QB, *keep = sum + QB;
    for (int64_t q0 = 0, from, to; q0 < s->n_q; q0 += QB) {
        block b = block_of(a, s, q0, &from, &to);
        turn(s->q + q0 * s->ldq, s->ldq, &b, s->hd, a->scale, q);
        for (int64_t j = 0; j < QB; j++) max[j] = -INFINITY, sum[j] = 0;
        for (int64_t k0 = from; k0 < to; k0 += KB) {
            at_keys(&b, s, k0, to);
            key_products(a, &b, s->hd, s->k, s->ldk, q, x);
            if (needs_mask(a, s, &b)) mask(a, s, &b, x);
            soften(a, &b, x, max, sum, keep);
            for (int64_t i = 0; k0 > from && i < b.nq; i++)
                for (int64_t p = 0; p < s->hd; p++) s->o[(q0 + i) * s->ldo + p] *= keep[i];
            query_sums(a, &b, s->hd, x, s->v, s->ldv, s->o, s->ldo, k0 > from);
        }
        for (int64_t i = 0; i < b.nq; i++) {
            const float k = sum[i] > 0 ? 1.0f / sum[i] : 0;
            for (int64_t p = 0; p < s->hd; p++) s->o[(q0 + i) * s->ldo + p] *= k;
            if (s->lse) s->lse[(q0 + i) * s->ldl] = max[i] + logf(sum[i]);
        }
    }
}

/* x: scores -> probabilities; dx: their gradient -> that of the scores. */
static void unsoften(const co_attn *a, const block *b, float *x, float *dx, const float *lse, const float *delta)
{
    for (int64_t i = 0; i < b->nk; i++) {
        float *p = x + i * QB, *d = dx + i * QB;
        const int64_t from = first_query(a, b, i);
        for (int64_t j = from; j < b->width; j++) {
            p[j] = cpu_expf(p[j] - lse[j]);
            d[j] = p[j] * (d[j] - delta[j]) * a->scale;
        }
        memset(p, 0, (size_t)from * sizeof(float));
        memset(d, 0, (size_t)from * sizeof(float));
    }
}

void attention_backward(const co_attn *a, const sequence *s, const sides *g, float *x)
{
    float *dx = x + KB * QB, *q = dx + KB * QB, *d = q + s->hd * QB, *lse = d + s->hd * QB, *delta = lse + QB;
    for (int64_t q0 = 0, from, to; q0 < s->n_q; q0 += QB) {
        block b = block_of(a, s, q0, &from, &to);
        turn(s->q + q0 * s->ldq, s->ldq, &b, s->hd, a->scale, q);
        turn(g->dout + q0 * g->lddo, g->lddo, &b, s->hd, 1, d);
        for (int64_t i = 0; i < QB; i++) lse[i] = delta[i] = 0;
        for (int64_t i = 0; i < b.nq; i++) {
            const float *o = g->out + (q0 + i) * g->ldout, *dout = g->dout + (q0 + i) * g->lddo;
            float sum = 0;
            for (int64_t p = 0; p < s->hd; p++) sum += o[p] * dout[p];
            delta[i] = sum;
            lse[i] = s->lse[(q0 + i) * s->ldl];
        }
        for (int64_t k0 = from; k0 < to; k0 += KB) {
            at_keys(&b, s, k0, to);
            key_products(a, &b, s->hd, s->k, s->ldk, q, x);
            key_products(a, &b, s->hd, s->v, s->ldv, d, dx);
            if (needs_mask(a, s, &b)) mask(a, s, &b, x);
            unsoften(a, &b, x, dx, lse, delta);
            if (g->dv) key_sums(a, &b, s->hd, x, g->dout, g->lddo, g->dv, g->lddv);
            if (g->dk) key_sums(a, &b, s->hd, dx, s->q, s->ldq, g->dk, g->lddk);
            if (g->dq) query_sums(a, &b, s->hd, dx, s->k, s->ldk, g->dq, g->lddq, 1);
        }
    }
}
