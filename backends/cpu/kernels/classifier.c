/* classifier.c: log-probabilities of the targets, their gradient, and the head's weight gradient, without a
 * [tokens, vocabulary] matrix: rows that carry a target are gathered and go through in chunks of logits of about
 * CHUNK_BYTES. Tokens without a target cost nothing.
 *
 * Floor: 2 T V d for the logits, 4 T V d for the two products of the gradient. A chunk reads W twice and adds to dW once,
 * so it should have many rows; and its logits, larger than any cache, should go to memory once and come back once. So the
 * vocabulary is walked in tiles that stay in the last cache: a tile's logits become exp(z - the row's maximum in this tile)
 * as soon as they are made, and on the way back, when the whole row's maximum and sum are known, a tile is scaled and goes
 * into both products at once. A thread has tiles of its own, packs their part of W for itself and waits for nobody; dh is
 * summed over the threads. T 2048, V 32000, d 288, 2 threads, part of the speed of a large product (AMD EPYC, Zen 3): 262
 * rows in whole-row passes 0.75; 512 rows in tiles of 4096, OpenBLAS's threads 0.83; threads with their own tiles 0.92. */
#include "kernels.h"
#include <math.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)32 << 20)
#define TILE_BYTES ((size_t)4 << 20)

/* 32 MiB of a vocabulary of 32,000 are 262 rows; 64 MiB were no faster. Of 250,000 they are 33: too few to pay for reading W. */
static int64_t chunk_rows(int64_t vocab)
{
    int64_t rows = (int64_t)(CHUNK_BYTES / sizeof(float)) / vocab;
    return rows < 256 ? 256 : rows > 2048 ? 2048 : rows;
}
static int64_t pad(int64_t n) { return (n + 63) & ~(int64_t)63; }
/* The cap's slope needs each capped value beside its exponential, so such rows go through whole. */
static int64_t tile_cols(const co_classifier *a, int threads, int64_t rows, int64_t vocab)
{
    const int64_t most = pad((int64_t)(TILE_BYTES / sizeof(float)) / rows), share = pad((vocab + threads - 1) / threads);
    const int64_t cols = most < share ? most : share;
    return a->softcap > 0 || cols > vocab ? vocab : cols;
}

typedef struct layout { /* of the scratch, in floats */
    int64_t rows, ld, cols, tiles; /* of a chunk; columns of a tile and of the logits kept */
    int64_t parts, part;           /* sums of dh: one a thread that has tiles, floats apart */
    int64_t h, dh, max, sum, which, target_logit, total;
} layout;

/* grad: every tile's logits are kept until the gradient; else they are done with at once. ld is no power of two. */
static layout lay_out(const co_classifier *a, int threads, int64_t capacity, int64_t d, int64_t vocab, int grad)
{
    layout l = {.rows = chunk_rows(vocab)};
    if (l.rows > capacity) l.rows = capacity;
    if (l.rows < 1) l.rows = 1;
    l.cols = tile_cols(a, threads, l.rows, vocab);
    l.tiles = (vocab + l.cols - 1) / l.cols;
    l.parts = l.tiles < threads ? l.tiles : threads;
    l.part = pad(l.rows * d);
    l.ld = pad(grad ? vocab : l.cols * l.parts) + 16;
    l.h = pad(l.rows * l.ld);
    l.dh = l.h + l.part;
    l.max = l.dh + (grad ? l.parts : 0) * l.part;
    l.sum = l.max + pad(l.rows * l.tiles);
    l.which = l.sum + pad(l.rows * l.tiles);
    l.target_logit = l.which + pad(l.rows);
    l.total = l.target_logit + pad(l.rows);
    return l;
}

size_t k_classifier_scratch(const cpu *c, const co_plan *p, const co_step_op *op)
{
    const co_tensor *h = &p->values[op->in[0]].shape, *w = &p->values[op->in[1]].shape;
    return (size_t)lay_out(op->attrs, c->threads, h->ne[0], h->ne[1], w->ne[0], op->op != CO_OP_TOKEN_LOGPROB).total * sizeof(float);
}

static float row_max(const float *x, int64_t n)
{
    float m[16];
    int64_t i = 16;
    if (n < 16) {
        float best = x[0];
        for (i = 1; i < n; i++) best = x[i] > best ? x[i] : best;
        return best;
    }
    for (int k = 0; k < 16; k++) m[k] = x[k];
    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 16; k++) m[k] = x[i + k] > m[k] ? x[i + k] : m[k];
    for (; i < n; i++) m[0] = x[i] > m[0] ? x[i] : m[0];
    for (int k = 1; k < 16; k++) m[0] = m[k] > m[0] ? m[k] : m[0];
    return m[0];
}
/* x becomes exp(x - max). Sums of 512 in fp32, those in double: a vocabulary is too long for one fp32 sum. */
static float exp_sum_512(float *x, int64_t n, float max)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const float e = cpu_expf(x[i] - max);
        x[i] = e;
        sum += e;
    }
    return sum;
}
static float row_exp_sum(float *x, int64_t n, float max)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i += 512) sum += exp_sum_512(x + i, n - i < 512 ? n - i : 512, max);
    return (float)sum;
}
static void row_scale(float *x, int64_t n, float k)
{
    for (int64_t i = 0; i < n; i++) x[i] *= k;
}

/* A row of capped logits as a whole: log-probability and log-sum-exp; with `grad` it becomes d(loss)/d(raw logits). */
static void capped_row(float *z, int64_t vocab, int32_t target, const co_classifier *a, float dlogp, int grad, float *logp, float *lse)
{
    const float inv_t = a->inv_temperature, cap = a->softcap;
    for (int64_t v = 0; v < vocab; v++) z[v] = cap * tanhf(z[v] / cap) * inv_t;
    const float zt = z[target], max = row_max(z, vocab), u_t = zt / inv_t / cap;
    double sum = 0;
    for (int64_t v = 0; v < vocab; v++) sum += (double)expf(z[v] - max);
    *lse = max + (float)log(sum);
    *logp = zt - *lse;
    if (!grad) return;
    for (int64_t v = 0; v < vocab; v++) {
        const float u = z[v] / inv_t / cap;
        z[v] = -dlogp * inv_t * expf(z[v] - *lse) * (1 - u * u);
    }
    z[target] += dlogp * inv_t * (1 - u_t * u_t);
}

typedef struct classifier {
    const view *h, *w, *targets;
    const float *dlogp;              /* NULL: forward only */
    float *logp, *lse;               /* may be NULL */
    const view *dh, *dw;             /* p may be NULL */
} classifier;

typedef struct chunk { /* the rows in flight */
    const cpu_step *s;
    const classifier *k;
    co_classifier rule;
    layout l;
    float *z, *h, *dh, *max, *sum, *target_logit; /* z [rows, ld]; max, sum [rows, tiles]: sum becomes the row's factor */
    int32_t *which;                               /* [rows] token */
    int64_t n, d, vocab;
    int add; /* to dw */
} chunk;

static void finish_row(const chunk *c, int64_t i)
{
    const int32_t token = c->which[i], target = view_ids(c->k->targets)[token];
    const float dlogp = c->k->dlogp ? c->k->dlogp[token] : 0;
    float *m = c->max + i * c->l.tiles, *sum = c->sum + i * c->l.tiles, logp, lse;
    if (c->rule.softcap > 0) {
        capped_row(c->z + i * c->l.ld, c->vocab, target, &c->rule, dlogp, c->k->dlogp != NULL, &logp, &lse);
    } else {
        double total = 0;
        const float most = row_max(m, c->l.tiles);
        for (int64_t t = 0; t < c->l.tiles; t++) total += (double)sum[t] * exp((double)m[t] - most);
        lse = most + (float)log(total);
        logp = c->target_logit[i] - lse;
        for (int64_t t = 0; t < c->l.tiles; t++)
            sum[t] = (float)(-(double)dlogp * c->rule.inv_temperature * exp((double)m[t] - most) / total);
    }
    if (c->k->logp) c->k->logp[token] = logp;
    if (c->k->lse) c->k->lse[token] = lse;
}

/* One tile's logits; where no gradient follows, they are thread `i`'s to forget. */
static void make_tile(const chunk *c, int64_t t, int i)
{
    const view *w = c->k->w;
    const int32_t *targets = view_ids(c->k->targets);
    const int64_t from = t * c->l.cols, n = c->vocab - from < c->l.cols ? c->vocab - from : c->l.cols;
    float *z = c->z + (c->k->dlogp ? from : i * c->l.cols);
    c->s->c->blas.sgemm(BLAS_ROW, BLAS_N, BLAS_T, (int)c->n, (int)n, (int)c->d, 1, c->h, (int)c->d, w->p + from * w->stride, (int)w->stride, 0,
                        z, (int)c->l.ld);
    for (int64_t r = 0; c->rule.softcap == 0 && r < c->n; r++) {
        float *row = z + r * c->l.ld;
        const int64_t target = targets[c->which[r]] - from;
        if (c->rule.inv_temperature != 1) row_scale(row, n, c->rule.inv_temperature);
        if (target >= 0 && target < n) c->target_logit[r] = row[target];
        const float max = row_max(row, n);
        c->max[r * c->l.tiles + t] = max;
        c->sum[r * c->l.tiles + t] = row_exp_sum(row, n, max);
    }
}

/* A tile becomes d(loss)/d(logits) and goes into both products; dh is thread `i`'s own sum. */
static void use_tile(const chunk *c, int64_t t, int i)
{
    const view *w = c->k->w, *dw = c->k->dw;
    const int32_t *targets = view_ids(c->k->targets);
    const cpu_blas *blas = &c->s->c->blas;
    const int64_t from = t * c->l.cols, n = c->vocab - from < c->l.cols ? c->vocab - from : c->l.cols;
    float *z = c->z + from;
    for (int64_t r = 0; c->rule.softcap == 0 && r < c->n; r++) {
        const int64_t target = targets[c->which[r]] - from;
        row_scale(z + r * c->l.ld, n, c->sum[r * c->l.tiles + t]);
        if (target >= 0 && target < n) z[r * c->l.ld + target] += c->k->dlogp[c->which[r]] * c->rule.inv_temperature;
    }
    if (c->k->dh && c->k->dh->p)
        blas->sgemm(BLAS_ROW, BLAS_N, BLAS_N, (int)c->n, (int)c->d, (int)n, 1, z, (int)c->l.ld, w->p + from * w->stride, (int)w->stride,
                    t == i ? 0.0f : 1.0f, c->dh + i * c->l.part, (int)c->d);
    if (dw && dw->p)
        blas->sgemm(BLAS_ROW, BLAS_T, BLAS_N, (int)n, (int)c->d, (int)c->n, 1, z, (int)c->l.ld, c->h, (int)c->d, c->add ? 1.0f : 0.0f,
                    dw->p + from * dw->stride, (int)dw->stride);
}

static void sum_dh(const chunk *c, int64_t r)
{
    float *to = c->k->dh->p + c->which[r] * c->k->dh->stride;
    memcpy(to, c->dh + r * c->d, (size_t)c->d * sizeof(float));
    for (int64_t i = 1; i < c->l.parts; i++)
        for (int64_t j = 0; j < c->d; j++) to[j] += c->dh[i * c->l.part + r * c->d + j];
}

/* Thread i of l.parts has tiles i, i + parts, ...: it packs its part of W for itself and waits for nobody within a pass. */
static void through_tiles(const chunk *c)
{
#pragma omp parallel for num_threads((int)c->l.parts) schedule(static, 1)
    for (int i = 0; i < (int)c->l.parts; i++)
        for (int64_t t = i; t < c->l.tiles; t += c->l.parts) make_tile(c, t, i);
#pragma omp parallel for num_threads(c->s->c->threads) schedule(static)
    for (int64_t r = 0; r < c->n; r++) finish_row(c, r);
    if (!c->k->dlogp) return;
#pragma omp parallel for num_threads((int)c->l.parts) schedule(static, 1)
    for (int i = 0; i < (int)c->l.parts; i++)
        for (int64_t t = i; t < c->l.tiles; t += c->l.parts) use_tile(c, t, i);
    if (!c->k->dh || !c->k->dh->p) return;
#pragma omp parallel for num_threads(c->s->c->threads) schedule(static)
    for (int64_t r = 0; r < c->n; r++) sum_dh(c, r);
}

static int has_target(const chunk *c, const int32_t *target, int64_t t)
{
    return target[t] >= 0 && target[t] < c->vocab && (target[t] == 0 || target[t] != c->rule.ignore_index);
}

static void run(const cpu_step *s, const classifier *k)
{
    const int64_t tokens = k->h->rows;
    int64_t labelled = 0;
    const int32_t *target = view_ids(k->targets);
    chunk c = {.s = s, .k = k, .rule = *(const co_classifier *)cpu_attrs(s), .d = k->h->cols, .vocab = k->w->rows};
    c.l = lay_out(&c.rule, s->c->threads, s->values[s->op->in[0]].shape.ne[0], c.d, c.vocab, k->dlogp != NULL);
    c.z = (float *)(void *)s->scratch;
    c.h = c.z + c.l.h, c.dh = c.z + c.l.dh, c.max = c.z + c.l.max, c.sum = c.z + c.l.sum, c.target_logit = c.z + c.l.target_logit;
    c.which = (int32_t *)(void *)(c.z + c.l.which);
    c.add = k->dw && k->dw->p ? k->dw->add : 0;
    if (c.rule.inv_temperature == 0) c.rule.inv_temperature = 1;

    for (int64_t t = 0; t < tokens; t++) {
        if (k->logp) k->logp[t] = 0;
        if (k->lse) k->lse[t] = 0;
        if (k->dh && k->dh->p) memset(k->dh->p + t * k->dh->stride, 0, (size_t)c.d * sizeof(float));
        labelled += has_target(&c, target, t);
    }
    const int64_t chunks = (labelled + c.l.rows - 1) / c.l.rows, rows = chunks ? (labelled + chunks - 1) / chunks : 0; /* even ones */
    for (int64_t t = 0; t < tokens;) {
        for (c.n = 0; t < tokens && c.n < rows; t++) {
            if (!has_target(&c, target, t)) continue;
            memcpy(c.h + c.n * c.d, k->h->p + t * k->h->stride, (size_t)c.d * sizeof(float));
            c.which[c.n++] = (int32_t)t;
        }
        if (c.n == 0) break;
        through_tiles(&c);
        if (k->dlogp) c.add = 1;
    }
    if (k->dw && k->dw->p && !c.add) memset(k->dw->p, 0, (size_t)(c.vocab * c.d) * sizeof(float));
}

void k_token_logprob(const cpu_step *s)
{
    run(s, &(classifier){.h = &s->in[0], .w = &s->in[1], .targets = &s->in[2], .logp = s->out[0].p, .lse = s->out[1].p});
}
void k_token_logprob_bwd(const cpu_step *s)
{
    run(s, &(classifier){.h = &s->in[0], .w = &s->in[1], .targets = &s->in[2], .dlogp = s->in[4].p, .dh = &s->out[0], .dw = &s->out[1]});
}
void k_token_logprob_grad(const cpu_step *s)
{
    run(s, &(classifier){.h = &s->in[0], .w = &s->in[1], .targets = &s->in[2], .dlogp = s->in[3].p, .logp = s->out[0].p,
                         .dh = &s->out[1], .dw = &s->out[2]});
}
