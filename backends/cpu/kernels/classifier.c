/* classifier.c: log-probabilities of the targets, their gradient, and the head's weight gradient, without a
 * [tokens, vocabulary] matrix: rows that carry a target are gathered and go through in chunks of logits of about
 * CHUNK_BYTES. Tokens without a target cost nothing.
 *
 * Floor: 2 T V d for the logits, 4 T V d for the two products of the gradient. A chunk reads W twice and adds to dW
 * once, so larger chunks save memory traffic: 64 MiB instead of 32 is 3 % of a 15M model's step, nothing of a 110M one's. */
#include "kernels.h"
#include <math.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)32 << 20)

static int64_t chunk_rows(int64_t vocab)
{
    int64_t rows = (int64_t)(CHUNK_BYTES / sizeof(float)) / vocab;
    return rows < 16 ? 16 : rows > 2048 ? 2048 : rows;
}
static int64_t pad(int64_t n) { return (n + 63) & ~(int64_t)63; }

/* Scratch: logits, gathered h, gathered dh, per-row numbers. */
size_t k_classifier_scratch(const cpu *c, const co_plan *p, const co_step_op *op)
{
    const int64_t tokens = p->values[op->in[0]].shape.ne[0], d = p->values[op->in[0]].shape.ne[1];
    const int64_t vocab = p->values[op->in[1]].shape.ne[0];
    int64_t rows = chunk_rows(vocab);
    if (rows > tokens) rows = tokens;
    (void)c;
    return (size_t)(pad(rows * vocab) + 2 * pad(rows * d) + 2 * pad(rows)) * sizeof(float);
}

CPU_SIMD static float row_max(const float *x, int64_t n)
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
CPU_SIMD static float exp_sum_512(float *x, int64_t n, float max)
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
CPU_SIMD static void row_scale(float *x, int64_t n, float k)
{
    for (int64_t i = 0; i < n; i++) x[i] *= k;
}

/* One row of logits: returns log-probability and log-sum-exp; with `grad` the row becomes d(loss)/d(raw logits). */
static void classify_row(float *z, int64_t vocab, int32_t target, const co_classifier *a, float dlogp, int grad, float *logp, float *lse)
{
    const float inv_t = a->inv_temperature, cap = a->softcap;
    if (cap > 0)
        for (int64_t v = 0; v < vocab; v++) z[v] = cap * tanhf(z[v] / cap);
    if (inv_t != 1) row_scale(z, vocab, inv_t);
    const float zt = z[target], max = row_max(z, vocab);
    float slope_t = 1; /* of the cap, at the target */
    if (cap > 0 && grad) slope_t = 1 - (zt / inv_t / cap) * (zt / inv_t / cap);
    if (cap > 0 && grad) { /* the cap's slope needs each capped value: keep the exponentials apart */
        double sum = 0;
        for (int64_t v = 0; v < vocab; v++) sum += (double)expf(z[v] - max);
        *lse = max + (float)log(sum);
        for (int64_t v = 0; v < vocab; v++) {
            const float u = z[v] / inv_t / cap;
            z[v] = -dlogp * inv_t * expf(z[v] - *lse) * (1 - u * u);
        }
    } else {
        const float sum = row_exp_sum(z, vocab, max);
        *lse = max + logf(sum);
        if (grad) row_scale(z, vocab, -dlogp * inv_t / sum);
    }
    *logp = zt - *lse;
    if (grad) z[target] += dlogp * inv_t * slope_t;
}

typedef struct classifier {
    const view *h, *w, *targets;
    const float *dlogp;              /* NULL: forward only */
    float *logp, *lse;               /* may be NULL */
    const view *dh, *dw;             /* p may be NULL */
} classifier;

static void run(const cpu_step *s, const classifier *k)
{
    co_classifier rule = *(const co_classifier *)cpu_attrs(s);
    const co_classifier *const a = &rule;
    const int64_t tokens = k->h->rows, d = k->h->cols, vocab = k->w->rows;
    const int32_t *target = view_ids(k->targets);
    const int64_t capacity = s->values[s->op->in[0]].shape.ne[0];
    int64_t rows = chunk_rows(vocab);
    if (rows > capacity) rows = capacity;
    float *logits = (float *)(void *)s->scratch, *h = logits + pad(rows * vocab), *dh = h + pad(rows * d);
    int32_t *which = (int32_t *)(void *)(dh + pad(rows * d));
    const cpu_blas *blas = &s->c->blas;
    int add = k->dw && k->dw->p ? k->dw->add : 0;

    if (rule.inv_temperature == 0) rule.inv_temperature = 1;
    for (int64_t t = 0; t < tokens; t++) {
        if (k->logp) k->logp[t] = 0;
        if (k->lse) k->lse[t] = 0;
        if (k->dh && k->dh->p) memset(k->dh->p + t * k->dh->stride, 0, (size_t)d * sizeof(float));
    }
    for (int64_t t = 0; t < tokens;) {
        int64_t n = 0;
        for (; t < tokens && n < rows; t++) {
            if (target[t] < 0 || (target[t] > 0 && target[t] == a->ignore_index) || target[t] >= vocab) continue;
            memcpy(h + n * d, k->h->p + t * k->h->stride, (size_t)d * sizeof(float));
            which[n++] = (int32_t)t;
        }
        if (n == 0) break;
        blas->sgemm(BLAS_ROW, BLAS_N, BLAS_T, (int)n, (int)vocab, (int)d, 1, h, (int)d, k->w->p, (int)k->w->stride, 0, logits, (int)vocab);
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
        for (int64_t i = 0; i < n; i++) {
            float logp, lse;
            const int32_t row = which[i];
            classify_row(logits + i * vocab, vocab, target[row], a, k->dlogp ? k->dlogp[row] : 0, k->dlogp != NULL, &logp, &lse);
            if (k->logp) k->logp[row] = logp;
            if (k->lse) k->lse[row] = lse;
        }
        if (k->dh && k->dh->p) {
            blas->sgemm(BLAS_ROW, BLAS_N, BLAS_N, (int)n, (int)d, (int)vocab, 1, logits, (int)vocab, k->w->p, (int)k->w->stride, 0, dh, (int)d);
            for (int64_t i = 0; i < n; i++) memcpy(k->dh->p + which[i] * k->dh->stride, dh + i * d, (size_t)d * sizeof(float));
        }
        if (k->dw && k->dw->p) {
            blas->sgemm(BLAS_ROW, BLAS_T, BLAS_N, (int)vocab, (int)d, (int)n, 1, logits, (int)vocab, h, (int)d, add ? 1.0f : 0.0f, k->dw->p,
                        (int)k->dw->stride);
            add = 1;
        }
    }
    if (k->dw && k->dw->p && !add) memset(k->dw->p, 0, (size_t)(vocab * d) * sizeof(float));
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
