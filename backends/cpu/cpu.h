/* cpu.h: inside of the CPU backend: views of values, the kernel table, OpenBLAS, small vector helpers. */
#ifndef CPU_BACKEND_H
#define CPU_BACKEND_H
#include <coati/coati.h>
#include <omp.h>

/* One value of the step at hand, live rows put in. 1-d values are [rows] with cols 1. */
typedef struct view {
    float *p; /* NULL: absent or frozen */
    int64_t rows, cols, stride;
    int add; /* GRAD outputs: add to what is there */
} view;
static inline int32_t *view_ids(const view *v) { return (int32_t *)(void *)v->p; }

typedef struct cpu_blas { /* row major, as in cblas.h */
    void (*sgemm)(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b,
                  int ldb, float beta, float *c, int ldc);
    void (*sgemv)(int order, int ta, int m, int n, float alpha, const float *a, int lda, const float *x, int incx,
                  float beta, float *y, int incy);
    void (*set_threads)(int n);
    const char *(*corename)(void);
    char (*config)(void);
} cpu_blas;
enum { BLAS_ROW = 101, BLAS_N = 111, BLAS_T = 112 };

#define ROPE_TABLE_POSITIONS 8192
typedef struct rope_table { /* cos, sin of position * frequency, [positions, rotary_dims/2, 2] */
    co_rope key;
    float *cs;
    double *freq; /* [rotary_dims/2] */
    struct rope_table *next;
} rope_table;

typedef struct cpu {
    const co_host *host;
    int threads;
    cpu_blas blas;
    rope_table *ropes;
} cpu;

typedef struct cpu_step { /* everything a kernel is told */
    const cpu *c;
    const co_step_op *op;
    const co_plan_value *values;
    view in[8], out[8];
    const co_live *live;
    char *scratch;
    const rope_table *rope;
} cpu_step;

typedef void (*cpu_kernel)(const cpu_step *s);
typedef struct cpu_kernel_entry {
    cpu_kernel run;
    /* Scratch bytes at capacity; NULL: none. */
    size_t (*scratch)(const cpu *c, const co_plan *p, const co_step_op *op);
} cpu_kernel_entry;
extern const cpu_kernel_entry cpu_kernels[CO_OP_COUNT];

int cpu_blas_load(const co_host *h, cpu_blas *out); /* blas.c */
const char *cpu_core_type(void);                    /* cpuid.c: OPENBLAS_CORETYPE for this processor, NULL: let it choose */
int cpu_rope_prepare(cpu *c, const co_rope *r);     /* rope.c */
const rope_table *cpu_rope_find(const cpu *c, const co_rope *r);
void cpu_rope_free(cpu *c);

/* Compiled for three generations of x86-64, chosen when the plugin is loaded. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define CPU_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3", "no-math-errno", "no-trapping-math", "associative-math", "no-signed-zeros")))
#else
#define CPU_SIMD
#endif

/* exp with a relative error below 2e-7 over the whole range; below -87.3 it is 0. Cody & Waite reduction, a
 * polynomial of degree 6 on [-ln2/2, ln2/2]. */
static inline __attribute__((always_inline)) float cpu_expf(float x)
{
    const float lo = x < -87.0f ? -87.0f : x, y = lo > 88.0f ? 88.0f : lo;
    const float n = __builtin_rintf(y * 1.44269504088896341f);
    const float r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const int32_t bits = ((int32_t)n + 127) << 23;
    float scale;
    __builtin_memcpy(&scale, &bits, sizeof scale);
    return x < -87.0f ? 0.0f : p * scale;
}

static inline int64_t cpu_cols(const view *v) { return v->cols; }
/* Row ranges of thread i of n. */
static inline void cpu_share(int64_t total, int i, int n, int64_t *from, int64_t *to)
{
    *from = total * i / n;
    *to = total * (i + 1) / n;
}
static inline const void *cpu_attrs(const cpu_step *s) { return s->op->attrs; }
#endif
