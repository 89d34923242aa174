/* product.c: C = op(A) op(B) + beta C, row major, on all threads. A thread takes rows of C and calls OpenBLAS for them alone:
 * each packs B again, but nobody waits for anybody until the end, where OpenBLAS's own threads wait for each other at every
 * block. 2 threads, AMD EPYC (Zen 3), GFLOP/s of OpenBLAS's threads and of these: [2048, 288] x [288, 1536] 165, 175;
 * [1536, 2048] x [2048, 288] 145, 172; [2048, 768] x [768, 288] 169, 184; [288, 2048] x [2048, 288] 155, 167; large
 * products (768 x 4096) 183, 184. With few rows a thread, packing costs more than waiting: those are left to OpenBLAS. */
#include "kernels.h"

#define ROWS_EACH 128 /* at least */

void cpu_product(const cpu *c, int ta, int tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                 float beta, float *out, int64_t ldc)
{
    if (m < (int64_t)c->threads * ROWS_EACH) {
        c->blas.sgemm(BLAS_ROW, ta, tb, (int)m, (int)n, (int)k, 1, a, (int)lda, b, (int)ldb, beta, out, (int)ldc);
        return;
    }
#pragma omp parallel num_threads(c->threads)
    {
        int64_t from, to;
        cpu_share((m + 15) / 16, omp_get_thread_num(), omp_get_num_threads(), &from, &to);
        from *= 16, to = to * 16 < m ? to * 16 : m;
        if (from < to)
            c->blas.sgemm(BLAS_ROW, ta, tb, (int)(to - from), (int)n, (int)k, 1, a + from * (ta == BLAS_T ? 1 : lda), (int)lda, b, (int)ldb,
                          beta, out + from * ldc, (int)ldc);
    }
}
