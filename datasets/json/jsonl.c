/* jsonl.c: plugin "jsonl". */
#include "file.h"
#include <coati/plugin.h>

static int jsonl_open(const co_host *h, const void *opts, void **self)
{
    return json_file_open(h, opts, JSON_FILE_LINES, self);
}

static const char *const jsonl_suffixes[] = { ".jsonl", ".ndjson", ".jsonl.gz", ".jsonl.zst", ".ndjson.gz", ".ndjson.zst", NULL };
static const co_dataset_vt jsonl_vt = {
    .struct_size = sizeof(co_dataset_vt),
    .suffixes = jsonl_suffixes,
    .open = jsonl_open,
    .close = json_file_close,
    .count = json_file_count,
    .read = json_file_read,
    .clone = json_file_clone,
    .fingerprints = json_file_fingerprints,
};
static const co_feature jsonl_feature = {
    .struct_size = sizeof(co_feature),
    .kind = CO_KIND_DATASET,
    .name = "jsonl",
    .summary = "one JSON object a line",
    .opts_size = sizeof(co_dataset_common),
    .vt = &jsonl_vt,
};
static const co_feature *const jsonl_features[] = { &jsonl_feature, NULL };
static const co_plugin jsonl_plugin = {
    .magic = CO_MAGIC_INIT(0),
    .struct_size = sizeof(co_plugin),
    .name = "jsonl",
    .vendor = "coati",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .features = jsonl_features,
};
CO_PLUGIN(jsonl_plugin);
