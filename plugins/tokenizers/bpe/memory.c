#include "memory.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int bpe_grow(const co_host *h, void *p, size_t *cap, size_t need, size_t element)
{
    void *old, *grown;
    size_t n = *cap;
    if (need <= *cap) return CO_OK;
    if (n < 16) n = 16;
    while (n < need) n += n / 2 + 16;
    if (n > SIZE_MAX / element) return CO_FAIL(h, CO_E_NOMEM, "tokenizer: %zu elements of %zu bytes do not fit in memory", n, element);
    grown = h->alloc(h, n * element, 16);
    if (!grown) return CO_E_NOMEM;
    memcpy(&old, p, sizeof old);
    if (old) memcpy(grown, old, *cap * element);
    h->free(h, old);
    memcpy(p, &grown, sizeof grown);
    *cap = n;
    return CO_OK;
}

int bpe_bytes_reserve(const co_host *h, bpe_bytes *b, size_t more)
{
    return bpe_grow(h, &b->data, &b->cap, b->len + more, 1);
}

int bpe_bytes_add(const co_host *h, bpe_bytes *b, const char *data, size_t len)
{
    int rc = bpe_bytes_reserve(h, b, len);
    if (rc) return rc;
    if (len) memcpy(b->data + b->len, data, len);
    b->len += len;
    return CO_OK;
}

void bpe_bytes_free(const co_host *h, bpe_bytes *b)
{
    h->free(h, b->data);
    *b = (bpe_bytes){0};
}

int bpe_read_file(const co_host *h, const char *path, size_t most, char **data, size_t *len)
{
    struct stat st;
    int rc = CO_OK;
    FILE *f = fopen(path, "rb");
    if (!f) return CO_FAIL(h, CO_E_FORMAT, "%s: cannot be opened: %s", path, strerror(errno));
    *data = NULL;
    if (fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode)) rc = CO_FAIL(h, CO_E_FORMAT, "%s: not a file", path);
    else if ((uint64_t)st.st_size > most)
        rc = CO_FAIL(h, CO_E_FORMAT, "%s: %lld bytes; a tokenizer file has at most %zu", path, (long long)st.st_size, most);
    if (rc == CO_OK) {
        *data = h->alloc(h, (size_t)st.st_size + 1, 16);
        if (!*data) rc = CO_E_NOMEM;
    }
    if (rc == CO_OK) {
        *len = fread(*data, 1, (size_t)st.st_size, f);
        if (ferror(f)) rc = CO_FAIL(h, CO_E_IO, "%s: cannot be read: %s", path, strerror(errno));
    }
    fclose(f);
    if (rc) {
        h->free(h, *data);
        *data = NULL;
    }
    return rc;
}

char *bpe_join(const co_host *h, const char *dir, const char *name)
{
    const size_t n = strlen(dir), m = strlen(name);
    char *path = h->alloc(h, n + m + 2, 1);
    if (!path) return NULL;
    memcpy(path, dir, n);
    path[n] = '/';
    memcpy(path + n + 1, name, m + 1);
    return path;
}
