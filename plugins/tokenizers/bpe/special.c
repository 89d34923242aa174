/* special.c: tokens beyond the model's, and the roles of some, as told by tokenizer.json and the files beside it. A
 * class name never decides anything here. */
#include <stdlib.h>
#include "tokenizer.h"

static uint32_t find(const bpe_tokenizer *t, const char *text, size_t len)
{
    const bpe_added_token *a = bpe_added_find(&t->added, text, len);
    return a ? a->id : bpe_vocab_find_text(&t->model.vocab, text, len);
}

static int is_taken(const bpe_tokenizer *t, uint32_t id)
{
    if (id < t->model.vocab.n_ids && t->model.vocab.state[id] != BPE_ABSENT) return 1;
    for (size_t i = 0; i < t->added.n; i++)
        if (t->added.tokens[i].id == id) return 1;
    return 0;
}

int bpe_read_flags(const bpe_at *a, bpe_added_token *out)
{
    int rc = bpe_get_bool(a, "single_word", 0, &out->single_word);
    if (rc == CO_OK) rc = bpe_get_bool(a, "lstrip", 0, &out->lstrip);
    if (rc == CO_OK) rc = bpe_get_bool(a, "rstrip", 0, &out->rstrip);
    if (rc == CO_OK) rc = bpe_get_bool(a, "special", 0, &out->special);
    return rc ? rc : bpe_get_bool(a, "normalized", !out->special, &out->normalized);
}

int bpe_add_token(bpe_tokenizer *t, const bpe_at *a, bpe_added_token *token, uint32_t says)
{
    if (token->len == 0) return CO_OK; /* never found in a text */
    token->id = find(t, token->text, token->len);
    if (token->id == BPE_NO_ID) {
        token->id = t->model.vocab.n_tokens;
        for (size_t i = 0; i < t->added.n; i++)
            if (t->added.tokens[i].id >= token->id) token->id = t->added.tokens[i].id + 1;
    }
    if (token->id == says) return bpe_added_put(t->host, &t->added, token);
    return bpe_refuse(a, CO_E_FORMAT, "\"%.60s\" has id %u here; by the tokens before it, it is %u", token->text, says, token->id);
}

typedef struct found {
    bpe_at at;
    bpe_added_token token;
    uint32_t says;
} found;

static int ascending(const void *a, const void *b)
{
    const found *x = a, *y = b;
    return (x->says > y->says) - (x->says < y->says);
}

/* added_tokens_decoder: {"128000": {"content": …}, …}; added_tokens.json: {"<pad>": 32000, …} */
static int read_found(bpe_tokenizer *t, const bpe_at *list, int by_id, found *out)
{
    static const char *const keys[] = {"content", "lstrip", "normalized", "rstrip", "single_word", "special", "__type", NULL};
    const bpe_doc *d = list->doc;
    uint32_t node = list->node + 1;
    int rc = CO_OK;
    for (uint32_t i = 0; rc == CO_OK && i < bpe_node_of(list)->len; i++, node = d->nodes[node + 1].next) {
        const char *key = bpe_text_of(d, &d->nodes[node]);
        found *f = &out[i];
        *f = (found){.at = {d, node + 1, list, key, 0}, .token = {.text = key, .len = d->nodes[node].len}};
        if (by_id) {
            char *end;
            const unsigned long id = strtoul(key, &end, 10);
            if (*key < '0' || *key > '9' || *end) return bpe_refuse(&f->at, CO_E_FORMAT, "the key must be an id");
            f->says = id > UINT32_MAX ? UINT32_MAX : (uint32_t)id;
            rc = bpe_keys(&f->at, keys);
            if (rc == CO_OK) rc = bpe_need_string(&f->at, "content", &f->token.text, &f->token.len);
            if (rc == CO_OK) rc = bpe_read_flags(&f->at, &f->token);
        } else {
            rc = bpe_uint(&f->at, UINT32_MAX - 1, &f->says);
        }
        if (rc == CO_OK && f->says > 8 * t->model.vocab.n_ids + 65536) rc = bpe_refuse(&f->at, CO_E_FORMAT, "id %u is far beyond the vocabulary", f->says);
    }
    return rc;
}

/* Tokens of these files keep the ids they say: that is what the model was trained with. */
static int add_list(bpe_tokenizer *t, const bpe_at *list, int by_id)
{
    const uint32_t n = bpe_node_of(list)->len;
    int rc = bpe_want(list, BPE_OBJECT);
    found *all = rc == CO_OK ? t->host->alloc(t->host, ((size_t)n + 1) * sizeof *all, 16) : NULL;
    if (rc == CO_OK && !all) rc = CO_E_NOMEM;
    if (rc == CO_OK) rc = read_found(t, list, by_id, all);
    if (rc == CO_OK) qsort(all, n, sizeof *all, ascending);
    for (uint32_t i = 0; rc == CO_OK && i < n; i++) {
        found *f = &all[i];
        if (f->token.len == 0 || bpe_added_find(&t->added, f->token.text, f->token.len)) continue;
        f->token.id = bpe_vocab_find_text(&t->model.vocab, f->token.text, f->token.len);
        if (f->token.id == BPE_NO_ID && !is_taken(t, f->says)) f->token.id = f->says;
        if (f->token.id != f->says) rc = bpe_refuse(&f->at, CO_E_FORMAT, "\"%.60s\" and id %u do not belong together in this vocabulary", f->token.text, f->says);
        else rc = bpe_added_put(t->host, &t->added, &f->token);
    }
    t->host->free(t->host, all);
    return rc;
}

/* The text of a token given as a string or as an object; 0: there is none (null and absent alike). */
static int text_of_role(const bpe_doc *d, const char *key, const char **text, size_t *len)
{
    bpe_at root, at;
    if (!d) return 0;
    root = bpe_root(d);
    if (!bpe_member(&root, key, &at)) return 0;
    if (bpe_kind_of(&at) == BPE_STRING) {
        *text = bpe_text_of(d, bpe_node_of(&at));
        *len = bpe_node_of(&at)->len;
        return 1;
    }
    bpe_at content;
    if (!bpe_member(&at, "content", &content) || bpe_kind_of(&content) != BPE_STRING) return 0;
    *text = bpe_text_of(d, bpe_node_of(&content));
    *len = bpe_node_of(&content)->len;
    return 1;
}

/* Whether the key stands there at all, null or not. */
static int mentions(const bpe_doc *d, const char *key)
{
    const size_t len = strlen(key);
    uint32_t node = 1;
    if (!d || d->nodes[0].kind != BPE_OBJECT) return 0;
    for (uint32_t i = 0; i < d->nodes[0].len; i++, node = d->nodes[node + 1].next)
        if (d->nodes[node].len == len && memcmp(bpe_text_of(d, &d->nodes[node]), key, len) == 0) return 1;
    return 0;
}

static const char *const role_keys[] = {"bos_token", "eos_token", "unk_token", "pad_token"};

int bpe_add_beside(bpe_tokenizer *t, const bpe_beside *b, int roles)
{
    bpe_at root, list;
    int rc = CO_OK;
    if (b->config) {
        root = bpe_root(b->config);
        if (bpe_member(&root, "added_tokens_decoder", &list)) rc = add_list(t, &list, 1);
    }
    if (rc == CO_OK && b->added) {
        root = bpe_root(b->added);
        rc = add_list(t, &root, 0);
    }
    for (size_t i = 0; rc == CO_OK && roles && i < 4; i++) {
        bpe_added_token token = {.special = 1};
        if (!text_of_role(b->config, role_keys[i], &token.text, &token.len) && !text_of_role(b->map, role_keys[i], &token.text, &token.len)) {
            if (mentions(b->config, role_keys[i]) || mentions(b->map, role_keys[i])) continue;
            token.text = "<|endoftext|>"; /* what GPT-2's files leave unsaid */
            token.len = 13;
        }
        token.id = bpe_vocab_find_text(&t->model.vocab, token.text, token.len);
        if (token.id != BPE_NO_ID && !bpe_added_find(&t->added, token.text, token.len)) rc = bpe_added_put(t->host, &t->added, &token);
    }
    return rc;
}

/* The usual names of a role, where no file says. */
static int32_t usual(const bpe_tokenizer *t, const char *const *names)
{
    for (; *names; names++) {
        const uint32_t id = find(t, *names, strlen(*names));
        if (id != BPE_NO_ID) return (int32_t)id;
    }
    return -1;
}

int32_t bpe_role_said(const bpe_tokenizer *t, const bpe_beside *b, const char *key)
{
    const char *text;
    size_t len;
    if (!text_of_role(b->config, key, &text, &len) && !text_of_role(b->map, key, &text, &len))
        return mentions(b->config, key) || mentions(b->map, key) ? -1 : -2;
    const uint32_t id = find(t, text, len);
    return id == BPE_NO_ID ? -1 : (int32_t)id;
}

int bpe_read_roles(bpe_tokenizer *t, const bpe_beside *b)
{
    static const char *const bos[] = {"<s>", "<|begin_of_text|>", "<|endoftext|>", NULL}, *const eos[] = {"</s>", "<|end_of_text|>", "<|endoftext|>", NULL},
                      *const unk[] = {"<unk>", NULL}, *const pad[] = {"<pad>", NULL}, *const *const names[] = {bos, eos, unk, pad};
    int32_t *const roles[] = {&t->roles.bos, &t->roles.eos, &t->roles.unk, &t->roles.pad};
    const int32_t known[] = {t->around.before, t->around.after, t->model.unk == BPE_NO_ID ? -1 : (int32_t)t->model.unk, -1};
    int rc = CO_OK, add;
    for (int i = 0; i < 4; i++) {
        *roles[i] = bpe_role_said(t, b, role_keys[i]);
        if (*roles[i] < 0 && known[i] >= 0) *roles[i] = known[i];
        if (*roles[i] == -2) *roles[i] = usual(t, names[i]);
    }
    bpe_at root;
    if (!b->config || t->around.said) return CO_OK; /* a post-processor knows best, as with tokenizers */
    root = bpe_root(b->config);
    rc = bpe_get_bool(&root, "add_bos_token", t->around.before >= 0, &add);
    if (rc == CO_OK && add != (t->around.before >= 0)) t->around.before = add ? t->roles.bos : -1;
    if (rc == CO_OK) rc = bpe_get_bool(&root, "add_eos_token", t->around.after >= 0, &add);
    if (rc == CO_OK && add != (t->around.after >= 0)) t->around.after = add ? t->roles.eos : -1;
    return rc;
}
