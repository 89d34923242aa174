/* gemm.c: products through cuBLASLt. A descriptor and an algorithm are found once for each shape and kept.
 *
 * The library's own first choice is right within a few percent, but not always the best: unless deterministic, the
 * first real call of a large shape times its TRIES best suggestions on the operands at hand and keeps the fastest. Where the result adds to
 * itself, they are timed with a factor of 1e-30, which changes no element but zeros, and these by less than their last digit. */
#include "cuda.h"
#include "gemv.h"
#include <string.h>

#define TRIES 6
#define ROUNDS 3
#define LARGE 1e9 /* operations from which a choice is worth timing */
#define BUCKETS 1024

typedef struct key { /* compared as bytes: no padding, zero-filled */
    int64_t m, n, k, lda, ldb, ldc, ldd;
    int32_t ta, tb, in, out, bias, beta, aligned, in_place;
} key;

typedef struct entry {
    key key;
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, c, d;
    cublasLtMatmulAlgo_t algo;
    int tuned;
    struct entry *next;
} entry;

struct gemm_cache { entry *bucket[BUCKETS]; };

static int blas_check(const gpu *c, cublasStatus_t s, const char *what)
{
    if (s == CUBLAS_STATUS_SUCCESS) return CO_OK;
    return CO_FAIL(c->host, CO_E_DEVICE, "backend cuda, device %d: cuBLASLt, %s: %s", c->device, what, cublasLtGetStatusString(s));
}

int gemm_open(gpu *c)
{
    c->gemms = c->host->alloc(c->host, sizeof *c->gemms, 16);
    if (!c->gemms) return CO_FAIL(c->host, CO_E_NOMEM, "backend cuda: out of memory");
    return blas_check(c, cublasLtCreate(&c->blas), "opening");
}

static void entry_free(const gpu *c, entry *e)
{
    const cublasLtMatrixLayout_t layouts[] = {e->a, e->b, e->c, e->d};
    if (e->op) (void)cublasLtMatmulDescDestroy(e->op);
    for (int i = 0; i < 4; i++)
        if (layouts[i]) (void)cublasLtMatrixLayoutDestroy(layouts[i]);
    c->host->free(c->host, e);
}

void gemm_close(gpu *c)
{
    for (int i = 0; c->gemms && i < BUCKETS; i++)
        for (entry *e = c->gemms->bucket[i], *next; e; e = next) {
            next = e->next;
            entry_free(c, e);
        }
    c->host->free(c->host, c->gemms);
    if (c->blas) (void)cublasLtDestroy(c->blas);
}

static cudaDataType_t type_of(uint32_t t) { return t == CO_BF16 ? CUDA_R_16BF : t == CO_F16 ? CUDA_R_16F : CUDA_R_32F; }

/* Largest power of two up to 256 that divides an address. */
static int alignment(const void *p)
{
    const uintptr_t a = (uintptr_t)p;
    int n = 1;
    while (n < 256 && !(a & (uintptr_t)n)) n *= 2;
    return n;
}

static key key_of(const gemm *g)
{
    key k;
    int least = 256;
    const void *const all[] = {g->a, g->b, g->c ? g->c : g->d, g->d};
    for (int i = 0; i < 4; i++) least = alignment(all[i]) < least ? alignment(all[i]) : least;
    memset(&k, 0, sizeof k);
    k.m = g->m, k.n = g->n, k.k = g->k, k.lda = g->lda, k.ldb = g->ldb, k.ldc = g->c ? g->ldc : g->ldd, k.ldd = g->ldd;
    k.ta = g->ta, k.tb = g->tb, k.in = g->in, k.out = g->out, k.bias = g->bias != NULL, k.beta = g->beta != 0;
    k.aligned = least, k.in_place = g->beta != 0 && g->c == g->d;
    return k;
}

/* cuBLASLt is column major: it computes the transpose, d^T = op(b)^T op(a)^T. */
/* Both operands have the type g->in here: others went to gemm_plain. */
static int describe(gpu *c, const gemm *g, entry *e)
{
    const cublasOperation_t ta = g->tb ? CUBLAS_OP_T : CUBLAS_OP_N, tb = g->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cudaDataType_t in = type_of(g->in), out = type_of(g->out);
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    int r = blas_check(c, cublasLtMatmulDescCreate(&e->op, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a descriptor");
    if (r) return r;
    cublasLtMatmulDescSetAttribute(e->op, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta);
    cublasLtMatmulDescSetAttribute(e->op, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb);
    if (g->bias) {
        cublasLtMatmulDescSetAttribute(e->op, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
        cublasLtMatmulDescSetAttribute(e->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &g->bias, sizeof g->bias);
    }
    const uint64_t m = (uint64_t)g->m, n = (uint64_t)g->n, k = (uint64_t)g->k;
    r = blas_check(c, cublasLtMatrixLayoutCreate(&e->a, in, g->tb ? k : n, g->tb ? n : k, g->ldb), "a layout");
    if (r == CO_OK) r = blas_check(c, cublasLtMatrixLayoutCreate(&e->b, in, g->ta ? m : k, g->ta ? k : m, g->lda), "a layout");
    if (r == CO_OK) r = blas_check(c, cublasLtMatrixLayoutCreate(&e->c, out, n, m, e->key.ldc), "a layout");
    if (r == CO_OK) r = blas_check(c, cublasLtMatrixLayoutCreate(&e->d, out, n, m, g->ldd), "a layout");
    return r;
}

static cublasStatus_t multiply(gpu *c, const gemm *g, entry *e, const cublasLtMatmulAlgo_t *algo, void *workspace, cudaStream_t on)
{
    const void *add = g->c ? g->c : g->d;
    if (g->bias) cublasLtMatmulDescSetAttribute(e->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &g->bias, sizeof g->bias);
    return cublasLtMatmul(c->blas, e->op, &g->alpha, g->b, e->a, g->a, e->b, &g->beta, add, e->c, g->d, e->d, algo, workspace, GEMM_WORKSPACE, on);
}

static int suggest(gpu *c, const gemm *g, entry *e, cublasLtMatmulHeuristicResult_t *list, int most, int *n)
{
    cublasLtMatmulPreference_t pref = NULL;
    const size_t bytes = GEMM_WORKSPACE;
    const uint32_t align = (uint32_t)e->key.aligned;
    int r = blas_check(c, cublasLtMatmulPreferenceCreate(&pref), "a preference");
    if (r) return r;
    cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes);
    cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &align, sizeof align);
    cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &align, sizeof align);
    cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &align, sizeof align);
    cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &align, sizeof align);
    const cublasStatus_t s = cublasLtMatmulAlgoGetHeuristic(c->blas, e->op, e->a, e->b, e->c, e->d, pref, most, list, n);
    (void)cublasLtMatmulPreferenceDestroy(pref);
    if (s != CUBLAS_STATUS_SUCCESS || *n == 0)
        return CO_FAIL(c->host, CO_E_UNSUPPORTED, "backend cuda: cuBLASLt has no algorithm for a product of %lld x %lld x %lld (%s)", (long long)g->m,
                       (long long)g->n, (long long)g->k, cublasLtGetStatusString(s));
    return CO_OK;
}

static int capturing(cudaStream_t on)
{
    enum cudaStreamCaptureStatus s = cudaStreamCaptureStatusNone;
    return cudaStreamIsCapturing(on, &s) != cudaSuccess || s != cudaStreamCaptureStatusNone;
}

static int tune(gpu *c, const gemm *asked, entry *e, void *workspace, cudaStream_t on)
{
    gemm timed = *asked;
    const gemm *g = &timed;
    if (e->key.in_place) timed.alpha = 1e-30f;
    cublasLtMatmulHeuristicResult_t list[TRIES];
    cudaEvent_t start = NULL, stop = NULL;
    float best = -1;
    int n = 0, r = suggest(c, g, e, list, TRIES, &n);
    if (r == CO_OK) r = cuda_check(c, cudaEventCreate(&start), "an event");
    if (r == CO_OK) r = cuda_check(c, cudaEventCreate(&stop), "an event");
    for (int i = 0; i < n && r == CO_OK; i++) {
        float ms = 0;
        if (multiply(c, g, e, &list[i].algo, workspace, on) != CUBLAS_STATUS_SUCCESS) continue;
        (void)cudaEventRecord(start, on);
        for (int k = 0; k < ROUNDS; k++) (void)multiply(c, g, e, &list[i].algo, workspace, on);
        (void)cudaEventRecord(stop, on);
        r = cuda_check(c, cudaEventSynchronize(stop), "timing a product");
        (void)cudaEventElapsedTime(&ms, start, stop);
        if (r == CO_OK && (best < 0 || ms < best)) best = ms, e->algo = list[i].algo;
    }
    if (start) (void)cudaEventDestroy(start);
    if (stop) (void)cudaEventDestroy(stop);
    e->tuned = 1;
    return r;
}

static int find(gpu *c, const gemm *g, entry **out)
{
    const key k = key_of(g);
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (size_t i = 0; i < sizeof k; i++) h = (h ^ ((const unsigned char *)&k)[i]) * 1099511628211u;
    entry **at = &c->gemms->bucket[h % BUCKETS];
    for (entry *e = *at; e; e = e->next)
        if (memcmp(&e->key, &k, sizeof k) == 0) return *out = e, CO_OK;
    entry *e = c->host->alloc(c->host, sizeof *e, 16);
    if (!e) return CO_FAIL(c->host, CO_E_NOMEM, "backend cuda: out of memory");
    cublasLtMatmulHeuristicResult_t first;
    int n = 0;
    e->key = k;
    int r = describe(c, g, e);
    if (r == CO_OK) r = suggest(c, g, e, &first, 1, &n);
    if (r) {
        entry_free(c, e);
        return r;
    }
    e->algo = first.algo;
    e->next = *at;
    *at = *out = e;
    return CO_OK;
}

int gemm_run(gpu *c, const gemm *g, void *workspace, cudaStream_t on)
{
    entry *e;
    if (g->m == 0 || g->n == 0) return CO_OK;
    if (gemv_serves(g)) return cuda_check(c, gemv_run(c, g, on), "a product of few rows");
    if (gemm_is_odd(g)) {
        gemm_plain(g, on);
        return CO_OK;
    }
    int r = find(c, g, &e);
    if (r) return r;
    const double ops = 2.0 * (double)g->m * (double)g->n * (double)g->k;
    if (!e->tuned && !c->deterministic && ops >= LARGE && (!e->key.in_place || g->beta == 1) && !capturing(on)) {
        r = tune(c, g, e, workspace, on);
        if (r) return r;
    }
    return blas_check(c, multiply(c, g, e, &e->algo, workspace, on), "a product");
}
