/* test_bytes.c: what ranks send a step is what theory says, and what they hold is cut in equal parts. Shapes are made up here:
 * one whose blocks outweigh the rest, and BLOOM-560m's, of which one rank of the system this one re-imagines held 46 %. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "strategies/rig.h"
#include <unistd.h>

static char dir[] = "/tmp/coati-strategies-XXXXXX";

static char *shape(const char *name, const char *json)
{
    char *d = mem_printf("%s/%s", dir, name), *file = mem_printf("%s/config.json", d);
    CHECK(fs_mkdirs(d) == CO_OK && fs_write_atomic(file, json, strlen(json)) == CO_OK);
    mem_free(file);
    return d;
}

/* Bytes of step 2, when what is sent once at the start is over. */
static double sent(const char *model, const char *strategy, int32_t world, int32_t accumulation, double *elements)
{
    static const char *const options[] = {"bucket_mb", "0", NULL};
    const rig_case c = {.dir = model, .strategy = strategy, .options = options, .world = world, .accumulation = accumulation, .random = 1, .first_step = 1, .steps = 2};
    rig_result r;
    CHECK_MSG(rig_run(&c, &r) == 0, "%s", strategy);
    const double got = r.sent[2];
    *elements = 0;
    for (uint32_t p = 0; p < r.n_params; p++) *elements += (double)r.n[p];
    rig_free(&r);
    return got;
}

static void test_traffic(void)
{
    char *const model = shape("deep", "{\"model_type\":\"llama\",\"hidden_act\":\"silu\",\"hidden_size\":64,\"intermediate_size\":192,\"num_hidden_layers\":24,"
                                      "\"num_attention_heads\":4,\"num_key_value_heads\":4,\"vocab_size\":64,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,"
                                      "\"tie_word_embeddings\":false}");
    const double block = 4 * 64 * 64 + 3 * 64 * 192 + 2 * 64, last = 64 * 64 + 64;
    for (int32_t n = 2; n <= 4; n *= 2) {
        const double share = 4.0 * (n - 1) / n;
        double p;
        for (int a = 1; a <= (n == 2 ? 3 : 1); a += 2) {
            /* zero1 reduces once a step; zero2 cannot keep whole gradients and reduces each micro-step. */
            const double whole = sent(model, "ddp", n, a, &p) / share / p;
            CHECK_MSG(fabs(whole - 2) < 0.02, "ddp, %d ranks, %d micro-steps: %.4f (N-1)/N P", n, a, whole);
            const double one = sent(model, "zero1", n, a, &p) / share / p, two = sent(model, "zero2", n, a, &p) / share / p;
            CHECK_MSG(fabs(one - 2) < 0.02, "zero1, %d ranks, %d micro-steps: %.4f (N-1)/N P", n, a, one);
            CHECK_MSG(fabs(two - (1 + a)) < 0.01 * (1 + a), "zero2, %d ranks, %d micro-steps: %.4f (N-1)/N P", n, a, two);
            const double cpu = sent(model, "zero2_cpu", n, a, &p) / share / p;
            CHECK(fabs(cpu - two) < 1e-9);
            /* The last unit runs once, and the last block stays from its forward to its backward. */
            const double three = sent(model, "zero3", n, a, &p) / share, want = a * (3 * p - block - last);
            CHECK_MSG(fabs(three - want) < 0.01 * want && three < a * 3 * p, "zero3, %d ranks: %.0f elements, theory %.0f", n, three, want);
        }
    }
    mem_free(model);
}

static void memory_of(const char *model, const char *strategy, int32_t world, int32_t rank, int64_t *trainable, engine_memory *out)
{
    team t;
    fixture f;
    team_open(&t, world);
    team_member m = {.team = &t, .rank = rank}; /* planning talks to nobody */
    const fixture_args a = {.dir = model, .random = 1, .dtype = CO_BF16, .max_tokens = 16, .max_seqs = 1, .strategy = strategy, .plan_only = 1,
                            .comm = strcmp(strategy, "naive") ? &team_comm : NULL, .comm_self = &m};
    CHECK(fixture_open(&a, &f) == CO_OK);
    if (f.engine) engine_bytes(f.engine, out), *trainable = f.table->n_trainable;
    fixture_close(&f);
    team_close(&t);
}

/* Never more than its part and a hundredth, and all ranks alike. */
static void test_balance(void)
{
    char *const model = shape("bloom-560m", "{\"model_type\":\"bloom\",\"n_embed\":1024,\"hidden_size\":1024,\"n_layer\":24,\"num_attention_heads\":16,\"vocab_size\":250880,"
                                            "\"layer_norm_epsilon\":1e-5,\"tie_word_embeddings\":true}");
    static const char *const names[] = {"zero1", "zero2", "zero2_cpu", "zero3", "gemini"};
    static const int32_t worlds[] = {1, 4, 7, 64};
    engine_memory whole;
    int64_t all;
    memory_of(model, "naive", 1, 0, &all, &whole);
    CHECK_MSG(all == 559214592, "BLOOM-560m has %lld parameters", (long long)all);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t w = 0; w < sizeof worlds / sizeof *worlds; w++) {
            engine_memory m, first;
            int64_t n;
            const int32_t world = worlds[w];
            const double part = 1.0 / world * 1.01, params = i >= 3 ? part : 1.01, grads = i >= 1 ? part : 1.01;
            memory_of(model, names[i], world, 0, &n, &first);
            memory_of(model, names[i], world, world - 1, &n, &m);
            CHECK_MSG(first.total == m.total && first.pinned == m.pinned, "%s: rank 0 takes %zu, rank %d %zu", names[i], first.total, world - 1, m.total);
            CHECK_MSG((double)m.optimizer <= part * (double)whole.optimizer && (double)m.master <= part * (double)whole.master, "%s on %d", names[i], world);
            CHECK_MSG((double)m.grads <= grads * (double)whole.grads, "%s on %d: gradients %zu of %zu", names[i], world, m.grads, whole.grads);
            /* On zero2_cpu the update leaves its 16 bits in host memory too. */
            CHECK_MSG((double)m.params <= (params + (i == 2 ? part : 0)) * (double)whole.params, "%s on %d: weights %zu of %zu", names[i], world, m.params, whole.params);
            if (world == 4) printf("%-9s 4 ranks: %.1f MB weights, %.1f gradients, %.1f masters and states, %.1f places and sums a rank\n", names[i], (double)m.params / 1e6,
                                   (double)m.grads / 1e6, (double)(m.master + m.optimizer) / 1e6, (double)m.strategy_other / 1e6);
        }
    mem_free(model);
}

int main(void)
{
    CHECK(mkdtemp(dir) != NULL);
    test_traffic();
    test_balance();
    CHECK(fs_remove_tree(dir) == CO_OK);
    return check_done();
}
