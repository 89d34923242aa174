/* attention_check.cu: holds the attention kernels to a double-precision reference, and times them.
 *   attention_check [check|small|bench [PART OF A NAME]|all]     exit 1: a case failed, 77: no device; small: a subset, for compute-sanitizer
 * Every case runs with each family of kernels that serves it (a lower compute capability is pretended to reach the older ones), twice
 * (the bits must agree), with live counts from the host and from the device, NaN in what must not be read and a mark in what must not
 * be written. */
#include "attention_cases.h"
#include <algorithm>

static int failures, cases;
static cuda_attn_dev dev;
static const double MARK = 77;

static double bound_of(uint32_t t) { return t == CO_F32 ? 1e-5 : t == CO_BF16 ? 6e-3 : 8e-4; }
struct family { const char *name; int cc; };

static void report(const shape &s, const char *kind, const char *what, const char *fam, double d, double bound)
{
    cases++;
    if (d <= bound) return;
    failures++;
    std::string lens;
    for (size_t i = 0; i < s.lens.size() && i < 12; i++) lens += std::to_string(s.lens[i]) + (s.past.empty() ? "" : "+" + std::to_string(s.past[i])) + " ";
    printf("FAIL %s %s %s %s hd %d heads %d/%d causal %d window %d alibi %d lens %s: %.3g, bound %.3g\n", kind, fam, name_of(s.dtype), what,
           s.hd, s.heads, s.kv_heads, s.causal, s.window, s.alibi, lens.c_str(), d, bound);
}
/* 0, or 1e9 if anything but rows x [col, col+cols) differs from the mark. */
static double strays(const matrix &m, int64_t rows, std::vector<std::pair<int64_t, int64_t>> used)
{
    matrix w(m.t, 1, 1);
    w.set(0, 0, MARK);
    const double mark = w.get(0, 0);
    for (int64_t r = 0; r < m.rows; r++)
        for (int64_t c = 0; c < m.stride; c++) {
            bool own = false;
            for (auto &u : used) own |= r < rows && c >= u.first && c < u.first + u.second;
            if (!own && m.get(r, c) != mark) return 1e9;
        }
    return 0;
}

struct device_live {
    int32_t *mem;
    cuda_attn_live on_host, on_device;
    device_live(const std::vector<int> &lens, const std::vector<int> &slots, const std::vector<int> &past)
    {
        std::vector<int32_t> all{0, (int32_t)lens.size(), 0};
        for (int n : lens) all.push_back(all.back() + n);
        all[0] = all.back();
        const size_t s = all.size(), p = s + slots.size();
        all.insert(all.end(), slots.begin(), slots.end());
        all.insert(all.end(), past.begin(), past.end());
        CHECK(cudaMalloc((void **)&mem, all.size() * 4));
        CHECK(cudaMemcpy(mem, all.data(), all.size() * 4, cudaMemcpyHostToDevice));
        on_host = {nullptr, all[0], all[1], mem + 2, mem + s, mem + p};
        on_device = on_host;
        on_device.counts = mem, on_device.n_tokens = on_device.n_seqs = -1;
    }
    ~device_live() { cudaFree(mem); }
};

static cuda_attn op_of(const shape &s, int tokens)
{
    cuda_attn a = {};
    a.dtype = s.dtype, a.n_heads = s.heads, a.n_kv_heads = s.kv_heads, a.head_dim = s.hd;
    a.tokens = tokens + s.spare_tokens, a.seqs = (int)s.lens.size() + s.spare_seqs;
    a.causal = s.causal, a.alibi = s.alibi, a.window = s.window;
    return a;
}

static void packed(const shape &s, const std::vector<family> &families)
{
    int T = 0;
    for (int n : s.lens) T += n;
    cuda_attn a = op_of(s, T);
    const int C = a.tokens, Q = s.heads * s.hd, K = s.kv_heads * s.hd, extra = s.split_views ? 1 : 8;
    /* One fused matrix [q k v] with a few columns behind, or (split_views) the same at odd strides, which the plain kernels serve. */
    const int64_t ld = Q + 2 * K + extra;
    matrix x(s.dtype, C, ld), dx(s.dtype, C, ld), o(s.dtype, C, Q + extra), g(s.dtype, C, Q), lse(CO_F32, C, s.heads + 3);
    a.q = a.k = a.v = a.dq = a.dk = a.dv = ld, a.o = Q + extra, a.d_o = Q, a.lse = s.heads + 3;
    std::vector<double> q, k, v, d;
    dice r = {(uint64_t)(s.hd * 1000 + s.heads * 100 + T)};
    x.fill(NAN), g.fill(NAN);
    for (int t = 0; t < T; t++) {
        for (int c = 0; c < Q + 2 * K; c++) {
            x.set(t, c, r.normal());
            (c < Q ? q : c < Q + K ? k : v).push_back(x.get(t, c));
        }
        for (int c = 0; c < Q; c++) g.set(t, c, r.normal()), d.push_back(g.get(t, c));
    }
    x.up(), g.up();
    reference ref;
    ref.run(s, q, k, v, nullptr, nullptr, &d);
    device_live live(s.lens, {}, {});
    for (const family &f : families) {
        cuda_attn_dev pretend = dev;
        pretend.cc = std::min(f.cc, dev.cc);
        unsigned char *scratch, *index;
        const size_t bytes = std::max(cuda_attn_forward_scratch(&pretend, &a), cuda_attn_backward_scratch(&pretend, &a));
        CHECK(cudaMalloc((void **)&scratch, bytes));
        CHECK(cudaMalloc((void **)&index, cuda_attn_index_bytes(a.tokens)));
        std::vector<unsigned char> first[4];
        for (int round = 0; round < 2; round++) {
            const cuda_attn_live *l = round ? &live.on_host : &live.on_device;
            CHECK(cudaMemset(scratch, 0xff, bytes));
            o.fill(MARK), dx.fill(MARK), lse.fill(MARK);
            o.up(), dx.up(), lse.up();
            if (round) CHECK(cuda_attn_index(&pretend, a.tokens, l, index, 0));
            CHECK(cuda_attn_forward(&pretend, &a, x.at(0), x.at(Q), x.at(Q + K), o.at(0), (float *)lse.at(0), l, round ? index : nullptr, scratch, 0));
            CHECK(cuda_attn_backward(&pretend, &a, x.at(0), x.at(Q), x.at(Q + K), o.at(0), (float *)lse.at(0), g.at(0), dx.at(0), dx.at(Q),
                                     dx.at(Q + K), l, round ? index : nullptr, scratch, 0));
            CHECK(cudaDeviceSynchronize());
            o.down(), dx.down(), lse.down();
            const double b = bound_of(s.dtype);
            if (!round) {
                report(s, "packed", "o", f.name, distance(o, 0, ref.o, T, Q), b);
                report(s, "packed", "lse", f.name, distance(lse, 0, ref.lse, T, s.heads), 1e-5);
                report(s, "packed", "dq", f.name, distance(dx, 0, ref.dq, T, Q), b);
                report(s, "packed", "dk", f.name, distance(dx, Q, ref.dk, T, K), b);
                report(s, "packed", "dv", f.name, distance(dx, Q + K, ref.dv, T, K), b);
                report(s, "packed", "stray writes", f.name,
                       strays(o, T, {{0, Q}}) + strays(lse, T, {{0, s.heads}}) + strays(dx, T, {{0, Q + 2 * K}}), 0);
                first[0] = o.host, first[1] = dx.host, first[2] = lse.host;
            } else {
                report(s, "packed", "same bits twice", f.name, first[0] == o.host && first[1] == dx.host && first[2] == lse.host ? 0 : 1, 0);
            }
        }
        /* Each gradient alone: the others untouched. */
        for (int only = 0; only < 3; only++) {
            dx.fill(MARK), dx.up();
            CHECK(cuda_attn_backward(&pretend, &a, x.at(0), x.at(Q), x.at(Q + K), o.at(0), (float *)lse.at(0), g.at(0), only == 0 ? dx.at(0) : nullptr,
                                     only == 1 ? dx.at(Q) : nullptr, only == 2 ? dx.at(Q + K) : nullptr, &live.on_host, index, scratch, 0));
            CHECK(cudaDeviceSynchronize());
            dx.down();
            const int64_t c0 = only == 0 ? 0 : only == 1 ? Q : Q + K, n = only == 0 ? Q : K;
            const std::vector<double> &want = only == 0 ? ref.dq : only == 1 ? ref.dk : ref.dv;
            report(s, "packed", "one gradient alone", f.name, distance(dx, c0, want, T, n) + strays(dx, T, {{c0, n}}), bound_of(s.dtype));
        }
        cudaFree(scratch), cudaFree(index);
    }
}

static void cached(const shape &s, const std::vector<family> &families)
{
    int T = 0;
    for (int n : s.lens) T += n;
    cuda_attn a = op_of(s, T);
    const int C = a.tokens, Q = s.heads * s.hd, K = s.kv_heads * s.hd, S = (int)s.lens.size(), extra = s.split_views ? 1 : 8;
    const int64_t ld = Q + 2 * K + extra;
    int longest = 0;
    std::vector<int> slots;
    for (int i = 0; i < S; i++) longest = std::max(longest, s.past[i] + s.lens[i]), slots.push_back(S - i); /* out of order */
    const int slot_len = (longest + 40) / 32 * 32, n_slots = S + 2;
    a.slot_len = slot_len, a.q = a.k = a.v = ld, a.o = Q + extra, a.kc = a.vc = K;
    matrix x(s.dtype, C, ld), o(s.dtype, C, Q + extra), kc(s.dtype, (int64_t)n_slots * slot_len, K), vc(s.dtype, (int64_t)n_slots * slot_len, K);
    std::vector<double> q, k, v, kp, vp;
    dice r = {(uint64_t)(s.hd * 7 + s.heads + T)};
    x.fill(NAN), kc.fill(NAN), vc.fill(NAN);
    for (int t = 0; t < T; t++)
        for (int c = 0; c < Q + 2 * K; c++) {
            x.set(t, c, r.normal());
            (c < Q ? q : c < Q + K ? k : v).push_back(x.get(t, c));
        }
    for (int i = 0; i < S; i++)
        for (int j = 0; j < s.past[i]; j++)
            for (int c = 0; c < K; c++) {
                kc.set((int64_t)slots[i] * slot_len + j, c, r.normal()), kp.push_back(kc.get((int64_t)slots[i] * slot_len + j, c));
                vc.set((int64_t)slots[i] * slot_len + j, c, r.normal()), vp.push_back(vc.get((int64_t)slots[i] * slot_len + j, c));
            }
    const std::vector<unsigned char> kc0 = kc.host, vc0 = vc.host;
    x.up();
    reference ref;
    ref.run(s, q, k, v, &kp, &vp, nullptr);
    device_live live(s.lens, slots, s.past);
    for (const family &f : families) {
        cuda_attn_dev pretend = dev;
        pretend.cc = std::min(f.cc, dev.cc);
        unsigned char *scratch;
        const size_t bytes = cuda_attn_cached_scratch(&pretend, &a);
        CHECK(cudaMalloc((void **)&scratch, bytes + 16));
        std::vector<unsigned char> first;
        for (int round = 0; round < 2; round++) {
            CHECK(cudaMemset(scratch, 0xff, bytes));
            o.fill(MARK), kc.host = kc0, vc.host = vc0;
            o.up(), kc.up(), vc.up();
            CHECK(cuda_attn_cached(&pretend, &a, x.at(0), x.at(Q), x.at(Q + K), kc.at(0), vc.at(0), o.at(0), round ? &live.on_host : &live.on_device,
                                   scratch, 0));
            CHECK(cudaDeviceSynchronize());
            o.down(), kc.down(), vc.down();
            if (round) {
                report(s, "cached", "same bits twice", f.name, first == o.host ? 0 : 1, 0);
                continue;
            }
            first = o.host;
            report(s, "cached", "o", f.name, distance(o, 0, ref.o, T, Q), bound_of(s.dtype));
            report(s, "cached", "stray writes", f.name, strays(o, T, {{0, Q}}), 0);
            matrix kw(s.dtype, kc.rows, K), vw(s.dtype, vc.rows, K);
            kw.host = kc0, vw.host = vc0;
            for (int i = 0, t = 0; i < S; i++)
                for (int j = 0; j < s.lens[i]; j++, t++)
                    for (int c = 0; c < K; c++) {
                        kw.set((int64_t)slots[i] * slot_len + s.past[i] + j, c, x.get(t, Q + c));
                        vw.set((int64_t)slots[i] * slot_len + s.past[i] + j, c, x.get(t, Q + K + c));
                    }
            report(s, "cached", "cache", f.name, kw.host == kc.host && vw.host == vc.host ? 0 : 1, 0);
        }
        cudaFree(scratch);
    }
}

static void check(bool small)
{
    const std::vector<int> mixed{37, 0, 1, 130, 64, 0, 5, 200, 63}, one{193}, aligned{128, 256, 64}, tiny{1}, many(70, 3);
    const std::vector<family> fast{{"plain", 70}, {"mma", 80}, {"best", 90}}, plain{{"plain", 70}};
    for (uint32_t t : {CO_BF16, CO_F16})
        for (int hd : {64, 80, 96, 128}) {
            if (small && t == CO_F16) continue;
            packed({t, 4, 4, hd, 1, 0, 0, mixed, {}, 70, 3, 0}, fast);
            packed({t, 4, 2, hd, 1, 0, 1, mixed, {}, 0, 0, 0}, fast);
            packed({t, 6, 2, hd, 1, 50, 0, mixed, {}, 300, 3, 0}, fast);
            if (small || t == CO_F16) continue;
            packed({t, 4, 1, hd, 0, 0, 0, mixed, {}, 1, 0, 0}, fast);
            packed({t, 3, 3, hd, 0, 20, 1, mixed, {}, 0, 1, 0}, fast);
            packed({t, 2, 2, hd, 1, 0, 0, one, {}, 0, 0, 0}, fast);
            packed({t, 2, 1, hd, 1, 0, 1, aligned, {}, 0, 0, 0}, fast);
            packed({t, 2, 2, hd, 1, 1, 0, aligned, {}, 0, 0, 0}, fast);
            packed({t, 1, 1, hd, 1, 0, 0, tiny, {}, 200, 0, 0}, fast);
            packed({t, 2, 2, hd, 1, 0, 0, many, {}, 10, 0, 0}, fast);
            packed({t, 2, 2, hd, 1, 300, 0, {700, 333}, {}, 10, 0, 0}, fast);
        }
    for (uint32_t t : {CO_F32, CO_BF16, CO_F16})
        for (int hd : {8, 33, 48, 128, 256}) {
            if (small && hd != 33) continue;
            packed({t, 4, 2, hd, 1, 0, hd == 33, mixed, {}, 20, 1, 1}, plain);
            packed({t, 3, 3, hd, hd != 48, hd == 128 ? 17 : 0, 0, mixed, {}, 0, 0, 0}, plain);
        }
    /* Cached: prompts, single tokens, and both mixed. */
    for (uint32_t t : {CO_F32, CO_BF16, CO_F16})
        for (int hd : {33, 64, 80, 96, 128}) {
            const std::vector<family> two{{"cc 8", 80}, {"best", 90}};
            const int odd = hd == 33;
            cached({t, 4, 4, hd, 1, 0, 0, {1, 1, 1}, {0, 300, 77}, 0, 0, odd}, two);
            cached({t, 8, 1, hd, 1, 0, 1, {1, 1, 1, 1}, {5, 1023, 64, 1}, 0, 0, 0}, two);
            cached({t, 6, 3, hd, 1, 40, 0, {1, 1}, {255, 20}, 0, 0, 0}, two);
            if (small || t == CO_F16) continue;
            cached({t, 4, 4, hd, 1, 0, 0, {100, 0, 70, 1, 33}, {0, 7, 0, 90, 200}, 50, 2, 0}, two);
            cached({t, 4, 2, hd, 1, 60, 1, {100, 130}, {0, 63}, 1, 1, 0}, two);
            cached({t, 4, 2, hd, 0, 0, 0, {3, 2, 1, 4}, {0, 63, 64, 5}, 0, 0, 0}, two);
            cached({t, 2, 2, hd, 1, 0, 0, {1}, {4000}, 0, 0, 0}, two);
        }
    printf("attention: %d of %d checks failed\n", failures, cases);
}

void attention_bench(const cuda_attn_dev *d, const char *only);
int main(int argc, char **argv)
{
    const std::string what = argc > 1 ? argv[1] : "all";
    int devices;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) return printf("no CUDA device\n"), 77;
    CHECK(cuda_attn_open(&dev, 0));
    if (what != "bench") check(what == "small");
    if (what == "bench" || what == "all") attention_bench(&dev, argc > 2 ? argv[2] : "");
    return failures ? 1 : 0;
}
