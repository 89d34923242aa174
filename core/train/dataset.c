/* dataset.c: [dataset] and [dataset.eval]: which files, which plugin reads each, which part of the records. */
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/data/files.h"
#include "core/train/run.h"
#include <stdio.h>
#include <string.h>

enum { MAX_FORMATS = 16 };

struct run_source {
    run *r;
    const char *section;
    const dataset_opts *o;
    struct { const co_feature *f; void *opts; } formats[MAX_FORMATS]; /* used so far, with their bound options */
    int n_formats;
    char **paths;
    size_t n_paths;
};

static void on_bad_plugin(void *ctx, const char *path, const char *why)
{
    (void)ctx, (void)path;
    log_line(CO_LOG_WARN, "host", "%s", why);
}

static int ends_with(const char *path, const char *ending)
{
    const size_t n = strlen(path), k = strlen(ending);
    return n >= k && strcmp(path + n - k, ending) == 0;
}

static int knows(const co_dataset_vt *vt, const char *path)
{
    for (const char *const *e = vt ? vt->suffixes : NULL; e && *e; e++)
        if (ends_with(path, *e)) return 1;
    return 0;
}

/* The dataset plugin that knows the file's ending; NULL: none. */
static const co_feature *find_format(const host *h, const char *path)
{
    for (size_t i = 0; i < host_count(h); i++)
        if (knows(host_dataset(h, host_at(h, i)), path)) return host_at(h, i);
    return NULL;
}

static int fail_ending(const run_source *s, const char *path)
{
    const host *h = s->r->host;
    char there[300] = "";
    size_t at = 0;
    for (size_t i = 0; i < host_count(h); i++) {
        const co_dataset_vt *vt = host_dataset(h, host_at(h, i));
        for (const char *const *e = vt ? vt->suffixes : NULL; e && *e; e++)
            if (at < sizeof there) at += (size_t)snprintf(there + at, sizeof there - at, "%s%s", at ? ", " : "", *e);
    }
    return FAIL(CO_E_CONFIG, "%s: [%s] path = %s: no dataset plugin knows this ending (known: %s): set format",
                config_where(s->r->config, s->section, "path"), s->section, path, there);
}

static int choose_format(const run_source *s, const char *path, const co_feature **out)
{
    if (strcmp(s->o->format, "auto") != 0) return host_feature(s->r->host, CO_KIND_DATASET, s->o->format, out);
    *out = find_format(s->r->host, path);
    return *out ? CO_OK : fail_ending(s, path);
}

/* For folders: what format = auto could read, or the format that was named. */
static int wanted(void *ctx, const char *path)
{
    const run_source *s = ctx;
    const co_feature *f;
    if (strcmp(s->o->format, "auto") == 0) return find_format(s->r->host, path) != NULL;
    return host_feature(s->r->host, CO_KIND_DATASET, s->o->format, &f) == CO_OK && knows(host_dataset(s->r->host, f), path);
}

/* files_opener.open */
static int open_file(void *ctx, const char *path, int64_t max_records, const co_dataset_vt **vt, void **self)
{
    run_source *s = ctx;
    const co_feature *f;
    int i = 0, rc = choose_format(s, path, &f);
    if (rc) return rc;
    while (i < s->n_formats && s->formats[i].f != f) i++;
    if (i == MAX_FORMATS) return FAIL(CO_E_CONFIG, "[%s] path: files of more than %d formats", s->section, MAX_FORMATS);
    if (i == s->n_formats) {
        rc = run_bind_feature(s->r, s->section, f, &s->formats[i].opts);
        s->formats[i].f = f;
        s->n_formats += s->formats[i].opts != NULL;
        if (rc) return rc;
    }
    *(co_dataset_common *)s->formats[i].opts = (co_dataset_common){.path = path, .max_records = max_records};
    *vt = host_dataset(s->r->host, f);
    return PLUGIN("the dataset's open()", (*vt)->open(host_services(s->r->host), s->formats[i].opts, self));
}

static int open_source(run *r, const char *section, const dataset_opts *o, run_dataset *d)
{
    run_source *s = d->source = mem_calloc(1, sizeof *s);
    int rc;
    if (!s) return CO_E_NOMEM;
    *s = (run_source){.r = r, .section = section, .o = o};
    if (strcmp(o->format, "auto") == 0) {
        rc = host_load_all(r->host, CO_KIND_DATASET, on_bad_plugin, NULL);
        if (rc) return rc;
    }
    d->path = o->path;
    rc = files_expand(o->path, wanted, s, &s->paths, &s->n_paths);
    if (rc) return error_prefix(rc, "%s: [%s] path", config_where(r->config, section, "path"), section);
    const files_opener opener = {.open = open_file, .ctx = s};
    return files_open(&opener, s->paths, s->n_paths, o->max_records, &d->self);
}

static int open_loader(run *r, const dataset_opts *o, int training, int held_out, run_dataset *d)
{
    const options *all = &r->o;
    const char *name = d->path;
    int64_t row;
    if (d->source && d->source->n_paths == 1) files_locate(d->self, 0, &name, &row);
    const loader_config l = {
        .dataset = &files_dataset, .dataset_self = d->self, .tokenizer = r->tokenizer.vt, .tokenizer_self = r->tokenizer.self,
        .name = name, .locate = files_locate, .templ = o->templ, .model_dir = all->tokenizer.path[0] ? all->tokenizer.path : all->model.path, .columns = o->columns, .bos = r->tokenizer.bos,
        .eos = r->tokenizer.eos, .before = r->tokenizer.before, .max_len = (int32_t)o->max_len, .texts = all->run.stage == STAGE_PRETRAIN, .size = (int32_t)all->batch.size,
        .accumulation = (int32_t)all->batch.accumulation, .tokens = (int32_t)all->batch.tokens, .rank = r->rank, .world = r->world,
        .shuffle = training && o->shuffle, .seed = (uint64_t)all->run.seed, .epochs = training ? all->run.epochs : 1,
        .max_steps = training ? all->run.max_steps : 0, .n_threads = training ? 2 : 1, .skip_bad = o->on_bad_record == BAD_SKIP,
        .split = o->split_share, .held_out = held_out};
    return loader_open(&l, &d->loader);
}

int run_open_data(run *r, const char *section, const dataset_opts *o, int training, run_dataset *d)
{
    if (o->max_len > r->table->info.max_seq)
        return FAIL(CO_E_CONFIG, "%s: [%s] max_len = %lld is beyond the model's %u positions", config_where(r->config, section, "max_len"),
                    section, (long long)o->max_len, r->table->info.max_seq);
    int rc = open_source(r, section, o, d);
    return rc ? rc : open_loader(r, o, training, !training && o->split_share > 0, d);
}

int run_open_held_out(run *r)
{
    const int rc = files_dataset.clone(r->train.self, &r->eval.self);
    r->eval.path = r->train.path;
    return rc ? rc : open_loader(r, &r->o.dataset, 0, 1, &r->eval);
}

int64_t run_data_bytes(const run_dataset *d)
{
    int64_t all = 0, n;
    for (size_t i = 0; d->source && i < d->source->n_paths; i++)
        if (fs_size(d->source->paths[i], &n) == CO_OK) all += n;
    return all;
}

void run_close_data(run_dataset *d)
{
    loader_release(d->loader);
    if (d->self) files_dataset.close(d->self);
    if (!d->source) return;
    for (int i = 0; i < d->source->n_formats; i++) mem_free(d->source->formats[i].opts);
    fs_free_list(d->source->paths, d->source->n_paths);
    mem_free(d->source);
}
