/* tokenize.c: how quickly a tokenizer opens and encodes, on one thread. */
#include "bench.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/params/tokenizer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct texts {
    char *data;
    size_t len, n;
} texts;

/* All texts once; the number of ids. */
static int encode_all(const tokenizer *t, const texts *x, co_arena *a, size_t *n_ids)
{
    const char *end = x->data + x->len;
    *n_ids = 0;
    for (const char *p = x->data; p < end;) {
        const char *stop = memchr(p, 0, (size_t)(end - p));
        const size_t len = (size_t)((stop ? stop : end) - p);
        int32_t *ids;
        size_t n;
        int r = t->vt->encode(t->self, p, len, a, &ids, &n);
        if (r) return r;
        *n_ids += n;
        arena_reset(a);
        p += len + 1;
    }
    return CO_OK;
}

static void bad_plugin(void *ctx, const char *path, const char *why) { (void)ctx, fprintf(stderr, "coati-bench: %s: %s\n", path, why); }

static int measure(host *h, const char *dir, const texts *x, int rounds)
{
    config *c = config_new();
    co_arena *a = arena_new(1 << 20);
    tokenizer t = {0};
    double times[BENCH_MAX_STEPS], cold = 0;
    size_t n_ids = 0, copied = 0;
    const size_t idle = bench_status_kib("VmRSS:");
    int r = c && a ? CO_OK : CO_E_NOMEM;
    if (r == CO_OK) r = host_load_all(h, CO_KIND_TOKENIZER, bad_plugin, NULL); /* not part of opening a file */
    const double begin = bench_now();
    if (r == CO_OK) r = tokenizer_open(h, c, "auto", dir, &t);
    const double opened = bench_now() - begin;
    const size_t open_kib = bench_status_kib("VmRSS:"), peak_kib = bench_status_kib("VmHWM:");
    for (int i = -1; i < rounds && r == CO_OK; i++) {
        const double start = bench_now();
        r = encode_all(&t, x, a, &n_ids);
        if (i < 0) cold = bench_now() - start;
        else times[i] = bench_now() - start;
    }
    /* what the memory allows: the same bytes looked at once */
    const double start = bench_now();
    for (size_t i = 0; i < x->len; i++) copied += x->data[i] == ' ';
    const double look = bench_now() - start;
    if (r == CO_OK) {
        const double mb = (double)(x->len - x->n) * 1e-6, median = bench_median(times, rounds);
        printf("{\"case\":\"tokenize\",\"tokenizer\":\"%s\",\"bytes\":%zu,\"texts\":%zu,\"ids\":%zu,\"rounds\":%d,\"open_s\":%.4f,"
               "\"mb_per_s\":{\"first\":%.2f,\"median\":%.2f,\"best\":%.2f},\"resident_mib\":%.1f,\"peak_mib\":%.1f}\n",
               t.name, x->len - x->n, x->n, n_ids, rounds, opened, mb / cold, mb / median, mb / times[0],
               (double)(open_kib - idle) / 1024, (double)(peak_kib - idle) / 1024);
        fprintf(stderr, "%-14s opened in %.3f s; %.1f MB/s the first time, then %.1f (%.1f to %.1f); %zu texts, %.2f MB, %zu ids; a look at "
                "each byte: %.0f MB/s (%zu spaces)\n", t.name, opened, mb / cold, mb / median, mb / times[rounds - 1], mb / times[0],
                x->n, mb, n_ids, mb / look, copied);
    }
    tokenizer_close(&t);
    arena_free(a);
    config_free(c);
    return r;
}

int bench_tokenize(const char *dir, const char *const *files, int n_files, int rounds)
{
    texts x = {0};
    host *h = host_new(NULL);
    int r = h ? CO_OK : CO_E_NOMEM;
    for (int i = 0; i < n_files && r == CO_OK; i++) {
        char *data, *grown;
        size_t len;
        r = fs_read_all(files[i], &data, &len, (size_t)1 << 30);
        if (r) break;
        grown = mem_grow(x.data, x.len, x.len + len + 1, 1); /* its new tail is zero: the end of a text */
        if (grown) {
            x.data = grown;
            memcpy(x.data + x.len, data, len);
            x.len += len + (len && data[len - 1] != 0);
        } else {
            r = CO_E_NOMEM;
        }
        mem_free(data);
    }
    for (size_t i = 0; i < x.len; i++) x.n += x.data[i] == 0;
    if (r == CO_OK) r = measure(h, dir, &x, rounds);
    mem_free(x.data);
    host_free(h);
    return r;
}
