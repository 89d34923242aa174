/* coati-validate: checks a plugin as the host will use it. */
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "elf.h"
#include "rig.h"
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char help[] =
    "usage: coati-validate [OPTIONS] PLUGIN.so\n"
    "Checks what the file exports, its tables and options, two instances at once, memory running out, gradients against\n"
    "differences in double, determinism, and a tiny run; prints what a maintainer would want to know, a line a check.\n"
    "  --config FILE        models: config.json of a tiny model (one with the usual names of Hugging Face)\n"
    "  --data PATH          datasets: a file; tokenizers: a model directory or file. Without it they are not read from\n"
    "  --set KEY=VALUE      an option of the plugin, for those that have no default\n"
    "  --timeout SECONDS    a feature that takes longer hangs (120)\n"
    "  -v, -q, --help, --version\n"
    "Each feature is checked in a process of its own: a crash is a failure that names what was tried.\n"
    "Exit codes: 0 every check passed, 1 one failed, 2 command line.\n";

static int quiet_child;

static int setting(validate_args *a, const char *text)
{
    const char *eq = strchr(text, '=');
    if (!eq || eq == text) return FAIL(CO_E_CONFIG, "--set %s: expected KEY=VALUE", text);
    if (a->n_settings == MAX_SETTINGS) return FAIL(CO_E_CONFIG, "--set: at most %d", MAX_SETTINGS);
    a->settings[a->n_settings++] = text;
    return CO_OK;
}

static int parse(int argc, char **argv, validate_args *a)
{
    enum { CONFIG = 256, DATA, SET, TIMEOUT, VERSION };
    static const struct option longs[] = {{"config", 1, 0, CONFIG}, {"data", 1, 0, DATA}, {"set", 1, 0, SET}, {"timeout", 1, 0, TIMEOUT},
                                          {"help", 0, 0, 'h'}, {"version", 0, 0, VERSION}, {0, 0, 0, 0}};
    int opt, r = CO_OK;
    char *end;
    *a = (validate_args){.timeout = 120};
    while (r == CO_OK && (opt = getopt_long(argc, argv, "vqh", longs, NULL)) != -1) {
        switch (opt) {
        case CONFIG: a->config = optarg; break;
        case DATA: a->data = optarg; break;
        case SET: r = setting(a, optarg); break;
        case TIMEOUT:
            a->timeout = strtoll(optarg, &end, 10);
            if (end == optarg || *end || a->timeout < 1) r = FAIL(CO_E_CONFIG, "--timeout %s: expected seconds, 1 or more", optarg);
            break;
        case 'v': log_level_set(CO_LOG_DEBUG); break;
        case 'q': quiet_child = 1; break;
        case 'h': fputs(help, stdout); exit(0);
        case VERSION: puts("coati-validate " COATI_VERSION); exit(0);
        default: return FAIL(CO_E_CONFIG, "try coati-validate --help");
        }
    }
    if (r == CO_OK && optind + 1 != argc) r = FAIL(CO_E_CONFIG, "one PLUGIN.so is wanted; try coati-validate --help");
    if (r) return r;
    a->plugin = argv[optind];
    if (!fs_is_file(a->plugin)) return FAIL(CO_E_CONFIG, "%s: no such file", a->plugin);
    if (a->config && !fs_is_file(a->config)) return FAIL(CO_E_CONFIG, "--config %s: no such file", a->config);
    if (a->data && !fs_is_file(a->data) && !fs_is_dir(a->data)) return FAIL(CO_E_CONFIG, "--data %s: no such file or folder", a->data);
    return CO_OK;
}

/* The n-th feature of the plugin itself, in its own order. */
static const co_feature *feature_at(const host *h, const char *path, uint32_t n, uint32_t *count)
{
    const co_feature *found = NULL;
    *count = 0;
    for (size_t i = 0; i < host_count(h); i++)
        if (strcmp(host_path_of(h, host_at(h, i)), path) == 0) {
            if (*count == n) found = host_at(h, i);
            ++*count;
        }
    return found;
}

static void check_file(const validate_args *a)
{
    elf_facts e;
    if (elf_read(a->plugin, &e)) {
        report_fail("%s", error_message());
        return;
    }
    printf("  %-5s %lld bytes; needs %s\n", "file", (long long)e.bytes, e.needed[0] ? e.needed : "no library");
    if (e.n_exported != 1 || strcmp(e.exported, CO_ENTRY_SYMBOL) != 0)
        report_fail("exports %s: only %s is wanted (-fvisibility=hidden, static functions)", e.exported[0] ? e.exported : "nothing", CO_ENTRY_SYMBOL);
    else report_ok("exports %s and nothing else", CO_ENTRY_SYMBOL);
    if (e.textrel) report_fail("its code needs relocations: compile with -fPIC");
    if (e.runpath) report_note("it carries a run path: libraries are looked for where it was built");
}

static void print_plugin(const co_plugin *p)
{
    printf("  %-5s %s %s by %s, %s%s%s\n", "is", p->name ? p->name : "(no name)", p->version ? p->version : "(no version)", p->vendor && p->vendor[0] ? p->vendor : "(no vendor)",
           p->license && p->license[0] ? p->license : "(no licence)", p->url && p->url[0] ? ", " : "", p->url ? p->url : "");
    printf("  %-5s with %.48s for plugin ABI %u.%u, needs %u.%u\n", "built", p->magic.built_with, p->magic.abi_major, p->magic.abi_minor, p->magic.abi_major,
           p->magic.abi_minor_required);
    if (!p->name || !p->name[0] || !p->version || !p->version[0]) report_fail("the plugin has no name or no version");
    if (!p->license || !p->license[0]) report_note("no licence is named");
}

static int open_config(subject *s)
{
    const co_model_vt *vt = host_model(s->host, s->f);
    const char *type = vt->model_types && vt->model_types[0] ? vt->model_types[0] : s->f->name, *tiny = tiny_config(type);
    char *text = NULL;
    size_t n = strlen(tiny);
    int r = s->a->config ? fs_read_all(s->a->config, &text, &n, 1 << 20) : CO_OK;
    if (r == CO_OK) r = hf_config_parse(text ? text : tiny, n, s->a->config ? s->a->config : "config.json", &s->model_config);
    mem_free(text);
    return r;
}

static int open_backend(subject *s)
{
    const co_feature *f;
    bound b = {0};
    int r = host_feature(s->host, CO_KIND_BACKEND, "cpu", &f);
    if (r == CO_OK) r = subject_bind(s, f, NULL, &b);
    if (r == CO_OK) s->cpu = host_backend(s->host, f), r = s->cpu->open(host_services(s->host), b.opts, &s->cpu_self);
    bound_free(&b);
    return r;
}

static void check_kind(subject *s)
{
    const int before = report_failures();
    check_instance(s);
    if (report_failures() != before) return; /* what cannot be opened cannot be looked into */
    switch (s->f->kind) {
    case CO_KIND_MODEL: check_model(s); break;
    case CO_KIND_LOSS: check_loss(s); break;
    case CO_KIND_DATASET: check_dataset(s); break;
    case CO_KIND_TOKENIZER: check_tokenizer(s); break;
    case CO_KIND_BACKEND: check_backend(s); break;
    case CO_KIND_COMM: check_comm(s); break;
    default: break;
    }
    if (report_failures() == before && s->f->kind != CO_KIND_DATASET && s->f->kind != CO_KIND_TOKENIZER) check_training(s);
}

/* In the child: loads the plugin, and checks feature n; before the first, the file. */
static void check_feature(const validate_args *a, report_page *page, uint32_t n)
{
    subject s = {.a = a, .host = host_new(NULL)};
    char *path = fs_absolute(a->plugin);
    page->n_features = 0;
    if (!s.host || !path) return report_fail("out of memory");
    host_seed(s.host, 7);
    report_trying("loading it");
    if (n == 0) check_file(a);
    if (host_load_file(s.host, path)) return report_fail("%s", error_message());
    s.f = feature_at(s.host, path, n, &page->n_features);
    if (!s.f) return report_fail("it loads, and offers nothing");
    s.plugin = host_plugin_of(s.host, s.f);
    if (n == 0) print_plugin(s.plugin);
    snprintf(page->feature, sizeof page->feature, "%s/%s", kind_name((co_kind)s.f->kind), s.f->name);
    printf("%s: %s\n", page->feature, s.f->summary ? s.f->summary : "");
    report_trying("what it needs");
    int r = s.f->kind == CO_KIND_MODEL ? open_config(&s) : s.f->kind == CO_KIND_COMM ? open_backend(&s) : CO_OK;
    if (r) report_fail("%s", error_message());
    else check_kind(&s);
    hf_config_close(s.model_config);
    if (s.cpu_self) s.cpu->close(s.cpu_self);
    report_trying("its deinit()");
    host_free(s.host);
    mem_free(path);
}

/* Runs the checks of one feature in a process of its own; a death there is one more failure. */
static int run_child(const validate_args *a, report_page *page, uint32_t n)
{
    int status = 0;
    page->finished = 0;
    fflush(stdout);
    const pid_t child = fork();
    if (child < 0) return FAIL(CO_E_IO, "cannot start a process");
    if (child == 0) {
        if (quiet_child && !freopen("/dev/null", "w", stderr)) _exit(1);
        log_level_set(CO_LOG_ERROR);
        alarm((unsigned)a->timeout);
        check_feature(a, page, n);
        page->finished = 1;
        fflush(stdout);
        _exit(0);
    }
    while (waitpid(child, &status, 0) < 0) continue;
    if (page->finished) return CO_OK;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) report_fail("%s: no end after %lld seconds", page->trying, (long long)a->timeout);
    else if (WIFSIGNALED(status)) report_fail("%s: the process died: %s", page->trying, strsignal(WTERMSIG(status)));
    else report_fail("%s: the process ended with code %d: a plugin does not exit", page->trying, WEXITSTATUS(status));
    return CO_OK;
}

int main(int argc, char **argv)
{
    validate_args a;
    report_page *page = NULL;
    int r = parse(argc, argv, &a);
    if (r == CO_OK) r = report_start(&page);
    if (r == CO_OK) printf("%s\n", fs_basename(a.plugin));
    for (uint32_t n = 0; r == CO_OK && (n == 0 || n < page->n_features); n++) r = run_child(&a, page, n);
    if (r) {
        fprintf(stderr, "coati-validate: %s\n", error_message());
        return error_exit_code(r);
    }
    printf("%s: %d ok, %d failed, %d not checked\n", page->failed ? "FAILED" : "passed", page->ok, page->failed, page->skipped);
    return page->failed != 0;
}
