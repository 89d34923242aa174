/* coati-bench: measures this machine: whole training steps of synthetic LLaMA shapes and the product speed they could
 * reach at best. One JSON line a case on stdout, a table on stderr. */
#include "bench.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LLAMA(dim, ff, layers, heads)                                                                         \
    "{\"model_type\":\"llama\",\"hidden_size\":" #dim ",\"intermediate_size\":" #ff ",\"num_hidden_layers\":" #layers         \
    ",\"num_attention_heads\":" #heads ",\"vocab_size\":32000,\"max_position_embeddings\":4096,\"tie_word_embeddings\":true}"
static const shape presets[] = {{"15m", LLAMA(288, 768, 6, 6), 8, 256}, {"110m", LLAMA(768, 2048, 12, 12), 4, 512}};

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
    "usage: coati-bench [--preset 15m|110m|all | --config FILE --seqs N --seq-len N] [OPTIONS]\n"
    "       coati-bench --collectives N [--backend NAME] [--dtype TYPE]\n"
    "       coati-bench --update N [--dtype TYPE]\n"
    "       coati-bench --tokenize DIR [--steps N] FILE …\n"
    "Measures whole training steps (forward, backward, clipping, AdamW) of a model with random weights on random tokens, and\n"
    "the speed of a large product before each step. Their floor: the step's operations at that speed.\n"
    "  --preset NAME     15m: dim 288, 6 layers, 8x256 tokens; 110m: dim 768, 12 layers, 4x512; LLaMA, V 32000, tied (all)\n"
    "  --config FILE     a config.json of any architecture a plugin serves\n"
    "  --seqs N          sequences of a micro-step (8); 16,4,1 with --strategy: then fewer, in the memory planned for the first\n"
    "  --seq-len N       tokens of each (512)\n"
    "  --backend NAME    cpu or cuda (cpu)\n"
    "  --dtype TYPE      fp32, bf16 or fp16; master weights and states are fp32 (fp32)\n"
    "  --strategy NAME   any that is installed (naive). With it, and with --accumulation, steps are queued one behind the other as in\n"
    "                    a run, and products are timed before and after them only\n"
    "  --set S.KEY=VALUE an option of a plugin, as in train.ini: strategy.device_memory=15GiB; may be repeated\n"
    "  --accumulation N  micro-steps a step (1)\n"
    "  --comm NAME       what ranks talk through: self, mpi, nccl (auto: under mpirun nccl for cuda, else mpi). Each rank has the same batch\n"
    "  --trace FILE      what ran when in the counted steps, for ui.perfetto.dev; of rank N > 0 to FILE.N\n"
    "  --no-update       forward and backward alone, weights and gradients on the device: what a strategy can reach at best\n"
    "  --lora-rank N     train adapters of this rank on all linear layers, the base frozen\n"
    "  --new-tokens N    generate N tokens after each of --seqs prompts of --seq-len tokens, greedy, instead of training\n"
    "  --steps N         counted steps after one warm-up (5)\n"
    "  --threads N       cpu: threads, 0: every core (0)\n"
    "  --checkpointing   keep block inputs only\n"
    "  --offload-activations  block inputs wait in host memory\n"
    "  --profile         also where the time went, by op and shape, on stderr\n"
    "  --collectives N   instead, under mpirun: bandwidth of reduce_scatter, all_gather and all_reduce, buffers of 1 to N MiB in --dtype\n"
    "  --update N        instead: AdamW over N million parameters in host memory, gradients and copies in --dtype, masters and\n"
    "                    states in fp32, beside a plain copy of memory\n"
    "  --tokenize DIR    instead: how quickly the tokenizer in DIR opens, and encodes the texts in FILEs (each ends in NUL, or\n"
    "                    with its file), the first time and N times more, on one thread\n"
    "  -v, -q            say more, say less\n"
    "  --help, --version\n"
    "Prints one JSON line a case on stdout and a table on stderr.\n";

static int number(const char *text, int least, int most, const char *option, int *out)
{
    char *end;
    const long v = strtol(text, &end, 10);
    if (*end || end == text || v < least || v > most) return FAIL(CO_E_CONFIG, "%s %s: a number from %d to %d", option, text, least, most);
    *out = (int)v;
    return CO_OK;
}

/* N or N,M,…, none above the first. */
static int counts(const char *text, int *first, bench_opts *o)
{
    o->n_fewer = -1; /* counts the first too */
    for (const char *at = text; o->n_fewer < BENCH_MAX_COUNTS; at++) {
        char *end;
        const long v = strtol(at, &end, 10), most = o->n_fewer < 0 ? 65536 : *first;
        if (end == at || (*end && *end != ',') || v < 1 || v > most) return FAIL(CO_E_CONFIG, "--seqs %s: numbers from 1 to %ld", text, most);
        *(o->n_fewer < 0 ? first : &o->fewer[o->n_fewer]) = (int)v;
        o->n_fewer++;
        at = end;
        if (!*end) return CO_OK;
    }
    return FAIL(CO_E_CONFIG, "--seqs %s: at most %d numbers", text, BENCH_MAX_COUNTS + 1);
}

/* Runs the chosen shapes. */
static int run(const char *preset, shape *own, const char *file, int update, int collectives, const bench_opts *o)
{
    int r = CO_OK, any = 0;
    if (strcmp(o->dtype, "fp32") != 0 && strcmp(o->dtype, "bf16") != 0 && strcmp(o->dtype, "fp16") != 0)
        return FAIL(CO_E_CONFIG, "--dtype %s: fp32, bf16 or fp16", o->dtype);
    if (collectives) return bench_collectives(collectives, o);
    if (update) return bench_update((int64_t)update * 1000000, o);
    if (file) {
        char *text = NULL;
        size_t bytes = 0;
        r = fs_read_all(file, &text, &bytes, (size_t)1 << 20);
        own->name = file;
        own->config = text;
        if (r == CO_OK) r = o->new_tokens ? bench_generate(own, o) : bench_train(own, o);
        mem_free(text);
        return r;
    }
    for (size_t i = 0; i < sizeof presets / sizeof *presets && r == CO_OK; i++) {
        if (strcmp(preset, "all") != 0 && strcmp(preset, presets[i].name) != 0) continue;
        any = 1;
        r = o->new_tokens ? bench_generate(&presets[i], o) : bench_train(&presets[i], o);
    }
    return any ? r : FAIL(CO_E_CONFIG, "--preset %s: 15m, 110m or all", preset);
}

int main(int argc, char **argv)
{
    enum { SEQS = 256, NEW, SEQ_LEN, BACKEND, DTYPE, LORA, CONFIG, STRATEGY, SET, OFFLOAD, ACCUMULATION, NO_UPDATE, COMM, TRACE, COLLECTIVES };
    static const struct option longs[] = {
        {"preset", 1, 0, 'p'}, {"steps", 1, 0, 's'}, {"threads", 1, 0, 't'}, {"checkpointing", 0, 0, 'c'}, {"profile", 0, 0, 'P'},
        {"config", 1, 0, CONFIG}, {"seqs", 1, 0, SEQS}, {"new-tokens", 1, 0, NEW}, {"seq-len", 1, 0, SEQ_LEN}, {"backend", 1, 0, BACKEND},
        {"dtype", 1, 0, DTYPE}, {"lora-rank", 1, 0, LORA}, {"update", 1, 0, 'U'}, {"tokenize", 1, 0, 'T'},
        {"strategy", 1, 0, STRATEGY}, {"set", 1, 0, SET}, {"offload-activations", 0, 0, OFFLOAD}, {"accumulation", 1, 0, ACCUMULATION}, {"no-update", 0, 0, NO_UPDATE},
        {"comm", 1, 0, COMM}, {"trace", 1, 0, TRACE}, {"collectives", 1, 0, COLLECTIVES}, {"help", 0, 0, 'h'}, {"version", 0, 0, 'V'}, {0, 0, 0, 0}};
    const char *preset = "all", *file = NULL, *tokenize = NULL;
    bench_opts o = {.threads = "0", .steps = 5, .backend = "cpu", .dtype = "fp32", .strategy = "naive", .accumulation = 1, .comm = "auto"};
    shape own = {.seqs = 8, .seq_len = 512};
    int opt, update = 0, collectives = 0, r = CO_OK;
    while (r == CO_OK && (opt = getopt_long(argc, argv, "vqh", longs, NULL)) != -1) {
        switch (opt) {
        case 'p': preset = optarg; break;
        case 's': r = number(optarg, 1, BENCH_MAX_STEPS, "--steps", &o.steps); break;
        case 't': o.threads = optarg; break;
        case 'c': o.checkpoint = 1; break;
        case 'U': r = number(optarg, 1, 1 << 20, "--update", &update); break;
        case 'T': tokenize = optarg; break;
        case 'P': o.profile = 1; break;
        case CONFIG: file = optarg; break;
        case SEQS: r = counts(optarg, &own.seqs, &o); break;
        case NEW: r = number(optarg, 1, 1 << 20, "--new-tokens", &o.new_tokens); break;
        case SEQ_LEN: r = number(optarg, 1, 1 << 20, "--seq-len", &own.seq_len); break;
        case BACKEND: o.backend = optarg; break;
        case DTYPE: o.dtype = optarg; break;
        case LORA: r = number(optarg, 1, 4096, "--lora-rank", &o.lora_rank); break;
        case STRATEGY: o.strategy = optarg; o.queued = 1; break;
        case OFFLOAD: o.offload = 1; break;
        case SET:
            if (o.n_set == BENCH_MAX_SETS) r = FAIL(CO_E_CONFIG, "--set: at most %d times", BENCH_MAX_SETS);
            else o.set[o.n_set++] = optarg;
            break;
        case ACCUMULATION: r = number(optarg, 1, 1024, "--accumulation", &o.accumulation); o.queued = 1; break;
        case COMM: o.comm = optarg; break;
        case TRACE: o.trace = optarg; o.queued = 1; break;
        case COLLECTIVES: r = number(optarg, 1, 1 << 16, "--collectives", &collectives); break;
        case NO_UPDATE: o.no_update = 1; o.queued = 1; break;
        case 'v': log_level_set(CO_LOG_DEBUG); break;
        case 'q': log_level_set(CO_LOG_ERROR); break;
        case 'h': fputs(help, stdout); return 0;
        case 'V': puts("coati-bench " COATI_VERSION); return 0;
        default: fputs("try coati-bench --help\n", stderr); return 2;
        }
    }
    if (r == CO_OK && !tokenize && optind < argc) r = FAIL(CO_E_CONFIG, "unexpected argument '%s'", argv[optind]);
    if (r == CO_OK && o.n_fewer > 0 && !o.queued) r = FAIL(CO_E_CONFIG, "--seqs of several numbers needs --strategy");
    if (r == CO_OK && tokenize && optind == argc) r = FAIL(CO_E_CONFIG, "--tokenize needs files to read texts from");
    if (r == CO_OK) r = tokenize ? bench_tokenize(tokenize, (const char *const *)argv + optind, argc - optind, o.steps) : run(preset, &own, file, update, collectives, &o);
    if (r) fprintf(stderr, "coati-bench: %s\n", error_message());
    return error_exit_code(r);
}
