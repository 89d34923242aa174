/* dataset.c: [dataset] and [dataset.eval]: which sources and files, which plugin reads each, which part of the records. */
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/data/files.h"
#include "core/train/run.h"
#include "core/train/sources.h"
#include <stdio.h>
#include <string.h>

enum { MAX_FORMATS = 16 };

typedef struct source {
    run *r;
    const char *section; /* spec's */
    const source_opts *o;
    struct { const co_feature *f; void *opts; } formats[MAX_FORMATS]; /* used so far, with their bound options */
    int n_formats;
    char **paths;
    size_t n_paths;
    project_map *maps; /* of its columns */
    size_t n_maps;
} source;

struct run_sources {
    source_spec *spec; /* [n] */
    source *at;        /* [n] */
    loader_source *counts; /* [n] for the loader */
    size_t n;
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

static int fail_ending(const source *s, const char *path)
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

static int choose_format(const source *s, const char *path, const co_feature **out)
{
    if (strcmp(s->o->format, "auto") != 0) return host_feature(s->r->host, CO_KIND_DATASET, s->o->format, out);
    *out = find_format(s->r->host, path);
    return *out ? CO_OK : fail_ending(s, path);
}

/* For folders: what format = auto could read, or the format that was named. */
static int wanted(void *ctx, const char *path)
{
    const source *s = ctx;
    const co_feature *f;
    if (strcmp(s->o->format, "auto") == 0) return find_format(s->r->host, path) != NULL;
    return host_feature(s->r->host, CO_KIND_DATASET, s->o->format, &f) == CO_OK && knows(host_dataset(s->r->host, f), path);
}

/* files_opener.open */
static int open_file(void *ctx, const char *path, int64_t max_records, const co_dataset_vt **vt, void **self)
{
    source *s = ctx;
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

/* Files of several formats are one dataset, and said to be; but text beside records is a README rather than data. */
static int name_formats(const source *s)
{
    const char *text = NULL, *other = NULL;
    char said[256] = "";
    size_t at = 0;
    if (strcmp(s->o->format, "auto") != 0) return CO_OK;
    for (size_t i = 0; i < host_count(s->r->host); i++) {
        const co_feature *f = host_at(s->r->host, i);
        size_t n = 0;
        for (size_t k = 0; k < s->n_paths; k++) {
            if (find_format(s->r->host, s->paths[k]) != f) continue;
            *(strcmp(f->name, "text") == 0 ? &text : &other) = s->paths[k];
            n++;
        }
        if (n && at < sizeof said) at += (size_t)snprintf(said + at, sizeof said - at, "%s%zu %s", at ? ", " : "", n, f->name);
    }
    if (text && other)
        return FAIL(CO_E_CONFIG, "%s: [%s] path = %s: plain text ('%s') beside records ('%s'): set format, or a glob that matches one of them",
                    config_where(s->r->config, s->section, "path"), s->section, s->o->path, text, other);
    if (strchr(said, ',')) log_line(CO_LOG_INFO, "data", "%s: files of %s", s->o->path, said);
    return CO_OK;
}

/* A source's files as one dataset: of files_dataset, or of project_dataset where columns go by other names. */
static int open_source(source *s, int64_t max_records, const co_dataset_vt **vt, void **self)
{
    const files_opener opener = {.open = open_file, .ctx = s};
    void *files;
    int rc;
    if (strcmp(s->o->format, "auto") == 0) {
        rc = host_load_all(s->r->host, CO_KIND_DATASET, on_bad_plugin, NULL);
        if (rc) return rc;
    }
    if (!s->paths) {
        rc = files_expand(s->o->path, wanted, s, &s->paths, &s->n_paths);
        if (rc) return error_prefix(rc, "%s: [%s] path", config_where(s->r->config, s->section, "path"), s->section);
        rc = name_formats(s);
        if (rc) return rc;
    }
    rc = files_open(&opener, s->paths, s->n_paths, max_records, &files);
    if (rc) return rc;
    *vt = &files_dataset;
    *self = files;
    if (!s->n_maps) return CO_OK;
    *vt = &project_dataset;
    rc = project_open(files, s->maps, s->n_maps, self);
    if (rc) files_dataset.close(files);
    return rc;
}

/* files_opener.open for sources: their names stand for paths. */
static int open_named(void *ctx, const char *name, int64_t max_records, const co_dataset_vt **vt, void **self)
{
    const run_sources *all = ctx;
    (void)max_records; /* each has its own */
    for (size_t i = 0; i < all->n; i++)
        if (strcmp(all->spec[i].name, name) == 0) return open_source(&all->at[i], all->at[i].o->max_records, vt, self);
    return FAIL(CO_E_INVALID, "source '%s'", name);
}

static int open_sources(run *r, const char *section, const dataset_opts *o, run_dataset *d)
{
    run_sources *all = d->sources = mem_calloc(1, sizeof *all);
    char *names[64] = {NULL};
    int rc = all ? sources_parse(r->config, section, o, &all->spec, &all->n) : CO_E_NOMEM;
    if (rc) return rc;
    all->at = mem_calloc(all->n, sizeof *all->at);
    all->counts = mem_calloc(all->n, sizeof *all->counts);
    if (!all->at || !all->counts) return CO_E_NOMEM;
    d->path = o->sources[0] ? o->sources : o->path;
    for (size_t i = 0; i < all->n && !rc; i++) {
        source *s = &all->at[i];
        *s = (source){.r = r, .section = all->spec[i].section, .o = &all->spec[i].o};
        names[i] = all->spec[i].name;
        rc = sources_maps(o->columns, s->o->columns, &s->maps, &s->n_maps);
        if (rc) return error_prefix(rc, "%s", config_where(r->config, s->section, "columns"));
    }
    const files_opener opener = {.open = open_named, .ctx = all};
    rc = files_open(&opener, names, all->n, 0, &d->self);
    for (size_t i = 0; i < all->n && !rc; i++) {
        all->counts[i] = (loader_source){.name = all->spec[i].name, .weight = all->spec[i].weight};
        files_part(d->self, i, &all->counts[i].first, &all->counts[i].n);
    }
    return rc;
}

static int open_loader(run *r, const dataset_opts *o, int training, int held_out, run_dataset *d)
{
    const options *all = &r->o;
    const char *name = d->path;
    int64_t row;
    if (d->sources && d->sources->n == 1 && d->sources->at[0].n_paths == 1) files_locate(d->self, 0, &name, &row);
    const loader_config l = {
        .dataset = &files_dataset, .dataset_self = d->self, .tokenizer = r->tokenizer.vt, .tokenizer_self = r->tokenizer.self,
        .name = name, .locate = files_locate, .templ = o->templ, .model_dir = all->tokenizer.path[0] ? all->tokenizer.path : all->model.path, .columns = o->columns, .bos = r->tokenizer.bos,
        .eos = r->tokenizer.eos, .before = r->tokenizer.before, .max_len = (int32_t)o->max_len, .texts = all->run.stage == STAGE_PRETRAIN, .size = (int32_t)all->batch.size,
        .accumulation = (int32_t)all->batch.accumulation, .tokens = (int32_t)all->batch.tokens, .rank = r->rank, .world = r->world,
        .shuffle = training && o->shuffle, .seed = (uint64_t)all->run.seed, .epochs = training ? all->run.epochs : 1,
        .max_steps = training ? all->run.max_steps : 0, .n_threads = training ? 2 : 1, .skip_bad = o->on_bad_record == BAD_SKIP,
        .split = o->split_share, .held_out = held_out, .beside = held_out ? r->train.loader : NULL,
        .sources = d->sources && o->sources[0] ? d->sources->counts : NULL, .n_sources = d->sources && o->sources[0] ? (int32_t)d->sources->n : 0};
    return loader_open(&l, &d->loader);
}

int run_open_data(run *r, const char *section, const dataset_opts *o, int training, run_dataset *d)
{
    if (o->max_len > r->table->info.max_seq)
        return FAIL(CO_E_CONFIG, "%s: [%s] max_len = %lld is beyond the model's %u positions", config_where(r->config, section, "max_len"),
                    section, (long long)o->max_len, r->table->info.max_seq);
    int rc = open_sources(r, section, o, d);
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
    for (size_t k = 0; d->sources && k < d->sources->n; k++)
        for (size_t i = 0; i < d->sources->at[k].n_paths; i++)
            if (fs_size(d->sources->at[k].paths[i], &n) == CO_OK) all += n;
    return all;
}

void run_close_data(run_dataset *d)
{
    loader_release(d->loader);
    if (d->self) files_dataset.close(d->self);
    run_sources *all = d->sources;
    if (!all) return;
    for (size_t i = 0; all->at && i < all->n; i++) {
        source *s = &all->at[i];
        for (int k = 0; k < s->n_formats; k++) mem_free(s->formats[k].opts);
        fs_free_list(s->paths, s->n_paths);
        sources_free_maps(s->maps, s->n_maps);
    }
    mem_free(all->at);
    mem_free(all->counts);
    mem_free(all->spec);
    mem_free(all);
}

char *run_sources_text(const run *r)
{
    char text[8192];
    size_t at = 0;
    loader_source s;
    text[0] = 0;
    for (int32_t i = 0; r->train.loader && loader_source_at(r->train.loader, i, &s) == CO_OK && at < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "source %s: %lld %s, %lld samples a pass\n", s.name, (long long)s.n,
                              r->o.run.stage == STAGE_PRETRAIN ? "blocks" : "records", (long long)s.share);
    return mem_strdup(text);
}
