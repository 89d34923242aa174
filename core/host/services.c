/* services.c: the table plugins reach the host through. */
#include "core/host/host_impl.h"
#include "core/base/trace.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/base/rng.h"
#include <string.h>

static void s_log(const co_host *h, int level, const char *component, const char *fmt, ...)
{
    va_list ap;
    (void)h;
    va_start(ap, fmt);
    log_linev(level, component, fmt, ap);
    va_end(ap);
}
static int s_fail(const co_host *h, int code, const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    (void)h;
    va_start(ap, fmt);
    error_setv(code, file, line, fmt, ap);
    va_end(ap);
    return code;
}
static void *s_alloc(const co_host *h, size_t bytes, size_t align)
{
    (void)h;
    return mem_alloc(bytes, align);
}
static void s_free(const co_host *h, void *p)
{
    (void)h;
    mem_free(p);
}
static uint64_t s_random(const co_host *h, uint64_t stream, uint64_t counter)
{
    return rng_u64(((const host *)h->impl)->seed, stream, counter);
}
static const void *s_extension(const co_host *h, const char *id)
{
    if (strcmp(id, "coati.seed/1") == 0) return &((const host *)h->impl)->seed; /* const uint64_t *: key of random() */
    if (strcmp(id, CO_TRACE_ID) == 0) return &trace_services;
    if (strcmp(id, CO_CACHE_ID) == 0 && ((const host *)h->impl)->cache.folder) return &((const host *)h->impl)->cache;
    return NULL;
}

void host_services_init(host *h);
void host_services_init(host *h)
{
    h->services = (co_host){.struct_size = sizeof h->services, .abi_minor = CO_ABI_MINOR, .name = "coati",
                            .version = COATI_VERSION, .impl = h, .log = s_log, .fail = s_fail, .alloc = s_alloc,
                            .free = s_free, .arena_push = arena_push, .random = s_random, .extension = s_extension};
}
const co_host *host_services(host *h) { return &h->services; }
void host_seed(host *h, uint64_t seed) { h->seed = seed; }
int host_cache(host *h, const char *folder, int may_write)
{
    char *own = mem_strdup(folder);
    if (!own) return CO_E_NOMEM;
    mem_free(h->cache_folder);
    h->cache_folder = own;
    h->cache = (co_cache){.struct_size = sizeof h->cache, .may_write = may_write != 0, .folder = own};
    return CO_OK;
}
