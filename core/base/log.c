#include "core/base/log.h"
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static int threshold = CO_LOG_WARN;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void (*around)(void *, int);
static void *around_ctx;

void log_level_set(int level) { threshold = level; }
int log_level(void) { return threshold; }

void log_hook(void (*hook)(void *ctx, int before), void *ctx)
{
    pthread_mutex_lock(&lock);
    around = hook;
    around_ctx = ctx;
    pthread_mutex_unlock(&lock);
}

void log_linev(int level, const char *component, const char *fmt, va_list ap)
{
    static const char *const name[] = {"error: ", "warning: ", "", "debug: "};
    if (level > threshold || level < 0) return;
    char text[2048];
    int n = snprintf(text, sizeof text, "coati: %s%s%s", name[level > 3 ? 3 : level], level == CO_LOG_DEBUG ? component : "",
                     level == CO_LOG_DEBUG ? ": " : "");
    int m = vsnprintf(text + n, sizeof text - (size_t)n - 1, fmt, ap);
    if (m > 0) n += m;
    if (n > (int)sizeof text - 2) n = (int)sizeof text - 2;
    text[n++] = '\n';
    pthread_mutex_lock(&lock);
    if (around) around(around_ctx, 1);
    if (write(STDERR_FILENO, text, (size_t)n) < 0) { /* nobody left to tell */ }
    if (around) around(around_ctx, 0);
    pthread_mutex_unlock(&lock);
}

void log_line(int level, const char *component, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    log_linev(level, component, fmt, ap);
    va_end(ap);
}
