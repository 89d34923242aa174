/* tokenizer.c: garbage from each function of a tokenizer. */
#include "garbage.h"
#include GUIDE_BLOCK

static int g_open(const co_host *h, const void *o, void **self)
{
    *self = (void *)16;
    CODE("open");
    return my_open(h, o, self);
}
static int g_vocab(void *self, int64_t *n)
{
    CODE("n_vocab");
    const int r = my_vocab(self, n);
    if (garbage("n_vocab:none")) *n = 0;
    if (garbage("n_vocab:negative")) *n = -1;
    if (garbage("n_vocab:huge")) *n = INT64_MAX;
    if (garbage("n_vocab:more")) *n = 100000;
    return r;
}
static int g_encode(void *self, const char *s, size_t len, co_arena *a, int32_t **ids, size_t *n)
{
    CODE("encode");
    const int r = my_encode(self, s, len, a, ids, n);
    if (r) return r;
    if (garbage("encode:null")) *ids = NULL;
    if (garbage("encode:many")) *n = SIZE_MAX / 8;
    if (garbage("encode:negative") && *n) (*ids)[0] = -5;
    if (garbage("encode:huge") && *n) (*ids)[*n - 1] = INT32_MAX;
    return CO_OK;
}
static int g_decode(void *self, const int32_t *ids, size_t n, int continuation, co_arena *a, char **s, size_t *len)
{
    CODE("decode");
    const int r = my_decode(self, ids, n, continuation, a, s, len);
    if (garbage("decode:null")) *s = NULL, *len = 5;
    if (garbage("decode:long")) *len = SIZE_MAX / 4;
    return r;
}
static int32_t g_special(void *self, const char *role) { return garbage("special:huge") ? INT32_MAX : my_special(self, role); }
static const co_tokenizer_vt vt = {.struct_size = sizeof vt, .files = files, .open = g_open, .close = my_close, .n_vocab = g_vocab, .encode = g_encode,
                                   .decode = g_decode, .special = g_special};
GARBAGE_PLUGIN(CO_KIND_TOKENIZER, "my_bytes", opts, my_opts, vt);
