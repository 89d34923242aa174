/* test_gemini.c: budgets from the least that works to more than everything: the same 20 steps as naive, device memory under the
 * cap, and the less of it the more is moved. */
#include "check.h"
#include "core/base/memory.h"
#include "strategies/rig.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

/* What is taken of which kind, and what goes from host memory to the device; one table for all ranks. */
static co_backend_vt real, counting;
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static struct { char *at; size_t bytes; co_mem kind; } blocks[512];
static size_t device_now, device_peak, pinned_now, pinned_peak;
static _Atomic size_t to_device;

static int count_alloc(void *self, co_mem kind, size_t bytes, void **out)
{
    const int r = real.alloc(self, kind, bytes, out);
    pthread_mutex_lock(&mu);
    for (size_t i = 0; r == CO_OK && i < sizeof blocks / sizeof *blocks; i++)
        if (!blocks[i].at) {
            blocks[i].at = *out, blocks[i].bytes = bytes, blocks[i].kind = kind;
            break;
        }
    if (r == CO_OK && kind == CO_MEM_DEVICE) device_now += bytes;
    if (device_now > device_peak) device_peak = device_now;
    if (r == CO_OK && kind == CO_MEM_PINNED) pinned_now += bytes;
    if (pinned_now > pinned_peak) pinned_peak = pinned_now;
    pthread_mutex_unlock(&mu);
    return r;
}
static void count_free(void *self, co_mem kind, void *p)
{
    pthread_mutex_lock(&mu);
    for (size_t i = 0; p && i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i].at == p) {
            CHECK(blocks[i].kind == kind);
            if (kind == CO_MEM_DEVICE) device_now -= blocks[i].bytes;
            if (kind == CO_MEM_PINNED) pinned_now -= blocks[i].bytes;
            blocks[i].at = NULL;
        }
    pthread_mutex_unlock(&mu);
    real.free(self, kind, p);
}
static int kind_of(const char *p)
{
    int kind = -1;
    pthread_mutex_lock(&mu);
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i].at && p >= blocks[i].at && p < blocks[i].at + blocks[i].bytes) kind = (int)blocks[i].kind;
    pthread_mutex_unlock(&mu);
    return kind;
}
static int count_copy(void *self, void *dst, const void *src, size_t bytes, co_stream on)
{
    if (kind_of(src) == CO_MEM_PINNED && kind_of(dst) == CO_MEM_DEVICE) to_device += bytes;
    return real.copy(self, dst, src, bytes, on);
}
static void wrap(const co_backend_vt **vt, void **self)
{
    (void)self;
    if (!counting.struct_size) { /* once: other ranks are running already */
        real = counting = **vt;
        counting.alloc = count_alloc;
        counting.free = count_free;
        counting.copy = count_copy;
    }
    *vt = &counting;
}

static size_t weights(const rig_result *r)
{
    size_t n = 0;
    for (uint32_t p = 0; p < r->n_params; p++) n += (size_t)r->n[p] * sizeof(float);
    return n;
}

/* room: beyond the least, as a share of everything there is. Returns the bytes moved to the device. */
static size_t run(rig_case c, const char *name, const char *placement, long least, double share, long all, const rig_result *want, const char *zero)
{
    char *memory = mem_printf("%ld", least + (long)(share * (double)all)), *what = mem_printf("%s, %s, %d ranks, %s bytes", name, placement, c.world, memory);
    const char *const options[] = {"placement", placement, "device_memory", memory, NULL};
    rig_result got;
    c.options = options;
    c.wrap = wrap;
    device_peak = 0, to_device = 0;
    CHECK_MSG(rig_run(&c, &got) == 0, "%s", what);
    CHECK_MSG(got.failed || rig_compare(what, &got, want, 20, zero) == 0, "%s", what);
    CHECK_MSG(device_peak <= (size_t)strtol(memory, NULL, 10) * (size_t)c.world, "%s: %zu taken on the device", what, device_peak);
    CHECK(device_now == 0);
    rig_free(&got);
    mem_free(what);
    mem_free(memory);
    return to_device;
}

static void test_budgets(const char *name, rig_case c, const char *zero)
{
    rig_case one = c;
    rig_result want;
    one.strategy = "naive", one.world = 1, one.accumulation = c.world * c.accumulation;
    CHECK(rig_run(&one, &want) == 0);
    const long least = rig_least(&c), all = (long)weights(&want) * 5 + (c.adapter ? 400000 : 0); /* and the frozen ones */
    const size_t moves = 20 * (size_t)c.accumulation * weights(&want);
    CHECK_MSG(least > 0, "%s: no least budget was named", name);
    size_t before = run(c, name, "cpu", least, 0, all, &want, zero);
    /* Each micro-step brings every weight to each rank's device at least once; nothing stays from one pass to the next. */
    CHECK_MSG(before >= moves || c.adapter, "%s: %zu bytes moved, %zu at least if every chunk moves", name, before, moves);
    static const double shares[] = {0, 0.05, 0.15, 0.4, 1.2};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        const size_t now = run(c, name, "auto", least, shares[i], all, &want, zero);
        CHECK_MSG(now <= before, "%s: %zu bytes moved with more memory, %zu with less", name, now, before);
        before = now;
    }
    CHECK_MSG(before == 0, "%s: %zu bytes moved although everything fits", name, before);
    run(c, name, "cuda", least, 1.2, all, &want, zero);
    rig_free(&want);
}

/* Less host memory than all homes take: some live on the device instead, and the steps are naive's. Of more blocks than the golden
 * models have, so that a few make no difference. */
static void test_host_memory(rig_case c)
{
    char dir[] = "/tmp/coati_gemini_XXXXXX", path[64];
    FILE *f = NULL;
    if (mkdtemp(dir)) snprintf(path, sizeof path, "%s/config.json", dir), f = fopen(path, "w");
    CHECK(f != NULL);
    if (!f) return;
    fputs("{\"model_type\":\"llama\",\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":12,\"num_attention_heads\":2,\"vocab_size\":60,"
          "\"max_position_embeddings\":32,\"tie_word_embeddings\":true}", f);
    fclose(f);
    c.dir = dir, c.random = 1;
    rig_case one = c;
    rig_result want, got;
    one.strategy = "naive";
    CHECK(rig_run(&one, &want) == 0);
    const size_t homes = 4 * weights(&want);
    const long least = rig_least(&c);
    char *device = mem_printf("%ld", least + (long)homes / 2), *limit = mem_printf("%zu", homes * 6 / 10);
    const char *const open_end[] = {"device_memory", device, NULL}, *const bounded[] = {"device_memory", device, "host_memory", limit, NULL};
    size_t peak[2];
    for (int k = 0; k < 2; k++) {
        c.options = k ? bounded : open_end;
        c.wrap = wrap;
        device_peak = pinned_peak = 0;
        CHECK(rig_run(&c, &got) == 0);
        CHECK(got.failed || rig_compare(k ? "host memory bounded" : "not bounded", &got, &want, 20, NULL) == 0);
        CHECK(device_peak <= (size_t)strtol(device, NULL, 10));
        peak[k] = pinned_peak;
        rig_free(&got);
    }
    CHECK_MSG(peak[1] < peak[0] && peak[1] <= homes, "%zu bytes of host memory under a bound, %zu without; homes take %zu", peak[1], peak[0], homes);
    rig_free(&want);
    mem_free(device);
    mem_free(limit);
    remove(path);
    rmdir(dir);
}

static void test_too_little(rig_case c)
{
    const long least = rig_least(&c);
    char *memory = mem_printf("%ld", least - 1);
    const char *const options[] = {"device_memory", memory, NULL}, *const on_host[] = {"device_memory", "1MiB", "placement", "cpu", "host_memory", "1", NULL};
    rig_result r;
    fprintf(stderr, "two refusals are meant to come now:\n");
    c.options = options;
    CHECK(rig_run(&c, &r) == 1);
    rig_free(&r);
    c.options = on_host;
    CHECK(rig_run(&c, &r) == 1);
    rig_free(&r);
    mem_free(memory);
}

#define GOLDEN COATI_SOURCE_DIR "/tests/golden/"
int main(void)
{
    rig_case c = {.dir = GOLDEN "llama/gqa_tied", .strategy = "gemini", .world = 1, .accumulation = 1, .first_step = 1, .steps = 20, .max_norm = 1};
    test_too_little(c);
    test_host_memory(c);
    test_budgets("tied", c, NULL);
    c.accumulation = 3, c.world = 2, c.checkpoint_blocks = 1, c.dir = GOLDEN "llama/mha_untied";
    test_budgets("untied, accumulation 3, checkpointing", c, NULL);
    c.accumulation = 1, c.dir = GOLDEN "bloom/heads4";
    test_budgets("bloom", c, GOLDEN "bloom/heads4/expect.json");
    c.world = 1, c.accumulation = 2, c.dir = GOLDEN "llama/gqa_tied", c.adapter = GOLDEN "lora/all_linear";
    test_budgets("lora", c, NULL);
    return check_done();
}
