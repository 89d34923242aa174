/* pinned.c: host memory that the device copies from and to directly. Masters and states of large models are tens of GiB: the
 * runtime's own allocation has one thread touch every page. Here pages are touched by many, huge ones where the system has
 * them, and then registered at once. */
#include "cuda.h"
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LARGE ((size_t)64 << 20) /* from here on */
#define HUGE ((size_t)2 << 20)
#define MAX_THREADS 32

struct pinned_block { /* one that is mapped, not the runtime's */
    struct pinned_block *next;
    char *at, *map;
    size_t bytes, mapped;
};

typedef struct part { char *from; size_t bytes, page; } part;

static void *touch(void *ctx)
{
    const part *p = ctx;
    for (size_t i = 0; i < p->bytes; i += p->page) ((volatile char *)p->from)[i] = 0;
    return NULL;
}

/* The system clears a page when it is first written. */
static void touch_all(char *at, size_t bytes)
{
    pthread_t id[MAX_THREADS];
    part parts[MAX_THREADS];
    const long cores = sysconf(_SC_NPROCESSORS_ONLN), page = sysconf(_SC_PAGESIZE);
    const size_t n = cores < 1 ? 1 : cores > MAX_THREADS ? MAX_THREADS : (size_t)cores, share = (bytes / n + HUGE - 1) / HUGE * HUGE;
    int started[MAX_THREADS] = {0};
    for (size_t i = 0; i < n; i++) {
        const size_t from = i * share < bytes ? i * share : bytes, left = bytes - from;
        parts[i] = (part){at + from, left < share || i + 1 == n ? left : share, (size_t)page};
        started[i] = i > 0 && pthread_create(&id[i], NULL, touch, &parts[i]) == 0;
    }
    for (size_t i = 0; i < n; i++)
        if (!started[i]) (void)touch(&parts[i]);
    for (size_t i = 0; i < n; i++)
        if (started[i]) pthread_join(id[i], NULL);
}

static int map_block(gpu *c, size_t bytes, void **out)
{
    pinned_block *b = c->host->alloc(c->host, sizeof *b, 16);
    if (!b) return CO_E_NOMEM;
    *b = (pinned_block){.bytes = bytes, .mapped = bytes + HUGE};
    b->map = mmap(NULL, b->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (b->map == MAP_FAILED) {
        c->host->free(c->host, b);
        return CO_E_NOMEM;
    }
    b->at = b->map + (HUGE - (uintptr_t)b->map % HUGE) % HUGE;
    (void)madvise(b->at, bytes, MADV_HUGEPAGE); /* a wish */
    touch_all(b->at, bytes);
    if (cudaHostRegister(b->at, bytes, cudaHostRegisterPortable) != cudaSuccess) {
        (void)cudaGetLastError();
        (void)munmap(b->map, b->mapped);
        c->host->free(c->host, b);
        return CO_E_UNSUPPORTED;
    }
    b->next = c->blocks;
    c->blocks = b;
    *out = b->at;
    return CO_OK;
}

int pinned_alloc(gpu *c, size_t bytes, void **out)
{
    if (bytes >= LARGE && map_block(c, bytes, out) == CO_OK) return CO_OK;
    const int r = cuda_check(c, cudaMallocHost(out, bytes), "pinned host memory");
    if (r == CO_OK) memset(*out, 0, bytes);
    return r;
}

void pinned_free(gpu *c, void *p)
{
    for (pinned_block **at = &c->blocks; *at; at = &(*at)->next) {
        pinned_block *const b = *at;
        if (b->at != p) continue;
        (void)cudaHostUnregister(b->at);
        (void)munmap(b->map, b->mapped);
        *at = b->next;
        c->host->free(c->host, b);
        return;
    }
    (void)cudaFreeHost(p);
}
