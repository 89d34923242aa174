/* coati-run: runs a stage from an INI file. */
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/config/config.h"
#include "core/train/run.h"
#include "core/train/sft.h"
#include "dump.h"
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: coati-run [OPTIONS] train.ini [section.key=value ...]\n"
    "Fine-tunes a model (stage sft), or goes on with plain texts (stage pretrain), as the INI file says.\n"
    "Later values win: file, then the command line.\n"
    "  --check          look at configuration, files and shapes, read a first batch, show a sample; run nothing\n"
    "  --plan           print the memory and step plan, and stop\n"
    "  --print-config   print the effective configuration as an INI file, and stop\n"
    "  --dump-batches DIR  write what the model would be fed to DIR/train.jsonl and eval.jsonl, and stop\n"
    "  --list           print the plugins found, and stop\n"
    "  --resume         go on from the newest checkpoint; fail if there is none\n"
    "  --no-resume      fail if the output already holds a checkpoint\n"
    "  --overwrite      remove an earlier run's files in the output first\n"
    "  -v, -q           say more, say less\n"
    "  --help, --version\n"
    "Without --resume or --no-resume a run goes on from its newest checkpoint if there is one.\n"
    "Exit codes: 0 done, 1 failed at run time, 2 command line or configuration, 3 data or model file, 4 memory or disk,\n"
    "130 interrupted, 143 terminated (a checkpoint was written first).\n";

static volatile int stop_signal;
static void on_signal(int n) { stop_signal = n; }

static void on_bad(void *ctx, const char *path, const char *why)
{
    (void)ctx, (void)path;
    fprintf(stderr, "coati-run: warning: %s\n", why);
}

static int list_plugins(const char *folders)
{
    host *h = host_new(folders);
    if (!h) return CO_E_NOMEM;
    const int s = host_load_all(h, 0, on_bad, NULL);
    for (size_t i = 0; i < host_count(h) && s == CO_OK; i++) {
        const co_feature *f = host_at(h, i);
        printf("%-10s %-14s %s\n", kind_name((co_kind)f->kind), f->name, f->summary ? f->summary : "");
    }
    host_free(h);
    return s;
}

static int check(run *r)
{
    const step_batch *b;
    char *text = NULL;
    int s = loader_next(r->train.loader, &b);
    if (s == CO_OK && b->n_labels == 0) s = FAIL(CO_E_FORMAT, "the first step has no label: is max_len = %lld too short for the prompts?", (long long)r->o.dataset.max_len);
    if (s == CO_OK && r->eval.loader) s = loader_next(r->eval.loader, &b);
    if (s == CO_OK) s = run_check_memory(r);
    if (s == CO_OK && loader_describe(r->train.loader, &text) == CO_OK) fputs(text, stdout);
    mem_free(text);
    if (s == CO_OK) printf("ok: %lld records, %lld steps, %lld parameters\n", (long long)loader_n_records(r->train.loader), (long long)r->total_steps, (long long)r->table->n_elements);
    return s;
}

int main(int argc, char **argv)
{
    enum { CHECK = 256, PLAN, PRINT, DUMP, LIST, RESUME, NO_RESUME, OVERWRITE, HELP, VERSION };
    static const struct option longs[] = {{"check", 0, 0, CHECK}, {"plan", 0, 0, PLAN}, {"print-config", 0, 0, PRINT}, {"dump-batches", 1, 0, DUMP}, {"list", 0, 0, LIST},
                                          {"resume", 0, 0, RESUME}, {"no-resume", 0, 0, NO_RESUME}, {"overwrite", 0, 0, OVERWRITE},
                                          {"help", 0, 0, HELP}, {"version", 0, 0, VERSION}, {0, 0, 0, 0}};
    const char *dump_dir = NULL;
    int job = 0, opt;
    sft_flags flags = {.stop = &stop_signal};
    log_level_set(CO_LOG_INFO);
    while ((opt = getopt_long(argc, argv, "vqh", longs, NULL)) != -1) {
        switch (opt) {
        case CHECK: case PLAN: case PRINT: case LIST: job = opt; break;
        case RESUME: flags.resume = 1; break;
        case NO_RESUME: flags.resume = -1; break;
        case OVERWRITE: flags.overwrite = 1; break;
        case DUMP: job = opt; dump_dir = optarg; break;
        case 'v': log_level_set(CO_LOG_DEBUG); break;
        case 'q': log_level_set(CO_LOG_WARN); break;
        case 'h': case HELP: fputs(help, stdout); return 0;
        case VERSION: puts("coati-run " COATI_VERSION); return 0;
        default: fputs("try coati-run --help\n", stderr); return 2;
        }
    }
    config *c = config_new();
    run r = {0};
    int s = c ? CO_OK : CO_E_NOMEM;
    if (s == CO_OK && optind < argc) s = config_read_file(c, argv[optind]);
    else if (s == CO_OK && job != LIST) s = FAIL(CO_E_CONFIG, "which INI file? usage: coati-run [OPTIONS] train.ini [section.key=value ...]");
    for (int i = optind + 1; i < argc && s == CO_OK; i++) s = config_override(c, argv[i]);
    if (s == CO_OK && job == LIST) {
        s = list_plugins(config_get(c, "plugins", "path"));
    } else if (s == CO_OK) {
        s = job ? run_open_look(c, &r) : run_open(c, &r);
        if (s == CO_OK && job == PRINT) {
            char *text = config_print(c);
            if (text) fputs(text, stdout);
            mem_free(text);
        } else if (s == CO_OK && job == PLAN) {
            char *text = run_plan_text(&r);
            if (text) fputs(text, stdout);
            mem_free(text);
            s = run_check_memory(&r);
        } else if (s == CO_OK && job == CHECK) {
            s = check(&r);
        } else if (s == CO_OK && job == DUMP) {
            s = dump_batches(&r, dump_dir);
        } else if (s == CO_OK) {
            const struct sigaction act = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}; /* a second one ends it at once */
            sigaction(SIGINT, &act, NULL);
            sigaction(SIGTERM, &act, NULL);
            s = sft_run(&r, &flags);
        }
    }
    if (s) {
        fprintf(stderr, "coati-run: %s\n", error_message());
        if (log_level() >= CO_LOG_DEBUG) fprintf(stderr, "  (%s)\n", error_where());
    }
    run_close(&r);
    config_free(c);
    return s ? error_exit_code(s) : stop_signal ? 128 + stop_signal : 0;
}
