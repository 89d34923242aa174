/* training.c: the plugin at work: a few steps of a tiny model, in pairs, against coati's own parts, packed and not, cached and not. */
#include "core/base/error.h"
#include "core/base/memory.h"
#include "rig.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { STEPS = 6 };

static int is(const subject *s, co_kind k) { return s->f->kind == (uint32_t)k; }

static void failed(const char *what) { report_fail("%s: %s", what, error_message()[0] ? error_message() : "an error without a message"); }

/* Two at once, a step each in turn: the same bits, whatever the other does; and what was planned is what is taken. */
static int run_pair(const subject *s, double *losses)
{
    rig a, b;
    rig_batch batch;
    uint64_t sum_a = 0, sum_b = 1;
    co_step_stats stats = {.struct_size = sizeof stats};
    const int before = report_failures();
    report_trying("opening a tiny run");
    int r = rig_open(s, 0, 0, &a), second = CO_OK;
    if (r == CO_OK) second = rig_open(s, 0, 0, &b);
    else memset(&b, 0, sizeof b);
    if (r == CO_OK && second) r = second;
    if (r == CO_E_UNSUPPORTED && is(s, CO_KIND_BACKEND)) report_skip("a tiny run: %s", error_message());
    else if (r) failed("a tiny run cannot be opened");
    if (r == CO_OK) {
        engine_memory m;
        engine_bytes(a.engine, &m);
        if (m.total != engine_allocated(a.engine)) report_fail("the plan says %zu bytes, %zu are taken: bytes() must be exact", m.total, engine_allocated(a.engine));
        rig_batch_make(&a, &batch);
    }
    for (int64_t step = 1; step <= STEPS && r == CO_OK; step++) {
        double one = 0, two = 0;
        report_trying("step %lld of a tiny run", (long long)step);
        r = rig_step(&a, &batch, step, &one, &stats);
        if (r == CO_OK) r = rig_step(&b, &batch, step, &two, &stats);
        losses[step - 1] = one;
        if (r) failed("a tiny run");
        else if (one - one != 0) r = CO_E_INVALID, report_fail("a tiny run: the loss of step %lld is %g", (long long)step, one);
        else if (one != two) r = CO_E_INVALID, report_fail("two runs in turn differ at step %lld (%.9g, %.9g): not deterministic, or they share state", (long long)step, one, two);
    }
    report_trying("reading the parameters of a tiny run");
    if (r == CO_OK) r = rig_checksum(&a, &sum_a);
    if (r == CO_OK) r = rig_checksum(&b, &sum_b);
    if (r == CO_OK && sum_a != sum_b) report_fail("two runs in turn end in different parameters");
    report_trying("closing a tiny run");
    rig_close(&b);
    rig_close(&a);
    if (report_failures() == before) report_ok("a tiny run: loss %.4f to %.4f in %d steps, two in turn give the same bits, bytes as planned", losses[0], losses[STEPS - 1], STEPS);
    return r;
}

/* The same with coati's own part in its place. */
static void compare_with_standard(const subject *s, const double *losses, double limit, const char *with)
{
    rig a;
    rig_batch batch;
    double worst = 0;
    co_step_stats stats = {.struct_size = sizeof stats};
    report_trying("the same run with %s", with);
    int r = rig_open(s, 1, 0, &a);
    if (r == CO_OK) rig_batch_make(&a, &batch);
    for (int64_t step = 1; step <= STEPS && r == CO_OK; step++) {
        double loss;
        r = rig_step(&a, &batch, step, &loss, &stats);
        const double d = fabs(loss - losses[step - 1]) / fabs(loss);
        if (!(d <= worst)) worst = d;
    }
    rig_close(&a);
    if (r) report_skip("comparison with %s: %s", with, error_message());
    else if (!(worst <= limit)) report_fail("losses are up to %.3g apart from those with %s (relative; the bound is %.0e)", worst, with, limit);
    else report_ok("losses as with %s, within %.2g", with, worst);
}

/* ---- models ------------------------------------------------------------------------------------------------------------ */
static int evaluate(rig *r, const rig_batch *b, int32_t first, int32_t n_seqs, double *loss)
{
    const int32_t from = b->start[first];
    int32_t start[RIG_SEQS + 1];
    for (int32_t s = 0; s <= n_seqs; s++) start[s] = b->start[first + s] - from;
    const void *columns[2] = {b->labels + from, b->mask + from};
    const engine_batch batch = {.n_tokens = start[n_seqs], .n_seqs = n_seqs, .ids = b->ids + from, .positions = b->positions + from, .seq_start = start,
                                .seq_key = b->key + first, .columns = columns};
    engine_result res;
    const int rc = engine_evaluate(r->engine, &batch, 1 / b->n_labels, &res);
    *loss = res.loss;
    return rc;
}

static void check_packing(rig *r, const rig_batch *b)
{
    double packed = 0, sum = 0, one = 0;
    report_trying("evaluation of three sequences packed, and one by one");
    int rc = evaluate(r, b, 0, RIG_SEQS, &packed);
    for (int32_t s = 0; s < RIG_SEQS && rc == CO_OK; s++, sum += one) rc = evaluate(r, b, s, 1, &one);
    if (rc) failed("evaluation");
    else if (fabs(packed - sum) > 1e-5 * fabs(packed)) report_fail("sequences packed together give loss %.9g, one by one %.9g: they see each other, or positions do not restart", packed, sum);
    else report_ok("packed as one by one");
}

/* The first sequence at once, and a token at a time through the cache. */
static void check_cache(rig *r, const rig_batch *b)
{
    const int64_t vocab = r->table->info.n_vocab;
    const int32_t n = b->start[1], zero = 0, whole[2] = {0, n}, two[2] = {0, 1};
    int32_t rows[RIG_TOKENS];
    const float *logits = NULL;
    double diff = 0, norm = 0;
    float *kept = mem_calloc((size_t)(n * vocab), sizeof *kept);
    for (int32_t i = 0; i < n; i++) rows[i] = i;
    report_trying("generation with the cache");
    const engine_pass all = {.n_tokens = n, .n_seqs = 1, .n_rows = n, .ids = b->ids, .seq_start = whole, .slot = &zero, .past_len = &zero, .rows = rows};
    int rc = kept ? engine_generate(r->engine, &all, &logits) : CO_E_NOMEM;
    if (rc == CO_OK) memcpy(kept, logits, (size_t)(n * vocab) * sizeof *kept);
    for (int32_t i = 0; i < n && rc == CO_OK; i++) {
        const engine_pass p = {.n_tokens = 1, .n_seqs = 1, .n_rows = 1, .ids = b->ids + i, .seq_start = two, .slot = &zero, .past_len = &i, .rows = rows};
        rc = engine_generate(r->engine, &p, &logits);
        for (int64_t v = 0; v < vocab && rc == CO_OK; v++) {
            const double d = (double)logits[v] - (double)kept[i * vocab + v];
            diff += d * d;
            norm += (double)kept[i * vocab + v] * (double)kept[i * vocab + v];
        }
    }
    mem_free(kept);
    if (rc) failed("generation");
    else if (!(sqrt(diff) <= 1e-4 * sqrt(norm))) report_fail("logits token by token through the cache are %.3g apart from those of one pass (relative)", sqrt(diff / norm));
    else report_ok("token by token as in one pass");
}

static void check_model_runs(const subject *s, const double *losses)
{
    rig r;
    rig_batch b;
    report_trying("opening a tiny run once more");
    int rc = rig_open(s, 0, 0, &r);
    if (rc == CO_OK) {
        rig_batch_make(&r, &b);
        check_packing(&r, &b);
        check_cache(&r, &b);
    } else failed("a tiny run");
    rig_close(&r);
    double worst = 0, loss = 0;
    co_step_stats stats = {.struct_size = sizeof stats};
    report_trying("a tiny run with checkpointed blocks");
    rc = rig_open(s, 0, 1, &r);
    for (int64_t step = 1; step <= STEPS && rc == CO_OK; step++) {
        rc = rig_step(&r, &b, step, &loss, &stats);
        if (!(fabs(loss - losses[step - 1]) <= worst)) worst = fabs(loss - losses[step - 1]);
    }
    rig_close(&r);
    if (rc) failed("a tiny run with checkpointed blocks");
    else if (!(worst <= 1e-6)) report_fail("with checkpointed blocks the losses are %.3g apart: build() depends on more than its arguments", worst);
    else report_ok("with checkpointed blocks the same losses");
}

/* ---- strategies ------------------------------------------------------------------------------------------------------- */
static int refuses(rig *r, const char *what, int rc)
{
    (void)r;
    if (rc != CO_OK) return check_message(what, rc);
    report_fail("%s is taken: what does not exist must be refused", what);
    return 0;
}

static void check_ranges(const subject *s)
{
    rig r;
    float v[4] = {1.5f, -2, 0.25f, 3}, back[4] = {0};
    const int before = report_failures();
    report_trying("read() and write() by range");
    int rc = rig_open(s, 0, 0, &r);
    const int64_t n = rc == CO_OK ? param_elements(&r.table->slots[0]) : 0;
    if (rc == CO_OK) rc = engine_write(r.engine, 0, 0, 3, 4, v);
    if (rc == CO_OK) rc = engine_read(r.engine, 0, 0, 3, 4, back);
    if (rc) failed("read() and write()");
    else if (memcmp(v, back, sizeof v) != 0) report_fail("write() and read() of a range give other values back");
    else {
        report_trying("read() and write() of what does not exist");
        (void)(refuses(&r, "read() beyond a parameter's end", engine_read(r.engine, 0, 0, n - 2, 4, back)) &&
               refuses(&r, "write() beyond a parameter's end", engine_write(r.engine, 0, 0, n - 2, 4, v)) &&
               refuses(&r, "read() of a parameter that does not exist", engine_read(r.engine, r.table->n_params, 0, 0, 4, back)) &&
               refuses(&r, "read() before the start", engine_read(r.engine, 0, 0, -1, 4, back)) &&
               refuses(&r, "read() of a state that does not exist", engine_read(r.engine, 0, 50, 0, 4, back)));
    }
    rig_close(&r);
    if (report_failures() == before) report_ok("state by range: written, read, and refused where there is none");
}

static int reads_known_columns(const subject *s)
{
    const co_loss_vt *vt = host_loss(s->host, s->f);
    for (const char *const *f = vt->fields; f && *f; f++)
        if (strcmp(*f, "labels") != 0 && strcmp(*f, "mask") != 0) return 0;
    return !(vt->wants & (CO_LOSS_WANTS_VALUE | CO_LOSS_WANTS_REWARD));
}

void check_training(const subject *s)
{
    double losses[STEPS] = {0};
    if (is(s, CO_KIND_BACKEND) && !(host_backend(s->host, s->f)->dtypes & 1u << CO_F32)) {
        report_skip("a tiny run: it does not compute in fp32");
        return;
    }
    if (is(s, CO_KIND_LOSS) && !reads_known_columns(s)) {
        report_skip("a tiny run: it needs columns or heads that only its stage has");
        return;
    }
    if (run_pair(s, losses)) return;
    if (!(losses[STEPS - 1] < losses[0])) {
        if (is(s, CO_KIND_OPTIMIZER)) report_fail("the loss does not fall: %.6f to %.6f in %d steps over one batch", losses[0], losses[STEPS - 1], STEPS);
        else report_note("the loss does not fall: %.6f to %.6f in %d steps over one batch", losses[0], losses[STEPS - 1], STEPS);
    }
    if (is(s, CO_KIND_MODEL)) check_model_runs(s, losses);
    if (is(s, CO_KIND_STRATEGY)) compare_with_standard(s, losses, 1e-6, "strategy naive");
    if (is(s, CO_KIND_BACKEND)) compare_with_standard(s, losses, 1e-4, "backend cpu");
    if (is(s, CO_KIND_COMM)) compare_with_standard(s, losses, 1e-6, "comm self");
    if (is(s, CO_KIND_STRATEGY)) check_ranges(s);
}
