/* memory.h: counted heap allocations and arenas. Everything the host and its plugins allocate goes through
 * here, so that tests can fail the n-th allocation and assert that a steady step makes none. */
#ifndef CORE_BASE_MEMORY_H
#define CORE_BASE_MEMORY_H
#include <coati/host.h>

void *mem_alloc(size_t bytes, size_t align); /* zero-filled; NULL and an error message when out of memory */
void *mem_calloc(size_t n, size_t size);     /* overflow-checked, zero-filled */
void *mem_grow(void *p, size_t old_n, size_t new_n, size_t size); /* realloc of an array; new tail zeroed */
char *mem_strdup(const char *s);
char *mem_printf(const char *fmt, ...) CO_PRINTF(1, 2);
void mem_free(void *p);

typedef struct mem_counts {
    uint64_t allocs, frees;
    size_t live_bytes, peak_bytes;
} mem_counts;
void mem_count(mem_counts *out);
void mem_fail_after(int64_t n); /* tests: the n-th allocation from now fails (1: the next); 0: never */

/* Bump allocator in blocks; reset keeps the blocks. One thread at a time. */
co_arena *arena_new(size_t block_bytes);
void arena_free(co_arena *a);
void arena_reset(co_arena *a);
void *arena_push(co_arena *a, size_t bytes, size_t align);
char *arena_strndup(co_arena *a, const char *s, size_t n); /* adds a NUL */
char *arena_printf(co_arena *a, const char *fmt, ...) CO_PRINTF(2, 3);
size_t arena_bytes(const co_arena *a); /* held, not pushed */
#endif
