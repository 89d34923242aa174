/* coati-convert: model directories into other ones. */
#include "convert.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: coati-convert [OPTIONS] INPUT OUTPUT\n"
    "INPUT is a model directory (safetensors, or pytorch_model.bin, which is read without running it), or a checkpoint of\n"
    "coati-run (OUT/checkpoints/step-N). OUTPUT becomes a model directory; a checkpoint of a LoRA run becomes an adapter.\n"
    "  --adapter DIR         merge this adapter (PEFT's layout) into the weights. Logits of base + adapter and of the merged\n"
    "                        files are printed and compared; above the bound nothing is written, and the exit code is 1\n"
    "  --bound X             largest difference, as a share of the largest logit (fp32 1e-4, fp16 1e-2, bf16 5e-2)\n"
    "  --extend DIR|N        more tokens: those of the tokenizer in DIR, or N in all. config.json and the tokenizer's files follow; the old\n"
    "                        tokens' logits are compared before anything is written, as with --adapter\n"
    "  --new-rows HOW        mean: of all old rows; pieces: of those a token was written with before, needs DIR (mean)\n"
    "  --pad-to N            the vocabulary becomes a multiple of N\n"
    "  --dtype NAME          fp32, bf16, fp16, or keep: as stored (keep; a checkpoint: fp32)\n"
    "  --max-shard-size N    largest file: 5GB, 200MB, 1024 (5GB)\n"
    "  --base DIR            checkpoint: where config.json and the tokenizer are (the run's [model] path)\n"
    "  --backend NAME        what computes the logits (cpu)\n"
    "  --threads N           (every core)\n"
    "  --plugins PATH        further folders with plugins, colon-separated\n"
    "  -v, -q, --help, --version\n"
    "OUTPUT is complete or absent; an earlier model there is replaced, other folders are left alone.\n"
    "Exit codes: 0 done, 1 above the bound or failed, 2 command line, 3 a file is bad, 4 memory or disk.\n";

static int parse_bytes(const char *text, int64_t *out)
{
    static const struct { const char *suffix; double factor; } unit[] = {{"", 1}, {"B", 1}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9},
                                                                        {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}};
    char *end;
    const double v = strtod(text, &end);
    for (size_t i = 0; end != text && i < sizeof unit / sizeof *unit; i++)
        if (strcmp(end, unit[i].suffix) == 0 && v * unit[i].factor >= 1 && v * unit[i].factor < 9e18) return *out = (int64_t)(v * unit[i].factor), CO_OK;
    return FAIL(CO_E_CONFIG, "--max-shard-size %s: expected a size like 5GB, 200MB or 1024", text);
}

static int parse_dtype(const char *text, int *out)
{
    static const struct { const char *name; int dtype; } names[] = {{"fp32", CO_F32}, {"bf16", CO_BF16}, {"fp16", CO_F16}, {"keep", DTYPE_KEEP}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i].name) == 0) return *out = names[i].dtype, CO_OK;
    return FAIL(CO_E_CONFIG, "--dtype %s: expected fp32, bf16, fp16 or keep", text);
}

static int parse_bound(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end && *out >= 0 ? CO_OK : FAIL(CO_E_CONFIG, "--bound %s: expected a number, 0 or above", text);
}

static int parse_rows(const char *text, int *pieces)
{
    *pieces = strcmp(text, "pieces") == 0;
    return *pieces || strcmp(text, "mean") == 0 ? CO_OK : FAIL(CO_E_CONFIG, "--new-rows %s: expected mean or pieces", text);
}

int parse_count(const char *option, const char *text, int64_t *out)
{
    char *end;
    *out = strtoll(text, &end, 10);
    return end != text && !*end && *out > 0 && *out < INT32_MAX ? CO_OK : FAIL(CO_E_CONFIG, "%s %s: expected a number of tokens", option, text);
}

static int parse(int argc, char **argv, convert_args *a)
{
    enum { ADAPTER = 256, EXTEND, NEW_ROWS, PAD_TO, BOUND, DTYPE, SHARD, BASE, BACKEND, THREADS, PLUGINS, VERSION };
    static const struct option longs[] = {{"adapter", 1, 0, ADAPTER}, {"extend", 1, 0, EXTEND}, {"new-rows", 1, 0, NEW_ROWS}, {"pad-to", 1, 0, PAD_TO}, {"bound", 1, 0, BOUND}, {"dtype", 1, 0, DTYPE}, {"max-shard-size", 1, 0, SHARD},
                                          {"base", 1, 0, BASE}, {"backend", 1, 0, BACKEND}, {"threads", 1, 0, THREADS}, {"plugins", 1, 0, PLUGINS},
                                          {"help", 0, 0, 'h'}, {"version", 0, 0, VERSION}, {0, 0, 0, 0}};
    int opt, r = CO_OK;
    *a = (convert_args){.dtype = DTYPE_KEEP, .bound = -1, .backend = "cpu"};
    while (r == CO_OK && (opt = getopt_long(argc, argv, "vqh", longs, NULL)) != -1) {
        switch (opt) {
        case ADAPTER:
            if (a->adapter) return FAIL(CO_E_CONFIG, "--adapter: one at a time; merge the second into the result of the first");
            a->adapter = optarg;
            break;
        case EXTEND: a->extend = optarg; break;
        case NEW_ROWS: r = parse_rows(optarg, &a->pieces); break;
        case PAD_TO: r = parse_count("--pad-to", optarg, &a->pad_to); break;
        case BOUND: r = parse_bound(optarg, &a->bound); break;
        case DTYPE: r = parse_dtype(optarg, &a->dtype); break;
        case SHARD: r = parse_bytes(optarg, &a->shard_bytes); break;
        case BASE: a->base = optarg; break;
        case BACKEND: a->backend = optarg; break;
        case THREADS: a->threads = optarg; break;
        case PLUGINS: a->plugins = optarg; break;
        case 'v': log_level_set(CO_LOG_DEBUG); break;
        case 'q': log_level_set(CO_LOG_ERROR); break;
        case 'h': fputs(help, stdout); exit(0);
        case VERSION: puts("coati-convert " COATI_VERSION); exit(0);
        default: return FAIL(CO_E_CONFIG, "try coati-convert --help");
        }
    }
    if (r) return r;
    if (argc - optind != 2) return FAIL(CO_E_CONFIG, "INPUT and OUTPUT are wanted; try coati-convert --help");
    a->input = argv[optind];
    a->output = argv[optind + 1];
    return CO_OK;
}

int main(int argc, char **argv)
{
    convert_args a;
    int r = parse(argc, argv, &a);
    const int checkpoint = r == CO_OK && is_checkpoint(a.input);
    if (r == CO_OK && checkpoint && a.adapter) r = FAIL(CO_E_CONFIG, "--adapter goes with a model directory; %s is a checkpoint", a.input);
    if (r == CO_OK && !checkpoint && a.base) r = FAIL(CO_E_CONFIG, "--base goes with a checkpoint; %s is none", a.input);
    if (r == CO_OK && a.extend && (checkpoint || a.adapter)) r = FAIL(CO_E_CONFIG, "--extend goes with a model directory alone: convert first, then extend the result");
    if (r == CO_OK && !a.extend && (a.pieces || a.pad_to)) r = FAIL(CO_E_CONFIG, "--new-rows and --pad-to go with --extend");
    if (r == CO_OK) r = a.extend ? convert_extend(&a) : checkpoint ? convert_checkpoint(&a) : a.adapter ? convert_merge(&a) : convert_plain(&a);
    if (r) fprintf(stderr, "coati-convert: %s\n", error_message());
    return error_exit_code(r);
}
