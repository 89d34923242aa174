/* attention.c: softmax(scale q k^T + bias) v within each sequence (Vaswani et al. 2017, eq. 1). Query i of a
 * sequence sees key j if (not causal or j <= i) and (no window or j > i - window); bias = slope_h (j - i) with
 * ALiBi, else 0. Head h uses key head h / (n_heads / n_kv_heads). lse[i] = log sum_j exp(score_ij).
 *
 * Backward, with P = softmax(score), dP_ij = do_i v_j, D_i = do_i o_i:
 *   dS = P (dP - D);  dq_i = scale sum_j dS_ij k_j;  dk_j = scale sum_i dS_ij q_i;  dv_j = sum_i P_ij do_i
 * (Dao et al. 2022, appendix B.2), dk and dv summed over the heads that share a key head. */
#include "ops.h"
#include <math.h>

/* Press et al. 2022: for n a power of two 2^(-8 h/n), h = 1..n; else those of the power m below n, then every
 * second one of the sequence for 2m. */
static double alibi_slope(int64_t head, int64_t n)
{
    int64_t m = 1;
    while (2 * m <= n) m *= 2;
    if (head < m) return pow(2, -8.0 * (double)(head + 1) / (double)m);
    return pow(2, -8.0 * (double)(2 * (head - m) + 1) / (double)(2 * m));
}

/* One head of one sequence. Query i stands at position past + i; key row of position j is k0 + j. */
typedef struct head {
    const co_attn *a;
    const ref_view *q, *k, *v;
    int64_t q0, n_q, k0, n_k, past; /* first rows and counts */
    int64_t qc, kc, hd;             /* first columns, head width */
    double scale, slope;
} head;

static int sees(const head *w, int64_t i, int64_t j)
{
    return (!w->a->causal || j <= w->past + i) && (w->a->window <= 0 || j > w->past + i - w->a->window);
}
static double score(const head *w, int64_t i, int64_t j)
{
    double sum = 0;
    for (int64_t c = 0; c < w->hd; c++) sum += ref_get(w->q, w->q0 + i, w->qc + c) * ref_get(w->k, w->k0 + j, w->kc + c);
    return w->scale * sum + w->slope * (double)(j - (w->past + i));
}
static double log_sum_exp(const head *w, int64_t i)
{
    double max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < w->n_k; j++)
        if (sees(w, i, j)) max = fmax(max, score(w, i, j));
    for (int64_t j = 0; j < w->n_k; j++)
        if (sees(w, i, j)) sum += exp(score(w, i, j) - max);
    return max + log(sum);
}

static head head_of(const ref_line *s, const co_attn *a, int64_t h)
{
    const ref_view *q = &s->in[0];
    head w = {.a = a, .q = q, .k = &s->in[1], .v = &s->in[2], .hd = q->cols / a->n_heads};
    w.qc = h * w.hd;
    w.kc = h / (a->n_heads / a->n_kv_heads) * w.hd;
    w.scale = a->scale != 0 ? (double)a->scale : 1 / sqrt((double)w.hd);
    w.slope = a->alibi ? alibi_slope(h, a->n_heads) : 0;
    return w;
}
static void place(head *w, const co_live *l, int32_t q)
{
    w->q0 = w->k0 = l->seq_start[q];
    w->n_q = w->n_k = l->seq_start[q + 1] - l->seq_start[q];
}

static void add_row(const ref_view *to, int64_t r, int64_t c0, const ref_view *from, int64_t q, int64_t d0, int64_t n, double k)
{
    for (int64_t c = 0; to->p && c < n; c++) to->p[r * to->stride + c0 + c] += k * ref_get(from, q, d0 + c);
}

static void attend(const head *w, const ref_view *o, const ref_view *lse, int64_t h)
{
    for (int64_t i = 0; i < w->n_q; i++) {
        const double z = log_sum_exp(w, i);
        for (int64_t c = 0; c < w->hd; c++) ref_put(o, w->q0 + i, w->qc + c, 0);
        for (int64_t j = 0; j < w->n_k; j++)
            if (sees(w, i, j)) add_row(o, w->q0 + i, w->qc, w->v, w->k0 + j, w->kc, w->hd, exp(score(w, i, j) - z));
        if (lse) ref_put(lse, w->q0 + i, h, z);
    }
}

void ref_ATTENTION(const ref_line *s)
{
    const co_attn *a = s->op->attrs;
    for (int32_t q = 0; q < s->live->n_seqs; q++)
        for (int64_t h = 0; h < a->n_heads; h++) {
            head w = head_of(s, a, h);
            place(&w, s->live, q);
            attend(&w, &s->out[0], &s->out[1], h);
        }
}

/* Appends the sequences' new k and v to their slots, then attends over everything in the slot. */
void ref_ATTENTION_CACHED(const ref_line *s)
{
    const co_attr_cached *a = s->op->attrs;
    const co_live *l = s->live;
    const ref_view *k = &s->in[1], *v = &s->in[2], *kc = &s->in[3], *vc = &s->in[4];
    for (int32_t q = 0; q < l->n_seqs; q++) {
        const int64_t slot = (int64_t)l->cache_slot[q] * a->slot_len;
        for (int64_t t = l->seq_start[q]; t < l->seq_start[q + 1]; t++)
            for (int64_t c = 0; c < k->cols; c++) {
                ref_put(kc, slot + l->past_len[q] + t - l->seq_start[q], c, ref_get(k, t, c));
                ref_put(vc, slot + l->past_len[q] + t - l->seq_start[q], c, ref_get(v, t, c));
            }
        for (int64_t h = 0; h < a->attn.n_heads; h++) {
            head w = head_of(s, &a->attn, h);
            place(&w, l, q);
            w.k = kc, w.v = vc, w.k0 = slot, w.past = l->past_len[q], w.n_k = w.past + w.n_q;
            attend(&w, &s->out[0], NULL, h);
        }
    }
}

static double dot(const ref_view *a, int64_t ra, int64_t ca, const ref_view *b, int64_t rb, int64_t cb, int64_t n)
{
    double sum = 0;
    for (int64_t c = 0; c < n; c++) sum += ref_get(a, ra, ca + c) * ref_get(b, rb, cb + c);
    return sum;
}

static void zero(const ref_view *v)
{
    for (int64_t t = 0; v->p && t < v->rows; t++)
        for (int64_t c = 0; c < v->cols; c++) v->p[t * v->stride + c] = 0;
}
void ref_ATTENTION_BWD(const ref_line *s)
{
    const co_attn *a = s->op->attrs;
    const ref_view *o = &s->in[3], *lse = &s->in[4], *d = &s->in[5], *dq = &s->out[0], *dk = &s->out[1], *dv = &s->out[2];
    zero(dq), zero(dk), zero(dv);
    for (int32_t q = 0; q < s->live->n_seqs; q++)
        for (int64_t h = 0; h < a->n_heads; h++) {
            head w = head_of(s, a, h);
            place(&w, s->live, q);
            for (int64_t i = 0; i < w.n_q; i++) {
                const int64_t qi = w.q0 + i;
                const double delta = dot(d, qi, w.qc, o, qi, w.qc, w.hd);
                for (int64_t j = 0; j < w.n_k; j++) {
                    if (!sees(&w, i, j)) continue;
                    const int64_t kj = w.k0 + j;
                    const double p = exp(score(&w, i, j) - ref_get(lse, qi, h));
                    const double ds = p * (dot(d, qi, w.qc, w.v, kj, w.kc, w.hd) - delta) * w.scale;
                    add_row(dq, qi, w.qc, w.k, kj, w.kc, w.hd, ds);
                    add_row(dk, kj, w.kc, w.q, qi, w.qc, w.hd, ds);
                    add_row(dv, kj, w.kc, d, qi, w.qc, w.hd, p);
                }
            }
        }
}
