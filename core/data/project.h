/* project.h: a dataset under other column names: what a source calls "answer" is the "output" of the others; "a.b" is the member b
 * of column a, "a.0" its first element. */
#ifndef CORE_DATA_PROJECT_H
#define CORE_DATA_PROJECT_H
#include <coati/dataset.h>

typedef struct project_map { char *from, *to; } project_map; /* mem_alloc'd; a column `to` that was there already gives way */

/* `files`, of files_dataset, goes with *out, which goes with project_dataset; it is not closed on an error. The maps are copied. */
int project_open(void *files, const project_map *maps, size_t n, void **out);
void *project_files(void *self);
extern const co_dataset_vt project_dataset; /* no open */
#endif
