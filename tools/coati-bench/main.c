/* coati-bench: measures this machine: whole training steps of synthetic LLaMA shapes and the product speed they could
 * reach at best. One JSON line a case on stdout, a table on stderr. */
#include "bench.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const shape presets[] = {{"15m", 288, 6, 6, 768, 32000, 8, 256}, {"110m", 768, 12, 12, 2048, 32000, 4, 512}};

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

size_t bench_status_kib(const char *key)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    size_t kib = 0;
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0) kib = strtoul(line + strlen(key) + 1, NULL, 10);
    if (f) fclose(f);
    return kib;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
double bench_median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, ascending);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static const char help[] =
    "usage: coati-bench [--preset 15m|110m|all] [--steps N] [--threads N] [--checkpointing] [--profile]\n"
    "Measures whole training steps (forward, backward, clipping, AdamW) of synthetic LLaMA shapes in fp32 on the CPU, and\n"
    "the speed of a 2048 x 2048 x 2048 product before each step. Their floor: the step's operations at that speed.\n"
    "  --preset NAME     15m: dim 288, 6 layers, 8x256 tokens; 110m: dim 768, 12 layers, 4x512; both V 32000, tied (all)\n"
    "  --steps N         counted steps after one warm-up (5)\n"
    "  --threads N       0: every core (0)\n"
    "  --checkpointing   keep block inputs only\n"
    "  --profile         also where the time went, by op and shape, on stderr\n"
    "  -v, -q            say more, say less\n"
    "  --help, --version\n"
    "Prints one JSON line a case on stdout and a table on stderr.\n";

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"preset", 1, 0, 'p'}, {"steps", 1, 0, 's'}, {"threads", 1, 0, 't'},
                                          {"checkpointing", 0, 0, 'c'}, {"profile", 0, 0, 'P'}, {"help", 0, 0, 'h'},
                                          {"version", 0, 0, 'V'}, {0, 0, 0, 0}};
    const char *preset = "all";
    bench_opts o = {.threads = "0", .steps = 5};
    int opt, r = CO_OK, any = 0;
    while ((opt = getopt_long(argc, argv, "vqh", longs, NULL)) != -1) {
        switch (opt) {
        case 'p': preset = optarg; break;
        case 's': o.steps = (int)strtol(optarg, NULL, 10); break;
        case 't': o.threads = optarg; break;
        case 'c': o.checkpoint = 1; break;
        case 'P': o.profile = 1; break;
        case 'v': log_level_set(CO_LOG_DEBUG); break;
        case 'q': log_level_set(CO_LOG_ERROR); break;
        case 'h': fputs(help, stdout); return 0;
        case 'V': puts("coati-bench " COATI_VERSION); return 0;
        default: fputs("try coati-bench --help\n", stderr); return 2;
        }
    }
    if (o.steps < 1 || o.steps > BENCH_MAX_STEPS) {
        fprintf(stderr, "coati-bench: --steps: 1 to %d\n", BENCH_MAX_STEPS);
        return 2;
    }
    for (size_t i = 0; i < sizeof presets / sizeof *presets && r == CO_OK; i++) {
        if (strcmp(preset, "all") != 0 && strcmp(preset, presets[i].name) != 0) continue;
        any = 1;
        r = bench_train(&presets[i], &o);
    }
    if (!any) {
        fprintf(stderr, "coati-bench: --preset %s: 15m, 110m or all\n", preset);
        return 2;
    }
    if (r) fprintf(stderr, "coati-bench: %s\n", error_message());
    return error_exit_code(r);
}
