/* backend.c: the CPU as a backend: memory, no real streams, plans run line by line. */
#include "cpu.h"
#include "flat.h"
#include "memory.h"
#include "mixed.h"
#include <string.h>
#include <unistd.h>

typedef struct cpu_opts {
    int64_t threads;
    int32_t simd;
} cpu_opts;
static const char *const levels[] = {"auto", "plain", "avx2", "avx512", NULL}; /* CPU_SIMD_* */
static const co_opt options[] = {
    {"threads", CO_OPT_INT, offsetof(cpu_opts, threads), 0, "0", 0, 1024, NULL, "threads of the kernels; 0: OMP_NUM_THREADS, else every core"},
    {"simd", CO_OPT_ENUM, offsetof(cpu_opts, simd), 0, "auto", 0, 0, levels, "instructions of the kernels; auto: the best this processor has"},
    CO_OPT_END};

static int cpu_open(const co_host *h, const void *opts, void **self)
{
    const cpu_opts *o = opts;
    const cpu_level *simd = cpu_level_for(o->simd);
    if (!simd) return CO_FAIL(h, CO_E_UNSUPPORTED, "[backend] simd = %s: this processor has no such instructions; use auto", levels[o->simd]);
    cpu *c = h->alloc(h, sizeof *c, 64);
    if (!c) return CO_FAIL(h, CO_E_NOMEM, "backend cpu: out of memory");
    c->host = h;
    c->simd = simd;
    int r = cpu_blas_load(h, &c->blas);
    if (r) {
        h->free(h, c);
        return r;
    }
    c->threads = o->threads > 0 ? (int)o->threads : omp_get_max_threads();
    c->blas.set_threads(c->blas.apart ? 1 : c->threads); /* two pools that wait by spinning starve each other: 40 times slower on 16 cores */
    h->log(h, CO_LOG_DEBUG, "cpu", "%s kernels, %d threads", simd->name, c->threads);
    *self = c;
    return CO_OK;
}

static void cpu_close(void *self)
{
    cpu *c = self;
    if (!c) return;
    cpu_rope_free(c);
    c->host->free(c->host, c);
}

static int cpu_memory(void *self, size_t *free_bytes, size_t *total_bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    (void)self;
    if (memory_free("", free_bytes, total_bytes)) return CO_OK;
    *free_bytes = (size_t)sysconf(_SC_AVPHYS_PAGES) * page;
    *total_bytes = (size_t)sysconf(_SC_PHYS_PAGES) * page;
    return CO_OK;
}

static int cpu_alloc(void *self, co_mem kind, size_t bytes, void **out)
{
    cpu *c = self;
    (void)kind;
    *out = c->host->alloc(c->host, bytes, 256);
    if (*out) memory_huge(*out, bytes);
    return *out ? CO_OK : CO_FAIL(c->host, CO_E_NOMEM, "backend cpu: %zu bytes are not to be had", bytes);
}
static void cpu_free(void *self, co_mem kind, void *p)
{
    cpu *c = self;
    (void)kind;
    c->host->free(c->host, p);
}
static int cpu_copy(void *self, void *dst, const void *src, size_t bytes, co_stream on)
{
    (void)self, (void)on;
    if (bytes) memmove(dst, src, bytes);
    return CO_OK;
}
static int cpu_fill0(void *self, void *dst, size_t bytes, co_stream on)
{
    (void)self, (void)on;
    if (bytes) memset(dst, 0, bytes);
    return CO_OK;
}

/* Everything runs in order at once: streams and events are marks without a meaning. */
static int cpu_stream_new(void *self, co_stream *out)
{
    *out = (co_stream)self;
    return CO_OK;
}
static void cpu_stream_free(void *self, co_stream s) { (void)self, (void)s; }
static int cpu_stream_sync(void *self, co_stream s)
{
    (void)self, (void)s;
    return CO_OK;
}
static int cpu_event_new(void *self, co_event *out)
{
    *out = (co_event)self;
    return CO_OK;
}
static void cpu_event_free(void *self, co_event e) { (void)self, (void)e; }
static int cpu_event(void *self, co_event e, co_stream on)
{
    (void)self, (void)e, (void)on;
    return CO_OK;
}

static int cpu_event_sync(void *self, co_event e)
{
    (void)self, (void)e;
    return CO_OK;
}

/* ---- plans --------------------------------------------------------------------------------------------------- */
static void say(char *why, size_t cap, const char *text)
{
    if (!cap) return;
    strncpy(why, text, cap - 1);
    why[cap - 1] = 0;
}

static int cpu_supports(void *self, const co_plan *p, uint32_t step, char *why, size_t cap)
{
    const co_step_op *s = &p->steps[step];
    const cpu *c = self;
    if (s->op >= CO_OP_COUNT || (!c->simd->ops[s->op].run)) return say(why, cap, "there is no CPU kernel for it"), CO_E_UNSUPPORTED;
    for (int side = 0; side < 2; side++)
        for (uint32_t k = 0; k < (side ? s->n_out : s->n_in); k++) {
            const uint32_t v = side ? s->out[k] : s->in[k];
            if (v == CO_NONE) continue;
            const uint8_t t = p->values[v].shape.dtype;
            if (t != CO_F32 && t != CO_BF16 && t != CO_F16 && t != CO_I32) return say(why, cap, "the CPU computes in fp32, bf16 and fp16"), CO_E_UNSUPPORTED;
        }
    const co_attn *a = s->op == CO_OP_ATTENTION || s->op == CO_OP_ATTENTION_BWD ? s->attrs : NULL;
    if (a && a->dropout > 0) return say(why, cap, "dropout inside attention is not offered; [model] dropout = off leaves it out"), CO_E_UNSUPPORTED;
    const co_rope *r = s->op == CO_OP_ROPE || s->op == CO_OP_ROPE_BWD ? s->attrs : NULL;
    if (r && r->scaling == CO_ROPE_YARN) return say(why, cap, "YaRN scaling has no CPU kernel"), CO_E_UNSUPPORTED;
    return CO_OK;
}

static int cpu_workspace(void *self, const co_plan *p, size_t *bytes)
{
    const cpu *c = self;
    size_t most = 0;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const cpu_kernel_entry *k = &c->simd->ops[p->steps[i].op];
        const size_t n = mixed_types(p, &p->steps[i]) ? mixed_scratch(c, p, &p->steps[i])
                         : k->scratch                   ? k->scratch(c, p, &p->steps[i])
                                                        : 0;
        if (n > most) most = n;
    }
    *bytes = (most + 255) & ~(size_t)255;
    return CO_OK;
}

typedef struct compiled { const co_plan *plan; } compiled;

static int cpu_prepare(void *self, const co_plan *p, void **out)
{
    cpu *c = self;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        if (p->steps[i].op != CO_OP_ROPE && p->steps[i].op != CO_OP_ROPE_BWD) continue;
        int r = cpu_rope_prepare(c, p->steps[i].attrs);
        if (r) return r;
    }
    compiled *k = c->host->alloc(c->host, sizeof *k, 16);
    if (!k) return CO_FAIL(c->host, CO_E_NOMEM, "backend cpu: out of memory");
    k->plan = p;
    *out = k;
    return CO_OK;
}
static void cpu_discard(void *self, void *k)
{
    cpu *c = self;
    c->host->free(c->host, k);
}

static view view_of(const co_plan_value *v, const co_binding *b)
{
    view o = {.rows = v->shape.ne[0], .cols = v->shape.ndim > 1 ? v->shape.ne[1] : 1, .stride = v->shape.row_stride};
    if (v->rows == CO_ROWS_TOKENS) o.rows = b->host_live->n_tokens;
    if (v->rows == CO_ROWS_SEQS) o.rows = b->host_live->n_seqs;
    if (v->rows == CO_ROWS_GATHERED) o.rows = b->host_live->n_gathered;
    if (v->region == CO_REGION_PARAM) {
        o.p = b->params[v->slot].data;
    } else if (v->region == CO_REGION_GRAD) {
        o.p = b->grads[v->slot].data;
        o.add = (v->flags & CO_VALUE_ADDS) || b->accumulate[v->slot];
    } else {
        o.p = (float *)(void *)((char *)b->base[v->region] + v->offset);
    }
    return o;
}

static int cpu_run(void *self, void *k, const co_binding *b, co_stream on)
{
    const cpu *c = self;
    const co_plan *p = ((const compiled *)k)->plan;
    (void)on;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const co_step_op *op = &p->steps[i];
        cpu_step s = {.c = c, .op = op, .values = p->values, .live = b->host_live, .scratch = b->base[CO_REGION_SCRATCH]};
        for (uint32_t n = 0; n < op->n_in; n++)
            if (op->in[n] != CO_NONE) s.in[n] = view_of(&p->values[op->in[n]], b);
        for (uint32_t n = 0; n < op->n_out; n++)
            if (op->out[n] != CO_NONE) s.out[n] = view_of(&p->values[op->out[n]], b);
        if (op->op == CO_OP_ROPE || op->op == CO_OP_ROPE_BWD) s.rope = cpu_rope_find(c, op->attrs);
        if (mixed_types(p, op)) mixed_run(&s);
        else c->simd->ops[op->op].run(&s);
    }
    return CO_OK;
}

static const co_backend_vt cpu_vt = {
    .struct_size = sizeof cpu_vt, .dtypes = 1u << CO_F32 | 1u << CO_BF16 | 1u << CO_F16, .flags = CO_BACKEND_STORED | CO_BACKEND_HALVES, .open = cpu_open, .close = cpu_close, .memory = cpu_memory,
    .alloc = cpu_alloc, .free = cpu_free, .copy = cpu_copy, .fill0 = cpu_fill0, .stream_new = cpu_stream_new,
    .stream_free = cpu_stream_free, .stream_sync = cpu_stream_sync, .event_new = cpu_event_new, .event_free = cpu_event_free,
    .event_record = cpu_event, .event_wait = cpu_event, .supports = cpu_supports, .workspace = cpu_workspace,
    .prepare = cpu_prepare, .discard = cpu_discard, .run = cpu_run, .flat_cast = flat_cast, .flat_axpy = flat_axpy,
    .flat_sqnorm = flat_sqnorm, .flat_absmax = flat_absmax, .flat_adamw = flat_adamw, .event_sync = cpu_event_sync,
    .step_factor = flat_step_factor};
static const co_feature feature = {.struct_size = sizeof feature, .kind = CO_KIND_BACKEND, .name = "cpu",
                                   .summary = "OpenBLAS products and own kernels; fp32, or bf16 and fp16 with sums in fp32", .opts = options,
                                   .opts_size = sizeof(cpu_opts), .vt = &cpu_vt};
static const co_feature *const features[] = {&feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "coati-backend-cpu",
                                 .vendor = "coati", .version = "0.1.0", .license = "Apache-2.0", .url = "", .features = features};
CO_PLUGIN(plugin);
