/* memory.c: MemFree alone would refuse runs on any machine whose file cache is warm, and MemAvailable alone would let a run
 * in a container grow until it is killed: the kernel's estimate and the cgroup's limit both count. */
#include "memory.h"
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The head of a small file as text; 0 when there is none. */
static int read_text(const char *root, const char *path, const char *name, char *text, size_t cap)
{
    char full[512];
    if (snprintf(full, sizeof full, "%s%s%s", root, path, name) >= (int)sizeof full) return 0;
    const int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    const ssize_t n = read(fd, text, cap - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}

/* The number after `key` at the start of a line. */
static int line_value(const char *text, const char *key, uint64_t *out)
{
    const size_t n = strlen(key);
    for (const char *at = text; at; at = strchr(at, '\n'), at = at ? at + 1 : NULL)
        if (strncmp(at, key, n) == 0) return *out = strtoull(at + n, NULL, 10), 1;
    return 0;
}

/* One cgroup's limit and use; page cache that can be dropped does not count as used. */
static void apply_limit(const char *root, const char *dir, const char *limit_name, const char *used_name, const char *cache_key,
                        uint64_t *available, uint64_t *total)
{
    char text[4096];
    uint64_t cache = 0;
    if (!read_text(root, dir, limit_name, text, sizeof text) || text[0] < '0' || text[0] > '9') return; /* none, or "max" */
    const uint64_t limit = strtoull(text, NULL, 10);
    if (limit >= *total || !read_text(root, dir, used_name, text, sizeof text)) return;
    uint64_t used = strtoull(text, NULL, 10);
    if (read_text(root, dir, "/memory.stat", text, sizeof text) && line_value(text, cache_key, &cache)) used -= cache < used ? cache : used;
    const uint64_t left = limit > used ? limit - used : 0;
    if (left < *available) *available = left;
    *total = limit;
}

/* The process's group and those above it: each may set a limit. `path` is cut from its end. */
static void walk_up(const char *root, const char *mount, char *path, const char *limit_name, const char *used_name,
                    const char *cache_key, uint64_t *available, uint64_t *total)
{
    for (;;) {
        char dir[400];
        if (snprintf(dir, sizeof dir, "%s%s", mount, strcmp(path, "/") == 0 ? "" : path) < (int)sizeof dir)
            apply_limit(root, dir, limit_name, used_name, cache_key, available, total);
        char *slash = strrchr(path, '/');
        if (!slash || path[1] == 0) return;
        slash[slash == path] = 0;
    }
}

/* "hierarchy:controllers:path" of each line of proc/self/cgroup. */
static void cgroup_limits(const char *root, uint64_t *available, uint64_t *total)
{
    char text[4096];
    if (!read_text(root, "/proc/self/cgroup", "", text, sizeof text)) return;
    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path || path[1] != '/') continue;
        *path++ = 0;
        if (strcmp(controllers + 1, "memory") == 0)
            walk_up(root, "/sys/fs/cgroup/memory", path, "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file ", available, total);
        else if (controllers[1] == 0)
            walk_up(root, "/sys/fs/cgroup", path, "/memory.max", "/memory.current", "inactive_file ", available, total);
    }
}

int memory_free(const char *root, size_t *free_bytes, size_t *total_bytes)
{
    char text[4096];
    uint64_t available, total;
    if (!read_text(root, "/proc/meminfo", "", text, sizeof text) || !line_value(text, "MemAvailable:", &available) ||
        !line_value(text, "MemTotal:", &total))
        return 0;
    available *= 1024; /* kB */
    total *= 1024;
    cgroup_limits(root, &available, &total);
    *free_bytes = (size_t)available;
    *total_bytes = (size_t)total;
    return 1;
}

void memory_huge(void *p, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    const uintptr_t huge = (uintptr_t)1 << 21, from = ((uintptr_t)p + huge - 1) & ~(huge - 1), to = ((uintptr_t)p + bytes) & ~(huge - 1);
    if (to > from) (void)madvise((void *)from, to - from, MADV_HUGEPAGE);
#else
    (void)p, (void)bytes;
#endif
}
