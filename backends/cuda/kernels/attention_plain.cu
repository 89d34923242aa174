/* attention_plain.cu: attention in plain fp32 arithmetic for any element type and head sizes up to 256: what the tensor cores do
 * not serve (fp32, odd head sizes, unaligned views) and what the fast kernels are compared with.
 *
 * A block of 256 threads owns 16 rows and walks the rows they see 16 at a time; thread (r, c) owns one score, then the columns
 * c, c+16, … of row r's result. Tiles stand in shared memory as fp32. The work is 4 hd operations a pair in the forward (10 in
 * the backward: 14 here, since dq and dk, dv are separate passes that each compute the probabilities), and every operand comes
 * from shared memory, so about a quarter of the fp32 rate is the most it can reach. */
#include "attention.cuh"

namespace {
enum { R = 16, C = 16, THREADS = R * C, MAX_HD = 256, COLS = MAX_HD / C };

template <typename T> __device__ void load_tile(float *to, int pitch, const T *from, int64_t ld, int row0, int end, int hd)
{
    for (int i = threadIdx.x; i < R * hd; i += THREADS) {
        const int r = i / hd, c = i - r * hd;
        to[r * pitch + c] = row0 + r < end ? attn_float(from[(int64_t)(row0 + r) * ld + c]) : 0.0f;
    }
}
__device__ float dot(const float *x, const float *y, int n)
{
    float s = 0;
    for (int i = 0; i < n; i++) s = fmaf(x[i], y[i], s);
    return s;
}
__device__ float row_max(float x)
{
    for (int o = 8; o; o >>= 1) x = fmaxf(x, __shfl_xor_sync(~0u, x, o));
    return x;
}
__device__ float row_sum(float x)
{
    for (int o = 8; o; o >>= 1) x += __shfl_xor_sync(~0u, x, o);
    return x;
}
/* acc[c] += weight[row][·] x tile[·][c] */
__device__ void accumulate(float *acc, const float *weight, const float *tile, int pitch, int hd, int c)
{
    for (int j = 0; j < C; j++) {
        const float w = weight[j];
#pragma unroll
        for (int i = 0; i < COLS; i++)
            if (c + i * C < hd) acc[i] = fmaf(w, tile[j * pitch + c + i * C], acc[i]);
    }
}

template <typename T> __global__ void __launch_bounds__(THREADS) forward(attn_args a)
{
    extern __shared__ float shared[];
    const int n = attn_tokens(a), head = blockIdx.y, r0 = blockIdx.x * R, hd = a.hd, pitch = hd + 1;
    if (r0 >= n) return;
    float *q = shared, *kv = q + R * pitch, *p = kv + C * pitch;
    const int r = threadIdx.x / C, c = threadIdx.x % C, row = r0 + r, last = min(r0 + R, n) - 1;
    const int64_t qc = (int64_t)head * hd, kc = (int64_t)(head / a.group) * hd;
    const attn_span s = row < n ? attn_keys_of(a, row, a.bounds[row].x, a.bounds[row].y) : attn_nothing();
    const int from = attn_keys_of(a, r0, a.bounds[r0].x, a.bounds[r0].y).lo;
    const int to = attn_keys_of(a, last, a.bounds[last].x, a.bounds[last].y).hi;
    const float slope = attn_slope2(a, head);
    load_tile(q, pitch, (const T *)a.q + qc, a.ldq, r0, n, hd);
    float acc[COLS] = {}, m = -INFINITY, l = 0;
    for (int j0 = from; j0 <= to; j0 += C) {
        __syncthreads();
        load_tile(kv, pitch, (const T *)a.k + kc, a.ldk, j0, n, hd);
        __syncthreads();
        float x = attn_in(s, j0 + c) ? fmaf(dot(q + r * pitch, kv + c * pitch, hd), a.scale2, slope * (float)(j0 + c - row)) : -INFINITY;
        const float now = fmaxf(m, row_max(x)), at = now == -INFINITY ? 0 : now, keep = exp2f(m - at);
        x = exp2f(x - at);
        l = l * keep + row_sum(x);
        m = now;
        __syncthreads();
        p[threadIdx.x] = x;
        load_tile(kv, pitch, (const T *)a.v + kc, a.ldv, j0, n, hd);
        __syncthreads();
        for (int i = 0; i < COLS; i++) acc[i] *= keep;
        accumulate(acc, p + r * C, kv, pitch, hd, c);
    }
    if (row >= n) return;
    for (int i = 0; i < COLS; i++)
        if (c + i * C < hd) ((T *)a.o)[(int64_t)row * a.ldo + qc + c + i * C] = attn_from<T>(acc[i] / l);
    if (a.lse && c == 0) a.lse[(int64_t)row * a.ldlse + head] = (m + log2f(l)) * ATTN_LN2;
}

template <typename T> __global__ void __launch_bounds__(THREADS) grad_q(attn_args a)
{
    extern __shared__ float shared[];
    const int n = attn_tokens(a), head = blockIdx.y, r0 = blockIdx.x * R, hd = a.hd, pitch = hd + 1;
    if (r0 >= n) return;
    float *q = shared, *g = q + R * pitch, *k = g + R * pitch, *v = k + C * pitch, *ds = v + C * pitch;
    const int r = threadIdx.x / C, c = threadIdx.x % C, row = r0 + r, last = min(r0 + R, n) - 1;
    const int64_t qc = (int64_t)head * hd, kc = (int64_t)(head / a.group) * hd;
    const attn_span s = row < n ? attn_keys_of(a, row, a.bounds[row].x, a.bounds[row].y) : attn_nothing();
    const int from = attn_keys_of(a, r0, a.bounds[r0].x, a.bounds[r0].y).lo;
    const int to = attn_keys_of(a, last, a.bounds[last].x, a.bounds[last].y).hi;
    const float slope = attn_slope2(a, head);
    const float2 st = row < n ? a.stat[head * a.stat_rows + row] : make_float2(0, 0);
    load_tile(q, pitch, (const T *)a.q + qc, a.ldq, r0, n, hd);
    load_tile(g, pitch, (const T *)a.d_o + qc, a.lddo, r0, n, hd);
    float acc[COLS] = {};
    for (int j0 = from; j0 <= to; j0 += C) {
        __syncthreads();
        load_tile(k, pitch, (const T *)a.k + kc, a.ldk, j0, n, hd);
        load_tile(v, pitch, (const T *)a.v + kc, a.ldv, j0, n, hd);
        __syncthreads();
        const float x = fmaf(dot(q + r * pitch, k + c * pitch, hd), a.scale2, slope * (float)(j0 + c - row));
        ds[threadIdx.x] = attn_in(s, j0 + c) ? exp2f(x - st.x) * (dot(g + r * pitch, v + c * pitch, hd) - st.y) * a.scale : 0;
        __syncthreads();
        accumulate(acc, ds + r * C, k, pitch, hd, c);
    }
    if (row >= n) return;
    for (int i = 0; i < COLS; i++)
        if (c + i * C < hd) ((T *)a.dq)[(int64_t)row * a.lddq + qc + c + i * C] = attn_from<T>(acc[i]);
}

/* Rows are keys of a key head, columns queries of its heads, one head after the other. */
template <typename T> __global__ void __launch_bounds__(THREADS) grad_kv(attn_args a)
{
    extern __shared__ float shared[];
    const int n = attn_tokens(a), kv_head = blockIdx.y, r0 = blockIdx.x * R, hd = a.hd, pitch = hd + 1;
    if (r0 >= n) return;
    float *k = shared, *v = k + R * pitch, *q = v + R * pitch, *g = q + C * pitch, *p = g + C * pitch, *ds = p + THREADS;
    const int r = threadIdx.x / C, c = threadIdx.x % C, row = r0 + r, last = min(r0 + R, n) - 1;
    const int64_t kc = (int64_t)kv_head * hd;
    const attn_span s = row < n ? attn_queries_of(a, row, a.bounds[row].x, a.bounds[row].y) : attn_nothing();
    const int from = attn_queries_of(a, r0, a.bounds[r0].x, a.bounds[r0].y).lo;
    const int to = attn_queries_of(a, last, a.bounds[last].x, a.bounds[last].y).hi;
    load_tile(k, pitch, (const T *)a.k + kc, a.ldk, r0, n, hd);
    load_tile(v, pitch, (const T *)a.v + kc, a.ldv, r0, n, hd);
    float dk[COLS] = {}, dv[COLS] = {};
    for (int head = kv_head * a.group; head < (kv_head + 1) * a.group; head++) {
        const int64_t qc = (int64_t)head * hd;
        const float slope = attn_slope2(a, head);
        for (int i0 = from; i0 <= to; i0 += C) {
            __syncthreads();
            load_tile(q, pitch, (const T *)a.q + qc, a.ldq, i0, n, hd);
            load_tile(g, pitch, (const T *)a.d_o + qc, a.lddo, i0, n, hd);
            __syncthreads();
            const bool seen = attn_in(s, i0 + c);
            const float2 st = seen ? a.stat[head * a.stat_rows + i0 + c] : make_float2(0, 0);
            const float x = fmaf(dot(k + r * pitch, q + c * pitch, hd), a.scale2, slope * (float)(row - (i0 + c)));
            const float pr = seen ? exp2f(x - st.x) : 0;
            p[threadIdx.x] = pr;
            ds[threadIdx.x] = seen ? pr * (dot(v + r * pitch, g + c * pitch, hd) - st.y) * a.scale : 0;
            __syncthreads();
            accumulate(dk, ds + r * C, q, pitch, hd, c);
            accumulate(dv, p + r * C, g, pitch, hd, c);
        }
    }
    if (row >= n) return;
    for (int i = 0; i < COLS; i++)
        if (c + i * C < hd) {
            if (a.dk) ((T *)a.dk)[(int64_t)row * a.lddk + kc + c + i * C] = attn_from<T>(dk[i]);
            if (a.dv) ((T *)a.dv)[(int64_t)row * a.lddv + kc + c + i * C] = attn_from<T>(dv[i]);
        }
}

template <typename T> cudaError_t run(attn_pass pass, attn_args *a, int rows, cudaStream_t on)
{
    const size_t tile = (size_t)R * (size_t)(a->hd + 1) * sizeof(float), scores = THREADS * sizeof(float);
    void (*kernel)(attn_args) = pass == ATTN_FORWARD ? forward<T> : pass == ATTN_DQ ? grad_q<T> : grad_kv<T>;
    const size_t bytes = pass == ATTN_FORWARD ? 2 * tile + scores : 4 * tile + (pass == ATTN_DQ ? 1 : 2) * scores;
    const dim3 grid((unsigned)((rows + R - 1) / R), (unsigned)(pass == ATTN_DKDV ? a->kv_heads : a->heads));
    const cudaError_t e = cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    if (e) return e;
    kernel<<<grid, THREADS, bytes, on>>>(*a);
    return cudaGetLastError();
}
} // namespace

cudaError_t attn_plain_run(uint32_t dtype, attn_pass pass, attn_args *a, int rows, cudaStream_t on)
{
    if (dtype == CO_F32) return run<float>(pass, a, rows, on);
    if (dtype == CO_BF16) return run<__nv_bfloat16>(pass, a, rows, on);
    return run<__half>(pass, a, rows, on);
}
