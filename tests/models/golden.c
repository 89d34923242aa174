/* golden.c: see golden.h. */
#include "models/golden.h"
#include "check.h"

static const st_tensor *need(const golden *g, const char *name)
{
    const st_tensor *t = st_find(g->file, name);
    if (!t) fprintf(stderr, "expect.safetensors lacks %s\n", name);
    CHECK(t != NULL);
    return t;
}

/* safetensors data has no alignment: copy. */
static const int32_t *ints(const golden *g, const char *name, int32_t *n)
{
    const st_tensor *t = need(g, name);
    int32_t *p = mem_alloc(t->bytes + 4, 16);
    memcpy(p, t->data, t->bytes);
    *n = (int32_t)(t->bytes / 4);
    return p;
}

int golden_open(golden *g, const char *dir, const char *name)
{
    char *path = fs_join(dir, "expect.json");
    int32_t n;
    size_t len;
    memset(g, 0, sizeof *g);
    g->name = name;
    const int there = fs_is_dir(dir) && fs_read_all(path, &g->json, &len, 1 << 20) == CO_OK;
    mem_free(path);
    if (!there) return 0;
    path = fs_join(dir, "expect.safetensors");
    CHECK_MSG(st_open_file(path, &g->file) == CO_OK, "%s", error_message());
    mem_free(path);
    g->ids = ints(g, "input_ids", &g->n_tokens);
    g->labels = ints(g, "labels", &n);
    g->seq_start = ints(g, "seq_start", &n);
    g->n_seqs = n - 1;
    g->positions = mem_calloc((size_t)g->n_tokens, 4);
    g->mask = mem_calloc((size_t)g->n_tokens, 4);
    g->key = mem_calloc((size_t)n, 8);
    for (int32_t s = 0; s < g->n_seqs; s++)
        for (int32_t i = g->seq_start[s]; i < g->seq_start[s + 1]; i++) g->positions[i] = i - g->seq_start[s];
    for (int32_t i = 0; i < g->n_tokens; i++) {
        g->mask[i] = g->labels[i] >= 0;
        g->n_labels += g->labels[i] >= 0;
    }
    return 1;
}
void golden_close(golden *g)
{
    mem_free((void *)(uintptr_t)g->ids);
    mem_free((void *)(uintptr_t)g->labels);
    mem_free((void *)(uintptr_t)g->seq_start);
    mem_free(g->positions);
    mem_free(g->mask);
    mem_free(g->key);
    mem_free(g->json);
    st_close(g->file);
}

const char *golden_json(const golden *g, const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *p = strstr(g->json, quoted);
    CHECK_MSG(p != NULL, "expect.json lacks %s", key);
    return p ? p + strlen(quoted) : "0";
}

engine_batch golden_batch(const golden *g, const void *columns[2])
{
    columns[0] = g->labels;
    columns[1] = g->mask;
    return (engine_batch){.n_tokens = g->n_tokens, .n_seqs = g->n_seqs, .ids = g->ids, .positions = g->positions,
                          .seq_start = g->seq_start, .seq_key = g->key, .columns = columns};
}

/* What 16 bits add to the 1e-5 of fp32. Forward and backward round some ten values a block each; independent errors of up to
 * u, the unit roundoff, add as sqrt(20 L) u. These small random models amplify them: by up to 6.4 as measured, an
 * adapter of rank 1 by 13.7 where its gradient is a dot product that nearly vanishes; the factors are alike in bf16 and
 * fp16, so they are the models' and not the kernels'. The loss is a mean over tokens: 2 u. fp16 needs its loss scaled, or
 * small gradients have few bits. */
static double unit_roundoff(co_dtype t) { return t == CO_BF16 ? 0x1p-8 : t == CO_F16 ? 0x1p-11 : 0; }

/* ReLU's derivative jumps. A share of about 10 u of its inputs, which carry a few roundings, lies so close to 0 that it may take the
 * other side, and the gradients there are then wrong as a whole: sqrt(10 u) of the norm. */
static double kinks(const fixture *f, double u)
{
    const co_meta *m = hf_config_meta(f->config);
    const char *act = "";
    (void)m->str(m, "activation_function", &act);
    return strcmp(act, "relu") == 0 ? sqrt(10 * u) : 0;
}

static void check_loss(const char *what, double got, double want, double bound)
{
    CHECK_MSG(fabs(got - want) <= bound * fabs(want), "%s: loss %.9g, want %.9g (%.2g relative)", what, got, want,
              fabs(got - want) / fabs(want));
}

/* Gradients are stored in the file's order: into the parameter's. */
static void to_param(const param_table *t, uint32_t p, const float *file, float *out)
{
    const int64_t rows = t->slots[p].shape.ne[0], cols = param_elements(&t->slots[p]) / rows;
    for (int64_t i = 0; i < rows * cols && (t->slots[p].flags & CO_PARAM_FILE_TRANSPOSED); i++) out[i] = file[i % cols * rows + i / cols];
    for (int64_t k = 0; k < param_run_count(t, p) && !(t->slots[p].flags & CO_PARAM_FILE_TRANSPOSED); k++) {
        const param_run run = param_run_at(t, p, k);
        memcpy(out + run.param, file + run.file, (size_t)run.n * sizeof *out);
    }
}

/* Biases of keys have no gradient at all: what is left is rounding, and small. */
static void check_zero_grads(const golden *g, fixture *f, double global)
{
    char name[200];
    long first, n;
    const char *p = strstr(g->json, "\"zero_gradients\":");
    for (p = p ? strchr(p, '[') : NULL; p && sscanf(p + 1, " \"%199s %ld %ld", name, &first, &n) == 3; p = strchr(p + 1, ',')) {
        const uint32_t slot = param_find(f->table, name);
        float *got = mem_calloc((size_t)n, sizeof *got);
        double norm = 0;
        CHECK_MSG(slot != CO_NONE && engine_read_grad(f->engine, slot, first, n, got) == CO_OK, "%s", name);
        for (long k = 0; k < n; k++) norm += (double)got[k] * got[k];
        CHECK_MSG(sqrt(norm) <= 1e-7 * global, "%s: gradient of %s [%ld..] is %.3g, not 0 (global %.3g)", g->name, name, first, sqrt(norm), global);
        mem_free(got);
    }
}

/* Every parameter must have its stored gradient: one that nobody looks at could be anything. */
static void check_all_have_grads(const char *name, const fixture *f, const golden *g)
{
    char wanted[300];
    for (uint32_t p = 0; p < f->table->n_params; p++) {
        if (f->table->slots[p].owner != p || !f->table->slots[p].trainable) continue;
        snprintf(wanted, sizeof wanted, "grad.%s", f->table->slots[p].name);
        CHECK_MSG(st_find(g->file, wanted) != NULL, "%s: expect.safetensors lacks %s", name, wanted);
    }
}

static void check_grads(const char *name, fixture *f, const golden *g, co_dtype dtype, double scale)
{
    double global = 0, worst = 0;
    check_all_have_grads(name, f, g);
    for (size_t i = 0; i < st_count(g->file); i++) {
        const st_tensor *t = st_at(g->file, i);
        if (strncmp(t->name, "grad.", 5) != 0) continue;
        const int64_t n = (int64_t)(t->bytes / (t->dtype == CO_F64 ? 8 : 4));
        float *want = mem_calloc((size_t)n, 4);
        (void)st_read_f32(t, 0, n, want);
        for (int64_t k = 0; k < n; k++) global += (double)want[k] * want[k];
        mem_free(want);
    }
    global = sqrt(global);
    for (size_t i = 0; i < st_count(g->file); i++) {
        const st_tensor *t = st_at(g->file, i);
        if (strncmp(t->name, "grad.", 5) != 0) continue;
        const uint32_t p = param_find(f->table, t->name + 5);
        const int64_t n = (int64_t)(t->bytes / (t->dtype == CO_F64 ? 8 : 4));
        CHECK_MSG(p != CO_NONE, "%s: no parameter %s", name, t->name + 5);
        if (p == CO_NONE) continue;
        float *want = mem_calloc((size_t)n, 4), *got = mem_calloc((size_t)n, 4);
        (void)st_read_f32(t, 0, n, got);
        to_param(f->table, p, got, want);
        CHECK_MSG(engine_read_grad(f->engine, p, 0, n, got) == CO_OK, "%s", error_message());
        double diff = 0, norm = 0;
        for (int64_t k = 0; k < n; k++) {
            diff += (got[k] / scale - want[k]) * (got[k] / scale - want[k]);
            norm += (double)want[k] * want[k];
        }
        diff = sqrt(diff);
        const double u = unit_roundoff(dtype), amplified = (f->lora ? 16 : 8) * sqrt(20.0 * f->table->n_layers) * u;
        const double bound = (1e-5 + amplified + kinks(f, u)) * sqrt(norm) + (1e-7 + u / 2) * global;
        if (diff / bound > worst) worst = diff / bound;
        CHECK_MSG(diff <= bound, "%s: gradient of %s is off by %.3g, allowed %.3g (norm %.3g)", name, t->name + 5, diff,
                  bound, sqrt(norm));
        mem_free(want);
        mem_free(got);
    }
    if (dtype == CO_F32) check_zero_grads(g, f, global);
    printf("%-16s %s gradients at %.2f of the bound\n", name, dtype == CO_F32 ? "fp32" : dtype == CO_BF16 ? "bf16" : "fp16", worst);
}

int golden_check_training(const golden *g, fixture_args a, int clipped)
{
    const int failed = check_failed;
    fixture f;
    const void *columns[2];
    const engine_batch b = golden_batch(g, columns);
    engine_result res;
    co_step_stats stats;
    a.max_tokens = g->n_tokens + 3;
    a.max_seqs = g->n_seqs + 1;
    a.weight_decay = "0.01";
    if (fixture_open(&a, &f)) {
        CHECK(!"open");
        fixture_close(&f);
        return check_failed - failed;
    }
    engine_memory mem;
    engine_bytes(f.engine, &mem);
    CHECK_MSG(mem.total == engine_allocated(f.engine), "planned %zu, allocated %zu", mem.total, engine_allocated(f.engine));
    CHECK_MSG(engine_evaluate(f.engine, &b, 1 / g->n_labels, &res) == CO_OK, "%s", error_message());
    check_loss("evaluation", res.loss, strtod(golden_json(g, "loss"), NULL), 1e-5);
    char *at = (char *)(uintptr_t)strchr(golden_json(g, clipped ? "adamw_losses_clipped" : "adamw_losses"), '[');
    for (int step = 1; step <= 20; step++) {
        const double want = strtod(at + 1, &at);
        int r = engine_micro_step(f.engine, &b, 1 / g->n_labels, 1, step, 1, &res);
        CHECK_MSG(r == CO_OK, "%s", error_message());
        if (r) break;
        check_loss(g->name, res.loss, want, 1e-5);
        if (step == 1 && !clipped) check_grads(g->name, &f, g, CO_F32, 1);
        CHECK_MSG(engine_step(f.engine, step, 1e-3, clipped ? 0.5 : 0, &stats) == CO_OK, "%s", error_message());
        if (step == 1) {
            const double norm = strtod(golden_json(g, "grad_norm"), NULL);
            CHECK_MSG(fabs(stats.grad_norm - norm) <= 1e-5 * norm, "%s: norm %.9g, want %.9g", g->name, stats.grad_norm, norm);
        }
        while (*at && *at != ',' && *at != ']') at++;
    }
    fixture_close(&f);
    return check_failed - failed;
}

int golden_check_narrow(const golden *g, fixture_args a)
{
    const int failed = check_failed;
    const double u = unit_roundoff(a.dtype), scale = a.dtype == CO_F16 ? 1024 : 1;
    fixture f;
    const void *columns[2];
    const engine_batch b = golden_batch(g, columns);
    engine_result res;
    a.max_tokens = g->n_tokens + 3;
    a.max_seqs = g->n_seqs + 1;
    if (fixture_open(&a, &f) == CO_OK) {
        engine_memory mem;
        engine_bytes(f.engine, &mem);
        CHECK_MSG(mem.total == engine_allocated(f.engine), "planned %zu, allocated %zu", mem.total, engine_allocated(f.engine));
        const double want = strtod(golden_json(g, "loss"), NULL);
        CHECK_MSG(engine_evaluate(f.engine, &b, 1 / g->n_labels, &res) == CO_OK, "%s", error_message());
        check_loss(g->name, res.loss, want, 1e-5 + 2 * u);
        const int micro = a.sum_fp32 ? 2 : 1; /* halves that add up */
        for (int i = 0; i < micro; i++)
            CHECK_MSG(engine_micro_step(f.engine, &b, 1 / g->n_labels, scale / micro, 1, i + 1 == micro, &res) == CO_OK, "%s", error_message());
        check_loss(g->name, res.loss, want, 1e-5 + 2 * u);
        if (!a.sum_fp32) CHECK(engine_micro_step(f.engine, &b, 1 / g->n_labels, scale, 1, 1, &res) == CO_E_STATE); /* no room for a second */
        check_grads(g->name, &f, g, a.dtype, scale);
    } else {
        CHECK(!"open");
    }
    fixture_close(&f);
    return check_failed - failed;
}

/* Logits of each sequence in one pass, and again token by token through the cache. */
int golden_check_logits(const golden *g, fixture_args a, int one_by_one)
{
    const int failed = check_failed;
    fixture f;
    a.slots = g->n_seqs;
    a.pass_tokens = a.pass_rows = g->n_tokens;
    for (int32_t s = 0; s < g->n_seqs; s++)
        if (g->seq_start[s + 1] - g->seq_start[s] > a.slot_len) a.slot_len = g->seq_start[s + 1] - g->seq_start[s];
    if (fixture_open(&a, &f)) {
        CHECK(!"open");
        fixture_close(&f);
        return check_failed - failed;
    }
    const st_tensor *t = need(g, "logits");
    const int64_t vocab = t->ne[1];
    double diff = 0, norm = 0, worst = 0, largest = 0;
    int32_t *slot = mem_calloc((size_t)g->n_tokens, 4), *past = mem_calloc((size_t)g->n_tokens, 4);
    int32_t *rows = mem_calloc((size_t)g->n_tokens, 4);
    double *want = mem_alloc(t->bytes + 8, 16);
    memcpy(want, t->data, t->bytes);
    for (int32_t i = 0; i < g->n_tokens; i++) rows[i] = i;
    for (int32_t s = 0; s < g->n_seqs; s++) slot[s] = s;
    const float *logits = NULL;
    int32_t done = 0;
    for (int32_t s = 0, i = 0; done < g->n_tokens;) {
        engine_pass p = {.n_tokens = g->n_tokens, .n_seqs = g->n_seqs, .n_rows = g->n_tokens, .ids = g->ids,
                         .seq_start = g->seq_start, .slot = slot, .past_len = past, .rows = rows};
        const int32_t two[2] = {0, 1}, at = done;
        if (one_by_one) {
            while (i == g->seq_start[s + 1] - g->seq_start[s]) s++, i = 0;
            p = (engine_pass){.n_tokens = 1, .n_seqs = 1, .n_rows = 1, .ids = g->ids + at, .seq_start = two,
                              .slot = &slot[s], .past_len = &i, .rows = rows};
        }
        int r = engine_generate(f.engine, &p, &logits);
        CHECK_MSG(r == CO_OK, "%s", error_message());
        if (r) break;
        for (int64_t k = 0; k < p.n_rows * vocab; k++) {
            const double w = want[at * vocab + k], d = logits[k] - w;
            diff += d * d;
            norm += w * w;
            if (!(fabs(d) <= worst)) worst = fabs(d);
            if (fabs(w) > largest) largest = fabs(w);
        }
        done += p.n_rows;
        i++;
    }
    CHECK_MSG(sqrt(diff) <= 1e-5 * sqrt(norm), "%s: logits %s off by %.2g relative", g->name,
              one_by_one ? "token by token" : "in one pass", sqrt(diff / norm));
    CHECK_MSG(done == g->n_tokens && worst <= 1e-5 * largest, "%s: a logit %s is off by %.2g of the largest", g->name,
              one_by_one ? "token by token" : "in one pass", worst / largest);
    mem_free(want);
    mem_free(rows);
    mem_free(slot);
    mem_free(past);
    fixture_close(&f);
    return check_failed - failed;
}
