/* sources.h: [dataset] sources = web=0.7,code=0.3: names, weights, and what their sections [dataset.NAME] say. */
#ifndef CORE_TRAIN_SOURCES_H
#define CORE_TRAIN_SOURCES_H
#include "core/data/project.h"
#include "core/train/options.h"

typedef struct source_opts { const char *path, *format, *columns; int64_t max_records; } source_opts;

extern const co_opt sources_rows[]; /* of [dataset.NAME], into source_opts */

typedef struct source_spec {
    char name[64], section[80];
    double weight; /* 0: by its number of records */
    source_opts o; /* of the section; with no sources [dataset]'s own, under the name of its path */
} source_spec;

/* One for [dataset] alone, else one a name. Free with mem_free. */
int sources_parse(config *c, const char *section, const dataset_opts *o, source_spec **out, size_t *n);
/* How the source's columns are called by the dataset's: what its own `columns` names otherwise, and columns within columns. */
int sources_maps(const char *columns_of_all, const char *columns, project_map **out, size_t *n);
void sources_free_maps(project_map *maps, size_t n);
#endif
