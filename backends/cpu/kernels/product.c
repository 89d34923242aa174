/* product.c: C = op(A) op(B) + beta C, row major, on all threads. A thread takes rows of C, or columns if there are more of
 * them, and calls OpenBLAS for those alone: each packs the smaller operand for itself, but nobody waits for anybody until the
 * end, where OpenBLAS's own threads wait for each other at every block. 2 threads, AMD EPYC (Zen 3), GFLOP/s of OpenBLAS's
 * threads and of these: [2048, 288] x [288, 1536] 165, 175; [1536, 2048] x [2048, 288] 145, 172; [2048, 768] x [768, 288]
 * 169, 184; [288, 2048] x [2048, 288] 155, 167; large products (768 x 4096) 183, 184. With little for each thread, packing
 * costs more than waiting: that is left to OpenBLAS. */
#include "kernels.h"

#define SHARE 128 /* rows or columns a thread, at least */
#define LEAST 32  /* the same where OpenBLAS has threads of its own, which are not used (cpu_blas.apart) */
#define STEP 16   /* shares are multiples of this */

void cpu_product(const cpu *c, int ta, int tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                 float beta, float *out, int64_t ldc)
{
    const int by_rows = m >= n;
    const int64_t whole = by_rows ? m : n, most = c->blas.apart ? whole / LEAST : c->threads;
    const int threads = most < 1 ? 1 : most < c->threads ? (int)most : c->threads;
    if ((!c->blas.apart && whole < (int64_t)threads * SHARE) || threads == 1) {
        c->blas.sgemm(BLAS_ROW, ta, tb, (int)m, (int)n, (int)k, 1, a, (int)lda, b, (int)ldb, beta, out, (int)ldc);
        return;
    }
#pragma omp parallel num_threads(threads)
    {
        int64_t from, to;
        cpu_share((whole + STEP - 1) / STEP, omp_get_thread_num(), omp_get_num_threads(), &from, &to);
        from *= STEP, to = to * STEP < whole ? to * STEP : whole;
        const float *part_a = by_rows ? a + from * (ta == BLAS_T ? 1 : lda) : a, *part_b = by_rows ? b : b + from * (tb == BLAS_T ? ldb : 1);
        if (from < to)
            c->blas.sgemm(BLAS_ROW, ta, tb, (int)(by_rows ? to - from : m), (int)(by_rows ? n : to - from), (int)k, 1, part_a, (int)lda, part_b,
                          (int)ldb, beta, by_rows ? out + from * ldc : out + from, (int)ldc);
    }
}

void cpu_row_product(const cpu *c, int64_t n, int64_t k, const float *w, int64_t ldw, const float *x, float beta, float *y)
{
    const int64_t most = c->blas.apart ? n / LEAST : 1;
    const int threads = most < 1 ? 1 : most < c->threads ? (int)most : c->threads;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        int64_t from, to;
        cpu_share(n, omp_get_thread_num(), omp_get_num_threads(), &from, &to);
        if (from < to) c->blas.sgemv(BLAS_ROW, BLAS_N, (int)(to - from), (int)k, 1, w + from * ldw, (int)ldw, x, 1, beta, y + from, 1);
    }
}
