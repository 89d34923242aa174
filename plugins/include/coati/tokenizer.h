/* tokenizer.h: text to ids and back. */
#ifndef COATI_TOKENIZER_H
#define COATI_TOKENIZER_H
#include "host.h"

/* Every tokenizer's options struct starts with this. */
typedef struct co_tokenizer_common {
    const char *path; /* the model's directory, or one file */
} co_tokenizer_common;

/* A stretch of a text that is one token, whatever is written there; len may be 0. */
typedef struct co_text_mark {
    size_t at, len; /* bytes */
    int32_t id;
    uint32_t pad;
    uint64_t reserved;
} co_text_mark;

typedef struct co_tokenizer_vt {
    uint32_t struct_size;
    /* Files it can read, best first, NULL-terminated ("tokenizer.model"), for name = auto. */
    const char *const *files;
    int (*open)(const co_host *h, const void *opts, void **self);
    void (*close)(void *self);
    int (*n_vocab)(void *self, int64_t *n);
    /* [any] No BOS or EOS is added. Bytes that are not UTF-8 are no error: they become U+FFFD, or what the format's own
     * library makes of them. */
    int (*encode)(void *self, const char *utf8, size_t len, co_arena *a, int32_t **ids, size_t *n);
    /* [any] Exact text of the ids, special tokens left out: bytes, which need not be whole characters if the ids are
     * not. With `continuation` the first id follows earlier ones (no leading space is dropped), for streaming. */
    int (*decode)(void *self, const int32_t *ids, size_t n, int continuation, co_arena *a, char **utf8,
                  size_t *len);
    /* The id with a role, <0: none. "bos", "eos", "unk", "pad"; "before" and "after": what the files put around each text
     * (BOS and EOS, or nothing though there is a BOS, as with GPT-2). */
    int32_t (*special)(void *self, const char *role);
    /* [any] Optional. As encode, but special tokens stand at the marks (in order, not overlapping) and nowhere else: text
     * that merely spells one is text. Without it the host encodes what lies between marks, and such text is what `encode`
     * makes of it. */
    int (*encode_marked)(void *self, const char *utf8, size_t len, const co_text_mark *marks, size_t n_marks, co_arena *a,
                         int32_t **ids, size_t *n);
    /* [any] Optional. The id of the special token that is written as `text`; <0: none is. */
    int32_t (*token)(void *self, const char *text, size_t len);
} co_tokenizer_vt;
#endif
