/* against_ref.c: every op of a backend, forward and backward, against the reference on the same inputs (exact in
 * fp32). The backend is $COATI_TEST_BACKEND, else cpu. */
#include "ops/cases.h"
#include "check.h"
#include "core/base/error.h"

#define TOLERANCE 1e-5

/* Runs `k` twice on the backend: same bits; then once on the reference: same numbers. */
static void compare(const device *d, const device *ref, kase *k)
{
    kase once = *k, twice = *k;
    for (int i = 0; i < 8; i++) {
        once.in[i] = arg_copy(&k->in[i]), twice.in[i] = arg_copy(&k->in[i]);
        once.out[i] = arg_copy(&k->out[i]), twice.out[i] = arg_copy(&k->out[i]);
    }
    if (kase_run(d, &once) == CO_OK && kase_run(d, &twice) == CO_OK && kase_run(ref, k) == CO_OK) {
        char what[32];
        for (uint32_t o = 0; o < k->n_out; o++) {
            if (!k->out[o].used) continue;
            snprintf(what, sizeof what, "output %u", o);
            arg_compare(k, what, &once.out[o], &k->out[o], TOLERANCE);
            CHECK_MSG(memcmp(once.out[o].v, twice.out[o].v, (size_t)(k->out[o].n * k->out[o].cols) * sizeof(double)) == 0,
                      "%s: %s differs from run to run", k->label, op_text(k->op));
        }
        for (uint32_t i = 0; i < k->n_in; i++)
            if (k->in[i].written) arg_compare(k, "cache", &once.in[i], &k->in[i], 0);
    }
    kase_free(&once);
    kase_free(&twice);
}

static void to_fp32(arg *a)
{
    for (int64_t i = 0; i < a->n * a->cols; i++) a->v[i] = a->ids ? a->v[i] : (double)(float)a->v[i];
}

static int in_place_allowed(uint32_t op)
{
    switch (op) {
    case CO_OP_ROPE: case CO_OP_SWIGLU: case CO_OP_GELU: case CO_OP_SILU: case CO_OP_RELU: case CO_OP_DROPOUT: case CO_OP_ADD:
    case CO_OP_SUB: case CO_OP_MUL: case CO_OP_SCALE: case CO_OP_EXP: case CO_OP_LOG_SIGMOID: case CO_OP_CLAMP:
    case CO_OP_MINIMUM: case CO_OP_MAXIMUM: return 1;
    default: return 0;
    }
}
/* Output o stands where input i stands. */
static void share(kase *k, int o, int i)
{
    k->out[o].share = i + 1;
    k->out[o].gap = k->in[i].gap;
}

static void backwards(const device *d, const device *ref, kase *f, const rule *rules)
{
    arg dy[8] = {{0}};
    for (uint32_t o = 0; o < f->n_out; o++) {
        to_fp32(&f->out[o]);
        dy[o] = arg_copy(&f->out[o]);
        arg_fill(&dy[o], 40 + o);
    }
    arg res = arg_copy(&f->in[0]);
    if (!res.ids) arg_fill(&res, 50);
    for (const rule *r = rules; r->n_in; r++)
        for (int mode = 0; mode < 3 + r->n_out; mode++) { /* store, add, in place, each output left out */
            kase b;
            rule_apply(r, f, dy, &res, mode == 1, &b);
            if (mode == 2 && r->share) share(&b, 0, r->share - 1);
            if (mode >= 3) {
                free(b.out[mode - 3].v);
                b.out[mode - 3] = (arg){0};
            }
            int any = 0;
            for (int o = 0; o < r->n_out; o++) any |= b.out[o].used;
            if (r->op == CO_OP_TOKEN_LOGPROB_GRAD && mode == 3) any = 0; /* its logp is always wanted */
            if (any && (mode != 2 || r->share)) compare(d, ref, &b);
            kase_free(&b);
        }
    free(res.v);
    for (int o = 0; o < 8; o++) free(dy[o].v);
}

static void check_op(const device *d, const device *ref, uint32_t op, const lives *l)
{
    const entry *e = entry_of(op);
    kase k;
    for (int v = 0; e->make && kase_make(&k, op, l, v); v++) {
        compare(d, ref, &k);
        if (e->rules) backwards(d, ref, &k, e->rules);
        if (in_place_allowed(op)) {
            snprintf(k.label + strlen(k.label), sizeof k.label - strlen(k.label), ", in place");
            share(&k, 0, 0);
            compare(d, ref, &k);
        }
        kase_free(&k);
    }
}

int main(void)
{
    static const int lengths[][LIVE_MAX_SEQS] = {{0}, {1}, {0, 0}, {3, 0, 4}, {1, 1, 5, 0, 10}, {65}, {130, 0, 1, 126}};
    static const int n_seqs[] = {0, 1, 2, 3, 5, 1, 4};
    const char *name = getenv("COATI_TEST_BACKEND");
    host *h = host_new(NULL);
    device ref, d;
    const int opened = h && device_open(h, "ref", &ref) == CO_OK;
    CHECK_MSG(opened, "%s", error_message());
    if (!opened) return check_done();
    const int other = device_open(h, name ? name : "cpu", &d) == CO_OK;
    CHECK_MSG(other, "%s", error_message());
    if (!other) return check_done();
    for (uint32_t op = 0; op < CO_OP_COUNT; op++)
        for (size_t b = 0; b < sizeof n_seqs / sizeof *n_seqs; b++) {
            lives l;
            lives_set(&l, n_seqs[b], lengths[b]);
            for (harness_coarse = 0; harness_coarse < 2; harness_coarse++) {
                const int kinks = op == CO_OP_RELU || op == CO_OP_CLAMP || op == CO_OP_MINIMUM || op == CO_OP_MAXIMUM;
                if (!harness_coarse || kinks) check_op(&d, &ref, op, &l);
            }
            harness_coarse = 0;
        }
    device_close(&d);
    device_close(&ref);
    host_free(h);
    return check_done() | harness_done();
}
