/* test_memory.c: what --plan prints is what is taken from the backend, to the byte; and a run takes nothing more from
 * anywhere in its third step and later: malloc and its kin are counted here for the whole process, threads of the loader and
 * of kernels included, and read at each line of metrics.jsonl. Two libraries are left out: OpenBLAS takes a job list for
 * each product it spreads over threads, and SentencePiece makes strings on the readers' threads; both give them back at once.
 * Sanitizers bring their own malloc: there the host's counts. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/train/sft.h"
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- counting ---------------------------------------------------------------------------------------------------- */
enum { MAX_STEPS = 64 };
static uint64_t at_step[MAX_STEPS];

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static uint64_t allocations_so_far(void)
{
    mem_counts c;
    mem_count(&c);
    return c.allocs;
}
static void find_foreign(void) {}
#else
static _Atomic uint64_t allocations;
static uint64_t allocations_so_far(void) { return allocations; }

/* Where the libraries that are left out lie. */
static struct { uintptr_t from, to; } foreign[8];
static int n_foreign;
static int note_foreign(struct dl_phdr_info *info, size_t size, void *ctx)
{
    static const char *const names[] = {"libopenblas", "libsentencepiece", "libstdc++"};
    (void)size, (void)ctx;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int k = 0; k < info->dlpi_phnum && strstr(info->dlpi_name, names[i]) && n_foreign < 8; k++) {
            const ElfW(Phdr) *p = &info->dlpi_phdr[k];
            if (p->p_type != PT_LOAD || !(p->p_flags & PF_X)) continue;
            foreign[n_foreign].from = info->dlpi_addr + p->p_vaddr;
            foreign[n_foreign].to = foreign[n_foreign].from + p->p_memsz;
            n_foreign++;
        }
    return 0;
}
static void find_foreign(void)
{
    n_foreign = 0;
    dl_iterate_phdr(note_foreign, NULL);
}
static void count(const void *caller)
{
    for (int i = 0; i < n_foreign; i++)
        if ((uintptr_t)caller >= foreign[i].from && (uintptr_t)caller < foreign[i].to) return;
    allocations++;
}

/* The program's own definitions come before libc's, for every library it loads. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
void *memalign(size_t align, size_t n);
#define COUNTED(call) (count(__builtin_return_address(0)), call)
void *malloc(size_t n) { return COUNTED(__libc_malloc(n)); }
void *calloc(size_t n, size_t size) { return COUNTED(__libc_calloc(n, size)); }
void *realloc(void *p, size_t n) { return COUNTED(__libc_realloc(p, n)); }
void *memalign(size_t align, size_t n) { return COUNTED(__libc_memalign(align, n)); }
void *aligned_alloc(size_t align, size_t n) { return COUNTED(__libc_memalign(align, n)); }
int posix_memalign(void **out, size_t align, size_t n)
{
    *out = COUNTED(__libc_memalign(align, n));
    return *out ? 0 : ENOMEM;
}
#endif

/* Every line of metrics.jsonl is one write. */
ssize_t write(int fd, const void *p, size_t n)
{
    int step;
    if (n > 8 && memcmp(p, "{\"step\":", 8) == 0 && sscanf((const char *)p, "{\"step\":%d", &step) == 1 && step < MAX_STEPS)
        at_step[step] = allocations_so_far();
    return syscall(SYS_write, fd, p, n);
}

/* ---- what the backend gives ----------------------------------------------------------------------------------------- */
static co_backend_vt saved; /* the table as it was */
static size_t taken, given_back;
static struct { void *at; size_t bytes; } blocks[256];

static int count_alloc(void *self, co_mem kind, size_t bytes, void **out)
{
    const int r = saved.alloc(self, kind, bytes, out);
    for (size_t i = 0; r == CO_OK && i < sizeof blocks / sizeof *blocks; i++)
        if (!blocks[i].at) return blocks[i].at = *out, blocks[i].bytes = bytes, taken += bytes, CO_OK;
    return r;
}
static void count_free(void *self, co_mem kind, void *p)
{
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i].at == p && p) given_back += blocks[i].bytes, blocks[i].at = NULL;
    saved.free(self, kind, p);
}
/* The host's copy of the table is what everyone calls through; it is this test's host, so it may be changed. */
static void count_backend(const co_backend_vt *vt)
{
    co_backend_vt *own = (co_backend_vt *)(uintptr_t)vt;
    saved = *vt;
    own->alloc = count_alloc;
    own->free = count_free;
    taken = given_back = 0;
}

/* ---- runs ------------------------------------------------------------------------------------------------------------ */
static char dir[] = "/tmp/coati-memory-XXXXXX";

static config *configure(const char *const *pairs)
{
    static const char *const base[] = {
        "model.path", COATI_SOURCE_DIR "/tools/quickstart/model", "model.init", "random", "dataset.path", COATI_SOURCE_DIR "/tools/quickstart/train.json",
        "dataset.template", "none", "dataset.max_len", "48", "batch.size", "4", "batch.accumulation", "2", "checkpoint.every", "never",
        "run.max_steps", "24", "run.save_model", "0", "log.progress", "plain", "backend.threads", "2", NULL};
    config *c = config_new();
    char text[512];
    for (int round = 0; round < 2; round++)
        for (const char *const *p = round ? pairs : base; p && *p; p += 2) {
            snprintf(text, sizeof text, "%s=%s", p[0], p[1]);
            CHECK_MSG(config_override(c, text) == CO_OK, "%s", error_message());
        }
    snprintf(text, sizeof text, "run.output=%s/out", dir);
    CHECK(config_override(c, text) == CO_OK);
    return c;
}

/* The number of the line that starts with `name`; 0: none. */
static size_t printed(const char *plan, const char *name)
{
    const char *at = strstr(plan, name);
    return at ? (size_t)strtoull(at + strlen(name), NULL, 10) : 0;
}

static void test_run(const char *what, const char *const *pairs)
{
    config *c = configure(pairs);
    run r;
    const volatile int stop = 0;
    sft_flags flags = {.overwrite = 1, .stop = &stop};
    memset(at_step, 0, sizeof at_step);
    CHECK_MSG(run_open(c, &r) == CO_OK, "%s: %s", what, error_message());
    char *plan = run_plan_text(&r);
    const size_t total = printed(plan, "\ntotal");
    size_t rows = 0;
    for (const char *line = strchr(plan, '\n'); line && strncmp(line, "\ntotal", 6) != 0; line = strchr(line + 1, '\n'))
        rows += strtoull(line + 1 + strcspn(line + 1, "0123456789"), NULL, 10);
    CHECK_MSG(rows == total && total > 0, "%s: the rows sum to %zu, total says %zu", what, rows, total);
    count_backend(r.backend);
    find_foreign();
    const int s = sft_run(&r, &flags); /* allocates, trains, evaluates, answers */
    CHECK_MSG(s == CO_OK, "%s: %s", what, error_message());
    CHECK_MSG(taken == total, "%s: --plan says %zu bytes, %zu were taken", what, total, taken);
    CHECK_MSG(engine_allocated(r.engine) == total, "%s: metrics say %zu", what, engine_allocated(r.engine));
    CHECK(given_back == 0);
    const int64_t steps = r.total_steps;
    run_close(&r);
    CHECK_MSG(given_back == taken, "%s: %zu of %zu bytes given back", what, given_back, taken);
    CHECK(steps >= 20);
    for (int64_t i = 3; i <= steps; i++)
        CHECK_MSG(at_step[i] && at_step[i] == at_step[i - 1], "%s: %llu allocations in step %lld", what,
                  (unsigned long long)(at_step[i] - at_step[i - 1]), (long long)i);
    mem_free(plan);
    config_free(c);
}

/* An adapter over a base of 16 bits: beyond the base's own bytes, as its file has them, nothing is taken that the plan's other rows
 * and the adapter do not say. */
static void test_adapter_over_stored(void)
{
    static const char *const save[] = {"run.max_steps", "1", "run.save_model", "1", "run.save_dtype", "bf16", "log.samples", "0", NULL};
    config *c = configure(save);
    run r;
    const volatile int stop = 0;
    sft_flags flags = {.overwrite = 1, .stop = &stop};
    CHECK_MSG(run_open(c, &r) == CO_OK && sft_run(&r, &flags) == CO_OK, "%s", error_message());
    run_close(&r);
    config_free(c);
    char *from = mem_printf("%s/out/model", dir), *base = mem_printf("%s/base", dir);
    CHECK(rename(from, base) == 0);
    const char *const adapted[] = {"model.path", base, "model.init", "pretrained", "lora.rank", "4", "log.samples", "0", NULL};
    test_run("LoRA over bf16", adapted);

    c = configure(adapted);
    CHECK_MSG(run_open(c, &r) == CO_OK, "%s", error_message());
    size_t held = 0, added = 0, gap = 0;
    for (uint32_t i = 0; i < r.table->n_params; i++) {
        const co_param_slot *s = &r.table->slots[i];
        const size_t bytes = (size_t)param_elements(s) * co_dtype_bytes(s->shape.dtype);
        if (s->owner != i) continue;
        CHECK_MSG(s->trainable || s->shape.ndim == 1 || s->shape.dtype == CO_BF16, "%s is not held as it is stored", s->name);
        *(s->trainable ? &added : &held) += bytes;
        gap += CO_PARAM_ALIGN; /* at most: between parameters */
    }
    char *plan = run_plan_text(&r);
    const size_t all = printed(plan, "\nparameters"), grads = printed(plan, "\ngradients"), states = printed(plan, "\noptimizer states");
    CHECK_MSG(all >= held + added && all < held + added + gap, "%zu bytes of parameters: %zu are the base's, %zu the adapter's", all, held, added);
    CHECK_MSG(grads >= added && grads < added + gap && states >= 2 * added && states < 2 * (added + gap),
              "gradients %zu, states %zu: the adapter has %zu", grads, states, added);
    CHECK_MSG(printed(plan, "\nmaster weights") == 0, "%s", plan);
    mem_free(plan);
    run_close(&r);
    config_free(c);
    mem_free(from);
    mem_free(base);
}

int main(void)
{
    static const char *const blocks_of[] = {"model.checkpointing", "block", NULL};
    static const char *const by_tokens[] = {"batch.tokens", "150", NULL};
    static const char *const evaluated[] = {"dataset.split", "0.9", "dataset.max_records", "200", "eval.every", "2", "log.samples", "0", NULL};
    static const char *const adapted[] = {"lora.rank", "4", "lora.dropout", "0.1", NULL};
    static const char *const bf16[] = {"precision.dtype", "bf16", NULL};
    CHECK(mkdtemp(dir) != NULL);
    log_level_set(CO_LOG_WARN);
    const uint64_t before = allocations_so_far();
    mem_free(mem_alloc(100, 0));
    CHECK(allocations_so_far() > before); /* the counter sees what it should */
    test_run("plain", NULL);
    test_run("checkpointing", blocks_of);
    test_run("by tokens", by_tokens);
    test_run("evaluated", evaluated);
    test_run("LoRA", adapted);
    test_run("bf16", bf16);
    test_adapter_over_stored();
    CHECK(fs_remove_tree(dir) == CO_OK);
    return check_done();
}
