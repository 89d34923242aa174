#include "core/base/fs.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int fail(const char *doing, const char *path)
{
    const int e = errno;
    if (e == ENOSPC || e == EDQUOT) return FAIL(CO_E_NOMEM, "%s '%s': disk full (%s)", doing, path, strerror(e));
    return FAIL(CO_E_IO, "%s '%s': %s", doing, path, strerror(e));
}

char *fs_join(const char *dir, const char *name)
{
    if (name[0] == '/' || !dir || !*dir) return mem_strdup(name);
    const size_t n = strlen(dir);
    return mem_printf("%s%s%s", dir, dir[n - 1] == '/' ? "" : "/", name);
}

char *fs_absolute(const char *path)
{
    char cwd[4096];
    if (path[0] == '/') return mem_strdup(path);
    if (!getcwd(cwd, sizeof cwd)) return mem_strdup(path);
    return fs_join(cwd, path);
}

const char *fs_basename(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *fs_dirname(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return mem_strdup(".");
    if (slash == path) return mem_strdup("/");
    return mem_printf("%.*s", (int)(slash - path), path);
}

int fs_is_dir(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}
int fs_is_file(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}
int fs_size(const char *path, int64_t *out)
{
    struct stat s;
    if (stat(path, &s) != 0) return fail("cannot look at", path);
    *out = s.st_size;
    return CO_OK;
}

int fs_mkdirs(const char *path)
{
    char *p = mem_strdup(path);
    int r = CO_OK;
    if (!p) return CO_E_NOMEM;
    for (char *at = p + 1; r == CO_OK; at++) {
        if (*at != '/' && *at != 0) continue;
        const char keep = *at;
        *at = 0;
        if (mkdir(p, 0777) != 0 && errno != EEXIST) r = fail("cannot make the folder", p);
        else if (!fs_is_dir(p)) errno = ENOTDIR, r = fail("cannot make the folder", p);
        *at = keep;
        if (keep == 0) break;
    }
    mem_free(p);
    return r;
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *ftw)
{
    (void)s, (void)type, (void)ftw;
    return remove(path);
}
int fs_remove_tree(const char *path)
{
    struct stat s;
    if (lstat(path, &s) != 0) return errno == ENOENT ? CO_OK : fail("cannot remove", path);
    return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0 ? CO_OK : fail("cannot remove", path);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int fs_list(const char *dir, char ***names, size_t *n)
{
    DIR *d = opendir(dir);
    char **list = NULL;
    size_t count = 0, cap = 0;
    int r = CO_OK;
    *names = NULL;
    *n = 0;
    if (!d) return fail("cannot list", dir);
    for (struct dirent *e; r == CO_OK && (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (count == cap) {
            const size_t more = cap ? cap * 2 : 32;
            char **bigger = mem_grow(list, cap, more, sizeof *list);
            if (!bigger) {
                r = CO_E_NOMEM;
                break;
            }
            list = bigger;
            cap = more;
        }
        list[count] = mem_strdup(e->d_name);
        if (!list[count]) r = CO_E_NOMEM;
        else count++;
    }
    closedir(d);
    if (r) {
        fs_free_list(list, count);
        return r;
    }
    if (count) qsort(list, count, sizeof *list, by_name);
    *names = list;
    *n = count;
    return CO_OK;
}

void fs_free_list(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++) mem_free(names[i]);
    mem_free(names);
}

int fs_read_all(const char *path, char **data, size_t *len, size_t max_bytes)
{
    struct stat s;
    int r = CO_OK, fd = open(path, O_RDONLY | O_CLOEXEC);
    char *p = NULL;
    *data = NULL;
    *len = 0;
    if (fd < 0) return fail("cannot open", path);
    if (fstat(fd, &s) != 0) r = fail("cannot look at", path);
    else if (!S_ISREG(s.st_mode)) r = FAIL(CO_E_IO, "'%s' is not a file", path);
    else if ((uint64_t)s.st_size > max_bytes)
        r = FAIL(CO_E_FORMAT, "'%s' has %lld bytes; at most %zu are expected", path, (long long)s.st_size, max_bytes);
    else if (!(p = mem_alloc((size_t)s.st_size + 1, 0))) r = CO_E_NOMEM;
    size_t n = 0;
    while (r == CO_OK && n < (size_t)s.st_size) {
        const ssize_t k = read(fd, p + n, (size_t)s.st_size - n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) r = fail("cannot read", path);
        if (k <= 0) break;
        n += (size_t)k;
    }
    close(fd);
    if (r) {
        mem_free(p);
        return r;
    }
    *data = p;
    *len = n;
    return CO_OK;
}

int fs_write_all(int fd, const char *path, const void *data, size_t len)
{
    const char *p = data;
    while (len) {
        const ssize_t k = write(fd, p, len);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return fail("cannot write", path);
        p += k;
        len -= (size_t)k;
    }
    return CO_OK;
}

int fs_write_at(int fd, const char *path, const void *data, size_t len, uint64_t at)
{
    const char *p = data;
    while (len) {
        const ssize_t k = pwrite(fd, p, len, (off_t)at);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return fail("cannot write", path);
        p += k;
        at += (uint64_t)k;
        len -= (size_t)k;
    }
    return CO_OK;
}

int fs_sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail("cannot open", dir);
    int r = fsync(fd) == 0 || errno == EINVAL ? CO_OK : fail("cannot sync", dir);
    close(fd);
    return r;
}

int fs_rename_durable(const char *from, const char *to)
{
    char *dir = fs_dirname(to); /* before the rename: what fails then has changed nothing */
    if (!dir) return CO_E_NOMEM;
    int r = rename(from, to) == 0 ? fs_sync_dir(dir) : fail("cannot rename to", to);
    mem_free(dir);
    return r;
}

int fs_write_atomic(const char *path, const void *data, size_t len)
{
    char *tmp = mem_printf("%s.tmp", path);
    if (!tmp) return CO_E_NOMEM;
    int r = CO_OK, fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        r = fail("cannot create", tmp);
    } else {
        r = fs_write_all(fd, tmp, data, len);
        if (r == CO_OK && fsync(fd) != 0) r = fail("cannot sync", tmp);
        if (close(fd) != 0 && r == CO_OK) r = fail("cannot close", tmp);
        if (r == CO_OK) r = fs_rename_durable(tmp, path);
        if (r) unlink(tmp);
    }
    mem_free(tmp);
    return r;
}

int fs_free_bytes(const char *path, uint64_t *out)
{
    struct statvfs s;
    if (statvfs(path, &s) != 0) return fail("cannot look at", path);
    *out = (uint64_t)s.f_bavail * s.f_frsize;
    return CO_OK;
}

int fs_map_open(const char *path, fs_map *out)
{
    struct stat s;
    int fd = open(path, O_RDONLY | O_CLOEXEC), r = CO_OK;
    out->data = "";
    out->len = 0;
    if (fd < 0) return fail("cannot open", path);
    if (fstat(fd, &s) != 0) r = fail("cannot look at", path);
    else if (!S_ISREG(s.st_mode)) r = FAIL(CO_E_IO, "'%s' is not a file", path);
    else if (s.st_size > 0) {
        void *p = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) r = fail("cannot map", path);
        else out->data = p, out->len = (size_t)s.st_size;
    }
    close(fd);
    return r;
}

void fs_map_close(fs_map *m)
{
    if (m->len) munmap((void *)(uintptr_t)m->data, m->len);
    m->data = NULL;
    m->len = 0;
}
