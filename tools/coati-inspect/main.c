/* coati-inspect: what is there: plugins and their options, tensors, models, checkpoints, runs. */
#include "inspect.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/config/config.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: coati-inspect [KIND[/NAME] | config[/SECTION] | FILE | DIR]\n"
    "       coati-inspect [--model DIR [--template NAME]] [--row N] RECORDS\n"
    "\n"
    "  (nothing)         the plugins that are installed\n"
    "  KIND              the plugins of a kind, with their options: backend, comm, strategy, optimizer, model,\n"
    "                    tokenizer, dataset, loss\n"
    "  KIND/NAME         one plugin: where it comes from, what it reads, its options\n"
    "  config[/SECTION]  keys of train.ini that are coati's own\n"
    "  FILE              tensors of a .safetensors file, or the plugins in a .so file\n"
    "  RECORDS           a file of records (.jsonl, .parquet, …): how many, their columns and what they are; with the\n"
    "                    model's directory one of them, token by token, what is learnt marked: of pairs both answers.\n"
    "                    --template: default hh for dialogues, none for texts, else alpaca; --row: default 1\n"
    "  DIR               a model, an adapter, a checkpoint, or the output of a run: what it holds and where it stands\n"
    "\n"
    "A kind's name wins over a file of that name: ./model is the folder, model the kind.\n"
    "  -v, -q            say more, say less\n"
    "  --help, --version\n";

typedef struct args { const char *model, *templ; int64_t row; } args;

static int has(const char *dir, const char *name)
{
    char *path = fs_join(dir, name);
    const int yes = path && (fs_is_file(path) || fs_is_dir(path));
    mem_free(path);
    return yes;
}

static int ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static int look_at(host *h, const char *path, const args *a)
{
    if (fs_is_dir(path)) {
        if (has(path, "state.json")) return inspect_checkpoint(path);
        if (has(path, "adapter_config.json")) return inspect_adapter(path);
        if (has(path, "config.json")) return inspect_model(h, path);
        if (has(path, "config.ini") || has(path, "checkpoints") || has(path, "metrics.jsonl")) return inspect_run(path);
        return FAIL(CO_E_FORMAT, "%s: neither a model (config.json), an adapter (adapter_config.json), a checkpoint (state.json) nor a run "
                    "(config.ini)", path);
    }
    if (!fs_is_file(path)) return FAIL(CO_E_FORMAT, "%s: no such file or folder", path);
    if (ends_with(path, ".so")) return inspect_plugin_file(h, path);
    if (ends_with(path, ".safetensors")) return inspect_weights(path);
    if (inspect_knows_records(h, path)) return inspect_records(h, path, a->model, a->templ, a->row);
    return FAIL(CO_E_FORMAT, "%s: tensors are read from .safetensors files, plugins from .so files, records from files whose ending a dataset plugin "
                "knows (coati-inspect dataset); this is none of them", path);
}

static int unknown(const char *what, size_t kind_len)
{
    const char *names[16];
    char word[64];
    size_t n = 0;
    for (uint32_t k = CO_KIND_BACKEND; k <= CO_KIND_LOSS; k++) names[n++] = kind_name((co_kind)k);
    names[n++] = "config";
    snprintf(word, sizeof word, "%.*s", (int)kind_len, what);
    const char *near = suggest_nearest(word, names, n);
    if (near) return FAIL(CO_E_CONFIG, "'%s': no such file, and no kind of plugin; did you mean \"%s%s\"?", what, near, what + kind_len);
    return FAIL(CO_E_CONFIG, "'%s': no such file or folder, and no kind of plugin (backend, comm, strategy, optimizer, model, tokenizer, "
                "dataset, loss, config)", what);
}

static int inspect(host *h, const char *what, const args *a)
{
    const size_t kind_len = strcspn(what, "/");
    const char *name = what[kind_len] && what[kind_len + 1] ? what + kind_len + 1 : NULL;
    const int there = fs_is_dir(what) || fs_is_file(what);
    char word[32];
    co_kind kind;
    snprintf(word, sizeof word, "%.*s", (int)kind_len, what);
    const int is_kind = kind_len < sizeof word && kind_from_name(word, &kind) == CO_OK, is_config = strcmp(word, "config") == 0;
    if (!is_kind && !is_config) return there || strchr("./", what[0]) || ends_with(what, ".so") || ends_with(what, ".safetensors") ? look_at(h, what, a) : unknown(what, kind_len);
    if (there) log_line(CO_LOG_WARN, "inspect", "'%s' is a file or folder here as well: ./%s looks at that", what, what);
    if (is_config) return inspect_config(name);
    return name ? inspect_feature(h, kind, name) : inspect_kind(h, kind);
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"help", 0, 0, 'h'}, {"version", 0, 0, 'V'}, {"model", 1, 0, 'm'}, {"template", 1, 0, 't'}, {"row", 1, 0, 'r'}, {0, 0, 0, 0}};
    args a = {.row = 1};
    char *end;
    int opt, r;
    log_level_set(CO_LOG_WARN);
    while ((opt = getopt_long(argc, argv, "vqh", longs, NULL)) != -1) {
        switch (opt) {
        case 'v': log_level_set(CO_LOG_DEBUG); break;
        case 'q': log_level_set(CO_LOG_ERROR); break;
        case 'm': a.model = optarg; break;
        case 't': a.templ = optarg; break;
        case 'r':
            a.row = strtoll(optarg, &end, 10);
            if (end != optarg && !*end && a.row >= 1) break;
            fprintf(stderr, "coati-inspect: --row %s: rows are counted from 1\n", optarg);
            return 2;
        case 'h': fputs(help, stdout); return 0;
        case 'V': puts("coati-inspect " COATI_VERSION); return 0;
        default: fputs("try coati-inspect --help\n", stderr); return 2;
        }
    }
    if (optind + 1 < argc) {
        fprintf(stderr, "coati-inspect: '%s': one thing at a time; try coati-inspect --help\n", argv[optind + 1]);
        return 2;
    }
    host *h = host_new(NULL);
    if (!h) r = CO_E_NOMEM;
    else r = optind < argc ? inspect(h, argv[optind], &a) : inspect_all(h, log_level() >= CO_LOG_DEBUG);
    if (fflush(stdout) != 0 && r == CO_OK) r = FAIL(CO_E_IO, "standard output: %s", strerror(errno));
    if (r) fprintf(stderr, "coati-inspect: %s\n", error_message());
    host_free(h);
    return error_exit_code(r);
}
