/* files.h: several files as one dataset: what [dataset] path means when it is a folder or a glob. */
#ifndef CORE_DATA_FILES_H
#define CORE_DATA_FILES_H
#include <coati/dataset.h>

/* The files that `path` stands for, in byte order of their paths: the file itself; of a folder the files directly in it
 * that `wanted` takes (hidden ones never); else what the glob matches. CO_E_FORMAT when there is none. Free with
 * fs_free_list. */
int files_expand(const char *path, int (*wanted)(void *ctx, const char *path), void *ctx, char ***out, size_t *n);

typedef struct files_opener { /* both live as long as any handle */
    int (*open)(void *ctx, const char *path, int64_t max_records, const co_dataset_vt **vt, void **self);
    void *ctx;
} files_opener;

/* Records of one file after those of another; max_records of all together, 0: all. *self goes with files_dataset, whose
 * clone opens again what cannot be cloned. */
int files_open(const files_opener *o, char *const *paths, size_t n, int64_t max_records, void **self);
/* The file that holds a record and its row in it, from 1: of the innermost files where a part is files_dataset's or
 * project_dataset's itself. *file lives as long as the handle. */
void files_locate(void *self, int64_t index, const char **file, int64_t *row);
void files_part(void *self, size_t i, int64_t *first, int64_t *n); /* the records of paths[i]; none where max_records left it out */
extern const co_dataset_vt files_dataset; /* no open */
#endif
