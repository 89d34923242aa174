#include "core/train/sample.h"
#include "core/base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double log_sum_exp(const float *x, int64_t n)
{
    double max = x[0], sum = 0;
    for (int64_t i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
    for (int64_t i = 0; i < n; i++) sum += exp(x[i] - max);
    return max + log(sum);
}

static int32_t largest(const float *x, int64_t n)
{
    int32_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = (int32_t)i;
    return best;
}

static int by_logit(const void *a, const void *b, void *logits)
{
    const float *x = logits;
    const int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    if (x[i] != x[j]) return x[i] < x[j] ? 1 : -1;
    return i < j ? -1 : i > j;
}

static int32_t draw(const float *logits, int64_t n, const sample_opts *o, uint64_t key, int64_t position, sample_space *s)
{
    int64_t kept = n;
    for (int64_t i = 0; i < n; i++) s->order[i] = (int32_t)i;
    qsort_r(s->order, (size_t)n, sizeof *s->order, by_logit, (void *)(uintptr_t)logits);
    if (o->top_k > 0 && o->top_k < n) {
        kept = o->top_k;
        while (kept < n && logits[s->order[kept]] == logits[s->order[o->top_k - 1]]) kept++;
    }
    const double max = logits[s->order[0]] / o->temperature;
    double sum = 0;
    for (int64_t i = 0; i < kept; i++) {
        s->p[i] = (float)exp(logits[s->order[i]] / o->temperature - max);
        sum += s->p[i];
    }
    if (o->top_p < 1) {
        double reached = 0;
        int64_t i = 0;
        while (i < kept && reached < o->top_p * sum) reached += s->p[i++];
        kept = i > 0 ? i : 1;
        sum = reached > 0 ? reached : s->p[0];
    }
    double left = rng_uniform(o->seed, RNG_SAMPLE, (key << 24) + (uint64_t)position) * sum;
    for (int64_t i = 0; i < kept; i++) {
        left -= s->p[i];
        if (left < 0) return s->order[i];
    }
    return s->order[kept - 1];
}

int32_t sample_token(const float *logits, int64_t n_vocab, const sample_opts *o, uint64_t key, int64_t position,
                     sample_space *space, double *logprob)
{
    const int32_t id = o->temperature <= 0 ? largest(logits, n_vocab) : draw(logits, n_vocab, o, key, position, space);
    if (logprob) *logprob = logits[id] - log_sum_exp(logits, n_vocab);
    return id;
}
