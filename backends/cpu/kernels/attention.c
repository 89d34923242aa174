/* attention.c: attention as tasks, a (sequence, head) each; a task of the backward owns a (sequence, key head), hence its dk
 * and dv, and the sums run in a fixed order. attention_blocks.c does the work; a query or two, as when generating, are done
 * here row by row: bound by reading the keys and values once. */
#include "attention.h"
#include <math.h>
#include <string.h>

#define FEW 4

size_t k_attention_scratch(const cpu *c, const co_plan *p, const co_step_op *op)
{
    const co_attn *a = op->op == CO_OP_ATTENTION_CACHED ? &((const co_attr_cached *)op->attrs)->attn : op->attrs;
    return (size_t)c->threads * attention_floats(p->values[op->in[0]].shape.ne[1] / a->n_heads) * sizeof(float);
}
static float *scratch_of(const cpu_step *s, int64_t hd)
{
    return (float *)(void *)s->scratch + (size_t)omp_get_thread_num() * attention_floats(hd);
}

/* Press et al. 2022: 2^(-8 i / n); for n no power of two, the rest from the doubled sequence at odd places. */
static float alibi_slope(uint32_t head, uint32_t n)
{
    uint32_t m = 1;
    while (m * 2 <= n) m *= 2;
    if (head < m) return (float)pow(2, -8.0 * (head + 1) / m);
    return (float)pow(2, -4.0 * (2 * (head - m) + 1) / m);
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


static void forward_few(const co_attn *a, const sequence *s, float *x)
{
    for (int64_t i = 0; i < s->n_q; i++) {
        const float *q = s->q + i * s->ldq;
        float *o = s->o + i * s->ldo, most = -INFINITY, total = 0;
        int64_t from, to;
        attention_keys(a, s, i, i + 1, &from, &to);
        memset(o, 0, (size_t)s->hd * sizeof(float));
        for (int64_t k0 = from; k0 < to; k0 += KB) {
            const int64_t nk = to - k0 < KB ? to - k0 : KB;
            for (int64_t j = 0; j < nk; j++)
                x[j] = dot_row(q, s->k + (k0 + j) * s->ldk, s->hd) * a->scale + s->slope * (float)(k0 + j - s->past - i);
            const float now = max_row(x, nk, most), keep = most == -INFINITY ? 0.0f : expf(most - now);
            total = total * keep + exp_row(x, nk, now);
            if (k0 > from) scale_row(o, s->hd, keep);
            for (int64_t j = 0; j < nk; j++) axpy_row(o, s->v + (k0 + j) * s->ldv, s->hd, x[j]);
            most = now;
        }
        scale_row(o, s->hd, total > 0 ? 1.0f / total : 0.0f);
        if (s->lse) s->lse[i * s->ldl] = most + logf(total);
    }
}
static void forward(const co_attn *a, const sequence *s, float *scratch)
{
    if (s->n_q < FEW) forward_few(a, s, scratch);
    else attention_forward(a, s, scratch);
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
                              .ldv = v->stride, .ldo = o->stride, .ldl = lse->stride, .n_q = n, .n_k = n, .hd = hd,
                              .slope = a->alibi ? alibi_slope((uint32_t)h, a->n_heads) : 0};
        forward(a, &one, scratch_of(s, hd));
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
                              .n_k = l->past_len[n] + l->seq_start[n + 1] - t0, .past = l->past_len[n], .hd = hd,
                              .slope = a->alibi ? alibi_slope((uint32_t)h, a->n_heads) : 0};
        forward(a, &one, scratch_of(s, hd));
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
        clear(dk, t0, n, kh * hd, hd);
        clear(dv, t0, n, kh * hd, hd);
        clear(dq, t0, n, kh * group * hd, group * hd);
        for (int64_t h = kh * group; h < (kh + 1) * group; h++) {
            const sequence one = {.q = q->p + t0 * q->stride + h * hd, .k = k->p + t0 * k->stride + kh * hd,
                                  .v = v->p + t0 * v->stride + kh * hd, .lse = lse->p + t0 * lse->stride + h, .ldq = q->stride,
                                  .ldk = k->stride, .ldv = v->stride, .ldl = lse->stride, .n_q = n, .n_k = n, .hd = hd,
                                  .slope = a->alibi ? alibi_slope((uint32_t)h, a->n_heads) : 0};
            const sides g = {.out = o->p + t0 * o->stride + h * hd, .dout = d->p + t0 * d->stride + h * hd, .ldout = o->stride,
                             .lddo = d->stride, .dq = dq->p ? dq->p + t0 * dq->stride + h * hd : NULL, .lddq = dq->stride,
                             .dk = dk->p ? dk->p + t0 * dk->stride + kh * hd : NULL, .lddk = dk->stride,
                             .dv = dv->p ? dv->p + t0 * dv->stride + kh * hd : NULL, .lddv = dv->stride};
            attention_backward(a, &one, &g, scratch_of(s, hd));
        }
    }
}
