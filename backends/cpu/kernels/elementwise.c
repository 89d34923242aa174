/* elementwise.c: sums, products and selections of two, dropout, columns side by side, zeros. */
#include "kernels.h"
#include <string.h>

static void binary_row(uint32_t op, const float *a, const float *b, float *y, int64_t n)
{
    switch (op) { /* y may be a or b */
#define EACH(value) do { _Pragma("omp simd") for (int64_t j = 0; j < n; j++) y[j] = (value); } while (0)
    case CO_OP_ADD: EACH(a[j] + b[j]); break;
    case CO_OP_SUB: EACH(a[j] - b[j]); break;
    case CO_OP_MUL: EACH(a[j] * b[j]); break;
    case CO_OP_MINIMUM: EACH(a[j] < b[j] ? a[j] : b[j]); break;
    case CO_OP_MAXIMUM: EACH(a[j] > b[j] ? a[j] : b[j]); break;
#undef EACH
    default: break;
    }
}
void k_binary(const cpu_step *s)
{
    const view *a = &s->in[0], *b = &s->in[1], *y = &s->out[0];
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < y->rows; t++)
        binary_row(s->op->op, a->p + t * a->stride, b->p + t * b->stride, y->p + t * y->stride, y->cols);
}

void k_select_bwd(const cpu_step *s)
{
    const view *a = &s->in[0], *b = &s->in[1], *dy = &s->in[2], *da = &s->out[0], *db = &s->out[1];
    const int most = s->op->op == CO_OP_MAXIMUM_BWD;
    for (int64_t t = 0; t < dy->rows; t++)
        for (int64_t j = 0; j < dy->cols; j++) {
            const float x = a->p[t * a->stride + j], z = b->p[t * b->stride + j], d = dy->p[t * dy->stride + j];
            const float share = x == z ? 0.5f : (x > z) == most ? 1.0f : 0.0f;
            if (da->p) da->p[t * da->stride + j] = d * share;
            if (db->p) db->p[t * db->stride + j] = d * (1.0f - share);
        }
}

static uint64_t mix(uint64_t x) /* splitmix64's finaliser */
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* Kept with probability 1-p and scaled by 1/(1-p). Element j of the token at position i of a sequence draws
 * random(stream + unit*65536, mix(seq_key + mix(step_key + mix(i))) + j). */
void k_dropout(const cpu_step *s)
{
    const view *x = &s->in[0], *y = &s->out[0];
    const co_attr_dropout *a = cpu_attrs(s);
    const co_live *l = s->live;
    const uint64_t stream = a->stream + (uint64_t)l->unit * 65536;
    const float keep = 1.0f / (1.0f - a->p);
    const uint64_t limit = (uint64_t)((double)a->p * 18446744073709551616.0);
    for (int32_t q = 0; q < l->n_seqs; q++)
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
        for (int32_t t = l->seq_start[q]; t < l->seq_start[q + 1]; t++) {
            const uint64_t base = mix((l->seq_key ? l->seq_key[q] : 0) + mix(l->step_key + mix((uint64_t)(t - l->seq_start[q]))));
            for (int64_t j = 0; j < x->cols; j++)
                y->p[t * y->stride + j] = s->c->host->random(s->c->host, stream, base + (uint64_t)j) < limit
                                              ? 0.0f : x->p[t * x->stride + j] * keep;
        }
}

static void copy_columns(const cpu_step *s, const view *from, const view *to, int64_t from_col, int64_t to_col, int64_t n)
{
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t t = 0; t < to->rows; t++) {
        const float *a = from->p + t * from->stride + from_col;
        float *b = to->p + t * to->stride + to_col;
        if (a != b) memcpy(b, a, (size_t)n * sizeof(float));
    }
}
void k_concat(const cpu_step *s)
{
    int64_t col = 0;
    for (uint32_t i = 0; i < s->op->n_in; i++) {
        copy_columns(s, &s->in[i], &s->out[0], 0, col, s->in[i].cols);
        col += s->in[i].cols;
    }
}
void k_split(const cpu_step *s)
{
    int64_t col = 0;
    for (uint32_t i = 0; i < s->op->n_out; i++) {
        copy_columns(s, &s->in[0], &s->out[i], col, 0, s->out[i].cols);
        col += s->out[i].cols;
    }
}
void k_fill0(const cpu_step *s)
{
    const view *y = &s->out[0];
    for (int64_t t = 0; t < y->rows; t++) memset(y->p + t * y->stride, 0, (size_t)y->cols * sizeof(float));
}
