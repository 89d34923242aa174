/* report.c: see report.h. */
#include "report.h"
#include "core/base/error.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static report_page *page;

int report_start(report_page **out)
{
    void *p = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return FAIL(CO_E_NOMEM, "out of memory");
    *out = page = p;
    return CO_OK;
}

void report_trying(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(page->trying, sizeof page->trying, fmt, ap);
    va_end(ap);
    error_set(CO_OK, "", 0, "%s", ""); /* so that a message found later belongs to what is tried now */
}

static void line(const char *mark, const char *fmt, va_list ap)
{
    char text[2400];
    vsnprintf(text, sizeof text, fmt, ap);
    for (char *c = text; *c; c++)
        if (*c == '\n' || *c == '\r') *c = ' '; /* one line each, whatever a plugin puts into a message */
    printf("  %-5s %s\n", mark, text);
    fflush(stdout);
}

#define LINE(mark)                                                                                            \
    do {                                                                                                      \
        va_list ap;                                                                                           \
        va_start(ap, fmt);                                                                                    \
        line(mark, fmt, ap);                                                                                  \
        va_end(ap);                                                                                           \
    } while (0)

void report_ok(const char *fmt, ...)
{
    page->ok++;
    LINE("ok");
}
void report_fail(const char *fmt, ...)
{
    page->failed++;
    LINE("FAIL");
}
void report_skip(const char *fmt, ...)
{
    page->skipped++;
    LINE("skip");
}
void report_note(const char *fmt, ...) { LINE("note"); }
int report_failures(void) { return page->failed; }
