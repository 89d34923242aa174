/* text.c: plugin "text". */
#include "file.h"
#include <coati/plugin.h>
#include <stddef.h>

static const co_opt text_rows[] = {
    { "records", CO_OPT_ENUM, offsetof(text_opts, records), 0, "file", 0, 0, text_forms, "text: what a record is: the file, a line, or a paragraph (lines up to a blank one)" },
    { "record_bytes", CO_OPT_BYTES, offsetof(text_opts, record_bytes), 0, "1MiB", 16, 1 << 30, NULL, "text: a longer record is cut in two, after a line where it has one, else between characters" },
    CO_OPT_END,
};
static const char *const text_suffixes[] = { ".txt", ".text", ".txt.gz", ".txt.zst", ".text.gz", ".text.zst", NULL };
static const co_dataset_vt text_vt = {
    .struct_size = sizeof(co_dataset_vt),
    .suffixes = text_suffixes,
    .open = text_file_open,
    .close = text_file_close,
    .count = text_file_count,
    .read = text_file_read,
    .clone = text_file_clone,
    .fingerprints = text_file_fingerprints,
};
static const co_feature text_feature = {
    .struct_size = sizeof(co_feature),
    .kind = CO_KIND_DATASET,
    .name = "text",
    .summary = "plain text: a record a file, a line or a paragraph",
    .opts = text_rows,
    .opts_size = sizeof(text_opts),
    .vt = &text_vt,
};
static const co_feature *const text_features[] = { &text_feature, NULL };
static const co_plugin text_plugin = {
    .magic = CO_MAGIC_INIT(0),
    .struct_size = sizeof(co_plugin),
    .name = "text",
    .vendor = "coati",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .features = text_features,
};
CO_PLUGIN(text_plugin);
