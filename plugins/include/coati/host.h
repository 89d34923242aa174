/* host.h: services the host lends to every plugin. The table passed in is the only way to reach the host. */
#ifndef COATI_HOST_H
#define COATI_HOST_H
#include "abi.h"

typedef struct co_host co_host;
typedef struct co_arena co_arena; /* opaque bump allocator, owned by the host */

typedef enum co_log_level { CO_LOG_ERROR = 0, CO_LOG_WARN, CO_LOG_INFO, CO_LOG_DEBUG } co_log_level;

struct co_host {
    uint32_t struct_size;
    uint32_t abi_minor;
    const char *name, *version;
    void *impl;
    /* [any] */
    void (*log)(const co_host *h, int level, const char *component, const char *fmt, ...) CO_PRINTF(4, 5);
    /* [any] Records a message for this thread and returns `code`. The message says what was expected, what
     * was found and what to do; pass the code up unchanged. */
    int (*fail)(const co_host *h, int code, const char *file, int line, const char *fmt, ...) CO_PRINTF(5, 6);
    /* [any] Zero-filled memory that lives until `free`; NULL when out of memory. align: power of two. */
    void *(*alloc)(const co_host *h, size_t bytes, size_t align);
    void (*free)(const co_host *h, void *p);
    /* [any] Lives until the arena's owner resets it. Not zeroed. NULL when out of memory. */
    void *(*arena_push)(co_arena *a, size_t bytes, size_t align);
    /* [any] Counter-based (Philox 4x32-10): same (seed, stream, counter), same value, on every rank. */
    uint64_t (*random)(const co_host *h, uint64_t stream, uint64_t counter);
    /* [any] Optional host features by id; NULL if absent. "coati.seed/1": const uint64_t *, the key of random(), for
     * backends that draw on the device. CO_CACHE_ID: const co_cache *, for what may be kept from one start to the next.
     * CO_TRACE_ID: const co_trace *. */
    const void *(*extension)(const co_host *h, const char *id);
};

/* A folder for what is costly to make and can be made again, as an index of a large file. It may not be there yet; what is in it may
 * be stale, damaged, or another process's half-written file: check it, write beside and rename. */
#define CO_CACHE_ID "coati.cache/1"
typedef struct co_cache {
    uint32_t struct_size;
    uint32_t may_write; /* 0: look only, as under --check */
    const char *folder;
} co_cache;

/* Spans of time for the run's trace ([log] trace), on the thread that calls. Costs next to nothing where none is written. */
#define CO_TRACE_ID "coati.trace/1"
typedef struct co_trace {
    uint32_t struct_size;
    uint64_t (*begin)(void);                                              /* [any] 0: nothing is traced */
    void (*end)(uint64_t begin, const char *category, const char *name);  /* [any] from begin until now; 0: nothing happens */
    /* [any] What ran elsewhere, in nanoseconds on begin()'s clock; track: of a device, counted from 0. */
    void (*span)(uint64_t begin, uint64_t end, uint32_t track, const char *category, const char *name);
} co_trace;
#define CO_FAIL(h, code, ...) ((h)->fail((h), (code), __FILE__, __LINE__, __VA_ARGS__))
#endif
