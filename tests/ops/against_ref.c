/* against_ref.c: every op of a backend, forward and backward, against the reference on the same inputs. The backend is
 * $COATI_TEST_BACKEND, else cpu. The first argument is the type of values: fp32, bf16 or fp16, in which the inputs are exact. `small` behind it
 * runs every op and variant on one batch, without large vocabularies: what a sanitizer gets through in a minute or two.
 *
 * Bounds, norm-wise. fp32: 1e-5. 16 bits, with unit roundoff u: results are sums in fp32 rounded once, an error of at most
 * u in each element and so u of the norm, on top of fp32's. Kernels of attention and of the classifier's gradient may round
 * probabilities or logit gradients once before they are multiplied: independent errors of at most u in each term, 2 u. */
#include "ops/cases.h"
#include "check.h"
#include "core/base/error.h"

static int small;

static double tolerance(const kase *k, const arg *out)
{
    const double u = harness_type == CO_BF16 ? 0x1p-8 : harness_type == CO_F16 ? 0x1p-11 : 0;
    switch (k->op) {
    case CO_OP_ATTENTION: case CO_OP_ATTENTION_CACHED: case CO_OP_ATTENTION_BWD: case CO_OP_TOKEN_LOGPROB_BWD:
    case CO_OP_TOKEN_LOGPROB_GRAD: return 1e-5 + (out->wide && !out->grad ? 0 : 2 * u);
    default: return 1e-5 + (out->wide ? 0 : u);
    }
}

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
            arg_compare(k, what, &once.out[o], &k->out[o], tolerance(k, &k->out[o]));
            CHECK_MSG(memcmp(once.out[o].v, twice.out[o].v, (size_t)(k->out[o].n * k->out[o].cols) * sizeof(double)) == 0,
                      "%s: %s differs from run to run", k->label, op_text(k->op));
        }
        for (uint32_t i = 0; i < k->n_in; i++)
            if (k->in[i].written) arg_compare(k, "cache", &once.in[i], &k->in[i], 0);
    }
    kase_free(&once);
    kase_free(&twice);
}

static void to_type(arg *a)
{
    for (int64_t i = 0; i < a->n * a->cols; i++) a->v[i] = a->ids ? a->v[i] : harness_round(a->v[i], a->wide ? CO_F32 : harness_type);
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

static void backwards(const device *d, const device *ref, kase *f, const rule *rules, int sum_fp32)
{
    arg dy[8] = {{0}};
    for (uint32_t o = 0; o < f->n_out; o++) {
        to_type(&f->out[o]);
        dy[o] = arg_copy(&f->out[o]);
        arg_fill(&dy[o], 40 + o);
    }
    arg res = arg_copy(&f->in[0]);
    if (!res.ids) arg_fill(&res, 50);
    for (const rule *r = rules; r->n_in; r++)
        for (int mode = 0; mode < (harness_type ? 3 : 3 + r->n_out); mode++) { /* store, add, in place, each output left out */
            kase b;
            if (harness_type && f->in[1].used && f->in[1].n > 1000 && mode != 1) continue; /* a large vocabulary takes its time */
            rule_apply(r, f, dy, &res, mode == 1, sum_fp32, &b);
            if (mode == 2 && r->share) share(&b, 0, r->share - 1);
            for (int i = 0; mode == 2 && i < r->twins; i++) share(&b, r->n_out - r->twins + i, i);
            if (mode >= 3) {
                free(b.out[mode - 3].v);
                b.out[mode - 3] = (arg){0};
            }
            int any = 0;
            for (int o = 0; o < r->n_out; o++) any |= b.out[o].used;
            if (r->op == CO_OP_TOKEN_LOGPROB_GRAD && mode == 3) any = 0; /* its logp is always wanted */
            if (any && (mode != 2 || r->share || r->twins)) compare(d, ref, &b);
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
        if (small && k.in[1].used && k.in[1].n > 1000) {
            kase_free(&k);
            continue;
        }
        compare(d, ref, &k);
        if (e->rules) backwards(d, ref, &k, e->rules, 0);
        if (e->rules && harness_type) backwards(d, ref, &k, e->rules, 1);
        if (in_place_allowed(op) && k.in[0].wide == k.out[0].wide) {
            snprintf(k.label + strlen(k.label), sizeof k.label - strlen(k.label), ", in place");
            share(&k, 0, 0);
            compare(d, ref, &k);
        }
        kase_free(&k);
    }
}

int main(int argc, char **argv)
{
    static const int lengths[][LIVE_MAX_SEQS] = {{0}, {1}, {0, 0}, {3, 0, 4}, {1, 1, 5, 0, 10}, {65}, {130, 0, 1, 126}};
    static const int n_seqs[] = {0, 1, 2, 3, 5, 1, 4};
    const char *name = getenv("COATI_TEST_BACKEND"), *type = argc > 1 ? argv[1] : "fp32";
    small = argc > 2 && strcmp(argv[2], "small") == 0;
    harness_type = strcmp(type, "bf16") == 0 ? CO_BF16 : strcmp(type, "fp16") == 0 ? CO_F16 : CO_F32;
    host *h = host_new(NULL);
    device ref, d;
    const int opened = h && device_open(h, "ref", &ref) == CO_OK;
    CHECK_MSG(opened, "%s", error_message());
    if (!opened) return check_done();
    const int other = device_open(h, name ? name : "cpu", &d) == CO_OK;
    if (!other && name && strcmp(name, "cuda") == 0) return printf("skipped: %s\n", error_message()), 77;
    CHECK_MSG(other, "%s", error_message());
    if (!other) return check_done();
    CHECK_MSG(d.vt->dtypes & 1u << harness_type, "%s does not compute in %s", d.name, type);
    if (d.dtype != CO_F64) d.dtype = harness_type;
    for (uint32_t op = 0; op < CO_OP_COUNT; op++)
        for (size_t b = 0; b < sizeof n_seqs / sizeof *n_seqs; b++) {
            lives l;
            lives_set(&l, n_seqs[b], lengths[b]);
            if (small && b != 3) continue;
            if (harness_type && (b == 1 || b == 2 || b == 5)) continue; /* shapes are fp32's business */
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
