/* sample.c: SAMPLE_TOKEN as <coati/ops.h> defines it. Nothing is sorted: the logits' bits, put into the order of their values, are
 * descended a byte at a time, each pass adding up what lies in each of 256 buckets. A descent costs four passes over the
 * vocabulary, and there are at most three: the k-th largest, where P ends, the token. */
#include "kernels.h"
#include <math.h>
#include <string.h>

/* Unsigned numbers in the order of the floats; both zeros are one. */
static uint32_t order_of(float x)
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    if (b << 1 == 0) b = 0;
    return b & 0x80000000u ? ~b : b | 0x80000000u;
}

/* Of the keys from `least` on, falling: the key at which the sum of weights (NULL: the count) passes `target`, and in *before the
 * sum in front of all that equal it. */
static uint32_t descend(const uint32_t *key, const uint64_t *weight, int64_t n, uint32_t least, uint64_t target, uint64_t *before)
{
    uint32_t prefix = 0, mask = 0;
    uint64_t sum = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        uint64_t bucket[256] = {0};
        for (int64_t v = 0; v < n; v++)
            if (((key[v] ^ prefix) & mask) == 0 && key[v] >= least) bucket[key[v] >> shift & 255] += weight ? weight[v] : 1;
        uint32_t b = 255;
        while (b > 0 && sum + bucket[b] <= target) sum += bucket[b--];
        prefix |= b << shift;
        mask |= (uint32_t)255 << shift;
    }
    *before = sum;
    return prefix;
}

static int64_t draw(const float *z, int64_t n, float max, const float *how, uint32_t *key, uint64_t *weight)
{
    uint32_t least = 0, at;
    uint64_t before, all = 0;
    for (int64_t v = 0; v < n; v++) key[v] = order_of(z[v]);
    if (how[1] > 0 && how[1] < (float)n) least = descend(key, NULL, n, 0, (uint64_t)how[1] - 1, &before);
    for (int64_t v = 0; v < n; v++) {
        weight[v] = key[v] >= least ? (uint64_t)(CO_SAMPLE_ONE * exp(((double)z[v] - (double)max) / (double)how[0])) : 0;
        all += weight[v];
    }
    if (how[2] < 1) {
        const double need = ceil((double)how[2] * (double)all);
        at = descend(key, weight, n, least, need > 1 ? (uint64_t)need - 1 : 0, &before);
        uint64_t one = 0;
        for (int64_t v = 0; v < n && !one; v++)
            if (key[v] == at) one = weight[v];
        all = before; /* as many of those that end P as are needed */
        if (one && (double)all < need) all += (uint64_t)ceil((need - (double)before) / (double)one) * one;
        if (all == 0) all = 1;
    }
    const uint64_t target = (uint64_t)((double)how[3] * (double)all);
    at = descend(key, weight, n, least, target, &before);
    for (int64_t v = 0; v < n; v++) {
        if (key[v] != at) continue;
        before += weight[v];
        if (before > target) return v;
    }
    return 0; /* not reached: `at` holds the crossing */
}

size_t k_sample_scratch(const cpu *c, const co_plan *p, const co_step_op *op)
{
    const int64_t n = p->values[op->in[0]].shape.ne[1];
    return (size_t)c->threads * (size_t)((n + 63) & ~(int64_t)63) * (sizeof(uint64_t) + sizeof(uint32_t));
}

void k_sample_token(const cpu_step *s)
{
    const view *z = &s->in[0], *how = &s->in[1], *ids = &s->out[0], *logprob = &s->out[1];
    const int64_t n = z->cols, room = (n + 63) & ~(int64_t)63;
    uint64_t *weights = (uint64_t *)(void *)s->scratch;
    uint32_t *keys = (uint32_t *)(void *)(weights + s->c->threads * room);
#pragma omp parallel for num_threads(s->c->threads) schedule(static)
    for (int64_t r = 0; r < z->rows; r++) {
        const float *row = z->p + r * z->stride, h[4] = {how[0].p[r], how[1].p[r], how[2].p[r], how[3].p[r]};
        const int t = omp_get_thread_num();
        int64_t id = 0;
        double sum = 0;
        for (int64_t v = 1; v < n; v++)
            if (row[v] > row[id]) id = v;
        const float max = row[id];
        for (int64_t v = 0; v < n; v++) sum += exp((double)row[v] - (double)max);
        if (h[0] > 0) id = draw(row, n, max, h, keys + t * room, weights + t * room);
        if (ids->p) view_ids(ids)[r] = (int32_t)id;
        if (logprob->p) logprob->p[r] = (float)((double)row[id] - (double)max - log(sum));
    }
}
