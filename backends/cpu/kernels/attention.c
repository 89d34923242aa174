/* attention.c: softmax(scale q k^T + bias) v per sequence and head, in blocks of QB queries by KB keys with a running
 * maximum (Milakov & Gimelshein 2018; Dao et al. 2022), so that no [tokens, tokens] matrix exists. Blocks are products
 * by OpenBLAS, single-threaded inside the parallel loop over (sequence, head).
 *
 * The backward recomputes the probabilities from lse; a task owns a (sequence, key head), hence its dk and dv, and the
 * sums run in a fixed order. */
#include "kernels.h"
#include <math.h>
#include <string.h>

#define QB 64
#define KB 256

static size_t thread_floats(void) { return 2 * QB * KB + 4 * QB; }

size_t k_attention_scratch(const cpu *c, const co_plan *p, const co_step_op *op)
{
    (void)p, (void)op;
    return (size_t)c->threads * thread_floats() * sizeof(float);
}

/* Press et al. 2022: 2^(-8 i / n); for n no power of two, the rest from the doubled sequence at odd places. */
static float alibi_slope(uint32_t head, uint32_t n)
{
    uint32_t m = 1;
    while (m * 2 <= n) m *= 2;
    if (head < m) return (float)pow(2, -8.0 * (head + 1) / m);
    return (float)pow(2, -4.0 * (2 * (head - m) + 1) / m);
}

typedef struct sequence { /* one head of one sequence: queries at positions past.., keys from 0 */
    const float *q, *k, *v;
    float *o, *lse;                 /* lse may be NULL */
    int64_t ldq, ldk, ldv, ldo, ldl;
    int64_t n_q, n_k, past;
    float slope;
} sequence;

/* Keys [from, to) a query block can see. */
static void visible(const co_attn *a, const sequence *s, int64_t q0, int64_t q1, int64_t *from, int64_t *to)
{
    *from = a->window > 0 && s->past + q0 - a->window + 1 > 0 ? s->past + q0 - a->window + 1 : 0;
    *to = a->causal && s->past + q1 < s->n_k ? s->past + q1 : s->n_k;
}

/* Scores of a block: scaled, with ALiBi, -inf where masked. */
static void finish_scores(float *x, int64_t nq, int64_t nk, int64_t i0, int64_t k0, float scale, float slope, int causal,
                                   int64_t window)
{
    for (int64_t i = 0; i < nq; i++) {
        float *row = x + i * KB;
        const int64_t pos = i0 + i, last = causal ? pos - k0 + 1 : nk, first = window > 0 ? pos - window + 1 - k0 : 0;
        const int64_t hi = last < nk ? last : nk, lo = first > 0 ? first : 0;
        for (int64_t j = 0; j < nk; j++) row[j] = row[j] * scale + slope * (float)(k0 + j - pos);
        for (int64_t j = hi > 0 ? hi : 0; j < nk; j++) row[j] = -INFINITY;
        for (int64_t j = 0; j < lo && j < nk; j++) row[j] = -INFINITY;
    }
}
static float exp_row(float *x, int64_t n, float max)
{
    float sum = 0;
    for (int64_t j = 0; j < n; j++) {
        const float e = cpu_expf(x[j] - max);
        x[j] = e;
        sum += e;
    }
    return sum;
}
static float max_row(const float *x, int64_t n, float m)
{
    for (int64_t j = 0; j < n; j++) m = x[j] > m ? x[j] : m;
    return m;
}
static void scale_row(float *x, int64_t n, float k)
{
    for (int64_t j = 0; j < n; j++) x[j] *= k;
}
static float dot_row(const float *a, const float *b, int64_t n)
{
    float sum = 0;
    for (int64_t j = 0; j < n; j++) sum += a[j] * b[j];
    return sum;
}
static void axpy_row(float *y, const float *x, int64_t n, float k)
{
    for (int64_t j = 0; j < n; j++) y[j] += x[j] * k;
}

/* S = Q K^T; for a query or two plain loops beat a product's overhead. */
static void scores(const cpu *c, const sequence *s, int64_t q0, int64_t nq, int64_t k0, int64_t nk, int64_t hd, float *x)
{
    if (nq >= 4) {
        c->blas.sgemm(BLAS_ROW, BLAS_N, BLAS_T, (int)nq, (int)nk, (int)hd, 1, s->q + q0 * s->ldq, (int)s->ldq, s->k + k0 * s->ldk,
                      (int)s->ldk, 0, x, KB);
        return;
    }
    for (int64_t i = 0; i < nq; i++)
        for (int64_t j = 0; j < nk; j++) x[i * KB + j] = dot_row(s->q + (q0 + i) * s->ldq, s->k + (k0 + j) * s->ldk, hd);
}

static void forward(const cpu *c, const co_attn *a, const sequence *s, int64_t hd, float *x)
{
    float *m = x + QB * KB, *l = m + QB;
    for (int64_t q0 = 0; q0 < s->n_q; q0 += QB) {
        const int64_t nq = s->n_q - q0 < QB ? s->n_q - q0 : QB;
        int64_t from, to;
        visible(a, s, q0, q0 + nq, &from, &to);
        for (int64_t i = 0; i < nq; i++) {
            m[i] = -INFINITY;
            l[i] = 0;
            memset(s->o + (q0 + i) * s->ldo, 0, (size_t)hd * sizeof(float));
        }
        for (int64_t k0 = from; k0 < to; k0 += KB) {
            const int64_t nk = to - k0 < KB ? to - k0 : KB;
            scores(c, s, q0, nq, k0, nk, hd, x);
            finish_scores(x, nq, nk, s->past + q0, k0, a->scale, s->slope, a->causal, a->window);
            for (int64_t i = 0; i < nq; i++) {
                const float now = max_row(x + i * KB, nk, m[i]);
                if (now == -INFINITY) { /* nothing visible yet */
                    memset(x + i * KB, 0, (size_t)nk * sizeof(float));
                    continue;
                }
                const float keep = m[i] == -INFINITY ? 0.0f : expf(m[i] - now);
                l[i] = l[i] * keep + exp_row(x + i * KB, nk, now);
                if (keep != 1 && l[i] > 0 && k0 > from) scale_row(s->o + (q0 + i) * s->ldo, hd, keep);
                m[i] = now;
            }
            if (nq >= 4) {
                c->blas.sgemm(BLAS_ROW, BLAS_N, BLAS_N, (int)nq, (int)hd, (int)nk, 1, x, KB, s->v + k0 * s->ldv, (int)s->ldv, 1,
                              s->o + q0 * s->ldo, (int)s->ldo);
                continue;
            }
            for (int64_t i = 0; i < nq; i++)
                for (int64_t j = 0; j < nk; j++) axpy_row(s->o + (q0 + i) * s->ldo, s->v + (k0 + j) * s->ldv, hd, x[i * KB + j]);
        }
        for (int64_t i = 0; i < nq; i++) {
            scale_row(s->o + (q0 + i) * s->ldo, hd, l[i] > 0 ? 1.0f / l[i] : 0.0f);
            if (s->lse) s->lse[(q0 + i) * s->ldl] = m[i] + logf(l[i]);
        }
    }
}

void k_attention(const cpu_step *s)
{
    const co_attn *a = cpu_attrs(s);
    const view *q = &s->in[0], *k = &s->in[1], *v = &s->in[2], *o = &s->out[0], *lse = &s->out[1];
    const int64_t hd = q->cols / a->n_heads, group = a->n_heads / a->n_kv_heads, heads = a->n_heads;
    const int64_t tasks = (int64_t)s->live->n_seqs * heads;
#pragma omp parallel for num_threads(s->c->threads) schedule(dynamic, 1)
    for (int64_t i = 0; i < tasks; i++) {
        const int64_t t0 = s->live->seq_start[i / heads], n = s->live->seq_start[i / heads + 1] - t0, h = i % heads;
        const sequence one = {.q = q->p + t0 * q->stride + h * hd, .k = k->p + t0 * k->stride + h / group * hd,
                              .v = v->p + t0 * v->stride + h / group * hd, .o = o->p + t0 * o->stride + h * hd,
                              .lse = lse->p ? lse->p + t0 * lse->stride + h : NULL, .ldq = q->stride, .ldk = k->stride,
                              .ldv = v->stride, .ldo = o->stride, .ldl = lse->stride, .n_q = n, .n_k = n,
                              .slope = a->alibi ? alibi_slope((uint32_t)h, a->n_heads) : 0};
        forward(s->c, a, &one, hd, (float *)(void *)s->scratch + (size_t)omp_get_thread_num() * thread_floats());
    }
}

void k_attention_cached(const cpu_step *s)
{
    const co_attr_cached *at = cpu_attrs(s);
    const co_attn *a = &at->attn;
    const view *q = &s->in[0], *k = &s->in[1], *v = &s->in[2], *kc = &s->in[3], *vc = &s->in[4], *o = &s->out[0];
    const co_live *l = s->live;
    const int64_t hd = q->cols / a->n_heads, group = a->n_heads / a->n_kv_heads, heads = a->n_heads, tasks = (int64_t)l->n_seqs * heads;
    for (int32_t i = 0; i < l->n_seqs; i++)
        for (int32_t t = l->seq_start[i]; t < l->seq_start[i + 1]; t++) {
            const int64_t row = (int64_t)l->cache_slot[i] * at->slot_len + l->past_len[i] + t - l->seq_start[i];
            memcpy(kc->p + row * kc->stride, k->p + t * k->stride, (size_t)k->cols * sizeof(float));
            memcpy(vc->p + row * vc->stride, v->p + t * v->stride, (size_t)v->cols * sizeof(float));
        }
#pragma omp parallel for num_threads(s->c->threads) schedule(dynamic, 1)
    for (int64_t i = 0; i < tasks; i++) {
        const int64_t n = i / heads, t0 = l->seq_start[n], h = i % heads, row = (int64_t)l->cache_slot[n] * at->slot_len;
        const sequence one = {.q = q->p + t0 * q->stride + h * hd, .k = kc->p + row * kc->stride + h / group * hd,
                              .v = vc->p + row * vc->stride + h / group * hd, .o = o->p + t0 * o->stride + h * hd, .ldq = q->stride,
                              .ldk = kc->stride, .ldv = vc->stride, .ldo = o->stride, .n_q = l->seq_start[n + 1] - t0,
                              .n_k = l->past_len[n] + l->seq_start[n + 1] - t0, .past = l->past_len[n],
                              .slope = a->alibi ? alibi_slope((uint32_t)h, a->n_heads) : 0};
        forward(s->c, a, &one, hd, (float *)(void *)s->scratch + (size_t)omp_get_thread_num() * thread_floats());
    }
}

/* x = scores -> probabilities; dx = dP -> dS. */
static void probability_row(float *x, float *dx, int64_t n, float lse, float delta, float scale)
{
    for (int64_t j = 0; j < n; j++) {
        const float p = cpu_expf(x[j] - lse);
        x[j] = p;
        dx[j] = p * (dx[j] - delta) * scale;
    }
}

typedef struct sides { /* gradients of one head; dq, dk and dv may be absent */
    const float *out, *dout;
    float *dq, *dk, *dv;
    int64_t ldout, lddo, lddq, lddk, lddv;
} sides;

static void backward(const cpu *c, const co_attn *a, const sequence *s, const sides *g, int64_t hd, float *x)
{
    float *dx = x + QB * KB, *delta = dx + QB * KB;
    const cpu_blas *b = &c->blas;
    for (int64_t q0 = 0; q0 < s->n_q; q0 += QB) {
        const int64_t nq = s->n_q - q0 < QB ? s->n_q - q0 : QB;
        int64_t from, to;
        visible(a, s, q0, q0 + nq, &from, &to);
        for (int64_t i = 0; i < nq; i++) delta[i] = dot_row(g->out + (q0 + i) * g->ldout, g->dout + (q0 + i) * g->lddo, hd);
        for (int64_t k0 = from; k0 < to; k0 += KB) {
            const int64_t nk = to - k0 < KB ? to - k0 : KB;
            b->sgemm(BLAS_ROW, BLAS_N, BLAS_T, (int)nq, (int)nk, (int)hd, 1, s->q + q0 * s->ldq, (int)s->ldq, s->k + k0 * s->ldk,
                     (int)s->ldk, 0, x, KB);
            b->sgemm(BLAS_ROW, BLAS_N, BLAS_T, (int)nq, (int)nk, (int)hd, 1, g->dout + q0 * g->lddo, (int)g->lddo, s->v + k0 * s->ldv,
                     (int)s->ldv, 0, dx, KB);
            finish_scores(x, nq, nk, q0, k0, a->scale, s->slope, a->causal, a->window);
            for (int64_t i = 0; i < nq; i++) probability_row(x + i * KB, dx + i * KB, nk, s->lse[(q0 + i) * s->ldl], delta[i], a->scale);
            if (g->dv)
                b->sgemm(BLAS_ROW, BLAS_T, BLAS_N, (int)nk, (int)hd, (int)nq, 1, x, KB, g->dout + q0 * g->lddo, (int)g->lddo, 1,
                         g->dv + k0 * g->lddv, (int)g->lddv);
            if (g->dk)
                b->sgemm(BLAS_ROW, BLAS_T, BLAS_N, (int)nk, (int)hd, (int)nq, 1, dx, KB, s->q + q0 * s->ldq, (int)s->ldq, 1,
                         g->dk + k0 * g->lddk, (int)g->lddk);
            if (g->dq)
                b->sgemm(BLAS_ROW, BLAS_N, BLAS_N, (int)nq, (int)hd, (int)nk, 1, dx, KB, s->k + k0 * s->ldk, (int)s->ldk, 1,
                         g->dq + q0 * g->lddq, (int)g->lddq);
        }
    }
}

static void clear(const view *v, int64_t t0, int64_t n, int64_t col, int64_t cols)
{
    for (int64_t t = t0; v->p && t < t0 + n; t++) memset(v->p + t * v->stride + col, 0, (size_t)cols * sizeof(float));
}

void k_attention_bwd(const cpu_step *s)
{
    const co_attn *a = cpu_attrs(s);
    const view *q = &s->in[0], *k = &s->in[1], *v = &s->in[2], *o = &s->in[3], *lse = &s->in[4], *d = &s->in[5];
    const view *dq = &s->out[0], *dk = &s->out[1], *dv = &s->out[2];
    const int64_t hd = q->cols / a->n_heads, group = a->n_heads / a->n_kv_heads, kv = a->n_kv_heads;
    const int64_t tasks = (int64_t)s->live->n_seqs * kv;
#pragma omp parallel for num_threads(s->c->threads) schedule(dynamic, 1)
    for (int64_t i = 0; i < tasks; i++) {
        const int64_t t0 = s->live->seq_start[i / kv], n = s->live->seq_start[i / kv + 1] - t0, kh = i % kv;
        float *x = (float *)(void *)s->scratch + (size_t)omp_get_thread_num() * thread_floats();
        clear(dk, t0, n, kh * hd, hd);
        clear(dv, t0, n, kh * hd, hd);
        clear(dq, t0, n, kh * group * hd, group * hd);
        for (int64_t h = kh * group; h < (kh + 1) * group; h++) {
            const sequence one = {.q = q->p + t0 * q->stride + h * hd, .k = k->p + t0 * k->stride + kh * hd,
                                  .v = v->p + t0 * v->stride + kh * hd, .lse = lse->p + t0 * lse->stride + h, .ldq = q->stride,
                                  .ldk = k->stride, .ldv = v->stride, .ldl = lse->stride, .n_q = n, .n_k = n,
                                  .slope = a->alibi ? alibi_slope((uint32_t)h, a->n_heads) : 0};
            const sides g = {.out = o->p + t0 * o->stride + h * hd, .dout = d->p + t0 * d->stride + h * hd, .ldout = o->stride,
                             .lddo = d->stride, .dq = dq->p ? dq->p + t0 * dq->stride + h * hd : NULL, .lddq = dq->stride,
                             .dk = dk->p ? dk->p + t0 * dk->stride + kh * hd : NULL, .lddk = dk->stride,
                             .dv = dv->p ? dv->p + t0 * dv->stride + kh * hd : NULL, .lddv = dv->stride};
            backward(s->c, a, &one, &g, hd, x);
        }
    }
}
