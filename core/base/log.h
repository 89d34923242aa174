/* log.h: lines to stderr, "coati: warning: …"; the progress line is cleared around them. */
#ifndef CORE_BASE_LOG_H
#define CORE_BASE_LOG_H
#include <coati/host.h>
#include <stdarg.h>

void log_level_set(int level); /* co_log_level; default CO_LOG_WARN for tools that print results, INFO for runs */
int log_level(void);
void log_line(int level, const char *component, const char *fmt, ...) CO_PRINTF(3, 4);
void log_linev(int level, const char *component, const char *fmt, va_list ap);
/* Called before and after each line so that a progress bar can step aside. */
void log_hook(void (*around)(void *ctx, int before), void *ctx);
#endif
