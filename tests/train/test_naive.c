/* test_naive.c: strategies on one rank, on a small hand-made model of three units with a tied head and a frozen matrix: layout,
 * accumulation, clipping, loss scaling, state by range, sizes. */
#include "check.h"
#include "core/base/error.h"
#include "core/params/half.h"
#include "train/parts.h"

enum { EMBED = 0, NORM1, Q, K, FROZEN, NORM2, HEAD, N_SLOTS };
enum { UNIT_EMBED = 0, UNIT_BLOCK, UNIT_FINAL, N_UNITS };

static parts t;
static int whole; /* naive: its own layout and sizes; the others cut and pad */
static uint32_t poison = UINT32_MAX; /* the parameter whose gradient gets an infinity */

/* Declaration order mixes the groups: 0 decayed matrices, 1 norms, 4 frozen. */
static co_param_slot slots[N_SLOTS] = {
    [EMBED] = {.unit = UNIT_EMBED, .index = 0, .owner = EMBED, .group = 0, .trainable = 1, .name = "embed"},
    [NORM1] = {.unit = UNIT_BLOCK, .index = 0, .owner = NORM1, .group = 1, .flags = CO_PARAM_NO_DECAY, .trainable = 1, .name = "norm1"},
    [Q] = {.unit = UNIT_BLOCK, .index = 1, .owner = Q, .group = 0, .trainable = 1, .name = "q"},
    [K] = {.unit = UNIT_BLOCK, .index = 2, .owner = K, .group = 0, .trainable = 1, .name = "k"},
    [FROZEN] = {.unit = UNIT_BLOCK, .index = 3, .owner = FROZEN, .group = 4, .trainable = 0, .name = "frozen"},
    [NORM2] = {.unit = UNIT_FINAL, .index = 0, .owner = NORM2, .group = 1, .flags = CO_PARAM_NO_DECAY, .trainable = 1, .name = "norm2"},
    [HEAD] = {.unit = UNIT_FINAL, .index = 1, .owner = EMBED, .group = 0, .trainable = 1, .name = "head"},
};
static co_step_state judged;
static co_step_rule rule;
static const int64_t rows[N_SLOTS] = {[EMBED] = 11, [NORM1] = 7, [Q] = 7, [K] = 3, [FROZEN] = 5, [NORM2] = 7, [HEAD] = 11};
static int64_t size_of(uint32_t p) { return p == NORM1 || p == NORM2 ? 7 : rows[p] * 7; }
/* Elements, a multiple of CO_PARAM_ALIGN bytes in every buffer. */
static int64_t padded(uint32_t p)
{
    const int64_t k = CO_PARAM_ALIGN / (int64_t)co_dtype_bytes(slots[p].shape.dtype);
    return (size_of(p) + k - 1) / k * k;
}

/* Matrices of `type` with gradients of `grad_type`; norms stay fp32. */
static void shape_slots(co_dtype type, co_dtype grad_type)
{
    for (uint32_t i = 0; i < N_SLOTS; i++) {
        const int flat = i == NORM1 || i == NORM2;
        slots[i].shape = (co_tensor){.ne = {rows[i], flat ? 1 : 7, 1, 1}, .row_stride = flat ? 1 : 7, .ndim = flat ? 1 : 2,
                                     .dtype = (uint8_t)(flat ? CO_F32 : type)};
        slots[i].grad_dtype = flat ? CO_F32 : grad_type;
    }
}
static float load(const void *p, uint32_t type, int64_t i)
{
    const uint16_t *h = p;
    return type == CO_BF16 ? bf16_to_f32(h[i]) : type == CO_F16 ? f16_to_f32(h[i]) : ((const float *)p)[i];
}
static void store(void *p, uint32_t type, int64_t i, float f)
{
    uint16_t *h = p;
    if (type == CO_F32) ((float *)p)[i] = f;
    else h[i] = type == CO_BF16 ? bf16_from_f32(f) : f16_from_f32(f);
}

static co_access train_order[2 * N_UNITS - 1], eval_order[N_UNITS];
static const co_schedule schedules[] = {{sizeof(co_schedule), CO_SCHED_TRAIN, 2 * N_UNITS - 1, train_order}, {sizeof(co_schedule), CO_SCHED_EVAL, N_UNITS, eval_order}};
static void make_schedules(void)
{
    for (uint32_t i = 0; i < 2 * N_UNITS - 1; i++) {
        train_order[i].unit = i < N_UNITS ? i : 2 * (N_UNITS - 1) - i;
        train_order[i].phase = i + 1 < N_UNITS ? CO_PHASE_FORWARD : CO_PHASE_BACKWARD;
    }
    for (uint32_t i = 0; i < N_UNITS; i++) eval_order[i] = (co_access){.unit = i, .phase = CO_PHASE_INFER};
}

static co_strategy_args args_for(int plan_only, int training)
{
    return (co_strategy_args){.struct_size = sizeof(co_strategy_args), .host = host_services(t.host), .opts = t.strategy_opts,
                              .backend = t.backend, .backend_self = t.backend_self, .cpu = t.backend, .cpu_self = t.backend_self,
                              .comm = t.comm, .comm_self = t.comm_self, .optim = training ? t.optim : NULL, .optim_self = t.optim_self,
                              .n_units = N_UNITS, .n_params = N_SLOTS, .params = slots, .n_schedules = 2, .schedules = schedules, .plan_only = plan_only, .rule = &rule, .state = &judged};
}
static void *open_naive(int plan_only, int training)
{
    const co_strategy_args a = args_for(plan_only, training);
    void *self = NULL;
    judged = (co_step_state){.loss_scale = 1};
    if (rule.scaling) judged.loss_scale = 64;
    CHECK_MSG(t.strategy->open(&a, &self) == CO_OK, "%s", error_message());
    return self;
}

/* One backward pass as the engine makes it: from the last unit to the first; kernels store or add as they are told.
 * Contribution of a parameter: `value` in every element. `skip`: a unit that takes no part. */
static void micro_step(void *s, float value, int skip, int last)
{
    CHECK(t.strategy->begin(s, CO_SCHED_TRAIN, 0) == CO_OK);
    for (int u = N_UNITS - 1; u >= 0; u--) {
        const co_tensor *params;
        co_tensor *grads;
        const uint8_t *accumulate;
        if (u == skip) continue;
        CHECK(t.strategy->acquire(s, (uint32_t)u, CO_PHASE_BACKWARD, &params, &grads, &accumulate) == CO_OK);
        for (uint32_t i = 0; i < N_SLOTS; i++) {
            if (slots[i].unit != (uint32_t)u) continue;
            void *g = grads[slots[i].index].data;
            const uint32_t type = grads[slots[i].index].dtype;
            CHECK((g != NULL) == (i != FROZEN) && type == slots[i].grad_dtype);
            for (int64_t k = 0; g && k < size_of(i); k++) store(g, type, k, (accumulate[slots[i].index] ? load(g, type, k) : 0) + value);
            if (i == poison) store(g, type, size_of(i) - 1, INFINITY);
        }
        CHECK(t.strategy->release(s, (uint32_t)u, CO_PHASE_BACKWARD) == CO_OK);
        CHECK(t.strategy->grads_ready(s, (uint32_t)u, last) == CO_OK);
    }
    CHECK(t.strategy->end(s) == CO_OK);
}

static void backward(void *s, float value, int skip) { micro_step(s, value, skip, 1); }

static void fill(void *s, float value)
{
    float x[11 * 7];
    for (int i = 0; i < 77; i++) x[i] = value;
    for (uint32_t i = 0; i < N_SLOTS; i++)
        if (slots[i].owner == i) CHECK(t.strategy->write(s, i, 0, 0, size_of(i), x) == CO_OK);
}

static void test_layout(void)
{
    void *s = open_naive(0, 1);
    const char *at[N_SLOTS] = {0}, *grad_at[N_SLOTS] = {0};
    for (uint32_t u = 0; u < N_UNITS; u++) {
        const co_tensor *params;
        co_tensor *grads;
        const uint8_t *accumulate;
        CHECK(t.strategy->acquire(s, u, CO_PHASE_FORWARD, &params, &grads, &accumulate) == CO_OK);
        for (uint32_t i = 0; i < N_SLOTS; i++)
            if (slots[i].unit == u) at[i] = params[slots[i].index].data;
        CHECK(t.strategy->release(s, u, CO_PHASE_FORWARD) == CO_OK);
        CHECK(t.strategy->acquire(s, u, CO_PHASE_BACKWARD, &params, &grads, &accumulate) == CO_OK);
        for (uint32_t i = 0; i < N_SLOTS; i++)
            if (slots[i].unit == u) {
                CHECK(at[i] == params[slots[i].index].data);
                grad_at[i] = grads[slots[i].index].data;
            }
        CHECK(t.strategy->release(s, u, CO_PHASE_BACKWARD) == CO_OK);
    }
    for (uint32_t i = 0; i < N_SLOTS; i++) {
        CHECK(at[i] && (uintptr_t)at[i] % CO_PARAM_ALIGN == 0);
        CHECK((uintptr_t)grad_at[i] % CO_PARAM_ALIGN == 0);
    }
    /* Group by group, within it unit by unit in declaration order: q and k side by side, norms and the frozen one apart. */
    const int64_t p = (int64_t)co_dtype_bytes(slots[Q].shape.dtype), g = (int64_t)co_dtype_bytes(slots[Q].grad_dtype);
    CHECK(at[Q] == at[EMBED] + padded(EMBED) * p && at[K] == at[Q] + padded(Q) * p);
    CHECK(grad_at[Q] == grad_at[EMBED] + padded(EMBED) * g && grad_at[K] == grad_at[Q] + padded(Q) * g);
    CHECK(at[NORM1] == at[K] + padded(K) * p && at[NORM2] == at[NORM1] + padded(NORM1) * 4);
    CHECK(at[FROZEN] == at[NORM2] + padded(NORM2) * 4);
    CHECK(at[HEAD] == at[EMBED] && grad_at[HEAD] == grad_at[EMBED]);
    CHECK(grad_at[FROZEN] == NULL);
    t.strategy->close(s);
}

static void test_sizes(void)
{
    size_t params = 0, grads = 0, states = 0, master = 0;
    for (uint32_t i = 0; i < N_SLOTS; i++) {
        if (slots[i].owner != i) continue;
        params += (size_t)padded(i) * co_dtype_bytes(slots[i].shape.dtype);
        if (i == FROZEN) continue;
        grads += (size_t)padded(i) * co_dtype_bytes(slots[i].grad_dtype);
        states += (size_t)padded(i) * 4;
        if (slots[i].shape.dtype != CO_F32) master += (size_t)padded(i) * 4;
    }
    for (int training = 0; training < 2; training++)
        for (int plan_only = 1; plan_only >= 0; plan_only--) {
            void *s = open_naive(plan_only, training);
            co_strategy_bytes b = {.struct_size = sizeof b};
            CHECK(t.strategy->bytes(s, &b) == CO_OK);
            CHECK(b.params == params && b.grads == (training ? grads : 0) && b.optimizer == (training ? 2 * states : 0));
            CHECK(b.master == (training ? master : 0)); /* without training a 16-bit copy is all there is */
            const size_t sum = b.params + b.grads + b.master + b.optimizer + b.other;
            CHECK_MSG(parts_taken() == (plan_only ? 0 : sum), "%zu bytes taken, %zu said", parts_taken(), sum);
            t.strategy->close(s);
            CHECK(parts_taken() == 0);
        }
}

static int count_range(void *ctx, uint32_t p, int64_t first, int64_t n)
{
    int *seen = ctx;
    CHECK(first == 0 && n == size_of(p));
    seen[p]++;
    return CO_OK;
}
static int stop_at_q(void *ctx, uint32_t p, int64_t first, int64_t n)
{
    (void)ctx, (void)first, (void)n;
    return p == Q ? CO_E_IO : CO_OK;
}
static void test_state_by_range(void)
{
    void *s = open_naive(0, 1);
    float x[77], y[77];
    for (int i = 0; i < 77; i++) x[i] = (float)i + 0.001f; /* more than 16 bits hold */
    for (uint32_t what = 0; what <= 2; what++) {
        for (int i = 0; i < 77; i++) x[i] += 100;
        CHECK(t.strategy->write(s, EMBED, what, 0, 77, x) == CO_OK);
        CHECK(t.strategy->write(s, EMBED, what, 70, 3, x) == CO_OK);
        CHECK(t.strategy->read(s, HEAD, what, 69, 5, y) == CO_OK); /* through the tie */
        CHECK(y[0] == x[69] && y[1] == x[0] && y[3] == x[2] && y[4] == x[73]);
        CHECK(t.strategy->read(s, EMBED, what, 77, 0, y) == CO_OK);
        CHECK(t.strategy->read(s, EMBED, what, 70, 8, y) == CO_E_INVALID);
        CHECK_HAS(error_message(), "'embed' has no elements 70 to 78");
        CHECK(t.strategy->read(s, EMBED, what, -1, 2, y) == CO_E_INVALID);
        CHECK(t.strategy->write(s, EMBED, what, 0, -1, x) == CO_E_INVALID);
        CHECK(t.strategy->write(s, EMBED, what, 0, 78, x) == CO_E_INVALID);
        CHECK(t.strategy->write(s, N_SLOTS, what, 0, 1, x) == CO_E_INVALID);
    }
    CHECK(t.strategy->gather(s, EMBED, 0, 77, y) == CO_OK && fabs(y[0] - 100.001) < 1e-5 && fabs(y[76] - 176.001) < 1e-4);
    CHECK(t.strategy->read(s, EMBED, 3, 0, 1, y) == CO_E_INVALID); /* AdamW has two states */
    CHECK(t.strategy->read(s, FROZEN, 1, 0, 1, y) == CO_E_INVALID);
    CHECK_HAS(error_message(), "frozen");
    CHECK(t.strategy->read(s, FROZEN, 0, 0, 35, y) == CO_OK);
    for (uint32_t what = 0; what <= 2; what++) {
        int seen[N_SLOTS] = {0};
        CHECK(t.strategy->owned(s, what, seen, count_range) == CO_OK);
        for (uint32_t i = 0; i < N_SLOTS; i++) CHECK(seen[i] == (i != HEAD && (i != FROZEN || what == 0)));
    }
    CHECK(t.strategy->owned(s, 0, NULL, stop_at_q) == CO_E_IO);
    t.strategy->close(s);
}

static double norm_of(double value, int tied_parts)
{
    double sum = 0;
    for (uint32_t i = 0; i < N_SLOTS; i++)
        if (slots[i].owner == i && i != FROZEN) sum += (double)size_of(i) * value * value * (i == EMBED ? tied_parts * tied_parts : 1);
    return sqrt(sum);
}
static double norm_now(void)
{
    CHECK(judged.skip == 0);
    return judged.norm;
}

/* Three micro-steps add up; after a step the first contribution stores again. The tied matrix gets two a pass. */
static void test_accumulation(void)
{
    void *s = open_naive(0, 1);
    if (!whole && co_dtype_bytes(slots[Q].grad_dtype) == 2) return t.strategy->close(s); /* one micro-step a step */
    for (int k = 0; k < 3; k++) micro_step(s, 0.5f, -1, k == 2);
    CHECK(t.strategy->step(s, 1, 0, 0) == CO_OK);
    CHECK(fabs(norm_now() - norm_of(1.5, 2)) < 1e-6);
    backward(s, 0.25f, -1);
    CHECK(t.strategy->step(s, 2, 0, 0) == CO_OK);
    CHECK(fabs(norm_now() - norm_of(0.25, 2)) < 1e-6);
    t.strategy->close(s);
}

/* A unit that took no part has a gradient of zero, not the last step's. */
static void test_an_untouched_unit(void)
{
    void *s = open_naive(0, 1);
    float before, after;
    fill(s, 1);
    backward(s, 3, -1);
    CHECK(t.strategy->step(s, 1, 0, 0) == CO_OK);
    backward(s, 0.5f, UNIT_BLOCK);
    CHECK(t.strategy->read(s, Q, 1, 0, 1, &before) == CO_OK);
    CHECK(t.strategy->step(s, 2, 0, 0) == CO_OK);
    CHECK(t.strategy->read(s, Q, 1, 0, 1, &after) == CO_OK);
    const double want = sqrt((77 * 4 + 7) * 0.25);
    CHECK_MSG(fabs(norm_now() - want) < 1e-6, "norm %g, want %g", norm_now(), want);
    CHECK(fabs(after - 0.9 * before) < 1e-6); /* the moment decays by b1 and takes in nothing */
    t.strategy->close(s);
}

/* AdamW's first moment after one step is (1 - b1) times the gradient it was given. */
static double given_gradient(void *s, uint32_t param)
{
    float m;
    CHECK(t.strategy->read(s, param, 1, 0, 1, &m) == CO_OK);
    return m / (1 - 0.9f);
}
static void test_clipping(void)
{
    static const struct { double max, factor; } cases[] = {{0, 1}, {1e9, 1}, {1, 0}, {0.1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *s = open_naive(0, 1);
        const double norm = norm_of(0.5, 2);
        const double factor = cases[i].factor > 0 ? cases[i].factor : cases[i].max / (norm + 1e-6);
        fill(s, 1);
        backward(s, 0.5f, -1);
        CHECK(t.strategy->step(s, 1, 1e-3, cases[i].max) == CO_OK);
        CHECK(fabs(norm_now() - norm) < 1e-6); /* before clipping */
        CHECK(fabs(given_gradient(s, Q) - 0.5 * factor) < 1e-6);
        CHECK(fabs(given_gradient(s, NORM2) - 0.5 * factor) < 1e-6);
        CHECK(fabs(given_gradient(s, EMBED) - factor) < 1e-6);
        t.strategy->close(s);
    }
}

/* The largest value counts: the tied matrix's, which gets two contributions. */
static void test_the_other_norm(void)
{
    rule.norm_type = CO_NORM_INF;
    void *s = open_naive(0, 1);
    fill(s, 1);
    backward(s, -0.5f, -1);
    CHECK(t.strategy->step(s, 1, 1e-3, 0.25) == CO_OK);
    CHECK_MSG(fabs(norm_now() - 1) < 1e-6, "%g", norm_now());
    CHECK(fabs(given_gradient(s, Q) + 0.125) < 1e-6 && fabs(given_gradient(s, EMBED) + 0.25) < 1e-6);
    backward(s, NAN, -1);
    CHECK(t.strategy->step(s, 2, 1e-3, 0.25) == CO_OK && judged.skip);
    t.strategy->close(s);
    rule.norm_type = CO_NORM_2;
    co_backend_vt poor = *t.backend;
    co_strategy_args a = args_for(1, 1);
    void *none = NULL;
    co_step_rule inf = {.struct_size = sizeof inf, .norm_type = CO_NORM_INF};
    poor.flat_absmax = NULL;
    a.backend = &poor;
    a.rule = &inf;
    CHECK(t.strategy->open(&a, &none) == CO_E_UNSUPPORTED && !none);
    CHECK_HAS(error_message(), "norm_type = inf");
}

static void test_decay_spares_norms_and_frozen(void)
{
    void *s = open_naive(0, 1);
    float q, n, f;
    fill(s, 2);
    backward(s, 0, -1);
    CHECK(t.strategy->step(s, 1, 0.1, 0) == CO_OK);
    CHECK(t.strategy->read(s, Q, 0, 0, 1, &q) == CO_OK);
    CHECK(t.strategy->read(s, NORM1, 0, 0, 1, &n) == CO_OK);
    CHECK(t.strategy->read(s, FROZEN, 0, 0, 1, &f) == CO_OK);
    CHECK(fabs(q - 2 * (1 - 0.1 * 0.5)) < 1e-6);
    CHECK(n == 2 && f == 2);
    t.strategy->close(s);
}

static void test_a_norm_that_is_not_finite(void)
{
    const float bad[] = {NAN, INFINITY};
    for (int i = 0; i < 2; i++) {
        void *s = open_naive(0, 1);
        float q, m;
        fill(s, 2);
        backward(s, bad[i], -1);
        CHECK(t.strategy->step(s, 4, 0.1, 1) == CO_OK && judged.skip && judged.stuck);
        backward(s, 1, -1); /* what the host had queued before it looked changes nothing either */
        CHECK(t.strategy->step(s, 5, 0.1, 1) == CO_OK && judged.skip);
        CHECK(t.strategy->read(s, Q, 0, 0, 1, &q) == CO_OK && q == 2);
        CHECK(t.strategy->read(s, Q, 1, 0, 1, &m) == CO_OK && m == 0);
        t.strategy->close(s);
    }
}

/* All units at once: where copies are whole that is how they stand; zero3 has no room for it. */
static void test_hold(const char *name)
{
    void *s = open_naive(0, 1);
    const int parted = strcmp(name, "zero3") == 0; /* gemini keeps what there is room for */
    CHECK(t.strategy->begin(s, CO_SCHED_EVAL, 1) == (parted ? CO_E_NOMEM : CO_OK));
    if (parted) CHECK_HAS(error_message(), "all units at once");
    if (!whole) CHECK(t.strategy->begin(s, CO_SCHED_CACHED, 0) == CO_E_INVALID);
    t.strategy->close(s);
}

static void test_refusals(void)
{
    co_strategy_args a = args_for(1, 1);
    void *self = NULL;
    const uint8_t type = slots[K].shape.dtype;
    slots[K].shape.dtype = CO_U8;
    CHECK(t.strategy->open(&a, &self) == CO_E_UNSUPPORTED && !self);
    CHECK_HAS(error_message(), "'k'");
    slots[K].shape.dtype = type == CO_F32 ? CO_BF16 : CO_F32;
    CHECK(t.strategy->open(&a, &self) == CO_E_INVALID && !self);
    CHECK_HAS(error_message(), "'k' is in a group of another type");
    slots[K].shape.dtype = type;
    co_optimizer_vt greedy = *t.optim;
    greedy.n_state = 5;
    a.optim = &greedy;
    CHECK(t.strategy->open(&a, &self) == CO_E_UNSUPPORTED && !self);
    CHECK_HAS(error_message(), "wants 5");
    CHECK(parts_taken() == 0);
}

static float handed_out(void *s, uint32_t p)
{
    const co_tensor *params;
    co_tensor *grads;
    const uint8_t *accumulate;
    CHECK(t.strategy->begin(s, CO_SCHED_EVAL, 0) == CO_OK);
    CHECK(t.strategy->acquire(s, slots[p].unit, CO_PHASE_INFER, &params, &grads, &accumulate) == CO_OK);
    CHECK(params[slots[p].index].dtype == slots[p].shape.dtype);
    const float f = load(params[slots[p].index].data, slots[p].shape.dtype, 0);
    CHECK(t.strategy->release(s, slots[p].unit, CO_PHASE_INFER) == CO_OK && t.strategy->end(s) == CO_OK);
    return f;
}
static float rounded(float f, uint32_t type)
{
    uint16_t h[2] = {0};
    if (type == CO_F32) return f;
    store(h, type, 0, f);
    return load(h, type, 0);
}

/* The compute copy is the master rounded, after a write and after an update; a frozen parameter has no other. Updates too
 * small for 16 bits add up in the master. */
static void test_compute_copy_follows_the_master(void)
{
    void *s = open_naive(0, 1);
    const uint32_t type = slots[Q].shape.dtype;
    float q, f;
    fill(s, 1.0001f);
    CHECK(t.strategy->read(s, Q, 0, 0, 1, &q) == CO_OK && q == 1.0001f && handed_out(s, Q) == rounded(1.0001f, type));
    CHECK(t.strategy->read(s, FROZEN, 0, 0, 1, &f) == CO_OK && f == rounded(1.0001f, type) && handed_out(s, FROZEN) == f);
    CHECK(handed_out(s, NORM1) == 1.0001f);
    for (int step = 1; step <= 20; step++) {
        backward(s, 0.5f, -1);
        CHECK(t.strategy->step(s, step, 1e-4, 0) == CO_OK);
        CHECK(t.strategy->read(s, Q, 0, 0, 1, &q) == CO_OK && handed_out(s, Q) == rounded(q, type));
    }
    CHECK_MSG(q < 1.0001f - 0.0019f, "20 steps of 1e-4 took the master to %g only", (double)q);
    t.strategy->close(s);
}

/* Gradients carry the scale; what is not finite is skipped, named and lowers the scale; the next step uses the new one. */
static void test_loss_scaling(void)
{
    rule.scaling = 1;
    rule.scaler = (co_scaler){.growth_factor = 2, .backoff_factor = 0.5f, .growth_interval = 2, .hysteresis = 1};
    void *s = open_naive(0, 1);
    float q;
    fill(s, 2);
    backward(s, 0.5f * 64, -1);
    CHECK(t.strategy->step(s, 1, 0, 1) == CO_OK && judged.skip == 0 && judged.used_scale == 64);
    CHECK(fabs(judged.norm - norm_of(0.5, 2)) < 1e-6 && fabs(given_gradient(s, Q) - 0.5 / (norm_of(0.5, 2) + 1e-6)) < 1e-5);
    for (uint32_t bad = 0; bad < N_SLOTS; bad++) {
        co_step_stats st = {.struct_size = sizeof st};
        const float scale = judged.loss_scale;
        if (slots[bad].owner != bad || bad == FROZEN) continue;
        poison = bad;
        backward(s, 1, -1);
        poison = UINT32_MAX;
        CHECK(t.strategy->step(s, 2 + bad, 0.1, 1) == CO_OK && judged.skip && !judged.stuck && judged.loss_scale == scale / 2);
        CHECK(t.strategy->stats(s, 2 + bad, &st) == CO_OK && st.overflowed);
        CHECK_STR(st.overflowed, slots[bad].name);
        CHECK(t.strategy->read(s, Q, 0, 0, 1, &q) == CO_OK && q == 2);
    }
    t.strategy->close(s);
    rule = (co_step_rule){.struct_size = sizeof rule};
}

int main(void)
{
    static const struct { const char *backend; co_dtype type, grad; } runs[] = {
        {"cpu", CO_F32, CO_F32}, {"ref", CO_F32, CO_F32}, {"cpu", CO_BF16, CO_BF16}, {"cpu", CO_BF16, CO_F32}, {"ref", CO_BF16, CO_BF16},
        {"cpu", CO_F16, CO_F16}, {"ref", CO_F16, CO_F32}};
    static const char *const names[] = {"naive", "zero1", "zero2", "zero2_cpu", "zero3", "gemini"};
    make_schedules();
    for (size_t i = 0; i < sizeof runs / sizeof *runs * 6; i++) {
        const char *const backend = runs[i / 6].backend;
        whole = i % 6 == 0;
        shape_slots(runs[i / 6].type, runs[i / 6].grad);
        parts_open(&t, backend, (const char *const[]){"weight_decay", "0.5", NULL});
        parts_strategy(&t, names[i % 6]);
        test_compute_copy_follows_the_master();
        test_loss_scaling();
        if (whole) test_layout();
        if (whole) test_sizes();
        test_state_by_range();
        test_accumulation();
        test_an_untouched_unit();
        test_clipping();
        test_the_other_norm();
        test_decay_spares_norms_and_frozen();
        test_a_norm_that_is_not_finite();
        test_refusals();
        test_hold(names[i % 6]);
        parts_close(&t);
    }
    return check_done();
}
