/* plugin.c: tokenizer "bpe": tokenizer.json, or vocab.json with merges.txt. */
#include <coati/plugin.h>
#include <coati/tokenizer.h>
#include "tokenizer.h"

typedef struct options {
    co_tokenizer_common common;
} options;

static int open_files(const co_host *h, const void *opts, void **self)
{
    const options *o = opts;
    bpe_tokenizer *t;
    if (!o || !o->common.path || !*o->common.path)
        return CO_FAIL(h, CO_E_CONFIG, "[tokenizer] path is missing: the model's directory, or a tokenizer.json or vocab.json file");
    int rc = bpe_tokenizer_open(h, o->common.path, &t);
    if (rc == CO_OK) *self = t;
    return rc;
}

static void close_tokenizer(void *self) { bpe_tokenizer_close(self); }

static int n_vocab(void *self, int64_t *n)
{
    *n = ((const bpe_tokenizer *)self)->pieces.n;
    return CO_OK;
}

static int hand_over(bpe_tokenizer *t, bpe_words *w, co_arena *a, int32_t **ids, size_t *n)
{
    *ids = t->host->arena_push(a, (w->n_ids + 1) * sizeof **ids, sizeof **ids);
    *n = w->n_ids;
    if (*ids && *n) memcpy(*ids, w->ids, *n * sizeof **ids);
    bpe_tokenizer_give_back(t, w);
    return *ids ? CO_OK : CO_E_NOMEM;
}

static int encode(void *self, const char *utf8, size_t len, co_arena *a, int32_t **ids, size_t *n)
{
    bpe_words *w;
    int rc = bpe_tokenizer_encode(self, utf8, len, &w);
    return rc ? rc : hand_over(self, w, a, ids, n);
}

static int encode_marked(void *self, const char *utf8, size_t len, const co_text_mark *marks, size_t n_marks, co_arena *a, int32_t **ids, size_t *n)
{
    bpe_words *w;
    int rc = bpe_tokenizer_encode_marked(self, utf8, len, marks, n_marks, &w);
    return rc ? rc : hand_over(self, w, a, ids, n);
}

static int32_t token(void *self, const char *text, size_t len) { return bpe_added_special(&((const bpe_tokenizer *)self)->added, text, len); }

static int decode(void *self, const int32_t *ids, size_t n, int continuation, co_arena *a, char **utf8, size_t *len)
{
    const bpe_tokenizer *t = self;
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= t->pieces.n)
            return CO_FAIL(t->host, CO_E_INVALID, "token id %d: the tokenizer has %u", ids[i], t->pieces.n);
    char *out = t->host->arena_push(a, bpe_pieces_room(&t->pieces, ids, n) + 1, 1);
    if (!out) return CO_E_NOMEM;
    *len = bpe_pieces_join(&t->pieces, ids, n, continuation, out);
    out[*len] = 0;
    *utf8 = out;
    return CO_OK;
}

static int32_t special(void *self, const char *role)
{
    const bpe_tokenizer *t = self;
    const struct { const char *role; int32_t id; } roles[] = {
        {"bos", t->roles.bos}, {"eos", t->roles.eos}, {"unk", t->roles.unk}, {"pad", t->roles.pad},
        {"before", t->around.before}, {"after", t->around.after}};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (strcmp(role, roles[i].role) == 0) return roles[i].id;
    return -1;
}

static const char *const files[] = {"tokenizer.json", "vocab.json", NULL};
static const co_tokenizer_vt table = {sizeof table, files, open_files, close_tokenizer, n_vocab, encode, decode, special, encode_marked, token};
static const co_opt option_table[] = {
    {"path", CO_OPT_PATH, offsetof(options, common.path), 0, "", 0, 0, NULL,
     "The model's directory, or a tokenizer.json or vocab.json file; default: [model] path."},
    CO_OPT_END};
static const co_feature feature = {sizeof feature, CO_KIND_TOKENIZER, "bpe", "byte pair encoding: tokenizer.json, or vocab.json and merges.txt",
                                   option_table, sizeof(options), NULL, &table};
static const co_feature *const features[] = {&feature, NULL};
static const co_plugin plugin = {CO_MAGIC_INIT(0), sizeof plugin, "bpe", "coati", "0.1.0", "Apache-2.0", "", features, NULL, NULL};
CO_PLUGIN(plugin);
