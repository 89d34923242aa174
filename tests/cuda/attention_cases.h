/* attention_cases.h: one attention call with everything around it, for attention_check.cu: operands as column views of one fused
 * buffer, rows past the live count filled with NaN, outputs poisoned, a double-precision reference. */
#ifndef ATTENTION_CASES_H
#define ATTENTION_CASES_H
#include "../../backends/cuda/attention.h"
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#define CHECK(e)                                                                                                                    \
    do {                                                                                                                            \
        const cudaError_t e_ = (e);                                                                                                 \
        if (e_ != cudaSuccess) {                                                                                                    \
            printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #e, cudaGetErrorString(e_));                                              \
            exit(4);                                                                                                                \
        }                                                                                                                           \
    } while (0)

struct shape {
    uint32_t dtype;
    int heads, kv_heads, hd, causal, window, alibi;
    std::vector<int> lens;
    std::vector<int> past; /* cached */
    int spare_tokens, spare_seqs, split_views; /* capacity beyond the live counts; q, k, v in buffers of their own, odd strides */
};

inline size_t size_of(uint32_t t) { return t == CO_F32 ? 4 : 2; }
inline const char *name_of(uint32_t t) { return t == CO_F32 ? "fp32" : t == CO_BF16 ? "bf16" : "fp16"; }
inline double value_of(uint32_t t, const void *p, size_t i)
{
    if (t == CO_F32) return ((const float *)p)[i];
    if (t == CO_BF16) return (double)(float)((const __nv_bfloat16 *)p)[i];
    return (double)(float)((const __half *)p)[i];
}
inline void put(uint32_t t, void *p, size_t i, double x)
{
    if (t == CO_F32) ((float *)p)[i] = (float)x;
    else if (t == CO_BF16) ((__nv_bfloat16 *)p)[i] = __nv_bfloat16((float)x);
    else ((__half *)p)[i] = __half((float)x);
}
/* Normal enough: the sum of four uniforms, seeded, the same everywhere. */
struct dice {
    uint64_t s;
    double uniform()
    {
        s += 0x9E3779B97F4A7C15ull;
        uint64_t z = (s ^ (s >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
    }
    double normal() { return (uniform() + uniform() + uniform() + uniform() - 2) * 1.7320508; }
};

/* A matrix on the device with a copy here. */
struct matrix {
    uint32_t t;
    int64_t rows, stride;
    std::vector<unsigned char> host;
    unsigned char *dev;
    matrix(uint32_t type, int64_t r, int64_t s) : t(type), rows(r), stride(s), host((size_t)(r * s) * size_of(type) + 16), dev(nullptr)
    {
        CHECK(cudaMalloc((void **)&dev, host.size()));
    }
    ~matrix() { cudaFree(dev); }
    matrix(const matrix &) = delete;
    void *at(int64_t col) { return dev + (size_t)col * size_of(t); }
    double get(int64_t r, int64_t c) const { return value_of(t, host.data(), (size_t)(r * stride + c)); }
    void set(int64_t r, int64_t c, double x) { put(t, host.data(), (size_t)(r * stride + c), x); }
    void fill(double x)
    {
        for (int64_t i = 0; i < rows * stride; i++) put(t, host.data(), (size_t)i, x);
    }
    void up() { CHECK(cudaMemcpy(dev, host.data(), host.size(), cudaMemcpyHostToDevice)); }
    void down() { CHECK(cudaMemcpy(host.data(), dev, host.size(), cudaMemcpyDeviceToHost)); }
};

inline void parallel(int n, const std::function<void(int)> &f)
{
    std::vector<std::thread> t;
    const int w = (int)std::thread::hardware_concurrency();
    for (int i = 0; i < w; i++)
        t.emplace_back([=, &f] {
            for (int k = i; k < n; k += w) f(k);
        });
    for (auto &x : t) x.join();
}

inline double slope_of(int alibi, int head, int n)
{
    int m = 1;
    if (!alibi) return 0;
    while (2 * m <= n) m *= 2;
    return head < m ? pow(2, -8.0 * (head + 1) / m) : pow(2, -8.0 * (2 * (head - m) + 1) / (2.0 * m));
}

/* Forward, and the gradients for d_o if wanted; dense double matrices [tokens][heads][hd]. Keys of sequence s: its past rows, then
 * its own. kp, vp: past rows of all sequences end to end. */
struct reference {
    std::vector<double> o, lse, dq, dk, dv;
    typedef std::vector<double> dense;
    void run(const shape &s, const dense &q, const dense &k, const dense &v, const dense *kp, const dense *vp, const dense *g)
    {
        const int H = s.heads, K = s.kv_heads, hd = s.hd, group = H / K;
        const double scale = 1 / sqrt((double)hd);
        o.assign(q.size(), 0), lse.assign(q.size() / hd, 0), dq.assign(q.size(), 0), dk.assign(k.size(), 0), dv.assign(k.size(), 0);
        std::vector<int64_t> start{0}, pstart{0};
        for (size_t i = 0; i < s.lens.size(); i++) {
            start.push_back(start.back() + s.lens[i]);
            pstart.push_back(pstart.back() + (s.past.empty() ? 0 : s.past[i]));
        }
        parallel((int)s.lens.size() * K, [&](int task) {
            const int q0 = task / K, kh = task % K, past = s.past.empty() ? 0 : s.past[q0], n = s.lens[q0], all = past + n;
            std::vector<double> p(all), dp(all);
            auto key = [&](const dense &own, const dense *old, int j) {
                return j < past ? &(*old)[((pstart[q0] + j) * K + kh) * hd] : &own[((start[q0] + j - past) * K + kh) * hd];
            };
            for (int h = kh * group; h < (kh + 1) * group; h++)
                for (int i = 0; i < n; i++) {
                    const size_t row = (start[q0] + i) * H + h;
                    const double slope = slope_of(s.alibi, h, H);
                    double top = -INFINITY, sum = 0, delta = 0;
                    const int pos = past + i, lo = s.window > 0 ? (pos - s.window + 1 > 0 ? pos - s.window + 1 : 0) : 0, hi = s.causal ? pos : all - 1;
                    for (int j = lo; j <= hi; j++) {
                        const double *x = key(k, kp, j);
                        double d = 0;
                        for (int c = 0; c < hd; c++) d += q[row * hd + c] * x[c];
                        p[j] = scale * d + slope * (j - pos);
                        top = fmax(top, p[j]);
                    }
                    for (int j = lo; j <= hi; j++) sum += p[j] = exp(p[j] - top);
                    lse[row] = top + log(sum);
                    for (int j = lo; j <= hi; j++) {
                        const double *x = key(v, vp, j);
                        p[j] /= sum;
                        for (int c = 0; c < hd; c++) o[row * hd + c] += p[j] * x[c];
                    }
                    if (!g) continue;
                    for (int c = 0; c < hd; c++) delta += o[row * hd + c] * (*g)[row * hd + c];
                    for (int j = lo; j <= hi; j++) {
                        const size_t kr = (start[q0] + j) * K + kh;
                        double d = 0;
                        for (int c = 0; c < hd; c++) d += (*g)[row * hd + c] * v[kr * hd + c];
                        const double ds = p[j] * (d - delta) * scale;
                        for (int c = 0; c < hd; c++) {
                            dq[row * hd + c] += ds * k[kr * hd + c];
                            dk[kr * hd + c] += ds * q[row * hd + c];
                            dv[kr * hd + c] += p[j] * (*g)[row * hd + c];
                        }
                    }
                }
        });
    }
};

/* Largest of: norm of the difference over norm; an element's difference over 16 (itself + the rms). NaN: 1e9. Where nothing but zero
 * is wanted (dq and dk of rows that see themselves alone) half of the operands' own size stands for the norm. */
inline double distance(const matrix &m, int64_t col, const std::vector<double> &want, int64_t rows, int64_t cols)
{
    double dd = 0, ww = 0, worst = 0;
    for (size_t i = 0; i < want.size(); i++) ww += want[i] * want[i];
    if (ww < 1e-12 * (double)want.size()) ww = 0.25 * (double)want.size();
    const double rms = want.empty() ? 1 : sqrt(ww / (double)want.size());
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            const double w = want[(size_t)(r * cols + c)], d = fabs(m.get(r, col + c) - w);
            if (!(d < 1e30)) return 1e9;
            dd += d * d;
            worst = fmax(worst, d / (16 * (fabs(w) + rms)));
        }
    return fmax(sqrt(dd / (ww + 1e-60)), worst);
}
#endif
