/* cpuid.c: which of OpenBLAS's kernels this processor wants. Debian 12's OpenBLAS 0.3.21 does not know processors
 * younger than itself and falls back to SSE3 or AVX2 code; told OPENBLAS_CORETYPE=SkylakeX it runs its AVX-512 code,
 * which any processor with the same instructions runs well. `tests/cpu/blas_core.c` prints the speeds. */
#include "cpu.h"

const char *cpu_core_type(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        return __builtin_cpu_supports("avx512bf16") ? "Cooperlake" : "SkylakeX";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "Haswell";
#endif
    return NULL;
}
