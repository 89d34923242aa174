/* merge.c: W + scale B A in the place of W, and the proof that it is the same model: logits of fixed sequences from base and
 * adapter, and from the files just written, before these become the output. */
#include "convert.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/lora/merge.h"
#include "core/params/export_files.h"
#include "core/params/load.h"
#include "net.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct merging {
    net *n;
    lora_merge merge;
    uint32_t *slot;   /* by tensor of the base's file: the parameter it is, or CO_NONE */
    float *all;       /* parameter `all_of`, where the file has another order: whole, in the file's */
    uint32_t all_of;
} merging;

/* Which parameter each tensor is. */
static int match(merging *m)
{
    const st_set *file = m->n->weights;
    m->slot = mem_calloc(st_count(file) + 1, sizeof *m->slot);
    if (!m->slot) return CO_E_NOMEM;
    for (size_t i = 0; i < st_count(file); i++) m->slot[i] = CO_NONE;
    for (uint32_t p = 0; p < m->n->base->n_params; p++) {
        const st_tensor *t = m->n->base->slots[p].owner == p ? params_find_tensor(file, m->n->base->slots[p].name) : NULL;
        if (t) m->slot[t - st_at(file, 0)] = p;
    }
    return CO_OK;
}

static uint32_t slot_of(const merging *m, const st_tensor *t) { return m->slot[t - st_at(m->n->weights, 0)]; }

/* Adapted weights; and biases, which an adapter may replace. */
static int wanted(void *ctx, const st_tensor *t)
{
    const merging *m = ctx;
    const uint32_t p = slot_of(m, t);
    uint32_t n = 0;
    const lora_target *to = lora_targets(m->n->lora, &n);
    if (p == CO_NONE) return 0;
    const co_param_slot *s = &m->n->base->slots[p];
    for (uint32_t i = 0; i < n; i++)
        if (to[i].unit == (uint32_t)param_unit_kind(m->n->base, s->unit) && to[i].base == s->index) return 1;
    return s->shape.ndim == 1 && lora_spec_of(m->n->lora)->bias != LORA_BIAS_NONE;
}

/* The whole parameter, in the file's order. */
static int lay_out(merging *m, uint32_t p)
{
    const param_table *t = m->n->base;
    const int64_t rows = t->slots[p].shape.ne[0], total = param_elements(&t->slots[p]), runs = param_run_count(t, p);
    mem_free(m->all);
    m->all = mem_calloc((size_t)total, sizeof *m->all);
    m->all_of = p;
    int r = m->all ? CO_OK : CO_E_NOMEM;
    if (r == CO_OK && (t->slots[p].flags & CO_PARAM_FILE_TRANSPOSED)) {
        float *plain = mem_calloc((size_t)total, sizeof *plain);
        r = plain ? lora_merge_read(&m->merge, p, 0, total, plain) : CO_E_NOMEM;
        for (int64_t i = 0; i < total && r == CO_OK; i++) m->all[i] = plain[i % rows * (total / rows) + i / rows];
        mem_free(plain);
        return r;
    }
    for (int64_t i = 0; i < runs && r == CO_OK; i++) {
        const param_run run = param_run_at(t, p, i);
        r = lora_merge_read(&m->merge, p, run.param, run.n, m->all + run.file);
    }
    return r;
}

static int read_merged(void *ctx, const st_tensor *t, int64_t first, int64_t n, float *out)
{
    merging *m = ctx;
    const uint32_t p = slot_of(m, t);
    if (!(m->n->base->slots[p].flags & CO_PARAM_FILE_TRANSPOSED) && param_run_count(m->n->base, p) == 1)
        return lora_merge_read(&m->merge, p, first, n, out);
    const int r = m->all_of == p ? CO_OK : lay_out(m, p);
    if (r == CO_OK) memcpy(out, m->all + first, (size_t)n * sizeof *out);
    return r;
}

double default_bound(const convert_args *a, const st_set *base)
{
    uint32_t coarsest = a->dtype == DTYPE_KEEP ? CO_F32 : (uint32_t)a->dtype;
    for (size_t i = 0; a->dtype == DTYPE_KEEP && i < st_count(base); i++) {
        const uint32_t t = st_at(base, i)->dtype;
        if (t == CO_BF16 || (t == CO_F16 && coarsest == CO_F32)) coarsest = t;
    }
    return coarsest == CO_BF16 ? 5e-2 : coarsest == CO_F16 ? 1e-2 : 1e-4;
}

static void print_row(const char *what, const float *row, const int64_t *best)
{
    printf("  %-16s", what);
    for (int k = 0; k < 5 && best[k] >= 0; k++) printf(" %7lld: %+.6f", (long long)best[k], (double)row[best[k]]);
    printf("\n");
}

/* The last token of each sequence with its five largest logits, both ways; then the largest difference of all. */
static int compare(const float *a, const float *b, int64_t vocab, int64_t length, double bound)
{
    double most = 0, diff = 0;
    for (int64_t i = 0; i < PROBES * length * vocab; i++) {
        if (fabs((double)a[i]) > most) most = fabs((double)a[i]);
        const double d = fabs((double)a[i] - b[i]);
        if (d > diff || d != d) diff = d;
    }
    for (int s = 0; s < PROBES; s++) {
        const int64_t row = ((s + 1) * length - 1) * vocab;
        int64_t best[5] = {-1, -1, -1, -1, -1};
        for (int k = 0; k < 5; k++)
            for (int64_t v = 0; v < vocab; v++) {
                int taken = 0;
                for (int j = 0; j < k; j++) taken |= best[j] == v;
                if (!taken && (best[k] < 0 || a[row + v] > a[row + best[k]])) best[k] = v;
            }
        printf("sequence %d, logits of the token after %lld, id: value\n", s + 1, (long long)length);
        print_row("base + adapter", a + row, best);
        print_row("merged", b + row, best);
    }
    const double relative = most > 0 ? diff / most : diff;
    printf("logits of base + adapter against merged: %d sequences of %lld tokens, largest logit %.6g, largest difference %.3g, %.3g of it "
           "(bound %.3g)\n", PROBES, (long long)length, most, diff, relative, bound);
    if (relative <= bound) return CO_OK;
    return FAIL(CO_E_IO, "the merged model is not the same: logits differ by %.3g of the largest, the bound is %.3g (--bound, or a finer --dtype); nothing was written",
                relative, bound);
}

static int prove(const convert_args *a, const char *tmp, net *before)
{
    net after = {0};
    float *x = NULL, *y = NULL;
    int32_t *ids = NULL, *same = NULL;
    const int64_t vocab = before->base->info.n_vocab, length = before->length;
    const double bound = a->bound >= 0 ? a->bound : default_bound(a, before->weights);
    int r = net_logits(before, &x, &ids);
    net_close(before); /* one model in memory at a time */
    if (r == CO_OK) r = net_open(&after, a, tmp, NULL);
    if (r == CO_OK) r = net_logits(&after, &y, &same);
    if (r == CO_OK) r = compare(x, y, vocab, length, bound);
    net_close(&after);
    mem_free(same);
    mem_free(ids);
    mem_free(y);
    mem_free(x);
    return r;
}

int convert_merge(const convert_args *a)
{
    net n = {0};
    char *dir = NULL, *tmp = NULL;
    files_report report = {0};
    merging m = {.n = &n, .all_of = CO_NONE};
    int r = net_open(&n, a, a->input, a->adapter);
    if (r == CO_OK) r = match(&m);
    if (r == CO_OK) {
        m.merge = (lora_merge){.lora = n.lora, .base = n.base, .table = n.table, .read = net_read, .ctx = &n};
        r = lora_merge_begin(&m.merge);
    }
    if (r == CO_OK) r = export_begin(a->output, &dir, &tmp);
    const replacement with = {.wanted = wanted, .read = read_merged, .ctx = &m};
    if (r == CO_OK) r = files_write(a, tmp, n.weights, n.hf, a->input, &with, &report);
    lora_merge_end(&m.merge);
    if (r == CO_OK) r = prove(a, tmp, &n);
    if (r == CO_OK) r = export_swap(dir, tmp);
    if (r && tmp) export_discard(tmp);
    if (r == CO_OK)
        printf("%s: %zu tensors, %lld bytes, %s, in %zu file%s\n", dir, report.tensors, (long long)report.bytes, dtype_name(a->dtype), report.shards,
               report.shards == 1 ? "" : "s");
    mem_free(m.all);
    mem_free(m.slot);
    mem_free(tmp);
    mem_free(dir);
    net_close(&n);
    return r;
}
