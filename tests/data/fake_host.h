/* fake_host.h: host services for testing a dataset plugin without the plugin host. */
#ifndef TESTS_DATA_FAKE_HOST_H
#define TESTS_DATA_FAKE_HOST_H
#include "core/base/error.h"
#include "core/base/memory.h"

#include <coati/host.h>

static void *fake_alloc(const co_host *h, size_t bytes, size_t align)
{
    (void)h;
    return mem_alloc(bytes, align);
}

static void fake_free(const co_host *h, void *p)
{
    (void)h;
    mem_free(p);
}

static int fake_fail(const co_host *h, int code, const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    int rc;
    (void)h;
    va_start(ap, fmt);
    rc = error_setv(code, file, line, fmt, ap);
    va_end(ap);
    return rc;
}

static const co_host fake_host = {
    .struct_size = sizeof(co_host),
    .name = "test",
    .version = "0",
    .fail = fake_fail,
    .alloc = fake_alloc,
    .free = fake_free,
    .arena_push = arena_push,
};
#endif
