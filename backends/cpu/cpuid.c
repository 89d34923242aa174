/* cpuid.c: what this processor can do: which of our kernels it runs, and which of OpenBLAS's it wants. Debian 12's OpenBLAS
 * 0.3.21 does not know processors younger than itself and falls back to SSE3 or AVX2 code; told OPENBLAS_CORETYPE=SkylakeX
 * it runs its AVX-512 code, which any processor with the same instructions runs well. */
#include "cpu.h"

int cpu_has_avx2(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
#else
    return 0;
#endif
}
int cpu_has_avx512(void)
{
#if defined(__x86_64__)
    return cpu_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
#else
    return 0;
#endif
}

const char *cpu_core_type(void)
{
#if defined(__x86_64__)
    if (cpu_has_avx512()) return __builtin_cpu_supports("avx512bf16") ? "Cooperlake" : "SkylakeX";
    if (cpu_has_avx2()) return "Haswell";
#endif
    return NULL;
}
