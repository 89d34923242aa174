/* attention_bench.cu: times the attention kernels; the second half of attention_check. Medians of ten timed launches on random
 * data. TFLOP/s count 4 B H T^2 hd / 2 for a causal forward and 2.5 times that for a backward. Decoding is given in GB/s of the cache
 * rows that must be read. */
#include "attention_cases.h"
#include <algorithm>

static std::string only; /* cases whose name holds it */
static bool wanted(const char *name) { return strstr(name, only.c_str()) != nullptr; }

/* n elements of noise: a prime number of them, over and over. */
static void *fresh(uint32_t t, size_t n)
{
    const size_t some = 1048573;
    char *p;
    CHECK(cudaMalloc((void **)&p, n * size_of(t)));
    std::vector<unsigned char> h(some * size_of(t));
    dice r = {n};
    for (size_t i = 0; i < some; i++) put(t, h.data(), i, r.normal());
    for (size_t i = 0; i < n; i += some) CHECK(cudaMemcpy(p + i * size_of(t), h.data(), std::min(some, n - i) * size_of(t), cudaMemcpyHostToDevice));
    return p;
}
static double median_ms(const std::function<void()> &f)
{
    cudaEvent_t a[11];
    std::vector<double> ms;
    for (auto &e : a) CHECK(cudaEventCreate(&e));
    for (int i = 0; i < 3; i++) f();
    for (int i = 0; i < 10; i++) {
        CHECK(cudaEventRecord(a[i]));
        f();
    }
    CHECK(cudaEventRecord(a[10]));
    CHECK(cudaEventSynchronize(a[10]));
    for (int i = 0; i < 10; i++) {
        float x;
        CHECK(cudaEventElapsedTime(&x, a[i], a[i + 1]));
        ms.push_back(x);
    }
    for (auto &e : a) cudaEventDestroy(e);
    std::sort(ms.begin(), ms.end());
    return ms[5];
}

static void train(const cuda_attn_dev *d, const char *name, const std::vector<int> &lens, int heads, int kv, int hd, int alibi, int window, bool first = false)
{
    if (!wanted(name)) return;
    std::vector<int32_t> start{0};
    double pairs = 0;
    for (int n : lens) {
        start.push_back(start.back() + n);
        pairs += window > 0 && window < n ? (double)window * n : 0.5 * n * n;
    }
    const int T = start.back(), Q = heads * hd, K = kv * hd;
    const size_t ld = (size_t)(Q + 2 * K);
    char *x = (char *)fresh(CO_BF16, T * ld), *g = (char *)fresh(CO_BF16, (size_t)T * Q), *o, *dx, *scratch, *index;
    float *lse;
    int32_t *s;
    cuda_attn a = {};
    a.dtype = CO_BF16, a.n_heads = heads, a.n_kv_heads = kv, a.head_dim = hd, a.tokens = T, a.seqs = (int)lens.size(), a.causal = 1;
    a.alibi = alibi, a.window = window, a.q = a.k = a.v = a.dq = a.dk = a.dv = (int64_t)ld, a.o = a.d_o = Q, a.lse = heads;
    CHECK(cudaMalloc((void **)&o, (size_t)T * Q * 2));
    CHECK(cudaMalloc((void **)&dx, T * ld * 2));
    CHECK(cudaMalloc((void **)&lse, (size_t)T * heads * 4));
    CHECK(cudaMalloc((void **)&s, start.size() * 4));
    CHECK(cudaMemcpy(s, start.data(), start.size() * 4, cudaMemcpyHostToDevice));
    const cuda_attn_live live = {nullptr, T, (int)lens.size(), s, nullptr, nullptr};
    CHECK(cudaMalloc((void **)&scratch, std::max(cuda_attn_forward_scratch(d, &a), cuda_attn_backward_scratch(d, &a))));
    CHECK(cudaMalloc((void **)&index, cuda_attn_index_bytes(T)));
    CHECK(cuda_attn_index(d, T, &live, index, 0));
    const double flop = 4.0 * pairs * heads * hd;
    for (int cc = d->cc; cc >= (first ? 80 : d->cc); cc -= 10) {
        cuda_attn_dev pretend = *d;
        pretend.cc = cc;
        const double f = median_ms([&] { CHECK(cuda_attn_forward(&pretend, &a, x, x + Q * 2, x + (Q + K) * 2, o, lse, &live, index, scratch, 0)); });
        auto back = [&](void *dq, void *dk, void *dv) {
            return median_ms([&] {
                CHECK(cuda_attn_backward(&pretend, &a, x, x + Q * 2, x + (Q + K) * 2, o, lse, g, dq, dk, dv, &live, index, scratch, 0));
            });
        };
        const double b = back(dx, dx + Q * 2, dx + (Q + K) * 2), bq = back(dx, nullptr, nullptr), bk = back(nullptr, dx + Q * 2, dx + (Q + K) * 2);
        printf("%-34s cc %d  fwd %6.3f ms %4.0f TFLOP/s   bwd %6.3f ms %4.0f TFLOP/s  (dq alone %6.3f, dk dv alone %6.3f)\n", name, cc, f,
               flop / f / 1e9, b, 2.5 * flop / b / 1e9, bq, bk);
        fflush(stdout);
    }
    if (first) printf("%-34s index %.4f ms\n", name, median_ms([&] { CHECK(cuda_attn_index(d, T, &live, index, 0)); }));
    cudaFree(x), cudaFree(g), cudaFree(o), cudaFree(dx), cudaFree(scratch), cudaFree(index), cudaFree(lse), cudaFree(s);
}

static void generate(const cuda_attn_dev *d, const char *name, int seqs, int fresh_tokens, int past, int heads, int kv, int hd)
{
    if (!wanted(name)) return;
    const int T = seqs * fresh_tokens, Q = heads * hd, K = kv * hd, slot = past + fresh_tokens;
    char *x = (char *)fresh(CO_BF16, (size_t)T * (Q + 2 * K)), *o, *scratch, *caches[16];
    /* Enough caches that one is not in L2 when its turn comes again. */
    const int copies = std::min(16, (int)(200e6 / ((double)seqs * slot * K * 4)) + 1);
    for (int i = 0; i < copies; i++) caches[i] = (char *)fresh(CO_BF16, (size_t)seqs * slot * K * 2);
    std::vector<int32_t> l;
    for (int i = 0; i <= seqs; i++) l.push_back(i * fresh_tokens);
    for (int i = 0; i < seqs; i++) l.push_back(i);
    for (int i = 0; i < seqs; i++) l.push_back(past);
    int32_t *s;
    CHECK(cudaMalloc((void **)&s, l.size() * 4));
    CHECK(cudaMemcpy(s, l.data(), l.size() * 4, cudaMemcpyHostToDevice));
    const cuda_attn_live live = {nullptr, T, seqs, s, s + seqs + 1, s + 2 * seqs + 1};
    cuda_attn a = {};
    a.dtype = CO_BF16, a.n_heads = heads, a.n_kv_heads = kv, a.head_dim = hd, a.tokens = T, a.seqs = seqs, a.causal = 1, a.slot_len = slot;
    a.q = a.k = a.v = Q + 2 * K, a.o = Q, a.kc = a.vc = K;
    CHECK(cudaMalloc((void **)&o, (size_t)T * Q * 2));
    CHECK(cudaMalloc((void **)&scratch, cuda_attn_cached_scratch(d, &a) + 16));
    cudaStream_t on;
    CHECK(cudaStreamCreate(&on));
    const int repeat = 32;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CHECK(cudaStreamBeginCapture(on, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < repeat; i++) {
        char *kc = caches[i % copies], *vc = kc + (size_t)seqs * slot * K * 2;
        CHECK(cuda_attn_cached(d, &a, x, x + Q * 2, x + (Q + K) * 2, kc, vc, o, &live, scratch, on));
    }
    CHECK(cudaStreamEndCapture(on, &graph));
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    const double ms = median_ms([&] { CHECK(cudaGraphLaunch(exec, 0)); }) / repeat;
    printf("%-34s %.4f ms a layer, %5.0f GB/s, %5.1f TFLOP/s\n", name, ms, (double)seqs * slot * K * 4 / ms / 1e6,
           4.0 * seqs * fresh_tokens * (past + 0.5 * fresh_tokens) * Q / ms / 1e9);
    fflush(stdout);
    cudaGraphExecDestroy(exec), cudaGraphDestroy(graph), cudaStreamDestroy(on);
    for (int i = 0; i < copies; i++) cudaFree(caches[i]);
    cudaFree(x), cudaFree(o), cudaFree(scratch), cudaFree(s);
}

void attention_bench(const cuda_attn_dev *d, const char *name)
{
    only = name;
    const std::vector<int> eight(8, 2048), bloom(8, 512);
    std::vector<int> varied;
    dice r = {5};
    for (int left = 16384; left > 0;) {
        const int n = std::min(left, 16 + (int)(r.uniform() * r.uniform() * 2032));
        varied.push_back(n), left -= n;
    }
    train(d, "B8 H32 T2048 hd64", eight, 32, 32, 64, 0, 0, true);
    train(d, "B8 H32 T2048 hd128", eight, 32, 32, 128, 0, 0, true);
    train(d, "B8 H32 T2048 hd64 alibi", eight, 32, 32, 64, 1, 0);
    train(d, "B8 H32 T2048 hd128 alibi", eight, 32, 32, 128, 1, 0);
    train(d, "B8 H32/4 T2048 hd64", eight, 32, 4, 64, 0, 0);
    train(d, "B8 H16 T512 hd64 alibi", bloom, 16, 16, 64, 1, 0);
    train(d, "16384 tokens, varied, H32 hd64", varied, 32, 32, 64, 0, 0);
    train(d, "B2 H32 T2048 hd128", {2048, 2048}, 32, 32, 128, 0, 0);
    train(d, "B8 H32 T2048 hd80", eight, 32, 32, 80, 0, 0);
    train(d, "B8 H32 T2048 hd96", eight, 32, 32, 96, 0, 0);
    train(d, "B8 H32 T2048 hd128 window 512", eight, 32, 32, 128, 0, 512);
    generate(d, "decode 1x 256 H32 hd128", 1, 1, 255, 32, 32, 128);
    generate(d, "decode 1x 2048 H32 hd128", 1, 1, 2047, 32, 32, 128);
    generate(d, "decode 64x 384 H32 hd128", 64, 1, 383, 32, 32, 128);
    generate(d, "decode 64x 384 H32/4 hd64", 64, 1, 383, 32, 4, 64);
    generate(d, "decode 1x 4096 H32/4 hd64", 1, 1, 4095, 32, 4, 64);
    generate(d, "prompt 64x 128 H32 hd128", 64, 128, 0, 32, 32, 128);
    generate(d, "prompt 1x 2048 H32 hd128", 1, 2048, 0, 32, 32, 128);
}
