/* safetensors.h: the tensor file format of the ecosystem: 8 bytes little-endian header length, a JSON header,
 * raw data. Reading maps the file; nothing is copied. Every claim of a header is checked against the file. */
#ifndef CORE_PARAMS_SAFETENSORS_H
#define CORE_PARAMS_SAFETENSORS_H
#include <coati/types.h>

typedef struct st_tensor {
    const char *name;
    const void *data; /* in the map; alignment is whatever the file gives */
    int64_t ne[8];    /* as in the file, slowest first */
    uint32_t ndim;
    uint32_t dtype;   /* co_dtype; UINT32_MAX: one we do not compute in, see dtype_name */
    char dtype_name[8];
    size_t bytes;
    const char *file; /* path, for messages */
} st_tensor;

typedef struct st_set st_set; /* one file, or all shards of an index */

int st_open_file(const char *path, st_set **out);
/* model.safetensors, or model.safetensors.index.json and its shards. pytorch_model.bin alone is refused with
 * advice. CO_E_FORMAT (exit 3) names file, tensor and byte. */
int st_open_dir(const char *dir, st_set **out);
void st_close(st_set *s);
size_t st_count(const st_set *s);
const st_tensor *st_at(const st_set *s, size_t i);               /* in file order */
const st_tensor *st_find(const st_set *s, const char *name);     /* NULL if absent */
co_dtype st_main_dtype(const st_set *s); /* fp32, bf16 or fp16: the type that most of the weights are stored in */
const char *st_metadata(const st_set *s, const char *key);       /* __metadata__ of the first file, or NULL */
/* Elements [first, first+n) as fp32 (F32, F16, BF16, F64 stored). */
int st_read_f32(const st_tensor *t, int64_t first, int64_t n, float *out);

/* Writing: sizes are declared first, data follows in order, in pieces; durable (fsync) on finish. */
typedef struct st_writer st_writer;
int st_write_begin(const char *path, st_writer **out);
int st_write_meta(st_writer *w, const char *key, const char *value);
int st_write_declare(st_writer *w, const char *name, co_dtype t, uint32_t ndim, const int64_t *ne);
int st_write_data(st_writer *w, const void *data, size_t bytes); /* next bytes, in declaration order */
/* Or in any order, by several processes at once, each with a writer of its own and the same declarations: one begins the file and
 * places it (header written, full length), then the others join it and place theirs (the header is compared), and all write. */
int st_write_join(const char *path, st_writer **out);
int st_write_place(st_writer *w);
int st_write_at(st_writer *w, size_t tensor, uint64_t byte, const void *data, size_t bytes); /* tensor: in declaration order */
int st_write_finish(st_writer *w); /* frees w in every case; short data is CO_E_STATE (not of a placed file) */
void st_write_abort(st_writer *w); /* removes the file */
#endif
