/* node.h: a parsed template. Everything lies in the arena. */
#ifndef CORE_DATA_TEMPLATES_JINJA_NODE_H
#define CORE_DATA_TEMPLATES_JINJA_NODE_H
#include "core/data/templates/jinja/jinja.h"

typedef enum node_kind {
    /* statements */
    NODE_TEXT, NODE_PRINT, NODE_IF, NODE_FOR, NODE_SET, NODE_BREAK, NODE_CONTINUE, NODE_BLOCK,
    /* expressions */
    NODE_STR, NODE_INT, NODE_BOOL, NODE_NONE, NODE_NAME, NODE_LIST, NODE_DICT, NODE_ATTR, NODE_INDEX, NODE_SLICE, NODE_CALL, NODE_METHOD, NODE_FILTER,
    NODE_TEST, NODE_NOT, NODE_NEG, NODE_AND, NODE_OR, NODE_BINARY, NODE_CHOICE
} node_kind;

typedef enum binary_op { OP_ADD, OP_SUB, OP_MUL, OP_FLOORDIV, OP_MOD, OP_CONCAT, OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_IN, OP_NOT_IN } binary_op;

typedef struct node node;
struct node {
    int32_t kind, line;
    int64_t i;            /* INT, BOOL, BINARY's op, TEST: negated */
    const char *s;        /* texts, names; FOR: the first target */
    size_t len;
    const char *s2;       /* FOR: the second target; SET: the namespace's member */
    size_t len2;
    const node *a, *b, *c;
    node *first, *last;   /* children: statements of a body, arguments, members */
    node *other;          /* IF, FOR: the else branch, a NODE_BLOCK */
    node *next;           /* among siblings */
    const char *key;      /* a keyword argument's name */
    size_t key_len;
};

struct jinja { const node *root; };

typedef struct token {
    int32_t kind, line; /* TOKEN_* */
    const char *s;      /* names, texts (unescaped), symbols */
    size_t len;
    int64_t i;
} token;
enum { TOKEN_END = 0, TOKEN_NAME, TOKEN_STR, TOKEN_INT, TOKEN_SYMBOL };

typedef struct segment { /* text, or what stands between braces */
    int32_t kind, line;
    const char *s;
    size_t len;
} segment;
enum { SEGMENT_END = 0, SEGMENT_TEXT, SEGMENT_PRINT, SEGMENT_BLOCK };

typedef struct scanner {
    const char *text, *p, *end;
    co_arena *a;
    int line;
    int trim_next;  /* of the text that follows: 1 the first line break, 2 all white space */
    int at_line;    /* only blanks stand before p in its line, and no tag */
} scanner;
int scan_segment(scanner *s, segment *out);
/* All tokens of a print or block segment, TOKEN_END behind them. */
int scan_tokens(scanner *s, const segment *g, token **out);
#endif
