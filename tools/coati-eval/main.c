/* coati-eval: the loss of a model directory over a dataset. */
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/params/json_write.h"
#include "core/train/evaluate.h"
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: coati-eval --model DIR --dataset FILE [OPTIONS] [section.key=value ...]\n"
    "Prints one JSON object: loss (mean over the label tokens), perplexity, and what was counted.\n"
    "  --adapter DIR         LoRA in PEFT's layout over the model\n"
    "  --dataset FILE        a file, a folder or a glob\n"
    "  --format NAME         of the files (by their names)\n"
    "  --template NAME       as [dataset] template (alpaca)\n"
    "  --columns LIST        as [dataset] columns\n"
    "  --max-len N           tokens a sample; longer ones are cut (512, or what the model has if that is less)\n"
    "  --max-records N       0: all (0)\n"
    "  --on-bad-record WHAT  stop, or skip and count (stop)\n"
    "  --batch N             samples at once (8)\n"
    "  --backend NAME        (cpu)\n"
    "  --threads N           (every core)\n"
    "  -v, -q, --help, --version\n"
    "What has no option here is said as for coati-run: dataset.split=0.95 evaluates the part a run with this split holds out.\n"
    "Exit codes: 0 done, 1 failed at run time, 2 command line, 3 data or model file, 4 memory.\n";

/* Options that are a key of the configuration. */
static const struct key { const char *option, *assignment; } keys[] = {
    {"model", "model.path"}, {"dataset", "dataset.path"}, {"format", "dataset.format"}, {"template", "dataset.template"},
    {"columns", "dataset.columns"}, {"max-len", "dataset.max_len"}, {"max-records", "dataset.max_records"},
    {"on-bad-record", "dataset.on_bad_record"}, {"batch", "batch.size"}, {"backend", "run.backend"}, {"threads", "backend.threads"}};
enum { N_KEYS = sizeof keys / sizeof *keys, ADAPTER = 256, HELP, VERSION, FIRST_KEY };

static int assign(config *c, const char *name, const char *value)
{
    char *text = mem_printf("%s=%s", name, value);
    const int r = text ? config_override(c, text) : CO_E_NOMEM;
    mem_free(text);
    return r;
}

/* What a run would need and an evaluation does not; nothing is written. */
static int defaults(config *c)
{
    int r = config_set(c, "run", "output", ".");
    if (r == CO_OK) r = config_set(c, "batch", "size", "8");
    if (r == CO_OK) r = config_set(c, "batch", "accumulation", "1");
    return r;
}

static int parse(int argc, char **argv, config *c, const char **adapter_dir)
{
    struct option longs[N_KEYS + 4] = {{"adapter", 1, 0, ADAPTER}, {"help", 0, 0, HELP}, {"version", 0, 0, VERSION}};
    int opt, r = defaults(c);
    for (int i = 0; i < N_KEYS; i++) longs[3 + i] = (struct option){keys[i].option, 1, 0, FIRST_KEY + i};
    while (r == CO_OK && (opt = getopt_long(argc, argv, "vqh", longs, NULL)) != -1) {
        if (opt >= FIRST_KEY) r = assign(c, keys[opt - FIRST_KEY].assignment, optarg);
        else if (opt == ADAPTER) *adapter_dir = optarg;
        else if (opt == 'v') log_level_set(CO_LOG_DEBUG);
        else if (opt == 'q') log_level_set(CO_LOG_ERROR);
        else if (opt == 'h' || opt == HELP) fputs(help, stdout), exit(0);
        else if (opt == VERSION) puts("coati-eval " COATI_VERSION), exit(0);
        else return FAIL(CO_E_CONFIG, "try coati-eval --help");
    }
    for (int i = optind; i < argc && r == CO_OK; i++) r = config_override(c, argv[i]);
    if (r == CO_OK && !config_get(c, "model", "path")) r = FAIL(CO_E_CONFIG, "--model DIR is missing; try coati-eval --help");
    if (r == CO_OK && !config_get(c, "dataset", "path")) r = FAIL(CO_E_CONFIG, "--dataset FILE is missing; try coati-eval --help");
    return r;
}

static int print(const run *r, const char *adapter_dir, const evaluation *v)
{
    json_text t = {0};
    loader_totals n;
    loader_stats(r->eval.loader, &n);
    json_text_put(&t, "{\"model\":");
    json_text_string(&t, r->o.model.path);
    if (adapter_dir) {
        json_text_put(&t, ",\"adapter\":");
        json_text_string(&t, adapter_dir);
    }
    json_text_put(&t, ",\"dataset\":");
    json_text_string(&t, r->eval.path);
    json_text_printf(&t, ",\"loss\":%.17g,\"perplexity\":%.17g", v->loss, exp(v->loss));
    for (uint32_t i = 0; i < v->named.n; i++)
        json_text_printf(&t, isfinite(v->named.value[i]) ? ",\"%s\":%.17g" : ",\"%s\":null", v->named.name[i], v->named.value[i]);
    json_text_printf(&t, ",\"labels\":%lld,\"tokens\":%lld,\"samples\":%lld", (long long)v->labels, (long long)v->tokens, (long long)v->samples);
    json_text_printf(&t, ",\"cut\":%lld,\"dropped\":%lld,\"bad\":%lld}\n", (long long)n.cut, (long long)n.dropped, (long long)n.bad);
    const int s = t.failed ? CO_E_NOMEM : fs_write_all(STDOUT_FILENO, "stdout", t.text, t.len);
    json_text_free(&t);
    return s;
}

int main(int argc, char **argv)
{
    const char *adapter_dir = NULL;
    config *c = config_new();
    run r = {0};
    evaluation v;
    log_level_set(CO_LOG_WARN);
    int s = c ? parse(argc, argv, c, &adapter_dir) : CO_E_NOMEM;
    if (s == CO_OK) s = run_open_eval(c, adapter_dir, &r);
    if (s == CO_OK) s = run_check_memory(&r);
    if (s == CO_OK) s = run_allocate(&r);
    if (s == CO_OK) s = run_evaluate(&r, &r.eval, r.o.eval.batches, &v);
    if (s == CO_OK && !isfinite(v.loss)) s = FAIL(CO_E_STATE, "the loss is not finite: the weights are broken");
    if (s == CO_OK) s = print(&r, adapter_dir, &v);
    if (s) fprintf(stderr, "coati-eval: %s\n", error_message());
    run_close(&r);
    config_free(c);
    return error_exit_code(s);
}
