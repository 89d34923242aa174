/* memory.c: each allocation carries a header in front, so that frees can be counted without the allocator's help. */
#include "core/base/memory.h"
#include "core/base/error.h"
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct header {
    void *start; /* what malloc gave */
    size_t bytes;
} header;

static atomic_uint_fast64_t n_allocs, n_frees;
static atomic_size_t live, peak;
static atomic_int_fast64_t fail_in;

void mem_fail_after(int64_t n) { atomic_store(&fail_in, n); }

static int must_fail(void)
{
    if (atomic_load(&fail_in) <= 0) return 0;
    return atomic_fetch_sub(&fail_in, 1) == 1;
}

void *mem_alloc(size_t bytes, size_t align)
{
    if (align < _Alignof(max_align_t)) align = _Alignof(max_align_t);
    const size_t extra = sizeof(header) + align;
    char *start = bytes > SIZE_MAX - extra || must_fail() ? NULL : calloc(1, bytes + extra);
    if (!start) {
        (void)FAIL(CO_E_NOMEM, "out of memory: %zu bytes were asked for", bytes);
        return NULL;
    }
    const uintptr_t at = ((uintptr_t)start + sizeof(header) + align - 1) & ~(uintptr_t)(align - 1);
    header *h = (header *)at - 1;
    h->start = start;
    h->bytes = bytes;
    atomic_fetch_add(&n_allocs, 1);
    const size_t now = atomic_fetch_add(&live, bytes) + bytes;
    size_t seen = atomic_load(&peak);
    while (now > seen && !atomic_compare_exchange_weak(&peak, &seen, now)) {}
    return (void *)at;
}

void mem_free(void *p)
{
    if (!p) return;
    header *h = (header *)p - 1;
    atomic_fetch_add(&n_frees, 1);
    atomic_fetch_sub(&live, h->bytes);
    free(h->start);
}

void *mem_calloc(size_t n, size_t size)
{
    if (size && n > SIZE_MAX / size) {
        (void)FAIL(CO_E_NOMEM, "out of memory: %zu times %zu bytes were asked for", n, size);
        return NULL;
    }
    return mem_alloc(n * size, 0);
}

void *mem_grow(void *p, size_t old_n, size_t new_n, size_t size)
{
    void *q = mem_calloc(new_n, size);
    if (!q) return NULL;
    if (p) memcpy(q, p, (old_n < new_n ? old_n : new_n) * size);
    mem_free(p);
    return q;
}

char *mem_strdup(const char *s)
{
    const size_t n = strlen(s) + 1;
    char *p = mem_alloc(n, 0);
    if (p) memcpy(p, s, n);
    return p;
}

static char *format(co_arena *a, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    const int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0) return NULL;
    char *p = a ? arena_push(a, (size_t)n + 1, 1) : mem_alloc((size_t)n + 1, 0);
    if (p) vsnprintf(p, (size_t)n + 1, fmt, ap);
    return p;
}

char *mem_printf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *p = format(NULL, fmt, ap);
    va_end(ap);
    return p;
}

void mem_count(mem_counts *out)
{
    out->allocs = atomic_load(&n_allocs);
    out->frees = atomic_load(&n_frees);
    out->live_bytes = atomic_load(&live);
    out->peak_bytes = atomic_load(&peak);
}

/* ---- arena ------------------------------------------------------------------------------------------------- */
typedef struct chunk {
    struct chunk *next;
    size_t cap, used;
    char *data;
} chunk;

struct co_arena {
    size_t block;
    chunk *first, *now;
};

co_arena *arena_new(size_t block_bytes)
{
    co_arena *a = mem_alloc(sizeof *a, 0);
    if (a) a->block = block_bytes ? block_bytes : 4096;
    return a;
}

void arena_free(co_arena *a)
{
    if (!a) return;
    for (chunk *c = a->first; c;) {
        chunk *next = c->next;
        mem_free(c->data);
        mem_free(c);
        c = next;
    }
    mem_free(a);
}

void arena_reset(co_arena *a)
{
    for (chunk *c = a->first; c; c = c->next) c->used = 0;
    a->now = a->first;
}

void *arena_push(co_arena *a, size_t bytes, size_t align)
{
    if (align == 0) align = 1;
    for (chunk *c = a->now; c; c = c->next) {
        const size_t at = (((uintptr_t)c->data + c->used + align - 1) & ~(uintptr_t)(align - 1)) - (uintptr_t)c->data;
        if (at <= c->cap && bytes <= c->cap - at) {
            c->used = at + bytes;
            a->now = c;
            return c->data + at;
        }
    }
    if (bytes > SIZE_MAX - align - a->block) {
        (void)FAIL(CO_E_NOMEM, "out of memory: %zu bytes were asked for", bytes);
        return NULL;
    }
    const size_t cap = bytes + align > a->block ? bytes + align : a->block;
    chunk *c = mem_alloc(sizeof *c, 0);
    char *data = c ? mem_alloc(cap, 64) : NULL;
    if (!data) {
        mem_free(c);
        return NULL;
    }
    c->data = data;
    c->cap = cap;
    chunk **end = a->now ? &a->now->next : &a->first;
    while (*end) end = &(*end)->next;
    *end = c;
    a->now = c;
    const size_t at = (((uintptr_t)data + align - 1) & ~(uintptr_t)(align - 1)) - (uintptr_t)data;
    c->used = at + bytes;
    return data + at;
}

char *arena_strndup(co_arena *a, const char *s, size_t n)
{
    char *p = arena_push(a, n + 1, 1);
    if (!p) return NULL;
    memcpy(p, s, n);
    p[n] = 0;
    return p;
}

char *arena_printf(co_arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *p = format(a, fmt, ap);
    va_end(ap);
    return p;
}

size_t arena_bytes(const co_arena *a)
{
    size_t n = 0;
    for (const chunk *c = a->first; c; c = c->next) n += c->cap;
    return n;
}
