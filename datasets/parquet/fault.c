#include "fault.h"

#include <stdarg.h>
#include <stdio.h>

int pq_fail(pq_fault *f, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->what, sizeof f->what, fmt, ap);
    va_end(ap);
    f->code = code;
    return code;
}
