/* render.h: messages to one text, with what is known of its stretches. */
#ifndef CORE_DATA_TEMPLATES_RENDER_H
#define CORE_DATA_TEMPLATES_RENDER_H
#include <coati/tokenizer.h>
#include "core/data/templates/format.h"

typedef enum chat_role { ROLE_SYSTEM = 0, ROLE_USER, ROLE_ASSISTANT } chat_role;

typedef struct chat_message { /* texts are lent; they may hold any bytes */
    int32_t role, pad;
    const char *text, *input; /* input: of an instruction, or NULL */
    size_t len, input_len;
} chat_message;

typedef struct text_place { size_t at, marks; } text_place; /* bytes and marks before it: marks may have no length */
typedef struct text_span { text_place from, to; } text_span;

typedef struct chat_text { /* in the arena */
    const char *text;
    size_t len;
    const co_text_mark *marks; /* special tokens, in order */
    size_t n_marks;
    const text_span *spans;    /* what is learnt, in order: answers with their end of turn */
    size_t n_spans;
    const text_place *cuts;    /* places no token may span, in order */
    size_t n_cuts;
    int32_t ends_answer, pad;  /* the text ends in an answer's span */
} chat_text;

typedef struct render_tokens { /* ids below 0: none; texts: what stands in the text where they are, "" when encoding */
    int32_t bos, eos, before;
    const char *bos_text, *eos_text, *before_text;
} render_tokens;

/* prompt: the last message is a user's, and the text goes on to where the answer begins. CO_E_FORMAT says what the
 * template cannot hold: roles out of turn, a system message without a place. */
int chat_render(const chat_format *f, const render_tokens *t, const chat_message *m, size_t n, int prompt, co_arena *a, chat_text *out);
const char *chat_role_name(int role);
#endif
