/* harness.c: values in a guarded buffer, a plan of one line, comparisons. */
#include "ops/harness.h"
#include "check.h"
#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/params/half.h"

int harness_coarse;
uint8_t harness_type;
double harness_round(double x, uint8_t type)
{
    const float f = (float)x;
    return type == CO_BF16 ? (double)bf16_to_f32(bf16_from_f32(f)) : type == CO_F16 ? (double)f16_to_f32(f16_from_f32(f)) : (double)f;
}
int harness_done(void) { return check_done(); }

const char *op_text(uint32_t op)
{
    static const char *const names[] = {
#define OP(id, name, min_in, max_in, n_out, diff) name,
#include <coati/ops.def>
#undef OP
    };
    return op < CO_OP_COUNT ? names[op] : "?";
}

int device_open(host *h, const char *name, device *out)
{
    const co_feature *f;
    int64_t opts[16] = {0};
    /* Read when OpenMP is loaded with the plugin: threads that spin between thousands of tiny runs starve a busy machine. */
    setenv("OMP_WAIT_POLICY", "passive", 0);
    int r = host_feature(h, CO_KIND_BACKEND, name, &f);
    if (r) return r;
    *out = (device){.vt = host_backend(h, f), .name = name};
    out->dtype = out->vt->dtypes & 1u << CO_F64 ? CO_F64 : CO_F32;
    const char *simd = getenv("COATI_TEST_SIMD"); /* which of a backend's kernels, where it offers a choice */
    for (const co_opt *o = simd ? f->opts : NULL; o && o->key; o++)
        for (int32_t i = 0; strcmp(o->key, "simd") == 0 && o->names[i]; i++)
            if (strcmp(o->names[i], simd) == 0) memcpy((char *)opts + o->offset, &i, sizeof i);
    return out->vt->open(host_services(h), opts, &out->self);
}
void device_close(device *d) { d->vt->close(d->self); }

void lives_set(lives *l, int n_seqs, const int *lengths)
{
    *l = (lives){.live = {.struct_size = sizeof l->live, .n_seqs = n_seqs, .inv_denom = 0.125f, .loss_weight = 0.75f,
                          .unit = 3, .step_key = 77}};
    for (int i = 0; i < n_seqs; i++) {
        l->seq_start[i + 1] = l->seq_start[i] + lengths[i];
        l->key[i] = 1000 + 17 * (uint64_t)i;
        l->slot[i] = i;
    }
    l->live.n_tokens = l->seq_start[n_seqs];
    l->live.n_gathered = l->live.n_tokens ? l->live.n_tokens / 2 + 1 : 0;
    l->live.seq_start = l->seq_start;
    l->live.cache_slot = l->slot;
    l->live.past_len = l->past;
    l->live.seq_key = l->key;
}

arg arg_new(const lives *l, uint32_t rows, int64_t fixed_rows, int64_t cols)
{
    arg a = {.used = 1, .ndim = cols ? 2 : 1, .rows = rows, .n = fixed_rows, .cols = cols ? cols : 1};
    if (rows == CO_ROWS_TOKENS) a.n = l->live.n_tokens;
    if (rows == CO_ROWS_SEQS) a.n = l->live.n_seqs;
    if (rows == CO_ROWS_GATHERED) a.n = l->live.n_gathered;
    a.v = calloc((size_t)(a.n * a.cols) + 1, sizeof *a.v);
    if (!a.v) a.n = 0;
    return a;
}
void arg_fill(arg *a, uint64_t seed)
{
    for (int64_t i = 0; i < a->n * a->cols; i++) {
        const double x = rng_normal(seed, 900, (uint64_t)i);
        a->v[i] = harness_coarse ? rint(2 * x) / 2 : harness_round(x, harness_type);
    }
}
void arg_fill_ids(arg *a, uint64_t seed, int64_t below)
{
    a->ids = 1;
    for (int64_t i = 0; i < a->n; i++) a->v[i] = (double)rng_below(seed, 901, (uint64_t)i, (uint64_t)below);
}
arg arg_copy(const arg *a)
{
    arg b = *a;
    b.v = calloc((size_t)(a->n * a->cols) + 1, sizeof *b.v);
    if (b.v && a->v) memcpy(b.v, a->v, (size_t)(a->n * a->cols) * sizeof *b.v);
    return b;
}
void kase_attrs(kase *k, const void *attrs, size_t size)
{
    k->attrs_size = (uint32_t)size;
    memcpy(k->attrs, attrs, size);
}
void kase_free(kase *k)
{
    for (int i = 0; i < 8; i++) {
        free(k->in[i].v);
        free(k->out[i].v);
        k->in[i].v = k->out[i].v = NULL;
    }
}

static uint8_t type_of(const arg *a, uint8_t dtype) { return a->ids ? CO_I32 : a->wide && dtype != CO_F64 ? CO_F32 : dtype; }

/* Element r, c of a value at `at`, in the type it has there. */
static void cell(unsigned char *at, const arg *a, uint8_t dtype, int64_t r, int64_t c, double *x, int write)
{
    const size_t i = (size_t)(r * (a->cols + a->gap) + c);
    dtype = type_of(a, dtype);
    if (dtype == CO_BF16 || dtype == CO_F16) {
        uint16_t *p = (uint16_t *)(void *)at + i;
        if (write) *p = dtype == CO_BF16 ? bf16_from_f32((float)*x) : f16_from_f32((float)*x);
        else *x = dtype == CO_BF16 ? bf16_to_f32(*p) : f16_to_f32(*p);
    } else if (a->ids) {
        int32_t *p = (int32_t *)(void *)at + i;
        if (write) *p = (int32_t)*x;
        else *x = *p;
    } else if (dtype == CO_F64) {
        double *p = (double *)(void *)at + i;
        if (write) *p = *x;
        else *x = *p;
    } else {
        float *p = (float *)(void *)at + i;
        if (write) *p = (float)*x;
        else *x = *p;
    }
}
static void transfer(unsigned char *at, const arg *a, uint8_t dtype, int write)
{
    for (int64_t r = 0; r < a->n; r++)
        for (int64_t c = 0; c < a->cols; c++) cell(at, a, dtype, r, c, &a->v[r * a->cols + c], write);
}

#define GUARD 64
#define SCRATCH_POISONED ((size_t)1 << 20)
typedef struct layout {
    co_plan_value values[16];
    uint32_t in[8], out[8], n;
    size_t bytes;
} layout;

static uint32_t lay(layout *l, const arg *a, uint8_t dtype, uint32_t slot)
{
    co_plan_value *v = &l->values[l->n];
    const int64_t cap = a->n + (a->rows == CO_ROWS_FIXED ? 0 : 3), stride = a->cols + a->gap;
    const size_t size = co_dtype_bytes(type_of(a, dtype));
    *v = (co_plan_value){.shape = {.ne = {cap, a->ndim > 1 ? a->cols : 1, 1, 1}, .row_stride = a->ndim > 1 ? stride : 1,
                                   .ndim = a->ndim, .dtype = type_of(a, dtype)},
                         .region = a->grad ? CO_REGION_GRAD : CO_REGION_WORK, .rows = a->rows, .slot = slot};
    v->offset = l->bytes + GUARD + (a->gap ? 2 * size : 0);
    l->bytes = (v->offset + (size_t)(cap * stride) * size + GUARD + 63) & ~(size_t)63;
    return l->n++;
}

/* The batch where the backend's kernels read it, arrays too. */
static int live_on_device(const device *d, const lives *l, co_live **out)
{
    lives copy = *l;
    void *p = NULL;
    int r = d->vt->alloc(d->self, CO_MEM_DEVICE, sizeof *l, &p);
    if (r) return r;
    lives *there = p; /* only its addresses are used */
    copy.live.seq_start = there->seq_start;
    copy.live.cache_slot = there->slot;
    copy.live.past_len = there->past;
    copy.live.seq_key = l->live.seq_key ? there->key : NULL;
    *out = p;
    return d->vt->copy(d->self, p, &copy, sizeof copy, NULL);
}

int kase_run(const device *d, kase *k)
{
    layout l = {.n = 0};
    co_tensor grads[8] = {{0}};
    uint8_t accumulate[8] = {0};
    void *compiled = NULL, *scratch = NULL, *buf = NULL;
    co_live *live = NULL;
    unsigned char *want = NULL, *staged = NULL; /* staged: what is at `buf`, then the ends of what is at `scratch` */
    size_t scratch_bytes = 0, begin = 0; /* begin: bytes of scratch that are poisoned, from its start */
    char why[128] = "";
    for (uint32_t i = 0; i < k->n_in; i++) l.in[i] = k->in[i].used ? lay(&l, &k->in[i], d->dtype, 0) : CO_NONE;
    for (uint32_t i = 0; i < k->n_out; i++) {
        const arg *o = &k->out[i];
        l.out[i] = !o->used ? CO_NONE : o->share ? l.in[o->share - 1] : lay(&l, o, d->dtype, i);
    }
    const co_step_op step = {.op = k->op, .n_in = k->n_in, .n_out = k->n_out, .attrs_size = k->attrs_size, .in = l.in,
                             .out = l.out, .attrs = k->attrs};
    const co_plan plan = {.struct_size = sizeof plan, .n_steps = 1, .n_values = l.n, .label = k->label, .steps = &step,
                          .values = l.values};
    int r = d->vt->supports(d->self, &plan, 0, why, sizeof why);
    CHECK_MSG(r == CO_OK, "%s: %s on %s: %s", k->label, op_text(k->op), d->name, why);
    if (!r) r = d->vt->workspace(d->self, &plan, &scratch_bytes);
    if (!r) r = d->vt->alloc(d->self, CO_MEM_DEVICE, l.bytes + 256, &buf);
    if (!r) r = d->vt->alloc(d->self, CO_MEM_DEVICE, scratch_bytes + 256, &scratch);
    if (!r) r = live_on_device(d, k->batch, &live);
    if (!r) r = d->vt->prepare(d->self, &plan, &compiled);
    begin = scratch_bytes < SCRATCH_POISONED ? scratch_bytes : SCRATCH_POISONED;
    staged = malloc(l.bytes + 512 + begin);
    want = malloc(l.bytes + 256);
    if (r || !want || !staged) goto out;

    memset(staged, 0xFF, l.bytes + 512 + begin);
    for (uint32_t i = 0; i < k->n_in; i++)
        if (k->in[i].used) transfer(staged + l.values[l.in[i]].offset, &k->in[i], d->dtype, 1);
    for (uint32_t i = 0; i < k->n_out; i++) {
        if (!k->out[i].grad || !k->out[i].used) continue;
        grads[i].data = (unsigned char *)buf + l.values[l.out[i]].offset;
        accumulate[i] = k->out[i].accumulate;
        if (accumulate[i]) transfer(staged + l.values[l.out[i]].offset, &k->out[i], d->dtype, 1);
    }
    memcpy(want, staged, l.bytes + 256);
    r = d->vt->copy(d->self, buf, staged, l.bytes + 256, NULL);
    if (!r) r = d->vt->copy(d->self, scratch, staged + l.bytes + 256, begin, NULL);
    if (!r) r = d->vt->copy(d->self, (char *)scratch + scratch_bytes, staged + l.bytes + 256, 256, NULL);
    const co_binding b = {.struct_size = sizeof b, .grads = grads, .accumulate = accumulate, .host_live = &k->batch->live,
                          .dev_live = live,
                          .base = {[CO_REGION_WORK] = buf, [CO_REGION_SCRATCH] = scratch}};
    if (!r) r = d->vt->run(d->self, compiled, &b, NULL);
    if (!r) r = d->vt->stream_sync(d->self, NULL);
    if (!r) r = d->vt->copy(d->self, staged, buf, l.bytes + 256, NULL);
    if (!r) r = d->vt->copy(d->self, staged + l.bytes + 256, (char *)scratch + scratch_bytes, 256, NULL);
    if (!r) r = d->vt->stream_sync(d->self, NULL);
    if (r) goto out;
    for (uint32_t i = 0; i < k->n_out; i++) { /* what may have changed is taken over, the rest compared */
        if (!k->out[i].used) continue;
        transfer(staged + l.values[l.out[i]].offset, &k->out[i], d->dtype, 0);
        transfer(want + l.values[l.out[i]].offset, &k->out[i], d->dtype, 1);
    }
    for (uint32_t i = 0; i < k->n_in; i++) {
        if (!k->in[i].written) continue;
        transfer(staged + l.values[l.in[i]].offset, &k->in[i], d->dtype, 0);
        transfer(want + l.values[l.in[i]].offset, &k->in[i], d->dtype, 1);
    }
    CHECK_MSG(memcmp(staged, want, l.bytes + 256) == 0, "%s: %s on %s wrote outside its outputs", k->label, op_text(k->op),
              d->name);
    int clean = 1;
    for (size_t i = 0; i < 256; i++) clean &= staged[l.bytes + 256 + i] == 0xFF;
    CHECK_MSG(clean, "%s: %s on %s wrote past its scratch of %zu bytes", k->label, op_text(k->op), d->name, scratch_bytes);
out:
    CHECK_MSG(r == CO_OK, "%s: %s on %s: %d %s", k->label, op_text(k->op), d->name, r, error_message());
    if (compiled) d->vt->discard(d->self, compiled);
    d->vt->free(d->self, CO_MEM_DEVICE, live);
    d->vt->free(d->self, CO_MEM_DEVICE, scratch);
    d->vt->free(d->self, CO_MEM_DEVICE, buf);
    free(want);
    free(staged);
    return r;
}

void arg_compare(const kase *k, const char *what, const arg *got, const arg *want, double tol)
{
    double diff = 0, norm = 0, worst = 0, most = 0;
    const int64_t n = want->n * want->cols;
    for (int64_t i = 0; i < n; i++) {
        const double e = fabs(got->v[i] - want->v[i]);
        diff += e * e;
        norm += want->v[i] * want->v[i];
        worst = e > worst || isnan(e) ? e : worst;
        most = fmax(most, fabs(want->v[i]));
    }
    CHECK_MSG(sqrt(diff) <= tol * sqrt(norm) + k->noise * sqrt((double)n), "%s: %s %s: error %.3g of norm %.3g", k->label,
              op_text(k->op), what, sqrt(diff), sqrt(norm));
    CHECK_MSG(worst <= 10 * (tol * most + k->noise), "%s: %s %s: error %.3g, largest element %.3g", k->label,
              op_text(k->op), what, worst, most);
}
