/* memory.h: how much memory a run may still take. */
#ifndef CPU_BACKEND_MEMORY_H
#define CPU_BACKEND_MEMORY_H
#include <stddef.h>

/* Bytes to be had without swapping: MemAvailable of proc/meminfo, and what the memory limits of this process's cgroup
 * (v2, or v1) leave, whichever is least. root: "" but in tests. *total: of the machine, or the limit. 0 when nothing
 * could be read. */
int memory_free(const char *root, size_t *free_bytes, size_t *total_bytes);
/* Asks the kernel for huge pages (2 MiB on x86-64) in the whole ones among these bytes, before they are first touched. A
 * product walks rows that lie pages apart; with 4 KiB pages it waits for page tables. Only a wish: nothing depends on it. */
void memory_huge(void *p, size_t bytes);
#endif
