#include "core/train/metrics.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/train/tensorboard.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct metrics { int fd; char *path; tensorboard *events; };

/* Length of the whole lines that belong to steps up to keep_step. */
static size_t keep_length(const char *text, size_t n, int64_t keep_step)
{
    size_t at = 0;
    while (at < n) {
        const char *end = memchr(text + at, '\n', n - at);
        if (!end) break;
        const char *s = strstr(text + at, "\"step\":");
        if (!s || s > end || strtoll(s + 7, NULL, 10) > keep_step) break;
        at = (size_t)(end - text) + 1;
    }
    return at;
}

int metrics_open(const char *output, int64_t keep_step, int events, metrics **out)
{
    metrics *m = mem_alloc(sizeof *m, 0);
    if (!m) return CO_E_NOMEM;
    m->fd = -1;
    m->path = fs_join(output, "metrics.jsonl");
    int r = m->path ? CO_OK : CO_E_NOMEM;
    size_t keep = 0;
    if (r == CO_OK && fs_is_file(m->path)) {
        char *text = NULL;
        size_t n = 0;
        r = fs_read_all(m->path, &text, &n, SIZE_MAX / 2);
        if (r == CO_OK) keep = keep_length(text, n, keep_step);
        mem_free(text);
    }
    if (r == CO_OK) {
        m->fd = open(m->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (m->fd < 0 || ftruncate(m->fd, (off_t)keep) != 0 || lseek(m->fd, 0, SEEK_END) < 0)
            r = FAIL(CO_E_IO, "cannot open '%s': %s", m->path, strerror(errno));
    }
    if (r == CO_OK && events) r = tensorboard_open(output, keep_step, &m->events);
    if (r) metrics_close(m);
    else *out = m;
    return r;
}

void metrics_close(metrics *m)
{
    if (!m) return;
    if (m->fd >= 0) close(m->fd);
    tensorboard_close(m->events);
    mem_free(m->path);
    mem_free(m);
}

/* One step's line, and the same numbers as events. */
typedef struct line { char text[2048]; size_t n; metrics *m; } line;

static void begin(line *l, metrics *m, int64_t step)
{
    l->m = m;
    l->n = (size_t)snprintf(l->text, sizeof l->text, "{\"step\":%" PRId64, step);
    tensorboard_begin(m->events, step);
}

static void put(line *l, const char *key, double value, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    l->n += (size_t)snprintf(l->text + l->n, sizeof l->text - l->n, ",\"%s\":", key);
    l->n += (size_t)vsnprintf(l->text + l->n, sizeof l->text - l->n, fmt, ap);
    va_end(ap);
    tensorboard_add(l->m->events, key, value);
}

/* 17 digits: two runs that agree to the bit write the same text. */
static void put_number(line *l, const char *key, double v) { put(l, key, v, isfinite(v) ? "%.17g" : "null", v); }
static void put_count(line *l, const char *key, int64_t v) { put(l, key, (double)v, "%" PRId64, v); }

static int end(line *l)
{
    l->n += (size_t)snprintf(l->text + l->n, sizeof l->text - l->n, "}\n");
    const int r = fs_write_all(l->m->fd, l->m->path, l->text, l->n);
    return r ? r : tensorboard_end(l->m->events);
}

int metrics_check_names(const metrics_named *m)
{
    static const char *const ours[] = {"step", "epoch", "loss", "lr", "grad_norm", "loss_scale", "skipped", "tokens", "samples", "tokens_per_s",
                                       "step_s", "mem_device_bytes", "mem_host_bytes", "perplexity"};
    for (uint32_t i = 0; i < m->n; i++) {
        int taken = strncmp(m->name[i], "eval_", 5) == 0;
        for (size_t k = 0; k < sizeof ours / sizeof *ours; k++) taken |= strcmp(m->name[i], ours[k]) == 0;
        if (taken) return FAIL(CO_E_CONFIG, "the loss names a metric '%s', which metrics.jsonl has already: it must be called otherwise", m->name[i]);
    }
    return CO_OK;
}

static void put_named(line *l, const char *prefix, const metrics_named *m)
{
    for (uint32_t i = 0; i < m->n; i++) {
        char key[64];
        snprintf(key, sizeof key, "%s%s", prefix, m->name[i]);
        put_number(l, key, m->value[i]);
    }
}

int metrics_train(metrics *m, const metrics_step *s)
{
    line l;
    begin(&l, m, s->step);
    put_number(&l, "epoch", s->epoch);
    put_number(&l, "loss", s->loss);
    put_named(&l, "", &s->named);
    put_number(&l, "lr", s->lr);
    put_number(&l, "grad_norm", s->grad_norm);
    if (s->loss_scale > 0) {
        put_number(&l, "loss_scale", s->loss_scale);
        put_count(&l, "skipped", s->skipped);
    }
    put_count(&l, "tokens", s->tokens);
    put_count(&l, "samples", s->samples);
    put(&l, "tokens_per_s", s->tokens_per_s, "%.1f", s->tokens_per_s);
    put(&l, "step_s", s->step_s, "%.6f", s->step_s);
    put(&l, "data_wait_s", s->data_wait_s, "%.6f", s->data_wait_s);
    put_count(&l, "mem_device_bytes", (int64_t)s->mem_device_bytes);
    put_count(&l, "mem_host_bytes", (int64_t)s->mem_host_bytes);
    return end(&l);
}

int metrics_eval(metrics *m, int64_t step, double epoch, double loss, const metrics_named *named, int64_t tokens, int64_t samples)
{
    line l;
    begin(&l, m, step);
    put_number(&l, "epoch", epoch);
    put_number(&l, "eval_loss", loss);
    put_number(&l, "eval_perplexity", exp(loss));
    put_named(&l, "eval_", named);
    put_count(&l, "eval_tokens", tokens);
    put_count(&l, "eval_samples", samples);
    return end(&l);
}
