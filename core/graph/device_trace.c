#include "core/graph/device_trace.h"
#include "core/base/trace.h"
#include <stdarg.h>
#include <stdio.h>

static const co_device_trace *hook; /* NULL: nothing to ask */
static void *hook_self;

void device_trace_open(const co_backend_vt *be, void *self)
{
    hook = CO_HAS(co_backend_vt, be, extension) ? be->extension(self, CO_DEVICE_TRACE_ID) : NULL;
    hook_self = self;
}

void device_trace_close(void)
{
    if (hook) hook->flush(hook_self);
    hook = NULL;
}

uint64_t device_trace_begin(co_stream on) { return hook && trace_begin() ? hook->begin(hook_self, on) : 0; }

void device_trace_end(uint64_t span, const char *category, const char *fmt, ...)
{
    char name[64];
    va_list ap;
    if (!span || !hook) return;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    hook->end(hook_self, span, category, name);
}
