/* attention_wgmma.cuh: the pieces of the Hopper kernels (compute capability 9.0, machine code for sm_90a): barriers in shared memory,
 * the bulk tensor copy engine, products of a warpgroup of 128 threads (wgmma).
 *
 * A tile of rows stands in shared memory as panels of 64 columns, 128 bytes a row, swizzled by the copy engine; a head of 80, 96 or
 * 128 columns is two panels (columns past the head come as zeros). The same panel serves as an operand along its rows (x y^T) and
 * across them (x y). Sums have the layout of mma.sync (attention_mma.cuh), 16 rows to a warp. */
#ifndef CUDA_ATTENTION_WGMMA_CUH
#define CUDA_ATTENTION_WGMMA_CUH
#include "attention_mma.cuh"
#include <cuda.h>

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define ATTN_SM90A 1
#else
#define ATTN_SM90A 0
#endif

namespace attn90 {
using attn::exp2_fast;
using attn::pair;
using attn::quad_max;
using attn::quad_sum;
using attn::shared_at;

#if ATTN_SM90A
/* A value that is the same in all lanes of a warp, so that the compiler knows: products must not stand behind branches that it takes for
 * divergent, or it runs them one at a time (C7520). */
__device__ __forceinline__ int same(int x) { return __shfl_sync(~0u, x, 0); }

/* ---- barriers: `phase` is the parity of the completion waited for ------------------------------------------------------ */
__device__ __forceinline__ void bar_init(uint32_t bar, int arrivals) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(arrivals)); }
__device__ __forceinline__ void bar_expect(uint32_t bar, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
}
__device__ __forceinline__ void bar_arrive(uint32_t bar) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory"); }
__device__ __forceinline__ void bar_wait(uint32_t bar, int phase)
{
    asm volatile("{.reg .pred p;\n"
                 "again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                 "@!p bra again;}\n" ::"r"(bar), "r"(phase) : "memory");
}
/* Arrives when the thread's copies so far have landed. */
__device__ __forceinline__ void bar_arrive_copies(uint32_t bar) { asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(bar) : "memory"); }
/* Some warps of the block meet; arrive does not wait. */
__device__ __forceinline__ void meet(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
__device__ __forceinline__ void meet_arrive(int id, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

/* A box of 64 columns of head `head`, rows from `row` on (rows and columns outside the map are zeros). */
__device__ __forceinline__ void fetch_panel(uint32_t to, const CUtensorMap *map, uint32_t bar, int col, int head, int row)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(to),
                 "l"(map), "r"(bar), "r"(col), "r"(head), "r"(row) : "memory");
}
/* All panels of ROWS rows; returns nothing, the barrier expects PANELS*ROWS*128 bytes. */
template <int HD, int ROWS> __device__ __forceinline__ void fetch_rows(uint32_t to, const CUtensorMap *map, uint32_t bar, int head, int row)
{
#pragma unroll
    for (int p = 0; p < (HD + 63) / 64; p++) fetch_panel(to + p * ROWS * 128, map, bar, 64 * p, head, row);
}

/* ---- products --------------------------------------------------------------------------------------------------------- */
/* Operands in shared memory, 128-byte swizzle. along: rows of a panel are the operand's rows (depth runs along the columns);
 * across: depth runs down the rows, the next 64 columns lie `panel` bytes on. */
__device__ __forceinline__ uint64_t along(uint32_t at) { return (uint64_t)((at & 0x3ffff) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62; }
__device__ __forceinline__ uint64_t across(uint32_t at, uint32_t panel)
{
    return (uint64_t)((at & 0x3ffff) >> 4) | (uint64_t)(panel >> 4) << 16 | 64ull << 32 | 1ull << 62;
}
__device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int LEFT> __device__ __forceinline__ void products_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory"); }
/* Keeps the compiler from touching the sums before (after) this place. */
template <int N> __device__ __forceinline__ void pin(float (&c)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(c[i])::"memory");
}

/* ss: c (+)= a b^T, both along; rt: the same, a in registers; rs: c += a b, a in registers, b across */
template <typename T, int N> struct wgmma;
#define WGMMA_SUMS_64 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
#define WGMMA_OUT_64 "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]), \
    "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]), \
    "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]), \
    "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31])
#define WGMMA_SUMS_80 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39}, "
#define WGMMA_OUT_80 "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]), \
    "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]), \
    "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]), \
    "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31]), \
    "+f"(c[32]), "+f"(c[33]), "+f"(c[34]), "+f"(c[35]), "+f"(c[36]), "+f"(c[37]), "+f"(c[38]), "+f"(c[39])
#define WGMMA_SUMS_96 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47}, "
#define WGMMA_OUT_96 "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]), \
    "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]), \
    "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]), \
    "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31]), \
    "+f"(c[32]), "+f"(c[33]), "+f"(c[34]), "+f"(c[35]), "+f"(c[36]), "+f"(c[37]), "+f"(c[38]), "+f"(c[39]), \
    "+f"(c[40]), "+f"(c[41]), "+f"(c[42]), "+f"(c[43]), "+f"(c[44]), "+f"(c[45]), "+f"(c[46]), "+f"(c[47])
#define WGMMA_SUMS_128 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
#define WGMMA_OUT_128 "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]), \
    "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]), \
    "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]), \
    "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31]), \
    "+f"(c[32]), "+f"(c[33]), "+f"(c[34]), "+f"(c[35]), "+f"(c[36]), "+f"(c[37]), "+f"(c[38]), "+f"(c[39]), \
    "+f"(c[40]), "+f"(c[41]), "+f"(c[42]), "+f"(c[43]), "+f"(c[44]), "+f"(c[45]), "+f"(c[46]), "+f"(c[47]), \
    "+f"(c[48]), "+f"(c[49]), "+f"(c[50]), "+f"(c[51]), "+f"(c[52]), "+f"(c[53]), "+f"(c[54]), "+f"(c[55]), \
    "+f"(c[56]), "+f"(c[57]), "+f"(c[58]), "+f"(c[59]), "+f"(c[60]), "+f"(c[61]), "+f"(c[62]), "+f"(c[63])
#define WGMMA(N, AT0, AT1, AT2, AT3, AT4, AT5, T, TYPE)                                                                             \
    template <> struct wgmma<T, N> {                                                                                                 \
        static __device__ __forceinline__ void ss(float (&c)[N / 2], uint64_t a, uint64_t b, int add)                                \
        {                                                                                                                            \
            asm volatile("{.reg .pred p; setp.ne.b32 p, " AT2 ", 0;\n"                                                               \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " " WGMMA_SUMS_##N AT0 ", " AT1 ", p, 1, 1, 0, 0;}\n" \
                         : WGMMA_OUT_##N : "l"(a), "l"(b), "r"(add));                                                                \
        }                                                                                                                            \
        static __device__ __forceinline__ void rt(float (&c)[N / 2], const uint32_t (&a)[4], uint64_t b, int add)                    \
        {                                                                                                                            \
            asm volatile("{.reg .pred p; setp.ne.b32 p, " AT5 ", 0;\n"                                                               \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " " WGMMA_SUMS_##N                          \
                         "{" AT0 ", " AT1 ", " AT2 ", " AT3 "}, " AT4 ", p, 1, 1, 0;}\n"                                             \
                         : WGMMA_OUT_##N : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));                            \
        }                                                                                                                            \
        static __device__ __forceinline__ void rs(float (&c)[N / 2], const uint32_t (&a)[4], uint64_t b)                             \
        {                                                                                                                            \
            asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " " WGMMA_SUMS_##N                          \
                         "{" AT0 ", " AT1 ", " AT2 ", " AT3 "}, " AT4 ", 1, 1, 1, 1;\n"                                              \
                         : WGMMA_OUT_##N : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                      \
        }                                                                                                                            \
    };
#define WGMMA_BOTH(N, AT0, AT1, AT2, AT3, AT4, AT5)                                                                                       \
    WGMMA(N, AT0, AT1, AT2, AT3, AT4, AT5, __nv_bfloat16, "bf16")                                                                       \
    WGMMA(N, AT0, AT1, AT2, AT3, AT4, AT5, __half, "f16")
WGMMA_BOTH(64, "%32", "%33", "%34", "%35", "%36", "%37")
WGMMA_BOTH(80, "%40", "%41", "%42", "%43", "%44", "%45")
WGMMA_BOTH(96, "%48", "%49", "%50", "%51", "%52", "%53")
WGMMA_BOTH(128, "%64", "%65", "%66", "%67", "%68", "%69")

/* c = rows of x (panels of XROWS rows, from row x0) times y^T (panels of N rows), depth HD. */
template <typename T, int HD, int N, int XROWS> __device__ __forceinline__ void product_t(float (&c)[N / 2], uint32_t x, uint32_t y)
{
    const uint64_t a = along(x), b = along(y);
#pragma unroll
    for (int k = 0; k < HD / 16; k++)
        wgmma<T, N>::ss(c, a + (k / 4 * XROWS * 128 + k % 4 * 32) / 16, b + (k / 4 * N * 128 + k % 4 * 32) / 16, k > 0);
}
/* A warp's 16 rows of a tile (panels of ROWS rows, from row `row` on) as left operands, to be used again and again. */
template <int HD, int ROWS> __device__ __forceinline__ void hold(uint32_t (&f)[HD / 16][4], uint32_t tile, int row)
{
    const int l = threadIdx.x & 31, r = row + (l & 15);
#pragma unroll
    for (int k = 0; k < HD / 16; k++) attn::ldsm(f[k], tile + k / 4 * ROWS * 128 + r * 128 + ((k % 4 * 2 + (l >> 4)) ^ (r & 7)) * 16);
}
template <typename T, int HD, int N> __device__ __forceinline__ void product_t(float (&c)[N / 2], const uint32_t (&x)[HD / 16][4], uint32_t y)
{
    const uint64_t b = along(y);
#pragma unroll
    for (int k = 0; k < HD / 16; k++) wgmma<T, N>::rt(c, x[k], b + (k / 4 * N * 128 + k % 4 * 32) / 16, k > 0);
}
/* acc += p y: p [64, N] in registers, y panels of N rows. */
template <typename T, int HD, int N> __device__ __forceinline__ void product(float (&acc)[HD / 2], const uint32_t (&p)[N / 16][4], uint32_t y)
{
    const uint64_t b = across(y, N * 128);
#pragma unroll
    for (int k = 0; k < N / 16; k++) wgmma<T, HD>::rs(acc, p[k], b + k * 2048 / 16);
}
template <typename T, int N> __device__ __forceinline__ void as_left(uint32_t (&p)[N / 16][4], const float (&x)[N / 2])
{
#pragma unroll
    for (int k = 0; k < N / 16; k++)
#pragma unroll
        for (int i = 0; i < 4; i++) p[k][i] = pair<T>(x[8 * k + 2 * i], x[8 * k + 2 * i + 1]);
}
/* A warp's 16 rows of sums to rows row0.. below `end`, by way of a tile that nobody else uses there (panels of ROWS rows, from row `at` on). */
template <typename T, int HD, int ROWS> __device__ __forceinline__ void store_rows(T *to, int64_t ld, int row0, int end, unsigned char *tile, int at, const float (&x)[HD / 2])
{
    const int l = threadIdx.x & 31;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < HD / 8; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int r = at + l / 4 + 8 * h;
            *(uint32_t *)(tile + i / 8 * ROWS * 128 + r * 128 + ((i % 8) ^ (r & 7)) * 16 + 4 * (l & 3)) = pair<T>(x[4 * i + 2 * h], x[4 * i + 2 * h + 1]);
        }
    __syncwarp();
#pragma unroll
    for (int i = l; i < 16 * (HD / 8); i += 32) {
        const int r = i / (HD / 8), c = i - r * (HD / 8);
        if (row0 + r < end)
            *(uint4 *)(to + (int64_t)(row0 + r) * ld + 8 * c) = *(const uint4 *)(tile + c / 8 * ROWS * 128 + (at + r) * 128 + ((c % 8) ^ ((at + r) & 7)) * 16);
    }
}
/* Before a barrier that lets the copy engine write where this thread wrote. */
__device__ __forceinline__ void fence_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/* Registers change hands among warpgroups. The block has what it was launched with, 168 x 384 (128 x 512) a thread rounded down by
 * the launch bounds: shares must sum to no more, or the last one to ask waits for ever. */
template <int REGS> __device__ __forceinline__ void registers_up() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGS)); }
template <int REGS> __device__ __forceinline__ void registers_down() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGS)); }

/* Items of persistent blocks: the first is the block's own, the next is drawn, so that blocks that got cheap ones take more. Items past
 * the live tiles do not count. Every item is followed by one draw, hence the ticket ends where it began, at 0. */
__device__ __forceinline__ int items_of(const attn_args &a, int tiles) { return tiles * a.items_heads; }
__device__ __forceinline__ int next_item(const attn_args &a, int items) { return (int)gridDim.x + (int)atomicInc(a.ticket, (unsigned)items - 1); }
#endif /* ATTN_SM90A */
} // namespace attn90
#endif
