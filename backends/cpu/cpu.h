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
    int apart; /* it has a pool of threads of its own, beside OpenMP's: it is kept to one thread, and products are always cut here */
} cpu_blas;
enum { BLAS_ROW = 101, BLAS_N = 111, BLAS_T = 112 };

#define ROPE_TABLE_POSITIONS 8192
typedef struct rope_table { /* cos, sin of position * frequency, [positions, 2, rotary_dims/2] */
    co_rope key;
    float *cs;
    double *freq; /* [rotary_dims/2] */
    struct rope_table *next;
} rope_table;

typedef struct cpu {
    const co_host *host;
    int threads;
    const struct cpu_level *simd;
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

typedef struct cpu_adamw { float grad_scale, b1, b2, lr_t, root, eps, decay; } cpu_adamw; /* constants of a step */
/* Everything in kernels/, as compiled for one generation of processors. Which one a backend uses is settled when it is
 * opened: the best this processor has, or what `simd` says. */
typedef struct cpu_level {
    const char *name;
    const cpu_kernel_entry *ops; /* [CO_OP_COUNT]; fp32 */
    const cpu_kernel_entry *narrow_ops; /* likewise; run NULL where 16-bit operands are widened for the fp32 kernel (mixed.c) */
    /* Runs of 16-bit floats (CO_BF16, CO_F16; CO_F32 passes through) to and from fp32. */
    void (*widen)(float *to, const void *from, uint32_t type, int64_t n);
    void (*join)(float *to, const uint16_t *bf16, const int16_t *low, int64_t n); /* <coati/halves.h>; part: the other way */
    void (*part)(uint16_t *bf16, int16_t *low, const float *from, int64_t n);
    void (*narrow)(void *to, uint32_t type, const float *from, int64_t n);
    double (*sqnorm)(const float *x, int64_t n);
    void (*adamw)(float *p, const float *g, float *m, float *v, int64_t n, const cpu_adamw *step);
} cpu_level;
extern const cpu_level cpu_plain, cpu_avx2, cpu_avx512; /* the latter two on x86-64 only */

int cpu_blas_load(const co_host *h, cpu_blas *out); /* blas.c; cpu_blas_check included */
int cpu_blas_check(const co_host *h, const cpu_blas *b); /* one product against a plain loop */
int cpu_has_avx2(void), cpu_has_avx512(void);       /* cpuid.c: all the instructions of that level of the kernels */
const char *cpu_core_type(void);                    /* cpuid.c: OPENBLAS_CORETYPE for this processor, NULL: let it choose */
enum { CPU_SIMD_AUTO, CPU_SIMD_PLAIN, CPU_SIMD_AVX2, CPU_SIMD_AVX512 };
/* level.c: the kernels for `wanted`, or for this processor; NULL: it lacks the instructions. */
const cpu_level *cpu_level_for(int wanted);
int cpu_rope_prepare(cpu *c, const co_rope *r);     /* rope.c */
const rope_table *cpu_rope_find(const cpu *c, const co_rope *r);
void cpu_rope_free(cpu *c);

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
    const uint32_t bits = (uint32_t)((int32_t)n + 127) << 23; /* of a NaN whatever it is: p is NaN */
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
