/* cache.h: what a run keeps beside its output so that the next start need not make it again: the unpacked text of a compressed
 * file (NAME.text) and the index of its records (NAME.FORM), in the host's "coati.cache/1" folder. NAME is the file's own name and
 * a hash of its path. Each begins with the file's source_key and its own hash: what is stale, cut or damaged is made anew, never
 * believed. The folder may be removed at any time between runs. */
#ifndef DATASETS_SOURCE_CACHE_H
#define DATASETS_SOURCE_CACHE_H
#include "source.h"

/* Path of a cache file for s, to be freed with host->free; NULL without a folder, for a small file, or out of memory. */
char *cache_path(const source *s, const char *ending);
int cache_may_write(const co_host *h);

/* One process makes a file, others that want it wait. *fd is empty and locked; CO_END if the file has appeared meanwhile. Then
 * cache_keep (0 or an error that is only worth a warning) or cache_drop. */
int cache_begin(const source *s, const char *path, int *fd, char **temp);
int cache_keep(const source *s, const char *path, int fd, char *temp);
void cache_drop(const source *s, int fd, char *temp);
#endif
