/* gradients.c: the reference's backwards against central differences of its forwards, for every op that has a
 * derivative: d(sum of c*y)/dx against the backward of dy = c, norm-wise to 1e-6. */
#include "ops/cases.h"
#include "check.h"
#include "core/base/error.h"
#include "core/base/rng.h"

#define STEP 1e-5
#define SAMPLES 24 /* elements of each input that are moved */

static double objective(const device *d, kase *k, const arg *c)
{
    double sum = 0;
    if (kase_run(d, k)) return NAN;
    for (uint32_t o = 0; o < k->n_out; o++)
        for (int64_t i = 0; c[o].used && i < k->out[o].n * k->out[o].cols; i++) sum += c[o].v[i] * k->out[o].v[i];
    return sum;
}

/* Input `which` of the forward against its gradient, both at a sample of places. */
static void check_input(const device *d, kase *f, const arg *c, const arg *res, int which, const arg *got, const kase *b)
{
    arg *x = &f->in[which];
    const int64_t n = x->n * x->cols, count = n < SAMPLES ? n : SAMPLES;
    double diff = 0, norm = 0;
    for (int64_t s = 0; s < count; s++) {
        const int64_t i = n <= SAMPLES ? s : (int64_t)rng_below(9, 902, (uint64_t)s, (uint64_t)n);
        const double at = x->v[i];
        x->v[i] = at + STEP;
        const double up = objective(d, f, c);
        x->v[i] = at - STEP;
        const double down = objective(d, f, c);
        x->v[i] = at;
        const double want = (up - down) / (2 * STEP) + (res ? res->v[i] : 0);
        diff += (got->v[i] - want) * (got->v[i] - want);
        norm += want * want;
    }
    /* 1e-9: what differences of a sum near 1 can resolve, where the true gradient vanishes */
    CHECK_MSG(sqrt(diff) <= 1e-6 * sqrt(norm) + 1e-9 * sqrt((double)count), "%s: %s, input %d: error %.3g of %.3g", b->label,
              op_text(b->op), which, sqrt(diff), sqrt(norm));
}

static void check_case(const device *d, kase *f, const rule *rules)
{
    arg c[8] = {{0}};
    if (kase_run(d, f)) return;
    const uint32_t differentiated = f->op == CO_OP_SPLIT ? f->n_out : 1; /* lse carries no gradient */
    for (uint32_t o = 0; o < differentiated; o++) {
        c[o] = arg_copy(&f->out[o]);
        arg_fill(&c[o], 40 + o);
    }
    arg res = arg_copy(&f->in[0]);
    if (!res.ids) arg_fill(&res, 50);
    for (const rule *r = rules; r->n_in; r++) {
        kase b;
        rule_apply(r, f, c, &res, 0, 0, &b);
        const int ran = kase_run(d, &b) == CO_OK;
        for (int o = 0; ran && o < r->n_out; o++) {
            if (!b.out[o].used || r->out[o] >= 10) continue;
            check_input(d, f, c, r->in[r->n_in - 1] == FROM_RES && r->out[o] == 0 ? &res : NULL, r->out[o], &b.out[o], &b);
        }
        kase_free(&b);
        kase_run(d, f); /* outputs as before the differences */
    }
    free(res.v);
    for (int o = 0; o < 8; o++) free(c[o].v);
}

int main(void)
{
    static const int lengths[][LIVE_MAX_SEQS] = {{1}, {3, 0, 4}, {1, 6, 0, 10}};
    static const int n_seqs[] = {1, 3, 4};
    static const char *const differentiable[] = {
#define OP(id, name, min_in, max_in, n_out, diff) #diff,
#include <coati/ops.def>
#undef OP
    };
    host *h = host_new(NULL);
    device ref;
    const int opened = h && device_open(h, "ref", &ref) == CO_OK;
    CHECK_MSG(opened, "%s", error_message());
    if (!opened) return check_done();
    for (uint32_t op = 0; op < CO_OP_COUNT; op++) {
        const entry *e = entry_of(op);
        CHECK_MSG(e->make || entry_of(e->of)->rules, "%s has no case", op_text(op));
        CHECK_MSG((strcmp(differentiable[op], "DIFF") == 0) == (e->rules != NULL), "%s: %s", op_text(op), differentiable[op]);
        if (!e->rules) continue;
        int cases = 0;
        for (int b = 0; b < 3; b++) {
            lives l;
            kase k;
            lives_set(&l, n_seqs[b], lengths[b]);
            for (int v = 0; kase_make(&k, op, &l, v); v++, cases++) {
                if (k.in[0].cols <= 128) check_case(&ref, &k, e->rules);
                kase_free(&k);
            }
        }
        CHECK_MSG(cases > 0, "%s ran no case", op_text(op));
    }
    device_close(&ref);
    host_free(h);
    return check_done() | harness_done();
}
