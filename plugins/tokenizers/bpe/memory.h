/* memory.h: growing arrays over the host's allocator, which knows no realloc. */
#ifndef TOKENIZERS_BPE_MEMORY_H
#define TOKENIZERS_BPE_MEMORY_H
#include <coati/host.h>

typedef struct bpe_bytes {
    char *data;
    size_t len, cap;
} bpe_bytes;

/* Room for `need` elements in *p, whose capacity is *cap elements; what was there stays. CO_OK or CO_E_NOMEM. */
int bpe_grow(const co_host *h, void *p, size_t *cap, size_t need, size_t element);
int bpe_bytes_reserve(const co_host *h, bpe_bytes *b, size_t more); /* room for `more` bytes after len */
int bpe_bytes_add(const co_host *h, bpe_bytes *b, const char *data, size_t len);
void bpe_bytes_free(const co_host *h, bpe_bytes *b);
/* The whole of a file. CO_E_FORMAT names a file that cannot be opened or is longer than `most`, CO_E_IO a failed read. */
int bpe_read_file(const co_host *h, const char *path, size_t most, char **data, size_t *len);
/* "dir/name" from the host's allocator; NULL when out of memory. */
char *bpe_join(const co_host *h, const char *dir, const char *name);
#endif
