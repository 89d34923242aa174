/* files.h: temporary files and the shared data's folder. */
#ifndef TESTS_DATA_FILES_H
#define TESTS_DATA_FILES_H
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Writes a file in a folder of this test's own and returns its path, valid until the next call. */
static inline const char *temp_file(const char *name, const void *data, size_t len)
{
    static char dir[64], path[256];
    FILE *f;
    if (!dir[0]) {
        snprintf(dir, sizeof dir, "test_data_%ld.tmp", (long)getpid());
        mkdir(dir, 0700);
    }
    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (!f || fwrite(data, 1, len, f) != len) abort();
    fclose(f);
    return path;
}

static inline void temp_clean(void)
{
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf test_data_%ld.tmp", (long)getpid());
    if (system(cmd)) fprintf(stderr, "%s: failed\n", cmd);
}

/* Folder of the shared data, or NULL. */
static inline const char *shared_dir(void)
{
    const char *dir = getenv("COATI_SHARED");
    if (!dir) dir = COATI_SOURCE_DIR "/../shared";
    return access(dir, R_OK) ? NULL : dir;
}
#endif
