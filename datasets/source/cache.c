#include "cache.h"
#include "hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const co_cache *folder(const co_host *h)
{
    return h->extension ? h->extension(h, CO_CACHE_ID) : NULL;
}

int cache_may_write(const co_host *h)
{
    const co_cache *c = folder(h);
    return c && c->may_write;
}

char *cache_path(const source *s, const char *ending)
{
    const co_cache *c = folder(s->host);
    const char *name = strrchr(s->path, '/') ? strrchr(s->path, '/') + 1 : s->path;
    char full[4096], *path;
    size_t n;
    if (!c || !c->folder || !s->key.size) return NULL;
    if (!realpath(s->path, full)) snprintf(full, sizeof full, "%s", s->path);
    n = strlen(c->folder) + strlen(name) + strlen(ending) + 32;
    path = s->host->alloc(s->host, n, 1);
    if (path) snprintf(path, n, "%s/%.80s-%016llx.%s", c->folder, name, (unsigned long long)hash_bytes(full, strlen(full), 0), ending);
    return path;
}

/* The folders on the way to a file. */
static int make_folders(const char *path)
{
    char dir[4096];
    if (snprintf(dir, sizeof dir, "%s", path) >= (int)sizeof dir) return -1;
    for (char *p = strchr(dir + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = 0;
        if (mkdir(dir, 0777) && errno != EEXIST) return -1;
        *p = '/';
    }
    return 0;
}

int cache_begin(const source *s, const char *path, int *fd, char **temp)
{
    const size_t n = strlen(path) + 5;
    struct stat mine, there;
    int rc = CO_OK;
    *fd = -1;
    *temp = s->host->alloc(s->host, n, 1);
    if (!*temp) return CO_FAIL(s->host, CO_E_NOMEM, "no memory for the name of a cache file");
    snprintf(*temp, n, "%s.tmp", path);
    if (!make_folders(path)) *fd = open(*temp, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*fd < 0 || flock(*fd, LOCK_EX) || fstat(*fd, &mine)) {
        rc = CO_FAIL(s->host, CO_E_IO, "%s: cannot be written: %s", *temp, strerror(errno));
    } else if (stat(*temp, &there) || there.st_ino != mine.st_ino || there.st_dev != mine.st_dev) {
        rc = CO_END; /* who held the lock has made it */
    } else if (ftruncate(*fd, 0)) {
        rc = CO_FAIL(s->host, CO_E_IO, "%s: cannot be emptied: %s", *temp, strerror(errno));
    }
    if (!rc) return CO_OK;
    if (*fd >= 0) close(*fd);
    *fd = -1;
    s->host->free(s->host, *temp);
    *temp = NULL;
    return rc;
}

int cache_keep(const source *s, const char *path, int fd, char *temp)
{
    int rc = CO_OK;
    if (rename(temp, path)) rc = CO_FAIL(s->host, CO_E_IO, "%s: cannot be named %s: %s", temp, path, strerror(errno));
    if (fd >= 0) close(fd);
    s->host->free(s->host, temp);
    return rc;
}

void cache_drop(const source *s, int fd, char *temp)
{
    unlink(temp);
    close(fd);
    s->host->free(s->host, temp);
}
