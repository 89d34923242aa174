#include "core/train/progress.h"
#include "core/base/log.h"
#include "core/train/options.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct { int mode, shown; } now = {PROGRESS_PLAIN, 0};

static void put(const char *s, size_t n)
{
    if (write(STDERR_FILENO, s, n) < 0) { /* nobody is looking */ }
}

static void around(void *ctx, int before)
{
    (void)ctx;
    if (before && now.shown) put("\r\033[K", 4), now.shown = 0;
}

void progress_open(int mode)
{
    now.mode = mode == PROGRESS_AUTO ? (isatty(STDERR_FILENO) || getenv("COATI_TERMINAL") ? PROGRESS_BAR : PROGRESS_PLAIN) : mode;
    if (log_level() < CO_LOG_INFO) now.mode = PROGRESS_OFF;
    if (now.mode == PROGRESS_BAR) log_hook(around, NULL);
}

void progress_close(void)
{
    if (now.shown) put("\n", 1);
    now.shown = 0;
    log_hook(NULL, NULL);
}

void progress_step(int64_t step, int64_t total, const metrics_step *m, double step_s, int logged)
{
    char line[400], bar[32] = "";
    const int64_t left = (int64_t)((double)(total - step) * step_s);
    if (now.mode == PROGRESS_OFF || (now.mode == PROGRESS_PLAIN && !logged)) return;
    if (now.mode == PROGRESS_BAR) {
        const int full = total ? (int)(20 * step / total) : 20;
        for (int i = 0; i < 20; i++) bar[i] = i < full ? '#' : '.';
        bar[20] = ' ';
    }
    const int n = snprintf(line, sizeof line, "%s%sstep %" PRId64 "/%" PRId64 "  loss %.4f  lr %.3g  grad_norm %.3g  %.0f tokens/s  %.2f GiB  %02d:%02d left%s",
                           now.mode == PROGRESS_BAR ? "\r" : "", bar, step, total, m->loss, m->lr, m->grad_norm, m->tokens_per_s,
                           (double)m->mem_host_bytes / 1073741824, (int)(left / 60), (int)(left % 60), now.mode == PROGRESS_BAR ? "\033[K" : "\n");
    put(line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
    now.shown = now.mode == PROGRESS_BAR;
}

void progress_note(const char *fmt, ...)
{
    va_list ap;
    if (now.mode == PROGRESS_OFF) return;
    va_start(ap, fmt);
    log_linev(CO_LOG_INFO, "run", fmt, ap);
    va_end(ap);
}
