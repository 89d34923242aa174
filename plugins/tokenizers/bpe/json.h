/* json.h: a JSON file as a flat array of nodes, made for files of megabytes with hundreds of thousands of strings: one
 * pass, strings unescaped where they lie, 16 bytes a node. Strict (RFC 8259; UTF-8 and surrogate pairs are checked; no
 * key may come twice in objects of settings, see bpe_keys).
 *
 * A bpe_at is a place in the file that knows its way from the root, so that whoever finds something wrong there can
 * name it: "tokenizer.json: pre_tokenizer.pretokenizers[1].behavior: …". */
#ifndef TOKENIZERS_BPE_JSON_H
#define TOKENIZERS_BPE_JSON_H
#include <coati/host.h>

enum { BPE_JSON_DEPTH = 64 };
typedef enum bpe_kind { BPE_NULL, BPE_FALSE, BPE_TRUE, BPE_NUMBER, BPE_STRING, BPE_ARRAY, BPE_OBJECT } bpe_kind;

typedef struct bpe_node {
    uint32_t kind;
    uint32_t at;   /* strings and numbers: first byte in the text */
    uint32_t len;  /* strings and numbers: bytes; containers: members (an object's are pairs of key and value) */
    uint32_t next; /* the node after this one and all it holds */
} bpe_node;

typedef struct bpe_doc {
    const co_host *host;
    const char *name; /* of the file, for messages */
    char *text;       /* owned by the caller; changed: strings are unescaped in place and end in NUL */
    bpe_node *nodes;  /* [0] is the root */
    size_t n_nodes, cap;
} bpe_doc;

typedef struct bpe_at {
    const bpe_doc *doc;
    uint32_t node;
    const struct bpe_at *up; /* NULL at the root */
    const char *key;         /* of this member, or NULL: number `index` of an array */
    uint32_t index;
} bpe_at;

/* Reads text[0..len), which ends in a NUL at text[len]. CO_OK, CO_E_FORMAT with line and column, or CO_E_NOMEM. */
int bpe_doc_read(bpe_doc *d, const co_host *h, const char *name, char *text, size_t len);
void bpe_doc_free(bpe_doc *d);

static inline bpe_at bpe_root(const bpe_doc *d) { return (bpe_at){d, 0, NULL, NULL, 0}; }
static inline const bpe_node *bpe_node_of(const bpe_at *a) { return &a->doc->nodes[a->node]; }
static inline bpe_kind bpe_kind_of(const bpe_at *a) { return (bpe_kind)bpe_node_of(a)->kind; }
static inline const char *bpe_text_of(const bpe_doc *d, const bpe_node *n) { return d->text + n->at; }

/* Sets "FILE: path.to[2].place: …" and returns `code`. */
int bpe_refuse(const bpe_at *a, int code, const char *fmt, ...) CO_PRINTF(3, 4);
/* The member of an object: 1 and *out, or 0 if it is absent or null. */
int bpe_member(const bpe_at *object, const char *key, bpe_at *out);
/* Element i of an array, to be called with rising i and the same `out` (it walks): 1, or 0 after the last. */
int bpe_element(const bpe_at *array, uint32_t i, bpe_at *out);
/* CO_OK if `a` is an object whose keys are all in `known` (NULL-terminated) and come once, else names the offender. */
int bpe_keys(const bpe_at *a, const char *const *known);
int bpe_want(const bpe_at *a, bpe_kind kind); /* CO_OK or "a string was expected, found …" */
/* Typed members of an object; absent or null: `def` (bpe_need_…: an error). */
int bpe_get_bool(const bpe_at *object, const char *key, int def, int *out);
int bpe_need_bool(const bpe_at *object, const char *key, int *out);
int bpe_get_string(const bpe_at *object, const char *key, const char *def, const char **out, size_t *len);
int bpe_need_string(const bpe_at *object, const char *key, const char **out, size_t *len);
int bpe_need_member(const bpe_at *object, const char *key, bpe_at *out);
/* A number written as an integer from 0 to `most`. */
int bpe_uint(const bpe_at *a, uint32_t most, uint32_t *out);
#endif
