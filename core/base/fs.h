/* fs.h: paths, whole files, durable writes. Errors name the path and the system's reason; ENOSPC and EDQUOT are
 * CO_E_NOMEM ("disk full"), the rest CO_E_IO. */
#ifndef CORE_BASE_FS_H
#define CORE_BASE_FS_H
#include <coati/abi.h>

char *fs_join(const char *dir, const char *name); /* name as it is if absolute; free with mem_free */
char *fs_absolute(const char *path);
const char *fs_basename(const char *path);
char *fs_dirname(const char *path);
int fs_is_dir(const char *path);
int fs_is_file(const char *path);
int fs_size(const char *path, int64_t *out);
int fs_mkdirs(const char *path);
int fs_remove_tree(const char *path); /* CO_OK if absent */
/* Sorted names without "." and ".."; free with fs_free_list. */
int fs_list(const char *dir, char ***names, size_t *n);
void fs_free_list(char **names, size_t n);
int fs_read_all(const char *path, char **data, size_t *len, size_t max_bytes); /* NUL added */
/* Writes path.tmp, fsyncs, renames over path, fsyncs the folder: complete or absent. */
int fs_write_atomic(const char *path, const void *data, size_t len);
int fs_write_all(int fd, const char *path, const void *data, size_t len); /* whole, or an error */
int fs_write_at(int fd, const char *path, const void *data, size_t len, uint64_t at); /* likewise, from byte `at` on */
int fs_sync_dir(const char *dir);
int fs_rename_durable(const char *from, const char *to); /* rename, then fsync of the folder */
int fs_free_bytes(const char *path, uint64_t *out);
/* Read-only map of a whole file. An empty file maps to data != NULL, len 0. */
typedef struct fs_map { const void *data; size_t len; } fs_map;
int fs_map_open(const char *path, fs_map *out);
void fs_map_close(fs_map *m);
#endif
