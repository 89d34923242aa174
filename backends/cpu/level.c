/* level.c: which of the kernels' levels a backend uses. */
#include "cpu.h"

const cpu_level *cpu_level_for(int wanted)
{
#if defined(__x86_64__)
    if ((wanted == CPU_SIMD_AUTO || wanted == CPU_SIMD_AVX512) && cpu_has_avx512()) return &cpu_avx512;
    if ((wanted == CPU_SIMD_AUTO || wanted == CPU_SIMD_AVX2) && cpu_has_avx2()) return &cpu_avx2;
#endif
    return wanted == CPU_SIMD_AUTO || wanted == CPU_SIMD_PLAIN ? &cpu_plain : NULL;
}
