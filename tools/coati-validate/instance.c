/* instance.c: what every kind must do: take its options, open, be there twice, close without a trace, and survive memory running out. */
#include "core/base/error.h"
#include "core/base/memory.h"
#include "validate.h"
#include <stdio.h>
#include <string.h>

static const char *section_of(const subject *s) { return kind_name((co_kind)s->f->kind); }

int subject_bind(const subject *s, const co_feature *f, const char *more, bound *out)
{
    int r = CO_OK;
    out->c = config_new();
    out->opts = mem_alloc(f->opts_size + 64, 16);
    if (!out->c || !out->opts) return CO_E_NOMEM;
    const char *section = kind_name((co_kind)f->kind);
    const char *list[MAX_SETTINGS + 2];
    int n = 0;
    for (int i = 0; f == s->f && i < s->a->n_settings; i++) list[n++] = s->a->settings[i];
    if (more) list[n++] = more;
    for (int i = 0; i < n && r == CO_OK; i++) {
        const char *eq = strchr(list[i], '=');
        char *key = mem_printf("%.*s", (int)(eq - list[i]), list[i]);
        r = key ? config_set(out->c, section, key, eq + 1) : CO_E_NOMEM;
        mem_free(key);
    }
    if (r == CO_OK && f->opts) r = config_bind(out->c, section, f->opts, host_plugin_of(s->host, f)->magic.opt_stride, f->name, out->opts);
    /* The host's own part of the options, with which they start. */
    const char *path = s->a->data;
    if (r == CO_OK && path && (f->kind == CO_KIND_DATASET || f->kind == CO_KIND_TOKENIZER)) memcpy(out->opts, &path, sizeof path);
    return r;
}

void bound_free(bound *b)
{
    mem_free(b->opts);
    config_free(b->c);
    memset(b, 0, sizeof *b);
}

int subject_open(const subject *s, const void *opts, void **self)
{
    const co_host *h = host_services(s->host);
    *self = NULL;
    switch (s->f->kind) {
    case CO_KIND_BACKEND: return host_backend(s->host, s->f)->open(h, opts, self);
    case CO_KIND_COMM: return host_comm(s->host, s->f)->open(h, opts, s->cpu, s->cpu_self, self);
    case CO_KIND_OPTIMIZER: return host_optimizer(s->host, s->f)->open(h, opts, self);
    case CO_KIND_MODEL: return host_model(s->host, s->f)->open(h, opts, hf_config_meta(s->model_config), self);
    case CO_KIND_TOKENIZER: return host_tokenizer(s->host, s->f)->open(h, opts, self);
    case CO_KIND_DATASET: return host_dataset(s->host, s->f)->open(h, opts, self);
    case CO_KIND_LOSS: return host_loss(s->host, s->f)->open(h, opts, self);
    default: return FAIL(CO_E_UNSUPPORTED, "a %s is opened with a model's parameters only", section_of(s));
    }
}

void subject_close(const subject *s, void *self)
{
    switch (s->f->kind) {
    case CO_KIND_BACKEND: host_backend(s->host, s->f)->close(self); break;
    case CO_KIND_COMM: host_comm(s->host, s->f)->close(self); break;
    case CO_KIND_OPTIMIZER: host_optimizer(s->host, s->f)->close(self); break;
    case CO_KIND_MODEL: host_model(s->host, s->f)->close(self); break;
    case CO_KIND_TOKENIZER: host_tokenizer(s->host, s->f)->close(self); break;
    case CO_KIND_DATASET: host_dataset(s->host, s->f)->close(self); break;
    case CO_KIND_LOSS: host_loss(s->host, s->f)->close(self); break;
    default: break;
    }
}

int check_message(const char *what, int code)
{
    if (code >= CO_E_STATE && code < 0 && error_message()[0]) return 1;
    if (code > 0 || code < CO_E_STATE) report_fail("%s returns %d, which is no status", what, code);
    else report_fail("%s fails with %d and no message: CO_FAIL says what was expected, what was found, what to do", what, code);
    return 0;
}

/* ---- options --------------------------------------------------------------------------------------------------- */
/* The host has held keys, types, offsets and defaults to their rules; here is what it cannot refuse. */
static void check_table(const subject *s)
{
    const size_t stride = s->plugin->magic.opt_stride;
    size_t n = 0;
    int before = report_failures();
    report_trying("its option table");
    if (s->f->summary == NULL || !s->f->summary[0]) report_fail("no summary: coati-inspect shows one line a feature");
    for (const co_opt *o = s->f->opts; o && o->key; o = (const co_opt *)(const void *)((const char *)o + stride), n++) {
        if (!o->help || !o->help[0]) report_fail("option %s: no help text", o->key);
        for (const co_opt *p = s->f->opts; p != o; p = (const co_opt *)(const void *)((const char *)p + stride)) {
            const uint32_t a = o->offset, b = p->offset;
            if (a == b) report_fail("options %s and %s fill the same member", p->key, o->key);
        }
    }
    const size_t common = s->f->kind == CO_KIND_DATASET ? sizeof(co_dataset_common) : s->f->kind == CO_KIND_TOKENIZER ? sizeof(co_tokenizer_common) : 0;
    if (s->f->opts && s->f->opts_size < common)
        report_fail("its options of %zu bytes do not start with the common ones (co_%s_common)", s->f->opts_size, section_of(s));
    if (report_failures() == before) report_ok("options: %zu, with help, in their own places", n);
}

/* Opens with one setting; it may refuse, but then in words. */
static void try_setting(const subject *s, const char *setting)
{
    bound b = {0};
    void *self = NULL;
    report_trying("open() with %s", setting);
    int r = subject_bind(s, s->f, setting, &b);
    if (r == CO_OK) {
        r = subject_open(s, b.opts, &self);
        if (r == CO_OK) subject_close(s, self);
        else (void)check_message("open()", r);
    } else report_fail("%s: %s", setting, error_message());
    bound_free(&b);
}

static void check_ends(const subject *s)
{
    const size_t stride = s->plugin->magic.opt_stride;
    const int before = report_failures();
    int tried = 0;
    char text[160];
    for (const co_opt *o = s->f->opts; o && o->key; o = (const co_opt *)(const void *)((const char *)o + stride)) {
        const int number = o->type == CO_OPT_INT || o->type == CO_OPT_BYTES || o->type == CO_OPT_FLOAT, ranged = o->min != 0 || o->max != 0;
        for (int end = 0; number && ranged && end < 2; end++, tried++) {
            snprintf(text, sizeof text, o->type == CO_OPT_FLOAT ? "%s=%.17g" : "%s=%.0f", o->key, end ? o->max : o->min);
            try_setting(s, text);
        }
        for (const char *const *n = o->type == CO_OPT_ENUM ? o->names : NULL; n && *n; n++, tried++) {
            snprintf(text, sizeof text, "%s=%s", o->key, *n);
            try_setting(s, text);
        }
        for (int v = 0; o->type == CO_OPT_BOOL && v < 2; v++, tried++) {
            snprintf(text, sizeof text, "%s=%d", o->key, v);
            try_setting(s, text);
        }
    }
    if (tried && report_failures() == before) report_ok("options at their ends: %d openings", tried);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */
static void check_two(const subject *s, const bound *b)
{
    void *one = NULL, *two = NULL;
    mem_counts start, end;
    mem_count(&start);
    report_trying("two instances at once");
    int r = subject_open(s, b->opts, &one);
    if (r) {
        if (check_message("open()", r)) report_fail("open() with its defaults: %s", error_message());
        return;
    }
    r = subject_open(s, b->opts, &two);
    if (r) {
        if (check_message("the second open()", r)) report_fail("a second instance cannot be opened: %s", error_message());
        subject_close(s, one);
        return;
    }
    const int before = report_failures();
    if (one && one == two) report_fail("two instances are the same object: what it remembers belongs to open()'s self, not to a global");
    report_trying("close() of the first of two instances");
    subject_close(s, one);
    report_trying("close() of the second of two instances");
    subject_close(s, two);
    report_trying("opening again after closing");
    r = subject_open(s, b->opts, &one);
    if (r) report_fail("cannot be opened again after close(): %s", error_message());
    else subject_close(s, one);
    mem_count(&end);
    if (end.live_bytes > start.live_bytes) report_fail("close() leaves %zu bytes of host->alloc", end.live_bytes - start.live_bytes);
    else if (report_failures() == before) report_ok("opens, two at once, closes without leaving memory");
}

/* Each allocation of open() fails once. */
static void check_no_memory(const subject *s, const bound *b)
{
    mem_counts start, end;
    void *self = NULL;
    const int before = report_failures();
    mem_count(&start);
    report_trying("open() once more");
    if (subject_open(s, b->opts, &self) == CO_OK) subject_close(s, self);
    mem_count(&end);
    const int64_t all = (int64_t)(end.allocs - start.allocs), places = all < 400 ? all : 400;
    for (int64_t n = 1; n <= places && report_failures() == before; n++) {
        mem_count(&start);
        report_trying("open() when allocation %lld of host->alloc fails", (long long)n);
        mem_fail_after(n);
        const int r = subject_open(s, b->opts, &self);
        mem_fail_after(0);
        if (r == CO_OK) subject_close(s, self); /* it can do without */
        else (void)check_message("open() without memory", r);
        mem_count(&end);
        if (end.live_bytes > start.live_bytes)
            report_fail("when allocation %lld of open() fails, %zu bytes are left behind", (long long)n, end.live_bytes - start.live_bytes);
    }
    if (places && report_failures() == before) report_ok("memory running out in open(): %lld places", (long long)places);
}

void check_instance(const subject *s)
{
    bound b = {0};
    check_table(s);
    if (s->f->kind == CO_KIND_STRATEGY) return; /* in training.c */
    if ((s->f->kind == CO_KIND_DATASET || s->f->kind == CO_KIND_TOKENIZER) && !s->a->data) {
        report_skip("everything else: --data names a %s for it to read", s->f->kind == CO_KIND_DATASET ? "file" : "model directory");
        return;
    }
    report_trying("its defaults");
    const int r = subject_bind(s, s->f, NULL, &b);
    if (r) report_fail("its options cannot be filled: %s (--set key=value gives one)", error_message());
    else {
        const int before = report_failures();
        check_two(s, &b);
        if (report_failures() == before) {
            check_no_memory(s, &b);
            check_ends(s);
        }
    }
    bound_free(&b);
}
