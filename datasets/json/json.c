/* json.c: plugin "json". */
#include "file.h"
#include <coati/plugin.h>

static int json_open(const co_host *h, const void *opts, void **self)
{
    return json_file_open(h, opts, JSON_FILE_ARRAY_OR_LINES, self);
}

static const char *const json_suffixes[] = { ".json", ".json.gz", ".json.zst", NULL };
static const co_dataset_vt json_vt = {
    .struct_size = sizeof(co_dataset_vt),
    .suffixes = json_suffixes,
    .open = json_open,
    .close = json_file_close,
    .count = json_file_count,
    .read = json_file_read,
    .clone = json_file_clone,
    .fingerprints = json_file_fingerprints,
};
static const co_feature json_feature = {
    .struct_size = sizeof(co_feature),
    .kind = CO_KIND_DATASET,
    .name = "json",
    .summary = "one JSON array of objects; JSON Lines in a .json file too",
    .opts_size = sizeof(co_dataset_common),
    .vt = &json_vt,
};
static const co_feature *const json_features[] = { &json_feature, NULL };
static const co_plugin json_plugin = {
    .magic = CO_MAGIC_INIT(0),
    .struct_size = sizeof(co_plugin),
    .name = "json",
    .vendor = "coati",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .features = json_features,
};
CO_PLUGIN(json_plugin);
