/* records.c: a file of records: what they are, and one of them as training sees it: token by token, what is learnt marked. */
#include "inspect.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/config/config.h"
#include "core/data/records/pair.h"
#include "core/data/show.h"
#include "core/params/tokenizer.h"
#include <stdio.h>
#include <string.h>

enum { ANY_LENGTH = 1 << 30, SHOWN = 60 };

typedef struct data {
    host *h;
    config *c;
    const co_feature *f;
    const co_dataset_vt *vt;
    void *opts, *self;
    co_arena *arena;
    const char *path;
} data;

static const co_feature *find_format(host *h, const char *path)
{
    const size_t n = strlen(path);
    for (size_t i = 0; i < host_count(h); i++) {
        const co_dataset_vt *vt = host_dataset(h, host_at(h, i));
        for (const char *const *e = vt ? vt->suffixes : NULL; e && *e; e++)
            if (n >= strlen(*e) && strcmp(path + n - strlen(*e), *e) == 0) return host_at(h, i);
    }
    return NULL;
}

static int open_data(data *d)
{
    d->opts = mem_calloc(1, d->f->opts_size + sizeof(co_dataset_common));
    d->c = config_new();
    d->arena = arena_new(1 << 16);
    if (!d->opts || !d->c || !d->arena) return CO_E_NOMEM;
    int r = d->f->opts ? config_bind(d->c, "dataset", d->f->opts, host_plugin_of(d->h, d->f)->magic.opt_stride, d->f->name, d->opts) : CO_OK;
    *(co_dataset_common *)d->opts = (co_dataset_common){.path = d->path};
    if (r == CO_OK) r = PLUGIN("the dataset's open()", d->vt->open(host_services(d->h), d->opts, &d->self));
    return r;
}

static void print_fields(const co_field *f, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        size_t len = utf8_whole(f[i].data, f[i].len < SHOWN ? f[i].len : SHOWN);
        printf("  %-16s %-5s ", f[i].name, f[i].type == CO_FIELD_STR ? "text" : "JSON");
        for (size_t k = 0; k < len; k++) putchar((unsigned char)f[i].data[k] < 0x20 || f[i].data[k] == 0x7F ? ' ' : f[i].data[k]);
        puts(len < f[i].len ? "…" : "");
    }
}

static int print_sample(const char *what, const data_template *t, const tokenizer *tok, const chat_ids *c)
{
    const sample s = {.ids = c->ids, .learn = c->learn, .n = (int32_t)c->n};
    char *shown = sample_show(t, tok->vt, tok->self, &s);
    if (!shown) return c->n ? CO_E_NOMEM : FAIL(CO_E_FORMAT, "%s has no token", what);
    printf("%s: %zu tokens, %zu of them learnt (\"+\")\n%s", what, c->n, c->n_learn, shown);
    mem_free(shown);
    return CO_OK;
}

static int show_record(const data_template *t, const tokenizer *tok, const record *r, co_arena *a)
{
    pair_ids p;
    chat_ids c;
    int s;
    if (r->kind == RECORD_PAIRS || r->kind == RECORD_DIALOGUES) {
        s = pair_encode(t, r, ANY_LENGTH, a, &p);
        if (s == CO_OK) printf("the prompt is the first %zu tokens of both\n", p.n_prompt);
        if (s == CO_OK) s = print_sample("chosen", t, tok, &p.chosen);
        return s ? s : print_sample("rejected", t, tok, &p.rejected);
    }
    if (r->kind == RECORD_TEXT) {
        s = template_plain(t, r->text, r->len, 1, 1, a, &c);
        return s ? s : print_sample("text", t, tok, &c);
    }
    s = template_encode(t, r->messages, r->n, r->kind == RECORD_PROMPTS, ANY_LENGTH, a, &c);
    return s ? s : print_sample(r->kind == RECORD_PROMPTS ? "prompt" : "sample", t, tok, &c);
}

static int print_record(data *d, const char *model, const char *name, const record *r)
{
    tokenizer tok = {0};
    data_template *t = NULL;
    if (!name) name = r->kind == RECORD_DIALOGUES ? "hh" : r->kind == RECORD_TEXT ? "none" : "alpaca";
    int s = tokenizer_open(d->h, d->c, "auto", model, &tok);
    if (s) return s;
    s = template_open(&(template_args){.name = name, .model_dir = model, .tokenizer = tok.vt, .tokenizer_self = tok.self, .bos = tok.bos,
                                       .eos = tok.eos, .before = tok.before}, &t);
    if (s == CO_OK) printf("template %s\n", template_name(t));
    if (s == CO_OK) s = show_record(t, &tok, r, d->arena);
    template_close(t);
    tokenizer_close(&tok);
    return s;
}

int inspect_knows_records(host *h, const char *path)
{
    return host_load_all(h, CO_KIND_DATASET, NULL, NULL) == CO_OK && find_format(h, path);
}

int inspect_records(host *h, const char *path, const char *model, const char *templ, int64_t row)
{
    data d = {.h = h, .path = path, .f = find_format(h, path)};
    record_columns columns = {0};
    co_field *f = NULL;
    uint32_t n_fields = 0;
    record_kind kind;
    record rec;
    int64_t n = 0;
    d.vt = host_dataset(h, d.f);
    int r = columns_parse(NULL, &columns);
    if (r == CO_OK) r = open_data(&d);
    if (r == CO_OK) r = PLUGIN("the dataset's count()", d.vt->count(d.self, &n));
    if (r == CO_OK) printf("%s: dataset/%s, %lld records\n", path, d.f->name, (long long)n);
    if (r == CO_OK && row > n) r = FAIL(CO_E_CONFIG, "%s: --row %lld: there are %lld", path, (long long)row, (long long)n);
    if (r == CO_OK) r = PLUGIN("the dataset's read()", d.vt->read(d.self, row - 1, d.arena, &f, &n_fields));
    if (r == CO_OK) {
        printf("row %lld\n", (long long)row);
        print_fields(f, n_fields);
        r = record_recognise(&columns, f, n_fields, &kind);
        if (r == CO_OK) printf("these are %s records\n", record_kind_name(kind));
        if (r == CO_OK && model) r = record_read(&columns, kind, f, n_fields, d.arena, &rec);
        if (r == CO_OK && model) r = print_record(&d, model, templ, &rec);
        if (r) r = error_prefix(r, "%s: row %lld", path, (long long)row);
    }
    columns_free(&columns);
    if (d.self) d.vt->close(d.self);
    if (d.arena) arena_free(d.arena);
    config_free(d.c);
    mem_free(d.opts);
    return r;
}
