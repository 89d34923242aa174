#include "beside.h"
#include "bpe/tokenizer.h"

struct beside {
    bpe_tokenizer t; /* its vocabulary is the pieces; it encodes nothing */
    int32_t n_pieces, n_vocab;
    int32_t roles[4];
    int adds[2];
    char *copies; /* the tokens' texts; those of `t` end with the files */
    bpe_token *texts; /* [n_vocab - n_pieces] in copies */
};

static const char *const roles[] = {"bos", "eos", "unk", "pad"};

static int read_pieces(beside *b, const char *(*piece)(void *ctx, int32_t id, size_t *len), void *ctx)
{
    size_t bytes = 256, len, longest = 0;
    for (int32_t id = 0; id < b->n_pieces; id++) {
        (void)piece(ctx, id, &len);
        bytes += len;
        if (len > longest) longest = len;
    }
    int rc = bpe_vocab_open(b->t.host, &b->t.model.vocab, (uint32_t)b->n_pieces, (uint32_t)b->n_pieces, bytes + 2 * longest, 0);
    for (int32_t id = 0; rc == CO_OK && id < b->n_pieces; id++) {
        const char *text = piece(ctx, id, &len);
        (void)bpe_vocab_add(&b->t.model.vocab, text, len, (uint32_t)id); /* the library lets no piece come twice */
    }
    return rc;
}

/* What the files say of roles; "usual names" are the caller's business. */
static int read_roles(beside *b, const bpe_beside *files)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "pad_token"}, *const adds[] = {"add_bos_token", "add_eos_token"};
    int rc = CO_OK;
    for (int i = 0; i < 4; i++) b->roles[i] = bpe_role_said(&b->t, files, keys[i]);
    for (int i = 0; rc == CO_OK && i < 2; i++) {
        bpe_at root, at;
        b->adds[i] = -1;
        if (!files->config) continue;
        root = bpe_root(files->config);
        if (bpe_member(&root, adds[i], &at)) rc = bpe_get_bool(&root, adds[i], 0, &b->adds[i]);
    }
    return rc;
}

/* Tokens beyond the pieces are looked for in texts; pieces are not, whatever the files call them: the library would not. */
static int watch(beside *b)
{
    bpe_added *a = &b->t.added;
    size_t bytes = 0, at = 0;
    int rc = CO_OK;
    b->n_vocab = b->n_pieces;
    for (size_t i = 0; i < a->n; i++) {
        bytes += a->tokens[i].len;
        if ((int32_t)a->tokens[i].id >= b->n_vocab) b->n_vocab = (int32_t)a->tokens[i].id + 1;
    }
    b->copies = b->t.host->alloc(b->t.host, bytes + 1, 1);
    b->texts = b->t.host->alloc(b->t.host, (size_t)(b->n_vocab - b->n_pieces + 1) * sizeof *b->texts, 16);
    if (!b->copies || !b->texts) return CO_E_NOMEM;
    for (size_t i = 0; rc == CO_OK && i < a->n; i++) {
        const bpe_added_token *t = &a->tokens[i];
        if ((int32_t)t->id < b->n_pieces) {
            a->tokens[i].special = 0; /* the library's to know */
            continue;
        }
        if (!t->special) {
            memcpy(b->copies + at, t->text, t->len);
            b->texts[t->id - (uint32_t)b->n_pieces] = (bpe_token){(uint32_t)at, (uint32_t)t->len};
            at += t->len;
        }
        rc = bpe_added_watch(b->t.host, a, 0, t->text, t->len, i);
        if (rc == CO_OK) rc = bpe_added_keep(b->t.host, a, i);
    }
    return rc;
}

int beside_open(const co_host *h, const char *dir, int32_t n_pieces, const char *(*piece)(void *ctx, int32_t id, size_t *len), void *ctx,
                beside **out)
{
    bpe_file files[BPE_BESIDE_FILES];
    bpe_beside read;
    beside *b = h->alloc(h, sizeof *b, 64);
    if (!b) return CO_E_NOMEM;
    b->t.host = h;
    b->n_pieces = n_pieces;
    int rc = bpe_read_beside(h, dir, files, &read);
    if (rc == CO_OK) rc = bpe_unicode_open(h, &b->t.unicode);
    if (rc == CO_OK) rc = read_pieces(b, piece, ctx);
    if (rc == CO_OK) rc = bpe_add_beside(&b->t, &read, 0);
    if (rc == CO_OK) rc = read_roles(b, &read);
    if (rc == CO_OK) rc = watch(b);
    bpe_free_beside(h, files);
    bpe_vocab_close(&b->t.model.vocab);
    if (rc) beside_close(b);
    else *out = b;
    return rc;
}

void beside_close(beside *b)
{
    if (!b) return;
    const co_host *h = b->t.host;
    bpe_added_close(h, &b->t.added);
    bpe_unicode_close(h, &b->t.unicode);
    bpe_vocab_close(&b->t.model.vocab);
    h->free(h, b->copies);
    h->free(h, b->texts);
    h->free(h, b);
}

int32_t beside_n_vocab(const beside *b) { return b->n_vocab; }

int32_t beside_role(const beside *b, const char *role)
{
    for (int i = 0; i < 4; i++)
        if (strcmp(roles[i], role) == 0) return b->roles[i];
    return -2;
}

int beside_adds(const beside *b, const char *role) { return b->adds[strcmp(role, "eos") == 0]; }

const char *beside_text(const beside *b, int32_t id, size_t *len)
{
    const bpe_token *t = &b->texts[id - b->n_pieces];
    *len = t->len;
    return b->copies + t->at;
}

int32_t beside_special(const beside *b, const char *text, size_t len) { return bpe_added_special(&b->t.added, text, len); }

int beside_next(const beside *b, const char *text, size_t len, beside_scan *s)
{
    bpe_added_scan scan = {.at = s->state[0], .covered = s->state[1], .no_special = s->no_special};
    const int more = bpe_added_next(&b->t.added, &b->t.added.plain, &b->t.unicode, text, len, &scan);
    s->state[0] = scan.at;
    s->state[1] = scan.covered;
    s->gap_at = scan.gap_at;
    s->gap_len = scan.gap_len;
    if (more) s->id = (int32_t)scan.token->id;
    return more;
}
