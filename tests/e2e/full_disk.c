/* full_disk.c: preloaded into a program, makes the disk full: once FULL_DISK_AFTER bytes have been written to files whose path
 * holds FULL_DISK_UNDER, writes there end short and then with ENOSPC, and nothing new can be made. FULL_DISK_REPORT: a file that
 * gets the number of bytes written when the program ends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_llong written;

static int is_under(const char *path)
{
    const char *under = getenv("FULL_DISK_UNDER");
    return under && strstr(path, under) != NULL;
}

static long long room(void)
{
    const char *after = getenv("FULL_DISK_AFTER");
    return (after ? strtoll(after, NULL, 10) : 0) - atomic_load(&written);
}

/* How much of n bytes for this file goes to the disk; below 0: none, it is full. */
static ssize_t admit(int fd, size_t n)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t len = readlink(link, path, sizeof path - 1);
    if (len <= 0) return (ssize_t)n;
    path[len] = 0;
    if (!is_under(path)) return (ssize_t)n;
    const long long left = room();
    if (n && left <= 0) return errno = ENOSPC, -1;
    if ((long long)n > left) n = (size_t)left;
    atomic_fetch_add(&written, (long long)n);
    return (ssize_t)n;
}

ssize_t write(int fd, const void *data, size_t n);
ssize_t write(int fd, const void *data, size_t n)
{
    const ssize_t k = admit(fd, n);
    return k < 0 ? k : syscall(SYS_write, fd, data, (size_t)k);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    const ssize_t k = admit(fd, n);
    return k < 0 ? k : syscall(SYS_pwrite64, fd, data, (size_t)k, at);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off_t at) { return pwrite(fd, data, n, at); }

static int may_make(const char *path)
{
    if (!is_under(path) || room() > 0 || faccessat(AT_FDCWD, path, F_OK, 0) == 0) return 1;
    errno = ENOSPC;
    return 0;
}

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list ap;
        va_start(ap, flags);
        mode = va_arg(ap, mode_t);
        va_end(ap);
        if (!may_make(path)) return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int mkdir(const char *path, mode_t mode) { return may_make(path) ? (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode) : -1; }

static void report(void) __attribute__((destructor));
static void report(void)
{
    const char *to = getenv("FULL_DISK_REPORT");
    char text[32];
    const int n = snprintf(text, sizeof text, "%lld\n", (long long)atomic_load(&written));
    const int fd = to ? (int)syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;
    if (fd < 0) return;
    syscall(SYS_write, fd, text, (size_t)n);
    syscall(SYS_close, fd);
}
