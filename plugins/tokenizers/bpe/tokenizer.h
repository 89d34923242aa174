/* tokenizer.h: all parts of one tokenizer together. Made by the readers, then only read, by any number of threads; what
 * an encoding works with comes from a pool. */
#ifndef TOKENIZERS_BPE_TOKENIZER_H
#define TOKENIZERS_BPE_TOKENIZER_H
#include <pthread.h>
#include <coati/tokenizer.h>
#include "added.h"
#include "around.h"
#include "model.h"
#include "normal.h"
#include "pieces.h"
#include "steps.h"

typedef struct bpe_roles {
    int32_t bos, eos, unk, pad; /* ids; -1: none */
} bpe_roles;

typedef struct bpe_tokenizer {
    const co_host *host;
    bpe_unicode unicode;
    bpe_added added;
    bpe_normal normal;
    bpe_steps steps;
    bpe_model model;
    bpe_pieces pieces;
    bpe_around around;
    bpe_roles roles;
    char *prefix, *suffix; /* the model's */
    pthread_mutex_t lock;
    bpe_words *idle; /* those not in use; there are never more than threads that encoded at once */
} bpe_tokenizer;

/* `path`: a model's directory, or a tokenizer.json or vocab.json in one. Files beside it that name special tokens
 * (tokenizer_config.json, special_tokens_map.json, added_tokens.json) are read too. */
int bpe_tokenizer_open(const co_host *h, const char *path, bpe_tokenizer **out);
void bpe_tokenizer_close(bpe_tokenizer *t);
/* The ids of a text, in w, which is to be given back. Damaged UTF-8 is read as U+FFFD (see bpe_utf8_damage). */
int bpe_tokenizer_encode(bpe_tokenizer *t, const char *text, size_t len, bpe_words **w);
/* The same with special tokens at the marks alone (co_tokenizer_vt.encode_marked). White space beside a mark goes where the
 * token says so (lstrip, rstrip). */
int bpe_tokenizer_encode_marked(bpe_tokenizer *t, const char *text, size_t len, const co_text_mark *marks, size_t n_marks, bpe_words **w);
void bpe_tokenizer_give_back(bpe_tokenizer *t, bpe_words *w);

/* Parts of opening, each in its own file. */
int bpe_read_model(bpe_tokenizer *t, const bpe_at *model);
/* vocab.json and the text of merges.txt; the steps are there already. */
int bpe_read_vocab_files(bpe_tokenizer *t, const bpe_doc *vocab, const char *merges_name, const char *merges, size_t merges_len);
/* Adds a token of added_tokens. Its id follows from what is there: its own if the model has it, else the next free one;
 * `says`, what the file says at `a`, must agree. */
int bpe_add_token(bpe_tokenizer *t, const bpe_at *a, bpe_added_token *token, uint32_t says);
/* The flags of an added token, keys of the object `a`. */
int bpe_read_flags(const bpe_at *a, bpe_added_token *out);
/* The files beside; NULL where they are missing. */
typedef struct bpe_beside {
    const bpe_doc *config, *map, *added; /* tokenizer_config.json, special_tokens_map.json, added_tokens.json */
} bpe_beside;
typedef struct bpe_file {
    char *path, *text;
    size_t len;
    bpe_doc doc;
} bpe_file;
enum { BPE_BESIDE_FILES = 3 };
/* Reads those that are in `dir`; the documents live until bpe_free_beside, which is to be called even after an error. */
int bpe_read_beside(const co_host *h, const char *dir, bpe_file f[BPE_BESIDE_FILES], bpe_beside *out);
void bpe_free_beside(const co_host *h, bpe_file f[BPE_BESIDE_FILES]);
/* Adds the tokens they name that are not added yet; with `roles`, those that only have a role too. */
int bpe_add_beside(bpe_tokenizer *t, const bpe_beside *b, int roles);
int bpe_read_tokenizer_json(bpe_tokenizer *t, const bpe_doc *d, const bpe_beside *beside);
/* The id of the token that the files give this role ("bos_token"); -1: none; -2: they do not speak of it. */
int32_t bpe_role_said(const bpe_tokenizer *t, const bpe_beside *b, const char *key);
/* Which tokens have a role, and whether BOS and EOS stand around a text. */
int bpe_read_roles(bpe_tokenizer *t, const bpe_beside *b);
/* Once all tokens are there: what depends on them. */
int bpe_finish(bpe_tokenizer *t, const bpe_at *decoder);
#endif
