/* points.h: where records start: every so many bytes a point, between which the records are found by walking. Small whatever the
 * file (16 bytes for at least 4 KiB of it), and memory-mapped where it comes from the cache. */
#ifndef DATASETS_SOURCE_POINTS_H
#define DATASETS_SOURCE_POINTS_H
#include "source.h"

#define POINTS_EVERY ((size_t)4096)

typedef struct point { uint64_t at; int64_t record; } point; /* the record numbered `record` is the first from byte `at` on */

typedef struct points {
    point *p;      /* ascending in both; p[0].record is 0 */
    size_t n, cap;
    int64_t records;
    uint64_t note[2]; /* the form's own: kept with it */
    void *mapped;     /* the cache file; NULL: p is on the heap */
    size_t mapped_len;
} points;

int points_add(const co_host *h, points *ps, uint64_t at, int64_t record);
/* The last point at or before a record; 0 <= record < records. */
point points_find(const points *ps, int64_t record);
void points_close(const co_host *h, points *ps);

/* Of an earlier run, with the rules the index was made by: CO_OK, or CO_END if there is none that can be believed. */
int points_load(const source *s, const char *form, uint64_t rules, points *out);
/* For the next; failing is worth a warning only. Nothing is written for a file too small, or without a folder. */
void points_save(const source *s, const char *form, uint64_t rules, const points *ps);
/* One file of the cache, as bytes: for tests and the fuzzer. */
int points_load_file(const source *s, const char *path, uint64_t rules, points *out);
#endif
