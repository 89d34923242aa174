/* coati-run: runs a stage from an INI file. */
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/config/config.h"
#include "core/train/predict.h"
#include "core/train/run.h"
#include "core/train/ranks.h"
#include "core/train/sft.h"
#include "board.h"
#include "dump.h"
#include "launch.h"
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: coati-run [OPTIONS] train.ini [section.key=value ...]\n"
    "Fine-tunes a model (stage sft), or goes on with plain texts (stage pretrain), as the INI file says.\n"
    "Later values win: file, then the command line.\n"
    "  --check          look at configuration, files and shapes, read a first batch, show a sample; run nothing\n"
    "  --plan           print the memory each rank takes and what a step is predicted to take, and stop\n"
    "  --print-config   print the effective configuration as an INI file, and stop\n"
    "  --dump-batches DIR  write what the model would be fed to DIR/train.jsonl and eval.jsonl, and stop\n"
    "  --list           print the plugins found, and stop\n"
    "  --nproc N        N ranks on this machine, started through mpirun; with --check and --plan nothing is started\n"
    "  --resume         go on from the newest checkpoint; fail if there is none\n"
    "  --no-resume      fail if the output already holds a checkpoint\n"
    "  --overwrite      remove an earlier run's files in the output first\n"
    "  -v, -q           say more, say less\n"
    "  --help, --version\n"
    "Without --resume or --no-resume a run goes on from its newest checkpoint if there is one.\n"
    "Exit codes: 0 done, 1 failed at run time, 2 command line or configuration, 3 data or model file, 4 memory or disk,\n"
    "130 interrupted, 143 terminated (a checkpoint was written first).\n"
    "Several ranks: --nproc N, or start coati-run itself through mpirun or srun --mpi=pmix. SIGINT and SIGTERM to this program reach\n"
    "all ranks; SIGUSR1, which mpirun passes on, means the same as SIGTERM.\n";

static volatile int stop_signal;
static void on_signal(int n) { stop_signal = n == SIGUSR1 ? SIGTERM : n; }

static void catch_signals(void)
{
    const struct sigaction act = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}; /* a second one ends it at once */
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGUSR1, &act, NULL);
}

/* Of a launcher's environment; `other` without one. */
static int launched(const char *name, int other)
{
    const char *text = getenv(name);
    return text ? (int)strtol(text, NULL, 10) : other;
}

/* Ranks that share a machine share its cores, unless somebody has said otherwise or bound them apart. */
static void share_cores(void)
{
    cpu_set_t set;
    char text[16];
    const int ranks = launched("OMPI_COMM_WORLD_LOCAL_SIZE", 1);
    if (ranks < 2 || sched_getaffinity(0, sizeof set, &set) || CPU_COUNT(&set) < sysconf(_SC_NPROCESSORS_ONLN)) return;
    snprintf(text, sizeof text, "%d", CPU_COUNT(&set) / ranks > 0 ? CPU_COUNT(&set) / ranks : 1);
    setenv("OMP_NUM_THREADS", text, 0);
}

/* Says what failed: once where all ranks failed alike, else with the rank's name; to whoever started the ranks, or to stderr. */
static void report(const run *r, board *b, board_rank *me, int64_t step, int code)
{
    char text[sizeof me->text], where[160] = "";
    char node[64] = "?";
    const int rank = r->world > 0 ? r->rank : launched("OMPI_COMM_WORLD_RANK", 0);
    const char *why = error_message();
    if (gethostname(node, sizeof node - 1)) node[0] = 0;
    if (!r->together && !r->plan_world && (r->world > 1 || rank > 0)) {
        if (step > 0 && strncmp(why, "step ", 5) != 0) snprintf(where, sizeof where, "rank %d on %s, step %lld: ", rank, node, (long long)step);
        else snprintf(where, sizeof where, "rank %d on %s: ", rank, node);
    }
    snprintf(text, sizeof text, "%s%s", where, why);
    const int quiet = r->together && rank > 0;
    if (me) board_end(b, me, code, quiet ? NULL : text);
    else if (!quiet) fprintf(stderr, "coati-run: %s\n", text);
    if (log_level() >= CO_LOG_DEBUG) fprintf(stderr, "  (%s)\n", error_where());
}

static int plan(run *r)
{
    engine_memory first, m;
    int s = CO_OK, from = 0;
    const int ranks = r->plan_world ? r->plan_world : 1;
    for (int k = 0; k <= ranks && s == CO_OK; k++) { /* ranks that need the same are one table */
        if (k < ranks && k > 0) s = run_plan_rank(r, k);
        if (s == CO_OK && k < ranks) engine_bytes(r->engine, &m);
        if (k == 0) first = m;
        if (s || (k < ranks && memcmp(&m, &first, sizeof m) == 0)) continue;
        if (k < ranks) s = run_plan_rank(r, from);
        char *text = s == CO_OK ? run_plan_text(r) : NULL;
        if (text && ranks > 1 && k - from > 1) printf("ranks %d to %d of %d, each:\n", from, k - 1, ranks);
        else if (text && ranks > 1) printf("rank %d of %d:\n", from, ranks);
        if (text) fputs(text, stdout);
        mem_free(text);
        if (s == CO_OK && k < ranks) s = run_plan_rank(r, k);
        first = m;
        from = k;
    }
    char *step = NULL;
    if (s == CO_OK) s = run_prediction_text(r, &step);
    if (step) fputs(step, stdout);
    mem_free(step);
    return s == CO_OK ? run_check_memory(r) : s;
}

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
    char *sources = s == CO_OK ? run_sources_text(r) : NULL;
    if (sources) fputs(sources, stdout);
    mem_free(sources);
    if (s == CO_OK) printf("ok: %lld %s, %lld steps, %lld parameters\n", (long long)loader_n_records(r->train.loader), r->o.run.stage == STAGE_PRETRAIN ? "blocks" : "records", (long long)r->total_steps, (long long)r->table->n_elements);
    return s;
}

/* The same command line without --nproc, N times. */
static int start_ranks(int nproc, char **argv)
{
    size_t n = 0;
    int noise = 0;
    for (char **p = argv + 1; *p; p++) {
        const int apart = strcmp(*p, "--nproc") == 0;
        noise |= strcmp(*p, "-v") == 0;
        if (apart && p[1]) p++;
        else if (!apart && strncmp(*p, "--nproc=", 8) != 0) argv[n++] = *p;
    }
    argv[n] = NULL;
    return launch(nproc, argv, noise);
}

int main(int argc, char **argv)
{
    enum { CHECK = 256, PLAN, PRINT, DUMP, LIST, RESUME, NO_RESUME, OVERWRITE, NPROC, HELP, VERSION };
    static const struct option longs[] = {{"check", 0, 0, CHECK}, {"plan", 0, 0, PLAN}, {"print-config", 0, 0, PRINT}, {"dump-batches", 1, 0, DUMP}, {"list", 0, 0, LIST},
                                          {"resume", 0, 0, RESUME}, {"no-resume", 0, 0, NO_RESUME}, {"overwrite", 0, 0, OVERWRITE}, {"nproc", 1, 0, NPROC},
                                          {"help", 0, 0, HELP}, {"version", 0, 0, VERSION}, {0, 0, 0, 0}};
    const char *dump_dir = NULL;
    char *end = NULL;
    int job = 0, opt, nproc = 0;
    volatile int64_t own_step = 0;
    sft_flags flags = {.stop = &stop_signal};
    log_level_set(CO_LOG_INFO);
    while ((opt = getopt_long(argc, argv, "vqh", longs, NULL)) != -1) {
        switch (opt) {
        case CHECK: case PLAN: case PRINT: case LIST: job = opt; break;
        case RESUME: flags.resume = 1; break;
        case NO_RESUME: flags.resume = -1; break;
        case OVERWRITE: flags.overwrite = 1; break;
        case NPROC:
            nproc = (int)strtol(optarg, &end, 10);
            if (end != optarg && !*end && nproc > 0 && nproc <= 4096) break;
            fprintf(stderr, "coati-run: --nproc %s: expected a number of ranks, 1 to 4096\n", optarg);
            return 2;
        case DUMP: job = opt; dump_dir = optarg; break;
        case 'v': log_level_set(CO_LOG_DEBUG); break;
        case 'q': log_level_set(CO_LOG_WARN); break;
        case 'h': case HELP: fputs(help, stdout); return 0;
        case VERSION: puts("coati-run " COATI_VERSION); return 0;
        default: fputs("try coati-run --help\n", stderr); return 2;
        }
    }
    board *b = NULL;
    board_rank *me = NULL;
    const int running = job == 0;
    if (running && !nproc) {
        share_cores();
        if (getenv(BOARD_ENV)) catch_signals(); /* from here on it may be told to stop */
        me = board_join(launched("OMPI_COMM_WORLD_RANK", 0), &b);
    }
    flags.step = me ? &me->step : &own_step;
    config *c = config_new();
    run r = {0};
    int s = c ? CO_OK : CO_E_NOMEM;
    if (s == CO_OK && optind < argc) s = config_read_file(c, argv[optind]);
    else if (s == CO_OK && job != LIST) s = FAIL(CO_E_CONFIG, "which INI file? usage: coati-run [OPTIONS] train.ini [section.key=value ...]");
    for (int i = optind + 1; i < argc && s == CO_OK; i++) s = config_override(c, argv[i]);
    if (s == CO_OK && nproc && job == DUMP) s = FAIL(CO_E_CONFIG, "--dump-batches shows one rank's batches: leave --nproc out");
    if (s == CO_OK && nproc && running) {
        options o;
        s = options_bind(c, &o); /* what is wrong here is said once, before anything is started */
        if (s == CO_OK && nproc > 1 && strcmp(o.run.comm, "self") == 0) s = FAIL(CO_E_CONFIG, "%s: [run] comm = self is for one rank, and --nproc asks for %d", config_where(c, "run", "comm"), nproc);
        if (s == CO_OK) {
            config_free(c);
            return start_ranks(nproc, argv);
        }
    } else if (s == CO_OK && job == LIST) {
        s = list_plugins(config_get(c, "plugins", "path"));
    } else if (s == CO_OK) {
        s = running ? run_open(c, &r) : run_open_look(c, nproc, &r);
        if (s == CO_OK && job == PRINT) {
            char *text = config_print(c);
            if (text && r.rank == 0) fputs(text, stdout);
            mem_free(text);
        } else if (s == CO_OK && job == PLAN) {
            s = plan(&r);
        } else if (s == CO_OK && job == CHECK) {
            s = check(&r);
        } else if (s == CO_OK && job == DUMP) {
            s = dump_batches(&r, dump_dir);
        } else if (s == CO_OK) {
            catch_signals();
            s = sft_run(&r, &flags);
        }
    }
    const int code = s ? error_exit_code(s) : flags.stopped ? 128 + flags.stopped : 0;
    if (s) report(&r, b, me, *flags.step, code);
    else if (me) board_end(b, me, code, NULL);
    if (s && r.world > 1 && !r.plan_world && !r.together) r.comm->abort(r.comm_self, code); /* the others wait for this rank */
    run_close(&r);
    config_free(c);
    return code;
}
