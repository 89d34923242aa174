/* blas.c: OpenBLAS, loaded after its core type is settled: it reads OPENBLAS_CORETYPE once, when it is loaded. A
 * user's own setting is never overridden. One product is checked against a plain loop before it is trusted. */
#include "cpu.h"
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OWN_THREADS 1 /* openblas_get_parallel(): 0 none, 1 its own, 2 OpenMP's */

static int load_symbol(const co_host *h, void *so, const char *name, void *to)
{
    void *p = dlsym(so, name);
    if (!p) return CO_FAIL(h, CO_E_UNSUPPORTED, "backend cpu: OpenBLAS has no %s", name);
    memcpy(to, &p, sizeof p);
    return CO_OK;
}

int cpu_blas_check(const co_host *h, const cpu_blas *b)
{
    enum { M = 37, N = 41, K = 53 };
    static const double limit = 1e-4;
    float a[M * K], w[N * K], c[M * N];
    for (int i = 0; i < M * K; i++) a[i] = (float)((i * 37 % 101) - 50) / 50;
    for (int i = 0; i < N * K; i++) w[i] = (float)((i * 53 % 103) - 51) / 51;
    b->sgemm(BLAS_ROW, BLAS_N, BLAS_T, M, N, K, 1, a, K, w, K, 0, c, N);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            double want = 0;
            for (int k = 0; k < K; k++) want += (double)a[i * K + k] * w[j * K + k];
            if (!(fabs(want - c[i * N + j]) < limit))
                return CO_FAIL(h, CO_E_DEVICE, "backend cpu: OpenBLAS (core %s) multiplies wrongly: %g instead of %g; set "
                               "OPENBLAS_CORETYPE=Haswell or reinstall libopenblas0-openmp", b->corename(), (double)c[i * N + j], want);
        }
    return CO_OK;
}

int cpu_blas_load(const co_host *h, cpu_blas *out)
{
    static const char *const names[] = {
#ifdef COATI_OPENBLAS
        COATI_OPENBLAS,
#endif
        "libopenblas.so.0", "libopenblas.so"};
    const char *mine = getenv("OPENBLAS_CORETYPE"), *core = mine ? NULL : cpu_core_type();
    void *so = NULL;
    if (core) setenv("OPENBLAS_CORETYPE", core, 0);
    for (size_t i = 0; i < sizeof names / sizeof *names && !so; i++) so = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (core) unsetenv("OPENBLAS_CORETYPE");
    if (!so) {
        const char *why = dlerror();
        return CO_FAIL(h, CO_E_UNSUPPORTED, "backend cpu: OpenBLAS cannot be loaded (%s): apt-get install libopenblas0-openmp",
                       why ? why : "unknown reason");
    }
    int r = load_symbol(h, so, "cblas_sgemm", &out->sgemm);
    if (r == CO_OK) r = load_symbol(h, so, "cblas_sgemv", &out->sgemv);
    if (r == CO_OK) r = load_symbol(h, so, "openblas_set_num_threads", &out->set_threads);
    if (r == CO_OK) r = load_symbol(h, so, "openblas_get_corename", &out->corename);
    if (r) return r;
    int (*parallel)(void) = NULL;
    void *p = dlsym(so, "openblas_get_parallel");
    memcpy(&parallel, &p, sizeof p);
    out->apart = parallel && parallel() == OWN_THREADS;
    h->log(h, CO_LOG_DEBUG, "cpu", "OpenBLAS core %s (%s), threads %s", out->corename(),
           mine ? "by OPENBLAS_CORETYPE" : core ? "chosen from the processor's features" : "its own choice",
           out->apart ? "of its own, unused" : "of OpenMP");
    return cpu_blas_check(h, out);
}
