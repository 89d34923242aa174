#include "core/train/metrics.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct metrics { int fd; char *path; };

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

int metrics_open(const char *output, int64_t keep_step, metrics **out)
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
    if (r) metrics_close(m);
    else *out = m;
    return r;
}

void metrics_close(metrics *m)
{
    if (!m) return;
    if (m->fd >= 0) close(m->fd);
    mem_free(m->path);
    mem_free(m);
}

/* 17 digits: two runs that agree to the bit write the same text. */
static size_t number(char *to, size_t cap, const char *key, double v)
{
    const int n = isfinite(v) ? snprintf(to, cap, ",\"%s\":%.17g", key, v) : snprintf(to, cap, ",\"%s\":null", key);
    return n > 0 ? (size_t)n : 0;
}

int metrics_train(metrics *m, const metrics_step *s)
{
    char line[1024];
    size_t n = (size_t)snprintf(line, sizeof line, "{\"step\":%" PRId64, s->step);
    n += number(line + n, sizeof line - n, "epoch", s->epoch);
    n += number(line + n, sizeof line - n, "loss", s->loss);
    n += number(line + n, sizeof line - n, "lr", s->lr);
    n += number(line + n, sizeof line - n, "grad_norm", s->grad_norm);
    n += (size_t)snprintf(line + n, sizeof line - n, ",\"tokens\":%" PRId64 ",\"samples\":%" PRId64, s->tokens, s->samples);
    n += (size_t)snprintf(line + n, sizeof line - n, ",\"tokens_per_s\":%.1f,\"step_s\":%.6f", s->tokens_per_s, s->step_s);
    n += (size_t)snprintf(line + n, sizeof line - n, ",\"mem_device_bytes\":%" PRIu64 ",\"mem_host_bytes\":%" PRIu64 "}\n",
                          s->mem_device_bytes, s->mem_host_bytes);
    return fs_write_all(m->fd, m->path, line, n);
}

int metrics_eval(metrics *m, int64_t step, double epoch, double loss, int64_t tokens, int64_t samples)
{
    char line[512];
    size_t n = (size_t)snprintf(line, sizeof line, "{\"step\":%" PRId64, step);
    n += number(line + n, sizeof line - n, "epoch", epoch);
    n += number(line + n, sizeof line - n, "eval_loss", loss);
    n += number(line + n, sizeof line - n, "eval_perplexity", exp(loss));
    n += (size_t)snprintf(line + n, sizeof line - n, ",\"eval_tokens\":%" PRId64 ",\"eval_samples\":%" PRId64 "}\n", tokens, samples);
    return fs_write_all(m->fd, m->path, line, n);
}
