/* test_async.c: the engine on a backend that works late (lazy.h) gives the CPU's bits: losses, norms, weights, evaluation
 * and logits, with graphs and without, however far copies run ahead; and nothing within a step waits for the device. */
#include "check.h"
#include "graph/lazy.h"
#include "models/golden.h"

enum { STEPS = 9, MICRO = 2 };

typedef struct trace {
    double loss[STEPS], norm[STEPS], eval;
    float *weights;
    int64_t n_weights;
    float *logits;
    int64_t n_logits;
} trace;

static void early(const co_backend_vt **vt, void **self) { lazy_wrap(vt, self, LAZY_COPIES); }
static void late(const co_backend_vt **vt, void **self) { lazy_wrap(vt, self, LAZY_NONE); }

/* Whole batches and first sequences in turns: several classes, counts that differ within one. */
static engine_batch part(const golden *g, int k, const void *columns[2])
{
    engine_batch b = golden_batch(g, columns);
    if (k % 3 == 1) b.n_seqs = 1, b.n_tokens = g->seq_start[1];
    if (k % 3 == 2) b.n_tokens = b.n_tokens - 1; /* the last sequence a token shorter */
    return b;
}

/* The loader's buffers are filled anew for each batch: what was handed over must have been taken over. */
static int micro_step(fixture *f, const golden *g, int k, int64_t step, int last)
{
    const void *columns[2], *own[2];
    const engine_batch from = part(g, k, columns);
    const size_t n = (size_t)from.n_tokens * 4;
    int32_t *ids = malloc(n), *positions = malloc(n), *labels = malloc(n), *start = malloc(((size_t)from.n_seqs + 1) * 4);
    float *mask = malloc(n);
    uint64_t *key = malloc((size_t)from.n_seqs * 8);
    memcpy(ids, from.ids, n), memcpy(positions, from.positions, n), memcpy(labels, columns[0], n), memcpy(mask, columns[1], n);
    memcpy(start, from.seq_start, ((size_t)from.n_seqs + 1) * 4);
    start[from.n_seqs] = from.n_tokens;
    for (int32_t i = 0; i < from.n_seqs; i++) key[i] = (uint64_t)(k * 100 + i);
    own[0] = labels, own[1] = mask;
    const engine_batch b = {.n_tokens = from.n_tokens, .n_seqs = from.n_seqs, .ids = ids, .positions = positions, .seq_start = start,
                            .seq_key = key, .columns = own};
    const int r = engine_micro_step(f->engine, &b, 0.5 / g->n_labels, 1, step, last, NULL);
    memset(ids, 0xFF, n), memset(positions, 0xFF, n), memset(labels, 0xFF, n), memset(mask, 0xFF, n);
    free(ids), free(positions), free(labels), free(mask), free(start), free(key);
    return r;
}

static void collect(fixture *f, int64_t step, trace *t)
{
    engine_result res;
    co_step_stats st;
    const int r = engine_collect(f->engine, step, &res, &st);
    CHECK_MSG(r == CO_OK, "step %lld: %s", (long long)step, error_message());
    t->loss[step - 1] = r == CO_OK ? res.loss : NAN;
    t->norm[step - 1] = r == CO_OK ? st.grad_norm : NAN;
}

static void read_weights(fixture *f, trace *t)
{
    t->weights = calloc((size_t)f->table->n_elements, 4);
    for (uint32_t p = 0; p < f->table->n_params; p++) {
        const int64_t n = param_elements(&f->table->slots[p]);
        if (f->table->slots[p].owner != p) continue;
        CHECK(engine_read(f->engine, p, 0, 0, n, t->weights + t->n_weights) == CO_OK);
        t->n_weights += n;
    }
}

static void generate(fixture *f, const golden *g, trace *t)
{
    int32_t *slot = calloc((size_t)g->n_seqs, 4), *past = calloc((size_t)g->n_seqs, 4), *rows = calloc((size_t)g->n_seqs, 4);
    const float *logits = NULL;
    for (int32_t s = 0; s < g->n_seqs; s++) slot[s] = g->n_seqs - 1 - s, rows[s] = g->seq_start[s + 1] - 1;
    t->n_logits = (int64_t)g->n_seqs * f->table->info.n_vocab;
    t->logits = calloc((size_t)t->n_logits * 3, 4);
    engine_pass p = {.n_tokens = g->n_tokens, .n_seqs = g->n_seqs, .n_rows = g->n_seqs, .ids = g->ids, .seq_start = g->seq_start,
                     .slot = slot, .past_len = past, .rows = rows};
    for (int k = 0; k < 3; k++) { /* prefill, then two more tokens */
        CHECK_MSG(engine_generate(f->engine, &p, &logits) == CO_OK, "%s", error_message());
        memcpy(t->logits + k * t->n_logits, logits, (size_t)t->n_logits * 4);
        static int32_t one[16], ids[16], each[16];
        for (int32_t s = 0; s < g->n_seqs && s < 15; s++) {
            past[s] += k ? 1 : g->seq_start[s + 1] - g->seq_start[s];
            one[s + 1] = s + 1, ids[s] = g->ids[(s + k) % g->n_tokens], each[s] = s;
        }
        p = (engine_pass){.n_tokens = g->n_seqs, .n_seqs = g->n_seqs, .n_rows = g->n_seqs, .ids = ids, .seq_start = one, .slot = slot,
                          .past_len = past, .rows = each};
    }
    t->n_logits *= 3;
    free(slot), free(past), free(rows);
}

static void run(const golden *g, fixture_args a, int lag, trace *t)
{
    fixture f;
    const void *columns[2];
    const engine_batch b = golden_batch(g, columns);
    const int micro = a.dtype == CO_F32 || a.sum_fp32 ? MICRO : 1;
    engine_result res;
    memset(t, 0, sizeof *t);
    a.max_tokens = g->n_tokens + 3;
    a.max_seqs = g->n_seqs + 1;
    a.slots = g->n_seqs;
    a.slot_len = a.pass_tokens = g->n_tokens + 8;
    a.pass_rows = g->n_seqs;
    if (fixture_open(&a, &f)) {
        CHECK(!"open");
        fixture_close(&f);
        return;
    }
    CHECK(engine_is_async(f.engine) == (a.wrap != NULL));
    lazy_reset();
    for (int64_t step = 1; step <= STEPS; step++) {
        for (int i = 0; i < micro; i++)
            CHECK_MSG(micro_step(&f, g, (int)step * micro + i, step, i + 1 == micro) == CO_OK, "%s", error_message());
        CHECK_MSG(engine_step(f.engine, step, 1e-3, 0.5, NULL) == CO_OK, "%s", error_message());
        if (step > lag) collect(&f, step - lag, t);
    }
    const lazy_counts c = lazy_count();
    if (a.wrap) {
        CHECK_MSG(c.syncs == 0, "%d calls waited for the device within steps", c.syncs);
        CHECK(a.no_graphs ? c.launches == 0 && c.captures == 0 : c.captures > 0 && c.launches > STEPS * micro / 2);
    }
    for (int k = lag; k-- > 0;) collect(&f, STEPS - k, t);
    CHECK(engine_collect(f.engine, STEPS - 2, &res, &(co_step_stats){0}) == CO_E_STATE);
    CHECK(engine_evaluate(f.engine, &b, 1 / g->n_labels, &res) == CO_OK);
    t->eval = res.loss;
    read_weights(&f, t);
    generate(&f, g, t);
    if (a.wrap) {
        engine_memory m;
        engine_bytes(f.engine, &m);
        CHECK_MSG(m.total == engine_allocated(f.engine) && m.total == lazy_count().device, "planned %zu, allocated %zu, held %zu", m.total,
                  engine_allocated(f.engine), lazy_count().device);
        CHECK_MSG(lazy_count().faults == 0, "%d uses of memory or events in the wrong place", lazy_count().faults);
    }
    fixture_close(&f);
}

static void compare(const char *what, const trace *t, const trace *want)
{
    CHECK_MSG(memcmp(t->loss, want->loss, sizeof t->loss) == 0, "%s: losses differ: %.9g %.9g .. %.9g", what, t->loss[0], t->loss[1], t->loss[STEPS - 1]);
    CHECK_MSG(memcmp(t->norm, want->norm, sizeof t->norm) == 0, "%s: norms differ", what);
    CHECK_MSG(t->eval == want->eval, "%s: evaluation %.9g, want %.9g", what, t->eval, want->eval);
    CHECK_MSG(t->n_weights == want->n_weights && memcmp(t->weights, want->weights, (size_t)t->n_weights * 4) == 0, "%s: weights differ", what);
    CHECK_MSG(t->n_logits == want->n_logits && memcmp(t->logits, want->logits, (size_t)t->n_logits * 4) == 0, "%s: logits differ", what);
}
static void drop(trace *t) { free(t->weights), free(t->logits); }

int main(void)
{
    static const struct { const char *golden, *adapter; int blocks; } cases[] = { /* the adapter with dropout: keyed by unit and sequence */
        {"llama/gqa_tied", NULL, 0}, {"llama/biases", NULL, 1}, {"llama/gqa_tied", "lora/all_linear", 1}};
    static const struct { co_dtype dtype; int sum_fp32; } types[] = {{CO_F32, 0}, {CO_BF16, 0}, {CO_BF16, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; k < 3; k++) {
            char *dir = mem_printf("%s/tests/golden/%s", COATI_SOURCE_DIR, cases[i].golden);
            char *peft = cases[i].adapter ? mem_printf("%s/tests/golden/%s", COATI_SOURCE_DIR, cases[i].adapter) : NULL;
            golden g;
            trace want, t;
            CHECK(golden_open(&g, dir, cases[i].golden));
            fixture_args a = {.dir = dir, .dtype = types[k].dtype, .sum_fp32 = types[k].sum_fp32, .checkpoint_blocks = cases[i].blocks,
                              .adapter = peft, .lora_dropout = peft ? 0.3 : 0};
            run(&g, a, 0, &want);
            CHECK((peft || want.loss[6] < want.loss[0]) && want.n_weights > 1000); /* the same batch */
            for (int mode = 0; mode < 4; mode++) {
                char what[64];
                snprintf(what, sizeof what, "%s, type %zu, mode %d", cases[i].golden, k, mode);
                a.wrap = mode & 1 ? early : late;
                a.no_graphs = mode >= 2;
                run(&g, a, 1, &t);
                compare(what, &t, &want);
                drop(&t);
            }
            drop(&want);
            golden_close(&g);
            mem_free(peft);
            mem_free(dir);
        }
    return check_done();
}
