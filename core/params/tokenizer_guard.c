/* tokenizer_guard.c: a tokenizer behind a table of our own that believes nothing: codes, counts and ids are looked at before
 * anybody uses them. [any], as the tokenizer's own functions. */
#include "core/params/tokenizer_guard.h"
#include "core/base/error.h"
#include "core/base/memory.h"

typedef struct guard {
    const co_tokenizer_vt *inner;
    void *self;
    int64_t n_vocab;
} guard;

static void guard_close(void *self)
{
    guard *g = self;
    g->inner->close(g->self);
    mem_free(g);
}

static int guard_vocab(void *self, int64_t *n)
{
    *n = ((const guard *)self)->n_vocab;
    return CO_OK;
}

/* No text has so many pieces: a character may become several when it is normalised, and each of its bytes an id. */
static size_t most_ids(size_t len) { return len < SIZE_MAX / 64 - 64 ? 64 * len + 64 : SIZE_MAX; }

static int check_ids(const guard *g, const char *what, size_t len, size_t most, const int32_t *ids, size_t n)
{
    if ((n && !ids) || n > most) return FAIL(CO_E_ABI, "the tokenizer's %s() gives %zu ids at %p for %zu bytes: the plugin is broken", what, n, (const void *)ids, len);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= g->n_vocab)
            return FAIL(CO_E_ABI, "the tokenizer's %s() gives id %d, its vocabulary has %lld: the plugin is broken", what, ids[i], (long long)g->n_vocab);
    return CO_OK;
}

static int guard_encode(void *self, const char *utf8, size_t len, co_arena *a, int32_t **ids, size_t *n)
{
    const guard *g = self;
    *ids = NULL;
    *n = 0;
    const int r = PLUGIN("the tokenizer's encode()", g->inner->encode(g->self, utf8, len, a, ids, n));
    return r ? r : check_ids(g, "encode", len, most_ids(len), *ids, *n);
}

static int guard_marked(void *self, const char *utf8, size_t len, const co_text_mark *marks, size_t n_marks, co_arena *a, int32_t **ids, size_t *n)
{
    const guard *g = self;
    *ids = NULL;
    *n = 0;
    const int r = PLUGIN("the tokenizer's encode_marked()", g->inner->encode_marked(g->self, utf8, len, marks, n_marks, a, ids, n));
    /* Each stretch between marks is a text of its own. */
    const size_t most = n_marks < SIZE_MAX / 128 - 128 && most_ids(len) < SIZE_MAX / 2 ? most_ids(len) + 65 * n_marks : SIZE_MAX;
    return r ? r : check_ids(g, "encode_marked", len, most, *ids, *n);
}

static int32_t guard_token(void *self, const char *text, size_t len)
{
    const guard *g = self;
    const int32_t id = CO_HAS(co_tokenizer_vt, g->inner, token) ? g->inner->token(g->self, text, len) : -1;
    return id >= 0 && id < g->n_vocab ? id : -1;
}

static int guard_decode(void *self, const int32_t *ids, size_t n, int continuation, co_arena *a, char **utf8, size_t *len)
{
    const guard *g = self;
    *utf8 = NULL;
    *len = 0;
    const int r = PLUGIN("the tokenizer's decode()", g->inner->decode(g->self, ids, n, continuation, a, utf8, len));
    if (r) return r;
    if ((*len && !*utf8) || *len > (n + 1) << 20)
        return FAIL(CO_E_ABI, "the tokenizer's decode() gives %zu bytes at %p for %zu ids: the plugin is broken", *len, (void *)*utf8, n);
    return CO_OK;
}

static int32_t guard_special(void *self, const char *role)
{
    const guard *g = self;
    return g->inner->special(g->self, role);
}

static const co_tokenizer_vt guarded = {.struct_size = sizeof guarded, .close = guard_close, .n_vocab = guard_vocab, .encode = guard_encode,
                                        .decode = guard_decode, .special = guard_special, .token = guard_token};
static const co_tokenizer_vt guarded_marked = {.struct_size = sizeof guarded_marked, .close = guard_close, .n_vocab = guard_vocab, .encode = guard_encode,
                                               .decode = guard_decode, .special = guard_special, .encode_marked = guard_marked, .token = guard_token};

int tokenizer_guard(const co_tokenizer_vt *inner, void *self, const co_tokenizer_vt **vt, void **out)
{
    static const char *const roles[] = {"bos", "eos", "unk", "pad", "before", "after"};
    guard *g = mem_calloc(1, sizeof *g);
    if (!g) return CO_E_NOMEM;
    *g = (guard){inner, self, 0};
    int r = PLUGIN("the tokenizer's n_vocab()", inner->n_vocab(self, &g->n_vocab));
    if (r == CO_OK && (g->n_vocab < 1 || g->n_vocab > INT32_MAX))
        r = FAIL(CO_E_ABI, "the tokenizer's n_vocab() says %lld: the plugin is broken", (long long)g->n_vocab);
    for (size_t i = 0; i < sizeof roles / sizeof *roles && r == CO_OK; i++) {
        const int32_t id = inner->special(self, roles[i]);
        if (id >= g->n_vocab)
            r = FAIL(CO_E_ABI, "the tokenizer's special(\"%s\") is %d, its vocabulary has %lld: the plugin is broken", roles[i], id, (long long)g->n_vocab);
    }
    if (r) mem_free(g);
    else *vt = CO_HAS(co_tokenizer_vt, inner, encode_marked) ? &guarded_marked : &guarded, *out = g;
    return r;
}
