/* test_cpu_blas.c: OpenBLAS is told what the processor is, unless the user said so; a product that is wrong is refused;
 * one with threads of its own is called from OpenMP's for a part each; [backend] simd takes what the processor has. */
#define CPU_LEVEL plain
#include "backends/cpu/kernels/kernels.h"
#include "check.h"
#include "core/base/error.h"
#include "core/host/host.h"
#include <math.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#define CORETYPE "OPENBLAS_CORETYPE"

/* Loads OpenBLAS in a process of its own (it looks at its environment once) with CORETYPE as given, NULL: unset. `out` gets
 * the core it runs as, a space, and what CORETYPE is afterwards. */
static void load_with(const char *coretype, char *out, size_t cap)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    const pid_t child = fork();
    if (child == 0) {
        host *h = host_new(NULL);
        cpu_blas b;
        char text[256] = "";
        if (coretype) setenv(CORETYPE, coretype, 1);
        else unsetenv(CORETYPE);
        if (cpu_blas_load(host_services(h), &b) == CO_OK)
            snprintf(text, sizeof text, "%s %s", b.corename(), getenv(CORETYPE) ? getenv(CORETYPE) : "unset");
        else
            snprintf(text, sizeof text, "failed: %s", error_message());
        _exit(write(ends[1], text, strlen(text)) < 0);
    }
    close(ends[1]);
    const ssize_t n = read(ends[0], out, cap - 1);
    out[n > 0 ? n : 0] = 0;
    close(ends[0]);
    CHECK(waitpid(child, NULL, 0) == child);
}

static void test_core_is_chosen(void)
{
    char got[256], want[256];
    const char *core = cpu_core_type();
    load_with(NULL, got, sizeof got);
    if (!core) {
        CHECK_MSG(strstr(got, " unset"), "%s", got);
        return;
    }
    snprintf(want, sizeof want, "%s unset", core);
    CHECK_MSG(strcasecmp(got, want) == 0, "OpenBLAS runs as '%s', want '%s'", got, want);
}

static void test_the_users_word_counts(void)
{
#if defined(__x86_64__)
    char got[256];
    load_with("Nehalem", got, sizeof got); /* what any x86-64 of this century runs, and what is never chosen */
    CHECK_MSG(strcasecmp(got, "Nehalem Nehalem") == 0, "%s", got);
#endif
}

/* A library that is right, and one that is wrong in one place. */
static int spoilt;
static void plain_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
                        float beta, float *c, int ldc)
{
    CHECK(order == BLAS_ROW && ta == BLAS_N && tb == BLAS_T && beta == 0);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            float sum = 0;
            for (int p = 0; p < k; p++) sum += a[i * lda + p] * b[j * ldb + p];
            c[i * ldc + j] = alpha * sum;
        }
    if (spoilt) c[(m - 1) * ldc + n - 1] += 0.01f;
}
static const char *name(void) { return "Broken"; }

static void test_wrong_products_are_refused(void)
{
    host *h = host_new(NULL);
    const cpu_blas b = {.sgemm = plain_sgemm, .corename = name};
    CHECK(cpu_blas_check(host_services(h), &b) == CO_OK);
    spoilt = 1;
    CHECK(cpu_blas_check(host_services(h), &b) == CO_E_DEVICE);
    CHECK_MSG(strstr(error_message(), "Broken") && strstr(error_message(), "OPENBLAS_CORETYPE"), "%s", error_message());
    host_free(h);
}

/* Whole, cut and too small to cut, by rows and by columns, beside the plain loop; parts of the calls are counted. */
static cpu_blas real;
static int calls;
static void counted_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
                          float beta, float *c, int ldc)
{
#pragma omp atomic
    calls++;
    real.sgemm(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
static void test_threads_apart(void)
{
    static const struct { int m, n, k, parts; } shapes[] = {{5, 7, 3, 1}, {31, 20, 40, 1}, {64, 9, 33, 2}, {200, 64, 32, 3}, {17, 333, 21, 3}, {1, 97, 50, 3}};
    host *h = host_new(NULL);
    CHECK(cpu_blas_load(host_services(h), &real) == CO_OK);
    real.set_threads(1);
    cpu c = {.threads = 3, .blas = real};
    c.blas.apart = 1;
    c.blas.sgemm = counted_sgemm;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const int m = shapes[s].m, n = shapes[s].n, k = shapes[s].k;
        static float x[200 * 64], w[333 * 64], y[200 * 333], z[333];
        double worst = 0;
        for (int i = 0; i < m * k; i++) x[i] = (float)(i * 37 % 101 - 50) / 50;
        for (int i = 0; i < n * k; i++) w[i] = (float)(i * 53 % 103 - 51) / 51;
        for (int i = 0; i < m * n; i++) y[i] = (float)(i % 7);
        for (int i = 0; i < n; i++) z[i] = y[i];
        calls = 0;
        cpu_product(&c, BLAS_N, BLAS_T, m, n, k, x, k, w, k, 1, y, n);
        CHECK_MSG(calls == shapes[s].parts, "%d parts of [%d, %d], want %d", calls, m, n, shapes[s].parts);
        cpu_row_product(&c, n, k, w, k, x, 1, z);
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++) {
                double want = (i * n + j) % 7, got = y[i * n + j];
                for (int p = 0; p < k; p++) want += (double)x[i * k + p] * w[j * k + p];
                if (!(fabs(got - want) <= worst)) worst = fabs(got - want);
                if (i == 0 && !(fabs(z[j] - want) <= worst)) worst = fabs(z[j] - want);
            }
        CHECK_MSG(worst < 1e-4, "[%d, %d, %d] off by %g", m, n, k, worst);
    }
    host_free(h);
}

static void test_simd(void)
{
    static const char *const names[] = {"auto", "plain", "avx2", "avx512"};
    const int there[] = {1, 1, cpu_has_avx2(), cpu_has_avx512()};
    const co_feature *f = NULL;
    host *h = host_new(NULL);
    CHECK(host_feature(h, CO_KIND_BACKEND, "cpu", &f) == CO_OK);
    const co_backend_vt *vt = host_backend(h, f);
    for (int32_t i = 0; i < 4; i++) {
        int64_t opts[8] = {0};
        void *self = NULL;
        for (const co_opt *o = f->opts; o->key; o++)
            if (strcmp(o->key, "simd") == 0) {
                CHECK(strcmp(o->names[i], names[i]) == 0);
                memcpy((char *)opts + o->offset, &i, sizeof i);
            }
        CHECK_MSG(vt->open(host_services(h), opts, &self) == (there[i] ? CO_OK : CO_E_UNSUPPORTED), "simd = %s", names[i]);
        if (!there[i]) CHECK_MSG(strstr(error_message(), names[i]), "%s", error_message());
        if (self) vt->close(self);
    }
    host_free(h);
}

int main(void)
{
    test_core_is_chosen();
    test_the_users_word_counts();
    test_wrong_products_are_refused();
    test_threads_apart();
    test_simd();
    return check_done();
}
