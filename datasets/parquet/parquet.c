/* parquet.c: plugin "parquet". */
#include "dataset.h"
#include <coati/plugin.h>

static const char *const parquet_suffixes[] = { ".parquet", ".pq", NULL };
static const co_dataset_vt parquet_vt = {
    .struct_size = sizeof(co_dataset_vt),
    .suffixes = parquet_suffixes,
    .open = pq_open,
    .close = pq_close,
    .count = pq_count,
    .read = pq_read,
    .clone = pq_clone,
};
static const co_feature parquet_feature = {
    .struct_size = sizeof(co_feature),
    .kind = CO_KIND_DATASET,
    .name = "parquet",
    .summary = "Apache Parquet: a record a row, lists and groups as JSON",
    .opts_size = sizeof(co_dataset_common),
    .vt = &parquet_vt,
};
static const co_feature *const parquet_features[] = { &parquet_feature, NULL };
static const co_plugin parquet_plugin = {
    .magic = CO_MAGIC_INIT(0),
    .struct_size = sizeof(co_plugin),
    .name = "parquet",
    .vendor = "coati",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .features = parquet_features,
};
CO_PLUGIN(parquet_plugin);
