/* torch_private.h: inside of torch_file.h: the archive, and the pickle. */
#ifndef CORE_PARAMS_TORCH_PRIVATE_H
#define CORE_PARAMS_TORCH_PRIVATE_H
#include <coati/host.h>
#include "core/params/st_private.h"
#include "core/params/torch_file.h"

typedef struct zip_member { /* points into the archive */
    const char *name;       /* not NUL-terminated */
    size_t name_len;
    const uint8_t *data;
    size_t len;
} zip_member;
/* Members of an archive without compression, as torch.save writes it (ZIP with or without its 64-bit records). */
int zip_members(const char *path, const uint8_t *p, size_t n, co_arena *a, zip_member **out, size_t *count);

typedef struct torch_tensor { /* what the pickle says of one tensor */
    const char *name, *key;   /* key: of its storage, the member data/<key> */
    const char *dtype;        /* as safetensors calls it */
    int64_t stored, offset;   /* elements of the storage; first one of the tensor */
    uint32_t ndim;
    int64_t ne[8], stride[8];
} torch_tensor;
/* Calls `tensor` for each entry of the dict. Strings live in the arena. */
int torch_pickle(const char *path, const uint8_t *p, size_t n, co_arena *a, int (*tensor)(void *ctx, const torch_tensor *t), void *ctx);

/* Adds one file's tensors, given its bytes. */
int torch_parse(st_set *s, const char *path, const void *data, size_t len);
#endif
